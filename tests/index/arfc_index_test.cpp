#include "arfc/index/arfc_index.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/IDSelector.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "expect_error.h"
#include "trained_index.h"
#include "trained_model.h"

namespace arfc {
namespace {

using test::Answer;
using test::brute_force;
using test::kDim;
using test::Rows;
using test::search;
using test::trained_index;
using test::unit_rows;

constexpr std::size_t kN = 900;
constexpr std::size_t kM = 12;

SearchParametersARFC everything(const ArfcIndex& index) {
    SearchParametersARFC params;
    for (const Stage& stage : index.default_stages()) {
        params.stages.push_back({stage.bytes, kN});
    }
    params.nprobe = std::max<std::size_t>(index.nlist(), 1);
    return params;
}

/// Scores of every row by the whole code: [queries, rows].
std::vector<float> all_scores(const ArfcIndex& index, const Rows& queries, const Rows& rows) {
    std::vector<std::uint8_t> bytes(rows.count() * index.sa_code_size());
    index.sa_encode(rows.signed_count(), rows.data(), bytes.data());
    std::vector<float> scores(queries.count() * rows.count());
    index.compressor()->score(
        {queries.data(), queries.count(), kDim},
        {reinterpret_cast<const std::byte*>(bytes.data()), rows.count(), index.sa_code_size()},
        false, {scores.data(), queries.count(), rows.count()});
    return scores;
}

TEST(ArfcIndex, AnswersSquaredDistancesAscendingAsBruteForceDoes) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    for (const std::string factory : {"ARFC12", "ARFC12/4", "ARFC12/6/3,IVF7"}) {
        const auto index = trained_index(factory, faiss::METRIC_L2, rows);
        EXPECT_FALSE(index->is_cosine());
        index->add(rows.signed_count(), rows.data());
        const SearchParametersARFC params = everything(*index);
        const Answer answer = search(*index, queries, 10, &params);
        const std::vector<float> scores = all_scores(*index, queries, rows);
        for (std::size_t q = 0; q < kM; ++q) {
            const auto expected =
                brute_force(std::span(scores).subspan(q * kN, kN), 10, [](auto) { return true; });
            for (std::size_t i = 0; i < 10; ++i) {
                ASSERT_EQ(answer.labels[q * 10 + i], static_cast<std::int64_t>(expected[i].row))
                    << factory;
                ASSERT_EQ(answer.distances[q * 10 + i], std::max(0.0F, -expected[i].score));
                ASSERT_TRUE(
                    i == 0 || answer.distances[q * 10 + i - 1] <= answer.distances[q * 10 + i]);
            }
        }
    }
}

TEST(ArfcIndex, AnswersInnerProductsDescendingAsBruteForceDoes) {
    for (const bool is_unit : {false, true}) {
        const Rows rows = is_unit ? unit_rows(kN, 1) : Rows(kN, 1);
        const Rows queries(kM, 2); // Of any length: scores scale with it.
        const auto index = trained_index("ARFC12/4,IVF5", faiss::METRIC_INNER_PRODUCT, rows);
        EXPECT_EQ(index->is_cosine(), is_unit);
        index->add(rows.signed_count(), rows.data());
        const SearchParametersARFC params = everything(*index);
        const Answer answer = search(*index, queries, 10, &params);
        const std::vector<float> scores = all_scores(*index, queries, rows);
        double error = 0;
        for (std::size_t q = 0; q < kM; ++q) {
            const auto expected =
                brute_force(std::span(scores).subspan(q * kN, kN), 10, [](auto) { return true; });
            const float scale = is_unit ? static_cast<float>(queries.length(q)) : 1.0F;
            for (std::size_t i = 0; i < 10; ++i) {
                const std::int64_t label = answer.labels[q * 10 + i];
                ASSERT_EQ(label, static_cast<std::int64_t>(expected[i].row));
                ASSERT_EQ(answer.distances[q * 10 + i], expected[i].score * scale);
                const double exact = queries.product(q, rows, static_cast<std::size_t>(label));
                error += std::fabs(answer.distances[q * 10 + i] - exact) / std::fabs(exact);
            }
        }
        EXPECT_LT(error / (10 * kM), 0.25)
            << "answers are inner products of the rows, approximately";
    }
}

TEST(ArfcIndex, RefusesRowsThatAreNotUnitWhereItRanksByCosine) {
    const Rows rows = unit_rows(kN, 1);
    const auto index = trained_index("ARFC12/4", faiss::METRIC_INNER_PRODUCT, rows);
    Rows mixed = unit_rows(5, 3);
    for (std::size_t j = 0; j < kDim; ++j) {
        mixed.values[3 * kDim + j] *= 1.01F;
    }
    ARFC_EXPECT_ERROR(
        index->add(5, mixed.data()), ErrorKind::kInvalidArgument, "L2-normalise this row");
    ARFC_EXPECT_ERROR(
        index->add(5, mixed.data()), ErrorKind::kInvalidArgument, "row and length: 3, 1.01");
    EXPECT_EQ(index->ntotal, 0);
    for (std::size_t j = 0; j < kDim; ++j) {
        mixed.values[3 * kDim + j] *= 0.9905F; // Within a thousandth of 1.
    }
    index->add(5, mixed.data());
    EXPECT_EQ(index->ntotal, 5);
    Rows first = unit_rows(kN, 1);
    first.values[0] += 0.5F;
    ARFC_EXPECT_ERROR(
        index->add(5, first.data()), ErrorKind::kInvalidArgument, "row and length: 0, ");
    ArfcIndex of_any(kDim, "ARFC4", faiss::METRIC_INNER_PRODUCT);
    of_any.train(kN, first.data());
    EXPECT_FALSE(of_any.is_cosine()) << "one row is no unit row";
}

TEST(ArfcIndex, AddsInPiecesAsAtOnce) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto whole = trained_index("ARFC12/6/3,IVF7", faiss::METRIC_L2, rows);
    const auto pieces = trained_index("ARFC12/6/3,IVF7", faiss::METRIC_L2, rows);
    whole->add(rows.signed_count(), rows.data());
    for (std::size_t first = 0; first < kN; first += 77) {
        pieces->add(
            static_cast<std::int64_t>(std::min<std::size_t>(77, kN - first)),
            rows.data() + first * kDim);
    }
    pieces->add(0, nullptr);
    EXPECT_EQ(search(*whole, queries, 9), search(*pieces, queries, 9));
}

