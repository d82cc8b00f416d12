#include <immintrin.h>

#include "kernels.h"

namespace arfc::avx512 {
namespace {

constexpr int kLanes = 16;

#include "kernels_body.inc"

} // namespace

extern const Kernels kKernels;
const Kernels kKernels = {"avx512", symbol_costs, add_rows, total_costs, closest,  at_most,
                          judge,    extend,       ranks,    add,         subtract, dot};

} // namespace arfc::avx512
