#include "feature_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "learning_steps.h"
#include "random_rows.h"
#include "residual_model.h"
#include "safetensors.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 40;
constexpr std::size_t kRows = 1500;
constexpr std::size_t kHeldOut = 150;

/// Rows that lie on a bent surface: few numbers tell where, but no plane holds them.
std::vector<float> bent_rows(std::size_t count, std::uint64_t seed) {
    std::mt19937_64 shared(5);
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> uniform(-2.0F, 2.0F);
    constexpr std::size_t kFree = 3;
    std::vector<float> frequencies(kDim * kFree);
    std::vector<float> phases(kDim);
    std::ranges::generate(frequencies, [&] { return normal(shared); });
    std::ranges::generate(phases, [&] { return 3.0F * normal(shared); });
    std::vector<float> rows(count * kDim);
    for (std::size_t i = 0; i < count; ++i) {
        const float place[kFree] = {uniform(random), uniform(random), uniform(random)};
        for (std::size_t j = 0; j < kDim; ++j) {
            float angle = phases[j];
            for (std::size_t k = 0; k < kFree; ++k) {
                angle += frequencies[j * kFree + k] * place[k];
            }
            rows[i * kDim + j] = std::sin(angle) + 0.02F * normal(random);
        }
    }
    return rows;
}

/// The task of such rows; `rows` and `held_out` must outlive it.
FeatureTask task_of(const std::vector<float>& rows, const std::vector<float>& held_out) {
    return {
        .rows = test::view(rows, kDim),
        .held_out = test::view(held_out, kDim),
        .metric = Metric::kL2,
        .seed = 3,
        .go_on = [] { return true; }};
}

/// The rows of most tests, and what is learned of them.
struct Bent {
    std::vector<float> rows = bent_rows(kRows, 1);
    std::vector<float> held_out = bent_rows(kHeldOut, 2);
    int asked = 0;
    LearnedFeatures learned = [this] {
        FeatureTask all = task();
        all.go_on = [this] { return ++asked > 0; };
        return learn_features(all);
    }();

    [[nodiscard]] FeatureTask task() const { return task_of(rows, held_out); }
    /// The same with few steps, for what does not need them all.
    [[nodiscard]] FeatureTask short_task() const {
        FeatureTask shortened = task();
        shortened.go_on = [asked = std::make_shared<int>(0)] { return ++*asked < 64; };
        return shortened;
    }
};

const Bent& bent() {
    static const Bent kBent;
    return kBent;
}

/// Rows' covariance as their features see it must be diagonal and fall, where those are axes.
void expect_principal_axes(const FeatureWeights& weights, const std::vector<float>& rows) {
    EXPECT_TRUE(weights.bend.hidden.empty());
    const FeatureMap map(weights);
    const std::size_t n = rows.size() / kDim;
    std::vector<float> features(rows.size());
    map.apply(test::view(rows, kDim), {features.data(), n, kDim});
    std::vector<double> moments(kDim * kDim, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t a = 0; a < kDim; ++a) {
            for (std::size_t b = 0; b < kDim; ++b) {
                moments[a * kDim + b] += static_cast<double>(features[i * kDim + a]) *
                                         static_cast<double>(features[i * kDim + b]);
            }
        }
    }
    for (std::size_t a = 0; a < kDim; ++a) {
        for (std::size_t b = 0; b < a; ++b) {
            EXPECT_NEAR(moments[a * kDim + b] / moments[0], 0.0, 1e-4) << a << ", " << b;
        }
        if (a > 0) {
            EXPECT_LE(moments[a * kDim + a], moments[(a - 1) * kDim + a - 1] * 1.0001);
        }
    }
}

TEST(FeatureTrainer, KeepsMoreNeighboursOfBentRowsThanPrincipalAxes) {
    const LearnedFeatures& learned = bent().learned;
    EXPECT_GT(learned.kept_before, 0.3);
    EXPECT_LT(learned.kept_before, 0.8);
    EXPECT_GT(learned.kept_after, learned.kept_before + 0.01);
    EXPECT_FALSE(learned.weights.bend.hidden.empty());
    EXPECT_EQ(bent().asked, 3 + 200) << "blocks of neighbours, and the fewest steps";
}

