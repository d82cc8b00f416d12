#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace arfc {

/// The places of the least of some values, ascending; among equals the one that comes first is
/// first. No branch depends on the values, which cannot be foretold.
class BestPlaces {
  public:
    /// @param size  A multiple of 16, at most kMostJudged.
    /// @param kept  At most `size`. Where values are NaN, the order is any.
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): read as far as they are written
    BestPlaces(const float* values, std::size_t size, std::size_t kept) {
        std::array<std::int32_t, kMostJudged> ranks; // NOLINT: as above
        kernels().ranks(values, size, ranks.data());
        for (std::size_t r = 0; r < kept; ++r) {
            places_[r] = kNone;
        }
        for (std::size_t i = 0; i < size; ++i) {
            auto at = static_cast<std::size_t>(ranks[i]);
            // Equals have the same rank, and the places behind it are theirs.
            while (at < kept && places_[at] != kNone) {
                ++at;
            }
            if (at < kept) {
                places_[at] = static_cast<std::uint8_t>(i);
            }
        }
        for (std::size_t r = 0; r < kept; ++r) {
            places_[r] = places_[r] == kNone ? std::uint8_t{0} : places_[r];
        }
    }

    [[nodiscard]] std::size_t operator[](std::size_t rank) const noexcept { return places_[rank]; }

  private:
    static constexpr std::uint8_t kNone = 255;
    std::array<std::uint8_t, kMostJudged> places_;
};

} // namespace arfc
