#include "relation_trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "kmeans.h"
#include "landmark_trainer.h"
#include "leaning_rows.h"
#include "learning_steps.h"
#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 24;
constexpr std::size_t kRows = 2600;
constexpr std::size_t kHeldOut = 200;

/// Unit rows around many centres, of which some directions vary much more than others.
std::vector<float> clustered_rows(std::size_t count, std::uint64_t seed) {
    const std::vector<float> centres = test::random_rows(60, kDim, 77);
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> rows(count * kDim);
    for (std::size_t i = 0; i < count; ++i) {
        const float* const centre = centres.data() + random() % 60 * kDim;
        float squared = 0.0F;
        for (std::size_t j = 0; j < kDim; ++j) {
            float& value = rows[i * kDim + j];
            value = centre[j] + normal(random) * 2.0F / std::sqrt(static_cast<float>(j + 1));
            squared += value * value;
        }
        for (std::size_t j = 0; j < kDim; ++j) {
            rows[i * kDim + j] /= std::sqrt(squared);
        }
    }
    return rows;
}

/// Two codebooks by plain k-means: one of the rows, one of what it leaves.
struct Start {
    std::vector<float> rows = clustered_rows(kRows, 1);
    std::vector<float> held_out = clustered_rows(kHeldOut, 2);
    std::vector<float> mean = std::vector<float>(kDim, 0.0F);
    std::vector<float> codebooks;

    Start() {
        std::vector<float> left = rows;
        for (int token = 0; token < 2; ++token) {
            const PointSource source{
                kRows, kDim, [&](std::span<const std::size_t> indices, float* out) {
                    for (std::size_t i = 0; i < indices.size(); ++i) {
                        std::copy_n(left.data() + indices[i] * kDim, kDim, out + i * kDim);
                    }
                }};
            const std::vector<float> codebook = kmeans(source, {.iterations = 8});
            std::vector<std::uint8_t> symbols(kRows);
            assign(test::view(left, kDim), test::view(codebook, kDim), symbols);
            for (std::size_t i = 0; i < left.size(); ++i) {
                left[i] -= codebook[symbols[i / kDim] * kDim + i % kDim];
            }
            codebooks.insert(codebooks.end(), codebook.begin(), codebook.end());
        }
    }
    [[nodiscard]] RelationTask task() const {
        return {
            .rows = test::view(rows, kDim),
            .held_out = test::view(held_out, kDim),
            .mean = mean,
            .codebooks = codebooks,
            .metric = Metric::kCosine,
            .beam_width = 4,
            .commit_points = {2},
            .seed = 3,
            .go_on = [] { return true; }};
    }
};

TEST(RelationTrainer, GainsRecallOfRowsThatTookNoPart) {
    const Start start;
    for (const auto& [metric, before] :
         {std::pair{Metric::kCosine, 0.482}, std::pair{Metric::kL2, 0.474},
          std::pair{Metric::kInnerProduct, 0.475}}) {
        RelationTask task = start.task();
        task.metric = metric;
        const std::optional<RelatedCodebooks> related = relate(task);
        ASSERT_TRUE(related) << to_string(metric);
        EXPECT_NEAR(related->recall_before, before, 0.015) << to_string(metric);
        EXPECT_GT(related->recall_after, related->recall_before + 0.005) << to_string(metric);
        EXPECT_EQ(related->codebooks.size(), start.codebooks.size());
        EXPECT_EQ(related->mean.size(), kDim);
        EXPECT_EQ(related->decode_map.size(), kDim * kDim);
        for (const auto* values : {&related->codebooks, &related->mean, &related->decode_map}) {
            EXPECT_TRUE(
                std::ranges::all_of(*values, [](float value) { return std::isfinite(value); }));
        }
    }
}

