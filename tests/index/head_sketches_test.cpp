#include "head_sketches.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "table_compressor.h"
#include "trained_model.h"

namespace arfc {
namespace {

using test::kDim;
using test::kRows;
using test::TableCompressor;

constexpr std::size_t kHead = 5;

/// Of no more axes than rows have floats a sketch loses nothing.
TEST(HeadSketches, CompareRowsAsTheirReconstructionsDo) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
        const test::TrainedModel& model = test::trained_model(metric);
        const HeadSketches sketches(*model.compressor, kHead);
        ASSERT_EQ(sketches.dim(), kDim);
        EXPECT_FALSE(sketches.empty());
        EXPECT_EQ(sketches.bytes(), (kHead * kSymbols + 1) * kDim * sizeof(float));
        const std::vector<std::byte> heads = model.columns(0, kHead);
        std::vector<float> rows(kRows * kDim);
        model.compressor->decode({heads.data(), kRows, kHead}, {rows.data(), kRows, kDim});
        const auto product = [&](std::size_t i, std::size_t j) {
            const auto at = [&](std::size_t row) {
                return rows.begin() + static_cast<std::ptrdiff_t>(row * kDim);
            };
            return std::inner_product(at(i), at(i) + kDim, at(j), 0.0);
        };
        const auto sketch = [&](std::size_t row) {
            std::vector<float> out(kDim);
            sketches.compute(std::span(heads).subspan(row * kHead, kHead), out.data());
            return out;
        };
        for (std::size_t i = 0; i < 40; ++i) {
            const std::size_t j = i * 31 + 7;
            const double expected = metric == Metric::kCosine
                                      ? product(i, j) / std::sqrt(product(i, i) * product(j, j))
                                      : 2 * product(i, j) - product(i, i) - product(j, j);
            const float found = sketches.similarity(sketch(i).data(), sketch(j).data());
            EXPECT_NEAR(found, expected, 1e-3 * (1 + std::abs(expected))) << to_string(metric);
        }
    }
}

TEST(HeadSketches, AreAsLongAsTheirTablesMayBeLarge) {
    const auto axes = [](std::size_t dim, std::size_t head_bytes) {
        std::vector<test::TokenMeaning> tokens;
        for (std::size_t t = 0; t < head_bytes; ++t) {
            tokens.push_back({t % dim, 1.0F});
        }
        const TableCompressor compressor(Metric::kL2, dim, tokens);
        return HeadSketches(compressor, head_bytes).dim();
    };
    EXPECT_EQ(axes(10, 3), 10U);
    EXPECT_EQ(axes(140, 1), 128U);
    EXPECT_EQ(axes(20, 1024), 16U) << "16 MB";
    EXPECT_EQ(axes(40, 512), 32U) << "16 MB";
    EXPECT_TRUE(HeadSketches().empty());
}

TEST(HeadSketches, OfARowOfLengthZeroAreZeros) {
    const TableCompressor compressor(Metric::kCosine, 2, {{0, 1.0F}, {1, 1.0F}});
    const HeadSketches sketches(compressor, 2);
    std::vector<float> sketch(2, 7.0F);
    sketches.compute(std::vector<std::byte>(2), sketch.data());
    EXPECT_EQ(sketch, (std::vector<float>{0.0F, 0.0F}));
}

} // namespace
} // namespace arfc
