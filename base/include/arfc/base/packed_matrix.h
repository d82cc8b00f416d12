#pragma once

#include <cstddef>
#include <span>

#include "arfc/base/aligned_floats.h"
#include "arfc/base/matrix_view.h"

namespace arfc {

/// Columns of one packed panel: what the widest vector unit holds in floats.
inline constexpr std::size_t kPanel = 16;

/// Returns how many columns a product by so many rows of a PackedMatrix has: whole panels.
[[nodiscard]] constexpr std::size_t padded_columns(std::size_t rows) noexcept {
    return (rows + kPanel - 1) / kPanel * kPanel;
}

/// Returns the floating-point operations of one vector's products with so many rows of `inner`
/// numbers each (multiply and add are two).
[[nodiscard]] constexpr double product_flop(std::size_t rows, std::size_t inner) noexcept {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(inner);
}

/// A matrix that others are multiplied by, laid out for that: panels of 16 rows, each transposed;
/// the last one padded with zeros.
///
/// Every element of a product is one chain of fused multiply-adds over the inner dimension, from 0
/// upwards: its bits depend neither on how many rows are multiplied together nor on the vector
/// width. Immutable once made; thread-safe.
class PackedMatrix {
  public:
    PackedMatrix() = default;

    /// @param rows  [n, inner].
    explicit PackedMatrix(MatrixView<const float> rows);

    [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] std::size_t inner() const noexcept { return inner_; }
    /// Returns what multiplying one row takes.
    [[nodiscard]] double flop() const noexcept { return product_flop(rows_, inner_); }

    /// Multiplies: out[i][j] = <a_i, row j>, j < rows() rounded up to 16.
    /// @param a     [count, lda], the first inner() columns are used.
    /// @param out   [count, ldout], ldout >= rows() rounded up to 16.
    void multiply(
        const float* a, std::size_t lda, std::size_t count, float* out, std::size_t ldout) const {
        multiply_leading(a, lda, count, rows_, out, ldout);
    }

    /// The same by the first `leading` rows alone, at most rows(): the same bits.
    void multiply_leading(
        const float* a, std::size_t lda, std::size_t count, std::size_t leading, float* out,
        std::size_t ldout) const;

    /// Copies row i < rows(). @param row  Out, [inner()].
    void copy_row(std::size_t i, std::span<float> row) const noexcept;

  private:
    std::size_t rows_ = 0;
    std::size_t inner_ = 0;
    AlignedFloats panels_;
};

} // namespace arfc
