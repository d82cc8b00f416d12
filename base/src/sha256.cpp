#include "arfc/base/sha256.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <array>

#include "arfc/base/error.h"

namespace arfc {

std::string sha256_hex(std::span<const std::byte> bytes) {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) !=
        1) {
        fail(
            ErrorKind::kInternal,
            "OpenSSL refused to compute a SHA-256 digest of bytes: ", bytes.size());
    }
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string hex;
    for (const unsigned char byte : digest) {
        hex += kDigits[byte >> 4U];
        hex += kDigits[byte & 15U];
    }
    return hex;
}

std::string sha256_hex(std::string_view text) {
    return sha256_hex(std::as_bytes(std::span(text)));
}

} // namespace arfc
