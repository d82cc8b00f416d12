#include "staged_index.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <set>
#include <string>
#include <thread>

#include "arfc/base/sha256.h"
#include "expect_error.h"
#include "memory_tails.h"
#include "structured_index.h"
#include "trained_model.h"

namespace arfc {
namespace {

using test::brute_force;
using test::kCodeBytes;
using test::kDim;
using test::kQueries;
using test::kRows;
using test::Ranked;
using test::trained_model;
using test::TrainedModel;

constexpr std::size_t kHead = 3;
constexpr std::size_t kMiddle = 6;

/// An index over the model's rows, and what tests do with it.
struct Fixture {
    Fixture(Metric metric, std::vector<std::size_t> stage_bytes, std::size_t nlist)
        : model(trained_model(metric)),
          index(model.compressor, {.stage_bytes = std::move(stage_bytes), .nlist = nlist}),
          heads(model.columns(0, index.head_bytes())) {}

    Fixture& train() {
        index.train(model.code_view(), model.row_view());
        return *this;
    }

    Fixture& add(std::size_t first = 0, std::size_t count = kRows) {
        index.add(MatrixView<const std::byte>(heads.data(), kRows, index.head_bytes())
                      .slice(first, count));
        return *this;
    }

    [[nodiscard]] MemoryTails tails() const {
        return {
            model.codes.data() + index.head_bytes(), kCodeBytes,
            index.code_bytes() - index.head_bytes()};
    }

    [[nodiscard]] StagedAnswer search(const StagedRequest& request) const {
        const MemoryTails source = tails();
        return index.search(model.query_view(), request, &source);
    }

    [[nodiscard]] std::vector<Ranked> answer(
        const StagedAnswer& from, std::size_t query, std::size_t k) const {
        std::vector<Ranked> out;
        for (std::size_t i = query * k; i < (query + 1) * k && from.rows[i] != kNoRow; ++i) {
            out.push_back({from.rows[i], from.scores[i]});
        }
        return out;
    }

