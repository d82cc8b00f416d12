#include "pair_trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "arfc/base/files.h"
#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "random_rows.h"
#include "residual_model.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 12;
constexpr std::size_t kClasses = 20;
constexpr std::size_t kPairedClasses = 12;
constexpr std::size_t kRows = 1600;
constexpr std::size_t kPairs = 1500;

/// Rows of two factors: the class speaks softly in the first coordinates, what nobody asks for
/// loudly in the others. Pairs are of one class, and of the first classes alone.
struct TwoFactors {
    std::vector<float> rows;
    std::vector<float> queries;
    std::vector<float> relevant;

    explicit TwoFactors(bool noise = false) {
        std::mt19937_64 random(11);
        std::normal_distribution<float> normal;
        std::vector<float> centres(kClasses * kDim / 2);
        std::ranges::generate(centres, [&] { return normal(random); });
        std::vector<std::vector<std::size_t>> members(kClasses);
        for (std::size_t i = 0; i < kRows; ++i) {
            const std::size_t of = i % kClasses;
            members[of].push_back(i);
            float squared = 0.0F;
            for (std::size_t j = 0; j < kDim; ++j) {
                rows.push_back(
                    j < kDim / 2 ? 0.5F * centres[of * kDim / 2 + j] + 0.15F * normal(random)
                                 : normal(random));
                squared += rows.back() * rows.back();
            }
            for (std::size_t j = 0; j < kDim; ++j) {
                rows[i * kDim + j] /= std::sqrt(squared);
            }
        }
        for (std::size_t p = 0; p < kPairs; ++p) {
            const std::vector<std::size_t>& own = members[random() % kPairedClasses];
            const std::size_t query = own[random() % own.size()];
            add(queries, query);
            add(relevant, noise ? random() % kRows : own[random() % own.size()]);
        }
    }
    [[nodiscard]] PairTask task(Metric metric = Metric::kCosine) const {
        return {
            .queries = test::view(queries, kDim),
            .relevant = test::view(relevant, kDim),
            .rows = test::view(rows, kDim),
            .metric = metric,
            .seed = 3,
            .steps = 120,
            .go_on = [] { return true; }};
    }

  private:
    void add(std::vector<float>& to, std::size_t row) {
        to.insert(
            to.end(), rows.begin() + static_cast<std::ptrdiff_t>(row * kDim),
            rows.begin() + static_cast<std::ptrdiff_t>((row + 1) * kDim));
    }
};

const TwoFactors& two_factors() {
    static const TwoFactors made;
    return made;
}

/// What the pairs teach under cosine, learned once.
const PairMap& learned() {
    static const PairMap once = learn_pairs(two_factors().task());
    return once;
}

/// Returns rows behind a map, in double.
std::vector<double> mapped_rows(
    const PerceptronWeights& entry, const std::vector<float>& rows, Metric metric) {
    std::vector<double> mapped(rows.begin(), rows.end());
    const std::size_t units = entry.hidden_bias.size();
    for (std::size_t i = 0; i < rows.size() / kDim; ++i) {
        for (std::size_t u = 0; u < units; ++u) {
            auto sum = static_cast<double>(entry.hidden_bias[u]);
            for (std::size_t k = 0; k < kDim; ++k) {
                sum += static_cast<double>(entry.hidden[u * kDim + k]) *
                       static_cast<double>(rows[i * kDim + k]);
            }
            for (std::size_t j = 0; j < kDim; ++j) {
                mapped[i * kDim + j] +=
                    std::max(sum, 0.0) * static_cast<double>(entry.output[j * units + u]);
            }
        }
        double squared = 0.0;
        for (std::size_t j = 0; j < kDim; ++j) {
            squared += std::pow(mapped[i * kDim + j], 2.0);
        }
        for (std::size_t j = 0; metric == Metric::kCosine && j < kDim; ++j) {
            mapped[i * kDim + j] /= std::sqrt(squared);
        }
    }
    return mapped;
}

