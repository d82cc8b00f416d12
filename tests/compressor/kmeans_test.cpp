#include "kmeans.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "arfc/compressor/compressor.h"
#include "random_rows.h"

namespace arfc {
namespace {

PointSource source_of(const std::vector<float>& points, std::size_t dim) {
    return {
        points.size() / dim, dim, [&points, dim](std::span<const std::size_t> indices, float* out) {
            for (std::size_t i = 0; i < indices.size(); ++i) {
                std::copy_n(points.data() + indices[i] * dim, dim, out + i * dim);
            }
        }};
}

double error_of(
    const std::vector<float>& points, const std::vector<float>& centroids, std::size_t dim) {
    std::vector<std::uint8_t> symbols(points.size() / dim);
    return assign(test::view(points, dim), {centroids.data(), kSymbols, dim}, symbols);
}

TEST(KMeansTest, AssignsLikeBruteForce) {
    const std::size_t dim = 20;
    const std::vector<float> points = test::random_rows(500, dim);
    const std::vector<float> centroids = test::random_rows(kSymbols, dim, 2);
    std::vector<std::uint8_t> symbols(500);
    const double error =
        assign(test::view(points, dim), {centroids.data(), kSymbols, dim}, symbols);
    double exact_error = 0.0;
    for (std::size_t i = 0; i < 500; ++i) {
        double best = std::numeric_limits<double>::infinity();
        double chosen = 0.0;
        for (std::size_t k = 0; k < kSymbols; ++k) {
            double distance = 0.0;
            for (std::size_t j = 0; j < dim; ++j) {
                const double difference = static_cast<double>(points[i * dim + j]) -
                                          static_cast<double>(centroids[k * dim + j]);
                distance += difference * difference;
            }
            best = std::min(best, distance);
            chosen = k == symbols[i] ? distance : chosen;
        }
        EXPECT_NEAR(chosen, best, 1e-4);
        exact_error += best;
    }
    EXPECT_NEAR(error, exact_error, 1e-3 * exact_error);
}

TEST(KMeansTest, FindsClustersThatAreThere) {
    // 256 well separated points, each 8 times with little noise: the error left is the noise's.
    const std::size_t dim = 16;
    std::vector<float> centres = test::random_rows(kSymbols, dim, 3);
    std::vector<float> points;
    const std::vector<float> noise = test::random_rows(kSymbols * 8, dim, 4);
    for (std::size_t i = 0; i < kSymbols * 8; ++i) {
        for (std::size_t j = 0; j < dim; ++j) {
            points.push_back(20.0F * centres[i % kSymbols * dim + j] + 0.01F * noise[i * dim + j]);
        }
    }
    KMeansOptions options;
    options.iterations = 25;
    const double found = error_of(points, kmeans(source_of(points, dim), options), dim);
    const std::vector<float> zero(kSymbols * dim, 0.0F);
    EXPECT_LT(found, 0.06 * error_of(points, zero, dim));
}

TEST(KMeansTest, MoreIterationsNeverHurtMuchAndWideningHelps) {
    const std::size_t dim = 32;
    const std::vector<float> points = test::random_rows(6000, dim);
    KMeansOptions once;
    once.iterations = 1;
    KMeansOptions more;
    more.iterations = 20;
    KMeansOptions widened;
    widened.widenings = 10;
    widened.iterations = 5;
    widened.principal_axes = true;
    const double first = error_of(points, kmeans(source_of(points, dim), once), dim);
    const double second = error_of(points, kmeans(source_of(points, dim), more), dim);
    const double third = error_of(points, kmeans(source_of(points, dim), widened), dim);
    EXPECT_LT(second, first);
    EXPECT_LT(third, first);
}

/// Of three seeds no two differ by a hundredth.
TEST(KMeansTest, LeavesAsLittleAsItDid) {
    const std::size_t dim = 24;
    const std::vector<float> points = test::random_rows(5000, dim);
    const std::vector<float> zero(kSymbols * dim, 0.0F);
    const double all = error_of(points, zero, dim);
    const auto left = [&](const KMeansOptions& options) {
        return error_of(points, kmeans(source_of(points, dim), options), dim) / all;
    };
    EXPECT_NEAR(left({.iterations = 1}), 0.2326, 0.003);
    EXPECT_NEAR(left({.iterations = 12}), 0.2095, 0.0025);
    EXPECT_NEAR(left({.iterations = 8, .widenings = 6, .principal_axes = true}), 0.2073, 0.001);
}

TEST(KMeansTest, IsDeterministicForASeedWhateverTheThreads) {
    const std::size_t dim = 24;
    const std::vector<float> points = test::random_rows(3000, dim);
    KMeansOptions options;
    const std::size_t before = num_threads();
    set_num_threads(1);
    const auto one = kmeans(source_of(points, dim), options);
    set_num_threads(3);
    const auto three = kmeans(source_of(points, dim), options);
    set_num_threads(before);
    EXPECT_EQ(one, three);
    options.seed = 1;
    EXPECT_NE(one, kmeans(source_of(points, dim), options));
}

TEST(KMeansTest, AboveTheFullBatchItDrawsBatches) {
    const std::size_t dim = 4;
    const std::vector<float> few = test::random_rows(2000, dim);
    std::size_t most = 0;
    PointSource many{
        kFullBatchPoints + 1, dim, [&](std::span<const std::size_t> indices, float* out) {
            most = std::max(most, indices.size());
            for (std::size_t i = 0; i < indices.size(); ++i) {
                std::copy_n(few.data() + indices[i] % 2000 * dim, dim, out + i * dim);
            }
        }};
    KMeansOptions options;
    options.iterations = 12;
    const auto batched = kmeans(many, options);
    EXPECT_EQ(most, kBatchPoints);
    const auto whole = kmeans(source_of(few, dim), options);
    EXPECT_LT(error_of(few, batched, dim), 1.3 * error_of(few, whole, dim));
}

TEST(KMeansTest, FewerPointsThanCentroidsAreAllCentroids) {
    const std::size_t dim = 5;
    const std::vector<float> points = test::random_rows(7, dim);
    EXPECT_NEAR(error_of(points, kmeans(source_of(points, dim), {}), dim), 0.0, 1e-5);
}

TEST(KMeansTest, StopsWhenToldTo) {
    const std::size_t dim = 8;
    const std::vector<float> points = test::random_rows(1000, dim);
    int asked = 0;
    KMeansOptions options;
    options.iterations = 50;
    options.widenings = 10;
    options.go_on = [&] { return ++asked < 3; };
    const auto centroids = kmeans(source_of(points, dim), options);
    EXPECT_LE(asked, 4);
    EXPECT_EQ(centroids.size(), kSymbols * dim); // Full width all the same.
    EXPECT_NE(centroids[dim - 1], 0.0F);
}

} // namespace
} // namespace arfc