TEST(RelationTrainer, LandmarksAddToRecall) {
    const Start start;
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        RelationTask task = start.task();
        task.metric = metric;
        task.beam_width = 16;
        ASSERT_TRUE(can_relate(task));
        const std::optional<RelatedCodebooks> alone = relate(task);
        const RelationTask unjudged = task;
        const std::vector<float> points = landmark_points(task.rows, 500, metric);
        task.landmarks = test::view(points, kDim);
        task.landmark_options = {metric, 8, 0.15F};
        EXPECT_GT(
            mean_recall(held_out_recall(task)), mean_recall(held_out_recall(unjudged)) + 0.002)
            << to_string(metric);
        const std::optional<RelatedCodebooks> judged = relate(task);
        ASSERT_TRUE(alone) << to_string(metric);
        if (metric == Metric::kCosine) { // Under L2 nothing gains beyond what landmarks do.
            ASSERT_TRUE(judged);
            EXPECT_GT(judged->recall_before, alone->recall_before + 0.003);
            EXPECT_GT(judged->recall_after, alone->recall_after + 0.005);
        }
    }
    RelationTask few = start.task();
    few.rows = few.rows.slice(0, 1000);
    EXPECT_FALSE(can_relate(few));
    EXPECT_FALSE(relate(few));
}

TEST(RelationTrainer, MeasuresEveryLengthOfWhatItIsGiven) {
    const Start start;
    const RelationTask task = start.task();
    const std::vector<HeldOutRecall> before = held_out_recall(task);
    ASSERT_EQ(before.size(), 2U); // A quarter and half of two tokens are one.
    EXPECT_EQ(before[0].bytes, 1U);
    EXPECT_EQ(before[1].bytes, 2U);
    EXPECT_GT(before[0].recall_at_10, 0.05);
    EXPECT_GT(before[1].recall_at_10, before[0].recall_at_10 + 0.1);
    EXPECT_LT(before[1].recall_at_10, 0.9);
    EXPECT_EQ(mean_recall(before), (before[0].recall_at_10 + before[1].recall_at_10) / 2.0);
    EXPECT_EQ(mean_recall({}), 0.0);

    // Codebooks that were not tuned, and a map that changes nothing.
    RelatedCodebooks same{
        .codebooks = start.codebooks,
        .mean = start.mean,
        .decode_map = std::vector<float>(kDim * kDim)};
    for (std::size_t i = 0; i < kDim; ++i) {
        same.decode_map[i * kDim + i] = 1.0F;
    }
    const std::vector<HeldOutRecall> again = held_out_recall(task, &same);
    ASSERT_EQ(again.size(), before.size());
    for (std::size_t i = 0; i < again.size(); ++i) {
        EXPECT_EQ(again[i].recall_at_10, before[i].recall_at_10);
    }
    const std::optional<RelatedCodebooks> related = relate(task);
    ASSERT_TRUE(related);
    EXPECT_GT(mean_recall(held_out_recall(task, &*related)), mean_recall(before) + 0.005);
    RelatedCodebooks blind = *related; // To the strongest of the coordinates that a map changes.
    std::fill_n(blind.decode_map.begin(), 4 * kDim, 0.0F);
    EXPECT_LT(mean_recall(held_out_recall(task, &blind)), mean_recall(before) - 0.05);
}

/// Of few rows those that trained are closer to their codes than others are: they would hide that a
/// step overfits.
TEST(RelationTrainer, OfManyRowsSomeThatTrainedAreAmongThoseThatMeasure) {
    constexpr std::size_t kMany = 8192;
    const Start start;
    const std::vector<float> rows = clustered_rows(kMany, 5);
    for (const std::size_t count : {kMany - 1, kMany}) {
        RelationTask task = start.task();
        task.rows = test::view(rows, kDim).slice(0, count);
        std::optional<LearningState> state;
        int asked = 0;
        task.keep = [&](const std::function<LearningState()>& tell) { state = tell(); };
        task.go_on = [&] { return ++asked == 2; }; // Not all neighbours, and one step.
        const std::optional<RelatedCodebooks> related = relate(task);
        EXPECT_TRUE(!related || related->recall_after > related->recall_before);
        ASSERT_TRUE(state);
        const double among_some_that_trained = mean_recall(held_out_recall(task));
        const double before = state->numbers.at("before");
        if (count == kMany) {
            EXPECT_EQ(before, among_some_that_trained);
        } else { // Of fewer, the nearest are farther apart and easier to tell.
            EXPECT_GT(before, among_some_that_trained + 0.1);
        }
    }
}