    const TrainedModel& model;
    StagedIndex index;
    std::vector<std::byte> heads;
};

/// Stages that let every row through, so that nothing but the last one decides.
std::vector<Stage> wide(const std::vector<std::size_t>& bytes) {
    std::vector<Stage> stages;
    stages.reserve(bytes.size());
    for (const std::size_t length : bytes) {
        stages.push_back({length, kRows});
    }
    return stages;
}

class StagedIndexOfEveryMetric : public testing::TestWithParam<Metric> {};

INSTANTIATE_TEST_SUITE_P(
    Metrics, StagedIndexOfEveryMetric,
    testing::Values(Metric::kCosine, Metric::kL2, Metric::kInnerProduct),
    [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST_P(StagedIndexOfEveryMetric, AnswersAsBruteForceDoesToTheBit) {
    const std::vector<std::vector<std::size_t>> shapes = {
        {kCodeBytes}, {kHead, kCodeBytes}, {kHead, kMiddle, kCodeBytes}};
    for (const std::vector<std::size_t>& shape : shapes) {
        for (const std::size_t nlist : {0, 1, 7, 64}) {
            Fixture fixture(GetParam(), shape, nlist);
            fixture.train().add();
            const std::vector<float> scores = fixture.model.scores(kCodeBytes);
            for (const std::size_t k : {1, 10, 300}) {
                const StagedRequest request{
                    .k = k,
                    .stages = wide(shape),
                    .nprobe = std::max<std::size_t>(nlist, 1),
                    .accepts = {}};
                const StagedAnswer answer = fixture.search(request);
                for (std::size_t q = 0; q < kQueries; ++q) {
                    const auto expected = brute_force(
                        std::span(scores).subspan(q * kRows, kRows), k, [](auto) { return true; });
                    ASSERT_EQ(fixture.answer(answer, q, k), expected)
                        << shape.size() << " stages, nlist " << nlist;
                }
            }
        }
    }
}

TEST_P(StagedIndexOfEveryMetric, RanksByThePrefixThatIsAskedFor) {
    for (const bool is_trained : {false, true}) {
        Fixture fixture(GetParam(), {kHead, kMiddle, kCodeBytes}, 0);
        if (is_trained) {
            fixture.train();
        }
        fixture.add();
        // The head alone, a cached length, and a length that the index has no terms of.
        const std::vector<std::vector<std::size_t>> requests = {
            {kHead}, {kHead, kMiddle}, {kHead, 8}, {kHead, 5, 11}};
        for (const std::vector<std::size_t>& lengths : requests) {
            const std::vector<float> scores = fixture.model.scores(lengths.back());
            for (int repeat = 0; repeat < 2; ++repeat) { // Computed first, then from the cache.
                const StagedAnswer answer =
                    fixture.search({.k = 25, .stages = wide(lengths), .nprobe = {}, .accepts = {}});
                ASSERT_EQ(answer.stages.size(), lengths.size());
                EXPECT_EQ(answer.stages[0].candidates, kQueries * kRows);
                EXPECT_EQ(answer.stages[0].bytes_read, kQueries * kRows * kHead);
                for (const StageUsage& stage : answer.stages) {
                    EXPECT_GT(stage.milliseconds, 0.0);
                }
                for (std::size_t q = 0; q < kQueries; ++q) {
                    const std::vector<Ranked> found = fixture.answer(answer, q, 25);
                    ASSERT_EQ(found.size(), 25U);
                    for (const Ranked& hit : found) {
                        ASSERT_EQ(hit.score, scores[q * kRows + hit.row])
                            << lengths.back() << " bytes";
                    }
                    if (lengths.size() > 1) {
                        const auto all = std::span(scores).subspan(q * kRows, kRows);
                        ASSERT_EQ(found, brute_force(all, 25, [](auto) { return true; }));
                    }
                }
            }
        }
    }
}

/// What the scan of heads chooses by: their terms are kept in 255 steps between the least and the
/// largest of the `learned` first rows.
std::vector<float> rounded_scores(
    const TrainedModel& model, const std::vector<std::byte>& heads, std::size_t learned) {
    const Compressor& compressor = *model.compressor;
    std::vector<float> terms(kRows);
    compressor.row_terms({heads.data(), kRows, kHead}, terms);
    const auto [low, high] = std::ranges::minmax(std::span(terms).first(learned));
    for (float& term : terms) {
        const float share = (std::clamp(term, low, high) - low) / (high - low);
        term = low + (high - low) * (std::round(share * 255.0F) / 255.0F);
    }
    std::vector<float> tables(kQueries * kHead * kSymbols);
    compressor.query_tables(model.query_view(), 0, {tables.data(), kQueries, kHead * kSymbols});
    std::vector<Compressor::QueryTerms> of_queries(kQueries);
    compressor.query_terms(model.query_view(), of_queries);
    std::vector<float> scores;
    for (std::size_t q = 0; q < kQueries; ++q) {
        for (std::size_t row = 0; row < kRows; ++row) {
            float sum = of_queries[q].bias;
            for (std::size_t t = 0; t < kHead; ++t) {
                const auto token = std::to_integer<std::size_t>(heads[row * kHead + t]);
                sum += tables[(q * kHead + t) * kSymbols + token];
            }
            scores.push_back(Compressor::combine(
                compressor.metric(), sum, terms[row], of_queries[q].squared_norm));
        }
    }
    return scores;
}

TEST_P(StagedIndexOfEveryMetric, EachStageKeepsTheBestByItsOwnScores) {
    constexpr std::size_t kLearned = 200; // Terms of the other rows may lie outside the steps.
    Fixture fixture(GetParam(), {kHead, kMiddle, kCodeBytes}, 0);
    fixture.index.train(
        fixture.model.code_view().slice(0, kLearned), fixture.model.row_view().slice(0, kLearned));
    fixture.add();
    const std::vector<float> by_head = rounded_scores(fixture.model, fixture.heads, kLearned);
    const std::vector<float> by_middle = fixture.model.scores(kMiddle);
    const std::vector<float> by_code = fixture.model.scores(kCodeBytes);
    const StagedAnswer answer = fixture.search(
        {.k = 10,
         .stages = {{kHead, 25}, {kMiddle, 15}, {kCodeBytes, 0}},
         .nprobe = {},
         .accepts = {}});
    for (std::size_t q = 0; q < kQueries; ++q) {
        const auto best = [&](const std::vector<float>& scores, std::size_t count,
                              const std::vector<Ranked>* among) {
            std::set<std::uint64_t> rows;
            for (std::size_t i = 0; among != nullptr && i < among->size(); ++i) {
                rows.insert((*among)[i].row);
            }
            return brute_force(
                std::span(scores).subspan(q * kRows, kRows), count,
                [&](std::uint64_t row) { return among == nullptr || rows.contains(row); });
        };
        const std::vector<Ranked> first = best(by_head, 25, nullptr);
        const std::vector<Ranked> second = best(by_middle, 15, &first);
        ASSERT_EQ(fixture.answer(answer, q, 10), best(by_code, 10, &second));
    }
    // Where the head is the only stage its rounded terms decide nothing, whatever its limit.
    const std::vector<float> exact = fixture.model.scores(kHead);
    for (const std::size_t limit : {0, 10}) {
        const StagedAnswer heads =
            fixture.search({.k = 10, .stages = {{kHead, limit}}, .nprobe = {}, .accepts = {}});
        for (std::size_t q = 0; q < kQueries; ++q) {
            ASSERT_EQ(
                fixture.answer(heads, q, 10),
                brute_force(
                    std::span(exact).subspan(q * kRows, kRows), 10, [](auto) { return true; }));
        }
    }
}

TEST(StagedIndex, RanksByTheTermsItWasGiven) {
    Fixture fixture(Metric::kL2, {kHead, kMiddle, kCodeBytes}, 3);
    std::vector<float> terms = fixture.index.rank_terms(fixture.model.code_view());
    for (std::size_t row = 0; row < kRows; ++row) { // Squared lengths: they push rows far away.
        terms[2 * row] += row % 3 == 0 ? 1000.0F : 0.0F;
        terms[2 * row + 1] += row % 2 == 0 ? 1000.0F : 0.0F;
    }
    fixture.index.add({fixture.heads.data(), kRows, kHead}, {terms.data(), kRows, 2});
    const auto expect_none = [&](std::size_t bytes, std::size_t every, std::size_t gone) {
        StagedRequest request{.k = 50, .stages = wide({kHead, bytes})};
        request.exhaustive = true;
        const MemoryTails tails(
            fixture.model.codes.data() + gone * kCodeBytes + kHead, kCodeBytes, kCodeBytes - kHead);
        const StagedAnswer answer =
            fixture.index.search(fixture.model.query_view(), request, &tails);
        EXPECT_TRUE(std::ranges::none_of(
            answer.rows, [&](std::uint64_t row) { return (row + gone) % every == 0; }))
            << bytes << " bytes, " << gone << " rows gone";
    };
    expect_none(kMiddle, 3, 0);
    expect_none(kCodeBytes, 2, 0);
    fixture.train();
    expect_none(kMiddle, 3, 0);
    expect_none(kCodeBytes, 2, 0);
    fixture.index.erase(std::vector<std::uint64_t>{0});
    fixture.index.compact();
    expect_none(kMiddle, 3, 1);
    expect_none(kCodeBytes, 2, 1);
}

TEST_P(StagedIndexOfEveryMetric, ScoresTheSameWithTermsSuppliedCachedOrComputed) {
    Fixture computed(GetParam(), {kHead, kMiddle, kCodeBytes}, 5);
    computed.train().add();
    Fixture supplied(GetParam(), {kHead, kMiddle, kCodeBytes}, 5);
    supplied.train();
    const std::vector<float> terms = supplied.index.rank_terms(supplied.model.code_view());
    supplied.index.add({supplied.heads.data(), kRows, kHead}, {terms.data(), kRows, 2});
    const StagedAnswer first = computed.search({});
    const StagedAnswer again = computed.search({});
    const StagedAnswer other = supplied.search({});
    EXPECT_EQ(first.scores, again.scores);
    EXPECT_EQ(first.rows, again.rows);
    EXPECT_EQ(first.scores, other.scores);
    EXPECT_EQ(first.rows, other.rows);
}

TEST_P(StagedIndexOfEveryMetric, AnswersAlikeOnOneThreadAndMoreAndForOneQueryAndMore) {
    const std::size_t before = num_threads();
    std::vector<StagedAnswer> answers;
    for (const std::size_t threads : {1, 2, 5}) {
        set_num_threads(threads);
        Fixture fixture(GetParam(), {kHead, kCodeBytes}, 16);
        fixture.train().add();
        answers.push_back(fixture.search({.k = 7, .stages = {}, .nprobe = 3, .accepts = {}}));
        const MemoryTails tails = fixture.tails();
        for (std::size_t q = 0; q < kQueries; ++q) {
            const StagedAnswer alone = fixture.index.search(
                fixture.model.query_view().slice(q, 1),
                {.k = 7, .stages = {}, .nprobe = 3, .accepts = {}}, &tails);
            for (std::size_t i = 0; i < 7; ++i) {
                ASSERT_EQ(alone.rows[i], answers.back().rows[q * 7 + i]);
                ASSERT_EQ(alone.scores[i], answers.back().scores[q * 7 + i]);
            }
        }
    }
    set_num_threads(before);
    for (const StagedAnswer& answer : answers) {
        EXPECT_EQ(answer.rows, answers.front().rows);
        EXPECT_EQ(answer.scores, answers.front().scores);
    }
}

TEST_P(StagedIndexOfEveryMetric, AddsInPiecesAsAtOnce) {
    Fixture whole(GetParam(), {kHead, kCodeBytes}, 9);
    whole.train().add();
    Fixture pieces(GetParam(), {kHead, kCodeBytes}, 9);
    pieces.train();
    for (std::size_t first = 0, size = 1; first < kRows; first += size, size = size * 2 + 1) {
        pieces.add(first, std::min(size, kRows - first));
    }
    EXPECT_EQ(whole.index.save(), pieces.index.save());
    EXPECT_EQ(whole.index.all_heads(), whole.heads);
    EXPECT_EQ(pieces.index.all_heads(), whole.heads);
}

TEST_P(StagedIndexOfEveryMetric, TrainsWithRowsInIt) {
    Fixture before(GetParam(), {kHead, kCodeBytes}, 9);
    before.add();
    EXPECT_FALSE(before.index.is_trained());
    before.index.erase(std::vector<std::uint64_t>{3, 40});
    before.train();
    Fixture after(GetParam(), {kHead, kCodeBytes}, 9);
    after.train().add();
    EXPECT_EQ(before.index.save(), after.index.save());
    EXPECT_EQ(before.index.live_rows(), kRows - 2);
    after.index.erase(std::vector<std::uint64_t>{3, 40});
    EXPECT_EQ(before.search({}).rows, after.search({}).rows);
}

TEST_P(StagedIndexOfEveryMetric, RestoresToTheBit) {
    for (const bool is_trained : {false, true}) {
        Fixture saved(GetParam(), {kHead, kMiddle, kCodeBytes}, 9);
        if (is_trained) {
            saved.train();
        }
        saved.add(0, 1000);
        const std::string bytes = saved.index.save(77);
        Fixture restored(GetParam(), {kHead, kMiddle, kCodeBytes}, 9);
        const StagedIndex::Restored read = restored.index.restore(bytes);
        EXPECT_EQ(read.sequence, 77U);
        EXPECT_EQ(read.rows, 1000U);
        EXPECT_EQ(restored.index.is_trained(), is_trained);
        // Fed in pieces that cross the end of what the file covers.
        saved.add(1000, 500);
        restored.add(0, 300).add(300, 800).add(1100, 400);
        EXPECT_EQ(saved.index.save(), restored.index.save());
        EXPECT_EQ(saved.search({}).scores, restored.search({}).scores);
        EXPECT_EQ(saved.search({}).rows, restored.search({}).rows);
    }
}

TEST(StagedIndex, LeavesOutWhatItsFilterRefusesAndWhatIsErased) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 6);
    fixture.train().add();
    std::vector<std::uint64_t> erased;
    for (std::uint64_t row = 0; row < kRows; row += 5) {
        erased.push_back(row);
    }
    fixture.index.erase(erased);
    fixture.index.erase(erased); // Again: nothing more goes.
    EXPECT_EQ(fixture.index.live_rows(), kRows - erased.size());
    const std::vector<float> scores = fixture.model.scores(kCodeBytes);
    const auto is_in = [](std::uint64_t row) { return row % 5 != 0 && row % 3 == 1; };
    StagedRequest request{.k = 12, .stages = wide({kHead, kCodeBytes}), .nprobe = 6, .accepts = {}};
    std::atomic<std::size_t> asked = 0;
    request.accepts = [&](std::uint64_t row) {
        ++asked;
        EXPECT_NE(row % 5, 0U) << "an erased row was asked about";
        return row % 3 == 1;
    };
    const MemoryTails tails = fixture.tails();
    for (const std::size_t together : {std::size_t{1}, kQueries}) { // Asked when met, and once for
                                                                    // all queries.
        for (std::size_t q = 0; q < kQueries; q += together) {
            const StagedAnswer answer = fixture.index.search(
                fixture.model.query_view().slice(q, together), request, &tails);
            EXPECT_EQ(answer.stages[0].candidates, together * 400);
            for (std::size_t i = 0; i < together; ++i) {
                ASSERT_EQ(
                    fixture.answer(answer, i, 12),
                    brute_force(std::span(scores).subspan((q + i) * kRows, kRows), 12, is_in));
            }
        }
    }
    EXPECT_GT(asked.load(), 0U);
    request.accepts = [](std::uint64_t) { return false; };
    const StagedAnswer nothing = fixture.search(request);
    EXPECT_EQ(
        std::set<std::uint64_t>(nothing.rows.begin(), nothing.rows.end()),
        std::set<std::uint64_t>{kNoRow});
}

TEST(StagedIndex, LeavesOutASingleErasedRow) {
    Fixture fixture(Metric::kCosine, {kCodeBytes}, 0);
    fixture.add();
    const StagedAnswer before = fixture.search({.k = 2});
    fixture.index.erase(std::vector<std::uint64_t>{before.rows[0]});
    const StagedAnswer after = fixture.search({.k = 2});
    EXPECT_EQ(after.rows[0], before.rows[1]);
    EXPECT_EQ(after.scores[0], before.scores[1]);
    const StagedRangeAnswer range = fixture.index.range_search(
        fixture.model.query_view(), {}, [](std::size_t, float) { return true; }, nullptr);
    EXPECT_EQ(range.rows.size(), kQueries * (kRows - 1));
    EXPECT_EQ(std::ranges::count(range.rows, before.rows[0]), 0);
}

TEST(StagedIndex, AsksAFilterOfEachRowItMeetsOrOnceOfEveryRow) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 16);
    fixture.train().add();
    fixture.index.erase(std::vector<std::uint64_t>{4, 5});
    std::atomic<std::size_t> asked = 0;
    StagedRequest request{.k = kRows, .stages = wide({kHead, kCodeBytes}), .nprobe = 1};
    request.accepts = [&](std::uint64_t row) {
        ++asked;
        EXPECT_NE(row / 2, 2U) << "an erased row was asked about";
        return row % 2 == 0;
    };
    const MemoryTails tails = fixture.tails();
    const StagedAnswer one =
        fixture.index.search(fixture.model.query_view().slice(0, 1), request, &tails); // Meets a
                                                                                       // list
                                                                                       // alone.
    EXPECT_LT(asked.load(), kRows / 2);
    EXPECT_GE(asked.load(), one.stages[0].candidates);
    EXPECT_GT(one.stages[0].candidates, 0U);
    for (const std::uint64_t row : one.rows) {
        EXPECT_TRUE(row == kNoRow || (row % 2 == 0 && row != 4)) << row;
    }
    asked = 0;
    (void)fixture.search(request); // Thirty lists of sixteen.
    EXPECT_EQ(asked.load(), kRows - 2);
}

