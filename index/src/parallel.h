#pragma once

#include <omp.h>

#include <cstddef>
#include <exception>
#include <mutex>

#include "arfc/compressor/compressor.h"

namespace arfc {

/// Returns how many threads for_each_in_parallel() may use here.
[[nodiscard]] inline std::size_t threads_for_parallel() noexcept {
    return omp_in_parallel() != 0 ? 1 : num_threads();
}

/// Calls work(i) for every i < count on num_threads() threads, in any order; rethrows the first
/// exception. Inside another parallel region it runs on the calling thread alone.
template <class Work>
void for_each_in_parallel(std::size_t count, const Work& work) {
    std::exception_ptr first;
    std::mutex mutex;
    const std::size_t threads = threads_for_parallel();
    const int team = static_cast<int>(threads < count ? threads : (count == 0 ? 1 : count));
#pragma omp parallel for schedule(dynamic, 1) num_threads(team) if (team > 1)
    for (std::size_t i = 0; i < count; ++i) {
        try {
            work(i);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (first == nullptr) {
                first = std::current_exception();
            }
        }
    }
    if (first != nullptr) {
        std::rethrow_exception(first);
    }
}

} // namespace arfc
