#include "feature_map.h"

#include <gtest/gtest.h>

#include <cmath>

#include "random_rows.h"

namespace arfc {
namespace {

TEST(FeatureMap, AddsAPerceptronToALinearMap) {
    FeatureWeights weights;
    EXPECT_TRUE(weights.empty());
    weights.map = {1.0F, 2.0F, 3.0F, 4.0F};
    weights.offset = {0.5F, -0.5F};
    const std::vector<float> rows = {1.0F, 10.0F, -1.0F, 2.0F};
    std::vector<float> features(4);
    const FeatureMap linear(weights);
    linear.apply(test::view(rows, 2), {features.data(), 2, 2});
    EXPECT_EQ(features, (std::vector<float>{21.5F, 42.5F, 3.5F, 4.5F}));
    EXPECT_EQ(linear.flop(1), 2.0 * 2.0);
    EXPECT_EQ(linear.flop(2), 2.0 * 4.0);
    EXPECT_EQ(weights.bytes(), 4U * 6);

    weights.bend.hidden = {1.0F, 0.0F, 0.0F, -1.0F, 1.0F, 1.0F}; // Three units: x, -y, x + y.
    weights.bend.hidden_bias = {0.25F, 3.0F, -20.0F};
    weights.bend.output = {100.0F, 0.0F, 7.0F, 0.0F, 1000.0F, 7.0F};
    const FeatureMap bent(weights);
    bent.apply(test::view(rows, 2), {features.data(), 2, 2});
    EXPECT_EQ(features, (std::vector<float>{21.5F + 125.0F, 42.5F, 3.5F, 4.5F + 1000.0F}));
    EXPECT_EQ(bent.flop(2), 2.0 * (4.0 + 6.0 + 6.0));
    EXPECT_EQ(bent.flop(1), 2.0 * (2.0 + 6.0 + 3.0));
    EXPECT_EQ(weights.bytes(), 4U * (6 + 6 + 3 + 6));
}

} // namespace
} // namespace arfc
