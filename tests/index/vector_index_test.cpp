#include "arfc/index/vector_index.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include "expect_error.h"
#include "random_rows.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

using test::random_rows;
using test::view;

constexpr std::size_t kWidth = 24;
constexpr std::size_t kN = 400;

struct Answer {
    std::vector<float> distances;
    std::vector<std::int64_t> labels;
    bool operator==(const Answer&) const = default;
};

Answer search(
    const VectorIndex& index, MatrixView<const float> queries, std::size_t k,
    const VectorSearchParameters& parameters = {}) {
    Answer answer{
        std::vector<float>(queries.rows() * k), std::vector<std::int64_t>(queries.rows() * k)};
    index.search(
        queries, k, parameters, {answer.distances.data(), queries.rows(), k},
        {answer.labels.data(), queries.rows(), k});
    return answer;
}

class VectorIndexOf : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(
    Factories, VectorIndexOf,
    testing::Values(
        "ARFC8", "ARFC12/4,IVF5", "ARFC12/4,HNSW4", "ARFC12/4,NSG4", "IDMap2,ARFC12/4", "Flat",
        "IVF4,Flat", "IDMap2,Flat"),
    [](const auto& instance) {
        std::string name = instance.param;
        std::erase_if(name, [](char letter) { return std::isalnum(letter) == 0; });
        return name;
    });

TEST_P(VectorIndexOf, DoesWhatADoorNeeds) {
    const std::string& factory = GetParam();
    const bool has_map = factory.starts_with("IDMap");
    const bool has_ids = has_map || factory.find("IVF") != std::string::npos;
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto index = VectorIndex::create(kWidth, factory, Metric::kL2);
    EXPECT_EQ(index->dim(), kWidth);
    EXPECT_EQ(index->factory(), factory);
    EXPECT_EQ(index->metric(), Metric::kL2);
    index->train(view(rows, kWidth));
    EXPECT_TRUE(index->is_trained());
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = static_cast<std::int64_t>(has_ids ? 2 * i + 9 : i);
    }
    has_ids ? index->add_with_ids(view(rows, kWidth), ids) : index->add(view(rows, kWidth));
    EXPECT_EQ(index->ntotal(), kN);
    const Answer all = search(*index, view(rows, kWidth), 1);
    std::size_t own = 0;
    for (std::size_t i = 0; i < kN; ++i) {
        own += all.labels[i] == ids[i] ? 1 : 0;
    }
    EXPECT_GE(own, kN * 8 / 10) << "rows find themselves";
    VectorSearchParameters some;
    some.allowed_ids = {ids[5], ids[6], 1'000'000};
    for (const std::int64_t label : search(*index, view(rows, kWidth), 3, some).labels) {
        EXPECT_TRUE(label == -1 || label == ids[5] || label == ids[6]);
    }
    some.allowed_ids = std::vector<std::int64_t>();
    const Answer none = search(*index, view(rows, kWidth).slice(0, 2), 2, some);
    EXPECT_EQ(none.labels, std::vector<std::int64_t>(4, -1));

    const test::TemporaryDirectory directory;
    index->write(directory / "index");
    const auto read = VectorIndex::read(directory / "index");
    EXPECT_EQ(search(*read, view(rows, kWidth), 4), search(*index, view(rows, kWidth), 4));
    EXPECT_EQ(read->factory(), factory);
    EXPECT_EQ(index->remove_ids(std::vector<std::int64_t>{ids[1], ids[2], 1'000'000}), 2U);
    EXPECT_EQ(index->ntotal(), kN - 2);
    index->reset();
    EXPECT_EQ(index->ntotal(), 0U);
}

TEST(VectorIndex, PassesTrainingOptionsThroughAnIdMap) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto index = VectorIndex::create(kWidth, "IDMap2,ARFC12/4,IVF5", Metric::kInnerProduct);
    std::set<std::string> stages;
    index->train(view(rows, kWidth), {.progress = [&](const Progress& progress) {
                     stages.emplace(progress.stage);
                     return true;
                 }});
    EXPECT_TRUE(stages.contains("lists"));
    EXPECT_TRUE(stages.contains("defaults"));
    EXPECT_GT(stages.size(), 2U) << "the model's own stages";
    const auto other = VectorIndex::create(kWidth, "IDMap2,ARFC12/4,IVF5", Metric::kInnerProduct);
    ARFC_EXPECT_ERROR(
        other->train(view(rows, kWidth), {.progress = [](const Progress&) { return false; }}),
        ErrorKind::kCancelled, "cancelled");
    EXPECT_FALSE(other->is_trained());
    ARFC_EXPECT_ERROR(
        other->train(view(rows, kWidth), {.device = "tpu"}), ErrorKind::kInvalidArgument, "tpu");
}