/// Unit rows that vary where rows of clustered_rows() vary least.
std::vector<float> queries_of_another_kind(std::size_t count, std::uint64_t seed) {
    return test::leaning_rows(count, kDim, test::Leaning::kToTheLast, seed);
}

TEST(RelationTrainer, KeepsTheOrderOfRowsForQueriesOfAnotherKind) {
    const Start start;
    const std::vector<float> queries = queries_of_another_kind(800, 3);
    const std::vector<float> asking = queries_of_another_kind(200, 4);
    const std::vector<float> others = queries_of_another_kind(600, 5);
    for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
        RelationTask alone = start.task();
        alone.metric = metric;
        RelationTask task = alone;
        task.queries = test::view(queries, kDim);
        task.asking = test::view(asking, kDim);
        RelationTask measured = task;
        measured.asking = test::view(others, kDim);
        const double before = mean_recall(held_out_recall(measured));
        EXPECT_LT(before, mean_recall(held_out_recall(alone)) - 0.05) << to_string(metric);

        const std::optional<RelatedCodebooks> for_queries = relate(task);
        const std::optional<RelatedCodebooks> for_rows = relate(alone);
        ASSERT_TRUE(for_queries && for_rows) << to_string(metric);
        EXPECT_GT(for_queries->recall_after, for_queries->recall_before + 0.01);
        const double with = mean_recall(held_out_recall(measured, &*for_queries));
        EXPECT_GT(with, before + 0.01) << to_string(metric);
        EXPECT_GT(with, mean_recall(held_out_recall(measured, &*for_rows)) + 0.005)
            << to_string(metric);
    }
}

/// A query is a row's equal, though it is none: row i is not left out for query i.
TEST(RelationTrainer, QueriesAreNotTheRowsOfTheirNumbers) {
    const Start start;
    RelationTask task = start.task();
    const RelationTask alone = task;
    task.queries = alone.held_out;
    task.asking = alone.held_out;
    const double with_themselves = mean_recall(held_out_recall(task));
    EXPECT_NE(with_themselves, mean_recall(held_out_recall(alone)));
    // Rows that are sought are the first of the base, and are nearly always found.
    EXPECT_GT(with_themselves, mean_recall(held_out_recall(alone)) + 0.02);
}

/// Returns how the tuning stands before a step.
LearningState state_before(RelationTask task, double step) {
    std::optional<LearningState> state;
    task.keep = [&](const std::function<LearningState()>& tell) {
        LearningState now = tell();
        if (now.numbers.at("step") == step) {
            state = std::move(now);
        }
    };
    task.go_on = [&] { return !state; };
    static_cast<void>(relate(task));
    return state.value();
}

/// The last steps, of the lowest rate, are not lost where time ends within a block.
TEST(RelationTrainer, JudgesWhatWasLearnedWhenTimeEnds) {
    const Start start;
    RelationTask task = start.task();
    LearningState state = state_before(task, 60.0);
    ASSERT_GT(60.0, state.numbers.at("block_begin"));
    state.numbers["most"] = 0.0; // Whatever is measured is better.
    task.begun = state;
    task.go_on = [] { return false; };
    const std::optional<RelatedCodebooks> related = relate(task);
    ASSERT_TRUE(related);
    EXPECT_NEAR(related->recall_after, state.numbers.at("before"), 0.05);
    EXPECT_EQ(related->codebooks, state.arrays.at("codebooks").values);
}

