#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "arfc/base/metric.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

/// Passes over rows that cannot score as high as is wanted, by one query's tables rounded to bytes.
///
/// Each look-up is rounded up, so that a row's sum of bytes, and so its score, is never less than
/// its own: what does not reach the threshold by bytes does not by floats, and the answers are
/// those of a scan by floats, to the bit. Bytes are looked up for 64 rows at a time. For one
/// thread.
class HeadSieve {
  public:
    /// Rows that are looked at together.
    static constexpr std::size_t kMostRows = 256;

    /// Makes a sieve where it is of use: where the processor has the instructions, and tables,
    /// which must outlive it, are finite.
    /// @param tables  [tokens, kSymbols].
    /// @param levels  [256] what combine() takes as the term of a row of each level, positive under
    ///                cosine; empty: rows have no terms, as under inner product.
    [[nodiscard]] static std::optional<HeadSieve> make(
        const float* tables, std::size_t tokens, Metric metric, const Compressor::QueryTerms& terms,
        std::span<const float> levels);

    /// Finds the rows whose scores may reach `threshold`.
    /// @param heads   [count, tokens], count <= kMostRows.
    /// @param levels  [count]; null where the sieve has none.
    /// @param places  Out, [count]: theirs, ascending.
    /// @returns how many.
    std::size_t pass(
        const std::byte* heads, const std::uint8_t* levels, std::size_t count, float threshold,
        std::uint16_t* places);

  private:
    HeadSieve() = default;

    /// Makes what depends on the threshold: the table of levels, and the least sum of bytes.
    void aim(float threshold);

    Metric metric_ = Metric::kInnerProduct;
    std::size_t tokens_ = 0;
    double squared_norm_ = 0;
    double start_ = 0;           ///< What a sum of no bytes stands for,
    double step_ = 0;            ///< and what each more adds.
    double rounding_ = 0;        ///< More than the error of a float sum.
    std::vector<double> levels_; ///< [256]: 1 / term under cosine, term under L2.
    std::vector<std::uint8_t> storage_;
    std::uint8_t* bytes_ = nullptr; ///< [tokens + 1, 256] in storage_, 64-byte aligned.
    std::optional<float> aimed_at_;
    bool passes_all_ = false;
    bool passes_none_ = false;
    std::uint16_t least_ = 0;
};

} // namespace arfc
