#include "kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include "best_places.h"
#include "random_rows.h"

namespace arfc {

namespace portable {
extern const Kernels kKernels;
} // namespace portable
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
} // namespace avx2
namespace avx512 {
extern const Kernels kKernels;
} // namespace avx512
#endif

namespace {

using test::random_floats;

std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> all = {&portable::kKernels};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
        all.push_back(&avx2::kKernels);
    }
    if (__builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512bw") != 0) {
        all.push_back(&avx512::kKernels);
    }
#endif
    return all;
}

TEST(KernelsTest, InstructionSetsWithFusedMultiplyAddAgreeToTheBit) {
    const auto all = runnable();
    if (all.size() < 3) {
        GTEST_SKIP()
            << "this processor has fewer than two instruction sets with fused multiply-add";
    }
    const std::vector<float> a = random_floats(380, 3);
    const std::vector<float> b = random_floats(380, 4);
    EXPECT_EQ(all[1]->dot(a.data(), b.data(), 380), all[2]->dot(a.data(), b.data(), 380));
}

TEST(KernelsTest, ClosestTakesTheLowestOfEquals) {
    for (const Kernels* kernel : runnable()) {
        std::vector<float> norm(256, 1.0F);
        std::vector<float> y(256, 0.0F);
        float cost = 0.0F;
        EXPECT_EQ(kernel->closest(norm.data(), y.data(), &cost), 0U) << kernel->name;
        y[200] = 2.0F;
        y[37] = 2.0F;
        EXPECT_EQ(kernel->closest(norm.data(), y.data(), &cost), 37U) << kernel->name;
        EXPECT_EQ(cost, -3.0F);
        y[255] = 3.0F;
        EXPECT_EQ(kernel->closest(norm.data(), y.data(), &cost), 255U) << kernel->name;
    }
}

TEST(KernelsTest, AtMostListsWhatDoesNotExceedTheThreshold) {
    for (const Kernels* kernel : runnable()) {
        for (const std::size_t size : {std::size_t{16}, std::size_t{48}, std::size_t{256}}) {
            const std::vector<float> values = random_floats(size, static_cast<std::uint32_t>(size));
            for (const float threshold : {-9.0F, -1.0F, values[7], 0.0F, 9.0F}) {
                std::vector<std::uint32_t> expected;
                for (std::size_t i = 0; i < size; ++i) {
                    if (values[i] <= threshold) {
                        expected.push_back(static_cast<std::uint32_t>(i));
                    }
                }
                std::vector<std::uint32_t> indices(size + 16);
                indices.resize(kernel->at_most(values.data(), size, threshold, indices.data()));
                EXPECT_EQ(indices, expected) << kernel->name << " " << size << " " << threshold;
            }
        }
    }
}

TEST(KernelsTest, RanksCountWhatIsLess) {
    for (const Kernels* kernel : runnable()) {
        for (std::size_t size = 16; size <= kMostJudged; size += 16) {
            std::vector<float> values = random_floats(size, static_cast<std::uint32_t>(size));
            values[3] = values[11]; // Equals have one rank.
            values[5] = std::numeric_limits<float>::infinity();
            std::vector<std::int32_t> ranks(size);
            kernel->ranks(values.data(), size, ranks.data());
            for (std::size_t i = 0; i < size; ++i) {
                EXPECT_EQ(
                    ranks[i], std::count_if(
                                  values.begin(), values.end(),
                                  [&](float value) { return value < values[i]; }))
                    << kernel->name << " " << size;
            }
        }
    }
}

TEST(BestPlacesTest, AreThoseOfTheLeastAndOfEqualsTheFirst) {
    for (std::size_t size = 16; size <= kMostJudged; size += 16) {
        std::vector<float> values = random_floats(size, static_cast<std::uint32_t>(size));
        for (float& value : values) {
            value = std::round(2.0F * value); // Many are equal.
        }
        std::vector<std::size_t> order(size);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return values[a] < values[b];
        });
        for (const std::size_t kept : {std::size_t{1}, std::size_t{16}, size}) {
            const BestPlaces places(values.data(), size, kept);
            for (std::size_t rank = 0; rank < kept; ++rank) {
                EXPECT_EQ(places[rank], order[rank]) << size << " " << kept;
            }
        }
    }
}

TEST(BestPlacesTest, OfNotANumberArePlacesStill) {
    const std::vector<float> values(32, std::nanf(""));
    const BestPlaces places(values.data(), 32, 16);
    for (std::size_t rank = 0; rank < 16; ++rank) {
        EXPECT_LT(places[rank], 32U);
    }
}

TEST(KernelsTest, CostsAddInOrder) {
    for (const Kernels* kernel : runnable()) {
        const std::vector<float> norm = random_floats(256, 5);
        const std::vector<float> y = random_floats(256, 6);
        const std::vector<float> c0 = random_floats(256, 7);
        const std::vector<float> c1 = random_floats(256, 8);
        const float* crosses[] = {c0.data(), c1.data()};
        std::vector<float> start(256);
        kernel->symbol_costs(norm.data(), y.data(), start.data());
        std::vector<float> cost(256);
        std::vector<float> minima(16);
        kernel->total_costs(start.data(), crosses, 2, 0.25F, cost.data(), minima.data());
        for (std::size_t k = 0; k < 256; ++k) {
            const double exact = static_cast<double>(norm[k]) - 2.0 * static_cast<double>(y[k]) +
                                 static_cast<double>(c0[k]) + static_cast<double>(c1[k]) + 0.25;
            EXPECT_NEAR(cost[k], exact, 1e-5) << kernel->name;
        }
        for (std::size_t lane = 0; lane < 16; ++lane) {
            float least = cost[lane];
            for (std::size_t k = lane; k < 256; k += 16) {
                least = std::min(least, cost[k]);
            }
            EXPECT_EQ(minima[lane], least) << kernel->name;
        }
        // In two parts, as where hypotheses share the first: the same bits.
        std::vector<float> part(256);
        kernel->add_rows(start.data(), crosses, 1, part.data());
        std::vector<float> again(256);
        kernel->total_costs(part.data(), crosses + 1, 1, 0.25F, again.data(), minima.data());
        EXPECT_EQ(again, cost) << kernel->name;
        kernel->add_rows(start.data(), crosses, 1, start.data());
        EXPECT_EQ(start, part) << kernel->name;
    }
}

