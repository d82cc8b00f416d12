#include "residual_compressor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 4;
constexpr std::size_t kWidth = 2; // Of each of two sub-spaces.
constexpr std::size_t kCount = 200;

/// A model of numbers drawn at random: one token over the whole space, one for each half of it.
ResidualModel drawn_model(bool has_map) {
    ResidualModel model;
    model.dim = kDim;
    model.code_bytes = 3;
    model.metric = Metric::kL2;
    model.beam_width = 1;
    model.commit_points = {1};
    model.mean = {5.0F, -4.0F, 3.0F, -2.0F};
    model.early = test::random_rows(kSymbols, kDim, 1);
    if (has_map) {
        model.decode_map.assign(kDim * kDim, 0.0F);
        for (std::size_t j = 0; j < kDim; ++j) {
            model.decode_map[j * kDim + j] = 0.9F;
        }
    }
    model.subspace_bounds = {0, kWidth, kDim};
    model.late_subspaces = {1, 0};
    model.late = test::random_rows(2 * kSymbols, kWidth, 2);
    return model;
}

/// What is left of a half behind a symbol: squared.
double left_by(std::span<const double> half, const float* symbol) {
    double sum = 0.0;
    for (std::size_t j = 0; j < kWidth; ++j) {
        const double difference = half[j] - double{symbol[j]};
        sum += difference * difference;
    }
    return sum;
}

/// The first token is the nearest by the codebook; later ones by what the tokens before decode to,
/// the mean's image included.
TEST(ResidualCompressor, LaterTokensSeeWhatEarlierOnesDecodeTo) {
    for (const bool has_map : {false, true}) {
        const ResidualModel model = drawn_model(has_map);
        const double scale = has_map ? double{0.9F} : 1.0;
        const ResidualCompressor compressor(model, {});
        std::vector<float> rows = test::random_rows(kCount, kDim, 3);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            rows[i] += model.mean[i % kDim];
        }
        std::vector<std::byte> codes(kCount * 3);
        compressor.encode(test::view(rows, kDim), 3, {codes.data(), kCount, 3});
        std::vector<float> decoded(rows.size());
        compressor.decode({codes.data(), kCount, 3}, {decoded.data(), kCount, kDim});
        for (std::size_t i = 0; i < kCount; ++i) {
            const auto symbol = [&](std::size_t token) {
                return std::to_integer<std::size_t>(codes[i * 3 + token]);
            };
            std::vector<double> left(kDim);
            for (std::size_t j = 0; j < kDim; ++j) {
                const double sum =
                    double{model.mean[j]} + double{model.early[symbol(0) * kDim + j]};
                left[j] = double{rows[i * kDim + j]} - scale * sum;
            }
            for (std::size_t token = 0; token < 2; ++token) {
                const std::size_t s = model.late_subspaces[token];
                const std::span<const double> half(left.data() + s * kWidth, kWidth);
                const float* const codebook = model.late.data() + token * kSymbols * kWidth;
                double least = std::numeric_limits<double>::infinity();
                for (std::size_t k = 0; k < kSymbols; ++k) {
                    least = std::min(least, left_by(half, codebook + k * kWidth));
                }
                const float* const chosen = codebook + symbol(1 + token) * kWidth;
                EXPECT_NEAR(left_by(half, chosen), least, 1e-4) << has_map << ", row " << i;
                for (std::size_t j = 0; j < kWidth; ++j) {
                    const std::size_t at = i * kDim + s * kWidth + j;
                    EXPECT_NEAR(decoded[at], double{rows[at]} - half[j] + double{chosen[j]}, 1e-4);
                }
            }
        }
    }
}

/// Directions are coded where there is no rotation, too, as in rows of one or very many numbers.
TEST(ResidualCompressor, DirectionsNeedNoRotation) {
    ResidualModel model = drawn_model(false);
    model.metric = Metric::kCosine;
    model.mean.assign(kDim, 0.0F);
    std::ranges::fill(model.late, 0.0F);
    // Three times a symbol of length one is that symbol; and a query is its direction.
    std::vector<float> rows(model.early.begin(), model.early.begin() + 2 * kDim);
    std::vector<float> unit(rows.size());
    for (std::size_t i = 0; i < 2; ++i) {
        double squared = 0.0;
        for (std::size_t j = 0; j < kDim; ++j) {
            squared += double{rows[i * kDim + j]} * double{rows[i * kDim + j]};
        }
        for (std::size_t j = 0; j < kDim; ++j) {
            unit[i * kDim + j] =
                static_cast<float>(double{rows[i * kDim + j]} / std::sqrt(squared));
            rows[i * kDim + j] = 3.0F * unit[i * kDim + j];
        }
    }
    ResidualModel coded = model;
    std::ranges::copy(unit, coded.early.begin());
    const ResidualCompressor exact(coded, {});
    std::vector<std::byte> codes(2);
    exact.encode(test::view(rows, kDim), 1, {codes.data(), 2, 1});
    EXPECT_EQ(codes, (std::vector<std::byte>{std::byte{0}, std::byte{1}}));
    std::vector<float> decoded(rows.size());
    exact.decode({codes.data(), 2, 1}, {decoded.data(), 2, kDim});
    EXPECT_EQ(decoded, unit);
    std::vector<float> scores(4);
    exact.score(test::view(rows, kDim), {codes.data(), 2, 1}, false, {scores.data(), 2, 2});
    EXPECT_NEAR(scores[0], 1.0, 1e-6);
    EXPECT_NEAR(scores[3], 1.0, 1e-6);
    EXPECT_NEAR(scores[1], scores[2], 1e-6);
}

