#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "arfc/base/error.h"
#include "arfc/index/collection.h"
#include "model_argument.h"
#include "subcommand.h"
#include "subcommands/model_report.h"
#include "terminal/key_values.h"
#include "terminal/numbers.h"

namespace arfc::tools {
namespace {

double per_point(std::uint64_t bytes, const CollectionInfo& info) {
    return info.points == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(info.points);
}

/// Where the bytes of a point go, kind by kind.
std::vector<std::pair<std::string, double>> bytes_per_point(const CollectionInfo& info) {
    return {
        {"code", static_cast<double>(info.code_bytes)},
        {"resident_head", per_point(info.resident_head_bytes, info)},
        {"resident_id", per_point(info.resident_id_bytes, info)},
        {"resident_norm", per_point(info.resident_norm_bytes, info)},
        {"resident", per_point(info.resident_bytes, info)},
        {"model_share", per_point(info.model_bytes, info)},
        {"disk", per_point(info.disk_bytes, info)}};
}

/// Returns what codes leave of rows held out of the training of a collection's model.
std::vector<HeldOutResidual> residuals_of(const Collection& collection) {
    const auto model = collection.model();
    return model == nullptr ? std::vector<HeldOutResidual>() : model->report().residuals;
}

Json collection_json(const Collection& collection) {
    const CollectionInfo info = collection.info();
    Json shares = Json::object();
    for (const auto& [name, bytes] : bytes_per_point(info)) {
        shares[name] = bytes;
    }
    return {
        {"kind", "collection"},
        {"dim", info.dim},
        {"metric", to_string(info.metric)},
        {"factory", info.factory},
        {"model_id", info.model_id.empty() ? Json() : Json(info.model_id)},
        {"points", info.points},
        {"tombstones", info.tombstones},
        {"code_bytes", info.code_bytes},
        {"stage_bytes", info.stage_bytes},
        {"nlist", info.nlist},
        {"default_nprobe", info.default_nprobe},
        {"has_raw", info.has_raw},
        {"calibration_rows", info.calibration_rows},
        {"calibration_bytes", info.calibration_bytes},
        {"resident_bytes", info.resident_bytes},
        {"model_bytes", info.model_bytes},
        {"disk_bytes", info.disk_bytes},
        {"held_out_recall", recall_json(info.held_out_recall)},
        {"held_out_residual", residuals_json(residuals_of(collection))},
        {"bytes_per_point", std::move(shares)}};
}

std::string collection_text(const Collection& collection) {
    const CollectionInfo info = collection.info();
    std::string stages;
    for (const std::size_t bytes : info.stage_bytes) {
        stages += (stages.empty() ? "" : ", ") + std::to_string(bytes);
    }
    std::string text = key_values(
        {{"collection", info.factory + ", " + std::string(to_string(info.metric))},
         {"width", std::to_string(info.dim) + " floats, " +
                       std::to_string(info.dim * sizeof(float)) + " bytes a row"},
         {"points", grouped(info.points) + ", dead rows: " + grouped(info.tombstones)},
         {"model",
          info.model_id.empty() ? "none, rows are float32 and searched exactly" : info.model_id},
         {"prefixes", stages.empty() ? "none" : stages + " bytes"},
         {"lists", info.nlist == 0 ? "none, every row is scanned"
                                   : grouped(info.nlist) +
                                         ", scanned by default: " + grouped(info.default_nprobe)},
         {"float32 rows", info.has_raw ? "kept" : "not kept"},
         {"calibration", grouped(info.calibration_rows) + " rows as float16, " +
                             readable_bytes(info.calibration_bytes)},
         {"memory", readable_bytes(info.resident_bytes) + " and the model's " +
                        readable_bytes(info.model_bytes)},
         {"disk", readable_bytes(info.disk_bytes)}});
    text += "\nbytes a point\n";
    for (const auto& [name, bytes] : bytes_per_point(info)) {
        text += "  " + name + std::string(16 - name.size(), ' ') + with_digits(bytes, 1) + "\n";
    }
    if (!info.held_out_recall.empty()) {
        text += "\nrecall@10 on rows that were held out of the model's training\n" +
                recall_text(info.held_out_recall);
    }
    if (const auto residuals = residuals_of(collection); !residuals.empty()) {
        text += "\nshare of their squared length that codes leave\n" + residuals_text(residuals);
    }
    return text;
}

void inspect(const std::filesystem::path& path, Terminal& terminal) {
    if (!std::filesystem::is_directory(path)) {
        fail(ErrorKind::kNotFound, "Directory does not exist: ", path.string());
    }
    if (std::filesystem::exists(path / "config.json")) {
        const auto model = Compressor::open(path, "cpu");
        Json json = {{"kind", "model"}};
        json.update(model_json(*model));
        terminal.result(json, model_text(*model));
        return;
    }
    const auto collection = Collection::open(path, {.read_only = true});
    terminal.result(collection_json(*collection), collection_text(*collection));
}

} // namespace

Run declare_inspect(CLI::App& command) {
    const auto path = std::make_shared<std::string>();
    command
        .add_option(
            "path", *path, "Collection or model directory, or ready:NAME for a model of arfc's own")
        ->required();
    return [path](Terminal& terminal) { inspect(model_directory(*path), terminal); };
}

} // namespace arfc::tools