TEST(ArfcIndex, AsksTheSelectorForTheCallersIds) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    for (const bool has_ids : {false, true}) {
        const auto index = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
        std::vector<std::int64_t> ids(kN);
        for (std::size_t i = 0; i < kN; ++i) {
            ids[i] = has_ids ? static_cast<std::int64_t>(1'000'000'000'000) +
                                   static_cast<std::int64_t>(3 * i)
                             : static_cast<std::int64_t>(i);
        }
        has_ids ? index->add_with_ids(kN, rows.data(), ids.data()) : index->add(kN, rows.data());
        faiss::IDSelectorRange range(ids[100], ids[150]);
        SearchParametersARFC all = everything(*index);
        all.sel = &range;
        const Answer answer = search(*index, queries, 60, &all);
        const std::vector<float> scores = all_scores(*index, queries, rows);
        for (std::size_t q = 0; q < kM; ++q) {
            const auto expected = brute_force(
                std::span(scores).subspan(q * kN, kN), 60,
                [](std::uint64_t row) { return row >= 100 && row < 150; });
            for (std::size_t i = 0; i < 60; ++i) {
                ASSERT_EQ(answer.labels[q * 60 + i], i < 50 ? ids[expected[i].row] : -1);
            }
        }
        faiss::SearchParameters plain; // Only `sel`.
        plain.sel = &range;
        for (const std::int64_t label : search(*index, queries, 5, &plain).labels) {
            EXPECT_TRUE(label == -1 || (label >= ids[100] && label < ids[150]));
        }
    }
}

TEST(ArfcIndex, TakesNprobeOfFaissParameters) {
    const Rows rows(kN, 1);
    const auto index = trained_index("ARFC12/4,IVF9", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    for (const std::size_t nprobe : {1, 9}) {
        faiss::SearchParametersIVF ivf;
        ivf.nprobe = nprobe;
        SearchParametersARFC arfc;
        arfc.nprobe = nprobe;
        EXPECT_EQ(search(*index, rows, 3, &ivf), search(*index, rows, 3, &arfc));
    }
    faiss::SearchParametersIVF limited;
    limited.max_codes = 10;
    ARFC_EXPECT_ERROR(
        (void)search(*index, rows, 3, &limited), ErrorKind::kUnsupported, "max_codes: 10");
    faiss::SearchParametersHNSW graph;
    ARFC_EXPECT_ERROR(
        (void)search(*index, rows, 3, &graph), ErrorKind::kUnsupported,
        "take SearchParametersARFC");
}

TEST(ArfcIndex, WalksThroughAGraph) {
    const Rows rows(5000, 1);
    const Rows sample(kN, 1);
    const Rows queries(kM, 2);
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        const auto index = trained_index("ARFC12/4,HNSW8", metric, sample);
        const auto scanned = trained_index("ARFC12/4", metric, sample);
        EXPECT_EQ(index->factory(), "ARFC12/4,HNSW8");
        index->add(rows.signed_count(), rows.data());
        scanned->add(rows.signed_count(), rows.data());
        SearchParametersARFC narrow;
        narrow.efSearch = 200;
        narrow.stages = {{4, 200}, {12, 0}};
        SearchParametersARFC same;
        same.stages = narrow.stages;
        const Answer found = search(*index, queries, 10, &narrow);
        const Answer truth = search(*scanned, queries, 10, &same);
        std::size_t hits = 0;
        for (std::size_t i = 0; i < truth.labels.size(); ++i) {
            hits += found.labels[i] == truth.labels[i] ? 1 : 0;
        }
        EXPECT_GE(hits, truth.labels.size() * 95 / 100);
        faiss::SearchParametersHNSW graph;
        graph.efSearch = 128;
        faiss::IDSelectorRange range(100, 2100);
        graph.sel = &range;
        for (const std::int64_t label : search(*index, queries, 10, &graph).labels) {
            EXPECT_TRUE(label >= 100 && label < 2100) << label;
        }
        graph.efSearch = -1;
        ARFC_EXPECT_ERROR(
            (void)search(*index, queries, 1, &graph), ErrorKind::kInvalidArgument,
            "efSearch is outside [1, 1000000]: 0");
        EXPECT_EQ(index->remove_ids(faiss::IDSelectorRange(0, 500)), 500U);
        EXPECT_EQ(index->ntotal, 4500);
        const Answer after = search(*index, queries, 10, &narrow);
        const test::TemporaryDirectory directory;
        write_index(*index, directory / "graph");
        const auto read = read_index(directory / "graph");
        EXPECT_EQ(search(*read, queries, 10, &narrow), after);
        index->reset();
        EXPECT_EQ(search(*index, queries, 1).labels, std::vector<std::int64_t>(kM, -1));
    }
}

