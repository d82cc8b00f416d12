#include "learning_tensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "expect_error.h"

namespace arfc {
namespace {

/// A state of a number and two arrays of shape [2, 3].
LearningState sample() {
    LearningState state;
    state.numbers["step"] = 7.0;
    state.arrays["places"] = stored(torch::arange(6, torch::kInt64).reshape({2, 3}));
    state.arrays["values"] = {{2, 3}, {0.5F, -1.0F, 2.0F, 3.0F, 4.0F, 5.0F}};
    return state;
}

TEST(LearningTensors, KeepShapeAndValues) {
    const LearningState state = sample();
    EXPECT_EQ(state.arrays.at("places").shape, (std::vector<std::size_t>{2, 3}));
    const torch::Tensor values = tensor_of(state, "values", {2, 3});
    EXPECT_EQ(values[0][1].item<float>(), -1.0F);
    EXPECT_EQ(values_of(values.t()), (std::vector<float>{0.5F, 3.0F, -1.0F, 4.0F, 2.0F, 5.0F}));
    EXPECT_TRUE(integers_of(state, "places", {2, 3}, 6)
                    .equal(torch::arange(6, torch::kInt64).reshape({2, 3})));
    EXPECT_EQ(number_of(state, "step"), 7.0);
}

TEST(LearningTensors, RefuseWhatDoesNotFit) {
    const auto refuses = [](const auto& read, const char* name) {
        ARFC_EXPECT_ERROR(
            static_cast<void>(read()), ErrorKind::kCorruption,
            std::string("does not fit its training, train without resume: ") + name);
    };
    const LearningState state = sample();
    refuses([&] { return number_of(state, "most"); }, "most");
    for (const double bad : {1e9, -1e9, std::nan("")}) {
        LearningState wrong = state;
        wrong.numbers["step"] = bad;
        refuses([&] { return number_of(wrong, "step"); }, "step");
    }
    LearningState large = state;
    large.numbers["step"] = 999999999.0;
    EXPECT_EQ(number_of(large, "step"), 999999999.0);
    refuses([&] { return tensor_of(state, "other", {2, 3}); }, "other");
    refuses([&] { return tensor_of(state, "values", {3, 2}); }, "values");
    refuses([&] { return tensor_of(state, "values", {6}); }, "values");
    LearningState infinite = state;
    infinite.arrays["values"].values[5] = INFINITY;
    refuses([&] { return tensor_of(infinite, "values", {2, 3}); }, "values");
    refuses([&] { return integers_of(state, "places", {2, 3}, 5); }, "places");
    LearningState negative = state;
    negative.arrays["places"].values[0] = -1.0F;
    refuses([&] { return integers_of(negative, "places", {2, 3}, 6); }, "places");
}

/// A parameter that is fitted, and what fits it.
struct Fit {
    torch::Tensor values = torch::ones({2, 2}).requires_grad_();
    torch::optim::AdamW optimizer{
        std::vector<torch::Tensor>{values}, torch::optim::AdamWOptions(0.1).weight_decay(0.0)};

    void step() {
        optimizer.zero_grad();
        (values * torch::tensor({1.0F, -2.0F})).square().sum().backward();
        optimizer.step();
    }
};

TEST(LearningTensors, AParameterGoesOnAsIfNothingHadHappened) {
    Fit first;
    for (int i = 0; i < 3; ++i) {
        first.step();
    }
    LearningState state;
    store_parameter(state, "weights", first.values, first.optimizer);
    Fit second;
    restore_parameter(state, "weights", second.values, second.optimizer, 3);
    EXPECT_TRUE(second.values.equal(first.values));
    first.step();
    second.step();
    EXPECT_TRUE(second.values.equal(first.values));
    for (const char* name : {"weights", "weights.average", "weights.square"}) {
        LearningState less = state;
        less.arrays.erase(name);
        ARFC_EXPECT_ERROR(
            restore_parameter(less, "weights", second.values, second.optimizer, 3),
            ErrorKind::kCorruption, name);
    }
}

} // namespace
} // namespace arfc
