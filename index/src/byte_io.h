#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "arfc/base/error.h"

namespace arfc {

static_assert(std::endian::native == std::endian::little, "stored numbers are little-endian");

/// Appends little-endian numbers and arrays to a string of bytes.
class ByteWriter {
  public:
    template <class T>
    requires std::is_arithmetic_v<T>
    void number(T value) { array(std::span<const T>(&value, 1)); }

    /// Appends the elements, without their count.
    template <class T>
    requires std::is_trivially_copyable_v<T>
    void array(std::span<const T> values) {
        if (!values.empty()) {
            bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
        }
    }

    /// Appends the length as 64 bits, then the characters.
    void text(std::string_view value) {
        number(static_cast<std::uint64_t>(value.size()));
        bytes_.append(value);
    }

    [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }
    [[nodiscard]] std::string take() && { return std::move(bytes_); }

  private:
    std::string bytes_;
};

/// Reads what ByteWriter wrote; allocates nothing before it knows that the bytes are there.
class ByteReader {
  public:
    /// @param what  Named in messages, such as "Index file". Must outlive the reader, as must
    ///              `bytes`.
    ByteReader(std::string_view bytes, std::string_view what) noexcept
        : bytes_(bytes), what_(what) {}

    /// @throws Error  kCorruption: the bytes end before.
    template <class T>
    requires std::is_arithmetic_v<T>
    [[nodiscard]] T number() {
        T value;
        std::memcpy(&value, raw(1, sizeof(T)), sizeof(T));
        return value;
    }

    /// Reads `count` elements.
    template <class T>
    requires std::is_trivially_copyable_v<T>
    [[nodiscard]] std::vector<T> array(std::uint64_t count) {
        const char* const from = raw(count, sizeof(T));
        std::vector<T> values(count);
        if (count > 0) {
            std::memcpy(values.data(), from, count * sizeof(T));
        }
        return values;
    }

    [[nodiscard]] std::string_view text() {
        const auto size = number<std::uint64_t>();
        return {raw(size, 1), size};
    }

    /// @throws Error  kCorruption: bytes are left.
    void finish() const {
        if (position_ != bytes_.size()) {
            fail(
                ErrorKind::kCorruption, what_,
                " is longer than its sizes say, in bytes: ", bytes_.size(), ", expected ",
                position_);
        }
    }

    /// Refuses a value that contradicts another.
    template <class... Parts>
    void require(bool holds, const Parts&... parts) const {
        if (!holds) {
            fail(ErrorKind::kCorruption, what_, " contradicts itself: ", parts...);
        }
    }

  private:
    const char* raw(std::uint64_t count, std::size_t size) {
        const std::size_t left = bytes_.size() - position_;
        if (count > left / size) {
            fail(
                ErrorKind::kCorruption, what_, " ends early: ", count, " elements of ", size,
                " bytes at offset ", position_, " of ", bytes_.size());
        }
        const char* const from = bytes_.data() + position_;
        position_ += count * size;
        return from;
    }

    std::string_view bytes_;
    std::string_view what_;
    std::size_t position_ = 0;
};

} // namespace arfc
