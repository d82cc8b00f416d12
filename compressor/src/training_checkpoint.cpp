#include "training_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <system_error>
#include <utility>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "arfc/base/sha256.h"
#include "safetensors.h"

namespace arfc {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFileName = "training.checkpoint";
constexpr std::string_view kFirstLine = "arfc training checkpoint\n";
constexpr std::size_t kDigestDigits = 64;
constexpr const char* kSchedule = "prefix_schedule"; // The option,
constexpr const char* kScheduled = "relations";      // and the step that it is for.
constexpr const char* kValues = "values";            // The array of a step that gives floats.

[[noreturn]] void fail_corrupt(const std::filesystem::path& file, std::string_view what) {
    fail(
        ErrorKind::kCorruption, "Checkpoint is damaged, train without resume: ", file.string(),
        " (", what, ")");
}

Json to_json(const std::string& name, const LearningState& state, bool stopped_by_budget) {
    Json json = {{"name", name}, {"stopped_by_budget", stopped_by_budget}};
    if (!state.numbers.empty()) {
        json["numbers"] = state.numbers;
    }
    if (!state.random.empty()) {
        json["random"] = state.random;
    }
    return json;
}

Json to_json(const PrefixSchedule& schedule) {
    return {schedule.first_mean, schedule.last_mean, schedule.concentration};
}

/// Returns what tells matrices given beside the rows from others; null where there are none, or no
/// checkpoint is asked for.
Json digest_of(
    const TrainOptions& options, std::initializer_list<MatrixView<const float>> matrices) {
    if (matrices.begin()->empty() || options.checkpoint.empty()) {
        return nullptr;
    }
    std::string digests;
    for (const MatrixView<const float> rows : matrices) {
        digests += sha256_hex(std::as_bytes(std::span(rows.data(), rows.size())));
    }
    return sha256_hex(digests);
}

/// Takes the tensors "<prefix>/<name>" out of those of a file.
std::map<std::string, StoredTensor> take_arrays(
    std::map<std::string, StoredTensor>& tensors, const std::string& prefix) {
    std::map<std::string, StoredTensor> taken;
    const std::string start = prefix + "/";
    for (auto next = tensors.lower_bound(start);
         next != tensors.end() && next->first.starts_with(start); next = tensors.erase(next)) {
        taken[next->first.substr(start.size())] = std::move(next->second);
    }
    return taken;
}

} // namespace

TrainingCheckpoint::TrainingCheckpoint(
    MatrixView<const float> embeddings, const TrainOptions& options, TrainingSupervisor& supervisor)
    : options_(options), supervisor_(supervisor), file_(options.checkpoint / kFileName),
      shape_({
          {"kind", options.kind},
          {"code_bytes", options.code_bytes},
          {"metric", to_string(options.metric)},
          {"seed", options.seed},
          {"relations", options.relations},
          {"features", options.features},
          {"compact", options.compact},
          {"rows", embeddings.rows()},
          {"dim", embeddings.cols()},
          {"pairs", digest_of(options, {options.pair_queries, options.pair_rows})},
          {"queries", digest_of(options, {options.queries})},
          {kSchedule, to_json(options.prefix_schedule)},
      }) {
    if (!(options.checkpoint_every_s >= 0.0)) {
        fail(
            ErrorKind::kInvalidArgument,
            "Time between checkpoints is not a number of seconds: ", options.checkpoint_every_s);
    }
    if (options.resume && !kept()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Resuming a training needs the directory of its checkpoint: \"\"");
    }
    if (options.resume) {
        read();
    }
}

