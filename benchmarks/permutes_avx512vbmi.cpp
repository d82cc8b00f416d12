#include <immintrin.h>

#include "permutes.h"

// GCC 12 takes what some intrinsics leave undefined on purpose for uninitialised.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace arfc {

unsigned look_up_128(std::size_t count) noexcept {
    constexpr int kChains = 10; // More than the latency of one covers.
    const __m512i low = _mm512_set1_epi8(3);
    const __m512i high = _mm512_set1_epi8(5);
    __m512i chains[kChains];
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) {
        chains[i] = _mm512_set1_epi8(static_cast<char>(i));
    }
    for (std::size_t done = 0; done < count; done += kChains) {
#pragma GCC unroll 10
        for (int i = 0; i < kChains; ++i) {
            chains[i] = _mm512_permutex2var_epi8(low, chains[i], high);
            asm volatile("" : "+v"(chains[i])); // Or the compiler would compute them beforehand.
        }
    }
    __m512i all = chains[0];
#pragma GCC unroll 10
    for (int i = 1; i < kChains; ++i) {
        all = _mm512_xor_si512(all, chains[i]);
    }
    return static_cast<unsigned>(_mm_cvtsi128_si32(_mm512_castsi512_si128(all)));
}

} // namespace arfc
