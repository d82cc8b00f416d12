#include "kernels.h"

namespace arfc::portable {
namespace {

constexpr int kLanes = 4;

#include "kernels_body.inc"

} // namespace

extern const Kernels kKernels;
const Kernels kKernels = {"portable", symbol_costs, add_rows, total_costs, closest,  at_most,
                          judge,      extend,       ranks,    add,         subtract, dot};

} // namespace arfc::portable
