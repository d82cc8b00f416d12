#include "feature_map.h"

#include <algorithm>

#include "aligned_floats.h"
#include "kernels.h"

namespace arfc {
namespace {

std::size_t padded(std::size_t columns) {
    return (columns + kPanel - 1) / kPanel * kPanel;
}

PackedMatrix packed(const std::vector<float>& matrix, std::size_t rows) {
    return PackedMatrix({matrix.data(), rows, matrix.size() / rows});
}

} // namespace

FeatureMap::FeatureMap(const FeatureWeights& weights)
    : map_(packed(weights.map, weights.offset.size())), offset_(weights.offset),
      hidden_bias_(weights.hidden_bias) {
    if (!weights.hidden.empty()) {
        hidden_ = packed(weights.hidden, weights.hidden_bias.size());
        output_ = packed(weights.output, weights.offset.size());
    }
}

void FeatureMap::apply(MatrixView<const float> rows, MatrixView<float> features) const {
    const std::size_t n = rows.rows();
    const std::size_t dims = features.cols();
    const std::size_t width = padded(dims);
    AlignedFloats linear(n * width);
    map_.multiply_leading(rows.data(), rows.cols(), n, dims, linear.data(), width);
    AlignedFloats bent;
    if (hidden_.rows() > 0) {
        const std::size_t units = padded(hidden_.rows());
        AlignedFloats activations(n * units);
        hidden_.multiply(rows.data(), rows.cols(), n, activations.data(), units);
        for (std::size_t i = 0; i < n; ++i) {
            float* const row = activations.data() + i * units;
            kernels().add(row, hidden_bias_.data(), hidden_.rows());
            std::transform(
                row, row + units, row, [](float value) { return std::max(value, 0.0F); });
        }
        bent = AlignedFloats(n * width);
        output_.multiply_leading(activations.data(), units, n, dims, bent.data(), width);
    }
    for (std::size_t i = 0; i < n; ++i) {
        float* const row = linear.data() + i * width;
        kernels().add(row, offset_.data(), dims);
        if (bent.size() > 0) {
            kernels().add(row, bent.data() + i * width, dims);
        }
        std::copy_n(row, dims, features.row(i).data());
    }
}

double FeatureMap::flop(std::size_t dims) const noexcept {
    const auto width = static_cast<double>(dims);
    return 2.0 * width * static_cast<double>(map_.inner()) +
           2.0 * static_cast<double>(hidden_.rows()) *
               (static_cast<double>(hidden_.inner()) + width);
}

} // namespace arfc
