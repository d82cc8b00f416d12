#pragma once

#include <optional>
#include <span>
#include <string>

#include "arfc/base/metric.h"
#include "readers/row_reader.h"

namespace arfc::tools {

/// Returns why no collection of `metric` can hold a row: a value that is not finite, or a zero row
/// under cosine. Nothing where it can.
[[nodiscard]] std::optional<std::string> reason_to_refuse(
    std::span<const float> row, Metric metric);

/// Rejects every row of the batch that has a reason_to_refuse.
void reject_unusable(RowBatch& batch, Metric metric);

} // namespace arfc::tools
