#pragma once

#include <cstdint>
#include <string_view>

namespace arfc {

/// How two vectors are compared. The numbers are on disk and are never renumbered.
enum class Metric : std::uint8_t {
    kInnerProduct = 0, ///< <q, x>.
    kL2 = 1,     ///< Squared Euclidean distance; scores are its negative, so larger is closer.
    kCosine = 2, ///< <q, x> / (|q| |x|): inner product of L2-normalised vectors.
};

/// Returns "ip", "l2" or "cosine".
[[nodiscard]] std::string_view to_string(Metric metric) noexcept;

/// Reads "ip", "l2" or "cosine".
/// @throws Error  kInvalidArgument: any other word.
[[nodiscard]] Metric metric_from_string(std::string_view name);

} // namespace arfc
