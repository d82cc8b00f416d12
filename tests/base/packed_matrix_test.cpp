#include "arfc/base/packed_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <vector>

#include "product_kernel.h"
#include "random_rows.h"

namespace arfc {
namespace {

using test::random_floats;

struct Kernel {
    const char* name;
    ProductKernel multiply;
};

std::vector<Kernel> runnable() {
    std::vector<Kernel> all = {{"portable", portable::kMultiply}};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
        all.push_back({"avx2", avx2::kMultiply});
    }
    if (__builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512bw") != 0) {
        all.push_back({"avx512", avx512::kMultiply});
    }
#endif
    return all;
}

TEST(ProductKernel, IsOneChainWhateverTheRowsTogether) {
    for (const Kernel& kernel : runnable()) {
        for (const std::size_t inner : {1U, 3U, 48U, 97U, 384U, 1500U}) {
            constexpr std::size_t kRows = 29;
            constexpr std::size_t kCols = 80;
            const std::vector<float> a = random_floats(kRows * inner, 1);
            const std::vector<float> b = random_floats(kCols * inner, 2);
            AlignedFloats panels(kCols * inner);
            for (std::size_t j = 0; j < kCols; ++j) {
                for (std::size_t l = 0; l < inner; ++l) {
                    panels.data()[(j / 16 * inner + l) * 16 + j % 16] = b[j * inner + l];
                }
            }
            std::vector<float> together(kRows * kCols);
            kernel.multiply(
                a.data(), inner, kRows, inner, panels.data(), kCols / 16, together.data(), kCols);
            std::vector<float> alone(kCols);
            for (std::size_t i = 0; i < kRows; ++i) {
                kernel.multiply(
                    a.data() + i * inner, inner, 1, inner, panels.data(), kCols / 16, alone.data(),
                    kCols);
                for (std::size_t j = 0; j < kCols; ++j) {
                    ASSERT_EQ(together[i * kCols + j], alone[j])
                        << kernel.name << " inner " << inner;
                    double exact = 0.0;
                    for (std::size_t l = 0; l < inner; ++l) {
                        exact += static_cast<double>(a[i * inner + l]) *
                                 static_cast<double>(b[j * inner + l]);
                    }
                    ASSERT_NEAR(alone[j], exact, 1e-4 * std::sqrt(static_cast<double>(inner)))
                        << kernel.name;
                }
            }
        }
    }
}

TEST(ProductKernel, InstructionSetsWithFusedMultiplyAddAgreeToTheBit) {
    const std::vector<Kernel> all = runnable();
    if (all.size() < 3) {
        GTEST_SKIP()
            << "this processor has fewer than two instruction sets with fused multiply-add";
    }
    const std::vector<float> a = random_floats(13 * 384, 3);
    AlignedFloats panels(256 * 384);
    const std::vector<float> b = random_floats(256 * 384, 4);
    std::copy(b.begin(), b.end(), panels.data());
    std::vector<float> left(13 * 256);
    std::vector<float> right(13 * 256);
    all[1].multiply(a.data(), 384, 13, 384, panels.data(), 16, left.data(), 256);
    all[2].multiply(a.data(), 384, 13, 384, panels.data(), 16, right.data(), 256);
    EXPECT_EQ(left, right);
}

TEST(PackedMatrix, ProductsOfALastPanelArePaddedWithZeros) {
    const std::vector<float> rows = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F}; // Three of two.
    const PackedMatrix packed({rows.data(), 3, 2});
    EXPECT_EQ(packed.rows(), 3U);
    EXPECT_EQ(packed.inner(), 2U);
    EXPECT_EQ(packed.flop(), 2.0 * 3 * 2);
    EXPECT_EQ(PackedMatrix().flop(), 0.0);
    const std::vector<float> a = {10.0F, 100.0F};
    std::vector<float> out(16, -1.0F);
    packed.multiply(a.data(), 2, 1, out.data(), 16);
    std::vector<float> expected(16, 0.0F);
    expected[0] = 210.0F;
    expected[1] = 430.0F;
    expected[2] = 650.0F;
    EXPECT_EQ(out, expected);
}

TEST(PackedMatrix, GivesItsRowsBack) {
    const std::vector<float> rows = random_floats(21 * 5, 5);
    const PackedMatrix packed({rows.data(), 21, 5});
    std::vector<float> row(5);
    for (std::size_t i = 0; i < 21; ++i) {
        packed.copy_row(i, row);
        EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.data() + i * 5)) << i;
    }
}

TEST(AlignedFloats, StartAtACacheLineOrAreRefused) {
    for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 1000U}) {
        const AlignedFloats floats(size);
        EXPECT_EQ(floats.size(), size);
        ASSERT_NE(floats.data(), nullptr) << size;
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(floats.data()) % 64, 0U) << size;
    }
    EXPECT_THROW(AlignedFloats(std::size_t{1} << 60U), std::bad_alloc);
}

} // namespace
} // namespace arfc
