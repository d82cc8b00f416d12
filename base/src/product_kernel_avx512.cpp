#include "product_kernel.h"

namespace arfc::avx512 {
namespace {

// 12 x 2 accumulators of the 32 registers; the rest hold panels and broadcasts.
constexpr int kLanes = 16;
constexpr int kTileRows = 12;
constexpr int kTilePanels = 2;

#include "product_kernel_body.inc"

} // namespace

extern const ProductKernel kMultiply;
const ProductKernel kMultiply = multiply;

} // namespace arfc::avx512
