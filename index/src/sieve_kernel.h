#pragma once

#include <cstddef>
#include <cstdint>

namespace arfc {

/// Rows whose tokens SieveKernel::transpose puts side by side: columns of them stay in L1.
inline constexpr std::size_t kSieveRows = 512;
/// Most tokens of a row that are added: sums fit 16 bits.
inline constexpr std::size_t kMostSieveTokens = 128;

/// The inner loops of HeadSieve, for processors that look up 64 bytes at a time. They may be called
/// where instruction_set() is kAvx512Vbmi.
///
/// Columns are [tokens, kSieveRows], 64-byte aligned: column t has token t of each row. Masks have
/// a bit for each row, 64 to a word; bits beyond `count` are 0.
struct SieveKernel {
    /// Finds the least and the largest of 256 values. NaNs may be passed over.
    void (*range)(const float* values, float* least, float* largest);

    /// bytes[k] = (values[k] - least) * scale rounded up, for 256 k, and not less for rounding.
    /// @param scale  So that no byte is more than 255.
    void (*quantise)(const float* values, float least, float scale, std::uint8_t* bytes);

    /// bytes[k] = (most - values[k]) * scale rounded down, for 256 k, and not more for rounding; at
    /// most 255.
    /// @param most  The largest of the values.
    void (*quantise_below)(const float* values, float most, float scale, std::uint8_t* bytes);

    /// Sets the bits of the rows whose look-ups, in tables [tokens, 256] of bytes, 64-byte aligned,
    /// sum to less than 255: sums stop there.
    /// @param heads   [count, tokens], tokens at most kMostSieveTokens.
    /// @param levels  [count], looked up in a table that follows the tokens'; null: none.
    void (*sieve_rows)(
        const std::uint8_t* tables, const std::byte* heads, std::size_t tokens,
        const std::uint8_t* levels, std::size_t count, std::uint64_t* masks);

    /// Makes columns of rows.
    /// @param heads    [count, tokens]. @param count  At most kSieveRows.
    /// @param columns  Out, 64-byte aligned; rows are filled up to a multiple of 64 with any bytes.
    void (*transpose)(
        const std::byte* heads, std::size_t tokens, std::size_t count, std::uint8_t* columns);

    /// Does what sieve_rows does, of columns.
    void (*sieve_bytes)(
        const std::uint8_t* tables, const std::uint8_t* columns, std::size_t tokens,
        std::size_t count, std::uint64_t* masks);

    /// Sets the bits of the rows whose look-ups sum to `least` at least.
    /// @param tokens  At most kMostSieveTokens + 1.
    void (*sieve_words)(
        const std::uint8_t* tables, const std::uint8_t* columns, std::size_t tokens,
        std::size_t count, std::uint16_t least, std::uint64_t* masks);
};

#if defined(__x86_64__)
namespace avx512vbmi {
extern const SieveKernel kSieveKernel;
} // namespace avx512vbmi
#endif

} // namespace arfc
