#include "residual_model.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "expect_error.h"
#include "random_rows.h"
#include "safetensors.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 4;

/// A model with every part there can be: two tokens over the whole space, three over halves of it.
ResidualModel whole_model() {
    ResidualModel model;
    model.dim = kDim;
    model.code_bytes = 5;
    model.metric = Metric::kCosine;
    model.beam_width = 8;
    model.commit_points = {1, 2};
    model.entry = {
        .hidden = test::random_rows(2, kDim, 9),
        .hidden_bias = {1.0F, 2.0F},
        .output = test::random_rows(kDim, 2, 10)};
    model.rotation = test::random_rows(kDim, kDim, 1);
    model.exit_map = test::random_rows(kDim, kDim, 2);
    model.decode_map = test::random_rows(kDim, kDim, 3);
    model.mean = {1.0F, 2.0F, 3.0F, 4.0F};
    model.early = test::random_rows(2 * kSymbols, kDim, 4);
    model.landmarks = test::random_rows(3, kDim, 11);
    model.landmarks_asked = 2;
    model.landmark_error_weight = 0.5;
    model.norm_shrinkage = 0.25;
    model.subspace_bounds = {0, 1, kDim};
    model.late_subspaces = {1, 0, 1};
    model.late_beam_width = 5;
    model.late_commit_points = {1, 3};
    model.late = test::random_rows(kSymbols, 3 + 1 + 3, 5);
    model.features.map = test::random_rows(kDim, kDim, 6);
    model.features.offset = {0.1F, 0.2F, 0.3F, 0.4F};
    model.features.bend.hidden = test::random_rows(3, kDim, 7);
    model.features.bend.hidden_bias = {1.0F, 2.0F, 3.0F};
    model.features.bend.output = test::random_rows(kDim, 3, 8);
    return model;
}

TEST(ResidualModelTest, EveryPartIsReadAgain) {
    const ResidualModel model = whole_model();
    TrainReport report;
    report.trained_rows = 11;
    report.held_out_rows = 12;
    report.seconds = 13.5;
    report.stopped_by_budget = true;
    report.recall = {{4, 0.25}, {5, 0.5}};
    report.residuals = {{4, 0.75, 0.125}, {5, 0.5, 0.25}};
    report.pairs = PairReport{100, true, {50, 0.1, 0.2}, {60, 0.3, 0.4}};
    report.parts = {{"codebooks", true, {{1, 0.125}, {2, 0.5}}}, {"relations", false, {}}};
    const ModelFiles files = write_residual_model(model, report);
    const StoredResidualModel back = read_residual_model(files);
    EXPECT_EQ(back.model.metric, model.metric);
    EXPECT_EQ(back.model.beam_width, model.beam_width);
    EXPECT_EQ(back.model.commit_points, model.commit_points);
    EXPECT_EQ(back.model.entry, model.entry);
    EXPECT_EQ(back.model.rotation, model.rotation);
    EXPECT_EQ(back.model.exit_map, model.exit_map);
    EXPECT_EQ(back.model.decode_map, model.decode_map);
    EXPECT_EQ(back.model.mean, model.mean);
    EXPECT_EQ(back.model.early, model.early);
    EXPECT_EQ(back.model.landmarks, model.landmarks);
    EXPECT_EQ(back.model.landmarks_asked, model.landmarks_asked);
    EXPECT_EQ(back.model.landmark_error_weight, model.landmark_error_weight);
    EXPECT_EQ(back.model.norm_shrinkage, model.norm_shrinkage);
    EXPECT_EQ(back.model.subspace_bounds, model.subspace_bounds);
    EXPECT_EQ(back.model.late_subspaces, model.late_subspaces);
    EXPECT_EQ(back.model.late_beam_width, model.late_beam_width);
    EXPECT_EQ(back.model.late_commit_points, model.late_commit_points);
    EXPECT_EQ(back.model.late, model.late);
    EXPECT_EQ(back.model.features, model.features);
    EXPECT_EQ(back.report.trained_rows, 11U);
    EXPECT_EQ(back.report.held_out_rows, 12U);
    EXPECT_EQ(back.report.seconds, 13.5);
    EXPECT_TRUE(back.report.stopped_by_budget);
    EXPECT_EQ(back.report.pairs->pairs, 100U);
    EXPECT_TRUE(back.report.pairs->is_kept);
    EXPECT_EQ(back.report.pairs->seen.queries, 50U);
    EXPECT_EQ(back.report.pairs->unseen.after, 0.4);
    ASSERT_EQ(back.report.parts.size(), 2U);
    EXPECT_EQ(back.report.parts[0].part, "codebooks");
    EXPECT_TRUE(back.report.parts[0].is_kept);
    ASSERT_EQ(back.report.parts[0].recall.size(), 2U);
    EXPECT_EQ(back.report.parts[0].recall[1].bytes, 2U);
    EXPECT_EQ(back.report.parts[0].recall[1].recall_at_10, 0.5);
    EXPECT_EQ(back.report.parts[1].part, "relations");
    EXPECT_FALSE(back.report.parts[1].is_kept);
    EXPECT_TRUE(back.report.parts[1].recall.empty());
    const ModelFiles again = write_residual_model(back.model, back.report);
    EXPECT_EQ(again.config, files.config);
    EXPECT_EQ(again.weights, files.weights);
}

