#include "coarse_structure.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "arfc/base/sha256.h"
#include "byte_io.h"
#include "code_graph.h"
#include "expect_error.h"
#include "staged_index.h"
#include "structured_index.h"

namespace arfc {
namespace {

using namespace test; // NOLINT(google-build-using-namespace)

class StructureOfEveryKind : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(
    Kinds, StructureOfEveryKind, testing::Values("HNSW16", "HNSW32", "NSG32"),
    [](const auto& instance) { return instance.param; });

TEST_P(StructureOfEveryKind, IsOfAKindInTheTable) {
    const CoarseKind& kind = find_coarse_kind(GetParam());
    EXPECT_TRUE(GetParam().starts_with(kind.prefix)) << kind.expected;
    EXPECT_EQ(kind.canonical(kDim, GetParam()), GetParam());
}

TEST_P(StructureOfEveryKind, FindsWhatAScanOfTheSameCodesFinds) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
        const Structured fixture(GetParam(), metric);
        StagedRequest request{.k = 10};
        request.ef_search = 128;
        const StagedAnswer answer = fixture.search(request);
        EXPECT_TRUE(is_walk(answer, kMany)) << "rows were scanned";
        EXPECT_EQ(answer.stages.front().bytes_read, answer.stages.front().candidates * kHead);
        EXPECT_EQ(fixture.scan(request).stages.front().candidates, kQueries * kMany);
        EXPECT_GE(fixture.recall(request), 0.98) << to_string(metric);
        StagedRequest heads = heads_only(10);
        heads.ef_search = 128;
        EXPECT_GE(fixture.recall(heads), 0.98) << to_string(metric);
        expect_right_scores(fixture, answer, request.k);
    }
}

TEST_P(StructureOfEveryKind, AnswersWhateverRowsThereAre) {
    Structured fixture(GetParam(), Metric::kCosine, 0);
    EXPECT_EQ(fixture.search({.k = 3}).rows, std::vector<std::uint64_t>(3 * kQueries, kNoRow));
    fixture.add(0, 5);
    for (const std::size_t k : {1, 5, 9}) {
        const StagedAnswer answer = fixture.search({.k = k});
        const StagedAnswer truth = fixture.scan({.k = k});
        EXPECT_EQ(answer.rows, truth.rows);
        EXPECT_EQ(answer.scores, truth.scores);
    }
    fixture.index.clear();
    EXPECT_EQ(fixture.search({.k = 3}).rows, std::vector<std::uint64_t>(3 * kQueries, kNoRow));
    fixture.add(0, 5);
    EXPECT_EQ(fixture.search({.k = 5}).rows, fixture.scan({.k = 5}).rows);
}

TEST_P(StructureOfEveryKind, LeavesTombstonesOut) {
    Structured fixture(GetParam());
    std::vector<std::uint64_t> gone;
    for (std::uint64_t row = 0; row < kMany; row += 2) {
        gone.push_back(row);
    }
    fixture.index.erase(gone);
    StagedRequest request = heads_only(10);
    request.ef_search = 64;
    const StagedAnswer answer = fixture.search(request);
    EXPECT_TRUE(std::ranges::all_of(answer.rows, [](auto row) { return row % 2 == 1; }));
    EXPECT_GE(fixture.recall(request), 0.95);
    gone.clear();
    for (std::uint64_t row = 0; row < kMany; ++row) {
        if (row % 3000 != 1) {
            gone.push_back(row);
        }
    }
    fixture.index.erase(gone);
    const StagedAnswer few = fixture.search({.k = 10});
    EXPECT_EQ(few.rows, fixture.scan({.k = 10}).rows);
    for (std::size_t q = 0; q < kQueries; ++q) {
        EXPECT_NE(few.rows[q * 10 + 2], kNoRow) << "three rows live";
        EXPECT_EQ(few.rows[q * 10 + 3], kNoRow);
    }
    fixture.index.erase(std::vector<std::uint64_t>{1, 3001, 6001});
    EXPECT_EQ(fixture.search({.k = 1}).rows, std::vector<std::uint64_t>(kQueries, kNoRow));
}

