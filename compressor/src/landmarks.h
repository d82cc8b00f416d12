#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arfc/base/aligned_floats.h"
#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/packed_matrix.h"

namespace arfc {

/// How landmarks judge hypotheses.
struct LandmarkOptions {
    Metric metric = Metric::kCosine;
    std::size_t asked = 16; ///< Landmarks nearest to a row that stand for its queries; at most 64.
    float error_weight = 0.0F; ///< Of the squared error, in units of that of scores.
};

/// Points that stand for queries: where rows are, queries will be. Of the hypotheses for a row,
/// those are best whose scores for the nearest landmarks differ least from the row's own, by
///
///     mean over landmarks of (score(landmark, hypothesis) - score(landmark, row))^2
///         + error_weight * spread * |row - hypothesis|^2
///
/// where spread is the landmarks' mean squared distance from the row. What a code leaves of a row
/// then lies where no query near the row looks.
///
/// Inner products between landmarks and symbols are tables (1 KiB a landmark and token), so judging
/// a hypothesis costs `asked` look-ups.
class Landmarks {
  public:
    /// @param points  [n, dim], n >= 1, as rows are: of length one under cosine.
    /// @param mean    [dim]: what every sum of symbols starts from.
    Landmarks(
        MatrixView<const float> points, std::vector<float> mean, const LandmarkOptions& options);

    /// Adds the next token's symbols. @param codebook  [256, dim].
    void add_codebook(MatrixView<const float> codebook);

    /// What is known of some rows and their hypotheses.
    struct State {
        std::size_t asked = 0;
        std::size_t width = 0;
        std::vector<std::uint32_t> nearest; ///< [rows, asked].
        std::vector<float> wanted;          ///< [rows, asked]: scores of the rows themselves.
        std::vector<float> squared;         ///< [rows]: |row|^2.
        std::vector<float> centred;         ///< [rows]: |row - mean|^2.
        std::vector<float> spread;          ///< [rows].
        std::vector<float> own;             ///< [rows, width]: <row, hypothesis>.
        std::vector<float> sums;            ///< [rows, asked, 16]: <landmark, hypothesis>.
    };

    /// Finds the landmarks of rows. @param z  [n, dim], less the mean.
    [[nodiscard]] State start(MatrixView<const float> z, std::size_t width) const;

    /// A hypothesis one token longer than one of the state's.
    struct Candidate {
        float cost; ///< Squared distance to the row less |z|^2.
        std::uint8_t hypothesis;
        std::uint8_t symbol;
    };

    /// Keeps the best `kept` candidates, at most 16 and best first (ties: as they came), and makes
    /// them the row's hypotheses.
    /// @param products  [256]: <z, symbol> of token `token`.
    void choose(
        State& state, std::size_t row, std::size_t token, const float* products, std::size_t kept,
        std::vector<Candidate>& candidates) const;

    /// Has the processor fetch what choose() reads for a row.
    void prefetch(const State& state, std::size_t row, std::size_t token) const noexcept;

  private:
    std::size_t dim_;
    LandmarkOptions options_;
    PackedMatrix packed_;
    std::vector<float> mean_;
    std::vector<float> norms_; ///< [n], squared.
    std::vector<float> bias_;  ///< [n]: <landmark, mean>.
    struct Token {
        AlignedFloats tables;     ///< [n, 256].
        std::vector<float> means; ///< [256]: <mean, symbol>.
    };
    std::vector<Token> tokens_;
};

} // namespace arfc