/// Under an inner product the mean of rows tells which are near, and would be lost by centring.
TEST(FeatureTrainer, BeginsWithTheAxesThatKeepMoreNeighbours) {
    std::vector<float> rows = test::random_rows(400, kDim);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] += i % kDim == kDim - 1 ? 20.0F + 10.0F * std::sin(static_cast<float>(i)) : 0.0F;
    }
    FeatureTask task = task_of(rows, rows);
    task.metric = Metric::kInnerProduct;
    task.held_out = task.held_out.slice(0, 100);
    const LearnedFeatures learned = learn_features(task); // Of axes alone: the rows are few.
    EXPECT_EQ(learned.weights.offset, std::vector<float>(kDim, 0.0F));
    EXPECT_GT(learned.kept_before, 0.3);
    EXPECT_EQ(learned.kept_after, learned.kept_before);
    EXPECT_GT(std::fabs(learned.weights.map[kDim - 1]), 0.9F);
}

/// What it says of its features must be true of them as they will be computed.
TEST(FeatureTrainer, SaysHowManyNeighboursItsFeaturesKeep) {
    const LearnedFeatures& learned = bent().learned;
    const std::vector<float>& held_out = bent().held_out;
    std::vector<float> features(held_out.size());
    FeatureMap(learned.weights)
        .apply(test::view(held_out, kDim), {features.data(), kHeldOut, kDim});
    const auto nearest = [&](const std::vector<float>& points, std::size_t dims, std::size_t i) {
        std::vector<std::pair<double, std::size_t>> others;
        for (std::size_t j = 0; j < kHeldOut; ++j) {
            double distance = 0.0;
            for (std::size_t k = 0; k < dims; ++k) {
                distance +=
                    std::pow(static_cast<double>(points[i * kDim + k] - points[j * kDim + k]), 2.0);
            }
            if (j != i) {
                others.emplace_back(distance, j);
            }
        }
        std::ranges::sort(others);
        others.resize(10);
        return others;
    };
    double kept = 0.0;
    for (const std::size_t dims : {2U, 4U, 10U, 20U}) {
        for (std::size_t i = 0; i < kHeldOut; ++i) {
            for (const auto& [unused, j] : nearest(held_out, kDim, i)) {
                kept += static_cast<double>(std::ranges::count(
                    nearest(features, dims, i), j, &std::pair<double, std::size_t>::second));
            }
        }
    }
    EXPECT_NEAR(kept / (4 * 10 * kHeldOut), learned.kept_after, 0.002); // Ties in float.
}

TEST(FeatureTrainer, IsDeterministicForASeed) {
    const FeatureWeights first = learn_features(bent().short_task()).weights;
    EXPECT_FALSE(first.bend.hidden.empty());
    EXPECT_EQ(learn_features(bent().short_task()).weights, first);
    FeatureTask other = bent().short_task();
    other.seed = 4;
    EXPECT_NE(learn_features(other).weights, first);
}

TEST(FeatureTrainer, KeepsPrincipalAxesWhereNothingCanGain) {
    const std::vector<float>& rows = bent().rows;
    FeatureTask few = bent().task();
    few.rows = few.rows.slice(0, 500);
    expect_principal_axes(
        learn_features(few).weights,
        {rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(500 * kDim)});
    FeatureTask unmeasured = bent().task();
    unmeasured.held_out = unmeasured.held_out.slice(0, 10);
    expect_principal_axes(learn_features(unmeasured).weights, rows);
    FeatureTask hurried = bent().task();
    hurried.go_on = [] { return false; };
    const LearnedFeatures learned = learn_features(hurried);
    EXPECT_EQ(learned.kept_after, learned.kept_before);
    expect_principal_axes(learned.weights, rows);
    const std::vector<float> same(kRows * kDim, 0.2F);
    FeatureTask equal = task_of(same, same);
    int steps = 0;
    equal.go_on = [&] { return ++steps < 60; };
    const LearnedFeatures flat = learn_features(equal);
    EXPECT_TRUE(std::ranges::all_of(flat.weights.map, [](float v) { return std::isfinite(v); }));
}

