#include "arfc/storage/manifest.h"

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "arfc/base/files.h"
#include "arfc/base/sha256.h"
#include "expect_error.h"
#include "temporary_directory.h"
#include "unprivileged.h"

namespace arfc::storage::test {
namespace {

const Manifest kManifest{
    .format = kFormat,
    .creator = "arfc 0.1.0",
    .dim = 384,
    .metric = Metric::kL2,
    .factory = "ARFC96/16,IVF256",
    .model_id = "0123abcd",
    .keep_raw = true};

void put_text(const std::filesystem::path& directory, std::string_view text) {
    std::ofstream(directory / "manifest.json", std::ios::binary) << text;
}

/// Writes a manifest that was changed and then sealed with a right checksum, as another build
/// could.
void put_sealed(
    const std::filesystem::path& directory, const std::function<void(nlohmann::json&)>& change) {
    write_manifest(directory, kManifest);
    nlohmann::json json = nlohmann::json::parse(read_file(directory / "manifest.json"));
    json.erase("sha256");
    change(json);
    json["sha256"] = sha256_hex(json.dump());
    put_text(directory, json.dump());
}

TEST(Manifest, ComesBackAsItWasWritten) {
    const arfc::test::TemporaryDirectory directory;
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2, Metric::kCosine}) {
        Manifest written = kManifest;
        written.metric = metric;
        written.model_id = metric == Metric::kCosine ? "" : "0123abcd";
        written.keep_raw = metric == Metric::kL2;
        write_manifest(directory.path(), written);
        const Manifest read = read_manifest(directory.path());
        EXPECT_EQ(read.format, written.format);
        EXPECT_EQ(read.creator, written.creator);
        EXPECT_EQ(read.dim, written.dim);
        EXPECT_EQ(read.metric, written.metric);
        EXPECT_EQ(read.factory, written.factory);
        EXPECT_EQ(read.model_id, written.model_id);
        EXPECT_EQ(read.keep_raw, written.keep_raw);
    }
}

TEST(Manifest, IsTheTextThatTheFormatDescribes) {
    const arfc::test::TemporaryDirectory directory;
    write_manifest(directory.path(), kManifest);
    const std::string rest =
        R"({"creator":"arfc 0.1.0","dim":384,"factory":"ARFC96/16,IVF256","format":0,)"
        R"("keep_raw":true,"metric":"l2","model_id":"0123abcd"})";
    nlohmann::json json = nlohmann::json::parse(read_file(directory / "manifest.json"));
    EXPECT_EQ(json["sha256"].get<std::string>(), sha256_hex(rest));
    json.erase("sha256");
    EXPECT_EQ(json.dump(), rest);
}

TEST(Manifest, IsLaidOutForPeopleToRead) {
    const arfc::test::TemporaryDirectory directory;
    write_manifest(directory.path(), kManifest);
    const std::string text = read_file(directory / "manifest.json");
    EXPECT_TRUE(text.starts_with("{\n    \"creator\": \"arfc 0.1.0\",\n    \"dim\": 384,\n"))
        << text;
    EXPECT_TRUE(text.ends_with("\"\n}\n")) << text;
}

TEST(Manifest, MissingOnesAreNotFound) {
    const arfc::test::TemporaryDirectory directory;
    ARFC_EXPECT_ERROR(
        static_cast<void>(read_manifest(directory.path())), ErrorKind::kNotFound,
        (directory / "manifest.json").string());
    ARFC_EXPECT_ERROR(
        static_cast<void>(read_manifest(directory / "absent")), ErrorKind::kNotFound, "absent");
    ARFC_EXPECT_ERROR(write_manifest(directory / "absent", kManifest), ErrorKind::kIo, "absent");
}

TEST(Manifest, TruncatedAnywhereIsCorruption) {
    const arfc::test::TemporaryDirectory directory;
    write_manifest(directory.path(), kManifest);
    const std::string text = read_file(directory / "manifest.json");
    for (std::size_t length = 0; length + 2 < text.size() + 1; ++length) { // All but the closing
                                                                           // brace and newline.
        put_text(directory.path(), text.substr(0, length));
        ARFC_EXPECT_ERROR(
            static_cast<void>(read_manifest(directory.path())), ErrorKind::kCorruption,
            (directory / "manifest.json").string());
    }
}

