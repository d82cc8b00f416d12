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

TEST(KMeansTest, DrawsSoManyDifferentPointsOfMore) {
    const std::size_t dim = 4;
    const std::vector<float> points = test::random_rows(4000, dim);
    std::set<std::size_t> fetched;
    const PointSource source{4000, dim, [&](std::span<const std::size_t> indices, float* out) {
                                 EXPECT_TRUE(fetched.empty()) << "once";
                                 fetched.insert(indices.begin(), indices.end());
                                 EXPECT_EQ(fetched.size(), indices.size()) << "different ones";
                                 for (std::size_t i = 0; i < indices.size(); ++i) {
                                     std::copy_n(
                                         points.data() + indices[i] * dim, dim, out + i * dim);
                                 }
                             }};
    const auto drawn = kmeans(source, {.iterations = 12, .most_points = 2000});
    EXPECT_EQ(fetched.size(), 2000U);
    EXPECT_GT(*fetched.rbegin(), 3900U) << "of all of them";
    const double error = error_of(points, drawn, dim);
    const double of_all = error_of(points, kmeans(source_of(points, dim), {.iterations = 12}), dim);
    EXPECT_LT(error, 1.3 * of_all);
    EXPECT_GT(error, of_all);
}

/// Rows along a diagonal, which is no axis of theirs.
TEST(KMeansTest, CentroidsAreTurnedBack) {
    constexpr std::size_t kPlaces = 512;
    std::vector<float> points;
    for (std::size_t i = 0; i < kPlaces; ++i) {
        points.insert(points.end(), {static_cast<float>(i), static_cast<float>(i)});
    }
    const std::vector<float> centroids =
        kmeans(source_of(points, 2), {.iterations = 3, .widenings = 2, .principal_axes = true});
    for (std::size_t k = 0; k < kSymbols; ++k) {
        EXPECT_NEAR(centroids[2 * k], centroids[2 * k + 1], 0.01);
    }
    EXPECT_LT(error_of(points, centroids, 2), 3.0 * kPlaces);
}

/// Weak coordinates are left out of the clustering and not out of the centroids.
TEST(KMeansTest, CentroidsAreMeansInWeakCoordinates) {
    constexpr std::size_t kDim = 8;
    constexpr std::size_t kPlaces = 150;
    std::vector<float> places = test::random_rows(kPlaces, kDim);
    for (std::size_t i = 0; i < places.size(); ++i) {
        places[i] *= i % kDim < 5 ? 10.0F : 0.1F;
    }
    std::vector<float> points;
    for (std::size_t i = 0; i < 20; ++i) {
        points.insert(points.end(), places.begin(), places.end());
    }
    const auto centroids = kmeans(
        source_of(points, kDim),
        {.iterations = 20, .widenings = 3, .principal_axes = true, .leaves_out_weak = true});
    const std::vector<float> zero(kSymbols * kDim, 0.0F);
    EXPECT_LT(error_of(points, centroids, kDim), 1e-6 * error_of(points, zero, kDim));
}

TEST(KMeansTest, FewerPointsThanCentroidsAreAllCentroids) {
    const std::size_t dim = 5;
    const std::vector<float> points = test::random_rows(7, dim);
    EXPECT_NEAR(error_of(points, kmeans(source_of(points, dim), {}), dim), 0.0, 1e-5);
}

TEST(KMeansTest, EmptyCentroidsTakeHalfOfTheFullest) {
    const std::size_t dim = 6;
    constexpr std::size_t kPlaces = 200; // Of the 256 points drawn at first many are equal.
    const std::vector<float> places = test::random_rows(kPlaces, dim, 3);
    std::vector<float> points = places;
    points.insert(points.end(), places.begin(), places.end());
    const std::vector<float> zero(kSymbols * dim, 0.0F);
    const double left = error_of(points, kmeans(source_of(points, dim), {.iterations = 20}), dim);
    EXPECT_LT(left, 1e-4 * error_of(points, zero, dim));
}

/// Eight coordinates in ten steps are 1, 2, 3, 4, 5, 6 and 8: what rounds to the same is one step.
TEST(KMeansTest, WidensGeometrically) {
    const std::vector<float> points = test::random_rows(300, 8);
    std::size_t asked = 0;
    KMeansOptions options{.iterations = 2, .widenings = 10};
    options.go_on = [&] { return ++asked > 0; };
    (void)kmeans(source_of(points, 8), options);
    EXPECT_EQ(asked, 7U * 2);
}

TEST(KMeansTest, AxesAreOrthonormalAndOfFallingVariance) {
    constexpr std::size_t kCount = 64;
    std::vector<float> points; // Far from the origin; strong along (3, 4), weak across it.
    for (std::size_t i = 0; i < kCount; ++i) {
        const float along = static_cast<float>(i % 8) - 3.5F;
        const float across = 0.1F * (static_cast<float>(i / 8) - 3.5F);
        points.insert(
            points.end(),
            {100.0F + 0.6F * along - 0.8F * across, -300.0F + 0.8F * along + 0.6F * across});
    }
    const std::vector<float> axes = principal_axes(test::view(points, 2));
    ASSERT_EQ(axes.size(), 4U);
    EXPECT_NEAR(std::fabs(axes[0]), 0.6, 1e-3);
    EXPECT_NEAR(axes[1] / axes[0], 0.8 / 0.6, 1e-3);
    EXPECT_NEAR(axes[0] * axes[2] + axes[1] * axes[3], 0.0, 1e-6);
    EXPECT_NEAR(axes[2] * axes[2] + axes[3] * axes[3], 1.0, 1e-6);
    std::vector<float> turned(points.size());
    turn_points(test::view(points, 2), axes, turned.data());
    for (std::size_t i = 0; i < points.size(); i += 2) {
        EXPECT_NEAR(turned[i], axes[0] * points[i] + axes[1] * points[i + 1], 1e-3);
        EXPECT_NEAR(turned[i + 1], axes[2] * points[i] + axes[3] * points[i + 1], 1e-3);
    }
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
    EXPECT_EQ(asked, 3); // One more iteration at full width is not asked about.
    EXPECT_EQ(centroids.size(), kSymbols * dim); // Full width all the same.
    EXPECT_NE(centroids[dim - 1], 0.0F);
}

} // namespace
} // namespace arfc
