#include "unit_rows.h"

#include <cmath>

namespace arfc {

double length(std::span<const float> row) noexcept {
    double sum = 0.0;
    for (const float value : row) {
        sum += static_cast<double>(value) * static_cast<double>(value);
    }
    return std::sqrt(sum);
}

bool normalise(std::span<float> row) noexcept {
    const double size = length(row);
    if (!(size > 0.0) || !std::isfinite(size)) {
        return false;
    }
    for (float& value : row) {
        value = static_cast<float>(static_cast<double>(value) / size);
    }
    return true;
}

bool is_unit(std::span<const float> row) noexcept {
    return std::fabs(length(row) - 1.0) < kUnitTolerance;
}

} // namespace arfc
