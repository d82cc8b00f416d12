#include "kernels.h"

#include "arfc/base/instruction_set.h"

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
    switch (instruction_set()) {
#if defined(__x86_64__)
        case InstructionSet::kAvx512Vbmi:
        case InstructionSet::kAvx512: return avx512::kKernels;
        case InstructionSet::kAvx2: return avx2::kKernels;
#endif
        default: return portable::kKernels;
    }
}

} // namespace

const Kernels& kernels() noexcept {
    static const Kernels& chosen = choose();
    return chosen;
}

} // namespace arfc