TEST(ArfcIndex, PadsWhereThereAreFewerRows) {
    const Rows rows(kN, 1);
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        const auto index = trained_index("ARFC12/4", metric, rows);
        for (const std::size_t held : {0, 3}) {
            index->add(static_cast<std::int64_t>(held), rows.data());
            const Answer answer = search(*index, Rows(2, 5), 5);
            for (std::size_t q = 0; q < 2; ++q) {
                EXPECT_EQ(
                    std::set<std::int64_t>(
                        answer.labels.begin() + static_cast<std::ptrdiff_t>(q * 5),
                        answer.labels.begin() + static_cast<std::ptrdiff_t>(q * 5 + 5)),
                    held == 0 ? (std::set<std::int64_t>{-1})
                              : (std::set<std::int64_t>{-1, 0, 1, 2}));
                EXPECT_EQ(answer.labels[q * 5 + 4], -1);
                const float most = std::numeric_limits<float>::max(); // As FAISS pads.
                EXPECT_EQ(answer.distances[q * 5 + 4], metric == faiss::METRIC_L2 ? most : -most);
            }
        }
    }
}

TEST(ArfcIndex, RemovesRowsAsIndexFlatDoesWithoutIdsAndAsIndexIvfDoesWithThem) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto shifted = trained_index("ARFC12/6/3,IVF7", faiss::METRIC_L2, rows);
    shifted->add(kN, rows.data());
    const faiss::IDSelectorRange range(10, 510);
    EXPECT_EQ(shifted->remove_ids(range), 500U);
    EXPECT_EQ(shifted->ntotal, kN - 500);
    EXPECT_EQ(shifted->resident_bytes().ids, 0U);
    EXPECT_EQ(shifted->remove_ids(faiss::IDSelectorRange(5000, 6000)), 0U);
    Rows left(0, 0);
    left.values.assign(rows.values.begin(), rows.values.begin() + 10 * kDim);
    left.values.insert(left.values.end(), rows.values.begin() + 510 * kDim, rows.values.end());
    const auto fresh = trained_index("ARFC12/6/3,IVF7", faiss::METRIC_L2, rows);
    fresh->add(left.signed_count(), left.data());
    EXPECT_EQ(search(*shifted, queries, 20), search(*fresh, queries, 20));
    for (ArfcIndex* const index : {shifted.get(), fresh.get()}) { // Later rows follow those left.
        index->add(100, rows.data() + 10 * kDim);
    }
    EXPECT_EQ(search(*shifted, queries, 20), search(*fresh, queries, 20));
    fresh->remove_ids(faiss::IDSelectorRange(400, 500));

    const auto kept = trained_index("ARFC12/6/3,IVF7", faiss::METRIC_L2, rows);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = -static_cast<std::int64_t>(i); // Any value but -1 would be wiser; any value is
                                                // allowed.
    }
    kept->add_with_ids(kN, rows.data(), ids.data());
    EXPECT_EQ(kept->remove_ids(faiss::IDSelectorRange(-509, -9)), 500U);
    const Answer by_position = search(*fresh, queries, 20);
    const Answer by_id = search(*kept, queries, 20);
    EXPECT_EQ(by_id.distances, by_position.distances);
    for (std::size_t i = 0; i < by_id.labels.size(); ++i) {
        const std::int64_t position = by_position.labels[i];
        ASSERT_EQ(by_id.labels[i], position < 10 ? -position : -(position + 500));
    }
    const std::int64_t late = 77;
    kept->add_with_ids(1, rows.data() + 10 * kDim, &late);
    fresh->add(1, rows.data() + 10 * kDim);
    std::vector<float> added(kDim);
    std::vector<float> expected(kDim);
    kept->reconstruct(77, added.data());
    fresh->reconstruct(400, expected.data());
    EXPECT_EQ(added, expected);
}

TEST(ArfcIndex, ForgetsRowsAndIdsWhenReset) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto fresh = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    fresh->add(100, rows.data() + 30 * kDim);
    const auto used = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    std::vector<std::int64_t> ids(100);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i] = 9000 + static_cast<std::int64_t>(i);
    }
    used->add_with_ids(100, rows.data(), ids.data());
    used->reset();
    EXPECT_EQ(used->resident_bytes().ids, 0U);
    used->add(100, rows.data() + 30 * kDim);
    EXPECT_EQ(used->resident_bytes().ids, 0U) << "positions are no ids to keep";
    EXPECT_EQ(search(*used, queries, 9), search(*fresh, queries, 9));
    used->reset();
    used->add_with_ids(100, rows.data() + 30 * kDim, ids.data());
    Answer expected = search(*fresh, queries, 9);
    for (std::int64_t& label : expected.labels) {
        label += 9000;
    }
    EXPECT_EQ(search(*used, queries, 9), expected);
}

