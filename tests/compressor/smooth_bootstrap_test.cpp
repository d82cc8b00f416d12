#include "smooth_bootstrap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 6;

std::vector<float> draw(
    const std::vector<float>& rows, std::size_t count, float scale, std::uint64_t seed = 1) {
    return smooth_bootstrap(test::view(rows, kDim), count, scale, seed, [] {});
}

/// Rows on a line in space, in two groups far from each other.
std::vector<float> rows_on_a_line() {
    std::vector<float> rows;
    for (int i = 0; i < 100; ++i) {
        const float along = static_cast<float>(i) + (i < 50 ? 0.0F : 1000.0F);
        rows.insert(rows.end(), {along, 2.0F * along, 1.0F, 0.0F, -1.0F, 0.0F});
    }
    return rows;
}

TEST(SmoothBootstrapTest, MovesRowsTheWayThatRowsNearToThemDiffer) {
    const std::vector<float> rows = rows_on_a_line();
    const std::vector<float> drawn = draw(rows, 500, 0.7F);
    ASSERT_EQ(drawn.size(), 500 * kDim);
    std::size_t moved = 0;
    for (std::size_t i = 0; i < 500; ++i) {
        const float* const row = drawn.data() + i * kDim;
        EXPECT_NEAR(row[1], 2.0F * row[0], 1e-3);
        EXPECT_FLOAT_EQ(row[2], 1.0F);
        EXPECT_FLOAT_EQ(row[4], -1.0F);
        // Sixteen rows on one side lie at most sixteen apart: never between the groups.
        const float nearest = row[0] < 500.0F ? std::clamp(row[0], 0.0F, 49.0F)
                                              : std::clamp(row[0], 1050.0F, 1099.0F);
        EXPECT_LE(std::fabs(row[0] - nearest), 0.7F * 16.0F);
        moved += std::fabs(row[0] - std::round(row[0])) > 1e-3F ? 1U : 0U;
    }
    EXPECT_GT(moved, 300U); // A difference of ten is seven: few are whole numbers.
}

TEST(SmoothBootstrapTest, KeepsMeanAndAddsTheVarianceOfNeighbours) {
    const std::vector<float> rows = test::random_rows(2000, kDim, 5);
    const auto variance = [](const std::vector<float>& points) {
        double sum = 0.0;
        for (std::size_t i = 0; i < points.size(); ++i) {
            sum += std::pow(static_cast<double>(points[i]), 2.0);
        }
        return sum / static_cast<double>(points.size());
    };
    const double before = variance(rows);
    const double none = variance(draw(rows, 4000, 0.0F));
    const double some = variance(draw(rows, 4000, 0.7F));
    EXPECT_NEAR(none, before, 0.05 * before);
    EXPECT_GT(some, 1.02 * before);
    EXPECT_LT(some, 1.6 * before);
}

TEST(SmoothBootstrapTest, IsDeterministicForASeed) {
    const std::vector<float> rows = test::random_rows(300, kDim, 5);
    EXPECT_EQ(draw(rows, 100, 0.5F, 3), draw(rows, 100, 0.5F, 3));
    EXPECT_NE(draw(rows, 100, 0.5F, 3), draw(rows, 100, 0.5F, 4));
}

TEST(SmoothBootstrapTest, TakesFewAndEqualRows) {
    EXPECT_TRUE(draw(test::random_rows(2, kDim, 5), 10, 0.5F).empty());
    EXPECT_TRUE(draw(test::random_rows(20, kDim, 5), 0, 0.5F).empty());
    EXPECT_EQ(draw(test::random_rows(3, kDim, 5), 10, 0.5F).size(), 10 * kDim);
    const std::vector<float> same(10 * kDim, 0.25F);
    EXPECT_EQ(draw(same, 10, 0.5F), same);
}

/// The others of three rows are two, which differ.
TEST(SmoothBootstrapTest, MovesEachOfThreeRowsByTheOthers) {
    const std::vector<float> rows = {0, 0, 0, 0, 0, 1, 0, 0, 0,
                                     0, 0, 2, 0, 0, 0, 0, 0, 4}; // 1, 2, 4.
    const std::vector<float> drawn = draw(rows, 100, 1.0F);
    std::set<float> last;
    for (std::size_t i = 0; i < 100; ++i) {
        last.insert(drawn[i * kDim + kDim - 1]);
    }
    // 1 +- (4 - 2), 2 +- (4 - 1), 4 +- (2 - 1), and each as it is.
    EXPECT_EQ(last, (std::set<float>{-1, 1, 2, 3, 4, 5}));
}

/// Rows of one direction in two places: near by distance, not by product. More than are looked at
/// together.
TEST(SmoothBootstrapTest, NearIsWhatIsLeastFar) {
    constexpr std::size_t kCount = 600;
    std::vector<float> rows;
    for (std::size_t i = 0; i < kCount; ++i) {
        const float along = 0.01F * static_cast<float>(i);
        if (i % 2 == 0) {
            rows.insert(rows.end(), {10.0F, along, 0.0F, 0.0F, 0.0F, 0.0F});
        } else {
            rows.insert(rows.end(), {15.0F, 0.0F, along, 0.0F, 0.0F, 0.0F});
        }
    }
    const std::vector<float> drawn = draw(rows, 400, 1.0F);
    for (std::size_t i = 0; i < 400; ++i) {
        const float* const row = drawn.data() + i * kDim;
        EXPECT_TRUE(row[0] == 10.0F || row[0] == 15.0F);
        EXPECT_EQ(row[row[0] == 10.0F ? 2 : 1], 0.0F);
    }
}

TEST(SmoothBootstrapTest, DrawsNoZeroRow) {
    std::vector<float> rows; // x + (-x - x) / 2 is zero.
    for (int i = 0; i < 10; ++i) {
        rows.insert(rows.end(), kDim, i % 2 == 0 ? 1.0F : -1.0F);
    }
    const std::vector<float> drawn = draw(rows, 200, 0.5F);
    for (std::size_t i = 0; i < 200; ++i) {
        EXPECT_NE(drawn[i * kDim], 0.0F);
    }
}

TEST(SmoothBootstrapTest, EndsWhenTheCallerThrows) {
    const std::vector<float> rows = test::random_rows(300, kDim, 5);
    EXPECT_THROW(
        (void)smooth_bootstrap(
            test::view(rows, kDim), 10, 0.5F, 1, [] { throw std::runtime_error("enough"); }),
        std::runtime_error);
}

} // namespace
} // namespace arfc
