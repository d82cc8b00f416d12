#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace arfc {

/// Floats of a shape, row-major.
struct LearnedArray {
    std::vector<std::size_t> shape;
    std::vector<float> values;
};

/// What a step of a training has learned, or how far it has come: enough to go on from it as if
/// nothing had happened in between.
struct LearningState {
    std::map<std::string, LearnedArray> arrays;
    std::map<std::string, double> numbers; ///< Finite.
    std::string random;                    ///< A generator as text, where the step draws numbers.
};

} // namespace arfc
