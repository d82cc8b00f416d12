#include "ingest/row_check.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "terminal/text.h"

namespace arfc::tools {

std::optional<std::string> reason_to_refuse(std::span<const float> row, Metric metric) {
    bool zero = true;
    for (std::size_t i = 0; i < row.size(); ++i) {
        if (!std::isfinite(row[i])) {
            return text_of(
                "Embedding holds ", std::isnan(row[i]) ? "NaN" : "an infinity",
                ", at position: ", i);
        }
        zero = zero && row[i] == 0.0F;
    }
    if (zero && metric == Metric::kCosine) {
        return "Embedding is all zero, which has no direction under cosine";
    }
    return {};
}

void reject_unusable(RowBatch& batch, Metric metric) {
    std::vector<std::optional<std::string>> reasons(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
        reasons[i] = reason_to_refuse(batch.view().row(i), metric);
    }
    if (std::ranges::any_of(reasons, [](const auto& reason) { return reason.has_value(); })) {
        batch.reject(reasons);
    }
}

} // namespace arfc::tools
