#include "kmeans.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

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

TEST(KMeansTest, WidensInTenStepsAtMost) {
    for (const auto& [dim, steps] :
         {std::pair<std::size_t, std::size_t>{2, 2},
          {3, 2},
          {4, 3},
          {24, 6},
          {128, 9},
          {384, 10},
          {1024, 10}}) {
        EXPECT_EQ(widenings(dim), steps) << dim;
    }
}

TEST(ClusteringPaceTest, SaysHowManyPointsATimeBears) {
    ClusteringPace pace;
    EXPECT_EQ(pace.most_points(0.0), kMostPoints) << "nothing is known yet";
    pace.took(2.0, 100000);
    EXPECT_EQ(pace.most_points(std::numeric_limits<double>::infinity()), kMostPoints);
    EXPECT_EQ(pace.most_points(3.3), kMostPoints); // Which take 3.277.
    EXPECT_NEAR(static_cast<double>(pace.most_points(3.0)), 150000.0, 1.0);
    EXPECT_EQ(pace.most_points(0.1), 32768U) << "as few as will do";
    pace.took(1.0, 100000);
    EXPECT_EQ(pace.most_points(3.0), kMostPoints) << "the last time counts";
}

/// One step of Lloyd's algorithm, in double, and what becomes of centroids without points.
std::vector<double> stepped(const std::vector<float>& points, std::size_t dim) {
    std::vector<double> centroids(kSymbols * dim);
    for (std::size_t i = 0; i < centroids.size(); ++i) {
        centroids[i] = double{points[i < points.size() ? i : i % dim]};
    }
    std::vector<std::size_t> counts(kSymbols, 0);
    std::vector<double> sums(centroids.size(), 0.0);
    for (std::size_t first = 0; first < points.size(); first += dim) {
        std::size_t closest = 0;
        double least = std::numeric_limits<double>::infinity();
        for (std::size_t k = 0; k < kSymbols; ++k) {
            double distance = 0.0;
            for (std::size_t j = 0; j < dim; ++j) {
                distance += std::pow(double{points[first + j]} - centroids[k * dim + j], 2.0);
            }
            if (distance < least - 1e-9) {
                least = distance;
                closest = k;
            }
        }
        ++counts[closest];
        for (std::size_t j = 0; j < dim; ++j) {
            sums[closest * dim + j] += double{points[first + j]};
        }
    }
    for (std::size_t i = 0; i < centroids.size(); ++i) {
        const auto count = static_cast<double>(counts[i / dim]);
        centroids[i] = count > 0.0 ? sums[i] / count : centroids[i];
    }
    for (std::size_t k = 0; k < kSymbols; ++k) {
        const auto fullest = static_cast<std::size_t>(
            std::max_element(counts.begin(), counts.end()) - counts.begin());
        if (counts[k] > 0 || counts[fullest] < 2) {
            continue;
        }
        for (std::size_t j = 0; j < dim; ++j) { // Apart by a thousandth, to either side.
            const double nudge = (j % 2 == 0 ? 1.0 : -1.0) / 1024.0;
            const double value = centroids[fullest * dim + j];
            centroids[k * dim + j] = value * (1.0 + nudge);
            centroids[fullest * dim + j] = value * (1.0 - nudge);
        }
        counts[k] = counts[fullest] / 2;
        counts[fullest] -= counts[k];
    }
    return centroids;
}

/// Points of no more than there are centroids begin as these, in their order.
TEST(KMeansTest, AStepGoesToMeansAndHalvesTheFullest) {
    constexpr std::size_t kDim = 3;
    for (const std::size_t count : {std::size_t{241}, std::size_t{12}, std::size_t{5}}) {
        std::vector<float> points; // Five equal ones and the last, three others, pairs.
        for (std::size_t i = 0; i < count; ++i) {
            const float others = i < 8 ? 3.0F : 4.0F + static_cast<float>(i / 2);
            const float place = i < 5 || i == 240 ? 1.0F : others;
            points.insert(points.end(), {place, -2.0F * place, 0.5F * place});
        }
        const std::vector<float> found = kmeans(source_of(points, kDim), {.iterations = 1});
        const std::vector<double> expected = stepped(points, kDim);
        for (std::size_t i = 0; i < found.size(); ++i) {
            ASSERT_NEAR(found[i], expected[i], 1e-4) << count << ", " << i / kDim;
        }
    }
}

