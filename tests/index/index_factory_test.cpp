#include "arfc/index/index_factory.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "expect_error.h"
#include "id_map_index.h"
#include "trained_index.h"

namespace arfc {
namespace {

using test::Answer;
using test::kDim;
using test::Rows;
using test::search;

constexpr int kWidth = static_cast<int>(kDim);
constexpr std::size_t kN = 600;

/// IDMap and IDMap2 over a trained ArfcIndex, and the same index without.
std::unique_ptr<faiss::Index> mapped(const std::string& prefix, const Rows& rows) {
    auto index = index_factory(kWidth, prefix + "ARFC12/4,IVF5", faiss::METRIC_L2);
    EXPECT_FALSE(index->is_trained);
    index->train(rows.signed_count(), rows.data());
    EXPECT_TRUE(index->is_trained);
    return index;
}

TEST(IndexFactory, PassesFaissStringsThroughUnchanged) {
    const auto flat = index_factory(kWidth, "Flat", faiss::METRIC_INNER_PRODUCT);
    ASSERT_NE(dynamic_cast<faiss::IndexFlat*>(flat.get()), nullptr);
    EXPECT_EQ(flat->metric_type, faiss::METRIC_INNER_PRODUCT);
    EXPECT_NE(
        dynamic_cast<faiss::IndexIVFFlat*>(index_factory(kWidth, "IVF16,Flat").get()), nullptr);
    EXPECT_NE(dynamic_cast<faiss::IndexHNSW*>(index_factory(kWidth, "HNSW16").get()), nullptr);
    EXPECT_NE(
        dynamic_cast<faiss::IndexPreTransform*>(index_factory(kWidth, "OPQ4,PQ4x4").get()),
        nullptr);
    EXPECT_EQ(index_factory(kWidth, "Flat", faiss::METRIC_L1)->metric_type, faiss::METRIC_L1);
}

TEST(IndexFactory, TellsWhatFaissRefuses) {
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, "Nonsense"), ErrorKind::kInvalidArgument,
        "FAISS refuses the factory string");
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, "PQ99999999999999999999"), ErrorKind::kInvalidArgument,
        "a size is out of range");
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, ""), ErrorKind::kInvalidArgument, "names no index");
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, "IDMap2,"), ErrorKind::kInvalidArgument, "names no index");
    ARFC_EXPECT_ERROR(
        (void)index_factory(0, "Flat"), ErrorKind::kInvalidArgument,
        "width is outside [1, 65536]: 0");
    ARFC_EXPECT_ERROR(
        (void)index_factory(65537, "Flat"), ErrorKind::kInvalidArgument,
        "width is outside [1, 65536]: 65537");
    for (const int width : {1, 65536}) {
        EXPECT_EQ(index_factory(width, "Flat")->d, width);
        EXPECT_EQ(index_factory(width, "ARFC4")->d, width);
    }
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, "ARFC12/12"), ErrorKind::kInvalidArgument, "column 8");
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, "ARFC12,PQ7"), ErrorKind::kInvalidArgument, "column 8");
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, "IDMap2,ARFC12,IVF4(ARFC8),Flat"), ErrorKind::kInvalidArgument,
        "column 15");
    ARFC_EXPECT_ERROR(
        (void)index_factory(kWidth, "ARFC12", faiss::METRIC_Linf), ErrorKind::kUnsupported,
        "METRIC_L2");
}

TEST(IndexFactory, MakesArfcIndexesWithSizesInBytes) {
    const auto index = index_factory(kWidth, "ARFCx8/x32,IVF4", faiss::METRIC_L2);
    const auto* const arfc = dynamic_cast<ArfcIndex*>(index.get());
    ASSERT_NE(arfc, nullptr);
    EXPECT_EQ(arfc->factory(), "ARFC12/3,IVF4");
    EXPECT_EQ(arfc->d, kWidth);
    EXPECT_FALSE(arfc->is_trained);
}

