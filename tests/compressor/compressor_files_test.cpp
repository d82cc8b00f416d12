#include <filesystem>
#include <nlohmann/json.hpp>

#include "arfc/base/files.h"
#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "random_rows.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

class CompressorFilesTest : public ::testing::Test {
  protected:
    static const Compressor& model() {
        static const std::unique_ptr<Compressor> kTrained = [] {
            TrainOptions options;
            options.code_bytes = 20;
            return Compressor::train(test::view(test::random_rows(1500, 24), 24), options);
        }();
        return *kTrained;
    }
    void SetUp() override { model().save(directory_ / "model"); }

    std::string path(const char* name) const { return (directory_ / "model" / name).string(); }
    void expect_open_fails(ErrorKind kind, const std::string& text) const {
        ARFC_EXPECT_ERROR(Compressor::open(directory_ / "model"), kind, text);
    }

    test::TemporaryDirectory directory_;
};

TEST_F(CompressorFilesTest, AnOpenedModelIsTheSavedOne) {
    const auto opened = Compressor::open(directory_ / "model");
    EXPECT_EQ(opened->id(), model().id());
    EXPECT_EQ(opened->files().config, model().files().config);
    EXPECT_EQ(opened->files().weights, model().files().weights);
    EXPECT_EQ(opened->report().trained_rows, 1425U);
    const std::vector<float> rows = test::random_rows(100, 24, 3);
    std::vector<std::byte> left(2000);
    std::vector<std::byte> right(2000);
    model().encode(test::view(rows, 24), 20, {left.data(), 100, 20});
    opened->encode(test::view(rows, 24), 20, {right.data(), 100, 20});
    EXPECT_EQ(left, right);
}

TEST_F(CompressorFilesTest, SaysWhatAModelCosts) {
    const auto config = nlohmann::json::parse(model().files().config);
    EXPECT_EQ(config["model_bytes"], model().model_bytes());
    // 24 x 24 rotation, 16 codebooks of 256 x 24, 4 of 256 x 3; a multiply-add is two operations.
    EXPECT_EQ(config["flop_per_encoded_row"], 2.0 * (24 * 24 + 16 * 256 * 24 + 4 * 256 * 3));
    EXPECT_EQ(model().model_bytes(), 4U * (24 * 24 + 24 + 16 * 256 * 24 + 4 * 256 * 3));
}

TEST_F(CompressorFilesTest, MissingThingsAreNamed) {
    ARFC_EXPECT_ERROR(Compressor::open(directory_ / "absent"), ErrorKind::kNotFound, "absent");
    std::filesystem::remove(path("model.safetensors"));
    expect_open_fails(ErrorKind::kCorruption, "lacks a file: " + path("model.safetensors"));
    std::filesystem::create_directory(path("model.safetensors")); // There, and yet no file.
    expect_open_fails(ErrorKind::kIo, path("model.safetensors"));
    std::filesystem::remove(path("manifest.json"));
    expect_open_fails(ErrorKind::kCorruption, "lacks a file: " + path("manifest.json"));
}

TEST_F(CompressorFilesTest, DamageIsFound) {
    for (const char* name : {"config.json", "model.safetensors"}) {
        const std::string good = read_file(path(name));
        for (const std::size_t at : {std::size_t{0}, good.size() / 2, good.size() - 1}) {
            std::string bad = good;
            bad[at] = static_cast<char>(bad[at] ^ 0x10);
            write_file_atomically(path(name), bad);
            expect_open_fails(ErrorKind::kCorruption, "SHA-256 differs");
        }
        write_file_atomically(path(name), good.substr(0, good.size() / 3));
        expect_open_fails(ErrorKind::kCorruption, "SHA-256 differs");
        write_file_atomically(path(name), good);
    }
    write_file_atomically(path("manifest.json"), "{");
    expect_open_fails(ErrorKind::kCorruption, "manifest.json cannot be read");
}

