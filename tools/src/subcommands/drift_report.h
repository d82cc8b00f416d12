#pragma once

#include <string>

#include "arfc/compressor/compressor.h"
#include "terminal/json.h"

namespace arfc::tools {

/// Says how well a model knows rows, and whether they are like those that it was trained on.
[[nodiscard]] Json drift_json(const Drift& drift);
[[nodiscard]] std::string drift_text(const Drift& drift);

/// Says in one sentence that rows are unlike those of the training: what `arfc ingest` warns with.
[[nodiscard]] std::string drift_warning(const Drift& drift);

} // namespace arfc::tools