TEST(StagedIndex, RangesAreOfTheWholeCodeBeforeTraining) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 0);
    fixture.add();
    const std::vector<float> scores = fixture.model.scores(kCodeBytes);
    const MemoryTails tails = fixture.tails();
    const StagedRangeAnswer found = fixture.index.range_search(
        fixture.model.query_view(), {}, [](std::size_t, float score) { return score > 0.5F; },
        &tails);
    EXPECT_GT(found.rows.size(), 0U);
    std::size_t at = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        if (scores[i] > 0.5F) {
            ASSERT_LT(at, found.rows.size());
            ASSERT_EQ(found.rows[at], i % kRows);
            ASSERT_EQ(found.scores[at++], scores[i]);
        }
    }
    EXPECT_EQ(at, found.rows.size());
}

TEST(StagedIndex, HasTwoListsWhereTwoAreAskedFor) {
    Fixture fixture(Metric::kL2, {kHead, kCodeBytes}, 2);
    fixture.train().add();
    const StagedRequest one{.k = 10, .stages = wide({kHead, kCodeBytes}), .nprobe = 1};
    const StagedAnswer narrow = fixture.search(one);
    EXPECT_LT(narrow.stages[0].candidates, kQueries * kRows);
    EXPECT_EQ(std::ranges::count(narrow.rows, kNoRow), 0);
    EXPECT_EQ(fixture.index.resident_bytes().lists, kRows * 4 + (kRows + 7) / 8 + 2 * kDim * 4);
    Fixture restored(Metric::kL2, {kHead, kCodeBytes}, 2);
    EXPECT_EQ(restored.index.restore(fixture.index.save()).rows, kRows);
    restored.add();
    EXPECT_EQ(restored.index.save(), fixture.index.save());
    EXPECT_EQ(restored.search(one).rows, narrow.rows);
    std::vector<std::uint64_t> all(kRows);
    std::iota(all.begin(), all.end(), std::uint64_t{0});
    std::vector<std::byte> heads(kRows * kHead);
    restored.index.read_heads(all, {heads.data(), kRows, kHead});
    EXPECT_EQ(heads, fixture.heads);
    EXPECT_EQ(restored.index.all_heads(), fixture.heads);
}

TEST(StagedIndex, AddsMoreRowsThanItDecodesAtOnce) {
    constexpr std::size_t kCount = 5000;
    const TrainedModel& model = trained_model(Metric::kCosine);
    const std::vector<std::byte> heads =
        test::heads_of(test::many_codes(Metric::kCosine), 0, kCount);
    const MatrixView<const std::byte> view(heads.data(), kCount, test::kHead);
    for (const std::size_t copies : {1, 2}) {
        const StagedShape shape{.stage_bytes = {test::kHead, kCodeBytes}, .nlist = 20};
        StagedIndex whole(model.compressor, shape);
        whole.train(model.code_view(), {}, {.lists_per_row = copies});
        StagedIndex pieces(model.compressor, shape);
        EXPECT_EQ(pieces.restore(whole.save()).rows, 0U);
        whole.add(view);
        for (std::size_t first = 0; first < kCount; first += 500) {
            pieces.add(view.slice(first, 500));
        }
        EXPECT_EQ(whole.save(), pieces.save()) << copies;
    }
}

