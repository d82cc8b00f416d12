#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "arfc/base/aligned_floats.h"
#include "arfc/base/matrix_view.h"
#include "arfc/base/packed_matrix.h"
#include "landmarks.h"

namespace arfc {

/// Chooses symbols of whole-space codebooks so that their sum comes close to a row, keeping several
/// hypotheses.
///
/// A hypothesis' squared distance is followed through inner products alone:
/// |z - sum - c|^2 = |z - sum|^2 + |c|^2 - 2 <z, c> + 2 <sum, c>, where <z, c> is one matrix
/// product a token and <sum, c> is a sum of rows of tables between codebooks. So a row costs 2 *
/// 256 * dim FLOP a token, whatever the beam's width; the width costs table rows (1 KiB each).
///
/// Source: the beam search and its look-up tables as in FAISS's residual quantizer (Douze et al.,
/// arXiv:2401.08281).
class BeamSearch {
  public:
    explicit BeamSearch(std::size_t dim) : dim_(dim) {}

    /// Hypotheses of some rows; `count` is the same for all of them.
    struct State {
        std::size_t rows = 0;
        std::size_t tokens = 0;          ///< Tokens chosen so far.
        std::size_t count = 1;           ///< Hypotheses a row.
        std::vector<float> costs;        ///< [rows, width], ascending: squared distance less |z|^2.
        std::vector<std::uint8_t> codes; ///< [rows, width, capacity].
        /// [rows, width]: hypotheses in the order of their codes, so that those with tokens in
        /// common are neighbours,
        std::vector<std::uint8_t> order;
        std::vector<std::uint16_t> shared; ///< and how many they share with the one before.
        std::size_t width = 0;             ///< Most hypotheses a row.
        std::size_t capacity = 0;          ///< Most tokens.
        Landmarks::State judged;           ///< Where landmarks judge; see BeamSearch::judge().

        [[nodiscard]] const std::uint8_t* code(
            std::size_t row, std::size_t hypothesis) const noexcept {
            return codes.data() + (row * width + hypothesis) * capacity;
        }
        /// Returns the squared error of the best hypotheses. @param energy  Of the rows.
        [[nodiscard]] double left(double energy) const noexcept {
            for (std::size_t i = 0; i < rows; ++i) {
                energy += static_cast<double>(costs[i * width]);
            }
            return energy;
        }
        [[nodiscard]] std::uint8_t* code(std::size_t row, std::size_t hypothesis) noexcept {
            return codes.data() + (row * width + hypothesis) * capacity;
        }
    };

    /// Has hypotheses judged by landmarks instead of by their distance alone, which then proposes
    /// some more than are kept; at most 16 are. Called before codebooks are added, which are then
    /// what symbols decode to.
    void set_landmarks(Landmarks landmarks) { landmarks_ = std::move(landmarks); }

    /// Adds the next token's codebook. @param codebook  [256, dim].
    void add_codebook(MatrixView<const float> codebook);

    [[nodiscard]] std::size_t tokens() const noexcept { return tokens_.size(); }

    /// Starts rows with one empty hypothesis each.
    /// @param width     Hypotheses to keep, in [1, 64].
    /// @param capacity  Tokens there will be.
    [[nodiscard]] static State start(std::size_t rows, std::size_t width, std::size_t capacity);

    /// Returns what landmarks, which there are, know of rows before the first token.
    [[nodiscard]] Landmarks::State judge(MatrixView<const float> z, std::size_t width) const {
        return landmarks_->start(z, width);
    }

    /// Chooses the next token of rows [first, first + z.rows()), on the calling thread. The caller
    /// counts `state.tokens` and `state.count` on by advance() when every row is done.
    /// @param z        [n, dim]; rows `first...` of the state.
    /// @param scratch  At least scratch_size(z.rows()) floats.
    void step(MatrixView<const float> z, std::size_t first, State& state, float* scratch) const;
    static void advance(State& state);

    /// Chooses `tokens` tokens of every row of z, keeping one hypothesis at each commit point.
    /// @param commit_points  Ascending; `tokens` is one of them.
    [[nodiscard]] State run(
        MatrixView<const float> z, std::size_t width, std::span<const std::size_t> commit_points,
        std::size_t tokens, float* scratch) const;

    /// Keeps each row's best hypothesis.
    static void commit(State& state) { state.count = 1; }

    [[nodiscard]] static std::size_t scratch_size(std::size_t rows) noexcept {
        return (rows + 64) * 256; // Products, and the costs of up to 64 hypotheses.
    }

  private:
    struct Token {
        AlignedFloats codebook; ///< [256, dim]; needed to relate later codebooks to this one.
        PackedMatrix packed;
        AlignedFloats norms;   ///< [256], squared.
        AlignedFloats crosses; ///< [tokens before, 256, 256]: 2 <earlier symbol, this symbol>.
    };
    using Candidate = Landmarks::Candidate;

    /// Computes what each symbol makes of each hypothesis. Sums over tokens that hypotheses share
    /// are made once.
    /// @param costs   Out, [count, 256].
    /// @param minima  Out, [count, 16]: the smallest of every sixteenth cost of a hypothesis.
    void all_costs(
        const State& state, std::size_t row, const float* products, float* costs,
        float* minima) const;
    /// Finds at least the `count` closest candidates (ties: by hypothesis and symbol), and few
    /// more, in the order of these.
    /// @param parts  16, or 32 for fewer more.
    void propose(
        const State& state, std::size_t row, const float* products, std::size_t count,
        std::size_t parts, float* costs, std::vector<Candidate>& candidates) const;
    /// Makes candidates the row's hypotheses.
    void extend(State& state, std::size_t row, const std::vector<Candidate>& candidates) const;

    std::size_t dim_;
    std::vector<Token> tokens_;
    std::optional<Landmarks> landmarks_;
};

} // namespace arfc
