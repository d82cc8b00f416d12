#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <set>

namespace arfc {

/// Sums of symbols behind a mean, and what losses on them say to symbols and mean. By hand because
/// autograd would fill a gradient of the codebooks' size for each token.
struct PrefixSums {
    torch::Tensor codebooks;        ///< [tokens, 256, d].
    torch::Tensor mean;             ///< [d].
    torch::Tensor codes;            ///< [n, tokens], int64, below 256.
    std::set<std::int64_t> lengths; ///< In [1, tokens]: prefixes that are asked for, ascending.

    struct Gradients {
        torch::Tensor codebooks; ///< [tokens, 256, d].
        torch::Tensor mean;      ///< [d].
    };

    /// Sums mean and symbols of the prefixes. @returns [lengths, n, d].
    [[nodiscard]] torch::Tensor sums() const;

    /// Returns the gradients of a loss on sums() plus `weight` times the squared error of the
    /// prefixes of every length, summed over rows. Their bits do not depend on the threads.
    /// @param rows       [n, d]: what the sums stand for.
    /// @param gradients  [lengths, n, d]: of the loss on sums().
    [[nodiscard]] Gradients gradients(
        const torch::Tensor& rows, const torch::Tensor& gradients, double weight) const;
};

} // namespace arfc
