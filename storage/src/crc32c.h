#pragma once

#include <cstdint>
#include <string_view>

namespace arfc::storage {

/// Continues a CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected, as in RFC 3720) over more
/// bytes.
/// @param crc  Checksum of the bytes before; 0 before the first.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc = 0) noexcept;

} // namespace arfc::storage
