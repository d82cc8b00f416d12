#include "product_kernel.h"

#include "arfc/base/instruction_set.h"

namespace arfc {

ProductKernel product_kernel() noexcept {
    switch (instruction_set()) {
#if defined(__x86_64__)
        case InstructionSet::kAvx512Vbmi:
        case InstructionSet::kAvx512: return avx512::kMultiply;
        case InstructionSet::kAvx2: return avx2::kMultiply;
#endif
        default: return portable::kMultiply;
    }
}

} // namespace arfc
