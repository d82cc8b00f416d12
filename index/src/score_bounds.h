#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arfc/base/metric.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

/// Between which a number lies.
struct Bounds {
    double least = 0;
    double most = 0;
};

/// Bounds what the rows of an index can score with one query, from what a prefix has told of them.
///
/// A *distance* is the angle under cosine, the Euclidean distance under L2, and minus the inner
/// product otherwise: smaller = closer. A row's error radius (error_radii.h) bounds how much
/// farther or nearer than its prefix the row itself is: under cosine and L2 by the triangle
/// inequality, under inner product by that of Cauchy and Schwarz, in units of the query's length.
/// Besides, tokens yet unread add at most their tables' extremes.
///
/// Every bound holds in exact arithmetic for the originals, and for the float scores of codes to
/// the bit: what rounding can do is in Compressor::sum_error() and kLengthError. Const members may
/// be called from many threads.
class ScoreBounds {
  public:
    /// @param stage_bytes  Prefix lengths; the last is what rows are ranked by. Must outlive this.
    /// @param query        [dim].
    /// @param tables       [last stage's bytes, kSymbols].
    ScoreBounds(
        const Compressor& compressor, std::span<const std::size_t> stage_bytes,
        std::span<const float> query, const float* tables, const Compressor::QueryTerms& terms);

    /// Returns how far from the query the reconstruction of a prefix lies.
    /// @param length  Of the reconstruction; not used under inner product.
    [[nodiscard]] Bounds distance(std::size_t stage, float sum, const Bounds& length) const;

    /// Returns the length of a reconstruction that a row term tells, as distance() takes it.
    [[nodiscard]] Bounds length(float row_term) const { return length(compressor_, row_term); }
    [[nodiscard]] static Bounds length(const Compressor& compressor, float row_term);

    /// Returns how far what lies within `radius` of something at `distance` is from the query.
    /// @param radius  As radius_of() gives it; infinity: not known.
    [[nodiscard]] Bounds around(const Bounds& distance, double radius) const;

    /// Returns no less than the float score of a whole code that has radii.
    /// @param distance  Of its reconstruction.
    /// @param row_term  NaN: not known. Used under cosine.
    [[nodiscard]] double score_at(const Bounds& distance, float row_term) const;

    /// Returns no less than the float score of a row, whatever its tokens beyond the stage are, and
    /// wherever it ends.
    /// @param row_term  Of the whole code; NaN: not known.
    [[nodiscard]] double score_by_extremes(std::size_t stage, float sum, float row_term) const;

  private:
    const Compressor& compressor_;
    std::span<const std::size_t> stage_bytes_;
    Metric metric_;
    float squared_norm_;        ///< As combine() takes it.
    double exact_squared_norm_; ///< 1 under cosine.
    double length_;             ///< Its root, rounded up.
    std::vector<double> gains_; ///< [stages]: the most that tokens from there on add to a sum,
    std::vector<double> sizes_; ///< and the sum of the largest magnitudes of their look-ups.
};

} // namespace arfc