/// Judged by hand, in double, for each way to score.
TEST(KernelsTest, JudgementsAreTheErrorsOfScores) {
    constexpr std::size_t kAsked = 3;
    constexpr std::size_t kSize = 32;
    const std::vector<float> tables = random_floats(kAsked * 256, 20);
    const float* const rows[] = {tables.data(), tables.data() + 256, tables.data() + 512};
    const std::vector<float> sums = random_floats(kAsked * 16, 21);
    const std::vector<float> wanted = random_floats(kAsked, 22);
    const std::vector<float> own = random_floats(kSize, 23);
    std::vector<float> distances = random_floats(kSize, 24);
    std::vector<std::uint32_t> hypotheses(kSize);
    std::vector<std::uint32_t> symbols(kSize);
    std::mt19937 random(25);
    for (std::size_t c = 0; c < kSize; ++c) {
        distances[c] = 4.0F + distances[c] * distances[c];
        hypotheses[c] = random() % 16;
        symbols[c] = random() % 256;
    }
    symbols[0] = 0;
    symbols[1] = 255;
    constexpr double kSquared = 1.5;
    constexpr double kWeight = 0.3;
    for (const int metric : {0, 1, 2}) { // Cosine, L2, inner product.
        const Judgement by = {rows, sums.data(), wanted.data(), kAsked,
                              1.5F, 0.3F,        metric == 0,   metric == 1};
        std::vector<std::vector<float>> all;
        for (const Kernels* kernel : runnable()) {
            std::vector<float> errors = distances;
            kernel->judge(by, kSize, hypotheses.data(), symbols.data(), own.data(), errors.data());
            std::vector<float> longer = sums;
            kernel->extend(rows, kAsked, hypotheses.data(), symbols.data(), longer.data());
            for (std::size_t c = 0; c < kSize; ++c) {
                const auto product = static_cast<double>(own[c]);
                auto error = static_cast<double>(distances[c]);
                const double squared = error - kSquared + 2.0 * product;
                double factor = 1.0;
                double offset = 0.0;
                if (metric == 0) {
                    factor = squared > 0.0 ? 1.0 / std::sqrt(squared) : 0.0;
                    error = kSquared - 2.0 * factor * product + factor * factor * squared;
                } else if (metric == 1) {
                    offset = 0.5 * squared;
                }
                double expected = kWeight * error;
                for (std::size_t j = 0; j < kAsked; ++j) {
                    const double sum = static_cast<double>(sums[j * 16 + hypotheses[c]]) +
                                       static_cast<double>(rows[j][symbols[c]]);
                    expected +=
                        std::pow(sum * factor - offset - static_cast<double>(wanted[j]), 2.0);
                    if (c < 16) {
                        EXPECT_NEAR(longer[j * 16 + c], sum, 1e-5) << kernel->name;
                    }
                }
                EXPECT_NEAR(errors[c], expected, 1e-4 * (1.0 + expected)) << kernel->name;
            }
            all.push_back(errors);
        }
        if (all.size() == 3) {
            EXPECT_EQ(all[1], all[2]); // Codes do not depend on the instruction set.
        }
    }
}

TEST(KernelsTest, WhatHasNoClosestTakesTheFirst) {
    for (const Kernels* kernel : runnable()) {
        const std::vector<float> norm(256, std::nanf(""));
        const std::vector<float> y(256, 0.0F);
        float cost = 0.0F;
        EXPECT_EQ(kernel->closest(norm.data(), y.data(), &cost), 0U) << kernel->name;
    }
}

TEST(KernelsTest, TheWidestThatTheProcessorHasAreChosen) {
    if (std::getenv("ARFC_KERNELS") != nullptr) {
        GTEST_SKIP() << "ARFC_KERNELS chooses others";
    }
    EXPECT_STREQ(kernels().name, runnable().back()->name);
}

/// Each in a process of its own, since the choice is made once.
TEST(KernelsDeathTest, TheEnvironmentChoosesOthers) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto chosen = [](const char* wanted) {
        setenv("ARFC_KERNELS", wanted, 1);
        return std::string_view(kernels().name);
    };
    for (const Kernels* kernel : runnable()) {
        EXPECT_EXIT(
            std::exit(chosen(kernel->name) == kernel->name ? 0 : 1), ::testing::ExitedWithCode(0),
            "")
            << kernel->name;
    }
    EXPECT_EXIT(
        std::exit(chosen("abacus") == "portable" ? 0 : 1), ::testing::ExitedWithCode(0), "");
}

TEST(KernelsTest, DotAddsTheRemainderToo) {
    for (const Kernels* kernel : runnable()) {
        for (const std::size_t n : {0U, 1U, 15U, 16U, 17U, 100U}) {
            const std::vector<float> a = random_floats(n, 9);
            double exact = 0.0;
            for (const float value : a) {
                exact += static_cast<double>(value) * static_cast<double>(value);
            }
            EXPECT_NEAR(kernel->dot(a.data(), a.data(), n), exact, 1e-4)
                << kernel->name << " " << n;
        }
    }
}

} // namespace
} // namespace arfc
