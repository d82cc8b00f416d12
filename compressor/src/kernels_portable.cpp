#include "kernels.h"

namespace arfc::portable {
namespace {

// 2 rows x 16 columns are 8 accumulators of 128 bits, in 16 registers.
constexpr int kLanes = 4;
constexpr int kTileRows = 2;
constexpr int kTilePanels = 1;

#include "kernels_body.inc"

} // namespace

extern const Kernels kKernels;
const Kernels kKernels = {"portable", multiply, symbol_costs, add_rows, total_costs,
                          closest,    at_most,  judge,        extend,   ranks,
                          add,        subtract, dot};

} // namespace arfc::portable
