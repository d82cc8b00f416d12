#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

/// A radius as an index keeps it: never less than what was measured, and by at most 1/256 of it
/// more. The 8 bits of a float's exponent and the first 8 of its fraction, rounded up.
using ErrorRadius = std::uint16_t;

/// Stands for a radius that nobody knows: infinity.
inline constexpr ErrorRadius kUnknownRadius = 0xFF00;

/// @param radius  >= 0; NaN and infinity give kUnknownRadius.
[[nodiscard]] inline ErrorRadius round_up(double radius) noexcept {
    constexpr double kMost = 1e38; // Rounding up stays below infinity.
    if (!(radius >= 0.0 && radius < kMost)) {
        return kUnknownRadius;
    }
    auto value = static_cast<float>(radius);
    if (static_cast<double>(value) < radius) {
        value = std::nextafter(value, std::numeric_limits<float>::infinity());
    }
    constexpr std::uint32_t kDropped = 15; // Bits; the sign is never set.
    constexpr std::uint32_t kRest = (1U << kDropped) - 1;
    return static_cast<ErrorRadius>((std::bit_cast<std::uint32_t>(value) + kRest) >> kDropped);
}

[[nodiscard]] inline double radius_of(ErrorRadius kept) noexcept {
    return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(kept) << 15U));
}

/// How much the length that a row term tells may differ from what decode() makes of the code, as a
/// share of it. Measured for each row: one that does not keep to it gets no radius.
inline constexpr double kLengthError = 2e-5;

/// Reconstructions of whole codes that are shorter than this get no radius under cosine: rounding
/// would be a large share of them.
inline constexpr double kShortestLength = 0.25;

/// Measures how far the truth may lie from what each prefix says: the distance from the
/// reconstruction of every stage but the last to that of the last, and from there to the original.
/// Distances are angles in radians under cosine, else Euclidean; that they obey the triangle
/// inequality is what ScoreBounds stands on.
/// @param stage_bytes  Ascending; the last is codes.cols().
/// @param codes        [n, code bytes].
/// @param originals    [n, dim] what the codes were made from; no rows: the last radii are unknown.
/// @returns [n, stages].
[[nodiscard]] std::vector<ErrorRadius> measure_radii(
    const Compressor& compressor, std::span<const std::size_t> stage_bytes,
    MatrixView<const std::byte> codes, MatrixView<const float> originals);

} // namespace arfc
