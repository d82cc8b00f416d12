#include "learning_tensors.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "arfc/base/error.h"

namespace arfc {

torch::Tensor tensor_of(std::span<const float> values, const std::vector<std::int64_t>& shape) {
    return torch::from_blob(const_cast<float*>(values.data()), shape, torch::kFloat32).clone();
}

torch::Tensor tensor_of(MatrixView<const float> rows) {
    return tensor_of(
        std::span<const float>(rows.data(), rows.size()),
        {static_cast<std::int64_t>(rows.rows()), static_cast<std::int64_t>(rows.cols())});
}

std::vector<float> values_of(const torch::Tensor& tensor) {
    const torch::Tensor flat = tensor.detach().contiguous();
    return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

void fail_corrupt_state(std::string_view name) {
    fail(
        ErrorKind::kCorruption,
        "Checkpoint's fine-tuning does not fit its training, train without resume: ", name);
}

StoredTensor stored(const torch::Tensor& tensor) {
    StoredTensor out;
    for (const std::int64_t extent : tensor.sizes()) {
        out.shape.push_back(static_cast<std::size_t>(extent));
    }
    out.values = values_of(tensor.to(torch::kFloat32));
    return out;
}

double number_of(const LearningState& state, const std::string& name) {
    const auto found = state.numbers.find(name);
    if (found == state.numbers.end() || !(std::fabs(found->second) < 1e9)) {
        fail_corrupt_state(name);
    }
    return found->second;
}

torch::Tensor tensor_of(
    const LearningState& state, const std::string& name, const std::vector<std::int64_t>& shape) {
    const auto found = state.arrays.find(name);
    if (found == state.arrays.end() ||
        !std::ranges::equal(
            found->second.shape, shape, std::ranges::equal_to(), {},
            [](auto extent) { return static_cast<std::size_t>(extent); })) {
        fail_corrupt_state(name);
    }
    torch::Tensor out = tensor_of(std::span<const float>(found->second.values), shape);
    if (!torch::isfinite(out).all().item<bool>()) {
        fail_corrupt_state(name);
    }
    return out;
}

torch::Tensor integers_of(
    const LearningState& state, const std::string& name, const std::vector<std::int64_t>& shape,
    std::int64_t below) {
    torch::Tensor out = tensor_of(state, name, shape).to(torch::kInt64);
    if (out.lt(0).any().item<bool>() || out.ge(below).any().item<bool>()) {
        fail_corrupt_state(name);
    }
    return out;
}

void store_parameter(
    LearningState& state, const std::string& name, const torch::Tensor& values,
    torch::optim::AdamW& optimizer) {
    const auto& moments = static_cast<const torch::optim::AdamWParamState&>(
        *optimizer.state().at(values.unsafeGetTensorImpl()));
    state.arrays[name] = stored(values);
    state.arrays[name + ".average"] = stored(moments.exp_avg());
    state.arrays[name + ".square"] = stored(moments.exp_avg_sq());
}

void restore_parameter(
    const LearningState& state, const std::string& name, torch::Tensor& values,
    torch::optim::AdamW& optimizer, std::int64_t steps) {
    const torch::NoGradGuard guard;
    const std::vector<std::int64_t> shape = values.sizes().vec();
    values.copy_(tensor_of(state, name, shape));
    auto moments = std::make_unique<torch::optim::AdamWParamState>();
    moments->step(steps);
    moments->exp_avg(tensor_of(state, name + ".average", shape));
    moments->exp_avg_sq(tensor_of(state, name + ".square", shape));
    optimizer.state()[values.unsafeGetTensorImpl()] = std::move(moments);
}

} // namespace arfc
