#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "arfc/compressor/compressor.h"

namespace arfc {

/// Rows whose sums, independent chains, run side by side.
inline constexpr std::size_t kRowsTogether = 8;

/// Continues kRowCount sums with `tokens` look-ups each. Every sum is one chain in token order.
/// @param tables  [tokens, kSymbols].
/// @param codes   Row r's tokens begin at codes + r * stride.
template <std::size_t kRowCount>
void add_look_ups(
    const float* tables, const std::byte* codes, std::size_t stride, std::size_t tokens,
    float* sums) {
    std::array<float, kRowCount> sum = {};
    std::copy_n(sums, kRowCount, sum.begin());
    std::size_t t = 0;
    for (; t + 8 <= tokens; t += 8) {
        // Tokens of a row, the first in the lowest byte.
        std::array<std::uint64_t, kRowCount> eight = {};
        for (std::size_t r = 0; r < kRowCount; ++r) {
            std::memcpy(&eight[r], codes + r * stride + t, 8);
        }
        for (std::size_t j = 0; j < 8; ++j) {
            for (std::size_t r = 0; r < kRowCount; ++r) {
                sum[r] += tables[(t + j) * kSymbols + ((eight[r] >> (8 * j)) & 255U)];
            }
        }
    }
    for (; t < tokens; ++t) {
        for (std::size_t r = 0; r < kRowCount; ++r) {
            sum[r] += tables[t * kSymbols + std::to_integer<std::size_t>(codes[r * stride + t])];
        }
    }
    std::copy_n(sum.begin(), kRowCount, sums);
}

/// Continues the sums of `count` rows.
inline void add_look_ups(
    const float* tables, const std::byte* codes, std::size_t stride, std::size_t tokens,
    std::size_t count, float* sums) {
    std::size_t i = 0;
    for (; i + kRowsTogether <= count; i += kRowsTogether) {
        add_look_ups<kRowsTogether>(tables, codes + i * stride, stride, tokens, sums + i);
    }
    for (; i < count; ++i) {
        add_look_ups<1>(tables, codes + i * stride, stride, tokens, sums + i);
    }
}

} // namespace arfc
