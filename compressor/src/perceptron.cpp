#include "perceptron.h"

#include <algorithm>

#include "arfc/base/aligned_floats.h"
#include "kernels.h"

namespace arfc {
namespace {

PackedMatrix packed(const std::vector<float>& matrix, std::size_t columns) {
    return PackedMatrix({matrix.data(), matrix.size() / columns, columns});
}

} // namespace

Perceptron::Perceptron(const PerceptronWeights& weights) : bias_(weights.hidden_bias) {
    if (!weights.empty()) {
        hidden_ = packed(weights.hidden, weights.hidden.size() / bias_.size());
        output_ = packed(weights.output, bias_.size());
    }
}

void Perceptron::add(
    MatrixView<const float> rows, std::size_t dims, float* sums, std::size_t stride) const {
    if (bias_.empty()) {
        return;
    }
    const std::size_t n = rows.rows();
    const std::size_t units = padded_columns(bias_.size());
    AlignedFloats activations(n * units);
    hidden_.multiply(rows.data(), rows.cols(), n, activations.data(), units);
    for (std::size_t i = 0; i < n; ++i) {
        float* const row = activations.data() + i * units;
        kernels().add(row, bias_.data(), bias_.size());
        std::transform(row, row + units, row, [](float value) { return std::max(value, 0.0F); });
    }
    const std::size_t width = padded_columns(dims);
    AlignedFloats bent(n * width);
    output_.multiply_leading(activations.data(), units, n, dims, bent.data(), width);
    for (std::size_t i = 0; i < n; ++i) {
        kernels().add(sums + i * stride, bent.data() + i * width, dims);
    }
}

} // namespace arfc