/// Returns how far rows of the paired classes move behind a map for a step along the first half of
/// the coordinates, over the second: squared.
double preference(const PerceptronWeights& entry, Metric metric) {
    std::vector<float> rows;
    for (std::size_t i = 0; i < kRows / 4; ++i) {
        if (i % kClasses < kPairedClasses) {
            const float* const row = two_factors().rows.data() + i * kDim;
            rows.insert(rows.end(), row, row + kDim);
        }
    }
    const std::vector<double> before = mapped_rows(entry, rows, metric);
    double asked = 0.0;
    double nuisance = 0.0;
    for (std::size_t j = 0; j < kDim; ++j) {
        std::vector<float> stepped = rows;
        for (std::size_t i = j; i < rows.size(); i += kDim) {
            stepped[i] += 0.1F;
        }
        const std::vector<double> after = mapped_rows(entry, stepped, metric);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            (j < kDim / 2 ? asked : nuisance) += std::pow(after[i] - before[i], 2.0);
        }
    }
    return asked / nuisance;
}

TEST(PairTrainer, LearnsWhatPairsShareAndWhatTheyDoNot) {
    const PairReport& report = learned().report;
    EXPECT_TRUE(report.is_kept);
    EXPECT_EQ(report.pairs, kPairs);
    EXPECT_GT(report.seen.queries, 100U);
    EXPECT_GT(report.unseen.queries, 50U);
    EXPECT_LT(report.seen.before, 0.75);
    EXPECT_GT(report.seen.after, report.seen.before + 0.15);
    EXPECT_GE(report.unseen.after, report.unseen.before);
    EXPECT_EQ(learned().entry.output.size(), kDim * learned().entry.hidden_bias.size());
    EXPECT_GT(preference(learned().entry, Metric::kCosine), 3.0);
}

TEST(PairTrainer, MovesRowsThatPairsSpeakOfMoreThanOthers) {
    const std::vector<float>& rows = two_factors().rows;
    const std::vector<double> mapped = mapped_rows(learned().entry, rows, Metric::kCosine);
    double paired = 0.0;
    double others = 0.0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const double moved = mapped[i] - static_cast<double>(rows[i]);
        (i / kDim % kClasses < kPairedClasses ? paired : others) += moved * moved;
    }
    EXPECT_LT(others / (kClasses - kPairedClasses), 0.95 * paired / kPairedClasses);
    EXPECT_GT(paired, 0.01 * kRows);
}

TEST(PairTrainer, LearnsUnderOtherMetricsToo) {
    for (const Metric metric : {Metric::kL2, Metric::kInnerProduct}) {
        const PairMap other = learn_pairs(two_factors().task(metric));
        EXPECT_TRUE(other.report.is_kept) << to_string(metric);
        EXPECT_GT(other.report.seen.after, other.report.seen.before + 0.1) << to_string(metric);
        EXPECT_GT(preference(other.entry, metric), 2.0) << to_string(metric);
    }
}

TEST(PairTrainer, KeepsNothingOfNoise) {
    const TwoFactors noise(true);
    const PairMap nothing = learn_pairs(noise.task());
    EXPECT_FALSE(nothing.report.is_kept);
    EXPECT_TRUE(nothing.entry.empty());
    EXPECT_EQ(nothing.report.pairs, kPairs);
    EXPECT_GT(nothing.report.seen.queries, 50U);
    EXPECT_EQ(nothing.report.seen.after, nothing.report.seen.before);
}

/// Classes that lie far apart are told apart as they are: every answer is right, and none can gain.
TEST(PairTrainer, KeepsNothingWhereEveryAnswerIsRight) {
    TwoFactors apart;
    for (std::vector<float>* const rows : {&apart.rows, &apart.queries, &apart.relevant}) {
        for (std::size_t i = 0; i < rows->size(); ++i) {
            (*rows)[i] *= i % kDim < kDim / 2 ? 1.0F : 1e-3F;
        }
    }
    PairTask task = apart.task(Metric::kL2);
    task.steps = 6;
    const PairMap learned = learn_pairs(task);
    EXPECT_GT(learned.report.seen.queries, 50U);
    EXPECT_GT(learned.report.seen.before, 0.95);
    EXPECT_EQ(learned.report.seen.after, learned.report.seen.before);
    EXPECT_GT(learned.report.unseen.queries, 50U);
    EXPECT_GT(learned.report.unseen.before, 0.95);
    EXPECT_FALSE(learned.report.is_kept);
    EXPECT_TRUE(learned.entry.empty());
}

