#pragma once

#include <string>

#include "arfc/compressor/compressor.h"
#include "terminal/json.h"

namespace arfc::tools {

/// Says what a model is, what it costs and how well it did on rows it was not trained on.
[[nodiscard]] Json model_json(const Compressor& model);
[[nodiscard]] std::string model_text(const Compressor& model);

} // namespace arfc::tools