TEST(ArfcIndex, AddsMoreRowsThanItEncodesAtOnce) {
    constexpr std::size_t kMany = 16'500;
    const Rows sample(kN, 1);
    const Rows rows(kMany, 3);
    const auto whole = trained_index("ARFC12", faiss::METRIC_L2, sample);
    const auto halves = trained_index("ARFC12", faiss::METRIC_L2, sample);
    whole->add(kMany, rows.data());
    halves->add(kMany / 2, rows.data());
    halves->add(kMany / 2, rows.data() + kMany / 2 * kDim);
    std::vector<float> of_whole(kMany * kDim);
    std::vector<float> of_halves(kMany * kDim);
    whole->reconstruct_n(0, kMany, of_whole.data());
    halves->reconstruct_n(0, kMany, of_halves.data());
    EXPECT_EQ(of_whole, of_halves);
}

TEST(ArfcIndex, KeepsPositionsAsIdsOfRowsAddedBeforeOthersHadIds) {
    const Rows rows(kN, 1);
    const auto index = trained_index("ARFC12", faiss::METRIC_L2, rows);
    const std::vector<std::int64_t> ids = {700, 701};
    index->add(3, rows.data());
    index->add_with_ids(2, rows.data() + 3 * kDim, ids.data());
    index->add(1, rows.data() + 5 * kDim);
    const Answer answer = search(*index, Rows(1, 9), 6);
    EXPECT_EQ(
        std::set<std::int64_t>(answer.labels.begin(), answer.labels.end()),
        (std::set<std::int64_t>{0, 1, 2, 700, 701, 5}));
}

TEST(ArfcIndex, ReconstructsWhatTheWholeCodeSays) {
    const Rows rows(kN, 1);
    const auto index = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = static_cast<std::int64_t>(i) + 5000;
    }
    index->add_with_ids(kN, rows.data(), ids.data());
    std::vector<std::uint8_t> codes(kN * index->sa_code_size());
    index->sa_encode(kN, rows.data(), codes.data());
    std::vector<float> expected(kN * kDim);
    index->sa_decode(kN, codes.data(), expected.data());
    std::vector<float> row(kDim);
    for (const std::size_t i : {std::size_t{0}, std::size_t{444}, kN - 1}) {
        index->reconstruct(5000 + static_cast<std::int64_t>(i), row.data());
        EXPECT_TRUE(std::equal(
            row.begin(), row.end(), expected.begin() + static_cast<std::ptrdiff_t>(i * kDim)));
    }
    std::vector<float> some(3 * kDim);
    index->reconstruct_n(100, 3, some.data());
    EXPECT_TRUE(std::equal(some.begin(), some.end(), expected.begin() + 100 * kDim));
    ARFC_EXPECT_ERROR(
        index->reconstruct(4999, row.data()), ErrorKind::kNotFound, "no row of id: 4999");
    ARFC_EXPECT_ERROR(index->reconstruct(-1, row.data()), ErrorKind::kNotFound, "no row of id: -1");
    ARFC_EXPECT_ERROR(
        index->reconstruct_n(899, 2, some.data()), ErrorKind::kNotFound, "rows [0, 900)");
    ARFC_EXPECT_ERROR(
        index->reconstruct_n(-1, 1, some.data()), ErrorKind::kNotFound, "asked for [-1, -1 + 1)");
    ARFC_EXPECT_ERROR(
        index->reconstruct_n(0, -1, some.data()), ErrorKind::kNotFound, "asked for [0, 0 + -1)");
    index->reconstruct_n(900, 0, nullptr);
    const auto by_position = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    by_position->add(kN, rows.data());
    for (const std::size_t i : {std::size_t{0}, kN - 1}) {
        by_position->reconstruct(static_cast<std::int64_t>(i), row.data());
        EXPECT_TRUE(std::equal(
            row.begin(), row.end(), expected.begin() + static_cast<std::ptrdiff_t>(i * kDim)));
    }
    for (const std::int64_t absent : {-1, 900}) {
        ARFC_EXPECT_ERROR(
            by_position->reconstruct(absent, row.data()), ErrorKind::kNotFound,
            "no row of id: " + std::to_string(absent));
    }
    index->reset();
    ARFC_EXPECT_ERROR(index->reconstruct(5000, row.data()), ErrorKind::kNotFound, "5000");
}

