#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace arfc {

/// Returns the value of an IEEE 754 binary16 number; every one is exact as a float.
[[nodiscard]] inline float from_half(std::uint16_t half) noexcept {
    const std::uint32_t sign = (half & 0x8000U) << 16U;
    const std::uint32_t exponent = half >> 10U & 0x1FU;
    const std::uint32_t fraction = half & 0x3FFU;
    if (exponent == 0) { // Zero and the subnormals: fraction * 2^-24.
        const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
        return sign == 0 ? magnitude : -magnitude;
    }
    const std::uint32_t wide = exponent == 0x1FU ? 0xFFU : exponent + 112U;
    return std::bit_cast<float>(sign | wide << 23U | fraction << 13U);
}

/// Returns the binary16 number nearest to a float, the even one of two that are as near; infinity
/// from 65,520 on. A NaN stays one.
[[nodiscard]] inline std::uint16_t to_half(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 16U & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    std::uint32_t half = 0;
    if (magnitude > 0x7F800000U) { // NaN
        half = 0x7E00U;
    } else if (magnitude >= 0x477FF000U) { // 65,520 and beyond
        half = 0x7C00U;
    } else if (magnitude < 0x38800000U) { // Below 2^-14: a multiple of 2^-24.
        half =
            static_cast<std::uint32_t>(std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24F));
    } else { // Rebias, then round the 13 bits that go: a carry into the exponent is right.
        const std::uint32_t odd = magnitude >> 13U & 1U;
        half = (magnitude - (112U << 23U) + 0xFFFU + odd) >> 13U;
    }
    return static_cast<std::uint16_t>(sign | half);
}

} // namespace arfc
