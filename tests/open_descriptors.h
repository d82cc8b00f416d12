#pragma once

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <iterator>

namespace arfc::test {

/// Returns how many files this process has open.
inline std::ptrdiff_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
}

/// Frees descriptor 0, which the next file that is opened then gets, and gives it back at the end.
class DescriptorZero {
  public:
    DescriptorZero() : kept_(::dup(STDIN_FILENO)) { ::close(STDIN_FILENO); }
    DescriptorZero(const DescriptorZero&) = delete;
    DescriptorZero& operator=(const DescriptorZero&) = delete;
    ~DescriptorZero() {
        if (kept_ >= 0) {
            ::dup2(kept_, STDIN_FILENO);
            ::close(kept_);
        }
    }

  private:
    int kept_;
};

} // namespace arfc::test