TEST(PairTrainer, LeavesAloneWhatItCannotJudge) {
    PairTask few = two_factors().task();
    few.queries = few.queries.slice(0, 90);
    few.relevant = few.relevant.slice(0, 90);
    EXPECT_FALSE(learn_pairs(few).report.is_kept);
    EXPECT_EQ(learn_pairs(few).report.pairs, 90U);
    PairTask lonely = two_factors().task();
    lonely.rows = lonely.rows.slice(0, 1);
    EXPECT_FALSE(learn_pairs(lonely).report.is_kept);
    PairTask hurried = two_factors().task();
    hurried.go_on = [] { return false; };
    EXPECT_FALSE(learn_pairs(hurried).report.is_kept);
    PairTask selves = two_factors().task(); // A row belongs with itself: nothing is said.
    selves.relevant = selves.queries;
    EXPECT_FALSE(learn_pairs(selves).report.is_kept);
}

TEST(PairTrainer, IsDeterministicAndGoesOnFromWhereItStood) {
    std::vector<LearningState> states;
    int asked = 0;
    PairTask task = two_factors().task();
    task.keep = [&](const std::function<LearningState()>& state) {
        if (++asked == 40 || asked == 130) { // While it selects, and while it learns from all.
            states.push_back(state());
        }
    };
    EXPECT_EQ(learn_pairs(task).entry, learned().entry);
    ASSERT_EQ(states.size(), 2U);
    EXPECT_EQ(states[0].numbers.at("selected"), 0.0);
    EXPECT_EQ(states[1].numbers.at("selected"), 1.0);
    for (const LearningState& state : states) {
        PairTask resumed = two_factors().task();
        resumed.begun = state;
        const PairMap again = learn_pairs(resumed);
        EXPECT_EQ(again.entry, learned().entry);
        EXPECT_EQ(again.report.seen.after, learned().report.seen.after);
        // What it read is what was written.
        std::optional<LearningState> told;
        resumed.keep = [&](const std::function<LearningState()>& tell) {
            told = told ? told : tell();
        };
        resumed.go_on = [calls = 0]() mutable { return ++calls <= 3; }; // Blocks of neighbours.
        static_cast<void>(learn_pairs(resumed));
        ASSERT_TRUE(told);
        EXPECT_EQ(told->numbers, state.numbers);
        EXPECT_EQ(told->random, state.random);
        ASSERT_EQ(told->arrays.size(), state.arrays.size());
        for (const auto& [name, array] : state.arrays) {
            EXPECT_EQ(told->arrays.at(name).values, array.values) << name;
        }
    }
    for (const char* const name :
         {"hidden", "hidden_bias.average", "output.square", "best.hidden", "best.output"}) {
        PairTask damaged = two_factors().task();
        damaged.begun = states.back();
        damaged.begun->arrays.erase(name);
        ARFC_EXPECT_ERROR(static_cast<void>(learn_pairs(damaged)), ErrorKind::kCorruption, name);
    }
}

/// Returns where a task stands when it tells so for the n-th time.
LearningState told_state(PairTask task, int n) {
    std::optional<LearningState> state;
    int told = 0;
    task.keep = [&](const std::function<LearningState()>& tell) {
        if (++told == n) {
            state = tell();
        }
    };
    task.go_on = [&] { return !state; };
    static_cast<void>(learn_pairs(task));
    return state.value();
}

float largest_change(const StoredTensor& after, const StoredTensor& before) {
    float most = 0.0F;
    for (std::size_t i = 0; i < after.values.size(); ++i) {
        most = std::max(most, std::fabs(after.values[i] - before.values[i]));
    }
    return most;
}

