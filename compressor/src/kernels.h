#pragma once

#include <cstddef>
#include <cstdint>

namespace arfc {

/// Candidates that are judged, and ranked, together.
inline constexpr std::size_t kMostJudged = 80;

/// What hypotheses for a row are judged by: how they, one token longer, score for landmarks.
struct Judgement {
    const float* const* tables; ///< [asked] of [256]: <landmark, symbol>.
    const float* sums;          ///< [asked, 16]: <landmark, hypothesis>, and
    const float* wanted;        ///< [asked]: the landmarks' scores for the row itself.
    std::size_t asked;
    float squared;      ///< |row|^2.
    float error_weight; ///< Of the squared error, beside the sum over landmarks.
    bool is_cosine;     ///< Scores are divided by the hypothesis' length, and its error is that of
                        ///< its direction.
    bool is_l2;         ///< Scores are less half the hypothesis' squared length.
};

/// The inner loops of encoding beside products, compiled once per instruction set. Sums are added
/// in an order that does not depend on the vector width.
struct Kernels {
    const char* name; ///< "avx512", "avx2" or "portable".

    /// cost[k] = norm[k] - 2 y[k], for 256 k.
    void (*symbol_costs)(const float* norm, const float* y, float* cost);

    /// to[k] = from[k] + sum over r < count of rows[r][k], for 256 k, added in this order.
    /// @param to  May be `from`.
    void (*add_rows)(const float* from, const float* const* rows, std::size_t count, float* to);

    /// The same, and lastly `base` on each.
    /// @param minima  Out, [16]: the smallest of every sixteenth cost.
    void (*total_costs)(
        const float* from, const float* const* rows, std::size_t count, float base, float* to,
        float* minima);

    /// Returns the k of the smallest norm[k] - 2 y[k] among 256 (ties: the lowest), and that cost.
    std::size_t (*closest)(const float* norm, const float* y, float* cost);

    /// Writes the indices of values <= `threshold`, ascending; returns how many.
    /// @param size     A multiple of 16.
    /// @param indices  Out, [size + 16], of which what is beyond the last may be written, too.
    std::size_t (*at_most)(
        const float* values, std::size_t size, float threshold, std::uint32_t* indices);

    /// Judges candidates for a row by what landmarks make of them, as the class Landmarks says.
    /// @param size        Candidates: a multiple of 16, at most kMostJudged.
    /// @param hypotheses  [size]: which one, below 16, a candidate continues,
    /// @param symbols     [size]: and by which symbol.
    /// @param own         [size]: <row, candidate>.
    /// @param errors      [size]: |row - candidate|^2. Out: what they are judged to be, less is
    ///                    better.
    void (*judge)(
        const Judgement& by, std::size_t size, const std::uint32_t* hypotheses,
        const std::uint32_t* symbols, const float* own, float* errors);

    /// Makes sums [asked, 16] those of 16 candidates: their hypotheses' and their symbols'.
    void (*extend)(
        const float* const* tables, std::size_t asked, const std::uint32_t* hypotheses,
        const std::uint32_t* symbols, float* sums);

    /// Counts for each of `size` values, a multiple of 16, how many of them are less.
    void (*ranks)(const float* values, std::size_t size, std::int32_t* ranks);

    /// acc[i] += x[i]
    void (*add)(float* acc, const float* x, std::size_t n);

    /// acc[i] -= x[i]
    void (*subtract)(float* acc, const float* x, std::size_t n);

    /// Returns the inner product, summed in 16 lanes that are then added pairwise.
    float (*dot)(const float* a, const float* b, std::size_t n);
};

/// Returns the kernels of instruction_set().
[[nodiscard]] const Kernels& kernels() noexcept;

} // namespace arfc