TEST_F(CompressorFilesTest, ContentThatContradictsItselfIsRefused) {
    const ModelFiles good = model().files();
    const auto refuses = [&](const char* field, const nlohmann::json& value, ErrorKind kind) {
        auto config = nlohmann::ordered_json::parse(good.config);
        config[field] = value;
        try {
            (void)Compressor::open(ModelFiles{config.dump(), good.weights});
            ADD_FAILURE() << field << " = " << value << " was accepted";
        } catch (const Error& error) {
            EXPECT_EQ(to_string(error.kind()), to_string(kind)) << field << ": " << error.what();
        }
    };
    refuses("format", 1, ErrorKind::kUnsupported);
    refuses("format", -1, ErrorKind::kUnsupported);
    refuses("format", "0", ErrorKind::kCorruption);
    refuses("kind", "quantum", ErrorKind::kUnsupported);
    refuses("dim", 25, ErrorKind::kCorruption);
    refuses("dim", -1, ErrorKind::kCorruption);
    refuses("dim", "24", ErrorKind::kCorruption);
    refuses("code_bytes", 21, ErrorKind::kCorruption);
    refuses("code_bytes", 0, ErrorKind::kCorruption);
    refuses("metric", "l2", ErrorKind::kCorruption); // Fits in shape; the identity tells.
    refuses("beam_width", 0, ErrorKind::kCorruption);
    refuses("beam_width", 1000, ErrorKind::kCorruption);
    refuses("commit_points", nlohmann::json::array(), ErrorKind::kCorruption);
    refuses("commit_points", {16, 8}, ErrorKind::kCorruption);
    refuses("subspace_bounds", {0, 12}, ErrorKind::kCorruption);
    refuses("late_subspaces", {0, 1, 2, 99}, ErrorKind::kCorruption);
    refuses("late_beam_width", 0, ErrorKind::kCorruption);
    refuses("late_beam_width", 65, ErrorKind::kCorruption);
    refuses("norm_shrinkage", 1.5, ErrorKind::kCorruption);
    refuses("norm_shrinkage", -0.1, ErrorKind::kCorruption);
    refuses("late_commit_points", nlohmann::json::array(), ErrorKind::kCorruption);
    refuses("late_commit_points", {2, 2}, ErrorKind::kCorruption);
    refuses("late_commit_points", "2", ErrorKind::kCorruption);
    refuses("id", "0", ErrorKind::kCorruption);
}

TEST_F(CompressorFilesTest, ResidualsThatContradictThemselvesAreRefused) {
    const ModelFiles good = model().files();
    const auto point = [](std::size_t bytes, double share, double deviation) {
        return nlohmann::json{{"bytes", bytes}, {"share", share}, {"deviation", deviation}};
    };
    using Json = nlohmann::json;
    const auto refuses = [&](const Json& points, const std::string& text) {
        auto config = nlohmann::ordered_json::parse(good.config);
        config["training"]["held_out_residual"] = points;
        ARFC_EXPECT_ERROR(
            (void)Compressor::open(ModelFiles{config.dump(), good.weights}), ErrorKind::kCorruption,
            text);
    };
    const std::string contradicts = "contradicts itself: held_out_residual";
    refuses(Json::array({point(8, 0.5, 0.1)}), contradicts); // The longest code is of 20 bytes.
    refuses({point(20, 0.5, 0.1), point(8, 0.5, 0.1)}, contradicts);
    refuses({point(0, 0.5, 0.1), point(20, 0.5, 0.1)}, contradicts);
    refuses(Json::array({point(20, -0.5, 0.1)}), contradicts);
    refuses(Json::array({point(20, 0.5, -0.1)}), contradicts);
    refuses(Json::array({{{"bytes", 20}}}), "lacks a field");
    refuses("none", "lacks a field or has one of a wrong type");
    auto config = nlohmann::ordered_json::parse(good.config);
    config["training"]["held_out_residual"] = Json::array({point(20, 0.5, 0.1)});
    EXPECT_NO_THROW((void)Compressor::open(ModelFiles{config.dump(), good.weights}));
}

TEST_F(CompressorFilesTest, PartsThatContradictThemselvesAreRefused) {
    const ModelFiles good = model().files();
    using Json = nlohmann::json;
    const auto with = [&](const Json& recall) {
        auto config = nlohmann::ordered_json::parse(good.config);
        config["training"]["parts"] =
            Json::array({{{"part", "relations"}, {"is_kept", true}, {"held_out_recall", recall}}});
        return ModelFiles{config.dump(), good.weights};
    };
    const auto point = [](std::size_t bytes, double recall) {
        return Json{{"bytes", bytes}, {"recall_at_10", recall}};
    };
    const Json contradictions[] = {
        Json::array({point(0, 0.5)}),
        Json::array({point(21, 0.5)}),
        Json::array({point(8, 0.5), point(8, 0.5)}),
        Json::array({point(20, 0.5), point(8, 0.5)}),
        Json::array({point(8, -0.01)}),
        Json::array({point(8, 1.01)})};
    for (const Json& recall : contradictions) {
        ARFC_EXPECT_ERROR(
            (void)Compressor::open(with(recall)), ErrorKind::kCorruption,
            "contradicts itself: parts");
    }
    ARFC_EXPECT_ERROR(
        (void)Compressor::open(with(Json::array({Json::object()}))), ErrorKind::kCorruption,
        "lacks a field");
    for (const Json& recall : {Json::array(), Json::array({point(1, 0.0), point(20, 1.0)})}) {
        EXPECT_NO_THROW((void)Compressor::open(with(recall)));
    }
}

