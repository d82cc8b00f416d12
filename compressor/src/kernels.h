#pragma once

#include <cstddef>

namespace arfc {

/// Columns of one packed panel: what the widest vector unit holds in floats.
inline constexpr std::size_t kPanel = 16;

/// The inner loops of encoding and table building, compiled once per instruction set.
///
/// Every output element is one chain of fused multiply-adds over the inner dimension, from 0
/// upwards, so its bits depend neither on how many rows are computed together nor on the vector
/// width.
struct Kernels {
    const char* name; ///< "avx512", "avx2" or "portable".

    /// out[i][16 p + j] = sum over l of a[i][l] * panels[p][l][j], for i < rows, p < panel_count.
    /// @param a       [rows, lda], inner dimension `inner` <= lda.
    /// @param panels  [panel_count, inner, 16], 64-byte aligned.
    /// @param out     [rows, ldout].
    void (*multiply)(
        const float* a, std::size_t lda, std::size_t rows, std::size_t inner, const float* panels,
        std::size_t panel_count, float* out, std::size_t ldout);

    /// cost[k] = norm[k] - 2 y[k] + sum over s of cross[s][k] + base, for 256 k, added in this
    /// order.
    void (*symbol_costs)(
        const float* norm, const float* y, const float* const* cross, std::size_t count, float base,
        float* cost);

    /// Returns the k of the smallest norm[k] - 2 y[k] among 256 (ties: the lowest), and that cost.
    std::size_t (*closest)(const float* norm, const float* y, float* cost);

    /// Returns a value that at least `count` of `size` values do not exceed, and few more (16: 54
    /// of 4096 in a random order); `size` is a multiple of 16, `count` in [1, 16].
    float (*bound)(const float* values, std::size_t size, std::size_t count);

    /// Writes the indices of values <= `threshold` among 256, ascending; returns how many.
    std::size_t (*at_most)(const float* values, float threshold, unsigned char* indices);

    /// acc[i] += x[i]
    void (*add)(float* acc, const float* x, std::size_t n);

    /// acc[i] -= x[i]
    void (*subtract)(float* acc, const float* x, std::size_t n);

    /// Returns the inner product, summed in 16 lanes that are then added pairwise.
    float (*dot)(const float* a, const float* b, std::size_t n);
};

/// Returns the kernels of this processor: the one place where an instruction set is chosen.
/// The environment variable ARFC_KERNELS ("avx512", "avx2", "portable") overrides it, for tests and
/// benchmarks.
[[nodiscard]] const Kernels& kernels() noexcept;

} // namespace arfc