TEST_P(StructureOfEveryKind, AsksTheFilter) {
    const Structured fixture(GetParam());
    for (const std::uint64_t every : {1, 2, 10, 100, 4000, 100000}) {
        StagedRequest request{.k = 20};
        request.accepts = [every](std::uint64_t row) { return row % every == 7 % every; };
        const StagedAnswer answer = fixture.search(request);
        for (const std::uint64_t row : answer.rows) {
            EXPECT_TRUE(row == kNoRow || request.accepts(row)) << row;
        }
        EXPECT_GE(fixture.recall(request), 0.98) << every;
        const StagedAnswer truth = fixture.scan(request);
        EXPECT_EQ(std::ranges::count(answer.rows, kNoRow), std::ranges::count(truth.rows, kNoRow));
        if (every >= 100) { // A walk would pass through many rows that are not accepted.
            EXPECT_EQ(answer.stages.front().candidates, truth.stages.front().candidates) << every;
        } else if (every == 1) {
            EXPECT_NE(answer.stages.front().candidates, truth.stages.front().candidates) << every;
        }
    }
    StagedRequest none{.k = 2};
    none.accepts = [](std::uint64_t) { return false; };
    EXPECT_EQ(fixture.search(none).rows, std::vector<std::uint64_t>(2 * kQueries, kNoRow));
}

/// Rows that are alike would link to each other and to nothing else.
TEST_P(StructureOfEveryKind, FindsRowsBesideAThousandCopiesOfOne) {
    Structured fixture(GetParam(), Metric::kCosine, 3000);
    std::vector<std::byte> same(fixture.codes.begin(), fixture.codes.begin() + kHead);
    std::vector<std::byte> heads;
    for (int i = 0; i < 1000; ++i) {
        heads.insert(heads.end(), same.begin(), same.end());
    }
    fixture.index.add({heads.data(), 1000, kHead});
    fixture.add(3000, 4000);
    StagedRequest request = heads_only(10);
    request.ef_search = 64;
    EXPECT_GE(fixture.recall(request), 0.98);
    // Asked for one of the copies: they tie, and the first rows win.
    std::vector<float> query(kDim);
    fixture.model.compressor->decode({same.data(), 1, kHead}, {query.data(), 1, kDim});
    const StagedAnswer answer = fixture.index.search({query.data(), 1, kDim}, request, nullptr);
    EXPECT_EQ(answer.rows[0], 0U);
    request.exhaustive = true;
    request.ef_search.reset();
    EXPECT_EQ(answer.rows, fixture.index.search({query.data(), 1, kDim}, request, nullptr).rows);
}

TEST_P(StructureOfEveryKind, AnswersTheSameAfterItIsReadBack) {
    Structured fixture(GetParam(), Metric::kL2, 5000);
    fixture.add(0, 50); // Rows with the heads of others.
    const std::string saved = fixture.index.save(42);
    Structured other(GetParam(), Metric::kL2, 0);
    const StagedIndex::Restored restored = other.index.restore(saved);
    EXPECT_EQ(restored.rows, 5050U);
    other.add(0, 2000); // In other portions: what is covered is taken from the file.
    EXPECT_EQ(other.search({.k = 10}).rows, other.scan({.k = 10}).rows)
        << "rows were found that are not there yet";
    other.add(2000, 3000);
    other.add(0, 50);
    EXPECT_EQ(other.index.save(42), saved);
    const StagedAnswer before = fixture.search({.k = 10});
    const StagedAnswer after = other.search({.k = 10});
    EXPECT_EQ(before.rows, after.rows);
    EXPECT_EQ(before.scores, after.scores);
    fixture.add(5000, 700);
    other.add(5000, 700);
    EXPECT_EQ(fixture.index.save(), other.index.save()) << "it grew otherwise";
    StagedIndex foreign(
        fixture.model.compressor, {.stage_bytes = {kHead, kCodeBytes}, .coarse = "HNSW7"});
    ARFC_EXPECT_ERROR(
        (void)foreign.restore(saved), ErrorKind::kFailedPrecondition, "another factory string");
}