/// What a file said of rows 0, 1, 2, ... is not said of other rows that get these numbers.
TEST(StagedIndex, ForgetsWhatAFileSaidOfRowsThatAreGone) {
    Fixture saved(Metric::kCosine, {kHead, kCodeBytes}, 9);
    saved.train();
    const std::string training = saved.index.save();
    saved.add();
    const std::string bytes = saved.index.save();
    Fixture expected(Metric::kCosine, {kHead, kCodeBytes}, 9);
    (void)expected.index.restore(training);
    Fixture cleared(Metric::kCosine, {kHead, kCodeBytes}, 9);
    (void)cleared.index.restore(bytes);
    cleared.index.clear();
    cleared.add(100, 300);
    expected.add(100, 300);
    EXPECT_EQ(cleared.index.save(), expected.index.save());
    Fixture compacted(Metric::kCosine, {kHead, kCodeBytes}, 9);
    (void)compacted.index.restore(bytes);
    compacted.add(0, 101);
    std::vector<std::uint64_t> first(100);
    std::iota(first.begin(), first.end(), std::uint64_t{0});
    compacted.index.erase(first);
    compacted.index.compact();
    compacted.add(101, 299);
    EXPECT_EQ(compacted.index.save(), expected.index.save());
}

TEST(StagedIndex, ProbesOnlyTheNearestLists) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 16);
    fixture.train().add();
    std::size_t previous = 0;
    for (const std::size_t nprobe : {1, 4, 16}) {
        const StagedAnswer answer = fixture.search(
            {.k = 10, .stages = wide({kHead, kCodeBytes}), .nprobe = nprobe, .accepts = {}});
        EXPECT_GT(answer.stages[0].candidates, previous);
        EXPECT_EQ(answer.stages[0].bytes_read, answer.stages[0].candidates * kHead);
        EXPECT_EQ(answer.stages[1].candidates, answer.stages[0].candidates);
        EXPECT_EQ(answer.stages[1].bytes_read, answer.stages[1].candidates * (kCodeBytes - kHead));
        previous = answer.stages[0].candidates;
    }
    EXPECT_EQ(previous, kQueries * kRows);
}

TEST(StagedIndex, FindsMoreInAsManyListsWhereRowsAreInSeveral) {
    using Case = std::tuple<Metric, std::size_t>;
    for (const auto& [metric, copies] :
         {Case{Metric::kCosine, 2}, Case{Metric::kL2, 2}, Case{Metric::kInnerProduct, 2},
          Case{Metric::kCosine, 3}, Case{Metric::kL2, 3}}) {
        Fixture one(metric, {kHead, kCodeBytes}, 50);
        Fixture several(metric, {kHead, kCodeBytes}, 50);
        one.index.train(one.model.code_view(), {}, {.lists_per_row = 1});
        several.index.train(several.model.code_view(), {}, {.lists_per_row = copies});
        one.add();
        several.add(0, 700).add(700, 800);
        EXPECT_EQ(one.index.all_heads(), several.index.all_heads());
        EXPECT_EQ(several.index.resident_bytes().heads, copies * one.index.resident_bytes().heads);
        const std::vector<float> scores = several.model.scores(kCodeBytes);
        std::array<std::size_t, 2> found{};
        for (const std::size_t nprobe : {1, 5, 49, 50}) {
            const StagedRequest request{
                .k = 10, .stages = wide({kHead, kCodeBytes}), .nprobe = nprobe, .accepts = {}};
            const StagedAnswer narrow = one.search(request);
            const StagedAnswer spread = several.search(request);
            for (std::size_t q = 0; q < kQueries; ++q) {
                const auto truth = brute_force(
                    std::span(scores).subspan(q * kRows, kRows), 10, [](auto) { return true; });
                const std::vector<Ranked> hits = several.answer(spread, q, 10);
                std::set<std::uint64_t> different;
                for (const Ranked& hit : hits) {
                    different.insert(hit.row);
                    ASSERT_EQ(hit.score, scores[q * kRows + hit.row]);
                    found[1] += static_cast<std::size_t>(std::ranges::count(truth, hit));
                }
                EXPECT_EQ(different.size(), hits.size()) << "a row was answered twice";
                for (const Ranked& hit : one.answer(narrow, q, 10)) {
                    found[0] += static_cast<std::size_t>(std::ranges::count(truth, hit));
                }
                if (nprobe == 50) {
                    ASSERT_EQ(hits, truth);
                }
            }
            if (nprobe == 50) {
                EXPECT_EQ(spread.stages[0].candidates, kQueries * kRows) << "each row once";
            }
        }
        EXPECT_GT(found[1], found[0]);

        // Erased rows leave all lists, and a file of the lists brings all back.
        std::vector<std::uint64_t> erased;
        for (std::uint64_t row = 0; row < kRows; row += 3) {
            erased.push_back(row);
        }
        several.index.erase(erased);
        const StagedRequest few{.k = 10, .stages = {}, .nprobe = 3, .accepts = {}};
        for (const std::uint64_t row : several.search(few).rows) {
            EXPECT_TRUE(row == kNoRow || row % 3 != 0);
        }
        Fixture restored(metric, {kHead, kCodeBytes}, 50);
        EXPECT_EQ(restored.index.restore(several.index.save()).rows, kRows);
        restored.add(0, 1).add(1, kRows - 1);
        EXPECT_EQ(restored.index.save(), several.index.save());
        restored.index.erase(erased);
        EXPECT_EQ(restored.search(few).scores, several.search(few).scores);
        EXPECT_EQ(restored.search(few).rows, several.search(few).rows);
        several.index.compact();
        EXPECT_EQ(several.index.resident_bytes().heads, copies * several.index.rows() * kHead);
        const std::vector<std::byte> heads = several.index.all_heads();
        Fixture fresh(metric, {kHead, kCodeBytes}, 50);
        fresh.index.train(fresh.model.code_view(), {}, {.lists_per_row = copies});
        fresh.index.add({heads.data(), several.index.rows(), kHead});
        EXPECT_EQ(fresh.index.save(), several.index.save());
    }
}

TEST(StagedIndex, KeepsAsManyRowsAsAStageIsTold) {
    Fixture fixture(Metric::kL2, {kHead, kMiddle, kCodeBytes}, 0);
    fixture.train().add();
    const StagedAnswer answer = fixture.search(
        {.k = 10,
         .stages = {{kHead, 120}, {kMiddle, 30}, {kCodeBytes, 0}},
         .nprobe = {},
         .accepts = {}});
    EXPECT_EQ(answer.stages[1].candidates, kQueries * 120);
    EXPECT_EQ(answer.stages[2].candidates, kQueries * 30);
    // What the middle stage kept is what its own scores say of the rows that the first one kept.
    const std::vector<float> scores = fixture.model.scores(kCodeBytes);
    for (std::size_t i = 0; i < answer.rows.size(); ++i) {
        ASSERT_EQ(answer.scores[i], scores[i / 10 * kRows + answer.rows[i]]);
    }
}

/// Tails of which some end early.
class ShortTails final : public TailSource {
  public:
    ShortTails(const TrainedModel& model, std::vector<std::size_t> lengths)
        : model_(model), lengths_(std::move(lengths)) {}
    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            lengths[i] = std::min(tails.cols(), lengths_[rows[i]]);
            std::fill(tails.row(i).begin(), tails.row(i).end(), std::byte{0xEE}); // Garbage where
                                                                                  // there is
                                                                                  // nothing.
            std::copy_n(
                model_.codes.data() + rows[i] * kCodeBytes + kHead, lengths[i],
                tails.row(i).data());
        }
    }

  private:
    const TrainedModel& model_;
    std::vector<std::size_t> lengths_;
};

