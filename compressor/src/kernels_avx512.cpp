#include <immintrin.h>

#include "kernels.h"

namespace arfc::avx512 {
namespace {

// 12 x 2 accumulators of the 32 registers; the rest hold panels and broadcasts.
constexpr int kLanes = 16;
constexpr int kTileRows = 12;
constexpr int kTilePanels = 2;

#include "kernels_body.inc"

} // namespace

extern const Kernels kKernels;
const Kernels kKernels = {"avx512", multiply, symbol_costs, add_rows, total_costs, closest, at_most,
                          judge,    extend,   ranks,        add,      subtract,    dot};

} // namespace arfc::avx512