TEST(ArfcIndex, ReconstructsManyByIdAndWhatASearchFinds) {
    const Rows rows(kN, 1);
    const Rows queries(4, 2);
    for (const std::string factory : {"ARFC12/4,IVF7", "ARFC12"}) {
        const auto index = trained_index(factory, faiss::METRIC_L2, rows);
        std::vector<std::int64_t> ids(kN);
        for (std::size_t i = 0; i < kN; ++i) {
            ids[i] = 3 * static_cast<std::int64_t>(i / 2); // Every id twice: the first row counts.
        }
        index->add_with_ids(kN, rows.data(), ids.data());
        std::vector<float> all(kN * kDim);
        index->reconstruct_n(0, kN, all.data());
        const std::vector<std::int64_t> keys = {600, 0, 600, 3};
        std::vector<float> some(keys.size() * kDim);
        index->reconstruct_batch(4, keys.data(), some.data());
        std::vector<float> residuals(keys.size() * kDim);
        index->compute_residual_n(4, rows.data(), residuals.data(), keys.data());
        for (std::size_t i = 0; i < keys.size(); ++i) {
            const auto row = static_cast<std::size_t>(keys[i] / 3 * 2);
            for (std::size_t c = 0; c < kDim; ++c) {
                ASSERT_EQ(some[i * kDim + c], all[row * kDim + c]);
                ASSERT_EQ(residuals[i * kDim + c], rows.values[i * kDim + c] - all[row * kDim + c]);
            }
        }
        const std::int64_t absent = 601;
        ARFC_EXPECT_ERROR(
            index->reconstruct_batch(1, &absent, some.data()), ErrorKind::kNotFound,
            "no row of id: 601");
        ARFC_EXPECT_ERROR(
            index->compute_residual_n(1, rows.data(), residuals.data(), &absent),
            ErrorKind::kNotFound, "no row of id: 601");

        faiss::IDSelectorRange few(0, 6); // Four rows.
        SearchParametersARFC params = everything(*index);
        params.sel = &few;
        std::vector<float> distances(4 * 6);
        std::vector<std::int64_t> labels(4 * 6);
        std::vector<float> recons(4 * 6 * kDim);
        index->search_and_reconstruct(
            4, queries.data(), 6, distances.data(), labels.data(), recons.data(), &params);
        const Answer plain = search(*index, queries, 6, &params);
        EXPECT_EQ(plain.labels, labels);
        EXPECT_EQ(plain.distances, distances);
        for (std::size_t i = 0; i < labels.size(); ++i) {
            double distance = 0;
            for (std::size_t c = 0; c < kDim; ++c) {
                const double difference =
                    double{recons[i * kDim + c]} - double{queries.values[i / 6 * kDim + c]};
                distance += difference * difference;
            }
            // Two rows have one id: the reconstruction is of the row that was found.
            if (labels[i] == -1) {
                EXPECT_TRUE(std::isnan(distance));
            } else {
                EXPECT_NEAR(distance, distances[i], 1e-3 * distance);
            }
        }
    }
}

TEST(ArfcIndex, MergesRowsOfTheSameModel) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto whole = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    whole->add(kN, rows.data());
    const auto left = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    const auto right = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    left->add(400, rows.data());
    right->add(kN - 400, rows.data() + 400 * kDim);
    left->merge_from(*right, left->ntotal);
    EXPECT_EQ(left->ntotal, static_cast<std::int64_t>(kN));
    EXPECT_EQ(right->ntotal, 0);
    EXPECT_TRUE(right->is_trained);
    EXPECT_EQ(search(*left, queries, 9), search(*whole, queries, 9));
    left->merge_from(*right);
    EXPECT_EQ(left->ntotal, static_cast<std::int64_t>(kN)) << "the other was empty";

    const std::vector<std::int64_t> ids = {5000, 5001};
    right->add_with_ids(2, rows.data(), ids.data());
    left->merge_from(*right, 10);
    std::vector<float> first(kDim);
    std::vector<float> moved(kDim);
    left->reconstruct(0, first.data());
    left->reconstruct(5010, moved.data());
    EXPECT_EQ(first, moved);
    left->reconstruct(static_cast<std::int64_t>(kN) - 1, moved.data()); // Positions stay as ids.
    right->add(1, rows.data());
    left->merge_from(*right, 7777);
    left->reconstruct(7777, moved.data());
    EXPECT_EQ(first, moved);
}

/// Proofs need what add() measures of rows; it goes with them through merges and files.
TEST(ArfcIndex, KeepsErrorRadiiOfRowsThatMove) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        const auto whole = trained_index("ARFC12/4_R,IVF7", metric, rows);
        const auto left = trained_index("ARFC12/4_R,IVF7", metric, rows);
        const auto right = trained_index("ARFC12/4_R,IVF7", metric, rows);
        EXPECT_TRUE(whole->keeps_error_radii());
        whole->add(kN, rows.data());
        left->add(400, rows.data());
        right->add(kN - 400, rows.data() + 400 * kDim);
        left->merge_from(*right);
        const std::size_t radii = whole->resident_bytes().radii;
        EXPECT_GE(radii, kN * 4);
        EXPECT_EQ(left->resident_bytes().radii, radii);
        const test::TemporaryDirectory directory;
        write_index(*whole, directory / "index");
        const auto read = read_index(directory / "index");
        SearchParametersARFC params;
        std::vector<Certainty> certainty;
        params.certainty = &certainty;
        EXPECT_EQ(search(*whole, queries, 9, &params), search(*whole, queries, 9));
        EXPECT_EQ(certainty, std::vector<Certainty>(kM, Certainty::kNone)) << "nothing was asked";
        params.until = Until{};
        const Answer answer = search(*whole, queries, 9, &params);
        EXPECT_GE(std::ranges::min(certainty), Certainty::kCodes);
        SearchParametersARFC all;
        all.nprobe = 7;
        all.stages = {{4, kN}, {12, 0}};
        EXPECT_EQ(answer, search(*whole, queries, 9, &all));
        const std::vector<Certainty> expected = certainty;
        for (const faiss::Index* const other :
             {static_cast<faiss::Index*>(left.get()), read.get()}) {
            EXPECT_EQ(search(*other, queries, 9, &params), answer);
            EXPECT_EQ(certainty, expected);
        }
        // Settings on the index are for searches that do not say when to stop.
        whole->search_defaults.nprobe = 1;
        whole->search_defaults.limits[4] = 9;
        EXPECT_EQ(search(*whole, queries, 9, &params), answer);
        params.nprobe = 2;
        ARFC_EXPECT_ERROR(
            search(*whole, queries, 9, &params), ErrorKind::kInvalidArgument, "takes no stages");
    }
    ArfcIndex untrained(static_cast<int>(kDim), "ARFC12/4_R", faiss::METRIC_L2);
    SearchParametersARFC params;
    params.until = Until{};
    ARFC_EXPECT_ERROR(
        search(untrained, queries, 9, &params), ErrorKind::kFailedPrecondition, "not trained");
}