/// A power of two, which changes no bit of a number but its exponent.
TEST(FeatureTrainer, TheScaleOfRowsIsNoMatter) {
    constexpr float kShorter = 1.0F / 64.0F;
    const LearnedFeatures learned = learn_features(bent().short_task());
    std::vector<float> rows = bent().rows;
    std::vector<float> held_out = bent().held_out;
    for (std::vector<float>* const some : {&rows, &held_out}) {
        std::ranges::transform(*some, some->begin(), [](float value) { return kShorter * value; });
    }
    FeatureTask task = task_of(rows, held_out);
    task.go_on = bent().short_task().go_on;
    const LearnedFeatures shorter = learn_features(task);
    EXPECT_GT(learned.kept_after, learned.kept_before);
    EXPECT_EQ(shorter.kept_before, learned.kept_before);
    EXPECT_EQ(shorter.kept_after, learned.kept_after);
    EXPECT_EQ(shorter.weights.map, learned.weights.map);
    EXPECT_EQ(shorter.weights.bend.hidden_bias, learned.weights.bend.hidden_bias);
    ASSERT_EQ(shorter.weights.bend.hidden.size(), learned.weights.bend.hidden.size());
    for (std::size_t i = 0; i < learned.weights.bend.hidden.size(); ++i) {
        ASSERT_EQ(shorter.weights.bend.hidden[i] * kShorter, learned.weights.bend.hidden[i]);
        ASSERT_EQ(shorter.weights.bend.output[i], learned.weights.bend.output[i] * kShorter);
    }
    for (std::size_t j = 0; j < kDim; ++j) {
        EXPECT_EQ(shorter.weights.offset[j], learned.weights.offset[j] * kShorter);
    }
}

TEST(FeatureTrainer, FollowsTheTimeThatItHas) {
    FeatureTask task = bent().task();
    int asked = 0;
    task.go_on = [&] { return asked < 64; };
    task.spent = [&] { return static_cast<double>(++asked) / 64.0; };
    EXPECT_GT(learn_features(task).kept_after, 0.0);
    EXPECT_EQ(asked, 64);
}

LearningState stepped(const FeatureTask& task) {
    return test::stepped(task, learn_features);
}

/// A first step of AdamW moves a number by the rate, as long as its gradient is no rounding.
TEST(FeatureTrainer, StepsAreAsLongAsTheRateOfTheTime) {
    FeatureTask task = bent().task();
    const std::vector<float> none(kDim * 4 * kDim, 0.0F);
    const auto expect_steps = [&](const LearningState& state, double rate) {
        for (const char* name : {"output", "sharpness", "decoder_output"}) {
            EXPECT_NEAR(test::largest_change(state.arrays.at(name).values, none), rate, 0.01 * rate)
                << name;
        }
        for (const char* name : {"change", "decoder", "decoder_shift"}) {
            const double slow = 0.1 * rate;
            EXPECT_NEAR(test::largest_change(state.arrays.at(name).values, none), slow, 0.01 * slow)
                << name;
        }
    };
    constexpr double kFirst = 3e-3 / 20.0; // Of twenty steps that grow.
    LearningState state = stepped(task);
    expect_steps(state, kFirst);
    EXPECT_EQ(state.arrays.at("neighbours").shape[0], kRows);
    double sum = 0.0; // Of weights that began at random, with the deviation of a mean of so many.
    double squares = 0.0;
    const std::vector<float>& hidden = state.arrays.at("hidden").values;
    ASSERT_EQ(hidden.size(), kDim * 4 * kDim);
    for (const float value : hidden) {
        sum += double{value};
        squares += double{value} * double{value};
    }
    const auto count = static_cast<double>(hidden.size());
    EXPECT_NEAR(sum / count, 0.0, 0.01);
    EXPECT_NEAR(std::sqrt(squares / count), 1.0 / std::sqrt(double{kDim}), 0.01);
    task.spent = [] { return 0.1; };
    expect_steps(stepped(task), kFirst * 0.5 * (1.0 + std::cos(0.1 * M_PI)));
    EXPECT_EQ(stepped(task).arrays.at("neighbours").shape[0], kRows);
    task.spent = [] { return 0.5; };
    LearningState half = stepped(task);
    expect_steps(half, kFirst * 0.5);
    EXPECT_EQ(half.arrays.at("neighbours").shape[0], 512U) << "a fifth of the time was over";

    task.spent = nullptr;
    test::balance(state, 30.0); // Of 200.
    task.begun = state;
    const LearningState later = stepped(task);
    EXPECT_EQ(later.numbers.at("step"), 31.0);
    const double rate = 3e-3 * 0.5 * (1.0 + std::cos(30.0 / 200.0 * M_PI));
    const double expected = rate * test::first_move(31.0);
    for (const char* name : {"output", "hidden"}) {
        EXPECT_NEAR(
            test::largest_change(later.arrays.at(name).values, state.arrays.at(name).values),
            expected, 0.01 * expected)
            << name;
    }
}

