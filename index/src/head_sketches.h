#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "coarse_structure.h"

namespace arfc {

/// Compares rows with each other by short vectors made from their heads.
///
/// A sketch is the row's reconstruction along at most 128 of its leading principal axes, of unit
/// length under cosine. It is a sum of one short vector a token, so making one costs a hundredth of
/// decoding the row, and none need be kept. The axes are those of random codes: they follow from
/// the compressor alone. Immutable once made; thread-safe.
class HeadSketches {
  public:
    /// Makes sketches of no use yet.
    HeadSketches() = default;

    /// @param head_bytes  Tokens that a sketch is made from.
    HeadSketches(const Compressor& compressor, std::size_t head_bytes);

    [[nodiscard]] bool empty() const noexcept { return dim_ == 0; }
    [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

    /// @param head    [head_bytes].
    /// @param sketch  Out, [dim()].
    void compute(std::span<const std::byte> head, float* sketch) const;

    /// Returns how alike two rows are, larger = closer: inner product of unit rows under cosine,
    /// else minus squared distance. (Under inner product a row's largest products are with the
    /// longest rows, wherever they lie: as a neighbourhood that leaves the graph in pieces.)
    [[nodiscard]] float similarity(const float* a, const float* b) const;

    [[nodiscard]] std::size_t bytes() const noexcept {
        return (symbols_.size() + bias_.size()) * sizeof(float);
    }

  private:
    Metric metric_ = Metric::kInnerProduct;
    std::size_t dim_ = 0;
    std::vector<float> bias_;    ///< [dim].
    std::vector<float> symbols_; ///< [head_bytes, kSymbols, dim].
};

} // namespace arfc