/// Tails that cannot be read.
template <class Failure>
class NoTails final : public TailSource {
  public:
    explicit NoTails(Failure failure) : failure_(std::move(failure)) {}
    void read_tails(
        std::span<const std::uint64_t> /*rows*/, MatrixView<std::byte> /*tails*/,
        std::span<std::size_t> /*lengths*/) const override {
        throw failure_;
    }

  private:
    Failure failure_;
};

TEST(StagedIndex, PassesOnWhatTailsThrow) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 0);
    fixture.add();
    const NoTails damaged(Error(ErrorKind::kCorruption, "tail of row 7"));
    const NoTails too_large{std::bad_alloc()};
    const auto search = [&](const TailSource& tails) {
        (void)fixture.index.search(fixture.model.query_view(), {.k = 3}, &tails);
    };
    const auto range_search = [&](const TailSource& tails) {
        (void)fixture.index.range_search(
            fixture.model.query_view(), {}, [](std::size_t, float) { return true; }, &tails);
    };
    ARFC_EXPECT_ERROR(search(damaged), ErrorKind::kCorruption, "tail of row 7");
    ARFC_EXPECT_ERROR(range_search(damaged), ErrorKind::kCorruption, "tail of row 7");
    ARFC_EXPECT_ERROR(
        search(too_large), ErrorKind::kResourceExhausted, "queries and answers each: 30, 3");
    ARFC_EXPECT_ERROR(
        range_search(too_large), ErrorKind::kResourceExhausted, "smaller radius or fewer");
}

TEST(StagedIndex, RanksRowsOfShortTailsByThePrefixTheyHave) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        Fixture fixture(metric, {kHead, kMiddle, kCodeBytes}, 0);
        fixture.train().add();
        std::vector<std::size_t> lengths(kRows);
        for (std::size_t row = 0; row < kRows; ++row) {
            lengths[row] = row % 4 == 0 ? 0
                         : row % 4 == 1 ? 2
                         : row % 4 == 2 ? 5
                                        : kCodeBytes - kHead;
        }
        const ShortTails tails(fixture.model, lengths);
        const StagedRequest request{
            .k = 40, .stages = wide({kHead, kMiddle, kCodeBytes}), .nprobe = {}, .accepts = {}};
        std::map<std::size_t, std::vector<float>> scores;
        for (const std::size_t length : {0, 2, 5, 9}) {
            scores[length] = fixture.model.scores(kHead + length);
        }
        std::vector<float> expected(kQueries * kRows);
        for (std::size_t i = 0; i < expected.size(); ++i) {
            expected[i] = scores[lengths[i % kRows]][i];
        }
        for (int repeat = 0; repeat < 2; ++repeat) {
            const StagedAnswer answer =
                fixture.index.search(fixture.model.query_view(), request, &tails);
            for (std::size_t q = 0; q < kQueries; ++q) {
                ASSERT_EQ(
                    fixture.answer(answer, q, 40),
                    brute_force(std::span(expected).subspan(q * kRows, kRows), 40, [](auto) {
                        return true;
                    }));
            }
        }
        // Terms of short rows were not remembered as those of long ones.
        const std::vector<float> full = fixture.model.scores(kCodeBytes);
        const StagedAnswer whole = fixture.search(request);
        EXPECT_EQ(
            fixture.answer(whole, 0, 40),
            brute_force(std::span(full).subspan(0, kRows), 40, [](auto) { return true; }));
    }
}

TEST(StagedIndex, RenumbersWhenCompacted) {
    Fixture fixture(Metric::kCosine, {kHead, kMiddle, kCodeBytes}, 6);
    fixture.train().add();
    (void)fixture.search({}); // Fills some of the cached terms.
    std::vector<std::uint64_t> erased;
    std::vector<std::byte> codes;
    for (std::uint64_t row = 0; row < kRows; ++row) {
        if (row % 7 == 0 || row > 1400) {
            erased.push_back(row);
        } else {
            codes.insert(
                codes.end(), fixture.model.code_view().row(row).begin(),
                fixture.model.code_view().row(row).end());
        }
    }
    fixture.index.erase(erased);
    fixture.index.compact();
    const std::size_t left = kRows - erased.size();
    EXPECT_EQ(fixture.index.rows(), left);
    EXPECT_EQ(fixture.index.live_rows(), left);
    Fixture fresh(Metric::kCosine, {kHead, kMiddle, kCodeBytes}, 6);
    fresh.train();
    const std::vector<float> unused = fresh.index.rank_terms({codes.data(), left, kCodeBytes});
    std::vector<std::byte> heads;
    for (std::size_t i = 0; i < left; ++i) {
        heads.insert(
            heads.end(), codes.begin() + static_cast<std::ptrdiff_t>(i * kCodeBytes),
            codes.begin() + static_cast<std::ptrdiff_t>(i * kCodeBytes + kHead));
    }
    fresh.index.add({heads.data(), left, kHead}, {unused.data(), left, 2});
    EXPECT_EQ(fixture.index.save(), fresh.index.save());
    const MemoryTails tails(codes.data() + kHead, kCodeBytes, kCodeBytes - kHead);
    const StagedAnswer a = fixture.index.search(fixture.model.query_view(), {}, &tails);
    const StagedAnswer b = fresh.index.search(fixture.model.query_view(), {}, &tails);
    EXPECT_EQ(a.rows, b.rows);
    EXPECT_EQ(a.scores, b.scores);
    fixture.index.clear();
    EXPECT_EQ(fixture.index.rows(), 0U);
    EXPECT_TRUE(fixture.index.is_trained());
    EXPECT_EQ(fixture.search({.k = 2}).rows, std::vector<std::uint64_t>(2 * kQueries, kNoRow));
}

TEST(StagedIndex, ReadsHeadsInAnyOrder) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 6);
    fixture.train().add();
    const std::vector<std::uint64_t> rows = {1499, 0, 700, 0, 31};
    std::vector<std::byte> heads(rows.size() * kHead);
    fixture.index.read_heads(rows, {heads.data(), rows.size(), kHead});
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_TRUE(std::equal(
            heads.begin() + static_cast<std::ptrdiff_t>(i * kHead),
            heads.begin() + static_cast<std::ptrdiff_t>((i + 1) * kHead),
            fixture.heads.begin() + static_cast<std::ptrdiff_t>(rows[i] * kHead)));
    }
    ARFC_EXPECT_ERROR(
        fixture.index.read_heads(std::vector<std::uint64_t>{kRows}, {heads.data(), 1, kHead}),
        ErrorKind::kInvalidArgument, "Row does not exist: 1500, of 1500");
}

TEST(StagedIndex, PutsARowIntoAListByItsHeadAlone) {
    Fixture forward(Metric::kL2, {kHead, kCodeBytes}, 16);
    forward.train().add();
    Fixture backward(Metric::kL2, {kHead, kCodeBytes}, 16);
    backward.train();
    for (std::size_t row = kRows; row-- > 0;) {
        backward.add(row, 1);
    }
    // The same rows in each list: scanning one list meets the same heads.
    const StagedRequest one{.k = kRows, .stages = {{kHead, 0}}, .nprobe = 1, .accepts = {}};
    const StagedAnswer a = forward.search(one);
    const StagedAnswer b = backward.search(one);
    for (std::size_t q = 0; q < kQueries; ++q) {
        std::set<std::uint64_t> from_a;
        std::set<std::uint64_t> from_b;
        for (std::size_t i = q * kRows; i < (q + 1) * kRows; ++i) {
            if (a.rows[i] != kNoRow) {
                from_a.insert(a.rows[i]);
            }
            if (b.rows[i] != kNoRow) {
                from_b.insert(kRows - 1 - b.rows[i]);
            }
        }
        EXPECT_EQ(from_a, from_b);
    }
}