TEST(VectorIndex, FindsRangesWhereFaissDoes) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto flat = VectorIndex::create(kWidth, "Flat", Metric::kL2);
    flat->add(view(rows, kWidth));
    const auto answer = flat->range_search(view(rows, kWidth).slice(0, 3), 1e-3F, {});
    ASSERT_EQ(answer.offsets.size(), 4U);
    for (std::size_t q = 0; q < 3; ++q) {
        const auto begin = answer.labels.begin() + static_cast<std::ptrdiff_t>(answer.offsets[q]);
        const auto end = answer.labels.begin() + static_cast<std::ptrdiff_t>(answer.offsets[q + 1]);
        EXPECT_NE(std::find(begin, end, static_cast<std::int64_t>(q)), end);
    }
    const auto arfc = VectorIndex::create(kWidth, "ARFC8", Metric::kL2);
    arfc->train(view(rows, kWidth));
    arfc->add(view(rows, kWidth));
    const auto all = arfc->range_search(view(rows, kWidth).slice(0, 2), 1e9F, {});
    EXPECT_EQ(all.offsets, (std::vector<std::size_t>{0, kN, 2 * kN}));
    for (const VectorIndex* const index : {flat.get(), arfc.get()}) {
        ARFC_EXPECT_ERROR(
            (void)index->range_search(view(rows, kWidth), NAN, {}), ErrorKind::kInvalidArgument,
            "Radius is not a number: nan");
    }
    const auto graph = VectorIndex::create(kWidth, "NSG8", Metric::kL2);
    graph->add(view(rows, kWidth));
    ARFC_EXPECT_ERROR(
        (void)graph->range_search(view(rows, kWidth), 1.0F, {}), ErrorKind::kUnsupported,
        "does not offer range_search");
}

TEST(VectorIndex, ReconstructsByIdAndByPosition) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto all = view(rows, kWidth);
    const auto row = [&](std::size_t i) {
        return std::vector<float>(all.row(i).begin(), all.row(i).end());
    };
    const auto flat = VectorIndex::create(kWidth, "Flat", Metric::kL2);
    flat->add(all);
    const auto mapped = VectorIndex::create(kWidth, "IDMap2,Flat", Metric::kL2);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 5000 - 3 * static_cast<std::int64_t>(i);
    }
    mapped->add_with_ids(all, ids);
    EXPECT_EQ(flat->reconstruct(0), row(0));
    EXPECT_EQ(flat->reconstruct(kN - 1), row(kN - 1));
    EXPECT_EQ(mapped->reconstruct(ids[7]), row(7));
    const std::vector<std::int64_t> places = {9, 2, 9};
    std::vector<float> expected;
    for (const std::int64_t place : places) {
        const std::vector<float> one = row(static_cast<std::size_t>(place));
        expected.insert(expected.end(), one.begin(), one.end());
    }
    EXPECT_EQ(flat->reconstruct(places), expected);
    EXPECT_EQ(mapped->reconstruct(std::vector<std::int64_t>{ids[9], ids[2], ids[9]}), expected);
    for (const std::int64_t absent : {std::int64_t{-1}, std::int64_t{kN}}) {
        ARFC_EXPECT_ERROR(
            (void)flat->reconstruct(absent), ErrorKind::kNotFound,
            "Index holds no row of id: " + std::to_string(absent));
    }
    ARFC_EXPECT_ERROR((void)mapped->reconstruct(1), ErrorKind::kNotFound, "1");
    EXPECT_EQ(
        flat->reconstruct_rows(3, 2),
        std::vector<float>(rows.begin() + 3 * kWidth, rows.begin() + 5 * kWidth));
    EXPECT_EQ(flat->reconstruct_rows(0, kN), rows);
    EXPECT_TRUE(flat->reconstruct_rows(kN, 0).empty());
    ARFC_EXPECT_ERROR(
        (void)flat->reconstruct_rows(kN + 1, 0), ErrorKind::kNotFound,
        "rows [0, 400), asked for [401, 401 + 0)");
    ARFC_EXPECT_ERROR((void)flat->reconstruct_rows(399, 2), ErrorKind::kNotFound, "[399, 399 + 2)");

    const auto arfc = VectorIndex::create(kWidth, "ARFC4/2", Metric::kL2);
    arfc->train(all);
    arfc->add(all);
    const std::vector<float> both = arfc->reconstruct(std::vector<std::int64_t>{3, 4});
    EXPECT_EQ(arfc->reconstruct_rows(3, 2), both);
    EXPECT_EQ(arfc->reconstruct(4), std::vector<float>(both.begin() + kWidth, both.end()));
}

