#pragma once

#include <span>
#include <string>

#include "arfc/compressor/compressor.h"
#include "terminal/json.h"

namespace arfc::tools {

/// Lists what codes leave of held-out rows by length, ascending; an empty list where it was not
/// measured.
[[nodiscard]] Json residuals_json(std::span<const HeldOutResidual> residuals);
[[nodiscard]] std::string residuals_text(std::span<const HeldOutResidual> residuals);

/// Says how well a model knows rows, and whether they are like those that it was trained on.
[[nodiscard]] Json drift_json(const Drift& drift);
[[nodiscard]] std::string drift_text(const Drift& drift);

/// Says in one sentence that rows are unlike those of the training: what `arfc ingest` warns with.
[[nodiscard]] std::string drift_warning(const Drift& drift);

} // namespace arfc::tools
