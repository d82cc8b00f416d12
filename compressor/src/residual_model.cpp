#include "residual_model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "arfc/base/error.h"
#include "arfc/base/half.h"
#include "arfc/base/sha256.h"
#include "safetensors.h"

namespace arfc {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kModelFormat = 0;
constexpr std::size_t kMaxDim = 65536;
constexpr std::size_t kMaxCodeBytes = 1024;

Json architecture(const ResidualModel& model) {
    Json json = {
        {"format", kModelFormat},
        {"kind", "residual"},
        {"dim", model.dim},
        {"code_bytes", model.code_bytes},
        {"metric", std::string(to_string(model.metric))},
        {"beam_width", model.beam_width},
        {"commit_points", model.commit_points},
        {"subspace_bounds", model.subspace_bounds},
        {"late_subspaces", model.late_subspaces}};
    if (model.late_beam_width > 1) {
        json["late_beam_width"] = model.late_beam_width;
        json["late_commit_points"] = model.late_commit_points;
    }
    if (!model.landmarks.empty()) {
        json["landmarks"] = model.landmarks.size() / model.dim;
        json["landmarks_asked"] = model.landmarks_asked;
        json["landmark_error_weight"] = model.landmark_error_weight;
    }
    if (model.norm_shrinkage > 0.0) {
        json["norm_shrinkage"] = model.norm_shrinkage;
    }
    return json;
}

using Tensors = std::map<std::string, StoredTensor>;

constexpr const char* kFeatureMap = "feature_map";
constexpr const char* kFeatureOffset = "feature_offset";
/// Of the names of a perceptron's tensors.
constexpr const char* kFeature = "feature";
constexpr const char* kEntry = "entry";

/// @param dim  Of its rows, and of what it gives.
void add_perceptron(
    Tensors& tensors, const std::string& prefix, const PerceptronWeights& weights,
    std::size_t dim) {
    if (weights.empty()) {
        return;
    }
    const std::size_t units = weights.hidden_bias.size();
    tensors[prefix + "_hidden"] = {{units, dim}, weights.hidden};
    tensors[prefix + "_hidden_bias"] = {{units}, weights.hidden_bias};
    tensors[prefix + "_output"] = {{dim, units}, weights.output};
}

void add_features(Tensors& tensors, const FeatureWeights& features, std::size_t dim) {
    if (features.empty()) {
        return;
    }
    tensors[kFeatureMap] = {{dim, dim}, features.map};
    tensors[kFeatureOffset] = {{dim}, features.offset};
    add_perceptron(tensors, kFeature, features.bend, dim);
}

/// Returns the weights as tensors of float32.
Tensors tensors_of(const ResidualModel& model) {
    Tensors tensors;
    tensors["mean"] = {{model.dim}, model.mean};
    tensors["early"] = {{model.early_tokens(), kSymbols, model.dim}, model.early};
    tensors["late"] = {{model.late.size()}, model.late};
    if (!model.rotation.empty()) {
        tensors["rotation"] = {{model.dim, model.dim}, model.rotation};
    }
    if (!model.exit_map.empty()) {
        tensors["exit_map"] = {{model.dim, model.dim}, model.exit_map};
    }
    if (!model.decode_map.empty()) {
        tensors["decode_map"] = {{model.dim, model.dim}, model.decode_map};
    }
    if (!model.landmarks.empty()) {
        tensors["landmarks"] = {{model.landmarks.size() / model.dim, model.dim}, model.landmarks};
    }
    add_perceptron(tensors, kEntry, model.entry, model.dim);
    add_features(tensors, model.features, model.dim);
    return tensors;
}

/// Marks the tensors that lose nothing as float16. @returns whether there are any.
bool halve_where_exact(Tensors& tensors) {
    bool any = false;
    for (auto& [name, tensor] : tensors) {
        tensor.as_half = !tensor.values.empty() &&
                         std::all_of(tensor.values.begin(), tensor.values.end(), [](float value) {
                             return from_half(to_half(value)) == value;
                         });
        any = any || tensor.as_half;
    }
    return any;
}

/// @param weights  As a file of float32 tensors: how a file keeps numbers is no part of a model.
std::string identity(const ResidualModel& model, std::string_view weights) {
    return sha256_hex(architecture(model).dump() + sha256_hex(weights));
}

Json to_json(const PairReport& report) {
    const auto accuracy = [](const PairAccuracy& of) {
        return Json{{"queries", of.queries}, {"before", of.before}, {"after", of.after}};
    };
    return {
        {"pairs", report.pairs},
        {"is_kept", report.is_kept},
        {"seen", accuracy(report.seen)},
        {"unseen", accuracy(report.unseen)}};
}

PairReport pair_report_from_json(const Json& json) {
    const auto accuracy = [](const Json& of) {
        return PairAccuracy{
            of.at("queries").get<std::size_t>(), of.at("before").get<double>(),
            of.at("after").get<double>()};
    };
    return {
        json.at("pairs").get<std::size_t>(), json.at("is_kept").get<bool>(),
        accuracy(json.at("seen")), accuracy(json.at("unseen"))};
}

Json to_json(std::span<const HeldOutRecall> recall) {
    Json json = Json::array();
    for (const HeldOutRecall& point : recall) {
        json.push_back({{"bytes", point.bytes}, {"recall_at_10", point.recall_at_10}});
    }
    return json;
}

std::vector<HeldOutRecall> recall_from_json(const Json& json) {
    std::vector<HeldOutRecall> recall;
    for (const Json& point : json) {
        recall.push_back(
            {point.at("bytes").get<std::size_t>(), point.at("recall_at_10").get<double>()});
    }
    return recall;
}

Json to_json(const TrainReport& report) {
    Json json = {
        {"trained_rows", report.trained_rows},
        {"held_out_rows", report.held_out_rows},
        {"seconds", report.seconds},
        {"stopped_by_budget", report.stopped_by_budget},
        {"held_out_recall", to_json(report.recall)}};
    for (const PartReport& part : report.parts) {
        json["parts"].push_back(
            {{"part", part.part},
             {"is_kept", part.is_kept},
             {"held_out_recall", to_json(part.recall)}});
    }
    if (report.pairs) {
        json["pairs"] = to_json(*report.pairs);
    }
    for (const HeldOutResidual& point : report.residuals) {
        json["held_out_residual"].push_back(
            {{"bytes", point.bytes}, {"share", point.share}, {"deviation", point.deviation}});
    }
    return json;
}

TrainReport report_from_json(const Json& json) {
    TrainReport report;
    report.trained_rows = json.at("trained_rows").get<std::size_t>();
    report.held_out_rows = json.at("held_out_rows").get<std::size_t>();
    report.seconds = json.at("seconds").get<double>();
    report.stopped_by_budget = json.at("stopped_by_budget").get<bool>();
    report.recall = recall_from_json(json.at("held_out_recall"));
    for (const Json& part : json.value("parts", Json::array())) {
        report.parts.push_back(
            {part.at("part").get<std::string>(), part.at("is_kept").get<bool>(),
             recall_from_json(part.at("held_out_recall"))});
    }
    if (json.contains("pairs")) {
        report.pairs = pair_report_from_json(json.at("pairs"));
    }
    for (const Json& point : json.value("held_out_residual", Json::array())) {
        report.residuals.push_back(
            {point.at("bytes").get<std::size_t>(), point.at("share").get<double>(),
             point.at("deviation").get<double>()});
    }
    return report;
}

void require(bool condition, std::string_view what) {
    if (!condition) {
        fail(ErrorKind::kCorruption, "Model's config.json contradicts itself: ", what);
    }
}

bool ascending(const std::vector<std::size_t>& values) {
    return std::adjacent_find(values.begin(), values.end(), std::greater_equal<>()) == values.end();
}

void check_architecture(const ResidualModel& model) {
    require(model.dim >= 1 && model.dim <= kMaxDim, "dim");
    require(model.code_bytes >= 1 && model.code_bytes <= kMaxCodeBytes, "code_bytes");
    require(model.beam_width >= 1 && model.beam_width <= 64, "beam_width");
    require(
        model.landmarks_asked == 0 || (model.landmarks_asked <= 64 && model.beam_width <= 16),
        "landmarks_asked");
    require(
        model.landmark_error_weight >= 0.0 && model.landmark_error_weight <= 1e6,
        "landmark_error_weight");
    require(model.late_subspaces.size() < model.code_bytes, "late_subspaces");
    require(
        !model.commit_points.empty() && model.commit_points.front() >= 1 &&
            model.commit_points.back() == model.early_tokens() && ascending(model.commit_points),
        "commit_points");
    require(
        model.subspace_bounds.size() >= 2 && model.subspace_bounds.front() == 0 &&
            model.subspace_bounds.back() == model.dim && ascending(model.subspace_bounds),
        "subspace_bounds");
    require(model.late_beam_width >= 1 && model.late_beam_width <= 64, "late_beam_width");
    require(
        (model.late_commit_points.empty() ? model.late_beam_width == 1
                                          : model.late_commit_points.front() >= 1) &&
            ascending(model.late_commit_points),
        "late_commit_points");
    require(
        model.metric == Metric::kCosine ? model.norm_shrinkage >= 0.0 && model.norm_shrinkage <= 1.0
                                        : model.norm_shrinkage == 0.0,
        "norm_shrinkage");
    for (const std::size_t subspace : model.late_subspaces) {
        require(subspace + 1 < model.subspace_bounds.size(), "late_subspaces");
    }
}

void check_report(const TrainReport& report, std::size_t code_bytes) {
    const std::vector<HeldOutResidual>& points = report.residuals;
    require(
        points.empty() || (report.held_out_rows > 0 && points.front().bytes >= 1 &&
                           points.back().bytes == code_bytes),
        "held_out_residual");
    for (std::size_t i = 0; i < points.size(); ++i) {
        require(
            points[i].share >= 0.0 && points[i].deviation >= 0.0 &&
                (i == 0 || points[i - 1].bytes < points[i].bytes),
            "held_out_residual");
    }
    for (const PartReport& part : report.parts) {
        std::size_t shorter = 0;
        for (const HeldOutRecall& point : part.recall) {
            require(
                point.bytes > shorter && point.bytes <= code_bytes && point.recall_at_10 >= 0.0 &&
                    point.recall_at_10 <= 1.0,
                "parts");
            shorter = point.bytes;
        }
    }
}

std::vector<float> take(
    Tensors& tensors, const std::string& name, const std::vector<std::size_t>& shape) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.shape != shape) {
        fail(ErrorKind::kCorruption, "Weights file does not fit its config.json in tensor: ", name);
    }
    if (!std::all_of(found->second.values.begin(), found->second.values.end(), [](float v) {
            return std::isfinite(v);
        })) {
        fail(
            ErrorKind::kCorruption,
            "Weights file holds a number that is not finite in tensor: ", name);
    }
    return std::move(found->second.values);
}