TEST(ResidualModelTest, SaysWhatItCosts) {
    const ResidualModel model = whole_model();
    const double symbols = 256.0 * (2 * 4 + 3 + 1 + 3);
    const double entry = 2.0 * 4 + 4.0 * 2;
    EXPECT_EQ(model.query_flop(), 2.0 * (entry + 16 + symbols));
    EXPECT_EQ(model.encode_flop(), model.query_flop() + 2.0 * 3 * 4);
    const std::size_t features = 16 + 4 + 12 + 3 + 12;
    EXPECT_EQ(model.weights_bytes(), 4 * (18 + 3 * 16 + 4 + 12 + 256U * 15 + features));
    const auto config = nlohmann::json::parse(write_residual_model(model, {}).config);
    EXPECT_EQ(config["flop_per_query"], model.query_flop());
    EXPECT_EQ(config["flop_per_encoded_row"], model.encode_flop());
    EXPECT_EQ(config["flop_per_feature_row"], 2.0 * (16 + 12 + 12));
    EXPECT_EQ(config["model_bytes"], model.weights_bytes());
    ResidualModel plain = model;
    plain.features = {};
    EXPECT_FALSE(nlohmann::json::parse(write_residual_model(plain, {}).config)
                     .contains("flop_per_feature_row"));
}

TEST(ResidualModelTest, RunsGoFromOneCommitPointToTheNext) {
    ResidualModel model;
    model.subspace_bounds = {0, 1, 2, 3};
    model.late_subspaces = {0, 1, 0, 0, 1, 0};
    using Runs = std::vector<std::vector<std::vector<std::size_t>>>;
    model.late_commit_points = {2, 3};
    EXPECT_EQ(model.late_runs(), (Runs{{{0, 2}, {3}, {5}}, {{1, 4}}, {}}));
    model.late_commit_points = {};
    EXPECT_EQ(model.late_runs(), (Runs{{{0}, {2}, {3}, {5}}, {{1}, {4}}, {}}));
}

/// Each by its own rule: what comes after them, the identity, would refuse them all.
TEST(ResidualModelTest, NumbersThatContradictEachOtherAreRefusedByName) {
    const ModelFiles good = write_residual_model(whole_model(), {});
    using Json = nlohmann::json;
    const struct {
        const char* field;
        Json value;
        const char* named = nullptr; ///< What the error names, if not the field.
    } cases[] = {
        {"dim", 0},
        {"dim", 65537},
        {"code_bytes", 0},
        {"code_bytes", 1025},
        {"beam_width", 0},
        {"beam_width", 65},
        {"beam_width", 17, "landmarks_asked"}, // No more are proposed for sure.
        {"landmarks", 0},
        {"landmarks", 1},
        {"landmarks_asked", 0, "landmarks"},
        {"landmarks_asked", 4, "landmarks"},
        {"landmark_error_weight", -0.5},
        {"landmark_error_weight", 2e6},
        {"late_subspaces", {1, 0, 1, 0, 1}},
        {"late_subspaces", {1, 0, 2}},
        {"commit_points", Json::array()},
        {"commit_points", {0, 2}},
        {"commit_points", Json::array({1})},
        {"commit_points", {2, 2}},
        {"subspace_bounds", Json::array({0})},
        {"subspace_bounds", {1, 2, 4}},
        {"subspace_bounds", {0, 1, 3}},
        {"subspace_bounds", {0, 4, 4}},
        {"late_beam_width", 0},
        {"late_beam_width", 65},
        {"late_commit_points", Json::array()},
        {"late_commit_points", {0, 3}},
        {"late_commit_points", {3, 3}},
        {"norm_shrinkage", 1.25},
        {"norm_shrinkage", -0.25},
        {"metric", "l2", "norm_shrinkage"},
    };
    for (const auto& c : cases) {
        Json config = Json::parse(good.config);
        config[c.field] = c.value;
        ARFC_EXPECT_ERROR(
            (void)read_residual_model({config.dump(), good.weights}), ErrorKind::kCorruption,
            std::string("contradicts itself: ") + (c.named != nullptr ? c.named : c.field));
    }
}