TEST(FeatureTrainer, GoesOnFromWhereItStood) {
    FeatureTask task = bent().short_task();
    std::optional<LearningState> state;
    int asked_before = 0;
    int asked = 0;
    int steps = 0;
    task.go_on = [&] { return ++asked < 90; };
    task.keep = [&](const std::function<LearningState()>& tell) {
        if (++steps == 60) {
            state = tell();
            asked_before = asked;
        }
    };
    const FeatureWeights expected = learn_features(task).weights;
    EXPECT_FALSE(expected.bend.hidden.empty());
    ASSERT_TRUE(state);
    asked = asked_before;
    task.keep = nullptr;
    task.begun = state;
    EXPECT_EQ(learn_features(task).weights, expected);
    // What it read is what was written: a start, the best so far, moments and all.
    ASSERT_TRUE(state->arrays.contains("best.change"));
    FeatureTask stopped = task;
    std::optional<LearningState> again;
    stopped.keep = [&](const std::function<LearningState()>& tell) {
        again = again ? again : tell();
    };
    stopped.go_on = [] { return false; };
    static_cast<void>(learn_features(stopped));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->numbers, state->numbers);
    EXPECT_EQ(again->random, state->random);
    ASSERT_EQ(again->arrays.size(), state->arrays.size());
    for (const auto& [name, array] : state->arrays) {
        EXPECT_EQ(again->arrays.at(name).values, array.values) << name;
    }
    const auto refuses = [&](const std::function<void(LearningState&)>& change) {
        FeatureTask broken = task;
        change(*broken.begun);
        ARFC_EXPECT_ERROR(
            (void)learn_features(broken), ErrorKind::kCorruption, "train without resume");
    };
    refuses([](LearningState& begun) { begun.random = "dice"; });
    refuses([](LearningState& begun) { begun.numbers["step"] = 0; });
    refuses([](LearningState& begun) { begun.numbers["most"] = begun.numbers["before"] / 2; });
    refuses([](LearningState& begun) { begun.arrays.erase("neighbours"); });
    refuses([](LearningState& begun) { begun.arrays["neighbours"] = {{0, 32}, {}}; });
    refuses([](LearningState& begun) { begun.arrays["neighbours"] = {{32}, {}}; });
    refuses([](LearningState& begun) {
        begun.arrays["neighbours"] = {{kRows + 1, 32}, std::vector<float>((kRows + 1) * 32)};
    });
    refuses([](LearningState& begun) { begun.arrays.erase("best.output"); });
    refuses([](LearningState& begun) { begun.numbers.erase("most"); });
    refuses([](LearningState& begun) { begun.arrays.erase("axes"); });
    refuses([](LearningState& begun) { begun.arrays["neighbours"].values[3] = 1e6F; });
    refuses([](LearningState& begun) { begun.arrays["output.average"].shape[0] = 3; });
    refuses([](LearningState& begun) { begun.arrays["change"].values[0] = std::nanf(""); });
}

TEST(FeatureTrainer, AnOutcomeIsReadAgain) {
    const LearnedFeatures& learned = bent().learned;
    const LearningState state = to_state(learned);
    const LearnedFeatures again = features_from(state, kDim);
    EXPECT_EQ(again.weights, learned.weights);
    EXPECT_EQ(again.kept_after, learned.kept_after);
    EXPECT_EQ(again.kept_before, learned.kept_before);
    const auto refuses = [&](const std::function<void(LearningState&)>& change) {
        LearningState broken = state;
        change(broken);
        ARFC_EXPECT_ERROR(
            (void)features_from(broken, kDim), ErrorKind::kCorruption, "train without resume");
    };
    refuses([](LearningState& broken) { broken.arrays.erase("map"); });
    refuses([](LearningState& broken) { broken.arrays.erase("hidden_bias"); });
    refuses([](LearningState& broken) { broken.arrays["output"].values.pop_back(); });
    refuses([](LearningState& broken) { broken.arrays["offset"].values[0] = INFINITY; });
    refuses([](LearningState& broken) { broken.numbers.clear(); });
}