/// Floating-point operations of a row through a perceptron.
double perceptron_flop(const PerceptronWeights& weights) {
    return 2.0 * static_cast<double>(weights.hidden.size() + weights.output.size());
}

/// Takes all of a perceptron, or nothing where there is none of it.
PerceptronWeights take_perceptron(Tensors& tensors, const std::string& prefix, std::size_t dim) {
    PerceptronWeights weights;
    const std::string hidden = prefix + "_hidden";
    const std::string bias = prefix + "_hidden_bias";
    const std::string output = prefix + "_output";
    if (!tensors.contains(hidden) && !tensors.contains(bias) && !tensors.contains(output)) {
        return weights;
    }
    const std::vector<std::size_t>& shape = tensors[bias].shape;
    const std::size_t units = shape.size() == 1 ? shape[0] : 0;
    if (units == 0) {
        fail(ErrorKind::kCorruption, "Weights file does not fit its config.json in tensor: ", bias);
    }
    weights.hidden = take(tensors, hidden, {units, dim});
    weights.hidden_bias = take(tensors, bias, {units});
    weights.output = take(tensors, output, {dim, units});
    return weights;
}

/// Takes all of what features need, or nothing where there is none of it.
FeatureWeights take_features(Tensors& tensors, std::size_t dim) {
    FeatureWeights features;
    features.bend = take_perceptron(tensors, kFeature, dim);
    if (features.bend.empty() && !tensors.contains(kFeatureMap) &&
        !tensors.contains(kFeatureOffset)) {
        return features;
    }
    features.map = take(tensors, kFeatureMap, {dim, dim});
    features.offset = take(tensors, kFeatureOffset, {dim});
    return features;
}

