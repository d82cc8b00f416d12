#include "crc32c.h"

#include <array>
#include <cstddef>

namespace arfc::storage {
namespace {

constexpr std::uint32_t kReflectedPolynomial = 0x82F63B78U;
constexpr std::size_t kSlices = 8;
using Tables = std::array<std::array<std::uint32_t, 256>, kSlices>;

/// tables[s][b]: what byte b does to the checksum when s more bytes follow it ("slicing by 8").
constexpr Tables make_tables() {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? kReflectedPolynomial : 0U);
        }
        tables[0][byte] = crc;
    }
    for (std::size_t slice = 1; slice < kSlices; ++slice) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8U) ^ tables[0][before & 0xFFU];
        }
    }
    return tables;
}

constexpr Tables kTables = make_tables();

} // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc) noexcept {
    const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
    const unsigned char* const end = at + bytes.size();
    crc = ~crc;
    for (; end - at >= static_cast<std::ptrdiff_t>(kSlices); at += kSlices) {
        crc = kTables[7][(crc ^ at[0]) & 0xFFU] ^ kTables[6][(crc >> 8U ^ at[1]) & 0xFFU] ^
              kTables[5][(crc >> 16U ^ at[2]) & 0xFFU] ^ kTables[4][(crc >> 24U ^ at[3]) & 0xFFU] ^
              kTables[3][at[4]] ^ kTables[2][at[5]] ^ kTables[1][at[6]] ^ kTables[0][at[7]];
    }
    for (; at != end; ++at) {
        crc = (crc >> 8U) ^ kTables[0][(crc ^ *at) & 0xFFU];
    }
    return ~crc;
}

} // namespace arfc::storage
