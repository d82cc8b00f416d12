#include "coarse_quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "arfc/compressor/compressor.h"
#include "coarse_products.h"
#include "expect_error.h"
#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kWidth = 37; // No multiple of a vector register.

std::vector<std::uint32_t> assign(const CoarseQuantizer& quantizer, MatrixView<const float> rows) {
    std::vector<std::uint32_t> lists(rows.rows());
    quantizer.assign(rows, lists);
    return lists;
}

/// Nearness in double precision.
double nearness(Metric metric, std::span<const float> row, std::span<const float> centroid) {
    double product = 0;
    double distance = 0;
    for (std::size_t j = 0; j < row.size(); ++j) {
        product += double{row[j]} * double{centroid[j]};
        distance += std::pow(double{row[j]} - double{centroid[j]}, 2);
    }
    return metric == Metric::kL2 ? -distance : product;
}

TEST(CoarseQuantizer, AssignsToTheNearestCentroid) {
    const std::vector<float> rows = test::random_rows(3000, kWidth);
    for (const Metric metric : {Metric::kL2, Metric::kCosine, Metric::kInnerProduct}) {
        const auto quantizer = CoarseQuantizer::train(metric, test::view(rows, kWidth), 21, 5, {});
        ASSERT_EQ(quantizer.nlist(), 21U);
        const std::vector<std::uint32_t> lists = assign(quantizer, test::view(rows, kWidth));
        std::vector<std::uint32_t> probed(21);
        for (std::size_t i = 0; i < 3000; i += 7) {
            const auto row = test::view(rows, kWidth).row(i);
            quantizer.probe({row.data(), 1, kWidth}, {probed.data(), 1, 21});
            EXPECT_EQ(probed[0], lists[i]);
            for (std::size_t c = 1; c < 21; ++c) {
                EXPECT_GE(
                    nearness(metric, row, quantizer.centroids().row(probed[c - 1])),
                    nearness(metric, row, quantizer.centroids().row(probed[c])) - 1e-3);
            }
        }
    }
}

TEST(CoarseQuantizer, FindsTheClustersThatAreThere) {
    // Forty clusters; with forty lists the spread around centroids falls far below the spread
    // around the mean.
    const std::vector<float> rows = test::random_rows(4000, kWidth);
    const auto spread = [&](std::size_t nlist) {
        const auto quantizer =
            CoarseQuantizer::train(Metric::kL2, test::view(rows, kWidth), nlist, 1, {});
        const std::vector<std::uint32_t> lists = assign(quantizer, test::view(rows, kWidth));
        double total = 0;
        for (std::size_t i = 0; i < lists.size(); ++i) {
            total -= nearness(
                Metric::kL2, test::view(rows, kWidth).row(i), quantizer.centroids().row(lists[i]));
        }
        return total;
    };
    EXPECT_LT(spread(40), 0.5 * spread(1));
    // What this k-means leaves; it is the same on every machine.
    EXPECT_NEAR(spread(5) / spread(1), 0.700, 0.014);
    EXPECT_NEAR(spread(40) / spread(1), 0.337, 0.007);
    EXPECT_NEAR(spread(200) / spread(1), 0.2295, 0.004);
}

TEST(CoarseQuantizer, IsTheSameForASeedAndOnAnyThreadCount) {
    const std::vector<float> rows = test::random_rows(2500, kWidth);
    const std::size_t before = num_threads();
    std::vector<std::vector<float>> centroids;
    for (const std::size_t threads : {1, 2, 3}) {
        set_num_threads(threads);
        const auto quantizer =
            CoarseQuantizer::train(Metric::kCosine, test::view(rows, kWidth), 16, 9, {});
        centroids.emplace_back(
            quantizer.centroids().data(), quantizer.centroids().data() + 16 * kWidth);
    }
    set_num_threads(before);
    EXPECT_EQ(centroids[0], centroids[1]);
    EXPECT_EQ(centroids[0], centroids[2]);
    const auto other =
        CoarseQuantizer::train(Metric::kCosine, test::view(rows, kWidth), 16, 10, {});
    EXPECT_NE(
        centroids[0],
        std::vector<float>(other.centroids().data(), other.centroids().data() + 16 * kWidth));
}

TEST(CoarseQuantizer, AssignsARowAlikeInEveryBatch) {
    const std::vector<float> rows = test::random_rows(700, kWidth);
    const auto quantizer =
        CoarseQuantizer::train(Metric::kInnerProduct, test::view(rows, kWidth), 50, 9, {});
    const std::vector<std::uint32_t> together = assign(quantizer, test::view(rows, kWidth));
    for (std::size_t i = 0; i < 700; ++i) {
        ASSERT_EQ(assign(quantizer, test::view(rows, kWidth).slice(i, 1))[0], together[i]);
    }
}

