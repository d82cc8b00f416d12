#include <immintrin.h>

#include "kernels.h"

namespace arfc::avx2 {
namespace {

// 6 rows x 16 columns are 12 accumulators of the 16 registers.
constexpr int kLanes = 8;
constexpr int kTileRows = 6;
constexpr int kTilePanels = 1;

#include "kernels_body.inc"

} // namespace

extern const Kernels kKernels;
const Kernels kKernels = {"avx2", multiply, symbol_costs, add_rows, total_costs, closest, at_most,
                          judge,  extend,   ranks,        add,      subtract,    dot};

} // namespace arfc::avx2