TEST(RelationTrainer, FollowsTheTimeThatItHas) {
    const Start start;
    RelationTask task = start.task();
    int steps = 0;
    task.go_on = [&] { return steps < 200; };
    task.spent = [&] { return static_cast<double>(++steps) / 200.0; };
    const std::optional<RelatedCodebooks> related = relate(task);
    ASSERT_TRUE(related);
    EXPECT_EQ(steps, 200);
    EXPECT_GT(related->recall_after, related->recall_before);
    task.spent = [] { return 1.0; }; // No time: a learning rate of zero learns nothing.
    steps = 0;
    task.go_on = [&] { return ++steps > 0; };
    EXPECT_FALSE(relate(task));
    // Six blocks of neighbours; then five twelfths of 600 steps are without a gain.
    EXPECT_EQ(steps, 6 + 250 + 1);
}

LearningState stepped(const RelationTask& task) {
    return test::stepped(task, relate);
}

/// A first step of AdamW moves a number by the rate, as long as its gradient is no rounding.
TEST(RelationTrainer, StepsAreAsLongAsTheRateOfTheTime) {
    const Start start;
    RelationTask task = start.task();
    const std::vector<float> none(kDim * kDim, 0.0F);
    const auto expect_step = [&](const LearningState& state, double rate) {
        EXPECT_NEAR(
            test::largest_change(state.arrays.at("map_change").values, none), rate, 0.01 * rate);
        EXPECT_NEAR(test::largest_change(state.arrays.at("mean").values, none), rate, 0.01 * rate);
        EXPECT_NEAR(
            test::largest_change(state.arrays.at("codebooks").values, start.codebooks), rate,
            0.02 * rate); // Rounding.
    };
    constexpr double kFirst = 3e-4 / 30.0; // Of thirty steps that grow.
    LearningState state = stepped(task);
    expect_step(state, kFirst);
    task.spent = [] { return 0.5; };
    expect_step(stepped(task), kFirst * 0.5);

    task.spent = nullptr;
    test::balance(state, 60.0); // Of 600.
    state.numbers["block_begin"] = 50.0;
    state.numbers["block_end"] = 100.0;
    task.begun = state;
    const LearningState later = stepped(task);
    EXPECT_EQ(later.numbers.at("step"), 61.0);
    const double rate = 3e-4 * 0.5 * (1.0 + std::cos(60.0 / 600.0 * M_PI));
    const double expected = rate * test::first_move(61.0);
    EXPECT_NEAR(
        test::largest_change(
            later.arrays.at("map_change").values, state.arrays.at("map_change").values),
        expected, 0.01 * expected);
}

/// Distances do not change when rows and what they decode to are moved together.
TEST(RelationTrainer, TheMeanOfRowsIsNoMatterUnderL2) {
    const Start start;
    RelationTask task = start.task();
    task.metric = Metric::kL2;
    const std::vector<HeldOutRecall> recall = held_out_recall(task);
    const LearningState state = stepped(task);
    std::vector<float> mean(kDim);
    for (std::size_t j = 0; j < kDim; ++j) {
        mean[j] = j % 2 == 0 ? 0.75F : -0.25F;
    }
    task.mean = mean;
    const std::vector<HeldOutRecall> moved_recall = held_out_recall(task);
    ASSERT_EQ(moved_recall.size(), recall.size());
    for (std::size_t i = 0; i < recall.size(); ++i) {
        EXPECT_NEAR(moved_recall[i].recall_at_10, recall[i].recall_at_10, 0.01);
    }
    const LearningState moved = stepped(task);
    EXPECT_NEAR(moved.numbers.at("before"), state.numbers.at("before"), 0.01);
    const auto differing = [&](const char* name) { // A share.
        const std::vector<float>& a = state.arrays.at(name).values;
        const std::vector<float>& b = moved.arrays.at(name).values;
        std::size_t count = 0;
        for (std::size_t i = 0; i < a.size(); ++i) {
            count += std::fabs(a[i] - b[i]) > 1e-6F ? 1U : 0U;
        }
        return static_cast<double>(count) / static_cast<double>(a.size());
    };
    EXPECT_LT(differing("symbols"), 0.01);
    EXPECT_LT(differing("neighbours"), 0.01);
    EXPECT_LT(differing("codebooks"), 0.02);
    for (std::size_t j = 0; j < kDim; ++j) {
        EXPECT_NEAR(
            moved.arrays.at("mean").values[j] - mean[j], state.arrays.at("mean").values[j], 2e-6);
    }
}