/// Gives a state what is best, as if it were what it stands at.
LearningState with_best(LearningState state, double selected, double step, double best_step) {
    for (const char* const name : {"hidden", "hidden_bias", "output"}) {
        state.arrays[std::string("best.") + name] = state.arrays.at(name);
    }
    state.numbers = {
        {"selected", selected}, {"step", step}, {"best_step", best_step}, {"most", 0.5}};
    return state;
}

/// A first step of AdamW moves a number by the rate, as long as its gradient is no rounding.
TEST(PairTrainer, StepsAreAsLongAsTheRateOfTheTime) {
    PairTask task = two_factors().task();
    const StoredTensor none{{}, std::vector<float>(kDim * 512, 0.0F)};
    const LearningState first = told_state(task, 1);
    EXPECT_EQ(first.numbers.at("step"), 1.0);
    EXPECT_NEAR(largest_change(first.arrays.at("output"), none), 1e-3, 1e-5);
    task.spent = [] { return 0.25; }; // Choosing a step is for half of the time.
    EXPECT_NEAR(largest_change(told_state(task, 1).arrays.at("output"), none), 0.5e-3, 1e-5);
    task.spent = [] { return 0.5; };
    LearningState selected = with_best(first, 1.0, 0.0, 5.0);
    std::ranges::fill(selected.arrays.at("output").values, 0.0F);
    task.begun = selected;
    const LearningState again = told_state(task, 2);
    EXPECT_EQ(again.numbers.at("step"), 1.0);
    EXPECT_EQ(again.numbers.at("selected"), 1.0);
    EXPECT_NEAR(largest_change(again.arrays.at("output"), none), 0.5e-3, 1e-5);

    // As if thirty steps had been made, of 120, and all had balanced.
    task.spent = nullptr;
    LearningState later = first;
    for (auto& [name, array] : later.arrays) {
        if (name.ends_with(".average") || name.ends_with(".square")) {
            std::ranges::fill(array.values, 0.0F);
        }
    }
    later.numbers["step"] = 30.0;
    task.begun = later;
    const double rate = 1e-3 * 0.5 * (1.0 + std::cos(30.0 / 120.0 * M_PI));
    const double average = 0.1 / (1.0 - std::pow(0.9, 31.0)); // Of a gradient, as AdamW has it.
    const double square = 0.001 / (1.0 - std::pow(0.999, 31.0));
    const double expected = rate * average / std::sqrt(square);
    EXPECT_NEAR(
        largest_change(told_state(task, 2).arrays.at("output"), later.arrays.at("output")),
        expected, 0.01 * expected);
}

/// What is learned is learned of rows of length one, and then made to fit those that were given.
TEST(PairTrainer, TheScaleOfRowsIsNoMatter) {
    PairTask task = two_factors().task(Metric::kL2);
    const LearningState state = told_state(task, 3);
    constexpr float kLonger = 8.0F;
    TwoFactors longer;
    for (std::vector<float>* const rows : {&longer.rows, &longer.queries, &longer.relevant}) {
        std::ranges::transform(*rows, rows->begin(), [](float value) { return kLonger * value; });
    }
    task = longer.task(Metric::kL2);
    const LearningState of_longer = told_state(task, 3);
    ASSERT_EQ(of_longer.arrays.size(), state.arrays.size());
    for (const auto& [name, array] : state.arrays) {
        EXPECT_EQ(of_longer.arrays.at(name).values, array.values) << name;
    }
    // A course that has come to its best step gives what it stands at.
    task.begun = with_best(state, 1.0, 3.0, 3.0);
    const PairMap learned = learn_pairs(task);
    EXPECT_TRUE(learned.report.is_kept);
    const std::size_t units = learned.entry.hidden_bias.size();
    ASSERT_EQ(units, 512U);
    EXPECT_EQ(learned.entry.hidden_bias, state.arrays.at("hidden_bias").values);
    const double output_scale = 2.0 / std::sqrt(512.0);
    for (std::size_t u = 0; u < units; ++u) {
        for (std::size_t j = 0; j < kDim; ++j) {
            ASSERT_NEAR(
                learned.entry.hidden[u * kDim + j] * kLonger,
                state.arrays.at("hidden").values[j * units + u], 1e-4);
            ASSERT_NEAR(
                double{learned.entry.output[j * units + u]},
                double{state.arrays.at("output").values[u * kDim + j]} * output_scale *
                    double{kLonger},
                1e-6);
        }
    }
}