TEST(StagedIndex, CountsItsBytes) {
    Fixture fixture(Metric::kCosine, {kHead, kMiddle, kCodeBytes}, 8);
    fixture.train().add();
    const StagedBytes bytes = fixture.index.resident_bytes();
    EXPECT_EQ(bytes.heads, kRows * kHead);
    EXPECT_EQ(bytes.scan_terms, kRows);
    EXPECT_EQ(bytes.rank_terms, kRows * 2 * sizeof(float));
    EXPECT_EQ(
        bytes.lists, kRows * sizeof(std::uint32_t) + (kRows + 7) / 8 + 8 * kDim * sizeof(float));
    Fixture single(Metric::kCosine, {kCodeBytes}, 0);
    single.train().add();
    EXPECT_EQ(single.index.resident_bytes().scan_terms, kRows * sizeof(float));
    EXPECT_EQ(single.index.resident_bytes().rank_terms, 0U);
    Fixture product(Metric::kInnerProduct, {kHead, kCodeBytes}, 0);
    product.train().add();
    EXPECT_EQ(
        product.index.resident_bytes().scan_terms + product.index.resident_bytes().rank_terms, 0U);
}

TEST(StagedIndex, MeasuresDefaultsThatReachTheirRecall) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 40);
    fixture.train().add();
    EXPECT_GE(fixture.index.default_nprobe(), 1U);
    EXPECT_LE(fixture.index.default_nprobe(), 40U);
    const std::vector<Stage> stages = fixture.index.default_stages();
    ASSERT_EQ(stages.size(), 2U);
    EXPECT_GE(stages[0].limit, 10U);
    EXPECT_EQ(fixture.index.default_stages(95)[0].limit, 10 * stages[0].limit);
    EXPECT_EQ(fixture.index.default_stages(95)[1].limit, 95U);
    EXPECT_EQ(fixture.index.default_stages(91)[0].limit, 10 * stages[0].limit);
    EXPECT_EQ(fixture.index.default_stages(90)[0].limit, 9 * stages[0].limit);
    EXPECT_EQ(fixture.index.default_stages(1)[0].limit, stages[0].limit);
    const std::vector<float> scores = fixture.model.scores(kCodeBytes);
    const StagedAnswer answer = fixture.search({});
    std::size_t found = 0;
    for (std::size_t q = 0; q < kQueries; ++q) {
        const auto truth =
            brute_force(std::span(scores).subspan(q * kRows, kRows), 10, [](auto) { return true; });
        for (const Ranked& hit : fixture.answer(answer, q, 10)) {
            found += static_cast<std::size_t>(std::ranges::count(truth, hit));
        }
    }
    // These queries were not measured on: some slack below the 0.99 that train() holds itself to.
    EXPECT_GE(static_cast<double>(found) / (10.0 * kQueries), 0.95);
}

TEST(StagedIndex, DefaultsAreAsWideAsTheRowsNeed) {
    using Range = std::pair<std::size_t, std::size_t>;
    const struct {
        std::vector<std::size_t> stages;
        std::size_t nlist;
        Range limit; ///< Of the first stage; {0, 0} where it is the only one.
        Range nprobe;
        Range copies; ///< Of each head.
    } cases[] = {
        {{1, kCodeBytes}, 0, {400, 1600}, {1, 1}, {1, 1}}, // One byte says little: past the cap.
        {{kHead, kCodeBytes}, 0, {30, 80}, {1, 1}, {1, 1}},
        {{10, kCodeBytes}, 0, {10, 20}, {1, 1}, {1, 1}},
        {{kCodeBytes}, 8, {0, 0}, {4, 8}, {1, 1}},
        {{kCodeBytes}, 100, {0, 0}, {20, 32}, {1, 1}},
        {{kCodeBytes}, 800, {0, 0}, {32, 32}, {2, 3}}, // Few rows a list.
    };
    const auto is_in = [](std::size_t value, const Range& range) {
        return value >= range.first && value <= range.second;
    };
    for (const auto& c : cases) {
        Fixture fixture(Metric::kCosine, c.stages, c.nlist);
        fixture.train().add();
        const std::string text =
            std::to_string(c.stages.front()) + " bytes, " + std::to_string(c.nlist) + " lists";
        const std::vector<Stage> stages = fixture.index.default_stages();
        EXPECT_EQ(stages.back().limit, 10U) << text;
        if (stages.size() > 1) {
            EXPECT_PRED2(is_in, stages.front().limit, c.limit) << text;
            if (stages.front().limit > 200) {
                EXPECT_EQ(stages.front().limit % 400, 0U) << "the cap, doubled";
            }
        }
        EXPECT_PRED2(is_in, fixture.index.default_nprobe(), c.nprobe) << text;
        const std::size_t one = kRows * fixture.index.head_bytes();
        EXPECT_PRED2(is_in, fixture.index.resident_bytes().heads / one, c.copies) << text;
    }
    // Of two limits each is as short as it may be.
    Fixture three(Metric::kCosine, {1, kMiddle, kCodeBytes}, 0);
    const std::vector<Stage> stages = three.train().index.default_stages();
    EXPECT_GE(stages[0].limit, 400U);
    EXPECT_PRED2(is_in, stages[1].limit, Range(20, 50));
}