TEST(ArfcIndex, LinksMergedRowsIntoItsGraph) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto whole = trained_index("ARFC12,HNSW2", faiss::METRIC_L2, rows);
    const auto left = trained_index("ARFC12,HNSW2", faiss::METRIC_L2, rows);
    const auto right = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    for (ArfcIndex* const index : {whole.get(), left.get()}) {
        index->add(400, rows.data());
    }
    whole->add(kN - 400, rows.data() + 400 * kDim);
    right->add(kN - 400, rows.data() + 400 * kDim);
    left->merge_from(*right);
    SearchParametersARFC walk;
    walk.efSearch = 10;
    EXPECT_EQ(search(*left, queries, 9, &walk), search(*whole, queries, 9, &walk));
    EXPECT_NE(search(*left, queries, 9, &walk), search(*left, queries, 9)) << "walks find less";
}

TEST(ArfcIndex, MergesNothingElse) {
    const Rows rows(kN, 1);
    const auto index = trained_index("ARFC12/4", faiss::METRIC_L2, rows);
    const auto of_product = trained_index("ARFC12/4", faiss::METRIC_INNER_PRODUCT, rows);
    const auto longer = trained_index("ARFC24/8,IVF8", faiss::METRIC_L2, rows);
    const auto of_others = trained_index("ARFC12/4", faiss::METRIC_L2, Rows(kN, 5));
    ArfcIndex untrained(kDim, "ARFC12/4", faiss::METRIC_L2);
    faiss::IndexFlatL2 flat(kDim);
    index->add(10, rows.data());
    ARFC_EXPECT_ERROR(
        index->merge_from(*of_product), ErrorKind::kInvalidArgument, "do not share a model");
    ARFC_EXPECT_ERROR(
        index->merge_from(*of_others), ErrorKind::kInvalidArgument, "do not share a model");
    ARFC_EXPECT_ERROR(
        index->merge_from(*longer), ErrorKind::kInvalidArgument, "code lengths: 24, expected 12");
    ARFC_EXPECT_ERROR(index->merge_from(untrained), ErrorKind::kFailedPrecondition, "not trained");
    ARFC_EXPECT_ERROR(index->merge_from(flat), ErrorKind::kInvalidArgument, "not of another kind");
    ARFC_EXPECT_ERROR(index->merge_from(*index), ErrorKind::kInvalidArgument, "not of itself");
    const auto copy = trained_index("ARFC12/4", faiss::METRIC_L2, rows);
    copy->add(5, rows.data());
    ARFC_EXPECT_ERROR(
        index->merge_from(*copy, 3), ErrorKind::kInvalidArgument, "3, expected 0 or 10");
    EXPECT_EQ(index->ntotal, 10);
    EXPECT_EQ(copy->ntotal, 5);
    ARFC_EXPECT_ERROR(
        (void)index->get_distance_computer(), ErrorKind::kUnsupported, "DistanceComputer");
}

TEST(ArfcIndex, FindsNeighboursOfTheOriginals) {
    const Rows rows(kN, 1);
    const Rows queries(100, 2);
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        const auto index = trained_index("ARFC24/8,IVF8", metric, rows);
        index->add(kN, rows.data());
        const Answer answer = search(*index, queries, 10);
        std::size_t found = 0;
        for (std::size_t q = 0; q < 100; ++q) {
            std::vector<float> exact(kN);
            for (std::size_t i = 0; i < kN; ++i) {
                exact[i] = static_cast<float>(
                    metric == faiss::METRIC_L2 ? -queries.distance(q, rows, i)
                                               : queries.product(q, rows, i));
            }
            for (const auto& hit : brute_force(exact, 10, [](auto) { return true; })) {
                const auto begin = answer.labels.begin() + static_cast<std::ptrdiff_t>(q * 10);
                found += static_cast<std::size_t>(
                    std::count(begin, begin + 10, static_cast<std::int64_t>(hit.row)));
            }
        }
        EXPECT_GE(static_cast<double>(found) / 1000, 0.7) << "recall@10 of 24 bytes for 24 floats";
    }
}

