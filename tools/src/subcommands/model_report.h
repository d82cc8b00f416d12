#pragma once

#include <span>
#include <string>

#include "arfc/compressor/compressor.h"
#include "terminal/json.h"

namespace arfc::tools {

/// Lists recall by prefix length, ascending; an empty list where nothing was held out.
[[nodiscard]] Json recall_json(std::span<const HeldOutRecall> recall);
[[nodiscard]] std::string recall_text(std::span<const HeldOutRecall> recall);

/// Lists what codes leave of held-out rows by length, ascending; an empty list where it was not
/// measured.
[[nodiscard]] Json residuals_json(std::span<const HeldOutResidual> residuals);
[[nodiscard]] std::string residuals_text(std::span<const HeldOutResidual> residuals);

/// Says what a model is, what it costs and how well it did on rows it was not trained on.
[[nodiscard]] Json model_json(const Compressor& model);
[[nodiscard]] std::string model_text(const Compressor& model);

} // namespace arfc::tools
