#include <faiss/IndexFlat.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "arfc/index/index_factory.h"
#include "expect_error.h"
#include "trained_index.h"
#include "trained_model.h"

namespace arfc {
namespace {

using test::kDim;
using test::Rows;
using test::trained_index;
using test::unit_rows;

constexpr std::size_t kN = 900;
constexpr std::size_t kM = 70; // More than one block of queries.
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// What a range search answered for one query: (label, distance) in the order given.
using Found = std::vector<std::pair<std::int64_t, float>>;

std::vector<Found> range_search(
    const faiss::Index& index, const Rows& queries, float radius,
    const faiss::SearchParameters* params = nullptr) {
    faiss::RangeSearchResult result(queries.count());
    index.range_search(queries.signed_count(), queries.data(), radius, &result, params);
    std::vector<Found> found(queries.count());
    for (std::size_t q = 0; q < queries.count(); ++q) {
        for (std::size_t i = result.lims[q]; i < result.lims[q + 1]; ++i) {
            found[q].emplace_back(result.labels[i], result.distances[i]);
        }
    }
    return found;
}

/// What FAISS would answer for distances of every row by the first `bytes` of the code.
std::vector<Found> brute_force(
    const ArfcIndex& index, const Rows& queries, const Rows& rows, float radius,
    std::size_t bytes) {
    std::vector<std::byte> codes(rows.count() * bytes);
    index.compressor()->encode(
        {rows.data(), rows.count(), kDim}, bytes, {codes.data(), rows.count(), bytes});
    std::vector<float> scores(queries.count() * rows.count());
    index.compressor()->score(
        {queries.data(), queries.count(), kDim}, {codes.data(), rows.count(), bytes}, false,
        {scores.data(), queries.count(), rows.count()});
    const bool is_l2 = index.metric_type == faiss::METRIC_L2;
    std::vector<Found> found(queries.count());
    for (std::size_t q = 0; q < queries.count(); ++q) {
        const float scale = index.is_cosine() ? static_cast<float>(queries.length(q)) : 1.0F;
        for (std::size_t row = 0; row < rows.count(); ++row) {
            const float score = scores[q * rows.count() + row];
            const float distance = is_l2 ? std::max(0.0F, -score) : score * scale;
            if (is_l2 ? distance < radius : distance > radius) {
                found[q].emplace_back(static_cast<std::int64_t>(row), distance);
            }
        }
    }
    return found;
}

std::size_t total(const std::vector<Found>& found) {
    std::size_t sum = 0;
    for (const Found& rows : found) {
        sum += rows.size();
    }
    return sum;
}

TEST(RangeSearch, FindsWhatBruteForceOverTheWholeCodeFinds) {
    for (const bool is_unit : {false, true}) {
        const Rows rows = is_unit ? unit_rows(kN, 1) : Rows(kN, 1);
        const Rows queries(kM, 2);
        for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
            if (is_unit && metric == faiss::METRIC_L2) {
                continue; // As of rows of any length.
            }
            for (const std::string factory : {"ARFC12", "ARFC12/4", "ARFC12/6/3,IVF7"}) {
                const auto index = trained_index(factory, metric, rows);
                index->add(rows.signed_count(), rows.data());
                SearchParametersARFC params;
                params.nprobe = std::max<std::size_t>(index->nlist(), 1);
                // A distance that occurs, so that the border itself is tried.
                std::vector<float> nearest(20);
                std::vector<std::int64_t> labels(20);
                index->search(1, queries.data(), 20, nearest.data(), labels.data(), &params);
                const std::vector<Found> found =
                    range_search(*index, queries, nearest.back(), &params);
                EXPECT_EQ(found, brute_force(*index, queries, rows, nearest.back(), 12))
                    << factory << " " << metric;
                EXPECT_LT(found[0].size(), 20U) << "the row at the radius itself is not within it";
                EXPECT_GT(total(found), kM);
            }
        }
    }
}

TEST(RangeSearch, AgreesWithIndexFlatOverTheReconstructions) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto index = trained_index("ARFC12/4", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    std::vector<float> decoded(kN * kDim);
    index->reconstruct_n(0, kN, decoded.data());
    faiss::IndexFlatL2 flat(kDim);
    flat.add(kN, decoded.data());
    const std::vector<Found> ours = range_search(*index, queries, 12.0F);
    const std::vector<Found> faiss_own = range_search(flat, queries, 12.0F);
    // Rounding may put a row on the other side of the radius.
    EXPECT_NEAR(
        static_cast<double>(total(ours)), static_cast<double>(total(faiss_own)),
        2 + 0.001 * static_cast<double>(total(ours)));
    EXPECT_GT(total(ours), 0U);
}

TEST(RangeSearch, LooksOnlyIntoTheListsThatAreProbed) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto index = trained_index("ARFC12/4,IVF9", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    std::size_t before = 0;
    for (const std::size_t nprobe : {1, 4, 9}) {
        faiss::SearchParametersIVF params;
        params.nprobe = nprobe;
        const std::vector<Found> found = range_search(*index, queries, kInfinity, &params);
        for (const Found& one : found) { // No row twice, though a row may be in several lists.
            ASSERT_TRUE(std::ranges::is_sorted(one));
            ASSERT_EQ(std::ranges::adjacent_find(one), one.end());
        }
        EXPECT_GT(total(found), before);
        before = total(found);
    }
    EXPECT_EQ(before, kM * kN);
}

TEST(RangeSearch, ScoresEveryRowWhereThereIsAGraph) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    for (const std::string factory : {"ARFC12,HNSW2", "ARFC12/4,HNSW2"}) {
        const auto index = trained_index(factory, faiss::METRIC_L2, rows);
        index->add(kN, rows.data());
        SearchParametersARFC narrow_walk;
        narrow_walk.efSearch = 1;
        const std::vector<Found> found = range_search(*index, queries, 12.0F, &narrow_walk);
        EXPECT_EQ(found, brute_force(*index, queries, rows, 12.0F, 12)) << factory;
        EXPECT_GT(total(found), 0U);
        const faiss::IDSelectorRange gone(0, 5);
        index->remove_ids(gone);
        EXPECT_EQ(total(range_search(*index, queries, kInfinity)), kM * (kN - 5)) << factory;
        narrow_walk.efSearch = 0;
        ARFC_EXPECT_ERROR(
            (void)range_search(*index, queries, 1.0F, &narrow_walk), ErrorKind::kInvalidArgument,
            "efSearch is outside [1, 1000000]: 0");
    }
}

