#pragma once

#include <cstdint>

namespace arfc {

/// Names a point of a collection; chosen by the user, any value of the range.
using PointId = std::uint64_t;

} // namespace arfc
