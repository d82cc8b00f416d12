#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "expect_error.h"
#include "staged_index.h"
#include "table_compressor.h"
#include "trained_model.h"

namespace arfc {
namespace {

using test::Codes;
using test::TableCompressor;

std::vector<float> decoded(const Compressor& compressor, const Codes& codes) {
    std::vector<float> rows(codes.rows() * compressor.dim());
    compressor.decode(codes.view(), {rows.data(), codes.rows(), compressor.dim()});
    return rows;
}

/// Originals with which training asks for the rows themselves: of three queries it makes the first,
/// the middle of two and the middle of all three.
std::vector<float> asking_for_rows(const Compressor& compressor, const Codes& codes) {
    const std::size_t dim = compressor.dim();
    const std::vector<float> rows = decoded(compressor, codes);
    std::vector<float> originals = rows;
    const std::size_t queries = std::min<std::size_t>(codes.rows(), 300);
    const auto place = [&](std::size_t q, std::size_t j) {
        return q * codes.rows() / queries * dim + j;
    };
    for (std::size_t q = 0; q < queries; ++q) {
        for (std::size_t j = 0; j < dim && q % 3 > 0; ++j) {
            const auto before = static_cast<float>(q % 3);
            originals[place(q, j)] =
                (before + 1.0F) * rows[place(q, j)] - before * rows[place(q - 1, j)];
        }
    }
    return originals;
}

struct Learned {
    std::size_t nprobe;
    std::vector<std::size_t> limits; ///< Of every stage but the last.
    std::size_t copies;              ///< Lists a row.
    bool operator==(const Learned&) const = default;
};

void PrintTo(const Learned& learned, std::ostream* out) {
    *out << "nprobe " << learned.nprobe << ", limits";
    for (const std::size_t limit : learned.limits) {
        *out << " " << limit;
    }
    *out << ", copies " << learned.copies;
}

Learned learn(
    const std::shared_ptr<const Compressor>& compressor, const Codes& codes, StagedShape shape,
    const StagedTrainOptions& options = {}) {
    StagedIndex index(compressor, std::move(shape));
    const std::vector<float> originals = asking_for_rows(*compressor, codes);
    index.train(codes.view(), {originals.data(), codes.rows(), compressor->dim()}, options);
    const std::vector<std::byte> heads = codes.heads(index.head_bytes());
    index.add({heads.data(), codes.rows(), index.head_bytes()});
    std::vector<std::size_t> limits;
    for (const Stage& stage : index.default_stages()) {
        limits.push_back(stage.limit);
    }
    limits.pop_back();
    return {index.default_nprobe(), limits, index.resident_bytes().heads / heads.size()};
}

/// Columns far from each other: the first token tells the column, the second the place in it.
Codes columns(std::size_t count, std::size_t rows_each) {
    Codes codes(2);
    for (std::size_t i = 0; i < count * rows_each; ++i) {
        codes.add({i / rows_each, i % rows_each + 1});
    }
    return codes;
}

const std::shared_ptr<const Compressor>& model_of_columns() {
    static const std::shared_ptr<const Compressor> kModel = std::make_shared<const TableCompressor>(
        Metric::kL2, 2, std::vector<test::TokenMeaning>{{0, 64.0F}, {1, 1.0F}});
    return kModel;
}

/// Rows of a column have one head, so a search must keep the column, whose rows come in order, but
/// for the row that is asked for.
TEST(StagedTraining, KeepsTheShortestListThatHoldsTheNeighbours) {
    const StagedShape shape{.stage_bytes = {1, 2}};
    EXPECT_EQ(learn(model_of_columns(), columns(12, 12), shape), (Learned{1, {15}, 1}))
        << "11 beside the row";
    EXPECT_EQ(learn(model_of_columns(), columns(12, 21), shape), (Learned{1, {20}, 1}))
        << "20 beside the row";
    EXPECT_EQ(learn(model_of_columns(), columns(12, 10), shape), (Learned{1, {30}, 1}))
        << "the tenth is in another column";
}

TEST(StagedTraining, LengthensListsBeyondTheCapWhereNothingShorterWillDo) {
    const auto model = std::make_shared<const TableCompressor>(
        Metric::kL2, 2, std::vector<test::TokenMeaning>{{0, 2048.0F}, {1, 256.0F}, {1, 1.0F}});
    const auto learned = [&](std::size_t count, std::size_t rows_each) {
        Codes codes(3);
        for (std::size_t i = 0; i < count * rows_each; ++i) {
            codes.add({i / rows_each, i % rows_each / 256, i % rows_each % 256});
        }
        return learn(model, codes, {.stage_bytes = {1, 3}});
    };
    EXPECT_EQ(learned(2, 750), (Learned{1, {800}, 1})) << "200, doubled twice";
    EXPECT_EQ(learned(1, 900), (Learned{1, {900}, 1})) << "all rows there are";
}

TEST(StagedTraining, MeasuresAsSoonAsARowHasANeighbour) {
    const StagedShape shape{.stage_bytes = {1, 2}};
    EXPECT_EQ(learn(model_of_columns(), columns(1, 1), shape), (Learned{1, {200}, 1}));
    EXPECT_EQ(learn(model_of_columns(), columns(1, 2), shape), (Learned{1, {10}, 1}));
}

/// By this seed's choice of rows each list is a column.
TEST(StagedTraining, ProbesOneListOfTwoWhereNeighboursAreTogether) {
    const StagedShape shape{.stage_bytes = {2}, .nlist = 2};
    EXPECT_EQ(learn(model_of_columns(), columns(2, 21), shape, {.seed = 3}), (Learned{1, {}, 1}));
    EXPECT_EQ(
        learn(model_of_columns(), columns(2, 21), shape, {.seed = 3, .lists_per_row = 3}),
        (Learned{1, {}, 2}))
        << "no row is twice in a list";
}

/// Rows without structure, whose neighbours are in many lists. The numbers are what these rows
/// need; they are the same on every machine.
TEST(StagedTraining, SpreadsOverAsManyListsAsRowsWithoutStructureNeed) {
    constexpr std::size_t kAxes = 12;
    std::vector<test::TokenMeaning> meanings;
    for (std::size_t axis = 0; axis < kAxes; ++axis) {
        meanings.push_back({axis, 1.0F});
    }
    const auto model = std::make_shared<const TableCompressor>(Metric::kL2, kAxes, meanings);
    Codes codes(kAxes);
    std::mt19937 random(5);
    for (std::size_t row = 0; row < 600; ++row) {
        std::vector<std::size_t> tokens(kAxes);
        for (std::size_t& token : tokens) {
            token = random() % 256;
        }
        codes.add(tokens);
    }
    const auto learned = [&](std::vector<std::size_t> stage_bytes, std::size_t nlist,
                             std::size_t copies) {
        return learn(
            model, codes, {.stage_bytes = std::move(stage_bytes), .nlist = nlist},
            {.lists_per_row = copies});
    };
    EXPECT_EQ(learned({kAxes}, 30, 1), (Learned{24, {}, 1}));
    EXPECT_EQ(learned({kAxes}, 100, 1), (Learned{64, {}, 1})) << "32, doubled";
    EXPECT_EQ(learned({kAxes}, 100, 0), (Learned{28, {}, 2}));
    EXPECT_EQ(learned({kAxes}, 300, 0), (Learned{32, {}, 3}));
    EXPECT_EQ(learned({3, kAxes}, 100, 1), (Learned{100, {400}, 1}));
    EXPECT_EQ(learned({4, 5, kAxes}, 60, 1), (Learned{60, {400, 400}, 1}));
}

/// Two rows that are opposite have no middle, and a query of zeros would be refused.
TEST(StagedTraining, AsksForARowWhereAMiddleHasNoDirection) {
    const test::TrainedModel& model = test::trained_model(Metric::kCosine);
    std::vector<float> originals = model.rows;
    constexpr std::size_t kNext = test::kRows / 300; // The row that the second query is.
    for (std::size_t j = 0; j < test::kDim; ++j) {
        originals[kNext * test::kDim + j] = -originals[j];
    }
    StagedIndex index(model.compressor, {.stage_bytes = {3, test::kCodeBytes}});
    index.train(model.code_view(), test::view(originals, test::kDim));
    EXPECT_TRUE(index.is_trained());
}

/// A row of length 0 has no term by cosine; the scale of the others is kept.
TEST(StagedTraining, LeavesTermsThatAreNotFiniteOutOfTheScale) {
    const auto model = std::make_shared<const TableCompressor>(
        Metric::kCosine, 2, std::vector<test::TokenMeaning>{{0, 1.0F}, {1, 1.0F}});
    Codes codes(2);
    codes.add({0, 1});
    for (std::size_t row = 1; row < 50; ++row) {
        codes.add({row, 1});
    }
    StagedIndex index(model, {.stage_bytes = {1, 2}});
    index.train(codes.view(), {});
    StagedIndex other(model, index.shape());
    EXPECT_EQ(other.restore(index.save()).rows, 0U);
    EXPECT_TRUE(other.is_trained());
}

} // namespace
} // namespace arfc