TEST(IdMapIndex, TranslatesSelectorsAndForwardsParameters) {
    const Rows rows(kN, 1);
    const Rows queries(8, 2);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = static_cast<std::int64_t>(7 * (kN - i));
    }
    const auto plain = mapped("", rows);
    plain->add(kN, rows.data());
    for (const std::string prefix : {"IDMap,", "IDMap2,"}) {
        const auto index = mapped(prefix, rows);
        ARFC_EXPECT_ERROR(
            index->add(1, rows.data()), ErrorKind::kInvalidArgument, "add_with_ids()");
        index->add_with_ids(kN, rows.data(), ids.data());
        EXPECT_EQ(index->ntotal, static_cast<std::int64_t>(kN));
        SearchParametersARFC params;
        params.nprobe = 5;
        params.stages = {{4, 300}, {12, 0}};
        faiss::IDSelectorRange by_id(0, 7 * 100 + 1); // The last hundred rows.
        faiss::IDSelectorRange by_position(
            static_cast<std::int64_t>(kN) - 100, static_cast<std::int64_t>(kN));
        for (const bool is_filtered : {false, true}) {
            params.sel = is_filtered ? &by_position : nullptr;
            const Answer expected = search(*plain, queries, 120, &params);
            params.sel = is_filtered ? &by_id : nullptr;
            const Answer found = search(*index, queries, 120, &params);
            EXPECT_EQ(params.sel, is_filtered ? &by_id : nullptr)
                << "the caller's parameters were changed";
            EXPECT_EQ(found.distances, expected.distances);
            for (std::size_t i = 0; i < found.labels.size(); ++i) {
                const std::int64_t position = expected.labels[i];
                ASSERT_EQ(
                    found.labels[i], position < 0 ? -1 : ids[static_cast<std::size_t>(position)]);
            }
        }
    }
}

TEST(IdMapIndex, FindsRemovesAndForgetsById) {
    const Rows rows(kN, 1);
    const auto index = mapped("IDMap2,", rows);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 1000 + static_cast<std::int64_t>(i);
    }
    index->add_with_ids(kN, rows.data(), ids.data());
    std::vector<float> before(kDim);
    std::vector<float> after(kDim);
    index->reconstruct(1500, before.data());
    EXPECT_EQ(index->remove_ids(faiss::IDSelectorRange(1000, 1200)), 200U);
    index->reconstruct(1500, after.data());
    EXPECT_EQ(before, after);
    ARFC_EXPECT_ERROR(
        index->reconstruct(1100, after.data()), ErrorKind::kNotFound, "no row of id: 1100");
    for (const std::int64_t label : search(*index, Rows(3, 4), 50).labels) {
        EXPECT_GE(label, 1200);
    }
    index->reset();
    EXPECT_EQ(index->ntotal, 0);
    ARFC_EXPECT_ERROR(index->reconstruct(1500, after.data()), ErrorKind::kNotFound, "1500");
}

TEST(IdMapIndex, TakesParametersOverFaissIndexesToo) {
    const Rows rows(kN, 1);
    const Rows queries(5, 2);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 10 * static_cast<std::int64_t>(i);
    }
    for (const std::string factory : {"IDMap,Flat", "IDMap2,Flat", "IDMap2,HNSW8"}) {
        const auto index = index_factory(kWidth, factory, faiss::METRIC_L2);
        index->add_with_ids(kN, rows.data(), ids.data());
        faiss::IDSelectorRange range(1000, 2000);
        faiss::SearchParametersHNSW graph;
        graph.efSearch = 400;
        faiss::SearchParameters plain;
        faiss::SearchParameters& params = factory == "IDMap2,HNSW8" ? graph : plain;
        params.sel = &range;
        const Answer answer = search(*index, queries, 4, &params);
        for (std::size_t q = 0; q < 5; ++q) {
            std::size_t best = 100;
            for (std::size_t i = 100; i < 200; ++i) {
                best = queries.distance(q, rows, i) < queries.distance(q, rows, best) ? i : best;
            }
            EXPECT_EQ(answer.labels[q * 4], static_cast<std::int64_t>(10 * best)) << factory;
        }
    }
    const auto flat = index_factory(kWidth, "IDMap2,Flat", faiss::METRIC_L2);
    flat->add_with_ids(kN, rows.data(), ids.data());
    faiss::RangeSearchResult result(1);
    flat->range_search(1, rows.data(), 1e-6F, &result);
    ASSERT_GE(result.lims[1], 1U);
    EXPECT_EQ(result.labels[0] % 10, 0);
    struct Strange : faiss::SearchParameters {};
    Strange strange;
    faiss::IDSelectorRange range(0, 10);
    strange.sel = &range;
    ARFC_EXPECT_ERROR(
        (void)search(*flat, queries, 1, &strange), ErrorKind::kUnsupported,
        "translate the selector of");
}