/// Reads the weights. @returns their identity.
std::string read_weights(ResidualModel& model, std::size_t landmarks, std::string_view weights) {
    Tensors tensors = read_safetensors(weights);
    const bool is_halved = std::any_of(
        tensors.begin(), tensors.end(), [](const auto& entry) { return entry.second.as_half; });
    model.mean = take(tensors, "mean", {model.dim});
    model.early = take(tensors, "early", {model.early_tokens(), kSymbols, model.dim});
    if (tensors.contains("rotation")) {
        model.rotation = take(tensors, "rotation", {model.dim, model.dim});
    }
    if (tensors.contains("exit_map")) {
        model.exit_map = take(tensors, "exit_map", {model.dim, model.dim});
    }
    if (tensors.contains("decode_map")) {
        model.decode_map = take(tensors, "decode_map", {model.dim, model.dim});
    }
    if (landmarks > 0) {
        model.landmarks = take(tensors, "landmarks", {landmarks, model.dim});
    }
    model.entry = take_perceptron(tensors, kEntry, model.dim);
    require(model.exit_map.empty() || !model.rotation.empty(), "exit_map without rotation");
    require(
        model.exit_map.empty() == model.entry.empty(), "exit_map without entry, or the reverse");
    std::size_t late_size = 0;
    for (std::size_t j = 0; j < model.late_subspaces.size(); ++j) {
        late_size += kSymbols * model.late_width(j);
    }
    model.late = take(tensors, "late", {late_size});
    model.features = take_features(tensors, model.dim);
    return identity(model, is_halved ? write_safetensors(tensors_of(model)) : weights);
}

} // namespace

