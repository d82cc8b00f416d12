#pragma once

#include <cstddef>
#include <cstdint>

namespace arfc {

/// out[i][16 p + j] = sum over l of a[i][l] * panels[p][l][j], for i < rows, p < panel_count.
///
/// Every output element is one chain of fused multiply-adds over the inner dimension, from 0
/// upwards, so its bits depend neither on how many rows are computed together nor on the vector
/// width.
/// @param a       [rows, lda], inner dimension `inner` <= lda.
/// @param panels  [panel_count, inner, 16], 64-byte aligned.
/// @param out     [rows, ldout].
using ProductKernel = void (*)(
    const float* a, std::size_t lda, std::size_t rows, std::size_t inner, const float* panels,
    std::size_t panel_count, float* out, std::size_t ldout);

namespace portable {
extern const ProductKernel kMultiply;
} // namespace portable
#if defined(__x86_64__)
namespace avx2 {
extern const ProductKernel kMultiply;
} // namespace avx2
namespace avx512 {
extern const ProductKernel kMultiply;
} // namespace avx512
#endif

/// Returns the kernel of instruction_set().
[[nodiscard]] ProductKernel product_kernel() noexcept;

} // namespace arfc
