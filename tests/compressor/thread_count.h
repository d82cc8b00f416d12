#pragma once

#include <cstddef>

#include "arfc/compressor/compressor.h"

namespace arfc::test {

/// Sets the count of threads, and what it was before when it goes.
class ThreadCount {
  public:
    explicit ThreadCount(std::size_t threads) { set_num_threads(threads); }
    ThreadCount(const ThreadCount&) = delete;
    ThreadCount& operator=(const ThreadCount&) = delete;
    ~ThreadCount() { set_num_threads(before_); }

  private:
    std::size_t before_ = num_threads();
};

} // namespace arfc::test
