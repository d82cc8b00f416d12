#pragma once

#include <cstdint>

namespace arfc {

/// Vector instructions that inner loops are compiled for, each with those before it.
enum class InstructionSet : std::uint8_t {
    kPortable,   ///< What every processor of this architecture has.
    kAvx2,       ///< AVX2 and FMA.
    kAvx512,     ///< AVX-512 F, VL, BW, DQ.
    kAvx512Vbmi, ///< AVX-512 VBMI, and BMI2.
};

/// Returns the widest that this processor has: the one place where that is found out.
/// The environment variable ARFC_KERNELS ("avx512vbmi", "avx512", "avx2", "portable"), read at the
/// first call, allows at most so much, for tests and benchmarks; another word means "portable".
[[nodiscard]] InstructionSet instruction_set() noexcept;

} // namespace arfc
