#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arfc/storage/store.h"
#include "staged_index.h"

namespace arfc {

/// Tails in a state of a store, which must outlive it.
class StoredTails final : public TailSource {
  public:
    explicit StoredTails(const storage::Snapshot& snapshot) noexcept : snapshot_(snapshot) {}

    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        snapshot_.read_tails(rows, tails, lengths);
    }

  private:
    const storage::Snapshot& snapshot_;
};

} // namespace arfc