class CompactModelTest : public ::testing::Test {
  protected:
    static std::unique_ptr<Compressor> train(
        bool compact, float scale, Metric metric, std::size_t code_bytes) {
        std::vector<float> rows = test::random_rows(1100, 24); // Few, and yet some are held out.
        for (float& value : rows) {
            value *= scale;
        }
        TrainOptions options;
        options.code_bytes = code_bytes;
        options.metric = metric;
        options.compact = compact;
        options.relations = false;
        return Compressor::train(test::view(rows, 24), options);
    }
    /// The small model of two tests.
    static const Compressor& compact() {
        static const std::unique_ptr<Compressor> kModel = train(true, 1.0F, Metric::kCosine, 20);
        return *kModel;
    }
};

TEST_F(CompactModelTest, FilesAreHalfAsLargeAndTheModelIsTheSame) {
    const auto whole = train(false, 1.0F, Metric::kCosine, 20);
    const ModelFiles files = compact().files();
    EXPECT_NEAR(
        static_cast<double>(files.weights.size()),
        static_cast<double>(whole->files().weights.size()) / 2.0, 500.0);
    EXPECT_EQ(compact().model_bytes(), whole->model_bytes()); // In memory.
    EXPECT_NE(compact().id(), whole->id());
    const auto opened = Compressor::open(files);
    EXPECT_EQ(opened->id(), compact().id());
    EXPECT_EQ(opened->files().weights, files.weights);
    EXPECT_EQ(opened->files().config, files.config);
    const std::vector<float> rows = test::random_rows(200, 24, 3);
    std::vector<std::byte> left(200 * 20);
    std::vector<std::byte> right(200 * 20);
    compact().encode(test::view(rows, 24), 20, {left.data(), 200, 20});
    opened->encode(test::view(rows, 24), 20, {right.data(), 200, 20});
    EXPECT_EQ(left, right);
    ASSERT_FALSE(compact().report().residuals.empty());
    constexpr double kRounding = 1e-4; // Of the rows' energy, where little else is left.
    for (std::size_t i = 0; i < compact().report().residuals.size(); ++i) {
        EXPECT_NEAR(
            compact().report().residuals[i].share, whole->report().residuals[i].share,
            0.01 * whole->report().residuals[i].share + kRounding);
    }
}

TEST_F(CompactModelTest, DamageToAHalfIsFound) {
    ModelFiles files = compact().files();
    files.weights[files.weights.size() / 2] =
        static_cast<char>(files.weights[files.weights.size() / 2] ^ 0x01);
    ARFC_EXPECT_ERROR(
        (void)Compressor::open(files), ErrorKind::kCorruption,
        "Model's identity differs from its content");
}

TEST_F(CompactModelTest, RowsOfAScaleThatHalvesDoNotReachAreCodedAsWell) {
    for (const float scale : {1e-7F, 1e6F}) {
        const auto whole = train(false, scale, Metric::kL2, 6);
        const auto compact = train(true, scale, Metric::kL2, 6);
        ASSERT_EQ(whole->report().residuals.size(), compact->report().residuals.size());
        EXPECT_NEAR(
            compact->report().residuals.back().share, whole->report().residuals.back().share,
            0.02 * whole->report().residuals.back().share)
            << scale;
    }
}

TEST_F(CompressorFilesTest, DevicesAreChecked) {
    EXPECT_NO_THROW((void)Compressor::open(directory_ / "model", "cpu"));
    ARFC_EXPECT_ERROR(
        Compressor::open(directory_ / "model", "cuda:0"), ErrorKind::kUnsupported, "cuda:0");
    ARFC_EXPECT_ERROR(
        Compressor::open(directory_ / "model", "toaster"), ErrorKind::kInvalidArgument, "toaster");
}

TEST_F(CompressorFilesTest, AnUnwritableDirectoryIsAnIoError) {
    write_file_atomically(directory_ / "file", "not a directory");
    ARFC_EXPECT_ERROR(model().save(directory_ / "file"), ErrorKind::kIo, "file");
    if (std::filesystem::is_directory("/proc/self")) {
        ARFC_EXPECT_ERROR(model().save("/proc/self/model"), ErrorKind::kIo, "/proc/self/model");
    }
}

} // namespace
} // namespace arfc