/// What pairs taught may leave nothing of a row: it has no direction, and no part of it is NaN.
TEST(ResidualCompressor, ARowThatIsMappedToNothingScoresNothing) {
    ResidualModel model = drawn_model(false);
    model.metric = Metric::kCosine;
    model.mean = {0.25F, 0.25F, 0.25F, 0.25F};
    std::vector<float> identity(kDim * kDim, 0.0F);
    for (std::size_t j = 0; j < kDim; ++j) {
        identity[j * kDim + j] = 1.0F;
    }
    model.rotation = model.exit_map = identity;
    model.entry = {// x - max(0, x[0]) e0.
                   .hidden = {1.0F, 0.0F, 0.0F, 0.0F},
                   .hidden_bias = {0.0F},
                   .output = {-1.0F, 0.0F, 0.0F, 0.0F}};
    const ResidualCompressor compressor(model, {});
    const std::vector<float> rows = {4.0F, 0.0F, 0.0F, 0.0F, 4.0F, 3.0F, 0.0F, 4.0F};
    std::vector<float> tables(2 * kSymbols);
    compressor.query_tables(test::view(rows, kDim), 0, {tables.data(), 2, kSymbols});
    for (std::size_t k = 0; k < kSymbols; ++k) {
        const float* const symbol = model.early.data() + k * kDim;
        EXPECT_EQ(tables[k], 0.0F);
        EXPECT_NEAR(tables[kSymbols + k], 0.6F * symbol[1] + 0.8F * symbol[3], 1e-5);
    }
    Compressor::QueryTerms terms[2];
    compressor.query_terms(test::view(rows, kDim), terms);
    EXPECT_EQ(terms[0].bias, 0.0F);
    EXPECT_NEAR(terms[1].bias, 0.25F * 1.4F, 1e-6);
    std::vector<std::byte> codes(2 * 3);
    compressor.encode(test::view(rows, kDim), 3, {codes.data(), 2, 3});
    std::vector<float> decoded(rows.size());
    compressor.decode({codes.data(), 2, 3}, {decoded.data(), 2, kDim});
    EXPECT_TRUE(std::ranges::all_of(decoded, [](float value) { return std::isfinite(value); }));
}

TEST(ResidualCompressor, QueryTermsAreTheProductWithTheMeanAndTheSquaredLength) {
    const std::vector<float> queries = {1.0F, 2.0F, 3.0F, 4.0F, -2.0F, 0.0F, 0.0F, 0.0F};
    for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
        ResidualModel model = drawn_model(false);
        model.metric = metric;
        const ResidualCompressor compressor(model, {});
        Compressor::QueryTerms terms[2];
        compressor.query_terms(test::view(queries, kDim), terms);
        const bool is_cosine = metric == Metric::kCosine;
        const float product = 5.0F - 8.0F + 9.0F - 8.0F; // With the mean.
        EXPECT_NEAR(terms[0].bias, is_cosine ? product / std::sqrt(30.0F) : product, 1e-5);
        EXPECT_NEAR(terms[1].bias, is_cosine ? -5.0F : -10.0F, 1e-5);
        EXPECT_EQ(terms[0].squared_norm, is_cosine ? 1.0F : 30.0F);
        EXPECT_EQ(terms[1].squared_norm, is_cosine ? 1.0F : 4.0F);
    }
}

TEST(ResidualCompressor, WhatDecodesToNothingIsLikeNothing) {
    ResidualModel model = drawn_model(false);
    model.metric = Metric::kCosine;
    model.norm_shrinkage = 0.1;
    model.mean.assign(kDim, 0.0F);
    std::fill_n(model.early.begin(), kDim, 0.0F);
    const ResidualCompressor compressor(model, {});
    const std::vector<std::byte> codes = {std::byte{0}, std::byte{1}};
    std::vector<float> terms(2);
    compressor.row_terms({codes.data(), 2, 1}, terms);
    EXPECT_EQ(terms[0], 0.0F);
    EXPECT_GT(terms[1], 0.0F);
}

} // namespace
} // namespace arfc