TEST(CoarseQuantizer, GivesTiesToTheLowestList) {
    const CoarseQuantizer quantizer(Metric::kInnerProduct, 2, {0, 1, 1, 0, 1, 0, 0, 1});
    const std::vector<float> rows = {1, 0, 0, 1, 1, 1, -1, -1};
    EXPECT_EQ(assign(quantizer, {rows.data(), 4, 2}), (std::vector<std::uint32_t>{1, 0, 0, 0}));
    std::vector<std::uint32_t> probed(4);
    quantizer.probe({rows.data(), 1, 2}, {probed.data(), 1, 4});
    EXPECT_EQ(probed, (std::vector<std::uint32_t>{1, 2, 0, 3}));
}

TEST(CoarseQuantizer, ChoosesFurtherListsThatMakeUpForTheFirst) {
    constexpr std::size_t kCopies = 3;
    const std::vector<float> rows = test::random_rows(1500, kWidth);
    for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
        const auto quantizer = CoarseQuantizer::train(metric, test::view(rows, kWidth), 30, 5, {});
        const std::vector<std::uint32_t> first = assign(quantizer, test::view(rows, kWidth));
        std::vector<std::uint32_t> all(kCopies * first.size());
        quantizer.assign_several(test::view(rows, kWidth), kCopies, all);
        std::vector<std::uint32_t> two(2 * first.size());
        quantizer.assign_several(test::view(rows, kWidth), 2, two);
        std::vector<std::uint32_t> alone(kCopies);
        for (std::size_t i = 0; i < first.size(); i += 3) {
            const std::span<const std::uint32_t> own = std::span(all).subspan(kCopies * i, kCopies);
            ASSERT_EQ(own[0], first[i]);
            ASSERT_EQ(std::set(own.begin(), own.end()).size(), kCopies);
            ASSERT_EQ(own[1], two[2 * i + 1]) << "depends on how many lists follow";
            quantizer.assign_several(test::view(rows, kWidth).slice(i, 1), kCopies, alone);
            ASSERT_TRUE(std::ranges::equal(alone, own)) << "depends on the batch";
            // In double precision no other list is clearly better.
            std::vector<double> x(
                rows.begin() + static_cast<std::ptrdiff_t>(i * kWidth),
                rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * kWidth));
            double size = 0;
            for (const double value : x) {
                size += value * value;
            }
            for (double& value : x) {
                value /= metric == Metric::kCosine ? std::sqrt(size) : 1.0;
            }
            const auto rest = [&](std::size_t c) {
                std::vector<double> difference(kWidth);
                for (std::size_t j = 0; j < kWidth; ++j) {
                    difference[j] = x[j] - double{quantizer.centroids().row(c)[j]};
                }
                return difference;
            };
            const auto product = [](const std::vector<double>& a, const std::vector<double>& b) {
                return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
            };
            const auto loss = [&](std::size_t c, std::size_t taken) {
                double value = product(rest(c), rest(c));
                for (std::size_t j = 0; j < taken; ++j) {
                    const double along = product(rest(c), rest(own[j]));
                    value += 2 * along * along / product(rest(own[j]), rest(own[j]));
                }
                return value;
            };
            for (std::size_t taken = 1; taken < kCopies; ++taken) {
                for (std::size_t c = 0; c < 30; ++c) {
                    const bool is_free =
                        std::ranges::find(own.first(taken), c) == own.first(taken).end();
                    ASSERT_TRUE(!is_free || loss(own[taken], taken) <= loss(c, taken) + 1e-3);
                }
            }
        }
    }
}

/// Where a direction decides, lengths have no say: neither in training nor in further lists.
TEST(CoarseQuantizer, OverlooksLengthsUnlessItMeasuresDistances) {
    constexpr std::size_t kCount = 900;
    const std::vector<float> rows = test::random_rows(kCount, kWidth);
    std::vector<float> scaled = rows;
    for (std::size_t i = 0; i < scaled.size(); ++i) {
        scaled[i] *= static_cast<float>(1U << (i / kWidth % 5)); // Exactly.
    }
    for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct}) {
        const auto quantizer = CoarseQuantizer::train(metric, test::view(rows, kWidth), 12, 5, {});
        const auto other = CoarseQuantizer::train(metric, test::view(scaled, kWidth), 12, 5, {});
        EXPECT_TRUE(std::equal(
            quantizer.centroids().data(), quantizer.centroids().data() + 12 * kWidth,
            other.centroids().data()));
        for (std::size_t c = 0; c < 12; ++c) {
            const std::span<const float> centroid = quantizer.centroids().row(c);
            EXPECT_NEAR(
                std::inner_product(centroid.begin(), centroid.end(), centroid.begin(), 0.0), 1.0,
                1e-5);
        }
        std::vector<std::uint32_t> lists(3 * kCount);
        std::vector<std::uint32_t> of_scaled(3 * kCount);
        quantizer.assign_several(test::view(rows, kWidth), 3, lists);
        quantizer.assign_several(test::view(scaled, kWidth), 3, of_scaled);
        EXPECT_EQ(lists, of_scaled);
    }
}