/// What steps draw is the same where one goes on within a block, and so is what they learn.
TEST(RelationTrainer, GoesOnWithinABlock) {
    const Start start;
    RelationTask task = start.task();
    const std::vector<float> queries = queries_of_another_kind(300, 3);
    task.queries = test::view(queries, kDim).slice(0, 200);
    task.asking = test::view(queries, kDim).slice(200, 100);
    const LearningState expected = state_before(task, 110.0);
    task.begun = state_before(task, 60.0);
    const LearningState resumed = state_before(task, 110.0);
    EXPECT_EQ(resumed.numbers, expected.numbers);
    EXPECT_EQ(resumed.random, expected.random);
    ASSERT_EQ(resumed.arrays.size(), expected.arrays.size());
    for (const auto& [name, array] : expected.arrays) {
        EXPECT_EQ(resumed.arrays.at(name).values, array.values) << name;
    }
}

/// Codebooks of the last steps move less. Few rows are drawn again and again.
TEST(RelationTrainer, ChoosesSymbolsOfManyRowsLessOftenAsTheRateFalls) {
    constexpr std::size_t kMany = 32768;
    const Start start;
    const std::vector<float> rows = clustered_rows(kMany, 5);
    const auto block_end = [&](std::size_t count, double spent) {
        RelationTask task = start.task();
        task.rows = test::view(rows, kDim).slice(0, count);
        task.spent = [=] { return spent; };
        return stepped(task).numbers.at("block_end");
    };
    EXPECT_EQ(block_end(kMany - 1, 0.9), 50.0);
    EXPECT_EQ(block_end(kMany, 0.0), 50.0);
    EXPECT_EQ(block_end(kMany, 0.5), 100.0);
    EXPECT_EQ(block_end(kMany, 0.9), 200.0);
    EXPECT_EQ(block_end(kMany, 1.0), 200.0);
}

TEST(RelationTrainer, IsDeterministicForASeed) {
    const Start start;
    const std::optional<RelatedCodebooks> first = relate(start.task());
    const std::optional<RelatedCodebooks> second = relate(start.task());
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->codebooks, second->codebooks);
    EXPECT_EQ(first->decode_map, second->decode_map);
    RelationTask other = start.task();
    other.seed = 4;
    EXPECT_NE(relate(other)->codebooks, first->codebooks);
}

