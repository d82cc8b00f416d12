#include "unit_rows.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace arfc {
namespace {

TEST(UnitRows, KnowsLengths) {
    EXPECT_EQ(length(std::vector<float>{3.0F, -4.0F}), 5.0);
    EXPECT_EQ(length(std::vector<float>{}), 0.0);
    EXPECT_NEAR(length(std::vector<float>{3e38F, 2e38F}), 3.6e38, 0.1e38) << "beyond float";
}

TEST(UnitRows, DividesARowByItsLengthWhereItHasOne) {
    std::vector<float> row = {0.375F, -0.5F}; // Of length 0.625.
    EXPECT_TRUE(normalise(row));
    EXPECT_EQ(row, (std::vector<float>{0.6F, -0.8F}));
    std::vector<float> zeros = {0.0F, 0.0F};
    EXPECT_FALSE(normalise(zeros));
    EXPECT_EQ(zeros, (std::vector<float>{0.0F, 0.0F}));
    const float infinity = std::numeric_limits<float>::infinity();
    std::vector<float> endless = {infinity, 1.0F};
    EXPECT_FALSE(normalise(endless));
    EXPECT_EQ(endless, (std::vector<float>{infinity, 1.0F}));
}

TEST(UnitRows, TakesRowsWithinAThousandthOfOne) {
    for (const float size : {1.0F, 0.9995F, 1.0005F}) {
        EXPECT_TRUE(is_unit(std::vector<float>{0.0F, -size})) << size;
    }
    for (const float size : {0.998F, 1.002F, 0.0F, 2.0F}) {
        EXPECT_FALSE(is_unit(std::vector<float>{size, 0.0F})) << size;
    }
}

} // namespace
} // namespace arfc
