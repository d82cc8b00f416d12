#include "recall_fall.h"

#include <gtest/gtest.h>

#include <cmath>

namespace arfc {
namespace {

/// [m] recalls of which the mean is `recall`: queries that find all, and one that finds a part.
std::vector<double> recalls_of(double recall, std::size_t queries = 1000) {
    std::vector<double> recalls(queries, 0.0);
    double left = recall * static_cast<double>(queries);
    for (double& value : recalls) {
        value = std::min(1.0, std::max(0.0, left));
        left -= value;
    }
    return recalls;
}

RecallBySize sizes(double quarter, double half, double whole) {
    return {recalls_of(quarter), recalls_of(half), recalls_of(whole)};
}

double log_odds(double recall) {
    return std::log(recall / (1.0 - recall));
}

TEST(RecallFall, OfTheSameSizeIsTheMean) {
    const RecallEstimate estimate = estimate_recall(sizes(0.9, 0.8, 0.7), 0, 10);
    EXPECT_NEAR(estimate.recall, 0.7, 1e-12);
    // 1.96 * sqrt(.7 * .3 / 1000)
    EXPECT_NEAR(estimate.high - estimate.recall, 0.0284, 1e-3);
    EXPECT_NEAR(estimate.recall - estimate.low, 0.0284, 1e-3);
}

TEST(RecallFall, GoesOnAsTheLastDoublingFell) {
    const double step = log_odds(0.8) - log_odds(0.75);
    const RecallEstimate estimate = estimate_recall(sizes(0.84, 0.8, 0.75), 3, 10);
    EXPECT_NEAR(log_odds(estimate.recall), log_odds(0.75) - 3 * step, 1e-9);
    EXPECT_LT(estimate.low, estimate.recall);
    EXPECT_GT(estimate.high, estimate.recall);
}

TEST(RecallFall, DoesNotGoOnRising) {
    const RecallEstimate estimate = estimate_recall(sizes(0.6, 0.65, 0.7), 5, 10);
    EXPECT_NEAR(estimate.recall, 0.7, 1e-12);
}

TEST(RecallFall, IntervalReachesToWhatTwoDoublingsSay) {
    const RecallEstimate estimate = estimate_recall(sizes(0.75, 0.72, 0.7), 2, 10);
    const double slope = (log_odds(0.7) - log_odds(0.75)) / 2;
    const double other = 1.0 / (1.0 + std::exp(-(log_odds(0.7) + 2 * slope)));
    EXPECT_LT(estimate.low, other);
    EXPECT_NEAR(estimate.high - estimate.recall, estimate.recall - estimate.low, 1e-9);
    EXPECT_GT(estimate.recall, other);
}

TEST(RecallFall, IntervalWidensWithEachDoubling) {
    double width = 0;
    for (const double doublings : {0.0, 1.0, 2.0, 4.0}) {
        const RecallEstimate estimate = estimate_recall(sizes(0.84, 0.8, 0.75), doublings, 10);
        EXPECT_GT(estimate.high - estimate.low, width);
        width = estimate.high - estimate.low;
    }
}

TEST(RecallFall, StaysWithinBounds) {
    for (const auto& all : {sizes(1, 1, 1), sizes(0, 0, 0), sizes(1, 1, 0.5), sizes(1, 0.5, 0)}) {
        for (const double doublings : {0.0, 20.0}) {
            const RecallEstimate estimate = estimate_recall(all, doublings, 10);
            EXPECT_LE(0.0, estimate.low);
            EXPECT_LE(estimate.low, estimate.recall);
            EXPECT_LE(estimate.recall, estimate.high);
            EXPECT_LE(estimate.high, 1.0);
        }
    }
}

} // namespace
} // namespace arfc