using Change = std::function<void(ResidualModel&)>;

TEST(ResidualModelTest, LimitsBelongToWhatIsAllowed) {
    const Change cases[] = {
        [](ResidualModel& model) { model.beam_width = 1; },
        [](ResidualModel& model) { model.beam_width = 16; },
        [](ResidualModel& model) { model.landmarks_asked = 3; },
        [](ResidualModel& model) { model.landmark_error_weight = 0.0; },
        [](ResidualModel& model) {
            model.landmarks = {};
            model.landmarks_asked = 0;
            model.landmark_error_weight = 0.0;
            model.beam_width = 64;
        },
        [](ResidualModel& model) { model.late_beam_width = 64; },
        [](ResidualModel& model) { model.norm_shrinkage = 1.0; },
        [](ResidualModel& model) { model.norm_shrinkage = 0.0; },
        [](ResidualModel& model) { // No beam: every token is committed.
            model.late_beam_width = 1;
            model.late_commit_points = {};
        },
        [](ResidualModel& model) {
            model.metric = Metric::kL2;
            model.norm_shrinkage = 0.0;
        },
        [](ResidualModel& model) { // One token, and none of a sub-space.
            model.code_bytes = 1;
            model.commit_points = {1};
            model.early.resize(kSymbols * kDim);
            model.late_subspaces = {};
            model.late = {};
        },
        [](ResidualModel& model) { // As many tokens as there may be.
            model.code_bytes = 1024;
            model.late_subspaces.resize(1022, 0);
            model.late = std::vector<float>(kSymbols * (3 + 1 + 3 + 1019), 0.5F);
        },
    };
    for (const Change& change : cases) {
        ResidualModel model = whole_model();
        change(model);
        const ModelFiles files = write_residual_model(model, {});
        StoredResidualModel back;
        EXPECT_NO_THROW(back = read_residual_model(files));
        EXPECT_EQ(write_residual_model(back.model, {}).config, files.config);
        EXPECT_EQ(back.model.late_beam_width, model.late_beam_width);
        EXPECT_EQ(back.model.norm_shrinkage, model.norm_shrinkage);
    }
}

TEST(ResidualModelTest, TensorsMustFitTheConfiguration) {
    const ModelFiles good = write_residual_model(whole_model(), {});
    const auto refuses = [&](const std::string& text, const auto& change) {
        auto tensors = read_safetensors(good.weights);
        change(tensors);
        ARFC_EXPECT_ERROR(
            (void)read_residual_model({good.config, write_safetensors(tensors)}),
            ErrorKind::kCorruption, text);
    };
    for (const char* name :
         {"mean", "early", "late", "rotation", "exit_map", "decode_map", "landmarks",
          "entry_hidden", "entry_hidden_bias", "entry_output"}) {
        refuses(std::string("does not fit its config.json in tensor: ") + name, [&](auto& tensors) {
            tensors[name].shape = {tensors[name].values.size(), 1};
        });
        refuses(std::string("not finite in tensor: ") + name, [&](auto& tensors) {
            tensors[name].values.back() = INFINITY;
        });
    }
    const auto without = [&](std::vector<const char*> names, const std::string& text) {
        refuses(text, [&](auto& tensors) {
            for (const char* name : names) {
                tensors.erase(name);
            }
        });
    };
    without({"rotation"}, "exit_map without rotation");
    without({"exit_map"}, "exit_map without entry");
    without({"entry_hidden"}, "in tensor: entry_hidden");
    without({"entry_hidden_bias"}, "in tensor: entry_hidden_bias");
    without({"entry_output"}, "in tensor: entry_output");
    without({"entry_hidden", "entry_hidden_bias", "entry_output"}, "exit_map without entry");
    without( // There may be none.
        {"entry_hidden", "entry_hidden_bias", "entry_output", "exit_map"}, "identity differs");
    without({"decode_map"}, "identity differs");
    refuses("identity differs", [](auto& tensors) { tensors["mean"].values[0] = 1.5F; });
}

} // namespace
} // namespace arfc
