#include <immintrin.h>

#include "kernels.h"

namespace arfc::avx2 {
namespace {

constexpr int kLanes = 8;

#include "kernels_body.inc"

} // namespace

extern const Kernels kKernels;
const Kernels kKernels = {"avx2", symbol_costs, add_rows, total_costs, closest,  at_most,
                          judge,  extend,       ranks,    add,         subtract, dot};

} // namespace arfc::avx2
