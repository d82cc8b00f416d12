#include "threads.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <thread>

#include "arfc/base/error.h"

namespace arfc {
namespace {

std::atomic<std::size_t>& thread_count() noexcept {
    static std::atomic<std::size_t> count =
        static_cast<std::size_t>(omp_get_max_threads()); // Honours OMP_NUM_THREADS.
    return count;
}

} // namespace

void set_num_threads(std::size_t threads) {
    if (threads < 1 || threads > 1024) {
        fail(ErrorKind::kInvalidArgument, "Thread count is outside [1, 1024]: ", threads);
    }
    thread_count() = threads;
    at::set_num_threads(static_cast<int>(threads)); // Sets OpenMP's count for this thread too.
}

std::size_t num_threads() noexcept {
    return thread_count();
}

} // namespace arfc
