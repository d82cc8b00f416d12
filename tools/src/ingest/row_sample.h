#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"

namespace arfc::tools {

/// Keeps a uniform sample of rows that pass by once, in memory for the sample alone.
///
/// Each set of `capacity` rows of the stream is as likely as every other one. Which one it is
/// depends on the seed and on the rows' order, not on how they came in batches. A stream of no more
/// rows than `capacity` is kept whole and in order. Not thread-safe.
///
/// Source: Waterman's algorithm R (Vitter, Random Sampling with a Reservoir, TOMS 1985).
class RowSample {
  public:
    /// @param dim       Width of every row, in floats, at least 1.
    /// @param capacity  Rows kept, at least 1.
    /// @param expected  Rows that will come, where it is known: what is reserved at once.
    /// @throws Error    kInvalidArgument: `dim` or `capacity` is zero.
    RowSample(
        std::size_t dim, std::size_t capacity, std::uint64_t seed, std::uint64_t expected = 0);

    /// Offers the next rows of the stream. @param rows  [n, dim], n may be 0.
    void add(MatrixView<const float> rows);

    /// Returns the sample [min(rows_offered(), capacity), dim]; valid until the next add().
    [[nodiscard]] MatrixView<const float> rows() const noexcept {
        return {values_.data(), values_.size() / dim_, dim_};
    }
    [[nodiscard]] std::uint64_t rows_offered() const noexcept { return offered_; }

  private:
    void append(std::span<const float> row);

    std::size_t dim_;
    std::size_t capacity_;
    std::mt19937_64 random_;
    std::uint64_t offered_ = 0;
    std::vector<float> values_; // [rows kept, dim]
};

} // namespace arfc::tools