TEST(RelationTrainer, RefusesStatesThatDoNotFit) {
    const Start start;
    std::optional<LearningState> good;
    RelationTask first = start.task();
    first.keep = [&](const std::function<LearningState()>& state) { good = state(); };
    first.go_on = [&] { return !good; };
    static_cast<void>(relate(first));
    ASSERT_TRUE(good);
    const auto refuses = [&](const char* name, const std::function<void(LearningState&)>& change) {
        RelationTask task = start.task();
        task.begun = *good;
        change(*task.begun);
        ARFC_EXPECT_ERROR(static_cast<void>(relate(task)), ErrorKind::kCorruption, name);
    };
    refuses("random", [](LearningState& state) { state.random = "dice"; });
    refuses("random", [](LearningState& state) { state.numbers["step"] = 0; });
    refuses("random", [](LearningState& state) { state.numbers["best_step"] = -1; });
    refuses("random", [](LearningState& state) { state.numbers["best_step"] = 2; });
    refuses("random", [](LearningState& state) { // The second of two.
        state.random.resize(state.random.size() / 2);
    });
    refuses("block_begin", [](LearningState& state) { state.numbers.erase("block_begin"); });
    refuses("block_end", [](LearningState& state) { state.numbers.erase("block_end"); });
    const auto refuses_block = [&](double step, double begin, double end) {
        refuses("block", [&](LearningState& state) {
            state.numbers["step"] = step;
            state.numbers["block_begin"] = begin;
            state.numbers["block_end"] = end;
        });
    };
    refuses_block(1, -1, 50);
    refuses_block(1, 2, 52);
    refuses_block(51, 0, 50);
    refuses_block(201, 0, 201);   // Of at most 200.
    refuses_block(590, 551, 601); // Of 600 steps.
    refuses("most", [](LearningState& state) { state.numbers.erase("most"); });
    refuses("symbols", [](LearningState& state) { state.arrays["symbols"].values[5] = 256.0F; });
    refuses("symbols", [](LearningState& state) { state.arrays["symbols"].values[5] = -1.0F; });
    refuses("symbols", [](LearningState& state) { state.arrays["symbols"].shape[0] = 3; });
    refuses("neighbours", [](LearningState& state) { state.arrays.erase("neighbours"); });
    {
        RelationTask asked = start.task(); // The state is of a training without queries.
        asked.queries = asked.asking = asked.held_out;
        asked.begun = *good;
        ARFC_EXPECT_ERROR(
            static_cast<void>(relate(asked)), ErrorKind::kCorruption, "query_neighbours");
    }
    refuses("neighbours", [](LearningState& state) { state.arrays["neighbours"] = {{32}, {}}; });
    refuses("neighbours", [](LearningState& state) { state.arrays["neighbours"] = {{0, 32}, {}}; });
    refuses("neighbours", [](LearningState& state) {
        state.arrays["neighbours"] = {{kRows + 1, 32}, std::vector<float>((kRows + 1) * 32, 0.0F)};
    });
    refuses("neighbours", [](LearningState& state) {
        state.arrays["neighbours"].values[0] = static_cast<float>(kRows);
    });
    refuses("codebooks", [](LearningState& state) {
        state.arrays["codebooks"].values[0] = std::nanf("");
    });
    refuses("mean.average", [](LearningState& state) { state.arrays.erase("mean.average"); });
    RelationTask resumed = start.task();
    resumed.begun = *good;
    resumed.begun->numbers["most"] = 1.0;
    resumed.go_on = [] { return false; };
    EXPECT_FALSE(relate(resumed)) << "nothing was gained yet";
}

/// The map is the identity and, of the first coordinates, what steps changed, transposed.
void expect_map(
    const RelatedCodebooks& related, const StoredTensor& change, std::size_t dim,
    std::size_t mapped) {
    ASSERT_EQ(change.shape, (std::vector<std::size_t>{mapped, mapped}));
    ASSERT_EQ(related.decode_map.size(), dim * dim);
    for (std::size_t i = 0; i < dim; ++i) {
        for (std::size_t j = 0; j < dim; ++j) {
            const float changed = i < mapped && j < mapped ? change.values[j * mapped + i] : 0.0F;
            ASSERT_EQ(related.decode_map[i * dim + j], changed + (i == j ? 1.0F : 0.0F));
        }
    }
}

