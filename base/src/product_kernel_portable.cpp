#include "product_kernel.h"

namespace arfc::portable {
namespace {

// 2 rows x 16 columns are 8 accumulators of 128 bits, in 16 registers.
constexpr int kLanes = 4;
constexpr int kTileRows = 2;
constexpr int kTilePanels = 1;

#include "product_kernel_body.inc"

} // namespace

extern const ProductKernel kMultiply;
const ProductKernel kMultiply = multiply;

} // namespace arfc::portable
