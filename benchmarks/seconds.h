#pragma once

#include <chrono>

namespace arfc {

/// Returns how long work() takes, in wall seconds.
template <class Work>
double seconds(const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

} // namespace arfc