/// As if steps 1 to 60 had found the best at the 50th.
TEST(RelationTrainer, AStateThatIsReadIsTheOneThatWasWritten) {
    const Start start;
    RelationTask task = start.task();
    std::optional<LearningState> state = state_before(task, 60.0);
    for (const char* name : {"codebooks", "mean", "map_change"}) {
        StoredTensor best = state->arrays.at(name);
        best.values.front() += 0.5F;
        state->arrays[std::string("best.") + name] = best;
    }
    EXPECT_EQ(state->numbers.at("block_begin"), 50.0);
    EXPECT_EQ(state->numbers.at("block_end"), 100.0);
    state->numbers["best_step"] = 50.0;
    state->numbers["most"] = state->numbers["before"] + 0.5;
    task.begun = state;
    std::optional<LearningState> again;
    task.keep = [&](const std::function<LearningState()>& tell) { again = again ? again : tell(); };
    task.go_on = [] { return false; };
    const std::optional<RelatedCodebooks> related = relate(task);
    ASSERT_TRUE(again && related);
    EXPECT_EQ(again->numbers, state->numbers);
    EXPECT_EQ(again->random, state->random);
    ASSERT_EQ(again->arrays.size(), state->arrays.size());
    for (const auto& [name, array] : state->arrays) {
        EXPECT_EQ(again->arrays.at(name).shape, array.shape) << name;
        EXPECT_EQ(again->arrays.at(name).values, array.values) << name;
    }
    EXPECT_EQ(related->codebooks, state->arrays.at("best.codebooks").values);
    EXPECT_EQ(related->mean, state->arrays.at("best.mean").values);
    expect_map(*related, state->arrays.at("best.map_change"), kDim, kDim / 2);
    EXPECT_EQ(related->recall_before, state->numbers.at("before"));
    EXPECT_EQ(related->recall_after, state->numbers.at("most"));
}

TEST(RelationTrainer, MapsTheStrongestHalfOfTheCoordinatesAtMost384) {
    for (const auto& [dim, mapped] :
         {std::pair<std::size_t, std::size_t>{2, 1}, {25, 13}, {800, 384}}) {
        const std::vector<float> rows = test::random_rows(2000, dim);
        const std::vector<float> held_out = test::random_rows(50, dim, 2);
        const std::vector<float> codebooks = test::random_rows(256, dim, 3);
        const std::vector<float> mean(dim, 0.0F);
        RelationTask task{
            .rows = test::view(rows, dim),
            .held_out = test::view(held_out, dim),
            .mean = mean,
            .codebooks = codebooks,
            .metric = Metric::kL2,
            .commit_points = {1}};
        std::optional<LearningState> state;
        task.keep = [&](const std::function<LearningState()>& tell) { state = tell(); };
        task.go_on = [&] { return !state; };
        static_cast<void>(relate(task));
        ASSERT_TRUE(state) << dim;
        for (const char* name : {"codebooks", "mean", "map_change"}) { // As if they were the best.
            state->arrays[std::string("best.") + name] = state->arrays.at(name);
        }
        state->numbers["best_step"] = 1.0;
        const StoredTensor change = state->arrays.at("map_change");
        EXPECT_NE(std::ranges::count(change.values, 0.0F), std::ssize(change.values)) << dim;
        task.begun = state;
        task.keep = nullptr;
        task.go_on = [] { return false; };
        const std::optional<RelatedCodebooks> related = relate(task);
        ASSERT_TRUE(related) << dim;
        expect_map(*related, change, dim, mapped);
    }
}

TEST(RelationTrainer, AnOutcomeIsReadAgain) {
    const Start start;
    const RelationTask task = start.task();
    EXPECT_FALSE(related_from(to_state(std::nullopt), task));
    const RelatedCodebooks related{
        .codebooks = start.codebooks,
        .mean = std::vector<float>(kDim, 0.5F),
        .decode_map = test::random_rows(kDim, kDim),
        .recall_before = 0.25,
        .recall_after = 0.5};
    const LearningState state = to_state(related);
    const std::optional<RelatedCodebooks> again = related_from(state, task);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->codebooks, related.codebooks);
    EXPECT_EQ(again->mean, related.mean);
    EXPECT_EQ(again->decode_map, related.decode_map);
    EXPECT_EQ(again->recall_before, 0.25);
    EXPECT_EQ(again->recall_after, 0.5);
    for (const char* name : {"codebooks", "mean", "decode_map"}) {
        LearningState less = state;
        less.arrays.at(name).values.pop_back();
        ARFC_EXPECT_ERROR((void)related_from(less, task), ErrorKind::kCorruption, name);
        LearningState infinite = state;
        infinite.arrays.at(name).values.back() = INFINITY;
        ARFC_EXPECT_ERROR((void)related_from(infinite, task), ErrorKind::kCorruption, name);
    }
    LearningState unmeasured = state;
    unmeasured.numbers.erase("recall_after");
    ARFC_EXPECT_ERROR((void)related_from(unmeasured, task), ErrorKind::kCorruption, "recall_after");
}

