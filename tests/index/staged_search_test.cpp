#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "compressor/thread_count.h"
#include "memory_tails.h"
#include "staged_index.h"
#include "structured_index.h"
#include "table_compressor.h"
#include "trained_model.h"

namespace arfc {
namespace {

using test::Codes;
using test::kCodeBytes;
using test::kDim;
using test::kQueries;
using test::Ranked;
using test::Structured;
using test::TableCompressor;

/// Rows (i / 25, i % 25 + 1) in a plane: the first token tells the row of a grid, the second the
/// place in it.
struct Grid {
    explicit Grid(Metric metric = Metric::kL2, StagedShape shape = {.stage_bytes = {1, 2}})
        : model(std::make_shared<const TableCompressor>(
              metric, 2, std::vector<test::TokenMeaning>{{0, 1.0F}, {1, 1.0F}})),
          index(model, std::move(shape)) {
        for (std::size_t i = 0; i < kCount; ++i) {
            codes.add({i / 25, i % 25 + 1});
        }
        heads = codes.heads(index.head_bytes());
    }

    void add(std::size_t first = 0, std::size_t count = kCount) {
        index.add({heads.data() + first * index.head_bytes(), count, index.head_bytes()});
    }

    [[nodiscard]] MemoryTails tails() const {
        const std::size_t head = index.head_bytes();
        return {codes.bytes.data() + head, codes.width, codes.width - head};
    }

    [[nodiscard]] StagedAnswer search(
        const std::vector<float>& queries, const StagedRequest& request) const {
        const MemoryTails source = tails();
        return index.search(test::view(queries, 2), request, &source);
    }

    static constexpr std::size_t kCount = 500;
    std::shared_ptr<const TableCompressor> model;
    StagedIndex index;
    Codes codes{2};
    std::vector<std::byte> heads;
};

std::vector<float> grid_queries(std::size_t count) {
    std::vector<float> queries;
    for (std::size_t q = 0; q < count; ++q) {
        queries.push_back(static_cast<float>(q % 20));
        queries.push_back(static_cast<float>(q % 25 + 1));
    }
    return queries;
}

TEST(StagedSearch, ComputesTheTermOfARowOnce) {
    Grid grid;
    grid.add();
    const StagedRequest request{.k = 3, .stages = {{1, 100}, {2, 0}}};
    grid.model->termed_rows = 0;
    const StagedAnswer first = grid.search(grid_queries(1), request);
    EXPECT_EQ(grid.model->termed_rows.load(), 100U) << "of those that are ranked";
    const StagedAnswer again = grid.search(grid_queries(1), request);
    EXPECT_EQ(grid.model->termed_rows.load(), 100U);
    EXPECT_EQ(again.scores, first.scores);
    EXPECT_EQ(first.scores[0], 0.0F);
    Grid given;
    const std::vector<float> terms = given.index.rank_terms(given.codes.view());
    given.index.add({given.heads.data(), Grid::kCount, 1}, {terms.data(), Grid::kCount, 1});
    given.model->termed_rows = 0;
    EXPECT_EQ(given.search(grid_queries(1), request).scores, first.scores);
    EXPECT_EQ(given.model->termed_rows.load(), 0U);
}

TEST(StagedSearch, RanksHeadsOfOneStageByTheTermsItKeeps) {
    Grid grid(Metric::kL2, {.stage_bytes = {2}});
    grid.add();
    grid.model->termed_rows = 0;
    const std::vector<float> queries = grid_queries(3);
    const StagedAnswer answer = grid.index.search(test::view(queries, 2), {.k = 2}, nullptr);
    EXPECT_EQ(answer.rows[2], 26U);
    const StagedRangeAnswer range = grid.index.range_search(
        test::view(queries, 2), {}, [](std::size_t, float score) { return score > -1.5F; },
        nullptr);
    EXPECT_EQ(range.offsets, (std::vector<std::size_t>{0, 3, 8, 13}));
    EXPECT_EQ(grid.model->termed_rows.load(), 0U);
}

TEST(StagedSearch, AsksForTablesOf64QueriesAtMost) {
    Grid grid;
    grid.add();
    const std::vector<float> queries = grid_queries(130);
    (void)grid.search(queries, {.k = 1});
    EXPECT_EQ(grid.model->table_queries, (std::vector<std::size_t>{64, 64, 64, 64, 2, 2}));
    grid.model->table_queries.clear();
    const MemoryTails tails = grid.tails();
    const StagedRangeAnswer range = grid.index.range_search(
        test::view(queries, 2), {}, [](std::size_t, float score) { return score == 0.0F; }, &tails);
    EXPECT_EQ(grid.model->table_queries, (std::vector<std::size_t>{64, 64, 2}));
    EXPECT_EQ(range.rows.size(), 130U) << "one row of the grid each";
}

/// Their candidates are to fit in memory together.
TEST(StagedSearch, AnswersFewerQueriesAtOnceWhereEachKeepsManyRows) {
    constexpr std::size_t kMany = 70'000;
    Grid grid(Metric::kInnerProduct);
    const std::vector<std::byte> heads(kMany, std::byte{3});
    grid.index.add({heads.data(), kMany, 1});
    const MemoryTails tails(heads.data(), 1, 1);
    const std::vector<float> queries = grid_queries(60);
    (void)grid.index.search(
        test::view(queries, 2), {.k = 1, .stages = {{1, kMany}, {2, 0}}}, &tails);
    EXPECT_EQ(grid.model->table_queries, (std::vector<std::size_t>{57, 57, 3, 3}))
        << "4,000,000 candidates";
}

/// Notes what is asked for.
class NotedTails final : public TailSource {
  public:
    explicit NotedTails(const TailSource& source) : source_(source) {}
    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        source_.read_tails(rows, tails, lengths);
        const std::lock_guard lock(mutex_);
        calls.emplace_back(rows.begin(), rows.end());
    }
    mutable std::vector<std::vector<std::uint64_t>> calls;