TEST(PairTrainer, MomentsAreMeansAndALittleOfTheIdentity) {
    const std::vector<float> rows = {1.0F, 0.0F, 0.0F, 2.0F};
    const std::vector<float> mapped = {2.0F, 0.0F, 0.0F, 2.0F};
    const MapMoments moments = map_moments(test::view(rows, 2), test::view(mapped, 2));
    // As if there were a 64th of a row more, of squares 2.
    const double count = 2.0 + 1.0 / 64.0;
    const double across[] = {(2.0 + 2.0 / 64.0) / count, 0.0, 0.0, (4.0 + 2.0 / 64.0) / count};
    const double within[] = {(4.0 + 2.0 / 64.0) / count, 0.0, 0.0, (4.0 + 2.0 / 64.0) / count};
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_NEAR(moments.across.at(i), across[i], 1e-6);
        EXPECT_NEAR(moments.within.at(i), within[i], 1e-6);
    }
}

TEST(PairTrainer, AMapBackDividesByWhatThereIsAndNoise) {
    const auto expect_back = [](const MapMoments& moments, double noise,
                                const std::vector<double>& expected) {
        const std::vector<float> back = inverse_map(moments, noise);
        ASSERT_EQ(back.size(), expected.size());
        for (std::size_t i = 0; i < back.size(); ++i) {
            EXPECT_NEAR(back[i], expected[i], 1e-5) << i;
        }
    };
    const std::vector<float> across = {1.0F, 2.0F, 3.0F, 4.0F};
    expect_back({across, {1.0F, 0.0F, 0.0F, 3.0F}}, 1.0, {0.5, 0.5, 1.5, 1.0});
    expect_back({across, {1.0F, 0.0F, 0.0F, 4.0F}}, 0.0, {1.0, 0.5, 3.0, 1.0});
    // Of nothing there is a millionth of the mean.
    expect_back({{1e-6F, 0.0F, 0.0F, 1.0F}, {0.0F, 0.0F, 0.0F, 2.0F}}, 0.0, {1.0, 0.0, 0.0, 0.5});
}

TEST(PairTrainer, WritesItsOutcomeAsAState) {
    const PairTask task = two_factors().task();
    const PairMap read = pair_map_from(to_state(learned()), task);
    EXPECT_EQ(read.entry, learned().entry);
    EXPECT_EQ(read.report.unseen.queries, learned().report.unseen.queries);
    EXPECT_EQ(read.report.unseen.after, learned().report.unseen.after);
    EXPECT_EQ(read.report.unseen.before, learned().report.unseen.before);
    EXPECT_EQ(read.report.seen.queries, learned().report.seen.queries);
    EXPECT_EQ(read.report.seen.before, learned().report.seen.before);
    EXPECT_EQ(read.report.seen.after, learned().report.seen.after);
    EXPECT_EQ(read.report.pairs, kPairs);
    EXPECT_TRUE(read.report.is_kept);
    EXPECT_FALSE(pair_map_from(to_state({}), task).report.is_kept);
    for (const char* const name : {"hidden", "hidden_bias", "output"}) {
        LearningState cut = to_state(learned());
        cut.arrays.at(name).values.pop_back();
        ARFC_EXPECT_ERROR( // Of units, one less is expected of the others too.
            static_cast<void>(pair_map_from(cut, task)), ErrorKind::kCorruption,
            std::string(name) == "output" ? "output" : "hidden");
        LearningState infinite = to_state(learned());
        infinite.arrays.at(name).values.back() = INFINITY;
        ARFC_EXPECT_ERROR(
            static_cast<void>(pair_map_from(infinite, task)), ErrorKind::kCorruption, name);
    }
    LearningState other = to_state(learned());
    other.arrays = {{"map", {{1}, {1.0F}}}};
    ARFC_EXPECT_ERROR(
        static_cast<void>(pair_map_from(other, task)), ErrorKind::kCorruption, "hidden");
}