TEST(StagedIndex, SearchesBesideOtherSearches) {
    Fixture fixture(Metric::kCosine, {kHead, kMiddle, kCodeBytes}, 8);
    fixture.train().add();
    Fixture alone(Metric::kCosine, {kHead, kMiddle, kCodeBytes}, 8);
    const StagedAnswer expected = alone.train().add().search({});
    std::vector<StagedAnswer> answers(4);
    std::vector<std::thread> threads;
    threads.reserve(answers.size());
    for (StagedAnswer& answer : answers) {
        threads.emplace_back([&] { answer = fixture.search({}); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const StagedAnswer& answer : answers) {
        EXPECT_EQ(answer.rows, expected.rows);
        EXPECT_EQ(answer.scores, expected.scores);
    }
}

TEST(StagedIndex, RefusesWhatIsOutOfRange) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 6);
    fixture.train().add();
    const auto refuse = [&](const StagedRequest& request, const std::string& text) {
        ARFC_EXPECT_ERROR((void)fixture.search(request), ErrorKind::kInvalidArgument, text);
    };
    refuse({.k = 0}, "Number of answers is outside");
    refuse(
        {.k = 1, .stages = {}, .nprobe = 0, .accepts = {}}, "lists to probe is outside [1, 6]: 0");
    refuse(
        {.k = 1, .stages = {}, .nprobe = 7, .accepts = {}}, "lists to probe is outside [1, 6]: 7");
    refuse(
        {.k = 1, .stages = {{kCodeBytes, 0}}, .nprobe = {}, .accepts = {}},
        "First stage is not the index's shortest prefix: 12, expected 3");
    refuse(
        {.k = 1, .stages = {{kHead, 0}, {kHead, 0}}, .nprobe = {}, .accepts = {}}, "do not ascend");
    refuse(
        {.k = 1, .stages = {{kHead, 0}, {13, 0}}, .nprobe = {}, .accepts = {}},
        "do not ascend within [1, 12]: 13");
    refuse(
        {.k = 9, .stages = {{kHead, 8}, {kCodeBytes, 0}}, .nprobe = {}, .accepts = {}},
        "keeps fewer rows than are asked for: 8, expected at least 9");
    std::vector<float> queries(kDim, 1.0F);
    queries[3] = std::nanf("");
    const MemoryTails tails = fixture.tails();
    ARFC_EXPECT_ERROR(
        (void)fixture.index.search({queries.data(), 1, kDim}, {}, &tails),
        ErrorKind::kInvalidArgument, "not finite");
    ARFC_EXPECT_ERROR(
        (void)fixture.index.search({queries.data(), 1, kDim - 1}, {}, &tails),
        ErrorKind::kInvalidArgument, "Query width differs from the index's: 23, expected 24");
    ARFC_EXPECT_ERROR(
        fixture.index.add({fixture.heads.data(), 1, 2}), ErrorKind::kInvalidArgument,
        "2, expected 3");
    const std::vector<float> terms(3);
    ARFC_EXPECT_ERROR(
        fixture.index.add({fixture.heads.data(), 2, kHead}, {terms.data(), 3, 1}),
        ErrorKind::kInvalidArgument, "[3, 1], expected [2, 1]");
    ARFC_EXPECT_ERROR(
        fixture.index.erase(std::vector<std::uint64_t>{0, kRows}), ErrorKind::kInvalidArgument,
        "1500, of 1500");
    EXPECT_TRUE(fixture.index.is_live(0)) << "a refused call changed the index";
    EXPECT_EQ(fixture.index.rows(), kRows);
    const auto& compressor = fixture.model.compressor;
    ARFC_EXPECT_ERROR(
        StagedIndex(compressor, {.stage_bytes = {4, 13}}), ErrorKind::kInvalidArgument,
        "13 after 4");
    ARFC_EXPECT_ERROR(
        StagedIndex(compressor, {.stage_bytes = {4, 4}}), ErrorKind::kInvalidArgument, "4 after 4");
    ARFC_EXPECT_ERROR(StagedIndex(compressor, {}), ErrorKind::kInvalidArgument, "no prefix length");
    Fixture large(Metric::kCosine, {kHead, kCodeBytes}, 2000);
    ARFC_EXPECT_ERROR(
        large.train(), ErrorKind::kInvalidArgument,
        "fewer than inverted lists: 1500, expected at least 2000");
    EXPECT_FALSE(large.index.is_trained());
    const MatrixView<const std::byte> codes = fixture.model.code_view();
    ARFC_EXPECT_ERROR(
        fixture.index.train(codes.slice(0, 0), {}), ErrorKind::kInvalidArgument,
        "shape other than [n >= 1, 12]: [0, 12]");
    ARFC_EXPECT_ERROR(
        fixture.index.train({codes.data(), 20, 11}, {}), ErrorKind::kInvalidArgument,
        "shape other than [n >= 1, 12]: [20, 11]");
    ARFC_EXPECT_ERROR(
        fixture.index.train(codes, fixture.model.row_view().slice(0, 3)),
        ErrorKind::kInvalidArgument, "[3, 24], expected [1500, 24]");
    ARFC_EXPECT_ERROR(
        fixture.index.train(codes, {fixture.model.rows.data(), kRows, kDim - 1}),
        ErrorKind::kInvalidArgument, "[1500, 23], expected [1500, 24]");
    ARFC_EXPECT_ERROR(
        (void)fixture.index.rank_terms({codes.data(), 5, 11}), ErrorKind::kInvalidArgument,
        "11, expected 12");
    // No room for so many is asked for before they are refused.
    const std::size_t most = std::numeric_limits<std::uint32_t>::max();
    ARFC_EXPECT_ERROR(
        fixture.index.add({fixture.heads.data(), most - kRows + 1, kHead}),
        ErrorKind::kResourceExhausted, "at most 4294967295 rows; it has 1500");
    ARFC_EXPECT_ERROR(
        StagedIndex(compressor, {.stage_bytes = {4}, .nlist = (std::size_t{1} << 24U) + 1}),
        ErrorKind::kInvalidArgument, "too many lists: 16777217");
    ARFC_EXPECT_ERROR(
        (void)fixture.index.search(fixture.model.query_view(), {}, nullptr), ErrorKind::kInternal,
        "no place to read them");
}

TEST(StagedIndex, StopsTrainingWhenToldTo) {
    for (const std::string stage : {"lists", "defaults"}) {
        Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 6);
        fixture.add();
        const std::string before = fixture.index.save();
        StagedTrainOptions options;
        options.progress = [&](const Progress& progress) { return progress.stage != stage; };
        ARFC_EXPECT_ERROR(
            fixture.index.train(fixture.model.code_view(), {}, options), ErrorKind::kCancelled,
            "cancelled");
        EXPECT_EQ(fixture.index.save(), before);
    }
}

TEST(StagedIndex, TellsHowFarTrainingIs) {
    Fixture fixture(Metric::kCosine, {kHead, kCodeBytes}, 6);
    std::vector<std::size_t> done;
    StagedTrainOptions options;
    options.progress = [&](const Progress& progress) {
        if (progress.stage == "defaults") {
            EXPECT_EQ(progress.total, 2U);
            done.push_back(progress.done);
        }
        return true;
    };
    fixture.index.train(fixture.model.code_view(), {}, options);
    EXPECT_EQ(done, (std::vector<std::size_t>{0, 1}));
}

TEST(StagedIndex, ScoresHugeQueriesWithoutHarm) {
    Fixture fixture(Metric::kL2, {kHead, kCodeBytes}, 6);
    fixture.train().add();
    const std::vector<float> queries(kDim, 3e38F); // Their squares are infinite, their scores no
                                                   // numbers.
    const MemoryTails tails = fixture.tails();
    const StagedAnswer answer = fixture.index.search({queries.data(), 1, kDim}, {.k = 5}, &tails);
    EXPECT_EQ(answer.rows.size(), 5U);
    for (const float score : answer.scores) {
        EXPECT_FALSE(std::isnan(score));
    }
}

TEST(StagedIndex, RefusesDamagedCoarseFiles) {
    Fixture saved(Metric::kCosine, {kHead, kCodeBytes}, 5);
    saved.index.train( // Few questions to calibrate by, so that every byte can be damaged.
        saved.model.code_view().slice(0, 20), saved.model.row_view().slice(0, 20));
    saved.add(0, 40);
    const std::string good = saved.index.save(1);
    const auto expect_refusal = [&](const std::string& bytes, const std::string& what) {
        StagedIndex index(saved.model.compressor, saved.index.shape());
        try {
            (void)index.restore(bytes);
            ADD_FAILURE() << "was accepted: " << what;
        } catch (const Error& error) {
            EXPECT_TRUE(
                error.kind() == ErrorKind::kCorruption || error.kind() == ErrorKind::kUnsupported ||
                error.kind() == ErrorKind::kFailedPrecondition)
                << what << ": " << error.what();
        }
        EXPECT_EQ(index.rows(), 0U);
        EXPECT_FALSE(index.is_trained());
    };
    const auto with_digest = [](const std::string& body) { return body + sha256_hex(body); };
    const std::string body = good.substr(0, good.size() - 64);
    for (std::size_t length = 0; length < good.size(); ++length) {
        expect_refusal(good.substr(0, length), "truncated at " + std::to_string(length));
    }
    for (std::size_t length = 0; length < body.size(); ++length) { // A checksum of its own does not
                                                                   // make it right.
        expect_refusal(with_digest(body.substr(0, length)), "cut at " + std::to_string(length));
    }
    for (std::size_t i = 0; i < good.size(); ++i) {
        std::string bytes = good;
        bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
        expect_refusal(bytes, "bit flipped in byte " + std::to_string(i));
    }
    expect_refusal(with_digest(body + "x"), "a byte too many");
    for (std::size_t i = 0; i < body.size(); ++i) { // Wrong numbers under a right checksum: refused
                                                    // or harmless.
        std::string bytes = body;
        bytes[i] = static_cast<char>(0xFF);
        StagedIndex index(saved.model.compressor, saved.index.shape());
        try {
            const auto restored = index.restore(with_digest(bytes));
            index.add({saved.heads.data(), 40, kHead});
            const MemoryTails tails = saved.tails();
            (void)index.search(saved.model.query_view(), {}, &tails);
            EXPECT_LE(restored.rows, 40U);
        } catch (const Error& error) {
            EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
        }
    }
    StagedIndex other(saved.model.compressor, {.stage_bytes = {kHead, kCodeBytes}, .nlist = 6});
    ARFC_EXPECT_ERROR(
        (void)other.restore(good), ErrorKind::kFailedPrecondition, "another factory string");
    StagedIndex foreign(trained_model(Metric::kL2).compressor, saved.index.shape());
    ARFC_EXPECT_ERROR((void)foreign.restore(good), ErrorKind::kFailedPrecondition, "another model");
    ARFC_EXPECT_ERROR(
        (void)saved.index.restore(good), ErrorKind::kFailedPrecondition, "has rows: 40");
}

