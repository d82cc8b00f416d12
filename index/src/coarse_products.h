#pragma once

#include <cstddef>

namespace arfc {

/// Multiplies rows [count, dim] by centroids [nlist, dim]: products [count, nlist].
///
/// Each product is 16 partial sums of every sixteenth number, added up pairwise, without fused
/// multiply-add: the same bits for a row in every batch and by every instruction set.
using CoarseProducts = void (*)(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products);

/// Returns the fastest one that this processor runs.
[[nodiscard]] CoarseProducts coarse_products() noexcept;

/// Returns one that every processor runs.
[[nodiscard]] CoarseProducts portable_coarse_products() noexcept;

#if defined(__x86_64__)
namespace avx512 {
void coarse_products(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products);
} // namespace avx512
#endif

} // namespace arfc
