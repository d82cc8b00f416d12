#include "arfc/compressor/compressor.h"

#include <c10/util/Exception.h>

#include <cmath>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "arfc/base/sha256.h"

namespace arfc {
namespace {

constexpr int kModelFormat = 0;
constexpr const char* kConfigName = "config.json";
constexpr const char* kWeightsName = "model.safetensors";
constexpr const char* kManifestName = "manifest.json";

const CompressorKind& find_kind(std::string_view name, ErrorKind when_absent) {
    for (const CompressorKind& kind : compressor_kinds()) {
        if (kind.name == name) {
            return kind;
        }
    }
    fail(when_absent, "Compressor kind is not one that this build knows: \"", name, "\"");
}

/// Runs LibTorch's part of a call, so that only arfc::Error and the caller's own exceptions leave
/// the room.
template <class Call>
auto translated(const Call& call) {
    try {
        return call();
    } catch (const std::bad_alloc&) {
        fail(ErrorKind::kResourceExhausted, "Memory ran out in the compressor; use fewer rows");
    } catch (const c10::OutOfMemoryError& error) {
        fail(
            ErrorKind::kResourceExhausted,
            "Device memory ran out: ", error.what_without_backtrace());
    } catch (const c10::Error& error) {
        fail(ErrorKind::kInternal, "LibTorch failed: ", error.what_without_backtrace());
    }
}

std::string read_model_file(const std::filesystem::path& directory, const char* name) {
    try {
        return read_file(directory / name);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::kNotFound) {
            fail(
                ErrorKind::kCorruption,
                "Model directory lacks a file: ", (directory / name).string());
        }
        throw;
    }
}

void check_digest(
    const nlohmann::json& manifest, const char* name, std::string_view bytes,
    const std::filesystem::path& directory) {
    if (manifest.at("sha256").at(name).get<std::string>() != sha256_hex(bytes)) {
        fail(
            ErrorKind::kCorruption,
            "Model file's SHA-256 differs from the manifest's: ", (directory / name).string());
    }
}

} // namespace

std::unique_ptr<Compressor> Compressor::train(
    MatrixView<const float> embeddings, const TrainOptions& options) {
    const CompressorKind& kind = find_kind(options.kind, ErrorKind::kInvalidArgument);
    return translated([&] { return kind.train(embeddings, options); });
}

std::unique_ptr<Compressor> Compressor::open(const ModelFiles& files, std::string_view device) {
    std::string kind;
    try {
        const nlohmann::json config = nlohmann::json::parse(files.config);
        const int format = config.at("format").get<int>();
        if (format > kModelFormat || format < 0) {
            fail(
                ErrorKind::kUnsupported, "Model format is newer than this build reads: ", format,
                ", at most ", kModelFormat);
        }
        kind = config.at("kind").get<std::string>();
    } catch (const nlohmann::json::exception& error) {
        fail(ErrorKind::kCorruption, "Model's config.json cannot be read: ", error.what());
    }
    return translated([&] { return find_kind(kind, ErrorKind::kUnsupported).open(files, device); });
}

std::unique_ptr<Compressor> Compressor::open(
    const std::filesystem::path& directory, std::string_view device) {
    if (!std::filesystem::is_directory(directory)) {
        fail(ErrorKind::kNotFound, "Model directory does not exist: ", directory.string());
    }
    const std::string manifest_text = read_model_file(directory, kManifestName);
    const ModelFiles files{
        read_model_file(directory, kConfigName), read_model_file(directory, kWeightsName)};
    try {
        const nlohmann::json manifest = nlohmann::json::parse(manifest_text);
        check_digest(manifest, kConfigName, files.config, directory);
        check_digest(manifest, kWeightsName, files.weights, directory);
    } catch (const nlohmann::json::exception& error) {
        fail(ErrorKind::kCorruption, "Model's manifest.json cannot be read: ", error.what());
    }
    return open(files, device);
}

double Compressor::reconstruction_length(float row_term) const noexcept {
    const auto term = static_cast<double>(row_term);
    return metric() == Metric::kCosine ? 1.0 / term
         : metric() == Metric::kL2     ? std::sqrt(term)
                                       : std::numeric_limits<double>::quiet_NaN();
}

double Compressor::sum_error(std::size_t, double) const noexcept {
    return std::numeric_limits<double>::infinity();
}

void Compressor::features(
    MatrixView<const float> /*embeddings*/, MatrixView<float> /*features*/) const {
    fail(
        ErrorKind::kFailedPrecondition,
        "Model was trained without float features, train one with them (features=True, "
        "TrainOptions::features, arfc train --features): ",
        id());
}

void Compressor::save(const std::filesystem::path& directory) const {
    std::error_code code;
    std::filesystem::create_directories(directory, code);
    if (code) {
        fail(
            ErrorKind::kIo, "Model directory cannot be created: ", directory.string(), " (",
            code.message(), ")");
    }
    const ModelFiles model = files();
    write_file_atomically(directory / kConfigName, model.config);
    write_file_atomically(directory / kWeightsName, model.weights);
    const nlohmann::ordered_json manifest = {
        {"format", kModelFormat},
        {"sha256",
         {{kConfigName, sha256_hex(model.config)}, {kWeightsName, sha256_hex(model.weights)}}}};
    write_file_atomically(directory / kManifestName, manifest.dump(2) + "\n");
}

} // namespace arfc
