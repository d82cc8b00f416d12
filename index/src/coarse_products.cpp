#include "coarse_products.h"

#include "arfc/base/instruction_set.h"

namespace arfc {
namespace {

constexpr std::size_t kTogether = 4; // Rows multiplied by a centroid while it is in registers.
constexpr std::size_t kLanes = 16;

/// Multiplies kRowCount rows by one centroid.
template <std::size_t kRowCount>
[[gnu::always_inline]] inline void multiply(
    const float* rows, const float* centroid, std::size_t dim, float* out) {
    float lanes[kRowCount][kLanes] = {};
    std::size_t j = 0;
    for (; j + kLanes <= dim; j += kLanes) {
        for (std::size_t r = 0; r < kRowCount; ++r) {
            for (std::size_t l = 0; l < kLanes; ++l) {
                lanes[r][l] += rows[r * dim + j + l] * centroid[j + l];
            }
        }
    }
    for (std::size_t l = 0; j + l < dim; ++l) {
        for (std::size_t r = 0; r < kRowCount; ++r) {
            lanes[r][l] += rows[r * dim + j + l] * centroid[j + l];
        }
    }
    for (std::size_t r = 0; r < kRowCount; ++r) {
        for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
            for (std::size_t l = 0; l < width; ++l) {
                lanes[r][l] += lanes[r][l + width];
            }
        }
        out[r] = lanes[r][0];
    }
}

[[gnu::always_inline]] inline void multiply_all(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products) {
    std::size_t i = 0;
    for (; i + kTogether <= count; i += kTogether) {
        for (std::size_t c = 0; c < nlist; ++c) {
            float out[kTogether];
            multiply<kTogether>(rows + i * dim, centroids + c * dim, dim, out);
            for (std::size_t r = 0; r < kTogether; ++r) {
                products[(i + r) * nlist + c] = out[r];
            }
        }
    }
    for (; i < count; ++i) {
        for (std::size_t c = 0; c < nlist; ++c) {
            multiply<1>(rows + i * dim, centroids + c * dim, dim, products + i * nlist + c);
        }
    }
}

void portable(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products) {
    multiply_all(rows, count, centroids, nlist, dim, products);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void avx2_products(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products) {
    multiply_all(rows, count, centroids, nlist, dim, products);
}
#endif

} // namespace

CoarseProducts portable_coarse_products() noexcept {
    return portable;
}

CoarseProducts coarse_products() noexcept {
#if defined(__x86_64__)
    if (instruction_set() >= InstructionSet::kAvx512) {
        return avx512::coarse_products;
    }
    if (instruction_set() >= InstructionSet::kAvx2) {
        return avx2_products;
    }
#endif
    return portable;
}

} // namespace arfc