TEST(PairTrainer, DrawsPairsWhereThereAreTooMany) {
    EXPECT_EQ(drawn_pairs(3, 1), (std::vector<std::size_t>{0, 1, 2}));
    std::vector<std::size_t> drawn = drawn_pairs(kMaxTrainingPairs + 1000, 1);
    EXPECT_EQ(drawn, drawn_pairs(kMaxTrainingPairs + 1000, 1));
    EXPECT_NE(drawn, drawn_pairs(kMaxTrainingPairs + 1000, 2));
    std::ranges::sort(drawn);
    EXPECT_EQ(drawn.size(), kMaxTrainingPairs);
    EXPECT_TRUE(std::ranges::adjacent_find(drawn) == drawn.end());
    EXPECT_LT(drawn.back(), kMaxTrainingPairs + 1000);
}

TEST(PairTrainer, TakesRowsBackBehindAMap) {
    const MatrixView<const float> rows = test::view(two_factors().rows, kDim);
    std::vector<float> map(kDim * kDim, 0.0F);
    for (std::size_t i = 0; i < kDim; ++i) {
        map[i * kDim + i] = i < 2 ? 0.2F : 2.0F;
        map[i * kDim + (i + 1) % kDim] += 0.1F;
    }
    std::vector<float> mapped(rows.size(), 0.0F);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        for (std::size_t j = 0; j < kDim; ++j) {
            mapped[i] += map[i % kDim * kDim + j] * rows.row(i / kDim)[j];
        }
    }
    const MapMoments moments = map_moments(rows, test::view(mapped, kDim));
    const std::vector<float> back = inverse_map(moments, 0.0);
    for (std::size_t i = 0; i < kDim; ++i) {
        for (std::size_t j = 0; j < kDim; ++j) {
            double product = 0.0;
            for (std::size_t k = 0; k < kDim; ++k) {
                product += static_cast<double>(back[i * kDim + k]) *
                           static_cast<double>(map[k * kDim + j]);
            }
            EXPECT_NEAR(product, i == j ? 1.0 : 0.0, 0.02) << i << ", " << j;
        }
    }
    // With noise it does not enlarge what the map has left nothing of.
    const std::vector<float> careful = inverse_map(moments, 0.01);
    EXPECT_LT(std::fabs(careful[0]), 0.5F * std::fabs(back[0]));
}

std::unique_ptr<Compressor> train(
    const TwoFactors& data, Metric metric, TrainOptions options = {}) {
    options.code_bytes = 6;
    options.metric = metric;
    options.relations = false;
    options.pair_queries = test::view(data.queries, kDim);
    options.pair_rows = test::view(data.relevant, kDim);
    return Compressor::train(test::view(data.rows, kDim), options);
}

/// Returns the model of the pairs under cosine, trained once.
const Compressor& cosine_model() {
    static const std::unique_ptr<Compressor> once = train(two_factors(), Metric::kCosine);
    return *once;
}

/// Returns rows behind what pairs taught a model, in double.
std::vector<double> mapped_rows(const Compressor& model, const std::vector<float>& rows) {
    const ResidualModel weights = read_residual_model(model.files()).model;
    return mapped_rows(weights.entry, rows, model.metric());
}

