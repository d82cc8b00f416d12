#pragma once

#include <cstddef>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/packed_matrix.h"
#include "perceptron.h"

namespace arfc {

/// What turns a row into its feature, number by number, the most telling ones first:
///
///     feature = map * row + offset + bend(row)
///
/// Every number is a function of the row alone, so a feature's first numbers are the shorter
/// feature.
struct FeatureWeights {
    std::vector<float> map;    ///< [dim, dim]; empty: the model has no features.
    std::vector<float> offset; ///< [dim].
    PerceptronWeights bend;    ///< dim numbers out; empty: the feature is linear.

    [[nodiscard]] bool empty() const noexcept { return map.empty(); }
    [[nodiscard]] std::size_t bytes() const noexcept {
        return (map.size() + offset.size() + bend.size()) * sizeof(float);
    }
    bool operator==(const FeatureWeights&) const = default;
};

/// Evaluates FeatureWeights in a fixed floating-point order: a number's bits depend on its row
/// alone. Const members may be called from many threads.
class FeatureMap {
  public:
    FeatureMap() = default;
    explicit FeatureMap(const FeatureWeights& weights);

    /// Computes the first numbers of each row's feature.
    /// @param rows      [n, dim], as they were trained on; a tile's worth, since scratch grows with
    ///                  it.
    /// @param features  Out, [n, dims], dims in [1, dim].
    void apply(MatrixView<const float> rows, MatrixView<float> features) const;

    /// Returns the floating-point operations of a row (multiply and add are two).
    [[nodiscard]] double flop(std::size_t dims) const noexcept;

  private:
    PackedMatrix map_;
    std::vector<float> offset_;
    Perceptron bend_;
};

} // namespace arfc
