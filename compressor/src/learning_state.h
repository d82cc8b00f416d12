#pragma once

#include <map>
#include <string>

#include "safetensors.h"

namespace arfc {

/// What a step of a training has learned, or how far it has come: enough to go on from it as if
/// nothing had happened in between.
struct LearningState {
    std::map<std::string, StoredTensor> arrays;
    std::map<std::string, double> numbers; ///< Finite.
    std::string random;                    ///< A generator as text, where the step draws numbers.
};

} // namespace arfc
