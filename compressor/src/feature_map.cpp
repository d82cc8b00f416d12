#include "feature_map.h"

#include <algorithm>

#include "arfc/base/aligned_floats.h"
#include "kernels.h"

namespace arfc {

FeatureMap::FeatureMap(const FeatureWeights& weights)
    : map_({weights.map.data(), weights.offset.size(), weights.map.size() / weights.offset.size()}),
      offset_(weights.offset), bend_(weights.bend) {}

void FeatureMap::apply(MatrixView<const float> rows, MatrixView<float> features) const {
    const std::size_t n = rows.rows();
    const std::size_t dims = features.cols();
    const std::size_t width = padded_columns(dims);
    AlignedFloats sums(n * width);
    map_.multiply_leading(rows.data(), rows.cols(), n, dims, sums.data(), width);
    for (std::size_t i = 0; i < n; ++i) {
        kernels().add(sums.data() + i * width, offset_.data(), dims);
    }
    bend_.add(rows, dims, sums.data(), width);
    for (std::size_t i = 0; i < n; ++i) {
        std::copy_n(sums.data() + i * width, dims, features.row(i).data());
    }
}

double FeatureMap::flop(std::size_t dims) const noexcept {
    return 2.0 * static_cast<double>(dims) * static_cast<double>(map_.inner()) + bend_.flop(dims);
}

} // namespace arfc
