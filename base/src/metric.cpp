#include "arfc/base/metric.h"

#include "arfc/base/error.h"

namespace arfc {

std::string_view to_string(Metric metric) noexcept {
    switch (metric) {
        case Metric::kInnerProduct: return "ip";
        case Metric::kL2: return "l2";
        case Metric::kCosine: return "cosine";
    }
    return "ip";
}

Metric metric_from_string(std::string_view name) {
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2, Metric::kCosine}) {
        if (name == to_string(metric)) {
            return metric;
        }
    }
    fail(ErrorKind::kInvalidArgument, "Metric is not one of ip, l2, cosine: \"", name, "\"");
}

} // namespace arfc
