#pragma once

#include <string_view>

#include "arfc/base/metric.h"

namespace arfc::server {

/// Returns REST's word for a metric: "Dot", "Euclid" or "Cosine".
[[nodiscard]] std::string_view distance_name(Metric metric) noexcept;

/// Reads REST's word.
/// @throws Error  kUnsupported: "Manhattan", which REST knows and arfc does not offer.
/// kInvalidArgument: another.
[[nodiscard]] Metric metric_from_distance(std::string_view name);

/// Turns a score of arfc's, larger = closer, into REST's: under Euclid the distance, smaller =
/// closer.
[[nodiscard]] float rest_score(Metric metric, float score) noexcept;

/// Says whether a score of REST's is at least as good as a threshold of REST's.
[[nodiscard]] bool reaches(Metric metric, float score, float threshold) noexcept;

} // namespace arfc::server
