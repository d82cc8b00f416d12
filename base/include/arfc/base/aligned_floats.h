#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace arfc {

/// Owns floats that start at a cache line, so that the widest loads never straddle two.
class AlignedFloats {
  public:
    AlignedFloats() = default;

    /// @throws std::bad_alloc  Memory ran out. The floats are not initialised.
    explicit AlignedFloats(std::size_t size) : size_(size) {
        const std::size_t bytes = (size * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
        data_.reset(
            static_cast<float*>(std::aligned_alloc(kAlignment, bytes == 0 ? kAlignment : bytes)));
        if (data_ == nullptr) {
            throw std::bad_alloc();
        }
    }

    [[nodiscard]] float* data() noexcept { return data_.get(); }
    [[nodiscard]] const float* data() const noexcept { return data_.get(); }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

  private:
    static constexpr std::size_t kAlignment = 64;
    struct Release {
        void operator()(float* pointer) const noexcept { std::free(pointer); }
    };
    std::unique_ptr<float, Release> data_;
    std::size_t size_ = 0;
};

} // namespace arfc
