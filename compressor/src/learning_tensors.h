#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "learning_state.h"

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