TEST_P(StructureOfEveryKind, DoesNotDependOnTheNumberOfThreads) {
    const std::size_t threads = num_threads();
    std::vector<std::string> saved;
    std::vector<StagedAnswer> answers;
    for (const std::size_t count : {1, 4}) {
        set_num_threads(count);
        const Structured fixture(GetParam(), Metric::kCosine, 3000);
        saved.push_back(fixture.index.save());
        answers.push_back(fixture.search({.k = 5}));
    }
    set_num_threads(threads);
    EXPECT_EQ(saved[0], saved[1]);
    EXPECT_EQ(answers[0].rows, answers[1].rows);
    EXPECT_EQ(answers[0].scores, answers[1].scores);
}

TEST_P(StructureOfEveryKind, FollowsWhereRowsMoveUp) {
    for (const std::uint64_t every : {2, 9}) { // Linked anew, and repaired.
        Structured fixture(GetParam());
        std::vector<std::uint64_t> gone;
        for (std::uint64_t row = 0; row < kMany; row += every) {
            gone.push_back(row);
        }
        fixture.index.erase(gone);
        fixture.index.compact();
        EXPECT_EQ(fixture.index.rows(), kMany - gone.size());
        StagedRequest request = heads_only(10);
        request.ef_search = 128;
        EXPECT_GE(fixture.recall(request), 0.98) << every;
        const std::string saved = fixture.index.save();
        StagedIndex other(fixture.model.compressor, fixture.index.shape());
        (void)other.restore(saved);
        const std::vector<std::byte> heads = fixture.index.all_heads();
        other.add({heads.data(), fixture.index.rows(), kHead});
        const StagedAnswer a = fixture.index.search(fixture.model.query_view(), request, nullptr);
        const StagedAnswer b = other.search(fixture.model.query_view(), request, nullptr);
        EXPECT_EQ(a.rows, b.rows);
        EXPECT_EQ(a.scores, b.scores);
    }
}

/// A node may go while rows with its head stay: one of them takes its place, and is met once.
TEST_P(StructureOfEveryKind, KeepsRowsWhoseNodeGoes) {
    constexpr std::size_t kThere = 3000;
    constexpr std::size_t kTwice = 60;
    Structured fixture(GetParam(), Metric::kCosine, kThere);
    fixture.add(0, kTwice); // Heads of nodes,
    fixture.add(0, kTwice); // two rows each.
    std::vector<std::uint64_t> gone(kTwice);
    std::iota(gone.begin(), gone.end(), std::uint64_t{0});
    for (std::uint64_t row = kThere; row < kThere + kTwice / 2; ++row) {
        gone.push_back(row); // Of the first half one row each stays, of the other two.
    }
    fixture.index.erase(gone);
    fixture.index.compact();
    const std::size_t left = kThere + 2 * kTwice - gone.size();
    ASSERT_EQ(fixture.index.rows(), left);
    std::vector<float> queries(kTwice * kDim);
    std::vector<std::byte> heads = heads_of(fixture.codes, 0, kTwice);
    fixture.model.compressor->decode({heads.data(), kTwice, kHead}, {queries.data(), kTwice, kDim});
    StagedRequest request = heads_only(5);
    request.ef_search = 64;
    const StagedAnswer found = fixture.index.search(view(queries, kDim), request, nullptr);
    request = heads_only(5);
    request.exhaustive = true;
    const StagedAnswer truth = fixture.index.search(view(queries, kDim), request, nullptr);
    for (std::size_t q = 0; q < kTwice; ++q) {
        const std::set<std::uint64_t> rows(
            found.rows.begin() + static_cast<std::ptrdiff_t>(5 * q),
            found.rows.begin() + static_cast<std::ptrdiff_t>(5 * q + 5));
        EXPECT_EQ(rows.size(), 5U) << "a row came twice for query " << q;
        const std::size_t same = q < kTwice / 2 ? 1 : 2; // Rows with the query's head.
        for (std::size_t i = 0; i < same; ++i) {
            EXPECT_EQ(found.rows[5 * q + i], truth.rows[5 * q + i]) << q;
            EXPECT_GE(found.rows[5 * q + i], kThere - kTwice);
        }
    }
    const std::string saved = fixture.index.save();
    StagedIndex other(fixture.model.compressor, fixture.index.shape());
    EXPECT_EQ(other.restore(saved).rows, left);
    heads = fixture.index.all_heads();
    other.add({heads.data(), left, kHead});
    request = heads_only(5);
    request.ef_search = 64;
    EXPECT_EQ(other.search(view(queries, kDim), request, nullptr).rows, found.rows);
    EXPECT_EQ(other.save(), saved);
}