TEST(CoarseQuantizer, LivesWithRowsThatAreAllAlike) {
    std::vector<float> rows(60 * kWidth, 0.5F);
    for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
        const auto quantizer = CoarseQuantizer::train(metric, test::view(rows, kWidth), 8, 0, {});
        for (const float value :
             std::span(quantizer.centroids().data(), quantizer.centroids().size())) {
            // Lists that would be empty take a centroid beside that of the others.
            const double there = metric == Metric::kL2 ? 0.5 : 1.0 / std::sqrt(double{kWidth});
            ASSERT_NEAR(value, there, 0.02 * there);
        }
        std::vector<std::uint32_t> lists(std::size_t{8} * 60);
        quantizer.assign_several(test::view(rows, kWidth), 8, lists);
        EXPECT_EQ(std::set(lists.begin(), lists.begin() + 8).size(), 8U);
    }
    std::ranges::fill(rows, 0.0F);
    const auto quantizer =
        CoarseQuantizer::train(Metric::kCosine, test::view(rows, kWidth), 8, 0, {});
    EXPECT_EQ(assign(quantizer, test::view(rows, kWidth))[0], 0U);
}

/// Queries are probed in tiles; what one finds does not depend on the others.
TEST(CoarseQuantizer, ProbesAQueryAlikeInEveryBatch) {
    const std::vector<float> rows = test::random_rows(700, kWidth);
    const MatrixView<const float> queries = test::view(rows, kWidth).slice(0, 67);
    for (const Metric metric : {Metric::kL2, Metric::kInnerProduct}) {
        const auto quantizer = CoarseQuantizer::train(metric, test::view(rows, kWidth), 50, 9, {});
        std::vector<std::uint32_t> together(queries.rows() * 7);
        quantizer.probe(queries, {together.data(), queries.rows(), 7});
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            std::vector<std::uint32_t> alone(7);
            quantizer.probe(queries.slice(q, 1), {alone.data(), 1, 7});
            ASSERT_TRUE(std::ranges::equal(alone, std::span(together).subspan(q * 7, 7))) << q;
        }
    }
}

/// Whatever instructions multiply, a product has the same bits.
TEST(CoarseProducts, AreTheSameByEveryInstructionSet) {
    for (const std::size_t dim : {1, 15, 16, 37, 384}) {
        for (const std::size_t nlist : {1, 3, 4, 9}) {
            for (const std::size_t count : {1, 4, 7}) {
                const std::vector<float> rows = test::random_rows(count, dim, 1);
                const std::vector<float> centroids = test::random_rows(nlist, dim, 2);
                std::vector<float> products(count * nlist);
                std::vector<float> expected(count * nlist);
                coarse_products()(
                    rows.data(), count, centroids.data(), nlist, dim, products.data());
                portable_coarse_products()(
                    rows.data(), count, centroids.data(), nlist, dim, expected.data());
                ASSERT_EQ(products, expected) << count << " x " << nlist << " x " << dim;
                EXPECT_NEAR(
                    expected.back(),
                    nearness(
                        Metric::kInnerProduct, test::view(rows, dim).row(count - 1),
                        test::view(centroids, dim).row(nlist - 1)),
                    1e-4 * static_cast<double>(dim));
            }
        }
    }
}

TEST(CoarseQuantizer, OrdersListsForQueriesBeyondFloat) {
    const std::vector<float> rows = test::random_rows(100, kWidth);
    const auto quantizer = CoarseQuantizer::train(Metric::kL2, test::view(rows, kWidth), 8, 0, {});
    const std::vector<float> huge(kWidth, 3e38F);
    std::vector<std::uint32_t> probed(8);
    quantizer.probe({huge.data(), 1, kWidth}, {probed.data(), 1, 8});
    std::ranges::sort(probed);
    std::vector<std::uint32_t> all(8);
    std::iota(all.begin(), all.end(), 0U);
    EXPECT_EQ(probed, all);
}