TEST(IdMapIndex, ReconstructsWhatItFindsUnderTheCallersIds) {
    const Rows rows(kN, 1);
    const Rows queries(4, 2);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 3 * static_cast<std::int64_t>(kN - i);
    }
    const auto plain = mapped("", rows);
    plain->add(kN, rows.data());
    for (const std::string prefix : {"IDMap,", "IDMap2,"}) {
        const auto index = mapped(prefix, rows);
        index->add_with_ids(kN, rows.data(), ids.data());
        faiss::IDSelectorRange some(300, 900);
        SearchParametersARFC params;
        params.nprobe = 5;
        params.sel = &some;
        const Answer expected = search(*index, queries, 6, &params);
        Answer found{std::vector<float>(24), std::vector<std::int64_t>(24)};
        std::vector<float> recons(24 * kDim);
        index->search_and_reconstruct(
            4, queries.data(), 6, found.distances.data(), found.labels.data(), recons.data(),
            &params);
        EXPECT_EQ(found, expected);
        std::vector<float> row(kDim);
        for (std::size_t i = 0; i < 24; ++i) {
            ASSERT_TRUE(found.labels[i] >= 300 && found.labels[i] < 900);
            plain->reconstruct(static_cast<std::int64_t>(kN) - found.labels[i] / 3, row.data());
            EXPECT_TRUE(std::equal(row.begin(), row.end(), recons.data() + i * kDim)) << i;
        }
        faiss::RangeSearchResult range(4);
        index->range_search(4, queries.data(), 1e9F, &range, &params);
        EXPECT_EQ(range.lims[4], 4U * 200U);
        EXPECT_TRUE(std::all_of(range.labels, range.labels + range.lims[4], [](std::int64_t id) {
            return id >= 300 && id < 900 && id % 3 == 0;
        }));
    }
}

TEST(IdMapIndex, IsLikeWhatItTookOverAndDeletesIt) {
    struct Inner final : faiss::IndexFlat {
        explicit Inner(int& deleted)
            : faiss::IndexFlat(kWidth, faiss::METRIC_Lp), deleted_(deleted) {
            metric_arg = 3;
            verbose = true;
        }
        ~Inner() override { ++deleted_; }
        int& deleted_;
    };
    int deleted = 0;
    const Rows rows(2, 1);
    {
        auto inner = std::make_unique<Inner>(deleted);
        inner->add(2, rows.data());
        const IdMap2Index index(std::move(inner), {7, 5});
        EXPECT_EQ(index.d, kWidth);
        EXPECT_EQ(index.metric_type, faiss::METRIC_Lp);
        EXPECT_EQ(index.metric_arg, 3);
        EXPECT_TRUE(index.verbose);
        EXPECT_TRUE(index.is_trained);
        EXPECT_EQ(index.ntotal, 2);
        std::vector<float> row(kDim);
        index.reconstruct(5, row.data());
        EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.data() + kDim));
    }
    EXPECT_EQ(deleted, 1);
    { const IdMapIndex index(std::make_unique<Inner>(deleted)); }
    EXPECT_EQ(deleted, 2);
}

} // namespace
} // namespace arfc