TEST_P(StructureOfEveryKind, StaysWhenDefaultsAreLearnedAnew) {
    Structured fixture(GetParam());
    StagedIndex next = fixture.index.trained_anew(fixture.model.code_view(), {});
    const std::string before = fixture.index.save();
    std::vector<std::byte> heads(kHead);
    next.add({heads.data(), 1, kHead}); // Does not reach the index that it came from.
    EXPECT_EQ(fixture.index.save(), before);
    StagedRequest request = heads_only(10);
    const StagedAnswer a = fixture.search(request);
    const StagedAnswer b = next.search(fixture.model.query_view(), request, nullptr);
    EXPECT_TRUE(is_walk(b, kMany));
    std::size_t same = 0;
    for (std::size_t i = 0; i < a.rows.size(); ++i) {
        same += a.rows[i] == b.rows[i] ? 1 : 0;
    }
    EXPECT_GE(same, a.rows.size() * 95 / 100);
}

TEST(CoarseStructure, IsMadeAnewByTrainingWhereMoreThanAnEighthAreTombstones) {
    constexpr std::size_t kCount = 2400;
    Structured fixture("HNSW8", Metric::kCosine, 1000);
    fixture.add(1000, kCount - 1000); // In portions, so that the graph is not as if made at once.
    const std::string in_portions = fixture.index.save();
    const std::string at_once = Structured("HNSW8", Metric::kCosine, kCount).index.save();
    ASSERT_NE(in_portions, at_once);
    const auto saved_anew = [&] {
        return fixture.index.trained_anew(fixture.model.code_view(), {}).save();
    };
    EXPECT_EQ(saved_anew(), in_portions);
    // What changes in the copy does not reach the index that it came from.
    StagedIndex compacted = fixture.index.trained_anew(fixture.model.code_view(), {});
    compacted.erase(std::vector<std::uint64_t>{5});
    compacted.compact();
    fixture.index.trained_anew(fixture.model.code_view(), {}).clear();
    EXPECT_EQ(fixture.index.save(), in_portions);
    std::vector<std::uint64_t> gone(kCount / 8);
    std::iota(gone.begin(), gone.end(), std::uint64_t{0});
    fixture.index.erase(gone);
    EXPECT_EQ(saved_anew(), in_portions);
    fixture.index.erase(std::vector<std::uint64_t>{kCount / 8});
    EXPECT_EQ(saved_anew(), at_once);
}

/// A graph as files hold it.
struct GraphFile {
    std::uint64_t rows = 2;
    std::vector<std::uint16_t> counts = {1, 1};
    std::vector<std::uint32_t> links = {1, 0};
    std::vector<std::pair<std::uint32_t, std::uint8_t>> towers = {{1, 1}}; ///< HNSW: row, levels.
    std::uint32_t entry = 0;                                               ///< NSG.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> duplicates;

    [[nodiscard]] std::string bytes(bool is_hnsw) const {
        ByteWriter out;
        out.number(rows);
        if (!is_hnsw) {
            out.number(entry);
        }
        out.array(std::span(counts));
        out.array(std::span(links));
        if (is_hnsw) {
            out.number(std::uint64_t{towers.size()});
            std::size_t upper = 0;
            for (const auto& [row, levels] : towers) {
                out.number(row);
                out.number(levels);
                upper += levels;
            }
            const std::vector<std::uint16_t> none(upper);
            out.array(std::span(none));
        }
        out.number(std::uint64_t{duplicates.size()});
        for (const auto& [row, node] : duplicates) {
            out.number(row);
            out.number(node);
        }
        return std::move(out).take();
    }
};