/// Fields that no search could be made with are refused, though the checksum is right.
TEST(StagedIndex, RefusesFieldsOutOfRange) {
    Fixture saved(Metric::kCosine, {kHead, kCodeBytes}, 5);
    saved.train().add(0, 40);
    const std::string good = saved.index.save();
    const std::string body = good.substr(0, good.size() - 64);
    const std::size_t scale =
        8 + 4 + 8 + saved.model.compressor->id().size() + 8 + 4 + 2 * 4 + 4 + 8 + 1 + 8; // Magic,
    // format, id, mark, stages, lists, no structure, no radii, rows.
    const std::size_t nprobe = scale + 2 * 4 + 8;
    const std::size_t copies = nprobe + 4;
    const std::size_t centroids = copies + 1;
    const std::size_t calibration = centroids + 5 * kDim * 4;
    constexpr std::size_t kQuestions = 600;
    const std::size_t needed = calibration + 4 + 3 * kQuestions * 4; // Lists, behind the margins.
    const std::size_t count = needed + 3 * kQuestions * 4;
    const auto refuse = [&](std::size_t offset, auto value, const std::string& text) {
        std::string bytes = body;
        std::memcpy(bytes.data() + offset, &value, sizeof(value));
        StagedIndex index(saved.model.compressor, saved.index.shape());
        ARFC_EXPECT_ERROR(
            (void)index.restore(bytes + sha256_hex(bytes)), ErrorKind::kCorruption, text);
    };
    refuse(scale, std::nanf(""), "scale of row terms is not finite");
    refuse(scale + 4, INFINITY, "scale of row terms is not finite");
    refuse(nprobe, std::uint32_t{0}, "nprobe 0 of 5 lists");
    refuse(nprobe, std::uint32_t{6}, "nprobe 6 of 5 lists");
    refuse(copies, std::uint8_t{0}, "lists a row 0");
    refuse(copies, std::uint8_t{4}, "lists a row 4");
    refuse(centroids + 4, std::nanf(""), "a centroid is not finite");
    refuse(calibration, std::uint32_t{1'000'001}, "calibrated by questions 1000001");
    refuse(calibration + 4, -1.0F, "margins that do not ascend");
    refuse(calibration + 4, INFINITY, "margins that do not ascend");
    refuse(needed, std::uint32_t{0}, "lists that do not ascend within [1, 5]");
    refuse(count - 4, std::uint32_t{6}, "lists that do not ascend within [1, 5]");
    refuse(count, std::uint64_t{1} << 32U, "row count 4294967296");
    refuse(count + 8 + 3 * 4, std::uint32_t{5}, "row 3 is in list 5 of 5");
    refuse(count, std::uint64_t{39}, "longer than its sizes say");
}

/// A file of format 0 says neither whether there are radii nor what confidences are kept by.
TEST(StagedIndex, ReadsFilesOfFormat0) {
    Fixture saved(Metric::kCosine, {kHead, kCodeBytes}, 5);
    saved.train().add(0, 40);
    std::string bytes = saved.index.save();
    bytes.resize(bytes.size() - 64);
    const std::size_t radii =
        8 + 4 + 8 + saved.model.compressor->id().size() + 8 + 4 + 2 * 4 + 4 + 8;
    const std::size_t calibration = radii + 1 + 8 + 2 * 4 + 8 + 4 + 1 + 5 * kDim * 4;
    bytes.erase(calibration, 4 + 600 * 3 * (4 + 4));
    bytes.erase(radii, 1);
    const std::uint32_t format = 0;
    std::memcpy(bytes.data() + 8, &format, sizeof(format));
    StagedIndex index(saved.model.compressor, saved.index.shape());
    EXPECT_EQ(index.restore(bytes + sha256_hex(bytes)).rows, 40U);
    index.add({saved.heads.data(), 40, kHead});
    const MemoryTails tails = saved.tails();
    const auto search = [&](const StagedRequest& request) {
        return index.search(saved.model.query_view(), request, &tails);
    };
    EXPECT_EQ(search({}).rows, saved.search({}).rows);
    EXPECT_EQ(index.calibrated_by(), 0U);
    EXPECT_EQ(search({.until = Until{}}).rows, saved.search({.until = Until{}}).rows);
    ARFC_EXPECT_ERROR(
        (void)search({.until = Until{.confidence = 0.9}}), ErrorKind::kFailedPrecondition,
        "no calibration, so it knows no confidence");
}

TEST(StagedIndex, SaysWhatIsWrongWithAFile) {
    Fixture saved(Metric::kCosine, {kHead, kCodeBytes}, 5);
    saved.index.train(saved.model.code_view(), {}, {.lists_per_row = 2});
    saved.add(0, 40);
    const std::string good = saved.index.save();
    const auto refuse = [&](const std::string& bytes, const std::string& text,
                            ErrorKind kind = ErrorKind::kCorruption) {
        StagedIndex index(saved.model.compressor, saved.index.shape());
        ARFC_EXPECT_ERROR((void)index.restore(bytes), kind, text);
    };
    const auto with = [&](std::size_t offset, auto value) {
        std::string body = good.substr(0, good.size() - 64);
        std::memcpy(body.data() + offset, &value, sizeof(value));
        return body + sha256_hex(body);
    };
    refuse("", "does not begin as one, or is too short, in bytes: 0");
    refuse(good.substr(0, 75), "does not begin as one, or is too short, in bytes: 75");
    refuse(with(0, 'B'), "does not begin as one");
    refuse(with(8, std::uint32_t{2}), "newer format: 2", ErrorKind::kUnsupported);
    // Of each row the list nearest to it, among the first five, then one of the five that follow.
    const std::size_t lists = good.size() - 64 - 40 - 40 * 2 * 4;
    refuse(with(lists + 4 * 7, std::uint32_t{2}), "row 3 is in list 2 of 5");
    refuse(with(lists + 4 * 6, std::uint32_t{5}), "row 3 is in list 5 of 5");
    refuse(with(lists + 4 * 79, std::uint32_t{10}), "row 39 is in list 10 of 5");
}

TEST(StagedIndex, ForgetsTombstonesWhenCleared) {
    Fixture fixture(Metric::kL2, {kHead, kCodeBytes}, 6);
    fixture.train().add(0, 64);
    EXPECT_EQ(fixture.index.resident_bytes().lists, 64 * sizeof(std::uint32_t) + 8 + 6 * kDim * 4);
    (void)fixture.search({.k = 1}); // Terms of these rows are known then.
    fixture.index.erase(std::vector<std::uint64_t>{0, 7, 63});
    EXPECT_EQ(fixture.index.live_rows(), 61U);
    fixture.index.clear();
    EXPECT_EQ(fixture.index.live_rows(), 0U);
    EXPECT_FALSE(fixture.index.is_live(0));
    fixture.add();
    EXPECT_EQ(fixture.index.live_rows(), kRows);
    Fixture fresh(Metric::kL2, {kHead, kCodeBytes}, 6);
    fresh.train().add();
    EXPECT_EQ(fixture.search({}).rows, fresh.search({}).rows);
    EXPECT_EQ(fixture.search({}).scores, fresh.search({}).scores);
}

} // namespace
} // namespace arfc