TEST(RelationTrainer, LeavesAloneWhatItCannotImprove) {
    const Start start;
    RelationTask few = start.task();
    few.rows = few.rows.slice(0, 1000);
    EXPECT_FALSE(relate(few));
    RelationTask unmeasured = start.task();
    unmeasured.held_out = unmeasured.held_out.slice(0, 10);
    EXPECT_FALSE(relate(unmeasured));
    RelationTask hurried = start.task();
    hurried.go_on = [] { return false; };
    EXPECT_FALSE(relate(hurried));
    // Rows without any order of neighbours: every one of them is the same.
    std::vector<float> same(kRows * kDim, 0.2F);
    std::vector<float> same_held_out(kHeldOut * kDim, 0.2F);
    RelationTask flat = start.task();
    flat.rows = test::view(same, kDim);
    flat.held_out = test::view(same_held_out, kDim);
    const std::optional<RelatedCodebooks> related = relate(flat);
    EXPECT_TRUE(!related || std::isfinite(related->codebooks.front()));
}

TEST(RelationTrainer, MakesModelsWhoseScoresAreThoseOfTheirReconstructions) {
    constexpr std::size_t kBytes = 3;
    const std::vector<float> rows = clustered_rows(kRows, 5);
    const std::vector<float> queries = clustered_rows(20, 6);
    const auto train = [&](bool relations, std::uint64_t seed) {
        return Compressor::train(
            test::view(rows, kDim), {.code_bytes = kBytes,
                                     .metric = Metric::kCosine,
                                     .seed = seed,
                                     .relations = relations});
    };
    const auto has_map = [](const Compressor& model) {
        return model.files().weights.find("decode_map") != std::string::npos;
    };
    // Whether 130 held-out rows see a gain hangs on the draw, and on the last bits of LibTorch's
    // products on this processor: of a few draws one does.
    std::uint64_t seed = 0;
    std::unique_ptr<Compressor> tuned = train(true, seed);
    while (!has_map(*tuned) && seed < 7) {
        tuned = train(true, ++seed);
    }
    ASSERT_TRUE(has_map(*tuned));
    const auto plain = train(false, seed);
    EXPECT_FALSE(has_map(*plain));
    EXPECT_NE(plain->id(), tuned->id());
    EXPECT_GT(tuned->report().recall.front().recall_at_10, 0.0);

    const auto opened = Compressor::open(tuned->files());
    EXPECT_EQ(opened->id(), tuned->id());
    std::vector<std::byte> codes(kRows * kBytes);
    opened->encode(test::view(rows, kDim), kBytes, {codes.data(), kRows, kBytes});
    std::vector<float> decoded(kRows * kDim);
    opened->decode({codes.data(), kRows, kBytes}, {decoded.data(), kRows, kDim});
    std::vector<float> terms(kRows);
    opened->row_terms({codes.data(), kRows, kBytes}, terms);
    std::vector<float> scores(20 * kRows);
    opened->score(
        test::view(queries, kDim), {codes.data(), kRows, kBytes}, false,
        {scores.data(), 20, kRows});
    for (std::size_t q = 0; q < 20; ++q) {
        for (std::size_t i = 0; i < kRows; i += 7) {
            double product = 0.0;
            for (std::size_t j = 0; j < kDim; ++j) {
                product += static_cast<double>(decoded[i * kDim + j]) *
                           static_cast<double>(queries[q * kDim + j]);
            }
            ASSERT_NEAR(scores[q * kRows + i], product * static_cast<double>(terms[i]), 2e-5);
        }
    }
}

} // namespace
} // namespace arfc