void TrainingCheckpoint::read() {
    std::string bytes;
    try {
        bytes = read_file(file_);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::kNotFound) {
            fail(
                ErrorKind::kNotFound,
                "Checkpoint does not exist, train without resume: ", file_.string());
        }
        throw;
    }
    std::string_view rest = bytes;
    const std::size_t start = kFirstLine.size() + kDigestDigits + 1;
    if (!rest.starts_with(kFirstLine) || rest.size() < start) {
        fail_corrupt(file_, "it does not begin as one");
    }
    const std::string_view digest = rest.substr(kFirstLine.size(), kDigestDigits);
    rest.remove_prefix(start);
    if (sha256_hex(rest) != digest) {
        fail_corrupt(file_, "its SHA-256 differs");
    }
    const std::size_t line = rest.find('\n');
    try {
        const nlohmann::json header = nlohmann::json::parse(rest.substr(0, line));
        read_header(header);
        std::map<std::string, StoredTensor> tensors =
            read_safetensors(line == std::string_view::npos ? "" : rest.substr(line + 1));
        for (std::size_t i = 0; i < steps_.size(); ++i) {
            steps_[i].state.arrays = take_arrays(tensors, std::to_string(i));
        }
        if (unfinished_) {
            unfinished_->state.arrays = take_arrays(tensors, std::to_string(steps_.size()));
        }
    } catch (const nlohmann::json::exception& error) {
        fail_corrupt(file_, error.what());
    }
}

void TrainingCheckpoint::read_header(const nlohmann::json& header) {
    if (const int format = header.at("format").get<int>(); format != kCheckpointFormat) {
        fail(
            ErrorKind::kUnsupported,
            "Checkpoint is of a build that trains otherwise, train without resume: format ", format,
            ", expected ", kCheckpointFormat);
    }
    most_rows_ = header.at("most_rows").get<std::size_t>();
    rows_ = header.at("rows").get<std::string>();
    supervisor_.add_seconds(header.at("seconds").get<double>());
    const auto step_from = [](const nlohmann::json& json) {
        Step step;
        step.name = json.at("name").get<std::string>();
        step.stopped_by_budget = json.at("stopped_by_budget").get<bool>();
        step.state.numbers = json.value("numbers", std::map<std::string, double>());
        step.state.random = json.value("random", std::string());
        return step;
    };
    for (const nlohmann::json& json : header.at("steps")) {
        steps_.push_back(step_from(json));
    }
    if (header.contains("unfinished")) {
        unfinished_ = step_from(header.at("unfinished"));
    }
    require_options(header.at("options"));
}

void TrainingCheckpoint::require_options(const nlohmann::json& stored) const {
    const auto is_scheduled = [](const Step& step) { return step.name == kScheduled; };
    const bool has_begun =
        std::ranges::any_of(steps_, is_scheduled) || (unfinished_ && is_scheduled(*unfinished_));
    for (const auto& [name, value] : shape_.items()) {
        if (name == kSchedule && !has_begun) {
            continue; // Nothing has been learned by it: schedules share what comes before.
        }
        // Checkpoints of before there were these do not mention them.
        const Json unknown = name == "features" ? Json(false)
                           : name == kSchedule  ? to_json(PrefixSchedule())
                                                : Json();
        const std::string before = (stored.contains(name) ? Json(stored.at(name)) : unknown).dump();
        const std::string now = value.dump();
        if (before != now) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Checkpoint is of a training with other options, in ", name, ": ", before, ", now ",
                now);
        }
    }
}

std::size_t TrainingCheckpoint::most_rows(std::size_t affordable) {
    if (!most_rows_) {
        most_rows_ = affordable;
    }
    return *most_rows_;
}

void TrainingCheckpoint::expect_rows(
    std::span<const float> trained, std::span<const float> held_out) {
    if (!kept()) {
        return;
    }
    const std::string digest =
        sha256_hex(sha256_hex(std::as_bytes(trained)) + sha256_hex(std::as_bytes(held_out)));
    if (!rows_.empty() && rows_ != digest) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Checkpoint is of a training on other rows, their SHA-256: ", rows_, ", now ", digest);
    }
    rows_ = digest;
}