TEST(CoarseStructure, RefusesGraphsThatContradictThemselves) {
    const auto restore = [](const GraphFile& file, const std::string& coarse) {
        const auto structure = make_coarse(kDim, Metric::kCosine, coarse);
        const std::string bytes = file.bytes(coarse.starts_with("HNSW"));
        ByteReader in(bytes, "Graph");
        structure->restore(in, 4);
        in.finish();
        return structure->rows();
    };
    const auto refuse = [&](const std::string& coarse, const GraphFile& file,
                            const std::string& text) {
        ARFC_EXPECT_ERROR((void)restore(file, coarse), ErrorKind::kCorruption, text);
    };
    const GraphFile four{.rows = 4, .counts = {1, 1, 1, 1}, .links = {1, 2, 3, 0}, .towers = {}};
    for (const std::string coarse : {"HNSW2", "NSG4"}) {
        EXPECT_EQ(restore({}, coarse), 2U);
        EXPECT_EQ(restore(four, coarse), 4U);
        GraphFile file = four;
        file.rows = 5;
        refuse(coarse, file, "graph of 5 rows, of 4");
        file = {.counts = {5, 1}, .links = {1, 1, 1, 1, 1, 0}};
        refuse(coarse, file, "5 links of at most 4");
        file = {.links = {1, 2}};
        refuse(coarse, file, "a link of node 1 leads to no row of 2");
        file = {.duplicates = {{1, 1}}};
        refuse(coarse, file, "row 1 has the head of 1, of 2");
        file = {.duplicates = {{2, 1}}};
        refuse(coarse, file, "row 2 has the head of 1, of 2");
        file = {.duplicates = {{1, 2}}};
        refuse(coarse, file, "row 1 has the head of 2, of 2");
        file = {.duplicates = {{1, 0}, {1, 0}}};
        refuse(coarse, file, "row 1 has the head of 0, of 2");
        file = {.duplicates = {{1, 0}, {1, 0}, {1, 0}}};
        refuse(coarse, file, "3 rows with the head of another, of 2");
        file = four;
        file.duplicates = {{2, 0}, {3, 0}};
        EXPECT_EQ(restore(file, coarse), 4U);
    }
    EXPECT_EQ(restore({.towers = {{0, 1}, {1, 16}}}, "HNSW2"), 2U);
    refuse("HNSW2", {.towers = {{0, 1}, {0, 1}}}, "row 0 of level 1");
    refuse("HNSW2", {.towers = {{2, 1}}}, "row 2 of level 1");
    refuse("HNSW2", {.towers = {{1, 0}}}, "row 1 of level 0");
    refuse("HNSW2", {.towers = {{1, 17}}}, "row 1 of level 17");
    refuse("HNSW2", {.towers = {{0, 1}, {1, 1}, {1, 1}}}, "3 rows of higher levels, of 2");
    refuse("NSG4", {.entry = 2}, "entry 2 of 2");
    refuse("NSG4", {.rows = 0, .counts = {}, .links = {}}, "entry 0 of 0");
    const GraphFile empty{.rows = 0, .counts = {}, .links = {}, .towers = {}, .entry = kNoLink};
    EXPECT_EQ(restore(empty, "HNSW2"), 0U);
    EXPECT_EQ(restore(empty, "NSG4"), 0U);
}

TEST_P(StructureOfEveryKind, RefusesDamagedFiles) {
    Structured saved(GetParam(), Metric::kCosine, 60);
    saved.add(0, 5); // Duplicates.
    const std::string good = saved.index.save(1);
    const std::string body = good.substr(0, good.size() - 64);
    const auto with_digest = [](const std::string& bytes) { return bytes + sha256_hex(bytes); };
    const auto try_to_use = [&](const std::string& bytes) {
        StagedIndex index(saved.model.compressor, saved.index.shape());
        (void)index.restore(bytes);
        std::vector<std::byte> heads = saved.index.all_heads();
        index.add({heads.data(), 65, kHead});
        StagedRequest request = heads_only(3);
        request.ef_search = 1;
        (void)index.search(saved.model.query_view().slice(0, 1), request, nullptr);
    };
    for (std::size_t length = 0; length < body.size(); length += 3) {
        EXPECT_THROW(try_to_use(with_digest(body.substr(0, length))), Error) << length;
    }
    for (std::size_t i = 0; i < body.size(); ++i) {
        std::string bytes = body;
        bytes[i] = static_cast<char>(0xFF);
        try {
            try_to_use(with_digest(bytes));
        } catch (const Error& error) {
            EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
        }
        bytes[i] = static_cast<char>(body[i] ^ 1);
        try {
            try_to_use(with_digest(bytes));
        } catch (const Error& error) {
            EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
        }
    }
}

