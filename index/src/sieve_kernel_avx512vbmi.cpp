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
__attribute__((always_inline)) inline void transpose(
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

// Adds 64 look-ups to the sums of even and of odd rows.
__attribute__((always_inline)) inline void look_up(
    const std::uint8_t* table, __m512i symbols, __m512i& even, __m512i& odd) {
    const __m512i* const parts = reinterpret_cast<const __m512i*>(table);
    const __m512i low =
        _mm512_permutex2var_epi8(_mm512_load_si512(parts), symbols, _mm512_load_si512(parts + 1));
    const __m512i high = _mm512_permutex2var_epi8(
        _mm512_load_si512(parts + 2), symbols, _mm512_load_si512(parts + 3));
    const __m512i found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(symbols), low, high);
    even = _mm512_add_epi16(even, _mm512_and_si512(found, _mm512_set1_epi16(0xff)));
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(found, 8));
}

__attribute__((always_inline)) inline std::uint64_t sieve_block(
    const std::uint8_t* tables, const std::byte* heads, unsigned long tokens,
    const std::uint8_t* levels, std::uint16_t least) {
    __m512i even = _mm512_setzero_si512();
    __m512i odd = _mm512_setzero_si512();
    if (levels != nullptr) {
        look_up(tables + tokens * 256, _mm512_loadu_si512(levels), even, odd);
    }
    __m512i columns[kTokensTogether];
    unsigned long first = 0;
    for (; first + kTokensTogether <= tokens; first += kTokensTogether) {
        transpose(heads + first, tokens, 0xffff, columns);
#pragma GCC unroll 16
        for (unsigned long t = 0; t < kTokensTogether; ++t) {
            look_up(tables + (first + t) * 256, columns[t], even, odd);
        }
    }
    if (first < tokens) {
        transpose(
            heads + first, tokens, static_cast<__mmask16>((1U << (tokens - first)) - 1), columns);
        for (unsigned long t = 0; first + t < tokens; ++t) {
            look_up(tables + (first + t) * 256, columns[t], even, odd);
        }
    }
    const __m512i wanted = _mm512_set1_epi16(static_cast<short>(least));
    return _pdep_u64(_mm512_cmpge_epu16_mask(even, wanted), 0x5555555555555555U) |
           _pdep_u64(_mm512_cmpge_epu16_mask(odd, wanted), 0xaaaaaaaaaaaaaaaaU);
}

void sieve(
    const std::uint8_t* tables, const std::byte* heads, std::size_t tokens,
    const std::uint8_t* levels, std::size_t count, std::uint16_t least, std::uint64_t* masks) {
    std::size_t at = 0;
    for (; at + kSieveBlock <= count; at += kSieveBlock) {
        for (std::size_t line = 0; line < kSieveBlock * tokens; line += 64) {
            _mm_prefetch(heads + (at + 2 * kSieveBlock) * tokens + line, _MM_HINT_T0);
        }
        *masks++ = sieve_block(
            tables, heads + at * tokens, tokens, levels == nullptr ? nullptr : levels + at, least);
    }
    if (at < count) { // A whole block, of which the last rows are none.
        std::byte padded[kSieveBlock * kMostSieveTokens] = {};
        std::uint8_t padded_levels[kSieveBlock] = {};
        __builtin_memcpy(padded, heads + at * tokens, (count - at) * tokens);
        if (levels != nullptr) {
            __builtin_memcpy(padded_levels, levels + at, count - at);
        }
        const std::uint64_t found =
            sieve_block(tables, padded, tokens, levels == nullptr ? nullptr : padded_levels, least);
        *masks = found & ((std::uint64_t{1} << (count - at)) - 1);
    }
}

} // namespace

extern const SieveKernel kSieveKernel;
const SieveKernel kSieveKernel = {range, quantise, sieve};

} // namespace arfc::avx512vbmi
