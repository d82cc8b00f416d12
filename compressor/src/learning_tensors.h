#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "learning_state.h"
#include "perceptron.h"

namespace arfc {

/// Copies values to a tensor of that shape.
[[nodiscard]] torch::Tensor tensor_of(
    std::span<const float> values, const std::vector<std::int64_t>& shape);
[[nodiscard]] torch::Tensor tensor_of(MatrixView<const float> rows);

/// Copies a tensor's values, row-major.
[[nodiscard]] std::vector<float> values_of(const torch::Tensor& tensor);

/// @throws Error  kCorruption, always: names what does not fit.
[[noreturn]] void fail_corrupt_state(std::string_view name);

/// Returns the tensor as it is written: integers, all below 2^24, become floats.
[[nodiscard]] StoredTensor stored(const torch::Tensor& tensor);

/// Draws numbers of that deviation around 0.
[[nodiscard]] torch::Tensor drawn_normal(
    std::mt19937_64& random, const std::vector<std::int64_t>& shape, float deviation);

/// Takes an array out of a state.
/// @throws Error  kCorruption: absent, of another size, or a value is not finite.
[[nodiscard]] std::vector<float> take_array(
    LearningState& state, const std::string& name, std::size_t size);

/// Writes a perceptron, where there is one, as arrays of a state, and takes it out again.
void keep_perceptron(LearningState& state, PerceptronWeights weights);
/// @param dim  Of its rows, and of what it gives.
/// @throws Error  kCorruption: the arrays do not fit together.
[[nodiscard]] PerceptronWeights perceptron_from(LearningState& state, std::size_t dim);

/// Reads what a state holds. @throws Error  kCorruption: absent, of another shape or no number.
[[nodiscard]] double number_of(const LearningState& state, const std::string& name);
[[nodiscard]] torch::Tensor tensor_of(
    const LearningState& state, const std::string& name, const std::vector<std::int64_t>& shape);
/// @returns int64, in [0, below).
[[nodiscard]] torch::Tensor integers_of(
    const LearningState& state, const std::string& name, const std::vector<std::int64_t>& shape,
    std::int64_t below);

/// Writes a parameter with the moments that the optimiser keeps for it, after at least one step.
void store_parameter(
    LearningState& state, const std::string& name, const torch::Tensor& values,
    torch::optim::AdamW& optimizer);

/// Reads it again, in place. @param steps  That the optimiser has taken.
/// @throws Error  kCorruption.
void restore_parameter(
    const LearningState& state, const std::string& name, torch::Tensor& values,
    torch::optim::AdamW& optimizer, std::int64_t steps);

} // namespace arfc