TEST(CoarseStructure, ScansRowsThatAGraphMadeAtOnceDoesNotCover) {
    Structured fixture("NSG32", Metric::kCosine, 4000);
    const std::size_t before = fixture.index.resident_bytes().structure;
    const std::size_t walked = fixture.search({.k = 10}).stages.front().candidates;
    fixture.add(4000, 3000);
    EXPECT_EQ(fixture.search({.k = 10}).stages.front().candidates, walked + kQueries * 3000);
    EXPECT_EQ(fixture.index.resident_bytes().structure, before) << "fewer rows than it covers";
    StagedRequest request = heads_only(10);
    request.ef_search = 128;
    EXPECT_TRUE(is_walk(fixture.search(request), 7000));
    EXPECT_GE(fixture.recall(request), 0.98);
    fixture.add(7000, 1001);
    EXPECT_GE(fixture.index.resident_bytes().structure, 8001 * 32 * sizeof(std::uint32_t))
        << "more rows than it covered";
    Structured other("NSG32", Metric::kCosine, 4000);
    other.add(4000, 3000);
    other.index.train(other.model.code_view(), {});
    EXPECT_GE(other.index.resident_bytes().structure, 7000 * 32 * sizeof(std::uint32_t));
    EXPECT_GE(other.recall(request), 0.98);
}

/// A walk that keeps everything in view meets what can be reached.
TEST(CoarseStructure, ReachesEveryRowOfASparseGraph) {
    const TrainedModel& model = trained_model(Metric::kCosine);
    constexpr std::size_t kRows = 2500;
    const std::vector<std::byte> heads = heads_of(many_codes(Metric::kCosine), 0, kRows);
    const std::vector<float> no_terms(kRows, 1.0F);
    const HeadRows all{model.compressor.get(), {heads.data(), kRows, kHead}, {}, no_terms, {}};
    const auto structure = make_coarse(kDim, Metric::kCosine, "NSG4");
    structure->add(all);
    ASSERT_EQ(structure->rows(), kRows);
    const MatrixView<const float> query = model.query_view().slice(0, 1);
    std::vector<float> tables(kHead * kSymbols);
    model.compressor->query_tables(query, 0, {tables.data(), 1, tables.size()});
    Compressor::QueryTerms terms{};
    model.compressor->query_terms(query, {&terms, 1});
    const Proposals proposals = structure->find(
        all, {.values = query.row(0), .tables = tables.data(), .terms = terms, .beam = kRows});
    const std::set<std::uint32_t> reached(proposals.rows.begin(), proposals.rows.end());
    EXPECT_EQ(reached.size(), kRows);
    // Walks begin in the middle: few rows are nearer to the mean than the entry.
    ByteWriter out;
    structure->save(out);
    ByteReader in(out.bytes(), "Graph");
    (void)in.number<std::uint64_t>();
    const auto entry = in.number<std::uint32_t>();
    const std::vector<float> rows = decode_as_queries(all, 0, kRows);
    std::vector<double> mean(kDim);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        mean[i % kDim] += double{rows[i]} / double{kRows};
    }
    const auto nearness = [&](std::size_t row) {
        const std::span<const float> values = std::span(rows).subspan(row * kDim, kDim);
        const double length =
            std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
        return std::inner_product(values.begin(), values.end(), mean.begin(), 0.0) / length;
    };
    std::size_t nearer = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
        nearer += nearness(row) > nearness(entry) ? 1 : 0;
    }
    EXPECT_LT(nearer, kRows / 20);
}

