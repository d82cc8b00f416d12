#pragma once

#include <span>

#include "arfc/base/matrix_view.h"

namespace arfc {

/// How far from 1 a row's length may be for the row to count as a unit row. Rounding of float32 or
/// float16 stays well inside; a vector that nobody normalised hardly ever does.
inline constexpr double kUnitTolerance = 1e-3;

/// Returns |row|, summed in double precision.
[[nodiscard]] double length(std::span<const float> row) noexcept;

/// Divides a row by its length. @returns false, and leaves it, where the length is 0 or not finite.
bool normalise(std::span<float> row) noexcept;

/// Says whether |row| is 1 within kUnitTolerance.
[[nodiscard]] bool is_unit(std::span<const float> row) noexcept;

} // namespace arfc
