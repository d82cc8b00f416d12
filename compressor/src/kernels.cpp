#include "kernels.h"

#include <cstdlib>
#include <string_view>

namespace arfc {

namespace portable {
extern const Kernels kKernels;
} // namespace portable

#if defined(__x86_64__)
namespace avx512 {
extern const Kernels kKernels;
} // namespace avx512
namespace avx2 {
extern const Kernels kKernels;
} // namespace avx2
#endif

namespace {

const Kernels& choose() noexcept {
    const char* const variable = std::getenv("ARFC_KERNELS");
    const std::string_view wanted = variable == nullptr ? "" : variable;
#if defined(__x86_64__)
    const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") != 0 &&
                            __builtin_cpu_supports("avx512vl") != 0 &&
                            __builtin_cpu_supports("avx512bw") != 0 &&
                            __builtin_cpu_supports("avx512dq") != 0;
    if (has_avx512 && (wanted.empty() || wanted == "avx512")) {
        return avx512::kKernels;
    }
    if (has_avx2 && (wanted.empty() || wanted == "avx2")) {
        return avx2::kKernels;
    }
#endif
    return portable::kKernels;
}

} // namespace

const Kernels& kernels() noexcept {
    static const Kernels& chosen = choose();
    return chosen;
}

} // namespace arfc
