#include "arfc/storage/manifest.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "arfc/base/sha256.h"

namespace arfc::storage {
namespace {

using Json = nlohmann::json; // Its objects are sorted by name, so that dump() is canonical.

std::filesystem::path path_in(const std::filesystem::path& directory) {
    return directory / "manifest.json";
}

Json to_json(const Manifest& manifest) {
    return {{"format", manifest.format},    {"creator", manifest.creator},
            {"dim", manifest.dim},          {"metric", to_string(manifest.metric)},
            {"factory", manifest.factory},  {"model_id", manifest.model_id},
            {"keep_raw", manifest.keep_raw}};
}

[[noreturn]] void fail_as_corrupt(std::string_view why, const std::filesystem::path& path) {
    fail(ErrorKind::kCorruption, "Manifest is damaged, ", why, ": ", path.string());
}

/// Parses the text and takes its checksum out, which must be that of the rest.
Json parse_checked(const std::string& text, const std::filesystem::path& path) {
    Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
        fail_as_corrupt("it is not a JSON object", path);
    }
    const auto checksum = json.find("sha256");
    if (checksum == json.end() || !checksum->is_string()) {
        fail_as_corrupt("it has no sha256", path);
    }
    const std::string expected = checksum->get<std::string>();
    json.erase(checksum);
    if (sha256_hex(json.dump()) != expected) {
        fail_as_corrupt("its checksum differs", path);
    }
    return json;
}

/// Takes a field out; only what is not understood stays behind.
template <class T>
T take(Json& json, const char* name, bool is_right_type, const std::filesystem::path& path) {
    if (!is_right_type) {
        fail_as_corrupt(std::string("a field is missing or of another type, ") + name, path);
    }
    T value = json.at(name).get<T>();
    json.erase(name);
    return value;
}

std::uint64_t take_number(Json& json, const char* name, const std::filesystem::path& path) {
    return take<std::uint64_t>(
        json, name, json.contains(name) && json[name].is_number_unsigned(), path);
}

std::string take_text(Json& json, const char* name, const std::filesystem::path& path) {
    return take<std::string>(json, name, json.contains(name) && json[name].is_string(), path);
}

Metric take_metric(Json& json, const std::filesystem::path& path) {
    const std::string name = take_text(json, "metric", path);
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2, Metric::kCosine}) {
        if (name == to_string(metric)) {
            return metric;
        }
    }
    fail_as_corrupt("its metric is unknown, " + name, path);
}

} // namespace

Manifest read_manifest(const std::filesystem::path& directory) {
    const std::filesystem::path path = path_in(directory);
    Json json = parse_checked(read_file(path), path);
    Manifest manifest;
    // The checksum came first: a damaged format number must not pass for a newer one.
    const std::uint64_t format = take_number(json, "format", path);
    if (format > kFormat) {
        fail(
            ErrorKind::kUnsupported,
            "Collection has a newer format than this build reads: ", path.string(), ", format ",
            format, ", expected at most ", kFormat);
    }
    manifest.format = static_cast<std::uint32_t>(format);
    manifest.creator = take_text(json, "creator", path);
    manifest.dim = take_number(json, "dim", path);
    manifest.metric = take_metric(json, path);
    manifest.factory = take_text(json, "factory", path);
    manifest.model_id = take_text(json, "model_id", path);
    manifest.keep_raw = take<bool>(
        json, "keep_raw", json.contains("keep_raw") && json["keep_raw"].is_boolean(), path);
    if (!json.empty()) {
        fail(
            ErrorKind::kUnsupported,
            "Manifest has a field that this build does not know: ", path.string(), ", field \"",
            json.begin().key(), "\"");
    }
    return manifest;
}

void write_manifest(const std::filesystem::path& directory, const Manifest& manifest) {
    Json json = to_json(manifest);
    std::string text;
    try {
        json["sha256"] = sha256_hex(json.dump());
        text = json.dump(4) + "\n";
    } catch (const Json::type_error&) {
        fail(
            ErrorKind::kInvalidArgument,
            "Manifest has a text that is not UTF-8, creator, factory or model id: ",
            directory.string());
    }
    write_file_atomically(path_in(directory), text);
}

} // namespace arfc::storage