  private:
    const TailSource& source_;
    mutable std::mutex mutex_;
};

/// Where threads are more than queries, a query's rows are divided among them, with a filter, too.
TEST(StagedSearch, ASingleQuerysAnswersDoNotDependOnThreads) {
    constexpr std::size_t kRows = 150'000;
    const auto model = std::make_shared<const TableCompressor>(
        Metric::kL2, 2, std::vector<test::TokenMeaning>{{0, 1.0F}, {1, 1.0F}, {0, 0.25F}});
    std::mt19937 random(1);
    std::vector<std::byte> heads(kRows * 2);
    std::generate(heads.begin(), heads.end(), [&] { return static_cast<std::byte>(random()); });
    StagedIndex index(model, {.stage_bytes = {2, 3}});
    index.add({heads.data(), kRows, 2});
    const std::vector<float> queries = {100.4F, 31.7F, 3.0F, 250.2F};
    for (const std::size_t count : {std::size_t{1}, std::size_t{2}}) {
        StagedRequest request{.k = 300, .stages = {{2, 0}}};
        for (const bool is_filtered : {false, true}) {
            if (is_filtered) {
                request.accepts = [](std::uint64_t row) { return row % 3 != 0; };
            }
            const auto answer = [&](std::size_t threads) {
                const test::ThreadCount set(threads);
                return index.search({queries.data(), count, 2}, request, nullptr);
            };
            const StagedAnswer alone = answer(1);
            for (const std::size_t threads : {2U, 3U, 5U}) {
                const StagedAnswer divided = answer(threads);
                EXPECT_EQ(divided.rows, alone.rows) << count << ", " << threads;
                EXPECT_EQ(divided.scores, alone.scores);
                EXPECT_EQ(divided.stages[0].candidates, alone.stages[0].candidates);
                EXPECT_EQ(divided.stages[0].bytes_read, alone.stages[0].bytes_read);
            }
            EXPECT_EQ(alone.stages[0].candidates, count * (is_filtered ? kRows / 3 * 2 : kRows));
        }
    }
}

/// Queries that share lists are scanned together, those of few lists alone.
TEST(StagedSearch, QueriesOfABatchFindWhatEachFindsAlone) {
    for (const Metric metric : {Metric::kL2, Metric::kInnerProduct, Metric::kCosine}) {
        const test::TrainedModel& model = test::trained_model(metric);
        for (const std::size_t copies : {std::size_t{1}, std::size_t{2}}) {
            StagedIndex index(model.compressor, {.stage_bytes = {6, kCodeBytes}, .nlist = 12});
            const std::vector<std::byte> heads = model.columns(0, 6);
            index.train(model.code_view(), {}, {.lists_per_row = copies});
            index.add({heads.data(), test::kRows, 6});
            for (const std::size_t nprobe : {1U, 3U, 12U}) {
                StagedRequest request{.k = 7, .stages = {{6, 0}}, .nprobe = nprobe};
                for (const bool is_filtered : {false, true}) {
                    if (is_filtered) {
                        request.accepts = [](std::uint64_t row) { return row % 3 != 0; };
                    }
                    const StagedAnswer together =
                        index.search(model.query_view(), request, nullptr);
                    StagedAnswer alone;
                    std::size_t candidates = 0;
                    for (std::size_t q = 0; q < kQueries; ++q) {
                        const StagedAnswer one =
                            index.search(model.query_view().slice(q, 1), request, nullptr);
                        std::ranges::copy(one.rows, std::back_inserter(alone.rows));
                        std::ranges::copy(one.scores, std::back_inserter(alone.scores));
                        candidates += one.stages[0].candidates;
                    }
                    EXPECT_EQ(together.rows, alone.rows) << to_string(metric) << ", " << nprobe;
                    EXPECT_EQ(together.scores, alone.scores);
                    EXPECT_EQ(together.stages[0].candidates, candidates);
                }
            }
        }
    }
}

TEST(StagedSearch, ReadsTailsInTheOrderOfRows) {
    Grid grid;
    grid.add();
    const MemoryTails tails = grid.tails();
    const NotedTails noted(tails);
    const std::vector<float> query = {19.0F, 5.0F}; // The last rows are the nearest.
    const StagedAnswer answer =
        grid.index.search(test::view(query, 2), {.k = 1, .stages = {{1, 100}, {2, 0}}}, &noted);
    EXPECT_EQ(answer.rows[0], 479U);
    EXPECT_EQ(answer.stages[1].bytes_read, 100U);
    std::vector<std::uint64_t> rows;
    for (const std::vector<std::uint64_t>& call : noted.calls) {
        rows.insert(rows.end(), call.begin(), call.end());
    }
    EXPECT_EQ(rows.size(), 100U);
    EXPECT_EQ(noted.calls.size(), 1U) << "at once";
    EXPECT_TRUE(std::ranges::is_sorted(rows));
}

/// What several queries of a batch rank is read once; each answers as it does alone.
TEST(StagedSearch, ReadsTheTailsOfABatchOnce) {
    Grid grid;
    grid.add();
    const MemoryTails tails = grid.tails();
    const NotedTails noted(tails);
    const std::vector<float> queries = grid_queries(40);
    const StagedRequest request{.k = 3, .stages = {{1, 100}, {2, 0}}};
    const StagedAnswer together = grid.index.search(test::view(queries, 2), request, &noted);
    std::vector<std::uint64_t> rows;
    for (const std::vector<std::uint64_t>& call : noted.calls) {
        rows.insert(rows.end(), call.begin(), call.end());
    }
    std::ranges::sort(rows);
    EXPECT_EQ(std::ranges::adjacent_find(rows), rows.end());
    EXPECT_EQ(rows.size(), Grid::kCount) << "of all queries";
    EXPECT_EQ(together.stages[1].bytes_read, 40U * 100U) << "what ranking looked at";
    for (std::size_t q = 0; q < 40; ++q) {
        const StagedAnswer alone =
            grid.index.search(test::view(queries, 2).slice(q, 1), request, &tails);
        for (std::size_t i = 0; i < 3; ++i) {
            EXPECT_EQ(together.rows[q * 3 + i], alone.rows[i]) << q;
            EXPECT_EQ(together.scores[q * 3 + i], alone.scores[i]) << q;
        }
    }
}

TEST(StagedSearch, KeepsWhatTheDefaultsSayWhereAStageNamesNoLimit) {
    const auto model = std::make_shared<const TableCompressor>(
        Metric::kL2, 2,
        std::vector<test::TokenMeaning>{{0, 1.0F}, {1, 1.0F}, {0, 1.0F}, {1, 1.0F}});
    StagedIndex index(model, {.stage_bytes = {1, 2, 4}});
    Codes codes(4);
    for (std::size_t i = 0; i < 3000; ++i) {
        codes.add({i % 250, i / 250, 0, 0});
    }
    const std::vector<std::byte> heads = codes.heads(1);
    index.add({heads.data(), 3000, 1});
    const MemoryTails tails(codes.bytes.data() + 1, 4, 3);
    const std::vector<float> query = {7.0F, 9.0F};
    const auto candidates = [&](std::size_t k, const std::vector<Stage>& stages) {
        std::vector<std::size_t> counts;
        for (const StageUsage& stage :
             index.search(test::view(query, 2), {.k = k, .stages = stages}, &tails).stages) {
            counts.push_back(stage.candidates);
        }
        return counts;
    };
    using Counts = std::vector<std::size_t>;
    EXPECT_EQ(candidates(10, {}), (Counts{3000, 200, 200})) << "200 where nothing was measured";
    EXPECT_EQ(candidates(10, {{1, 0}, {2, 0}, {4, 0}}), (Counts{3000, 200, 200}));
    EXPECT_EQ(candidates(25, {{1, 0}, {2, 30}, {4, 0}}), (Counts{3000, 600, 30}));
    EXPECT_EQ(candidates(10, {{1, 300}, {3, 0}, {4, 0}}), (Counts{3000, 300, 200}))
        << "of a length that has no default: the first one's";
    EXPECT_EQ(candidates(1, {{1, 1}, {4, 0}}), (Counts{3000, 1}));
    EXPECT_EQ(candidates(300, {{1, 0}, {4, 0}}), (Counts{3000, 3000}));
    index.train(codes.view(), {});
    const std::vector<Stage> measured = index.default_stages();
    ASSERT_GT(measured[0].limit, measured[1].limit) << "two tokens tell where a row is";
    EXPECT_EQ(
        candidates(10, {{1, 0}, {2, 0}, {4, 0}}),
        (Counts{3000, measured[0].limit, measured[1].limit}));
}

/// Lists that are probed for all rows hold too few of a rare kind; who names a number gets it.
TEST(StagedSearch, FindsRowsThatFewListsHoldThroughARareFilter) {
    const test::TrainedModel& model = test::trained_model(Metric::kCosine);
    const std::vector<std::byte>& codes = test::many_codes(Metric::kCosine);
    const MatrixView<const std::byte> all(codes.data(), test::kMany, kCodeBytes);
    const std::vector<std::byte> heads = test::heads_of(codes, 0, test::kMany);
    StagedIndex index(model.compressor, {.stage_bytes = {test::kHead, kCodeBytes}, .nlist = 60});
    index.train(all, {}, {.lists_per_row = 1});
    index.add({heads.data(), test::kMany, test::kHead});
    const MemoryTails tails(codes.data() + test::kHead, kCodeBytes, kCodeBytes - test::kHead);
    const auto answer = [&](std::optional<std::size_t> nprobe, bool exhaustive) {
        StagedRequest request{.k = 10, .nprobe = nprobe, .exhaustive = exhaustive};
        request.accepts = [](std::uint64_t row) { return row % 600 == 17; };
        return index.search(model.query_view(), request, &tails);
    };
    const StagedAnswer truth = answer({}, true);
    EXPECT_EQ(std::ranges::count(truth.rows, kNoRow), 0) << "fifteen rows are accepted";
    EXPECT_EQ(answer({}, false).rows, truth.rows);
    EXPECT_GT(std::ranges::count(answer(2, false).rows, kNoRow), 0);
}

TEST(StagedSearch, FindsARowInTheListThatItsHeadIsNearestTo) {
    for (const Metric metric : {Metric::kL2, Metric::kInnerProduct, Metric::kCosine}) {
        const test::TrainedModel& model = test::trained_model(metric);
        StagedIndex index(model.compressor, {.stage_bytes = {6}, .nlist = 40});
        const std::vector<std::byte> heads = model.columns(0, 6);
        index.train({heads.data(), test::kRows, 6}, {}, {.lists_per_row = 1});
        index.add({heads.data(), test::kRows, 6});
        std::vector<float> queries(test::kRows * kDim);
        model.compressor->decode(
            {heads.data(), test::kRows, 6}, {queries.data(), test::kRows, kDim});
        const auto found = [&](const std::vector<float>& of) {
            const StagedRequest request{.k = test::kRows, .nprobe = 1};
            std::vector<std::vector<std::uint64_t>> rows;
            for (std::size_t q = 0; q < 40; ++q) {
                rows.push_back(
                    index.search(test::view(of, kDim).slice(q * 30, 1), request, nullptr).rows);
            }
            return rows;
        };
        const auto rows = found(queries);
        for (std::size_t q = 0; q < rows.size(); ++q) {
            EXPECT_EQ(std::ranges::count(rows[q], q * 30), 1) << to_string(metric);
        }
        if (metric == Metric::kCosine) { // A query's length has no say, however near to the end of
                                         // float it is.
            for (std::size_t q = 0; q < test::kRows; ++q) {
                const auto begin = queries.begin() + static_cast<std::ptrdiff_t>(q * kDim);
                float most = 0.0F;
                std::for_each(
                    begin, begin + kDim, [&](float v) { most = std::max(most, std::abs(v)); });
                const int more = 127 - std::ilogb(most);
                std::for_each(begin, begin + kDim, [&](float& v) { v = std::ldexp(v, more); });
            }
            EXPECT_EQ(found(queries), rows);
        }
    }
}

TEST(StagedSearch, RangesMeetARowOnceThoughItIsInSeveralLists) {
    const test::TrainedModel& model = test::trained_model(Metric::kL2);
    StagedIndex index(model.compressor, {.stage_bytes = {6}, .nlist = 12});
    const std::vector<std::byte> heads = model.columns(0, 6);
    index.train({heads.data(), test::kRows, 6}, {}, {.lists_per_row = 3});
    index.add({heads.data(), test::kRows, 6});
    const std::vector<float> scores = model.scores(6);
    const auto found = [&](const StagedRequest& request) {
        return index.range_search(
            model.query_view(), request, [](std::size_t, float) { return true; }, nullptr);
    };
    const StagedRangeAnswer answer = found({.nprobe = 6});
    EXPECT_LT(answer.rows.size(), kQueries * test::kRows);
    EXPECT_GT(answer.rows.size(), kQueries * test::kRows / 2);
    for (std::size_t q = 0; q < kQueries; ++q) {
        for (std::size_t i = answer.offsets[q]; i < answer.offsets[q + 1]; ++i) {
            ASSERT_TRUE(i == answer.offsets[q] || answer.rows[i - 1] < answer.rows[i]);
            ASSERT_EQ(answer.scores[i], scores[q * test::kRows + answer.rows[i]]);
        }
    }
    StagedRequest all{.nprobe = 1};
    all.exhaustive = true;
    EXPECT_EQ(found(all).rows.size(), kQueries * test::kRows);
}

TEST(StagedSearch, RangesScoreRowsThatAreNotSideBySide) {
    for (const auto& [is_trained, shape] : std::vector<std::pair<bool, StagedShape>>{
             {false, {.stage_bytes = {1, 2}}},
             {true, {.stage_bytes = {1, 2}}},
             {false, {.stage_bytes = {2}}}}) {
        Grid grid(Metric::kL2, shape);
        if (is_trained) {
            grid.index.train(grid.codes.view(), {});
        }
        grid.add();
        const MemoryTails tails = grid.tails();
        StagedRequest request;
        std::atomic<std::size_t> asked = 0;
        const auto is_accepted = [](std::uint64_t row) {
            return row % 7 < 2 || row % 5 == 3 || row == Grid::kCount - 1;
        };
        request.accepts = [&](std::uint64_t row) {
            ++asked;
            return is_accepted(row);
        };
        const std::vector<float> queries = {3.0F, 4.0F, 18.0F, 20.0F};
        const StagedRangeAnswer answer = grid.index.range_search(
            test::view(queries, 2), request,
            [](std::size_t, float score) { return score > -200.0F; }, &tails);
        std::vector<std::uint64_t> rows;
        std::vector<float> scores;
        for (std::size_t q = 0; q < 2; ++q) {
            for (std::uint64_t row = 0; row < Grid::kCount; ++row) {
                const float x = queries[2 * q] - static_cast<float>(row / 25);
                const float y = queries[2 * q + 1] - static_cast<float>(row % 25 + 1);
                const float score = -(x * x + y * y);
                if (is_accepted(row) && score > -200.0F) {
                    rows.push_back(row);
                    scores.push_back(score);
                }
            }
        }
        EXPECT_EQ(answer.rows, rows);
        EXPECT_EQ(answer.scores, scores);
        EXPECT_EQ(asked.load(), Grid::kCount) << "each row is asked about once";
    }
}

/// Rows that a structure does not cover obey tombstones and filters as others do.
TEST(StagedSearch, ScansWhatAStructureDoesNotCoverBesideTombstones) {
    Structured fixture("NSG32", Metric::kCosine, 4000);
    fixture.add(4000, 1000);
    std::vector<std::uint64_t> gone;
    for (std::uint64_t row = 0; row < 5000; row += 50) {
        gone.push_back(row);
    }
    fixture.index.erase(gone);
    StagedRequest request = test::heads_only(10);
    request.ef_search = 128;
    const StagedAnswer answer = fixture.search(request);
    EXPECT_TRUE(test::is_walk(answer, 5000));
    EXPECT_GE(answer.stages.front().candidates, kQueries * 980);
    const StagedAnswer truth = fixture.scan(request);
    std::size_t late = 0;
    for (std::size_t i = 0; i < truth.rows.size(); ++i) {
        if (truth.rows[i] >= 4000) {
            const auto begin = answer.rows.begin() + static_cast<std::ptrdiff_t>(i / 10 * 10);
            EXPECT_NE(std::find(begin, begin + 10, truth.rows[i]), begin + 10);
            ++late;
        }
    }
    EXPECT_GT(late, 0U);
    EXPECT_TRUE(std::ranges::none_of(answer.rows, [](auto row) { return row % 50 == 0; }));
}

/// An index with a graph of test::kMany rows.
const Structured& graph() {
    static const Structured kGraph("HNSW8");
    return kGraph;
}

TEST(StagedSearch, AsksAFilterOfEachRowThatAWalkMeetsOrOnceOfEveryRow) {
    const Structured& fixture = graph();
    constexpr std::size_t kSample = 1024; // Asked first, to know how many are accepted.
    std::atomic<std::size_t> asked = 0;
    StagedRequest request = test::heads_only(10);
    request.ef_search = 32;
    request.accepts = [&](std::uint64_t) {
        ++asked;
        return true;
    };
    const StagedAnswer one =
        fixture.index.search(fixture.model.query_view().slice(0, 1), request, nullptr);
    EXPECT_LT(one.stages.front().candidates, test::kMany / 4) << "rows were scanned";
    EXPECT_GE(asked.load(), kSample + one.rows.size());
    EXPECT_LT(asked.load(), kSample + test::kMany / 2);
    asked = 0;
    std::vector<float> queries;
    for (std::size_t i = 0; i < 10; ++i) {
        queries.insert(queries.end(), fixture.model.queries.begin(), fixture.model.queries.end());
    }
    const StagedAnswer many = fixture.index.search(test::view(queries, kDim), request, nullptr);
    EXPECT_LT(many.stages.front().candidates, 10 * kQueries * test::kMany / 4);
    EXPECT_EQ(asked.load(), kSample + test::kMany);
}

/// A walk of 64 rows through 8 links each is taken for 512 rows scored, divided by the share of
/// rows that count; a scan scores those alone.
TEST(StagedSearch, WalksWhereThatScoresFewerRowsThanAScan) {
    const auto is_walked = [](const Structured& fixture, StagedRequest request) {
        request.ef_search = 64;
        return fixture.search(request).stages.front().candidates !=
               fixture.scan(request).stages.front().candidates;
    };
    const auto accepting = [](const std::function<bool(std::uint64_t)>& accepts) {
        StagedRequest request = test::heads_only(10);
        request.accepts = accepts;
        return request;
    };
    const auto every = [&](std::uint64_t step) {
        return accepting([step](std::uint64_t row) { return row % step == 0; });
    };
    EXPECT_TRUE(is_walked(graph(), test::heads_only(10)));
    EXPECT_TRUE(is_walked(graph(), accepting([](std::uint64_t row) { return row > 0; })));
    EXPECT_TRUE(is_walked(graph(), every(4)));
    EXPECT_FALSE(is_walked(graph(), every(5)));
    Structured fixture("HNSW8", Metric::kCosine, 2000);
    std::vector<std::uint64_t> gone(900);
    std::iota(gone.begin(), gone.end(), std::uint64_t{0});
    fixture.index.erase(gone);
    EXPECT_TRUE(is_walked(fixture, test::heads_only(10)));
    gone.resize(1050);
    std::iota(gone.begin(), gone.end(), std::uint64_t{0});
    fixture.index.erase(gone);
    EXPECT_FALSE(is_walked(fixture, test::heads_only(10)));
}

TEST(StagedSearch, TakesRowsOfAFileAsTheyAreWritten) {
    const StagedShape shape{.stage_bytes = {1, 2}, .nlist = 4};
    Grid saved(Metric::kL2, shape);
    saved.index.train(saved.codes.view(), {});
    saved.add();
    Grid restored(Metric::kL2, shape);
    EXPECT_EQ(restored.index.restore(saved.index.save()).rows, Grid::kCount);
    restored.model->termed_rows = 0;
    restored.model->decoded_rows = 0;
    restored.add(0, 200);
    restored.add(200, 299);
    restored.add(499, 1);
    EXPECT_EQ(restored.model->termed_rows.load(), 0U);
    EXPECT_EQ(restored.model->decoded_rows.load(), 0U);
    restored.add(0, 1);
    EXPECT_EQ(restored.model->decoded_rows.load(), 1U) << "what the file does not cover";
    saved.add(0, 1);
    EXPECT_EQ(restored.index.save(), saved.index.save());
}

} // namespace
} // namespace arfc