double ResidualModel::encode_flop() const noexcept {
    // A query's products, of the row with every symbol once, and those with the landmarks.
    return query_flop() + 2.0 * static_cast<double>(landmarks.size());
}

double ResidualModel::query_flop() const noexcept {
    const auto d = static_cast<double>(dim);
    double flop = perceptron_flop(entry) + (rotation.empty() ? 0.0 : 2.0 * d * d);
    flop += 2.0 * static_cast<double>(early_tokens() * kSymbols) * d;
    for (std::size_t j = 0; j < late_subspaces.size(); ++j) {
        flop += 2.0 * static_cast<double>(kSymbols * late_width(j));
    }
    return flop;
}

std::vector<std::vector<std::vector<std::size_t>>> ResidualModel::late_runs() const {
    std::vector<std::vector<std::vector<std::size_t>>> runs(subspace_bounds.size() - 1);
    std::vector<std::size_t> taken(runs.size(), 0);
    for (std::size_t j = 0; j < late_subspaces.size(); ++j) {
        const std::size_t s = late_subspaces[j];
        const bool begins =
            taken[s] == 0 || late_commit_points.empty() ||
            std::binary_search(late_commit_points.begin(), late_commit_points.end(), taken[s]);
        if (begins) {
            runs[s].emplace_back();
        }
        runs[s].back().push_back(j);
        ++taken[s];
    }
    return runs;
}

ModelFiles write_residual_model(const ResidualModel& model, const TrainReport& report) {
    Tensors tensors = tensors_of(model);
    ModelFiles files;
    files.weights = write_safetensors(tensors);
    Json config = architecture(model);
    config["id"] = identity(model, files.weights);
    if (halve_where_exact(tensors)) {
        files.weights = write_safetensors(tensors);
    }
    config["flop_per_encoded_row"] = model.encode_flop();
    config["flop_per_query"] = model.query_flop();
    if (!model.features.empty()) {
        config["flop_per_feature_row"] = 2.0 * static_cast<double>(model.features.map.size()) +
                                         perceptron_flop(model.features.bend);
    }
    config["model_bytes"] = model.weights_bytes();
    config["training"] = to_json(report);
    files.config = config.dump(2) + "\n";
    return files;
}

StoredResidualModel read_residual_model(const ModelFiles& files) {
    StoredResidualModel stored;
    ResidualModel& model = stored.model;
    std::size_t landmarks = 0;
    try {
        const Json config = Json::parse(files.config);
        model.dim = config.at("dim").get<std::size_t>();
        model.code_bytes = config.at("code_bytes").get<std::size_t>();
        model.metric = metric_from_string(config.at("metric").get<std::string>());
        model.beam_width = config.at("beam_width").get<std::size_t>();
        model.commit_points = config.at("commit_points").get<std::vector<std::size_t>>();
        model.subspace_bounds = config.at("subspace_bounds").get<std::vector<std::size_t>>();
        model.late_subspaces = config.at("late_subspaces").get<std::vector<std::size_t>>();
        if (config.contains("late_beam_width")) {
            model.late_beam_width = config.at("late_beam_width").get<std::size_t>();
            model.late_commit_points =
                config.at("late_commit_points").get<std::vector<std::size_t>>();
        }
        if (config.contains("landmarks")) {
            landmarks = config.at("landmarks").get<std::size_t>();
            model.landmarks_asked = config.at("landmarks_asked").get<std::size_t>();
            model.landmark_error_weight = config.at("landmark_error_weight").get<double>();
        }
        model.norm_shrinkage = config.value("norm_shrinkage", 0.0);
        stored.id = config.at("id").get<std::string>();
        stored.report = report_from_json(config.at("training"));
    } catch (const nlohmann::json::exception& error) {
        fail(
            ErrorKind::kCorruption,
            "Model's config.json lacks a field or has one of a wrong type: ", error.what());
    }
    require(
        (landmarks == 0) == (model.landmarks_asked == 0) && model.landmarks_asked <= landmarks,
        "landmarks");
    check_architecture(model);
    check_report(stored.report, model.code_bytes);
    if (read_weights(model, landmarks, files.weights) != stored.id) {
        fail(ErrorKind::kCorruption, "Model's identity differs from its content: ", stored.id);
    }
    return stored;
}

} // namespace arfc