/// What these graphs are like, up to what another model of the same rows may change: how many links
/// they have, how many rows a narrow walk scores, and how many of the nearest it finds.
TEST(CoarseStructure, LinksAsManyRowsAsItDid) {
    constexpr std::size_t kCount = 5000;
    const StagedRequest narrow{.k = 10, .stages = {{kHead, 10}, {kCodeBytes, 0}}, .ef_search = 10};
    const struct {
        std::string coarse;
        Metric metric;
        bool is_compacted;
        double bytes;  ///< Of a file.
        double scored; ///< By a walk.
        double found;
    } cases[] = {
        {"HNSW8", Metric::kCosine, false, 266700, 127.0, 0.960},
        {"HNSW8", Metric::kCosine, true, 156500, 102.0, 0.930},
        {"HNSW8", Metric::kL2, false, 259600, 124.4, 0.965},
        {"NSG16", Metric::kCosine, false, 252000, 135.0, 0.970},
    };
    for (const auto& c : cases) {
        const std::size_t first = c.coarse == "NSG16" ? kCount : 3000; // It is made at once.
        Structured fixture(c.coarse, c.metric, first);
        fixture.add(first, kCount - first);
        std::vector<std::byte> codes = fixture.codes;
        if (c.is_compacted) {
            std::vector<std::uint64_t> gone;
            codes.clear();
            for (std::uint64_t row = 0; row < kCount; ++row) {
                if (row % 5 == 0) {
                    gone.push_back(row);
                    continue;
                }
                const auto code =
                    fixture.codes.begin() + static_cast<std::ptrdiff_t>(row * kCodeBytes);
                codes.insert(codes.end(), code, code + kCodeBytes);
            }
            fixture.index.erase(gone);
            fixture.index.compact();
        }
        const MemoryTails tails(codes.data() + kHead, kCodeBytes, kCodeBytes - kHead);
        const StagedAnswer walk = fixture.index.search(fixture.model.query_view(), narrow, &tails);
        StagedRequest scan = narrow;
        scan.exhaustive = true;
        scan.ef_search.reset();
        const StagedAnswer truth = fixture.index.search(fixture.model.query_view(), scan, &tails);
        const std::string text = c.coarse + (c.is_compacted ? " compacted" : "");
        const auto bytes = static_cast<double>( // Of the graph: margins are in the file, too.
            fixture.index.save().size() - fixture.index.resident_bytes().calibration);
        const double scored =
            static_cast<double>(walk.stages.front().candidates) / static_cast<double>(kQueries);
        EXPECT_NEAR(bytes / c.bytes, 1.0, 0.02) << text << ", bytes " << bytes;
        EXPECT_NEAR(scored / c.scored, 1.0, 0.08) << text << ", scored " << scored;
        EXPECT_NEAR(share_found(walk, truth, 10), c.found, 0.04) << text;
    }
}

/// Rows of a kind that the graph has no row of are inserted side by side: what is near to them is
/// among themselves alone.
TEST(CoarseStructure, LinksRowsThatCameTogether) {
    constexpr std::size_t kThere = 6400;
    constexpr std::size_t kTogether = 200; // A thirty-second of those: inserted at once.
    const TrainedModel& model = trained_model(Metric::kCosine);
    std::vector<float> rows = random_rows(kThere + kTogether, kDim, 31);
    for (std::size_t i = 0; i < kThere + kTogether; ++i) {
        float& first = rows[i * kDim];
        first = i < kThere ? -std::abs(first) : std::abs(first) + 4.0F;
    }
    std::vector<std::byte> heads((kThere + kTogether) * kHead);
    model.compressor->encode(view(rows, kDim), kHead, {heads.data(), kThere + kTogether, kHead});
    StagedIndex index(model.compressor, {.stage_bytes = {kHead}, .coarse = "HNSW8"});
    index.add({heads.data(), kThere, kHead});
    index.add({heads.data() + kThere * kHead, kTogether, kHead});
    const MatrixView<const float> queries{rows.data() + kThere * kDim, kTogether, kDim};
    StagedRequest request = heads_only(10);
    request.ef_search = 32;
    const StagedAnswer found = index.search(queries, request, nullptr);
    request = heads_only(10);
    request.exhaustive = true;
    const StagedAnswer truth = index.search(queries, request, nullptr);
    EXPECT_GE(share_found(found, truth, 10), 0.98);
}

