#pragma once

#include <endian.h>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "arfc/base/point_id.h"
#include "arfc/storage/store.h"

namespace arfc::storage {

// Float32 rows are stored as they lie in memory; numbers beside them are converted one by one.
static_assert(std::endian::native == std::endian::little, "raw rows on disk are little-endian");
static_assert(sizeof(float) == 4);

/// Appends a number to a value, lowest byte first.
template <std::unsigned_integral T>
void append_little_endian(std::string& out, T number) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        out += static_cast<char>(static_cast<std::uint64_t>(number) >> (8 * i) & 0xFFU);
    }
}

/// Reads a number whose lowest byte comes first; `bytes` holds at least sizeof(T).
template <std::unsigned_integral T>
[[nodiscard]] T load_little_endian(std::string_view bytes) noexcept {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        number |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    }
    return static_cast<T>(number);
}

/// A key of at most nine bytes, kept in place.
class Key {
  public:
    /// Keys of `head` (block numbers), `tail`, `raw` and `payload` (rows): eight bytes, highest
    /// first, so that the order of keys is that of numbers.
    [[nodiscard]] static Key of_row(Row row) noexcept {
        Key key;
        key.append(row);
        return key;
    }

    /// Keys of `ids`: a type byte (0: an unsigned 64-bit id), then the id, highest byte first.
    [[nodiscard]] static Key of_point(PointId id) noexcept {
        Key key;
        key.bytes_[key.size_++] = '\0';
        key.append(id);
        return key;
    }

    [[nodiscard]] std::string_view view() const noexcept { return {bytes_.data(), size_}; }

  private:
    void append(std::uint64_t number) noexcept {
        for (int shift = 56; shift >= 0; shift -= 8) {
            bytes_[size_++] = static_cast<char>(number >> shift & 0xFFU);
        }
    }

    std::array<char, 9> bytes_{};
    std::size_t size_ = 0;
};

inline constexpr std::size_t kRowKeyBytes = 8;
inline constexpr std::size_t kPointKeyBytes = 9;

/// Reads the number in the last eight bytes of a key; `key` holds at least eight.
[[nodiscard]] inline std::uint64_t number_of_key(std::string_view key) noexcept {
    std::uint64_t number{};
    std::memcpy(&number, key.data() + key.size() - kRowKeyBytes, kRowKeyBytes);
    return be64toh(number);
}

} // namespace arfc::storage
