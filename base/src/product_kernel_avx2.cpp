#include "product_kernel.h"

namespace arfc::avx2 {
namespace {

// 6 rows x 16 columns are 12 accumulators of the 16 registers.
constexpr int kLanes = 8;
constexpr int kTileRows = 6;
constexpr int kTilePanels = 1;

#include "product_kernel_body.inc"

} // namespace

extern const ProductKernel kMultiply;
const ProductKernel kMultiply = multiply;

} // namespace arfc::avx2
