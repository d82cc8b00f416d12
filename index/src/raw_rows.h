#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"

namespace arfc {

/// Float32 rows of a collection that has no model yet, searched exactly.
///
/// Rows are numbered 0, 1, 2, ... in the order they are added. Const members may be called from
/// many threads; the others need the object alone.
class RawRows {
  public:
    RawRows(std::size_t dim, Metric metric) : dim_(dim), metric_(metric) {}

    /// @param rows  [n, dim], finite; under cosine not zero.
    void add(MatrixView<const float> rows);
    void erase(std::span<const std::uint64_t> rows);

    [[nodiscard]] std::size_t rows() const noexcept {
        return live_.size();
    } ///< Erased ones included.
    [[nodiscard]] std::size_t live_rows() const noexcept { return rows() - erased_; }
    [[nodiscard]] bool is_live(std::uint64_t row) const noexcept {
        return row < rows() && live_[row];
    }
    [[nodiscard]] std::span<const float> row(std::uint64_t row) const noexcept {
        return {values_.data() + row * dim_, dim_};
    }
    [[nodiscard]] std::size_t resident_bytes() const noexcept;

    struct Found {
        std::uint64_t row;
        float score; ///< Larger = closer, as Compressor::combine.
    };
    /// Finds the k best live rows, best first; equal scores: smaller row first.
    /// @param accepts  Where set, only rows that it accepts. Called from many threads.
    /// @returns [m], each at most k.
    [[nodiscard]] std::vector<std::vector<Found>> search(
        MatrixView<const float> queries, std::size_t k,
        const std::function<bool(std::uint64_t)>& accepts) const;

  private:
    std::size_t dim_;
    Metric metric_;
    std::vector<float> values_;        ///< [rows, dim].
    std::vector<float> inverse_norms_; ///< [rows] under cosine.
    std::vector<bool> live_;
    std::size_t erased_ = 0;
};

} // namespace arfc
