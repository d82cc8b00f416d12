#pragma once

#include <cstddef>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/packed_matrix.h"

namespace arfc {

/// A perceptron of one hidden layer: output * max(0, hidden * row + hidden_bias).
struct PerceptronWeights {
    std::vector<float> hidden;      ///< [hidden units, dim]; empty: there is no perceptron.
    std::vector<float> hidden_bias; ///< [hidden units].
    std::vector<float> output;      ///< [out, hidden units].

    [[nodiscard]] bool empty() const noexcept { return hidden.empty(); }
    [[nodiscard]] std::size_t size() const noexcept {
        return hidden.size() + hidden_bias.size() + output.size();
    }
    bool operator==(const PerceptronWeights&) const = default;
};

/// Evaluates PerceptronWeights in a fixed floating-point order: a number's bits depend on its row
/// alone. Const members may be called from many threads.
class Perceptron {
  public:
    Perceptron() = default; ///< None: adds nothing.
    explicit Perceptron(const PerceptronWeights& weights);

    /// Adds the first numbers of what it gives for each row.
    /// @param rows    [n, dim]; a tile's worth, since scratch grows with it.
    /// @param dims    How many numbers, in [1, out].
    /// @param sums    In and out, [n, stride], stride >= dims; may be the rows themselves.
    void add(MatrixView<const float> rows, std::size_t dims, float* sums, std::size_t stride) const;

    /// Returns the floating-point operations of a row (multiply and add are two).
    [[nodiscard]] double flop(std::size_t dims) const noexcept {
        return 2.0 * static_cast<double>(hidden_.rows()) *
               static_cast<double>(hidden_.inner() + dims);
    }

  private:
    PackedMatrix hidden_;
    PackedMatrix output_;
    std::vector<float> bias_;
};

} // namespace arfc
