#include "arfc/base/instruction_set.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace arfc {
namespace {

InstructionSet supported() noexcept {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") == 0 || __builtin_cpu_supports("fma") == 0) {
        return InstructionSet::kPortable;
    }
    if (__builtin_cpu_supports("avx512f") == 0 || __builtin_cpu_supports("avx512vl") == 0 ||
        __builtin_cpu_supports("avx512bw") == 0 || __builtin_cpu_supports("avx512dq") == 0) {
        return InstructionSet::kAvx2;
    }
    if (__builtin_cpu_supports("avx512vbmi") == 0 || __builtin_cpu_supports("bmi2") == 0) {
        return InstructionSet::kAvx512;
    }
    return InstructionSet::kAvx512Vbmi;
#else
    return InstructionSet::kPortable;
#endif
}

InstructionSet allowed() noexcept {
    const char* const variable = std::getenv("ARFC_KERNELS");
    const std::string_view wanted = variable == nullptr ? "" : variable;
    if (wanted.empty() || wanted == "avx512vbmi") {
        return InstructionSet::kAvx512Vbmi;
    }
    if (wanted == "avx512") {
        return InstructionSet::kAvx512;
    }
    return wanted == "avx2" ? InstructionSet::kAvx2 : InstructionSet::kPortable;
}

} // namespace

InstructionSet instruction_set() noexcept {
    static const InstructionSet kChosen = std::min(supported(), allowed());
    return kChosen;
}

} // namespace arfc
