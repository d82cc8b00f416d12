#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "staged_index.h"

namespace arfc {

/// Tails in one array that somebody else owns: row r's begins at `first + r * stride`.
class MemoryTails final : public TailSource {
  public:
    /// @param first   Tail of row 0.
    /// @param stride  Bytes from one row's tail to the next one's.
    /// @param length  Bytes of each tail.
    MemoryTails(const std::byte* first, std::size_t stride, std::size_t length) noexcept
        : first_(first), stride_(stride), length_(length) {}

    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        const std::size_t count = std::min(tails.cols(), length_);
        for (const std::uint64_t row : rows) { // Their misses overlap.
            const std::byte* const tail = first_ + row * stride_;
            for (std::size_t line = 0; line < count; line += 64) {
                __builtin_prefetch(tail + line);
            }
        }
        for (std::size_t i = 0; i < rows.size(); ++i) {
            std::copy_n(first_ + rows[i] * stride_, count, tails.row(i).data());
            lengths[i] = count;
        }
    }

    [[nodiscard]] bool is_resident() const noexcept override { return true; }

  private:
    const std::byte* first_;
    std::size_t stride_;
    std::size_t length_;
};

} // namespace arfc
