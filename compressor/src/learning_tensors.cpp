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

torch::Tensor drawn_normal(
    std::mt19937_64& random, const std::vector<std::int64_t>& shape, float deviation) {
    std::normal_distribution<float> normal(0.0F, deviation);
    torch::Tensor out = torch::empty(shape);
    std::generate_n(out.data_ptr<float>(), out.numel(), [&] { return normal(random); });
    return out;
}

std::vector<float> take_array(LearningState& state, const std::string& name, std::size_t size) {
    std::vector<float>& values = state.arrays[name].values;
    if (values.size() != size ||
        !std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
        fail_corrupt_state(name);
    }
    return std::move(values);
}

void keep_perceptron(LearningState& state, PerceptronWeights weights) {
    if (weights.empty()) {
        return;
    }
    const auto keep = [&](const char* name, std::vector<float>& values) {
        state.arrays[name] = {{values.size()}, std::move(values)};
    };
    keep("hidden", weights.hidden);
    keep("hidden_bias", weights.hidden_bias);
    keep("output", weights.output);
}

PerceptronWeights perceptron_from(LearningState& state, std::size_t dim) {
    PerceptronWeights weights;
    if (state.arrays.contains("hidden")) {
        const std::size_t units = state.arrays["hidden_bias"].values.size();
        weights.hidden = take_array(state, "hidden", units * dim);
        weights.hidden_bias = take_array(state, "hidden_bias", units);
        weights.output = take_array(state, "output", dim * units);
    }
    return weights;
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