LearningState TrainingCheckpoint::learned(
    const std::string& step, const std::function<LearningState()>& learn) {
    if (!kept()) {
        return learn();
    }
    if (replayed_ < steps_.size()) {
        const Step& known = steps_[replayed_++];
        if (known.name != step) {
            fail_corrupt(file_, "it holds \"" + known.name + "\", expected \"" + step + "\"");
        }
        if (known.stopped_by_budget) {
            supervisor_.set_stopped_by_budget();
        }
        return known.state;
    }
    LearningState state = learn();
    steps_.push_back({step, std::move(state), supervisor_.stopped_by_budget()});
    ++replayed_;
    unfinished_.reset();
    changed_ = true;
    if (due()) {
        write();
    }
    return steps_.back().state;
}

std::vector<float> TrainingCheckpoint::learned(
    const std::string& step, std::size_t count, const std::function<std::vector<float>()>& learn) {
    if (!kept()) {
        return learn();
    }
    LearningState state = learned(step, [&] {
        LearningState fresh;
        fresh.arrays[kValues] = {{count}, learn()};
        return fresh;
    });
    StoredTensor& values = state.arrays[kValues];
    if (values.shape != std::vector<std::size_t>{count} ||
        !std::ranges::all_of(values.values, [](float value) { return std::isfinite(value); })) {
        fail_corrupt(file_, "its arrays do not fit the step \"" + step + "\"");
    }
    return std::move(values.values);
}

std::optional<LearningState> TrainingCheckpoint::unfinished(const std::string& step) const {
    if (unfinished_ && unfinished_->name == step && replayed_ == steps_.size()) {
        return unfinished_->state;
    }
    return std::nullopt;
}

void TrainingCheckpoint::offer(
    const std::string& step, const std::function<LearningState()>& state) {
    if (!kept() || !due()) {
        return;
    }
    unfinished_ = {step, state(), supervisor_.stopped_by_budget()};
    changed_ = true;
    write();
}

bool TrainingCheckpoint::due() const {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - written_;
    return passed.count() >= options_.checkpoint_every_s;
}

void TrainingCheckpoint::write() {
    if (!changed_) {
        return;
    }
    std::error_code code;
    std::filesystem::create_directories(options_.checkpoint, code);
    if (code) {
        fail(
            ErrorKind::kIo,
            "Checkpoint's directory cannot be created: ", options_.checkpoint.string(), " (",
            code.message(), ")");
    }
    const std::string text = contents();
    write_file_atomically(file_, std::string(kFirstLine) + sha256_hex(text) + "\n" + text);
    changed_ = false;
    written_ = std::chrono::steady_clock::now();
}

std::string TrainingCheckpoint::contents() const {
    Json header = {
        {"format", kCheckpointFormat},
        {"options", shape_},
        {"most_rows", most_rows_.value_or(0)},
        {"rows", rows_},
        {"seconds", supervisor_.seconds()}};
    std::map<std::string, StoredTensor> tensors;
    const auto add = [&](const Step& step, std::size_t number) {
        for (const auto& [name, array] : step.state.arrays) {
            tensors[std::to_string(number) + "/" + name] = array;
        }
        return to_json(step.name, step.state, step.stopped_by_budget);
    };
    Json& steps = header["steps"] = Json::array();
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        steps.push_back(add(steps_[i], i));
    }
    if (unfinished_) {
        header["unfinished"] = add(*unfinished_, steps_.size());
    }
    return header.dump() + "\n" + write_safetensors(tensors);
}

void Compressor::remove_checkpoint(const std::filesystem::path& directory) {
    const std::filesystem::path file = directory / kFileName;
    std::error_code code;
    std::filesystem::remove(file.string() + ".tmp", code); // Of a run that was killed.
    std::filesystem::remove(file, code);
    if (code) {
        fail(
            ErrorKind::kIo, "Checkpoint cannot be removed: ", file.string(), " (", code.message(),
            ")");
    }
    if (std::filesystem::is_directory(directory, code) &&
        std::filesystem::is_empty(directory, code)) {
        std::filesystem::remove(directory, code);
    }
}

bool Compressor::has_checkpoint(const std::filesystem::path& directory) {
    std::error_code code;
    return std::filesystem::is_regular_file(directory / kFileName, code);
}

} // namespace arfc