TEST(VectorIndex, EncodesDecodesAndAnswersWithReconstructions) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto all = view(rows, kWidth);
    for (const std::string factory : {"ARFC4/2", "SQ8"}) {
        const auto index = VectorIndex::create(kWidth, factory, Metric::kL2);
        std::vector<std::byte> codes(kN * kWidth);
        ARFC_EXPECT_ERROR(
            index->encode(all, {codes.data(), kN, kWidth}), ErrorKind::kFailedPrecondition,
            "not trained");
        index->train(all);
        index->add(all);
        const std::size_t size = index->code_size();
        EXPECT_EQ(size, factory == "SQ8" ? kWidth : 4);
        codes.resize(kN * size);
        index->encode(all, {codes.data(), kN, size});
        std::vector<float> decoded(rows.size());
        index->decode({codes.data(), kN, size}, {decoded.data(), kN, kWidth});
        EXPECT_EQ(decoded, index->reconstruct_rows(0, kN)) << factory;
        ARFC_EXPECT_ERROR(
            index->encode(all, {codes.data(), kN, size - 1}), ErrorKind::kInvalidArgument,
            "Codes have a shape other than [n, code size]: [400, ");
        ARFC_EXPECT_ERROR(
            index->decode({codes.data(), kN - 1, size}, {decoded.data(), kN, kWidth}),
            ErrorKind::kInvalidArgument, "[399, ");

        constexpr std::size_t kK = 3;
        std::vector<float> distances(2 * kK);
        std::vector<std::int64_t> labels(2 * kK);
        std::vector<float> found(2 * kK * kWidth);
        const auto ask = [&](std::size_t k, std::size_t width) {
            index->search_and_reconstruct(
                all.slice(0, 2), k, {}, {distances.data(), 2, k}, {labels.data(), 2, k},
                {found.data(), 2, width});
        };
        ask(kK, kK * kWidth);
        const Answer plain = search(*index, all.slice(0, 2), kK);
        EXPECT_EQ(distances, plain.distances);
        EXPECT_EQ(labels, plain.labels);
        EXPECT_EQ(found, index->reconstruct(labels));
        ARFC_EXPECT_ERROR(
            ask(kK, kK * kWidth - 1), ErrorKind::kInvalidArgument,
            "shape other than [m, k * dim]: [2, 71], expected [2, 72]");
        ARFC_EXPECT_ERROR(ask(0, 0), ErrorKind::kInvalidArgument, "[m, k >= 1]");
        ARFC_EXPECT_ERROR(
            index->search_and_reconstruct(
                all.slice(0, 2), kK, {}, {distances.data(), 2, kK}, {labels.data(), 2, kK},
                {found.data(), 1, kK * kWidth}),
            ErrorKind::kInvalidArgument, "[1, 72], expected [2, 72]");
    }
}

TEST(VectorIndex, MergesWhatIsAlike) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto all = view(rows, kWidth);
    const auto made = [&](const std::string& factory, std::size_t first, std::size_t count) {
        auto index = VectorIndex::create(kWidth, factory, Metric::kL2);
        index->train(all);
        index->add(all.slice(first, count));
        return index;
    };
    const auto left = made("IVF4,Flat", 0, 300);
    const auto right = made("IVF4,Flat", 300, 100);
    left->merge_from(*right, 300);
    EXPECT_EQ(left->ntotal(), kN);
    EXPECT_EQ(right->ntotal(), 0U);
    EXPECT_EQ(search(*left, all, 2), search(*made("IVF4,Flat", 0, kN), all, 2));
    ARFC_EXPECT_ERROR(
        left->merge_from(*left, 0), ErrorKind::kInvalidArgument, "not of itself; rows: 400");
    ARFC_EXPECT_ERROR(
        left->merge_from(*made("Flat", 0, 1), 0), ErrorKind::kInvalidArgument,
        "Indexes cannot be merged");
    EXPECT_EQ(left->reverse_factory(), "IVF4,Flat");
}