TEST(RangeSearch, AsksTheSelectorForTheCallersIdsAndSkipsRemovedRows) {
    const Rows rows(kN, 1);
    const Rows queries(3, 2);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 10'000 - static_cast<std::int64_t>(i);
    }
    for (const std::string prefix : {"", "IDMap,", "IDMap2,"}) {
        const auto index = index_factory(kDim, prefix + "ARFC12/4,IVF5", faiss::METRIC_L2);
        index->train(kN, rows.data());
        index->add_with_ids(kN, rows.data(), ids.data());
        const faiss::IDSelectorRange gone(9'990, 10'001);
        EXPECT_EQ(index->remove_ids(gone), 11U);
        faiss::IDSelectorRange some(9'980, 10'001);
        SearchParametersARFC params;
        params.nprobe = 5;
        params.sel = &some;
        for (const Found& found : range_search(*index, queries, kInfinity, &params)) {
            ASSERT_EQ(found.size(), 10U) << prefix;
            for (std::size_t i = 0; i < found.size(); ++i) {
                EXPECT_EQ(found[i].first, 9'989 - static_cast<std::int64_t>(i));
            }
        }
    }
}

TEST(RangeSearch, ScoresByTheLengthThatTheLastStageNames) {
    const Rows rows(kN, 1);
    const Rows queries(5, 2);
    const auto index = trained_index("ARFC12/6/3", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    for (const std::size_t bytes : {3, 5, 6, 9}) {
        SearchParametersARFC params;
        params.stages = {{3, 0}};
        if (bytes > 3) {
            params.stages.push_back({bytes, 0});
        }
        EXPECT_EQ(
            range_search(*index, queries, 15.0F, &params),
            brute_force(*index, queries, rows, 15.0F, bytes))
            << bytes;
    }
    SearchParametersARFC limited;
    limited.stages = {{3, 100}, {12, 0}};
    ARFC_EXPECT_ERROR(
        (void)range_search(*index, queries, 1.0F, &limited), ErrorKind::kInvalidArgument,
        "stages have no limit: 100");
}

TEST(RangeSearch, TakesRadiiOfEveryKindButNaN) {
    const Rows rows(kN, 1);
    const Rows queries(2, 2);
    const auto l2 = trained_index("ARFC12/4", faiss::METRIC_L2, rows);
    const auto product = trained_index("ARFC12/4", faiss::METRIC_INNER_PRODUCT, rows);
    EXPECT_EQ(total(range_search(*l2, queries, kInfinity)), 0U) << "the index is empty";
    l2->add(kN, rows.data());
    product->add(kN, rows.data());
    EXPECT_EQ(total(range_search(*l2, queries, kInfinity)), 2 * kN);
    EXPECT_EQ(total(range_search(*l2, queries, 0.0F)), 0U);
    EXPECT_EQ(total(range_search(*l2, queries, -1.0F)), 0U);
    EXPECT_EQ(total(range_search(*product, queries, -kInfinity)), 2 * kN);
    EXPECT_EQ(total(range_search(*product, queries, kInfinity)), 0U);
    EXPECT_EQ(range_search(*l2, Rows(0, 1), 1.0F).size(), 0U);
    ARFC_EXPECT_ERROR(
        (void)range_search(*l2, queries, NAN), ErrorKind::kInvalidArgument, "Radius is not");
}

TEST(RangeSearch, RefusesWhatIsNotInOrder) {
    const Rows rows(kN, 1);
    const ArfcIndex untrained(kDim, "ARFC12/4", faiss::METRIC_L2);
    ARFC_EXPECT_ERROR(
        (void)range_search(untrained, rows, 1.0F), ErrorKind::kFailedPrecondition, "not trained");
    const auto index = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    ARFC_EXPECT_ERROR(
        index->range_search(1, rows.data(), 1.0F, nullptr), ErrorKind::kInvalidArgument,
        "another number of queries: 0, expected 1");
    faiss::RangeSearchResult two(2);
    ARFC_EXPECT_ERROR(
        index->range_search(3, rows.data(), 1.0F, &two), ErrorKind::kInvalidArgument,
        "another number of queries: 2, expected 3");
    SearchParametersARFC params;
    params.nprobe = 8;
    ARFC_EXPECT_ERROR(
        (void)range_search(*index, rows, 1.0F, &params), ErrorKind::kInvalidArgument,
        "outside [1, 7]: 8");
    Rows bad(3, 4);
    bad.values[kDim] = NAN;
    ARFC_EXPECT_ERROR(
        (void)range_search(*index, bad, 1.0F), ErrorKind::kInvalidArgument, "not finite");
    index->range_search(2, rows.data(), 1.0F, &two);
    ARFC_EXPECT_ERROR(
        index->range_search(2, rows.data(), 1.0F, &two), ErrorKind::kInvalidArgument,
        "Result of a range search cannot be filled");
}

} // namespace
} // namespace arfc
