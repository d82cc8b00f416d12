#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <span>

#include "learning_state.h"

namespace arfc::test {

/// Returns where a task stands behind its next step.
/// @param learn  What learns it.
template <class Task, class Learn>
LearningState stepped(Task task, const Learn& learn) {
    std::optional<LearningState> state;
    bool is_next = !task.begun;
    task.keep = [&](const std::function<LearningState()>& tell) {
        state = is_next ? std::optional(tell()) : std::nullopt;
        is_next = true;
    };
    task.go_on = [&] { return !state; };
    static_cast<void>(learn(task));
    return state.value();
}

inline float largest_change(std::span<const float> after, std::span<const float> before) {
    float most = 0.0F;
    for (std::size_t i = 0; i < after.size(); ++i) {
        most = std::max(most, std::fabs(after[i] - before[i]));
    }
    return most;
}

/// Makes a state as if so many steps had been made, and all had balanced.
inline void balance(LearningState& state, double steps) {
    for (auto& [name, array] : state.arrays) {
        if (name.ends_with(".average") || name.ends_with(".square")) {
            std::ranges::fill(array.values, 0.0F);
        }
    }
    state.numbers["step"] = steps;
}

/// Returns by how many times the rate AdamW moves a number in its step of that number, from 1 on,
/// when it has balanced before.
inline double first_move(double step) {
    const double average = 0.1 / (1.0 - std::pow(0.9, step)); // Of a gradient, as AdamW has it.
    const double square = 0.01 / (1.0 - std::pow(0.99, step));
    return average / std::sqrt(square);
}

} // namespace arfc::test