/// Products that are no number count as the least.
TEST(CoarseQuantizer, PutsListsWhoseProductIsNoNumberLast) {
    const CoarseQuantizer quantizer(Metric::kInnerProduct, 2, {2, -2, 1, -1, 1, 1, -1, -1});
    const std::vector<float> huge = {3e38F, 3e38F}; // Infinity minus infinity, 0, and infinities.
    std::vector<std::uint32_t> probed(4);
    quantizer.probe({huge.data(), 1, 2}, {probed.data(), 1, 4});
    EXPECT_EQ(probed, (std::vector<std::uint32_t>{2, 1, 0, 3}));
}

/// Every list without rows takes half of the one that is largest then.
TEST(CoarseQuantizer, SplitsTheLargestListsWhereOthersAreEmpty) {
    std::vector<float> rows;
    for (int i = 0; i < 60; ++i) {
        rows.insert(rows.end(), {1024.0F, 2048.0F});
    }
    for (int i = 0; i < 35; ++i) {
        rows.insert(rows.end(), {-1024.0F, 1024.0F});
    }
    const auto quantizer = CoarseQuantizer::train(Metric::kL2, test::view(rows, 2), 4, 0, {});
    std::vector<std::vector<float>> right;
    std::vector<std::vector<float>> left;
    for (std::size_t c = 0; c < 4; ++c) {
        const std::span<const float> centroid = quantizer.centroids().row(c);
        (centroid[0] > 0 ? right : left).emplace_back(centroid.begin(), centroid.end());
    }
    using Centroids = std::vector<std::vector<float>>;
    EXPECT_EQ(right, (Centroids{{1023.0F, 2050.0F}, {1025.0F, 2046.0F}})) << "60 are halved,";
    EXPECT_EQ(left, (Centroids{{-1023.0F, 1025.0F}, {-1025.0F, 1023.0F}}))
        << "and then 35 are more than 30";
    // A list of one row is not empty.
    const std::vector<float> two = {1.0F, 5.0F, 7.0F, -3.0F};
    const auto of_two = CoarseQuantizer::train(Metric::kL2, test::view(two, 2), 2, 0, {});
    for (std::size_t c = 0; c < 2; ++c) {
        const std::span<const float> centroid = of_two.centroids().row(c);
        const bool is_first = centroid[0] < 4.0F;
        EXPECT_EQ(centroid[0], is_first ? 1.0F : 7.0F);
        EXPECT_EQ(centroid[1], is_first ? 5.0F : -3.0F);
    }
    EXPECT_NE(of_two.centroids().row(0)[0], of_two.centroids().row(1)[0]);
}

TEST(CoarseQuantizer, TellsHowFarItIs) {
    const std::vector<float> rows = test::random_rows(50, kWidth);
    std::size_t done = 0;
    (void)CoarseQuantizer::train(
        Metric::kL2, test::view(rows, kWidth), 4, 0, [&](const Progress& progress) {
            EXPECT_EQ(progress.stage, "lists");
            EXPECT_EQ(progress.done, done++);
            EXPECT_EQ(progress.total, 10U);
            return true;
        });
    EXPECT_EQ(done, 10U);
}

TEST(CoarseQuantizer, UsesAtMost128RowsAList) {
    // Rows beyond the sample, which is evenly spaced, may be anything.
    std::vector<float> rows = test::random_rows(2 * 128 * 3, kWidth);
    const auto centroids = [&] {
        const auto quantizer =
            CoarseQuantizer::train(Metric::kL2, test::view(rows, kWidth), 3, 0, {});
        return std::vector<float>(
            quantizer.centroids().data(), quantizer.centroids().data() + 3 * kWidth);
    };
    const std::vector<float> before = centroids();
    for (std::size_t i = 1; i < 2 * 128 * 3; i += 2) {
        rows[i * kWidth] += 100.0F;
    }
    EXPECT_EQ(centroids(), before);
    rows[4 * kWidth] += 100.0F;
    EXPECT_NE(centroids(), before);
}

TEST(CoarseQuantizer, RefusesFewerRowsThanListsAndStopsWhenTold) {
    const std::vector<float> rows = test::random_rows(7, kWidth);
    ARFC_EXPECT_ERROR(
        (void)CoarseQuantizer::train(Metric::kL2, test::view(rows, kWidth), 8, 0, {}),
        ErrorKind::kInvalidArgument, "fewer than inverted lists: 7, expected at least 8");
    ARFC_EXPECT_ERROR(
        (void)CoarseQuantizer::train(Metric::kL2, test::view(rows, kWidth), 0, 0, {}),
        ErrorKind::kInvalidArgument, "fewer than inverted lists: 7, expected at least 0");
    ARFC_EXPECT_ERROR(
        (void)CoarseQuantizer::train(
            Metric::kL2, test::view(rows, kWidth), 2, 0,
            [](const Progress& progress) { return progress.done < 3; }),
        ErrorKind::kCancelled, "cancelled");
}

} // namespace
} // namespace arfc
