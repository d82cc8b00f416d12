#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace arfc {

/// Returns the SHA-256 digest as 64 lower-case hexadecimal digits (FIPS 180-4, through OpenSSL).
[[nodiscard]] std::string sha256_hex(std::span<const std::byte> bytes);
[[nodiscard]] std::string sha256_hex(std::string_view text);

} // namespace arfc