TEST(PairTrainer, MakesModelsThatScoreMappedRowsAndDecodeToRows) {
    constexpr std::size_t kBytes = 6;
    constexpr std::size_t kScored = 40;
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        const auto model = Compressor::open(
            metric == Metric::kCosine ? cosine_model().files()
                                      : train(two_factors(), metric)->files());
        ASSERT_TRUE(model->report().pairs && model->report().pairs->is_kept) << to_string(metric);
        EXPECT_GT(model->report().pairs->seen.after, model->report().pairs->seen.before);
        const std::vector<float> rows(
            two_factors().rows.begin(),
            two_factors().rows.begin() + static_cast<std::ptrdiff_t>(kScored * kDim));
        std::vector<std::byte> codes(kScored * kBytes);
        model->encode(test::view(rows, kDim), kBytes, {codes.data(), kScored, kBytes});
        std::vector<float> scores(kScored * kScored);
        model->score(
            test::view(rows, kDim), {codes.data(), kScored, kBytes}, false,
            {scores.data(), kScored, kScored});
        // What scores approximate.
        const std::vector<double> mapped = mapped_rows(*model, rows);
        double error = 0.0;
        double spread = 0.0;
        for (std::size_t q = 0; q < kScored; ++q) {
            for (std::size_t i = 0; i < kScored; ++i) {
                double exact = 0.0;
                for (std::size_t j = 0; j < kDim; ++j) {
                    const double a = mapped[q * kDim + j];
                    const double b = mapped[i * kDim + j];
                    exact += metric == Metric::kL2 ? -(a - b) * (a - b) : a * b;
                }
                error += std::pow(static_cast<double>(scores[q * kScored + i]) - exact, 2.0);
                spread += exact * exact;
            }
        }
        EXPECT_LT(error, 0.02 * spread) << to_string(metric);
        std::vector<float> decoded(kScored * kDim);
        model->decode({codes.data(), kScored, kBytes}, {decoded.data(), kScored, kDim});
        double lost = 0.0;
        for (std::size_t i = 0; i < decoded.size(); ++i) {
            lost += std::pow(static_cast<double>(decoded[i]) - static_cast<double>(rows[i]), 2.0);
        }
        EXPECT_LT(lost / kScored, 0.25) << to_string(metric) << ", of rows of length 1";
    }
}

TEST(PairTrainer, ReportsRecallOfMappedRows) {
    constexpr std::size_t kTop = 10;
    const Compressor& model = cosine_model();
    const std::vector<float>& rows = two_factors().rows;
    std::vector<std::byte> codes(kRows * model.code_bytes());
    const MatrixView<std::byte> all(codes.data(), kRows, model.code_bytes());
    model.encode(test::view(rows, kDim), model.code_bytes(), all);
    constexpr std::size_t kQueries = 100;
    std::vector<float> scores(kQueries * kRows);
    model.score({rows.data(), kQueries, kDim}, all, false, {scores.data(), kQueries, kRows});
    const std::vector<double> mapped = mapped_rows(model, rows);
    std::size_t found = 0;
    for (std::size_t q = 0; q < kQueries; ++q) {
        std::vector<std::pair<double, std::size_t>> exact;
        std::vector<std::pair<double, std::size_t>> scored;
        for (std::size_t i = 0; i < kRows; ++i) {
            if (i == q) {
                continue;
            }
            double product = 0.0;
            for (std::size_t j = 0; j < kDim; ++j) {
                product += mapped[q * kDim + j] * mapped[i * kDim + j];
            }
            exact.emplace_back(-product, i);
            scored.emplace_back(-static_cast<double>(scores[q * kRows + i]), i);
        }
        for (auto* const ranked : {&exact, &scored}) {
            std::ranges::partial_sort(*ranked, ranked->begin() + kTop);
            ranked->resize(kTop);
        }
        for (const auto& [score, i] : scored) {
            found += static_cast<std::size_t>(
                std::ranges::count(exact, i, [](const auto& hit) { return hit.second; }));
        }
    }
    EXPECT_NEAR(
        model.report().recall.back().recall_at_10,
        static_cast<double>(found) / static_cast<double>(kQueries * kTop), 0.08);
}