TEST(Manifest, EveryFlippedBitIsCorruption) {
    const arfc::test::TemporaryDirectory directory;
    write_manifest(directory.path(), kManifest);
    const std::string text = read_file(directory / "manifest.json");
    for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
        std::string damaged = text;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
        put_text(directory.path(), damaged);
        ARFC_EXPECT_ERROR(
            static_cast<void>(read_manifest(directory.path())), ErrorKind::kCorruption,
            "Manifest is damaged");
        if (::testing::Test::HasFailure()) {
            FAIL() << "bit " << bit << " of\n" << damaged;
        }
    }
}

TEST(Manifest, OtherTextsAreCorruption) {
    const arfc::test::TemporaryDirectory directory;
    for (const char* text :
         {"", "null", "[]", "{}", "\"x\"", R"({"sha256": 5})", R"({"sha256": ""})",
          "{\"a\": \xFF}"}) {
        put_text(directory.path(), text);
        ARFC_EXPECT_ERROR(
            static_cast<void>(read_manifest(directory.path())), ErrorKind::kCorruption,
            "Manifest is damaged");
    }
    put_text(directory.path(), std::string(100000, '['));
    ARFC_EXPECT_ERROR(
        static_cast<void>(read_manifest(directory.path())), ErrorKind::kCorruption,
        "not a JSON object");
}

TEST(Manifest, FieldsOfAnotherTypeAreCorruptionThatNamesThem) {
    const arfc::test::TemporaryDirectory directory;
    for (const char* name :
         {"format", "creator", "dim", "metric", "factory", "model_id", "keep_raw"}) {
        put_sealed(directory.path(), [&](nlohmann::json& json) { json.erase(name); });
        ARFC_EXPECT_ERROR(
            static_cast<void>(read_manifest(directory.path())), ErrorKind::kCorruption, name);
        put_sealed(directory.path(), [&](nlohmann::json& json) { json[name] = -1.5; });
        ARFC_EXPECT_ERROR(
            static_cast<void>(read_manifest(directory.path())), ErrorKind::kCorruption, name);
    }
    put_sealed(directory.path(), [](nlohmann::json& json) { json["metric"] = "hamming"; });
    ARFC_EXPECT_ERROR(
        static_cast<void>(read_manifest(directory.path())), ErrorKind::kCorruption, "hamming");
}

TEST(Manifest, WhatANewerBuildWroteIsUnsupported) {
    const arfc::test::TemporaryDirectory directory;
    put_sealed(directory.path(), [](nlohmann::json& json) { json["format"] = kFormat + 1; });
    ARFC_EXPECT_ERROR(
        static_cast<void>(read_manifest(directory.path())), ErrorKind::kUnsupported,
        "format 1, expected at most 0");
    put_sealed(directory.path(), [](nlohmann::json& json) { json["format"] = 1ULL << 40U; });
    ARFC_EXPECT_ERROR(
        static_cast<void>(read_manifest(directory.path())), ErrorKind::kUnsupported,
        "1099511627776");
    put_sealed(directory.path(), [](nlohmann::json& json) { json["tenants"] = 3; });
    ARFC_EXPECT_ERROR(
        static_cast<void>(read_manifest(directory.path())), ErrorKind::kUnsupported,
        "field \"tenants\"");
}

TEST(Manifest, TextThatIsNotUtf8IsRefusedAndTheOldOneStays) {
    const arfc::test::TemporaryDirectory directory;
    write_manifest(directory.path(), kManifest);
    Manifest bad = kManifest;
    bad.factory = "\xFF\xFE";
    ARFC_EXPECT_ERROR(
        write_manifest(directory.path(), bad), ErrorKind::kInvalidArgument, "not UTF-8");
    EXPECT_EQ(read_manifest(directory.path()).factory, kManifest.factory);
}

TEST(Manifest, AReadOnlyDirectoryIsAnIoErrorWithThePath) {
    const arfc::test::TemporaryDirectory directory;
    write_manifest(directory.path(), kManifest);
    const Unprivileged unprivileged(directory.path());
    ARFC_EXPECT_ERROR(
        write_manifest(directory.path(), kManifest), ErrorKind::kIo, directory.path().string());
    EXPECT_EQ(read_manifest(directory.path()).dim, 384U);
}

} // namespace
} // namespace arfc::storage::test
