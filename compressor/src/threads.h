#pragma once

#include <omp.h>

#include <cstddef>
#include <exception>
#include <mutex>

#include "arfc/compressor/compressor.h"

namespace arfc {

/// Operations that are worth waking another thread for (about 100 us of work).
inline constexpr double kWorthAThread = 1e7;

/// Calls work(i) for every i < count on num_threads() threads, in any order; rethrows the first
/// exception. Inside another parallel region, or where all the work is small, it runs on the
/// calling thread alone.
/// @param operations  About how many floating-point operations all of the work is.
template <class Work>
void parallel_for(std::size_t count, double operations, const Work& work) {
    std::exception_ptr first;
    std::mutex mutex;
    const bool alone = omp_in_parallel() != 0 || operations < kWorthAThread;
    const std::size_t threads = alone ? 1 : num_threads();
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