TEST(PairTrainer, NoiseLeavesTheModelOfNoPairs) {
    const TwoFactors noise(true);
    const auto with = train(noise, Metric::kCosine);
    const auto without =
        Compressor::train(test::view(noise.rows, kDim), {.code_bytes = 6, .relations = false});
    EXPECT_EQ(with->id(), without->id());
    ASSERT_TRUE(with->report().pairs);
    EXPECT_FALSE(with->report().pairs->is_kept);
    EXPECT_FALSE(without->report().pairs);
    EXPECT_EQ(without->files().config.find("\"pairs\""), std::string::npos);
    EXPECT_EQ(without->files().weights.find("exit_map"), std::string::npos);
    EXPECT_EQ(without->files().weights.find("entry"), std::string::npos);
}

TEST(PairTrainer, ATrainingResumesToTheSameModelAndRefusesOtherPairs) {
    const test::TemporaryDirectory directory;
    TrainOptions options;
    options.checkpoint = directory / "checkpoint";
    options.checkpoint_every_s = 0.0;
    int seen = 0;
    bool saw_pairs = false;
    options.progress = [&](const Progress& progress) {
        saw_pairs = saw_pairs || progress.stage == "pairs";
        seen += progress.stage == "whole-space codebook" ? 1 : 0;
        return seen < 3;
    };
    ARFC_EXPECT_ERROR(
        train(two_factors(), Metric::kCosine, options), ErrorKind::kCancelled, "cancelled");
    EXPECT_TRUE(saw_pairs);
    EXPECT_EQ(
        read_file(options.checkpoint / "training.checkpoint").find("\"unfinished\""),
        std::string::npos)
        << "pairs are learned";
    options.progress = nullptr;
    options.resume = true;
    ARFC_EXPECT_ERROR(
        train(TwoFactors(true), Metric::kCosine, options), ErrorKind::kFailedPrecondition,
        "other options, in pairs");
    EXPECT_EQ(train(two_factors(), Metric::kCosine, options)->id(), cosine_model().id());
}

TEST(PairTrainer, WrongPairsAreRefused) {
    const std::vector<float> rows = test::random_rows(50, kDim);
    std::vector<float> wrong = test::random_rows(50, kDim, 2);
    const auto train_with = [&](MatrixView<const float> queries, MatrixView<const float> relevant,
                                Metric metric = Metric::kCosine) {
        return Compressor::train(
            test::view(rows, kDim),
            {.code_bytes = 2, .metric = metric, .pair_queries = queries, .pair_rows = relevant});
    };
    const MatrixView<const float> all = test::view(rows, kDim);
    ARFC_EXPECT_ERROR(
        train_with(all, all.slice(0, 49)), ErrorKind::kInvalidArgument,
        "Pairs differ in number, queries and relevant rows: 50, 49");
    ARFC_EXPECT_ERROR(train_with({}, all), ErrorKind::kInvalidArgument, ": 0, 50");
    ARFC_EXPECT_ERROR(
        train_with(all, {rows.data(), 50, kDim - 1}), ErrorKind::kInvalidArgument,
        "width from the training matrix: 11, expected 12");
    wrong[7 * kDim] = std::numeric_limits<float>::quiet_NaN();
    ARFC_EXPECT_ERROR(
        train_with(all, test::view(wrong, kDim), Metric::kL2), ErrorKind::kInvalidArgument,
        "pairs' relevant rows holds a value that is not finite (NaN or infinity) in row: 7");
    std::fill_n(wrong.begin() + 7 * kDim, kDim, 0.0F);
    ARFC_EXPECT_ERROR(
        train_with(test::view(wrong, kDim), all), ErrorKind::kInvalidArgument,
        "pairs' queries holds a zero row");
    const std::vector<float> wide(4097, 1.0F);
    ARFC_EXPECT_ERROR(
        Compressor::train(
            {wide.data(), 1, 4097}, {.code_bytes = 1,
                                     .pair_queries = {wide.data(), 1, 4097},
                                     .pair_rows = {wide.data(), 1, 4097}}),
        ErrorKind::kUnsupported, "at most 4096 floats");
}

} // namespace
} // namespace arfc
