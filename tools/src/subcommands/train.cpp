#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"
#include "count_option.h"
#include "ingest/row_check.h"
#include "readers/row_reader.h"
#include "subcommand.h"
#include "subcommands/model_report.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kBatchRows = 4096;

struct TrainArguments {
    std::string input;
    std::string format = "auto";
    std::string output;
    std::string metric = "cosine";
    std::size_t threads = 0; // 0: as many as there are cores.
    TrainOptions options;
};

/// The directory that the model goes to, made before the work and taken back if nothing came of it.
class OutputDirectory {
  public:
    explicit OutputDirectory(std::filesystem::path path) : path_(std::move(path)) {
        std::error_code code;
        created_ = std::filesystem::create_directories(path_, code);
        if (code || ::access(path_.c_str(), W_OK | X_OK) != 0) {
            fail(
                ErrorKind::kIo, "Model directory cannot be written: ", path_.string(), " (",
                code ? code.message() : std::strerror(errno), ")");
        }
        if (!std::filesystem::is_empty(path_) && !std::filesystem::exists(path_ / "config.json")) {
            fail(
                ErrorKind::kAlreadyExists,
                "Directory holds something that is no model: ", path_.string());
        }
    }
    OutputDirectory(const OutputDirectory&) = delete;
    OutputDirectory& operator=(const OutputDirectory&) = delete;
    ~OutputDirectory() {
        std::error_code ignored;
        if (created_ && std::filesystem::is_empty(path_, ignored)) {
            std::filesystem::remove(path_, ignored);
        }
    }

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  private:
    std::filesystem::path path_;
    bool created_ = false;
};

/// Rows that a model can be trained on, and how many of the file could not.
struct TrainingRows {
    std::vector<float> values; // [rows, dim]
    std::size_t dim = 0;
    std::uint64_t rejected = 0;
};

TrainingRows read_rows(const TrainArguments& arguments, Terminal& terminal) {
    const auto reader = open_rows(arguments.input, arguments.format);
    TrainingRows rows{.dim = reader->dim()};
    if (reader->rows()) {
        rows.values.reserve(static_cast<std::size_t>(*reader->rows()) * rows.dim);
    }
    RowBatch batch;
    while (reader->next(kBatchRows, batch)) {
        StopSignal::throw_if_came();
        reject_unusable(batch, arguments.options.metric);
        rows.values.insert(rows.values.end(), batch.embeddings.begin(), batch.embeddings.end());
        for (const RejectedRow& row : batch.rejected) {
            if (++rows.rejected == 1) {
                terminal.note(
                    "Rows are left out of the training, the first is row " +
                    std::to_string(row.row) + ": " + row.reason);
            }
        }
        terminal.progress(
            "read", reader->fraction_read(), grouped(rows.values.size() / rows.dim) + " rows");
    }
    terminal.finish_progress(
        "read", grouped(rows.values.size() / rows.dim) + " rows" +
                    (rows.rejected > 0 ? ", left out: " + grouped(rows.rejected) : ""));
    return rows;
}

void train(TrainArguments arguments, Terminal& terminal) {
    const StopSignal stop;
    arguments.options.metric = metric_from_string(arguments.metric);
    if (arguments.threads > 0) {
        set_num_threads(arguments.threads);
    }
    const OutputDirectory output(arguments.output);
    const TrainingRows rows = read_rows(arguments, terminal);
    arguments.options.progress = terminal.training_progress("train");
    const auto model = Compressor::train(
        {rows.values.data(), rows.values.size() / rows.dim, rows.dim}, arguments.options);
    model->save(output.path());
    terminal.finish_progress("train", readable_seconds(model->report().seconds));
    Json json = {{"model", output.path().string()}, {"rows_rejected", rows.rejected}};
    json.update(model_json(*model));
    terminal.result(
        json, model_text(*model) + "\nmodel directory: " + output.path().string() + "\n");
}

} // namespace

Run declare_train(CLI::App& command) {
    const auto arguments = std::make_shared<TrainArguments>();
    TrainOptions& options = arguments->options;
    command.add_option("input,--input", arguments->input, "File of embeddings")->required();
    command.add_option("--input-format", arguments->format, "One of " + row_format_names())
        ->capture_default_str();
    command.add_option("--output", arguments->output, "Model directory to write")->required();
    add_count(command, "--bytes", options.code_bytes, "Longest code of a row, in bytes")
        ->capture_default_str();
    command.add_option("--metric", arguments->metric, "One of cosine, ip, l2")
        ->capture_default_str();
    command
        .add_option(
            "--time-budget", options.time_budget_s,
            "Seconds after which training ends with what it has")
        ->check(CLI::PositiveNumber);
    command.add_flag(
        "!--no-relations", options.relations,
        "Leave codebooks as clustering made them: faster, lower recall");
    add_count(command, "--seed", options.seed, "Same rows, options and seed: same model")
        ->capture_default_str();
    add_count(command, "--threads", arguments->threads, "Threads; default: one a core");
    return [arguments](Terminal& terminal) { train(*arguments, terminal); };
}

} // namespace arfc::tools