TEST(ArfcIndex, RefusesWhatIsNotInOrder) {
    const Rows rows(kN, 1);
    ArfcIndex index(kDim, "ARFC12/4,IVF7", faiss::METRIC_L2);
    float distance = 0;
    std::int64_t label = 0;
    ARFC_EXPECT_ERROR(index.add(1, rows.data()), ErrorKind::kFailedPrecondition, "not trained");
    ARFC_EXPECT_ERROR(
        index.search(1, rows.data(), 1, &distance, &label), ErrorKind::kFailedPrecondition,
        "not trained");
    ARFC_EXPECT_ERROR((void)index.default_nprobe(), ErrorKind::kFailedPrecondition, "not trained");
    ARFC_EXPECT_ERROR(
        index.train(0, nullptr), ErrorKind::kInvalidArgument, "too few: 0, expected at least 7");
    ARFC_EXPECT_ERROR(
        index.train(6, rows.data()), ErrorKind::kInvalidArgument,
        "too few: 6, expected at least 7");
    EXPECT_FALSE(index.is_trained);
    EXPECT_EQ(index.resident_bytes().model, 0U);
    ArfcIndex plain(kDim, "ARFC12", faiss::METRIC_L2);
    ARFC_EXPECT_ERROR(
        plain.train(0, nullptr), ErrorKind::kInvalidArgument, "too few: 0, expected at least 1");
    index.reset();
    EXPECT_EQ(index.remove_ids(faiss::IDSelectorRange(0, 10)), 0U);

    const auto trained = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    trained->add(kN, rows.data());
    ARFC_EXPECT_ERROR(
        trained->train(kN, rows.data()), ErrorKind::kFailedPrecondition,
        "call reset() first; rows: 900");
    ARFC_EXPECT_ERROR(trained->add(-1, rows.data()), ErrorKind::kInvalidArgument, "negative: -1");
    for (const std::int64_t k : {0, -1}) {
        ARFC_EXPECT_ERROR(
            trained->search(1, rows.data(), k, &distance, &label), ErrorKind::kInvalidArgument,
            "Number of answers is outside [1, 2147483647]: 0");
    }
    const auto of_one = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    of_one->add(1, rows.data());
    ARFC_EXPECT_ERROR(
        of_one->train(kN, rows.data()), ErrorKind::kFailedPrecondition, "first; rows: 1");
    Rows bad(3, 4);
    bad.values[kDim + 1] = INFINITY;
    const Answer before = search(*trained, Rows(4, 8), 5);
    ARFC_EXPECT_ERROR(trained->add(3, bad.data()), ErrorKind::kInvalidArgument, "not finite");
    ARFC_EXPECT_ERROR((void)search(*trained, bad, 5), ErrorKind::kInvalidArgument, "not finite");
    EXPECT_EQ(trained->ntotal, kN);
    EXPECT_EQ(search(*trained, Rows(4, 8), 5), before) << "a refused add() left something behind";
    ARFC_EXPECT_ERROR(
        ArfcIndex(kDim, "ARFC12", faiss::METRIC_L1), ErrorKind::kUnsupported,
        "METRIC_INNER_PRODUCT and METRIC_L2");
    ARFC_EXPECT_ERROR(
        ArfcIndex(kDim, "IDMap2,ARFC12", faiss::METRIC_L2), ErrorKind::kInvalidArgument,
        "index_factory()");
    ARFC_EXPECT_ERROR(
        ArfcIndex(0, "ARFC12", faiss::METRIC_L2), ErrorKind::kInvalidArgument, "width is outside");
}

TEST(ArfcIndex, TrainsAsItIsTold) {
    const Rows rows(kN, 1);
    const auto trained = [&](const auto& change) {
        auto index = std::make_unique<ArfcIndex>(kDim, "ARFC6/3", faiss::METRIC_L2);
        change(index->train_options);
        index->train(kN, rows.data());
        return index;
    };
    const auto plain = trained([](auto&) {});
    EXPECT_FALSE(plain->compressor()->report().stopped_by_budget);
    EXPECT_EQ(trained([](auto&) {})->compressor()->id(), plain->compressor()->id());
    EXPECT_NE(
        trained([](auto& options) { options.seed = 1; })->compressor()->id(),
        plain->compressor()->id());
    EXPECT_TRUE(trained([](auto& options) { options.time_budget_s = 1e-9; })
                    ->compressor()
                    ->report()
                    .stopped_by_budget);
    std::set<std::string> stages;
    (void)trained([&](auto& options) {
        options.progress = [&](const Progress& progress) {
            stages.emplace(progress.stage);
            return true;
        };
    });
    EXPECT_TRUE(stages.contains("defaults"));
    EXPECT_GT(stages.size(), 1U) << "the model's own stages";
    ARFC_EXPECT_ERROR(
        (void)trained([](auto& options) { options.device = "cuda:1000"; }), ErrorKind::kUnsupported,
        "cuda:1000");
}

