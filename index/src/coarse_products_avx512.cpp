#include <immintrin.h>

#include "coarse_products.h"

// GCC 12 takes what some intrinsics leave undefined on purpose for uninitialised.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

// Nothing here may call an inline function of the standard library: the linker keeps one copy of
// those, and it must run everywhere. Compiled without contraction to fused multiply-add.

namespace arfc::avx512 {
namespace {

constexpr unsigned long kLanes = 16;
constexpr unsigned long kRows = 4;      // Times four centroids: 16 registers of sums, and eight
constexpr unsigned long kCentroids = 4; // loads for 16 products.

// Adds lanes 8 to 15 to lanes 0 to 7, then 4 to 7 to 0 to 3.
__attribute__((always_inline)) inline __m128 quarter(__m512 sums) {
    const __m256 half = _mm256_add_ps(
        _mm512_castps512_ps256(sums),
        _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(sums), 1)));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// Adds up the four lanes of each: 2 and 3 to 0 and 1, then 1 to 0.
__attribute__((always_inline)) inline __m128 joined(__m128 a, __m128 b, __m128 c, __m128 d) {
    const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

template <int kRowCount, int kCentroidCount>
__attribute__((always_inline)) inline void multiply_tile(
    const float* rows, const float* centroids, unsigned long nlist, unsigned long dim,
    float* products) {
    __m512 sums[kRowCount][kCentroidCount];
    for (int r = 0; r < kRowCount; ++r) {
        for (int c = 0; c < kCentroidCount; ++c) {
            sums[r][c] = _mm512_setzero_ps();
        }
    }
    for (unsigned long j = 0; j < dim; j += kLanes) {
        const unsigned long left = dim - j;
        const auto lanes = static_cast<__mmask16>(left < kLanes ? (1U << left) - 1 : 0xFFFFU);
        __m512 centroid[kCentroidCount];
#pragma GCC unroll 4
        for (int c = 0; c < kCentroidCount; ++c) {
            centroid[c] =
                _mm512_maskz_loadu_ps(lanes, centroids + static_cast<unsigned long>(c) * dim + j);
        }
#pragma GCC unroll 4
        for (int r = 0; r < kRowCount; ++r) {
            const __m512 row =
                _mm512_maskz_loadu_ps(lanes, rows + static_cast<unsigned long>(r) * dim + j);
#pragma GCC unroll 4
            for (int c = 0; c < kCentroidCount; ++c) {
                sums[r][c] = _mm512_mask_add_ps(
                    sums[r][c], lanes, sums[r][c], _mm512_mul_ps(row, centroid[c]));
            }
        }
    }
    for (int r = 0; r < kRowCount; ++r) {
        float* const out = products + static_cast<unsigned long>(r) * nlist;
        __m128 quarters[4] = {};
        for (int c = 0; c < kCentroidCount; ++c) {
            quarters[c] = quarter(sums[r][c]);
        }
        const __m128 whole = joined(quarters[0], quarters[1], quarters[2], quarters[3]);
        if constexpr (kCentroidCount == 4) {
            _mm_storeu_ps(out, whole);
        } else {
            _mm_store_ss(out, whole);
        }
    }
}

template <int kCentroidCount>
__attribute__((always_inline)) inline void multiply_rows(
    const float* rows, unsigned long count, const float* centroids, unsigned long nlist,
    unsigned long dim, float* products) {
    unsigned long i = 0;
    for (; i + kRows <= count; i += kRows) {
        multiply_tile<kRows, kCentroidCount>(
            rows + i * dim, centroids, nlist, dim, products + i * nlist);
    }
    for (; i < count; ++i) {
        multiply_tile<1, kCentroidCount>(
            rows + i * dim, centroids, nlist, dim, products + i * nlist);
    }
}

} // namespace

void coarse_products(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products) {
    unsigned long c = 0;
    for (; c + kCentroids <= nlist; c += kCentroids) {
        multiply_rows<kCentroids>(rows, count, centroids + c * dim, nlist, dim, products + c);
    }
    for (; c < nlist; ++c) {
        multiply_rows<1>(rows, count, centroids + c * dim, nlist, dim, products + c);
    }
}

} // namespace arfc::avx512