/// What is left out shows in how many widths there are to be clustered.
TEST(KMeansTest, LeavesOutTheLastCoordinatesThatHoldNextToNothing) {
    /// Points of such standard deviations and means.
    const auto points_of = [](const std::vector<float>& deviations, float mean = 0.0F) {
        std::vector<float> points;
        for (std::size_t i = 0; i < 512; ++i) {
            for (std::size_t j = 0; j < deviations.size(); ++j) { // No two go together.
                points.push_back(mean + ((i >> j) % 2 == 0 ? deviations[j] : -deviations[j]));
            }
        }
        return points;
    };
    const auto steps = [](const std::vector<float>& points, std::size_t dim, bool leaves_out) {
        std::size_t asked = 0;
        KMeansOptions options{
            .iterations = 1,
            .widenings = 40,
            .principal_axes = true,
            .leaves_out_weak = leaves_out};
        options.go_on = [&] { return ++asked > 0; };
        const std::vector<float> centroids = kmeans(source_of(points, dim), options);
        EXPECT_EQ(centroids.size(), kSymbols * dim);
        return asked;
    };
    const struct {
        std::vector<float> deviations;
        std::size_t width; ///< Without what is left out.
        float mean = 0.0F;
    } cases[] = {
        {{4, 4, 4, 4, 4, 4}, 6},
        {{4, 4, 4, 4, 4, 0.1F}, 5},
        {{4, 4, 4, 4, 4, 0.1F}, 5, 3.0F}, // A mean is no strength.
        {{4, 4, 4, 4, 0.1F, 0.1F}, 4},
        {{4, 0.1F, 0.1F, 0.1F, 0.1F, 0.1F}, 1},
        {{0.1F, 4, 4, 4, 4, 4}, 6},  // The last alone.
        {{4, 4, 4, 4, 4, 1.30F}, 5}, // .124 of the mean strength, of which an eighth is weak.
        {{4, 4, 4, 4, 4, 1.32F}, 6}, // .128.
        // A twentieth of the energy is all that may go: .0499 for five, or .048 for four.
        {{2, 2, 2, 2, 0.41F, 0.41F, 0.41F, 0.41F, 0.41F}, 4},
        {{2, 2, 2, 2, 0.45F, 0.45F, 0.45F, 0.45F, 0.45F}, 5}};
    for (const auto& c : cases) {
        const std::vector<float> points = points_of(c.deviations, c.mean);
        const std::vector<float> narrow(c.width, 1.0F);
        EXPECT_EQ(
            steps(points, c.deviations.size(), true), steps(points_of(narrow), c.width, false))
            << ::testing::PrintToString(c.deviations);
    }
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
    const std::vector<float> centroids = kmeans(source_of(points, dim), {});
    EXPECT_NEAR(error_of(points, centroids, dim), 0.0, 1e-5);
    for (std::size_t i = 7 * dim; i < centroids.size(); ++i) {
        EXPECT_EQ(centroids[i], points[i % dim]) << "copies of the first";
    }
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

TEST(KMeansTest, IteratesNoMoreOnceToldToStopButOnceAtFullWidth) {
    const std::size_t dim = 8;
    const std::vector<float> points = test::random_rows(1000, dim);
    for (const std::size_t widenings : {1, 2}) {
        const KMeansOptions once{.iterations = 1, .widenings = widenings};
        KMeansOptions stopped{.iterations = 50, .widenings = widenings};
        stopped.go_on = [] { return false; };
        EXPECT_EQ(kmeans(source_of(points, dim), stopped), kmeans(source_of(points, dim), once));
    }
}

} // namespace
} // namespace arfc