TEST(CoarseStructure, ChoosesEachLinkOnceWhateverTheOrder) {
    constexpr std::size_t kFew = 300;
    const TrainedModel& model = trained_model(Metric::kCosine);
    std::vector<std::byte> heads = heads_of(many_codes(Metric::kCosine), 0, kFew);
    std::copy_n(heads.begin(), kHead, heads.begin() + 7 * kHead); // Row 7 has the head of row 0.
    const HeadSketches sketches(*model.compressor, kHead);
    const HeadRows all{model.compressor.get(), {heads.data(), kFew, kHead}, {}, {}, {}};
    std::vector<std::uint32_t> near(kFew - 1);
    std::iota(near.begin(), near.end(), 1U);
    const std::vector<std::uint32_t> links = choose_links(sketches, all, 0, near, 8);
    ASSERT_FALSE(links.empty());
    EXPECT_EQ(links.front(), 7U) << "the nearest comes first";
    EXPECT_LE(links.size(), 8U);
    EXPECT_EQ(std::set<std::uint32_t>(links.begin(), links.end()).size(), links.size());
    std::vector<std::uint32_t> shuffled(near.rbegin(), near.rend());
    shuffled.insert(shuffled.end(), {7, 0, 42, 7});
    EXPECT_EQ(choose_links(sketches, all, 0, shuffled, 8), links);
    EXPECT_EQ(choose_links(sketches, all, 0, near, 1), (std::vector<std::uint32_t>{7}));
    EXPECT_TRUE(choose_links(sketches, all, 0, std::vector<std::uint32_t>{0}, 8).empty());
}

/// No direction is that of a row of zeros, which a search by cosine would refuse.
TEST(CoarseStructure, AsksForSomeDirectionWhereARowDecodesToZeros) {
    const std::vector<float> zeros(300 * kDim, 0.0F);
    const std::shared_ptr<const Compressor> model =
        Compressor::train(view(zeros, kDim), {.code_bytes = kHead, .metric = Metric::kL2});
    std::vector<std::byte> heads(5 * kHead);
    model->encode(view(zeros, kDim).slice(0, 5), kHead, {heads.data(), 5, kHead});
    const HeadRows all{model.get(), {heads.data(), 5, kHead}, {}, {}, {}};
    std::vector<float> expected(3 * kDim, 0.0F);
    expected[0] = expected[kDim] = expected[2 * kDim] = 1.0F;
    EXPECT_EQ(decode_as_queries(all, 2, 3), expected);
}

TEST(CoarseStructure, RefusesWhatIsOutOfRange) {
    const Structured fixture("HNSW8", Metric::kCosine, 100);
    for (const std::size_t beam : {std::size_t{0}, kMostEfSearch + 1}) {
        StagedRequest request{.k = 1};
        request.ef_search = beam;
        ARFC_EXPECT_ERROR(
            (void)fixture.search(request), ErrorKind::kInvalidArgument,
            "efSearch is outside [1, 1000000]: " + std::to_string(beam));
    }
    StagedRequest lists{.k = 1};
    lists.nprobe = 2;
    ARFC_EXPECT_ERROR(
        (void)fixture.search(lists), ErrorKind::kInvalidArgument, "outside [1, 1]: 2");
    const auto& compressor = fixture.model.compressor;
    StagedIndex plain(compressor, {.stage_bytes = {kHead}});
    StagedRequest request = heads_only(1);
    request.ef_search = 5;
    ARFC_EXPECT_ERROR(
        (void)plain.search(fixture.model.query_view(), request, nullptr),
        ErrorKind::kInvalidArgument, "no graph, so efSearch cannot be chosen: 5");
    for (const std::string coarse : {"HNSW", "HNSW1", "HNSW08", "hnsw8", "IVF4"}) {
        ARFC_EXPECT_ERROR(
            StagedIndex(compressor, {.stage_bytes = {kHead}, .coarse = coarse}),
            ErrorKind::kInvalidArgument, "\"" + coarse + "\"");
    }
    ARFC_EXPECT_ERROR(
        StagedIndex(compressor, {.stage_bytes = {kHead}, .nlist = 2, .coarse = "HNSW8"}),
        ErrorKind::kInvalidArgument, "has lists and a coarse structure too");
}

TEST(CoarseStructure, CountsTheBytesOfAGraph) {
    const Structured fixture("HNSW16");
    const StagedBytes bytes = fixture.index.resident_bytes();
    // 32 links of 4 bytes a row; the higher levels add a sixteenth of half of that, and sketches
    // a constant.
    EXPECT_GE(bytes.structure, kMany * 128);
    EXPECT_LE(bytes.structure, kMany * 140 + kHead * kSymbols * kDim * 4 + 1000);
    EXPECT_EQ(
        bytes.total(), bytes.heads + bytes.scan_terms + bytes.rank_terms + bytes.error_radii +
                           bytes.calibration + bytes.lists + bytes.structure);
}

} // namespace
} // namespace arfc
