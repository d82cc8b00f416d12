#pragma once

#include <cstddef>
#include <cstdint>

namespace arfc {

/// Rows that Kernel::sieve looks at together.
inline constexpr std::size_t kSieveBlock = 64;
/// Most tokens of a row that it adds: sums fit 16 bits.
inline constexpr std::size_t kMostSieveTokens = 128;

/// The inner loops of HeadSieve, for processors that look up 64 bytes at a time. They may be called
/// where instruction_set() is kAvx512Vbmi.
struct SieveKernel {
    /// Finds the least and the largest of 256 values. NaNs may be passed over.
    void (*range)(const float* values, float* least, float* largest);

    /// bytes[k] = (values[k] - least) * scale rounded up, for 256 k, and not less for rounding.
    /// @param scale  So that no byte is more than 255.
    void (*quantise)(const float* values, float least, float scale, std::uint8_t* bytes);

    /// Sets bit i of masks where the sum of row i's bytes is at least `least`: of the tables'
    /// bytes of its tokens, and of the last table's of its level.
    /// @param tables  [tokens + 1, 256], 64-byte aligned.
    /// @param heads   [count, tokens].
    /// @param levels  [count]; null: rows have none, and the last table is not read.
    /// @param tokens  At most kMostSieveTokens.
    /// @param masks   Out, a word for each kSieveBlock rows; bits beyond count are 0.
    void (*sieve)(
        const std::uint8_t* tables, const std::byte* heads, std::size_t tokens,
        const std::uint8_t* levels, std::size_t count, std::uint16_t least, std::uint64_t* masks);
};

#if defined(__x86_64__)
namespace avx512vbmi {
extern const SieveKernel kSieveKernel;
} // namespace avx512vbmi
#endif

} // namespace arfc
