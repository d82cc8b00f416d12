#include "transformed_index.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "arfc/base/files.h"
#include "arfc/index/index_factory.h"
#include "byte_io.h"
#include "expect_error.h"
#include "trained_index.h"

namespace arfc {
namespace {

using test::Answer;
using test::kDim;
using test::Rows;
using test::search;
using test::TemporaryDirectory;

constexpr int kWidth = static_cast<int>(kDim);
constexpr std::size_t kN = 700;

std::unique_ptr<faiss::Index> filled(const std::string& factory, const Rows& rows) {
    auto index = index_factory(kWidth, factory, faiss::METRIC_L2);
    EXPECT_FALSE(index->is_trained);
    index->train(rows.signed_count(), rows.data());
    EXPECT_TRUE(index->is_trained);
    if (factory.starts_with("IDMap")) {
        std::vector<std::int64_t> ids(rows.count());
        for (std::size_t i = 0; i < ids.size(); ++i) {
            ids[i] = static_cast<std::int64_t>(i);
        }
        index->add_with_ids(rows.signed_count(), rows.data(), ids.data());
    } else {
        index->add(rows.signed_count(), rows.data());
    }
    return index;
}

double recall_at_1_of_own_rows(const faiss::Index& index, const Rows& rows) {
    const Answer answer = search(index, rows, 1);
    std::size_t own = 0;
    for (std::size_t i = 0; i < rows.count(); ++i) {
        own += answer.labels[i] == static_cast<std::int64_t>(i) ? 1 : 0;
    }
    return static_cast<double>(own) / static_cast<double>(rows.count());
}

TEST(TransformedIndex, SearchesTransformedRowsAndComesBackFromAFile) {
    const Rows rows(kN, 1);
    const Rows queries(9, 2);
    for (const std::string factory :
         {"PCA16,ARFC16/4,IVF4", "IDMap2,PCAR16,L2norm,ARFC16/4", "OPQ4_20,ARFC16", "ITQ16,ARFC16",
          "RR,Pad28,ARFC16/4", "IDMap2,PCA16,ARFC16/4,HNSW4"}) {
        const auto index = filled(factory, rows);
        EXPECT_GT(recall_at_1_of_own_rows(*index, rows), 0.5) << factory;
        EXPECT_EQ(reverse_index_factory(*index), factory);
        const TemporaryDirectory directory;
        write_index(*index, directory / "index");
        const auto read = read_index(directory / "index");
        EXPECT_EQ(reverse_index_factory(*read), factory);
        EXPECT_EQ(search(*read, queries, 10), search(*index, queries, 10)) << factory;
        EXPECT_EQ(read->ntotal, index->ntotal);
        EXPECT_EQ(read->d, kWidth);
        read->reset();
        EXPECT_TRUE(read->is_trained);
        if (factory.starts_with("PCA16")) { // What was read can learn again.
            read->train(rows.signed_count(), rows.data());
            read->add(rows.signed_count(), rows.data());
            EXPECT_EQ(search(*read, queries, 10), search(*index, queries, 10));
        }
    }
}

TEST(TransformedIndex, ForwardsParametersAndReconstructs) {
    const Rows rows(kN, 1);
    const Rows queries(5, 2);
    const auto index = filled("PCA20,ARFC20/4,IVF5", rows);
    const auto mapped = filled("IDMap2,PCA20,ARFC20/4,IVF5", rows);
    faiss::IDSelectorRange some(100, 120);
    SearchParametersARFC params;
    params.nprobe = 5;
    params.sel = &some;
    for (const faiss::Index* const one : {index.get(), mapped.get()}) {
        for (const std::int64_t label : search(*one, queries, 20, &params).labels) {
            EXPECT_TRUE(label >= 100 && label < 120);
        }
        faiss::RangeSearchResult result(5);
        one->range_search(5, queries.data(), INFINITY, &result, &params);
        EXPECT_EQ(result.lims[5], 5U * 20U);
        EXPECT_EQ(one->sa_code_size(), 20U);
        std::vector<std::uint8_t> codes(kN * 20);
        one->sa_encode(kN, rows.data(), codes.data());
        std::vector<float> decoded(kN * kDim);
        one->sa_decode(kN, codes.data(), decoded.data());
        std::vector<float> row(kDim);
        one->reconstruct(7, row.data());
        double error = 0;
        double power = 0;
        for (std::size_t c = 0; c < kDim; ++c) {
            EXPECT_NEAR(row[c], decoded[7 * kDim + c], 1e-4);
            error += std::pow(row[c] - rows.values[7 * kDim + c], 2);
            power += std::pow(rows.values[7 * kDim + c], 2);
        }
        EXPECT_LT(error, power) << "reconstructions are rows again, not transformed ones";
        std::vector<float> distances(5 * 3);
        std::vector<std::int64_t> labels(5 * 3);
        std::vector<float> recons(5 * 3 * kDim);
        one->search_and_reconstruct(
            5, queries.data(), 3, distances.data(), labels.data(), recons.data(), &params);
        one->reconstruct(labels[4], row.data());
        for (std::size_t c = 0; c < kDim; ++c) {
            EXPECT_NEAR(recons[4 * kDim + c], row[c], 1e-4);
        }
    }
}

TEST(TransformedIndex, IsTrainedOnceAllThatItHoldsAre) {
    const Rows rows(kN, 1);
    // The first two transforms have nothing to learn.
    for (const char* const factory : {"L2norm,ARFC16", "Pad28,ARFC16/4", "PCA16,ARFC16"}) {
        const auto index = index_factory(kWidth, factory, faiss::METRIC_L2);
        EXPECT_FALSE(index->is_trained) << factory;
        EXPECT_THROW(index->add(rows.signed_count(), rows.data()), Error) << factory;
        EXPECT_EQ(index->ntotal, 0) << factory;
        EXPECT_EQ(
            index_factory(kWidth, factory, faiss::METRIC_INNER_PRODUCT)->metric_type,
            faiss::METRIC_INNER_PRODUCT);
    }
}

TEST(TransformedIndex, Merges) {
    const Rows rows(kN, 1);
    const auto index = filled("PCA16,ARFC8/4", rows);
    const TemporaryDirectory directory;
    write_index(*index, directory / "index");
    const auto other = read_index(directory / "index");
    index->merge_from(*other, index->ntotal);
    EXPECT_EQ(index->ntotal, 2 * static_cast<std::int64_t>(kN));
    EXPECT_EQ(other->ntotal, 0);
    Rows turned(kN, 1);
    std::ranges::reverse(turned.values);
    const auto stranger = filled("PCA16,ARFC8/4", turned);
    ARFC_EXPECT_ERROR(
        index->merge_from(*stranger), ErrorKind::kInvalidArgument, "other transforms");
}

TEST(TransformedIndex, RefusesWhatCannotBe) {
    const Rows rows(kN, 1);
    const auto make = [](const char* factory) {
        return index_factory(kWidth, factory, faiss::METRIC_L2);
    };
    ARFC_EXPECT_ERROR(
        (void)make("PCA25,ARFC8"), ErrorKind::kInvalidArgument, "outside [1, 24] floats: 25");
    ARFC_EXPECT_ERROR((void)make("PCA0,ARFC8"), ErrorKind::kInvalidArgument, "PCA0");
    ARFC_EXPECT_ERROR(
        (void)make("ITQ25,ARFC8"), ErrorKind::kInvalidArgument, "outside [1, 24] floats: 25");
    ARFC_EXPECT_ERROR((void)make("OPQ5,ARFC8"), ErrorKind::kInvalidArgument, "24 floats into 5");
    EXPECT_EQ(make("PCA1,ARFC4")->d, kWidth);
    EXPECT_EQ(make("OPQ1,ARFC4")->d, kWidth);
    ARFC_EXPECT_ERROR((void)make("OPQ0,ARFC8"), ErrorKind::kInvalidArgument, "into 0");
    ARFC_EXPECT_ERROR(
        (void)make("Pad2000000000,ARFC8"), ErrorKind::kInvalidArgument, "65536]: 2000000000");
    ARFC_EXPECT_ERROR(
        (void)make("Pad70000,ARFC8"), ErrorKind::kInvalidArgument, "width is outside [1, 65536]");
    ARFC_EXPECT_ERROR((void)make("PCA,ARFC8"), ErrorKind::kInvalidArgument, "FAISS refuses");
    ARFC_EXPECT_ERROR((void)make("PCAX3,ARFC8"), ErrorKind::kInvalidArgument, "FAISS refuses");
    ARFC_EXPECT_ERROR((void)make("PCA16,ARFC8/8"), ErrorKind::kInvalidArgument, "column 7");
    ARFC_EXPECT_ERROR(
        (void)make("IVF16,ARFC8"), ErrorKind::kInvalidArgument, "expected ARFC first");
    ARFC_EXPECT_ERROR((void)make("PCA16,IDMap,ARFC8"), ErrorKind::kUnsupported, "IDMap");

    const auto index = make("PCA16,ARFC8/4");
    float distance = 0;
    std::int64_t label = 0;
    ARFC_EXPECT_ERROR(index->add(1, rows.data()), ErrorKind::kFailedPrecondition, "not trained");
    ARFC_EXPECT_ERROR(
        index->search(1, rows.data(), 1, &distance, &label), ErrorKind::kFailedPrecondition,
        "not trained");
    ARFC_EXPECT_ERROR(index->train(0, nullptr), ErrorKind::kInvalidArgument, "too few: 0");
    ARFC_EXPECT_ERROR(
        index->train(5, rows.data()), ErrorKind::kInvalidArgument, "cannot be applied");
    Rows bad(kN, 3);
    bad.values[kDim * 2] = NAN;
    ARFC_EXPECT_ERROR(
        index->train(kN, bad.data()), ErrorKind::kInvalidArgument,
        "not finite (NaN or infinity) in row: 2");
    bad.values[kDim * 2] = 0;
    bad.values.back() = INFINITY;
    ARFC_EXPECT_ERROR(index->train(kN, bad.data()), ErrorKind::kInvalidArgument, "in row: 699");
    bad.values[kDim * 2] = NAN;
    EXPECT_FALSE(index->is_trained);
    index->train(kN, rows.data());
    index->add(kN, rows.data());
    ARFC_EXPECT_ERROR(index->add(3, bad.data()), ErrorKind::kInvalidArgument, "not finite");
    ARFC_EXPECT_ERROR(
        index->search(1, rows.data(), 0, &distance, &label), ErrorKind::kInvalidArgument, "k > 0");
    ARFC_EXPECT_ERROR(
        index->train(kN, rows.data()), ErrorKind::kFailedPrecondition, "call reset() first");
    EXPECT_EQ(index->ntotal, static_cast<std::int64_t>(kN));
    index->reset();
    index->add(1, rows.data());
    ARFC_EXPECT_ERROR(
        index->train(kN, rows.data()), ErrorKind::kFailedPrecondition, "first; rows: 1");
}

TEST(TransformedIndex, FilesThatAreCutShortAreRefused) {
    const Rows rows(kN, 1);
    const auto index = filled("PCA16,ARFC8/4", rows);
    const TemporaryDirectory directory;
    write_index(*index, directory / "index");
    const std::string bytes = read_file(directory / "index");
    for (const std::size_t size : {bytes.size() - 1, bytes.size() / 2, std::size_t{40}}) {
        write_file_atomically(directory / "short", bytes.substr(0, size));
        ARFC_EXPECT_ERROR((void)read_index(directory / "short"), ErrorKind::kCorruption, "Index");
    }
    const auto untrained = index_factory(kWidth, "IDMap,PCA16,ARFC8/4", faiss::METRIC_L2);
    write_index(*untrained, directory / "empty");
    EXPECT_EQ(reverse_index_factory(*read_index(directory / "empty")), "IDMap,PCA16,ARFC8/4");
}

TEST(TransformedIndex, AnswersNothingBeforeItIsTrained) {
    const Rows rows(4, 1);
    const auto index = index_factory(kWidth, "PCA16,ARFC8/4", faiss::METRIC_L2);
    float values[4 * kDim] = {};
    std::int64_t label = 0;
    std::uint8_t code[8] = {};
    faiss::RangeSearchResult result(1);
    const auto refuse = [](const auto& call) {
        ARFC_EXPECT_ERROR(call(), ErrorKind::kFailedPrecondition, "Index is not trained");
    };
    refuse([&] { index->add_with_ids(1, rows.data(), &label); });
    refuse([&] { index->range_search(1, rows.data(), 1.0F, &result); });
    refuse([&] { index->search_and_reconstruct(1, rows.data(), 1, values, &label, values); });
    refuse([&] { index->sa_encode(1, rows.data(), code); });
    refuse([&] { index->sa_decode(1, code, values); });
    refuse([&] { index->check_compatible_for_merge(*index); });
}

TEST(TransformedIndex, LearnsAnewOnceItIsEmpty) {
    const Rows first(kN, 1);
    const Rows second(kN, 3);
    for (const std::string factory : {"ITQ16,ARFC4", "L2norm,ARFC4"}) {
        const auto index = filled(factory, first);
        index->reset();
        ARFC_EXPECT_ERROR(index->train(0, first.data()), ErrorKind::kInvalidArgument, "too few: 0");
        EXPECT_TRUE(index->is_trained) << "it was not tried";
        index->train(kN, second.data());
        index->add(kN, second.data());
        EXPECT_GT(recall_at_1_of_own_rows(*index, second), 0.2) << factory;
    }
    const auto index = filled("PCA16,ARFC4", first);
    index->reset();
    ARFC_EXPECT_ERROR(
        index->train(5, first.data()), ErrorKind::kInvalidArgument, "cannot be applied");
    EXPECT_FALSE(index->is_trained) << "half of it was learned";
    const auto of_one = index_factory(kWidth, "L2norm,ARFC4", faiss::METRIC_L2);
    of_one->train(1, first.data());
    EXPECT_TRUE(of_one->is_trained);
}

TEST(TransformedIndex, ReconstructsAlikeByIdByPositionAndFromAFile) {
    const Rows rows(kN, 1);
    for (const std::string factory : {"PCAR16,ARFC4", "RR,Pad28,ARFC4"}) {
        const auto index = filled(factory, rows);
        const TemporaryDirectory directory;
        write_index(*index, directory / "index");
        const auto read = read_index(directory / "index");
        std::vector<float> both(2 * kDim);
        index->reconstruct_n(7, 2, both.data());
        std::vector<float> again(2 * kDim);
        index->reconstruct(7, again.data());
        index->reconstruct(8, again.data() + kDim);
        EXPECT_THAT(again, testing::Pointwise(testing::FloatNear(1e-4F), both)) << factory;
        read->reconstruct_n(7, 2, again.data());
        EXPECT_THAT(again, testing::Pointwise(testing::FloatNear(1e-4F), both)) << factory;
    }
    const auto index = filled("ITQ16,ARFC4", rows);
    std::vector<float> row(kDim);
    const std::uint8_t code[4] = {};
    const auto refuse = [](const auto& call) {
        ARFC_EXPECT_ERROR(call(), ErrorKind::kUnsupported, "Transforms cannot be turned back");
    };
    refuse([&] { index->reconstruct(0, row.data()); });
    refuse([&] { index->reconstruct_n(0, 1, row.data()); });
    refuse([&] { index->sa_decode(1, code, row.data()); });
}

TEST(TransformedIndex, WritesWhatItsTransformsLearned) {
    const auto index = filled("RR,L2norm,PCA16,ARFC4", Rows(kN, 1));
    ByteWriter out;
    dynamic_cast<const TransformedIndex&>(*index).write_transforms(out);
    ByteReader in(out.bytes(), "Transforms");
    EXPECT_EQ(in.text(), "RR,L2norm,PCA16");
    EXPECT_EQ(in.number<std::uint32_t>(), kDim);
    EXPECT_EQ(in.number<std::uint8_t>(), 1) << "trained";
    const auto& transforms = dynamic_cast<const faiss::IndexPreTransform&>(*index).chain;
    for (const std::size_t i : {0, 2}) { // What makes unit rows learns nothing.
        const auto& learned = dynamic_cast<const faiss::LinearTransform&>(*transforms[i]);
        EXPECT_EQ(in.number<std::uint8_t>(), i == 0 ? 0 : 1) << "has a bias";
        EXPECT_EQ(in.number<std::uint8_t>(), 1) << "is orthonormal";
        EXPECT_EQ(in.array<float>(learned.A.size()), learned.A);
        if (i == 2) {
            EXPECT_EQ(in.array<float>(16), learned.b);
        }
    }
    in.finish();
}

TEST(TransformedIndex, DeletesWhatItTookOver) {
    struct Inner final : faiss::IndexFlatL2 {
        explicit Inner(int& deleted) : faiss::IndexFlatL2(kWidth), deleted_(deleted) {}
        ~Inner() override { ++deleted_; }
        int& deleted_;
    };
    int deleted = 0;
    {
        auto inner = std::make_unique<Inner>(deleted);
        const Rows rows(3, 1);
        inner->add(3, rows.data());
        const TransformedIndex index("RR", make_transforms(kWidth, "RR"), std::move(inner));
        EXPECT_EQ(index.ntotal, 3);
        EXPECT_FALSE(index.is_trained) << "the rotation is still to be drawn";
    }
    EXPECT_EQ(deleted, 1);
}

TEST(SplitTransforms, DividesBeforeTheArfcComponent) {
    using Parts = std::pair<std::string_view, std::string_view>;
    EXPECT_EQ(split_transforms("PCA32,L2norm,ARFC8/4,IVF5"), Parts("PCA32,L2norm", "ARFC8/4,IVF5"));
    EXPECT_EQ(split_transforms("RR,ARFC8"), Parts("RR", "ARFC8"));
    for (const std::string_view other : {"ARFC8", "PCA32", "PCA32,IVF4,ARFC8", "IVF4,ARFC8", ""}) {
        EXPECT_EQ(split_transforms(other), Parts("", other));
    }
    ARFC_EXPECT_ERROR(
        (void)make_transforms(kWidth, "IDMap"), ErrorKind::kInvalidArgument,
        "FAISS knows no such transforms: \"IDMap\"");
}

} // namespace
} // namespace arfc
