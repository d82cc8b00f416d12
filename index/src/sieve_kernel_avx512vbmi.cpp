#include <immintrin.h>

#include "sieve_kernel.h"

// GCC 12 takes what some intrinsics leave undefined on purpose for uninitialised.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

// Nothing here may call an inline function of the standard library: the linker keeps one copy of
// those, and it must run everywhere.

namespace arfc::avx512vbmi {
namespace {

constexpr unsigned long kTokensTogether = 16;
constexpr unsigned long kFetchedRows = 128; // Behind those that are read.

void range(const float* values, float* least, float* largest) {
    __m512 low = _mm512_loadu_ps(values);
    __m512 high = low;
    for (int k = 16; k < 256; k += 16) {
        const __m512 next = _mm512_loadu_ps(values + k);
        low = _mm512_min_ps(low, next);
        high = _mm512_max_ps(high, next);
    }
    *least = _mm512_reduce_min_ps(low);
    *largest = _mm512_reduce_max_ps(high);
}

void quantise(const float* values, float least, float scale, std::uint8_t* bytes) {
    constexpr float kRounding = 1e-3F; // More than the error of the difference and the product.
    for (int k = 0; k < 256; k += 16) {
        const __m512 above = _mm512_sub_ps(_mm512_loadu_ps(values + k), _mm512_set1_ps(least));
        const __m512 steps =
            _mm512_fmadd_ps(above, _mm512_set1_ps(scale), _mm512_set1_ps(kRounding));
        const __m512i whole =
            _mm512_cvt_roundps_epi32(steps, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
        _mm_store_si128(reinterpret_cast<__m128i*>(bytes + k), _mm512_cvtusepi32_epi8(whole));
    }
}

void quantise_below(const float* values, float most, float scale, std::uint8_t* bytes) {
    constexpr float kRounding = 1e-3F; // More than the error of the difference and the product.
    for (int k = 0; k < 256; k += 16) {
        const __m512 below = _mm512_sub_ps(_mm512_set1_ps(most), _mm512_loadu_ps(values + k));
        const __m512 steps = _mm512_min_ps(
            _mm512_fmsub_ps(below, _mm512_set1_ps(scale), _mm512_set1_ps(kRounding)),
            _mm512_set1_ps(255.0F));
        const __m512i whole = _mm512_max_epi32(
            _mm512_cvt_roundps_epi32(steps, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC),
            _mm512_setzero_si512());
        _mm_store_si128(reinterpret_cast<__m128i*>(bytes + k), _mm512_cvtusepi32_epi8(whole));
    }
}

// Four rows' next 16 tokens (fewer where a mask says so), a row in each quarter.
__attribute__((always_inline)) inline __m512i four_rows(
    const std::byte* heads, unsigned long stride, __mmask16 tokens) {
    const auto row = [&](unsigned long i) __attribute__((always_inline)) {
        return _mm_maskz_loadu_epi8(tokens, heads + i * stride);
    };
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(row(2)), row(3), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Transposes 64 rows' next 16 tokens: columns[t] has token t of each row.
__attribute__((always_inline)) inline void transpose_block(
    const std::byte* heads, unsigned long stride, __mmask16 tokens, __m512i* columns) {
    // In each quarter's place, the four rows' bytes of one token side by side.
    const __m512i by_token = _mm512_set_epi8(
        63, 47, 31, 15, 62, 46, 30, 14, 61, 45, 29, 13, 60, 44, 28, 12, 59, 43, 27, 11, 58, 42, 26,
        10, 57, 41, 25, 9, 56, 40, 24, 8, 55, 39, 23, 7, 54, 38, 22, 6, 53, 37, 21, 5, 52, 36, 20,
        4, 51, 35, 19, 3, 50, 34, 18, 2, 49, 33, 17, 1, 48, 32, 16, 0);
    __m512i r[16];
#pragma GCC unroll 16
    for (int g = 0; g < 16; ++g) {
        const std::byte* const first = heads + static_cast<unsigned long>(g) * 4 * stride;
        const __m512i rows =
            stride == 16 ? _mm512_loadu_si512(first) : four_rows(first, stride, tokens);
        r[g] = _mm512_permutexvar_epi8(by_token, rows);
    }
    // 16 by 16 groups of four bytes, in four steps.
    __m512i t[16];
#pragma GCC unroll 4
    for (int g = 0; g < 16; g += 4) {
        const __m512i a = _mm512_unpacklo_epi32(r[g], r[g + 1]);
        const __m512i b = _mm512_unpackhi_epi32(r[g], r[g + 1]);
        const __m512i c = _mm512_unpacklo_epi32(r[g + 2], r[g + 3]);
        const __m512i d = _mm512_unpackhi_epi32(r[g + 2], r[g + 3]);
        t[g] = _mm512_unpacklo_epi64(a, c);
        t[g + 1] = _mm512_unpackhi_epi64(a, c);
        t[g + 2] = _mm512_unpacklo_epi64(b, d);
        t[g + 3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const __m512i even_low = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88);
        const __m512i even_high = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88);
        const __m512i odd_low = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
        const __m512i odd_high = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
        columns[i] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        columns[i + 8] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
        columns[i + 4] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        columns[i + 12] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
}

// Sixty-four look-ups.
__attribute__((always_inline)) inline __m512i look_up(const __m512i* table, __m512i symbols) {
    const __m512i low = _mm512_permutex2var_epi8(table[0], symbols, table[1]);
    const __m512i high = _mm512_permutex2var_epi8(table[2], symbols, table[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(symbols), low, high);
}

__attribute__((always_inline)) inline void load_table(const std::uint8_t* table, __m512i* parts) {
#pragma GCC unroll 4
    for (unsigned long i = 0; i < 4; ++i) {
        parts[i] = _mm512_load_si512(table + 64 * i);
    }
}

// Of kBlocks blocks of 64 rows, whose sums stay in registers: a table is read once for all.
template <int kBlocks>
__attribute__((always_inline)) inline void bytes_of_blocks(
    const std::uint8_t* tables, const std::uint8_t* columns, unsigned long tokens,
    std::uint64_t* masks) {
    __m512i sums[kBlocks];
#pragma GCC unroll 8
    for (int b = 0; b < kBlocks; ++b) {
        sums[b] = _mm512_setzero_si512();
    }
    for (unsigned long t = 0; t < tokens; ++t) {
        __m512i table[4];
        load_table(tables + t * 256, table);
        const std::uint8_t* const column = columns + t * kSieveRows;
#pragma GCC unroll 8
        for (int b = 0; b < kBlocks; ++b) {
            sums[b] = _mm512_adds_epu8(sums[b], look_up(table, _mm512_load_si512(column + 64 * b)));
        }
    }
#pragma GCC unroll 8
    for (int b = 0; b < kBlocks; ++b) {
        masks[b] = _mm512_cmpneq_epu8_mask(sums[b], _mm512_set1_epi8(-1));
    }
}

// As above, by the sums of even and of odd rows.
template <int kBlocks>
__attribute__((always_inline)) inline void words_of_blocks(
    const std::uint8_t* tables, const std::uint8_t* columns, unsigned long tokens,
    std::uint16_t least, std::uint64_t* masks) {
    __m512i even[kBlocks];
    __m512i odd[kBlocks];
#pragma GCC unroll 8
    for (int b = 0; b < kBlocks; ++b) {
        even[b] = _mm512_setzero_si512();
        odd[b] = _mm512_setzero_si512();
    }
    for (unsigned long t = 0; t < tokens; ++t) {
        __m512i table[4];
        load_table(tables + t * 256, table);
        const std::uint8_t* const column = columns + t * kSieveRows;
#pragma GCC unroll 8
        for (int b = 0; b < kBlocks; ++b) {
            const __m512i found = look_up(table, _mm512_load_si512(column + 64 * b));
            even[b] = _mm512_add_epi16(even[b], _mm512_and_si512(found, _mm512_set1_epi16(0xff)));
            odd[b] = _mm512_add_epi16(odd[b], _mm512_srli_epi16(found, 8));
        }
    }
    const __m512i wanted = _mm512_set1_epi16(static_cast<short>(least));
#pragma GCC unroll 8
    for (int b = 0; b < kBlocks; ++b) {
        masks[b] = _pdep_u64(_mm512_cmpge_epu16_mask(even[b], wanted), 0x5555555555555555U) |
                   _pdep_u64(_mm512_cmpge_epu16_mask(odd[b], wanted), 0xaaaaaaaaaaaaaaaaU);
    }
}

// Drops the bits of rows that there are not.
__attribute__((always_inline)) inline void cut(unsigned long count, std::uint64_t* masks) {
    if (count % 64 != 0) {
        masks[count / 64] &= (std::uint64_t{1} << (count % 64)) - 1;
    }
}

// The 64 rows from `row` on; where they are fewer, a copy that ends with rows of zeros.
__attribute__((always_inline)) inline const std::byte* whole_block(
    const std::byte* heads, std::size_t tokens, std::size_t row, std::size_t count,
    std::byte* padded) {
    const std::byte* const rows = heads + row * tokens;
    if (row + 64 <= count) {
        return rows;
    }
    __builtin_memset(padded, 0, 64 * tokens);
    __builtin_memcpy(padded, rows, (count - row) * tokens);
    return padded;
}

// Fetches a block of rows that is read some blocks later; without effect where there is nothing.
__attribute__((always_inline)) inline void fetch(const std::byte* rows, std::size_t tokens) {
    for (std::size_t line = 0; line < tokens; ++line) {
        _mm_prefetch(rows + 64 * line, _MM_HINT_T0);
    }
}

void sieve_rows(
    const std::uint8_t* tables, const std::byte* heads, std::size_t tokens,
    const std::uint8_t* levels, std::size_t count, std::uint64_t* masks) {
    for (std::size_t row = 0; row < count; row += 64) {
        std::byte padded[64 * kMostSieveTokens];
        const std::byte* const rows = whole_block(heads, tokens, row, count, padded);
        fetch(heads + (row + kFetchedRows) * tokens, tokens);
        __m512i sums = _mm512_setzero_si512();
        __m512i table[4];
        if (levels != nullptr) {
            const std::size_t left = count - row;
            const __mmask64 some = left < 64 ? (std::uint64_t{1} << left) - 1 : ~std::uint64_t{0};
            load_table(tables + tokens * 256, table);
            sums = look_up(table, _mm512_maskz_loadu_epi8(some, levels + row));
        }
        for (std::size_t first = 0; first < tokens; first += kTokensTogether) {
            const std::size_t left = tokens - first;
            __m512i columns[kTokensTogether];
            if (left >= kTokensTogether) {
                transpose_block(rows + first, tokens, 0xffff, columns);
#pragma GCC unroll 16
                for (std::size_t t = 0; t < kTokensTogether; ++t) {
                    load_table(tables + (first + t) * 256, table);
                    sums = _mm512_adds_epu8(sums, look_up(table, columns[t]));
                }
            } else {
                transpose_block(
                    rows + first, tokens, static_cast<__mmask16>((1U << left) - 1), columns);
                for (std::size_t t = 0; t < left; ++t) {
                    load_table(tables + (first + t) * 256, table);
                    sums = _mm512_adds_epu8(sums, look_up(table, columns[t]));
                }
            }
        }
        masks[row / 64] = _mm512_cmpneq_epu8_mask(sums, _mm512_set1_epi8(-1));
    }
    cut(count, masks);
}

void transpose(
    const std::byte* heads, std::size_t tokens, std::size_t count, std::uint8_t* columns) {
    for (std::size_t row = 0; row < count; row += 64) {
        std::byte padded[64 * kMostSieveTokens];
        const std::byte* const rows = whole_block(heads, tokens, row, count, padded);
        fetch(heads + (row + kFetchedRows) * tokens, tokens);
        for (std::size_t first = 0; first < tokens; first += kTokensTogether) {
            const std::size_t left = tokens - first;
            const __mmask16 some =
                left < kTokensTogether ? static_cast<__mmask16>((1U << left) - 1) : 0xffff;
            __m512i of_tokens[kTokensTogether];
            transpose_block(rows + first, tokens, some, of_tokens);
            std::uint8_t* const to = columns + first * kSieveRows + row;
            if (left >= kTokensTogether) {
#pragma GCC unroll 16
                for (std::size_t t = 0; t < kTokensTogether; ++t) {
                    _mm512_store_si512(to + t * kSieveRows, of_tokens[t]);
                }
            } else {
                for (std::size_t t = 0; t < left; ++t) {
                    _mm512_store_si512(to + t * kSieveRows, of_tokens[t]);
                }
            }
        }
    }
}

void sieve_bytes(
    const std::uint8_t* tables, const std::uint8_t* columns, std::size_t tokens, std::size_t count,
    std::uint64_t* masks) {
    const std::size_t blocks = (count + 63) / 64;
    std::size_t b = 0;
    for (; b + 8 <= blocks; b += 8) {
        bytes_of_blocks<8>(tables, columns + 64 * b, tokens, masks + b);
    }
    for (; b + 2 <= blocks; b += 2) {
        bytes_of_blocks<2>(tables, columns + 64 * b, tokens, masks + b);
    }
    if (b < blocks) {
        bytes_of_blocks<1>(tables, columns + 64 * b, tokens, masks + b);
    }
    cut(count, masks);
}

void sieve_words(
    const std::uint8_t* tables, const std::uint8_t* columns, std::size_t tokens, std::size_t count,
    std::uint16_t least, std::uint64_t* masks) {
    const std::size_t blocks = (count + 63) / 64;
    std::size_t b = 0;
    for (; b + 4 <= blocks; b += 4) {
        words_of_blocks<4>(tables, columns + 64 * b, tokens, least, masks + b);
    }
    for (; b < blocks; ++b) {
        words_of_blocks<1>(tables, columns + 64 * b, tokens, least, masks + b);
    }
    cut(count, masks);
}

} // namespace

extern const SieveKernel kSieveKernel;
const SieveKernel kSieveKernel = {range,     quantise,    quantise_below, sieve_rows,
                                  transpose, sieve_bytes, sieve_words};

} // namespace arfc::avx512vbmi