TEST(ArfcIndex, TakesAModelThatWasTrainedBefore) {
    const test::TrainedModel& given = test::trained_model(Metric::kL2);
    const test::TemporaryDirectory folder;
    given.compressor->save(folder.path() / "model");
    const auto trained = [&](const char* description, faiss::MetricType metric, int width) {
        auto index = std::make_unique<ArfcIndex>(width, description, metric);
        index->train_options.model = folder.path() / "model";
        index->train(kN * kDim / width, given.rows.data());
        return index;
    };
    // Shorter codes than the model's: their beginnings.
    const auto index = trained("ARFC6/3,IVF5", faiss::METRIC_L2, kDim);
    EXPECT_EQ(index->compressor()->id(), given.compressor->id());
    std::vector<std::uint8_t> codes(6);
    index->sa_encode(1, given.rows.data(), codes.data());
    EXPECT_TRUE(std::equal(
        codes.begin(), codes.end(), given.codes.begin(),
        [](std::uint8_t a, std::byte b) { return a == std::to_integer<std::uint8_t>(b); }));

    ARFC_EXPECT_ERROR(
        (void)trained("ARFC13", faiss::METRIC_L2, kDim), ErrorKind::kInvalidArgument,
        "24, l2, 12, expected 24, l2, at least 13");
    ARFC_EXPECT_ERROR(
        (void)trained("ARFC12", faiss::METRIC_INNER_PRODUCT, kDim), ErrorKind::kInvalidArgument,
        "expected 24, ip");
    ARFC_EXPECT_ERROR(
        (void)trained("ARFC12", faiss::METRIC_L2, kDim / 2), ErrorKind::kInvalidArgument,
        "expected 12, l2");
    ArfcIndex missing(kDim, "ARFC12", faiss::METRIC_L2);
    missing.train_options.model = folder.path() / "nowhere";
    ARFC_EXPECT_ERROR(missing.train(kN, given.rows.data()), ErrorKind::kNotFound, "nowhere");
    EXPECT_FALSE(missing.is_trained);
}

TEST(ArfcIndex, PutsRowsIntoAsManyListsAsItIsTold) {
    const Rows rows(kN, 1);
    const auto bytes = [&](std::size_t lists) {
        ArfcIndex index(kDim, "ARFC6/3,IVF7", faiss::METRIC_L2);
        index.train_options.lists_per_row = lists;
        index.train(kN, rows.data());
        index.add(kN, rows.data());
        return index.resident_bytes();
    };
    const ArfcIndex::Bytes once = bytes(1);
    const ArfcIndex::Bytes twice = bytes(2);
    EXPECT_EQ(once.codes, kN * 6);
    EXPECT_EQ(
        twice.codes + twice.terms + twice.lists - once.codes - once.terms - once.lists,
        kN * (3 + 1 + 4));
    ARFC_EXPECT_ERROR(
        (void)bytes(4), ErrorKind::kInvalidArgument, "Lists a row are outside [0, 3]: 4");
}

TEST(ArfcIndex, RefusesACoarsePartOfAnotherMetricBeforeItTrains) {
    const Rows rows(kN, 1); // Of any length, so that inner products are asked for.
    ArfcIndex index(kDim, "ARFC12/8,LSH", faiss::METRIC_INNER_PRODUCT);
    index.train_options.progress = [](const Progress&) -> bool {
        ADD_FAILURE() << "it trained";
        return false;
    };
    ARFC_EXPECT_ERROR(
        index.train(kN, rows.data()), ErrorKind::kUnsupported,
        "FAISS has no such index for the metric ip: \"LSH\"");
    EXPECT_FALSE(index.is_trained);
}

TEST(ArfcIndex, SaysWhatItHolds) {
    const Rows rows(kN, 1);
    const auto index = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    EXPECT_EQ(index->factory(), "ARFC12/4,IVF7");
    EXPECT_EQ(index->nlist(), 7U);
    EXPECT_EQ(index->sa_code_size(), 12U);
    const std::vector<std::int64_t> ids(kN, 3);
    index->add_with_ids(kN, rows.data(), ids.data());
    const ArfcIndex::Bytes bytes = index->resident_bytes();
    EXPECT_EQ(bytes.codes, kN * 12);
    EXPECT_EQ(bytes.terms, kN * 5);
    EXPECT_EQ(bytes.lists, kN * 4 + (kN + 7) / 8 + 7 * kDim * 4);
    EXPECT_EQ(bytes.ids, kN * 8);
    EXPECT_EQ(bytes.model, index->compressor()->model_bytes());
    index->reset();
    EXPECT_EQ(index->resident_bytes().codes, 0U);
    EXPECT_TRUE(index->is_trained);
    const auto graph = trained_index("ARFC12,HNSW2", faiss::METRIC_L2, rows);
    graph->add(kN, rows.data());
    EXPECT_EQ(graph->resident_bytes().codes, kN * 12);
    EXPECT_EQ(graph->resident_bytes().terms, kN * 4);
    EXPECT_GE(graph->resident_bytes().lists, kN * 4 * sizeof(std::uint32_t) + kN / 8);
    EXPECT_LE(graph->resident_bytes().lists, kN * 100 + 12 * 256 * kDim * 4);
    EXPECT_EQ(graph->resident_bytes().ids, 0U);
}

} // namespace
} // namespace arfc
