#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "beam_search.h"
#include "kmeans.h"

namespace arfc {

/// Returns how many times as long rows of the first energy a row are as rows of the second, in
/// [1, 3]: by how much codebooks for held-out rows have to reach further.
[[nodiscard]] double length_ratio(double held_out_energy, double trained_energy);

/// What codebooks of sub-spaces are learned from.
struct SubspaceTask {
    MatrixView<const float> trained; ///< [n, d]: what early tokens leave of rows that trained them,
    MatrixView<const float> held_out;       ///< [m, d]: and of others; m may be 0.
    std::span<const std::size_t> bounds;    ///< Sub-space s is [bounds[s], bounds[s + 1]).
    std::size_t beam_width = 1;             ///< Hypotheses a row and sub-space.
    std::vector<std::size_t> commit_points; ///< As ResidualModel::late_commit_points; the last is
                                            ///< beyond what a sub-space will take.
    std::size_t iterations = 6;             ///< Of k-means.
    std::function<bool()> go_on;            ///< Asked between iterations; false ends them early.
    /// Returns the codebook, of so many floats, of a sub-space's next token (from 0), by calling
    /// `cluster` or because it was learned before; may be empty.
    std::function<std::vector<float>(
        std::size_t subspace, std::size_t token, std::size_t count,
        const std::function<std::vector<float>()>& cluster)>
        learn;
};

/// Learns the codebooks of sub-spaces, of each one after another: k-means on what a beam of
/// hypotheses leaves, as for early tokens.
///
/// Rows that trained the early codebooks are left with less than rows that come later. So late
/// codebooks learn from two populations: those rows as they are, as a collection holds them, and
/// the same rows enlarged to what held-out rows are left with, token by token.
class SubspaceTrainer {
  public:
    /// Copies the rows: they need not outlive this.
    explicit SubspaceTrainer(const SubspaceTask& task);

    [[nodiscard]] std::size_t subspaces() const noexcept { return chains_.size(); }

    /// Learns the codebook that a sub-space would take next; it has none on offer.
    void make_offer(std::size_t subspace, std::uint64_t seed);

    /// Returns the sub-space whose offer removes most error; every one has made its offer.
    [[nodiscard]] std::size_t best() const;

    /// A token of a sub-space.
    struct Token {
        std::vector<float> codebook; ///< [256, width].
        double gain = 0.0;           ///< Squared error that it removes from `trained`.
    };
    /// Gives a sub-space its offer as the next token.
    [[nodiscard]] Token take(std::size_t subspace);

  private:
    enum Population : std::uint8_t {
        kTrained,
        kEnlarged, ///< Empty where held-out rows are left with no more.
        kHeldOut,  ///< They only say how long the enlarged ones have to be.
        kPopulations
    };
    /// The rows of a population in one sub-space: what is left of them at the last commit point,
    /// and the hypotheses since then.
    struct Slice {
        std::vector<float> points; ///< [rows, width].
        BeamSearch::State state;
        double energy = 0.0; ///< Of `points`.

        [[nodiscard]] std::size_t rows() const noexcept { return state.rows; }
        /// Returns the squared error of the best hypotheses.
        [[nodiscard]] double left() const noexcept { return state.left(energy); }
    };
    struct Offer {
        std::vector<float> codebook;
        std::array<BeamSearch::State, kPopulations> states;
        double gain = 0.0; ///< From the populations that it was learned from.
        double trained_gain = 0.0;
    };
    struct Chain {
        std::size_t width = 0;
        std::size_t tokens = 0;
        std::array<Slice, kPopulations> slices;
        std::vector<std::vector<float>> codebooks; ///< Since the last commit point.
        BeamSearch search;                         ///< Through these, and the one on offer.
        std::optional<Offer> offer;

        explicit Chain(std::size_t w) : width(w), search(w) {}
    };

    void cut_slices(Chain& chain, std::size_t first) const;
    [[nodiscard]] PointSource hypotheses(const Chain& chain, float longer) const;
    static void subtract_symbols(
        const Chain& chain, const Slice& slice, std::size_t row, std::size_t hypothesis,
        float* point);
    void measure(Chain& chain, Offer& offer) const;
    void commit(Chain& chain) const;
    [[nodiscard]] BeamSearch::State fresh_state(const Chain& chain, std::size_t rows) const;

    SubspaceTask task_;
    double enlarged_ = 1.0; ///< Length of the enlarged rows; 1: there are none.
    std::vector<Chain> chains_;
};

} // namespace arfc