TEST(VectorIndex, PassesParametersOnToIndexesOfFaiss) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto all = view(rows, kWidth);
    for (const std::string prefix : {"", "IDMap2,"}) {
        std::vector<std::int64_t> ids(kN);
        std::iota(ids.begin(), ids.end(), 0);
        const auto lists = VectorIndex::create(kWidth, prefix + "IVF8,Flat", Metric::kL2);
        lists->train(all);
        lists->add_with_ids(all, ids);
        const Answer narrow = search(*lists, all, 10);
        EXPECT_EQ(search(*lists, all, 10, {.nprobe = 1}), narrow) << "FAISS's own default";
        const Answer wide = search(*lists, all, 10, {.nprobe = 8});
        EXPECT_NE(wide, narrow);
        const auto flat = VectorIndex::create(kWidth, "Flat", Metric::kL2);
        flat->add(all);
        EXPECT_EQ(wide.labels, search(*flat, all, 10).labels);
        EXPECT_EQ(
            search(*lists, all, 1, {.nprobe = 8, .allowed_ids = std::vector<std::int64_t>{17}})
                .labels,
            std::vector<std::int64_t>(kN, 17));
        ARFC_EXPECT_ERROR(
            (void)search(*lists, all, 1, {.ef_search = 5}), ErrorKind::kUnsupported,
            "no graph, so efSearch cannot be chosen: 5");

        const auto graph = VectorIndex::create(kWidth, prefix + "HNSW4", Metric::kL2);
        prefix.empty() ? graph->add(all) : graph->add_with_ids(all, ids);
        EXPECT_NE(
            search(*graph, all, 10, {.ef_search = 10}),
            search(*graph, all, 10, {.ef_search = 400}));
        ARFC_EXPECT_ERROR(
            (void)search(*graph, all, 1, {.nprobe = 5}), ErrorKind::kUnsupported,
            "no inverted lists, so nprobe cannot be chosen");
    }
}

TEST(VectorIndex, PassesParametersOnToArfcIndexes) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto all = view(rows, kWidth);
    const auto lists = VectorIndex::create(kWidth, "IDMap2,ARFC12/4,IVF5", Metric::kL2);
    lists->train(all);
    std::vector<std::int64_t> ids(kN);
    std::iota(ids.begin(), ids.end(), 0);
    lists->add_with_ids(all, ids);
    ARFC_EXPECT_ERROR(
        (void)search(*lists, all, 1, {.nprobe = 6}), ErrorKind::kInvalidArgument,
        "outside [1, 5]: 6");
    EXPECT_NE(search(*lists, all, 10, {.nprobe = 1}), search(*lists, all, 10, {.nprobe = 5}));
    EXPECT_NE(
        search(*lists, all, 10, {.stages = {{4, 10}, {12, 0}}, .nprobe = 5}),
        search(*lists, all, 10, {.stages = {{4, kN}, {12, 0}}, .nprobe = 5}));
    const auto graph = VectorIndex::create(kWidth, "ARFC12/4,HNSW4", Metric::kL2);
    graph->train(all);
    graph->add(all);
    ARFC_EXPECT_ERROR(
        (void)search(*graph, all, 1, {.ef_search = 0}), ErrorKind::kInvalidArgument,
        "efSearch is outside [1, 1000000]: 0");
}

TEST(VectorIndex, IsTrainedWhileItHoldsNoRow) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto all = view(rows, kWidth);
    const auto index = VectorIndex::create(kWidth, "IVF4,Flat", Metric::kL2);
    index->train(all);
    index->train(all);
    index->add(all.slice(0, 1));
    ARFC_EXPECT_ERROR(index->train(all), ErrorKind::kFailedPrecondition, "reset() first; rows: 1");
}