/// A model with features, from the same rows for every test.
class FeatureModels : public ::testing::Test {
  protected:
    static TrainOptions options() {
        return {.code_bytes = 2, .relations = false, .features = true};
    }
    static const Compressor& model() {
        static const std::unique_ptr<Compressor> kTrained = train(options());
        return *kTrained;
    }
    static std::unique_ptr<Compressor> train(const TrainOptions& options) {
        return Compressor::train(test::view(bent_rows(kRows, 1), kDim), options);
    }
};

TEST_F(FeatureModels, TensorsThatDoNotFitAreRefused) {
    const StoredResidualModel stored = read_residual_model(model().files());
    ASSERT_FALSE(stored.model.features.bend.hidden.empty());
    const auto refuses =
        [&](const std::function<void(std::map<std::string, StoredTensor>&)>& change,
            const std::string& text) {
            auto tensors = read_safetensors(model().files().weights);
            change(tensors);
            const ModelFiles files{model().files().config, write_safetensors(tensors)};
            ARFC_EXPECT_ERROR(Compressor::open(files), ErrorKind::kCorruption, text);
        };
    for (const char* name :
         {"feature_map", "feature_offset", "feature_hidden", "feature_hidden_bias",
          "feature_output"}) {
        refuses([&](auto& tensors) { tensors.erase(name); }, std::string("in tensor: ") + name);
        refuses(
            [&](auto& tensors) { tensors[name].values[1] = std::nanf(""); },
            std::string("not finite in tensor: ") + name);
        refuses(
            [&](auto& tensors) {
                tensors[name].shape.front() -= 1;
                tensors[name].values.resize(
                    tensors[name].values.size() -
                    tensors[name].values.size() / (tensors[name].shape.front() + 1));
            },
            "in tensor: feature_");
    }
    refuses(
        [](auto& tensors) {
            for (const char* name : {"feature_hidden", "feature_hidden_bias", "feature_output"}) {
                tensors.erase(name);
            }
        },
        "identity differs");
}

TEST_F(FeatureModels, RowsThatAreTooWideAreRefused) {
    const std::vector<float> rows = test::random_rows(2, kMaxFeatureDim + 1);
    ARFC_EXPECT_ERROR(
        Compressor::train(test::view(rows, kMaxFeatureDim + 1), options()), ErrorKind::kUnsupported,
        "up to 4096 floats wide: 4097");
}

TEST_F(FeatureModels, ATrainingResumesInTheMiddleOfThem) {
    const test::TemporaryDirectory directory;
    TrainOptions interrupted = options();
    interrupted.checkpoint = directory / "checkpoint";
    interrupted.checkpoint_every_s = 0.02;
    interrupted.progress = [&](const Progress& progress) {
        return progress.stage != "features" ||
               !Compressor::has_checkpoint(interrupted.checkpoint) ||
               read_file(interrupted.checkpoint / "training.checkpoint").find("\"unfinished\"") ==
                   std::string::npos;
    };
    ARFC_EXPECT_ERROR(train(interrupted), ErrorKind::kCancelled, "cancelled at step");
    TrainOptions resumed = options();
    resumed.checkpoint = interrupted.checkpoint;
    resumed.resume = true;
    TrainOptions without = resumed;
    without.features = false;
    ARFC_EXPECT_ERROR(
        train(without), ErrorKind::kFailedPrecondition, "in features: true, now false");
    EXPECT_EQ(train(resumed)->id(), model().id());
}

TEST_F(FeatureModels, TakeTheirShareOfABudget) {
    TrainOptions hurried = options();
    hurried.time_budget_s = 1e-3;
    std::vector<std::string> stages;
    hurried.progress = [&](const Progress& progress) {
        if (stages.empty() || stages.back() != progress.stage) {
            stages.emplace_back(progress.stage);
        }
        return true;
    };
    const auto model = train(hurried);
    EXPECT_EQ(
        stages, (std::vector<std::string>{
                    "preparing rows", "whole-space codebook", "encoding rows", "features",
                    "measuring recall", "done"}));
    EXPECT_TRUE(model->report().stopped_by_budget);
    EXPECT_TRUE(model->has_features());
}

} // namespace
} // namespace arfc
