#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"

namespace arfc {

/// Uncompressed rows that a collection keeps beside its codes, to know what recall they give: a
/// uniform sample of its live rows, as float16.
///
/// A row is in the sample where a hash of its number is among the smallest, so that which ones are
/// kept depends on neither order nor batches, and rows may leave. No code and no score depends on
/// it. Const members may be called from many threads; the others need the object alone.
///
/// Source: bottom-k sampling (Cohen, Kaplan: Summarizing data using bottom-k sketches, PODC 2007).
class CalibrationSample {
  public:
    static constexpr std::size_t kMostRows = 2000;

    explicit CalibrationSample(std::size_t dim) : dim_(dim) {}

    /// Offers rows; the first is number `first`, the others follow.
    /// @param rows  [n, dim], finite.
    void add(std::uint64_t first, MatrixView<const float> rows);

    /// Drops rows that are in it.
    void erase(std::span<const std::uint64_t> rows);

    /// Drops the rows that are not live.
    void keep(const std::function<bool(std::uint64_t)>& is_live);

    [[nodiscard]] std::size_t rows() const noexcept { return kept_.size(); }
    [[nodiscard]] std::size_t bytes() const noexcept; ///< Resident and on disk, about.

    /// Returns the rows in an order that has nothing to do with their numbers: [rows(), dim], each
    /// value exact to 2^-11 of the largest of its row.
    [[nodiscard]] std::vector<float> values() const;

    /// Writes the sample; docs/index_format.md gives every byte.
    [[nodiscard]] std::string save() const;

    /// Reads what save() wrote.
    /// @throws Error  kCorruption: truncated, altered, or of another width. kUnsupported: a newer
    ///                format.
    [[nodiscard]] static CalibrationSample restore(std::string_view bytes, std::size_t dim);

  private:
    struct Kept {
        std::uint64_t row = 0;
        float scale = 0;                   ///< Largest magnitude of the row.
        std::vector<std::uint16_t> halves; ///< [dim] float16 of value / scale.
    };

    std::size_t dim_;
    std::uint64_t below_ = UINT64_MAX;   ///< Hashes from here on are in no sample of this size.
    std::map<std::uint64_t, Kept> kept_; ///< By hash.
};

} // namespace arfc