TEST(VectorIndex, RefusesWhatItCannotDo) {
    const std::vector<float> rows = random_rows(kN, kWidth);
    const auto all = view(rows, kWidth);
    ARFC_EXPECT_ERROR(
        (void)VectorIndex::create(kWidth, "ARFC8", Metric::kCosine), ErrorKind::kInvalidArgument,
        "cosine");
    ARFC_EXPECT_ERROR(
        (void)VectorIndex::create(0, "ARFC8", Metric::kL2), ErrorKind::kInvalidArgument,
        "[1, 65536]: 0");
    ARFC_EXPECT_ERROR(
        (void)VectorIndex::create(65537, "Flat", Metric::kL2), ErrorKind::kInvalidArgument,
        "[1, 65536]: 65537");
    EXPECT_EQ(VectorIndex::create(65536, "Flat", Metric::kInnerProduct)->dim(), 65536U);
    EXPECT_EQ(
        VectorIndex::create(1, "Flat", Metric::kInnerProduct)->metric(), Metric::kInnerProduct);
    ARFC_EXPECT_ERROR(
        (void)VectorIndex::create(kWidth, "Nope", Metric::kL2), ErrorKind::kInvalidArgument,
        "Nope");
    const auto flat = VectorIndex::create(kWidth, "Flat", Metric::kL2);
    const std::vector<std::int64_t> ids(kN);
    ARFC_EXPECT_ERROR(
        flat->add_with_ids(all, ids), ErrorKind::kUnsupported, "put \"IDMap2,\" before");
    flat->add(all);
    ARFC_EXPECT_ERROR(
        (void)search(*flat, all, 1, {.stages = {{8, 0}}}), ErrorKind::kUnsupported,
        "no prefixes, so stages");
    ARFC_EXPECT_ERROR(
        (void)search(*flat, all, 1, {.nprobe = 3}), ErrorKind::kUnsupported,
        "no inverted lists, so nprobe");
    ARFC_EXPECT_ERROR(
        flat->add(view(rows, 12)), ErrorKind::kInvalidArgument,
        "width differs from the index's: 12, expected 24");
    const auto lists = VectorIndex::create(kWidth, "IVF4,Flat", Metric::kL2);
    const std::vector<std::int64_t> many(800);
    ARFC_EXPECT_ERROR(
        lists->add_with_ids(view(rows, 12), many), ErrorKind::kInvalidArgument,
        "width differs from the index's: 12, expected 24");
    ARFC_EXPECT_ERROR(
        lists->add_with_ids(all, ids), ErrorKind::kFailedPrecondition,
        "Index is not trained; call train() with rows like those to be added");
    ARFC_EXPECT_ERROR((void)flat->reconstruct(400), ErrorKind::kNotFound, "400");
    EXPECT_EQ(flat->reconstruct(3), std::vector<float>(all.row(3).begin(), all.row(3).end()));
    float distance = 0;
    std::int64_t label = 0;
    ARFC_EXPECT_ERROR(
        flat->search(all, 1, {}, {&distance, 1, 1}, {&label, 1, 1}), ErrorKind::kInvalidArgument,
        "expected [400, 1]");
    std::vector<float> distances(4);
    std::vector<std::int64_t> labels(4);
    const auto ask = [&](std::size_t rows_of_distances, std::size_t k_of_distances,
                         std::size_t rows_of_labels, std::size_t k_of_labels) {
        flat->search(
            all.slice(0, 2), 2, {}, {distances.data(), rows_of_distances, k_of_distances},
            {labels.data(), rows_of_labels, k_of_labels});
    };
    ask(2, 2, 2, 2);
    ARFC_EXPECT_ERROR(ask(1, 2, 2, 2), ErrorKind::kInvalidArgument, "distances [1, 2]");
    ARFC_EXPECT_ERROR(ask(2, 1, 2, 2), ErrorKind::kInvalidArgument, "distances [2, 1]");
    ARFC_EXPECT_ERROR(ask(2, 2, 1, 2), ErrorKind::kInvalidArgument, "labels [1, 2]");
    ARFC_EXPECT_ERROR(ask(2, 2, 2, 1), ErrorKind::kInvalidArgument, "labels [2, 1]");
    const auto arfc = VectorIndex::create(kWidth, "ARFC8", Metric::kL2);
    ARFC_EXPECT_ERROR(arfc->add(all), ErrorKind::kFailedPrecondition, "not trained");
    ARFC_EXPECT_ERROR((void)search(*arfc, all, 1), ErrorKind::kFailedPrecondition, "not trained");
    arfc->train(all);
    arfc->add(all);
    ARFC_EXPECT_ERROR(arfc->train(all), ErrorKind::kFailedPrecondition, "reset() first; rows: 400");
    ARFC_EXPECT_ERROR(
        arfc->add_with_ids(all, std::vector<std::int64_t>(3)), ErrorKind::kInvalidArgument,
        "3, expected 400");
    ARFC_EXPECT_ERROR((void)arfc->reconstruct(-7), ErrorKind::kNotFound, "-7");
    const auto mapped = VectorIndex::create(kWidth, "IDMap2,Flat", Metric::kL2);
    ARFC_EXPECT_ERROR(mapped->add(all), ErrorKind::kInvalidArgument, "add_with_ids()");
    ARFC_EXPECT_ERROR(
        (void)VectorIndex::read("/nowhere/index"), ErrorKind::kNotFound, "/nowhere/index");
}

} // namespace
} // namespace arfc
