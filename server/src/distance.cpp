#include "distance.h"

#include <algorithm>
#include <cmath>

#include "arfc/base/error.h"

namespace arfc::server {

std::string_view distance_name(Metric metric) noexcept {
    switch (metric) {
        case Metric::kInnerProduct: return "Dot";
        case Metric::kL2: return "Euclid";
        case Metric::kCosine: return "Cosine";
    }
    return "Dot";
}

Metric metric_from_distance(std::string_view name) {
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2, Metric::kCosine}) {
        if (name == distance_name(metric)) {
            return metric;
        }
    }
    if (name == "Manhattan") {
        fail(ErrorKind::kUnsupported, "Distance is not offered: vectors.distance, \"Manhattan\"");
    }
    fail(
        ErrorKind::kInvalidArgument,
        "Distance is not one of Cosine, Dot, Euclid: vectors.distance, \"", name, "\"");
}

float rest_score(Metric metric, float score) noexcept {
    // A reconstruction's squared distance can come out a rounding error below zero.
    return metric == Metric::kL2 ? std::sqrt(std::max(0.0F, -score)) : score;
}

bool reaches(Metric metric, float score, float threshold) noexcept {
    return metric == Metric::kL2 ? score <= threshold : score >= threshold;
}

} // namespace arfc::server
