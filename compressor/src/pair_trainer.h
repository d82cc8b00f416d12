#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/compressor/compressor.h"
#include "learning_state.h"
#include "perceptron.h"

namespace arfc {

/// What learning from pairs starts from. All rows are L2-normalised under cosine, by the same
/// function: rows that are equal to the bit are the same row.
struct PairTask {
    MatrixView<const float> queries;  ///< [p, d]: the i-th
    MatrixView<const float> relevant; ///< [p, d]: belongs with the i-th.
    MatrixView<const float> rows;     ///< [n, d]: what is trained on, in a random order.
    Metric metric = Metric::kCosine;
    std::uint64_t seed = 0;
    std::int64_t steps = 300;    ///< Twice as many gain nothing more.
    std::function<bool()> go_on; ///< Asked between steps; false ends early, with the best so far.
    /// Share of the time for this that has gone, in [0, 1]; the rate follows it where it is ahead
    /// of the steps; may be empty.
    std::function<double()> spent;
    std::optional<LearningState> begun; ///< Where to go on, as `keep` was given it.
    /// Is offered, between steps, a function that tells where the learning stands; may be empty.
    std::function<void(const std::function<LearningState()>&)> keep;
};

/// What pairs taught.
struct PairMap {
    PerceptronWeights entry; ///< d numbers out, which are added to rows and queries before anything
                             ///< else; empty: pairs gained nothing, leave them as they are.
    PairReport report;
};

/// Learns a map x + perceptron(x) under which queries are closer to the rows that belong with them.
///
/// Pairs are the edges of a graph of distinct rows; what is connected is of one kind, unless most
/// of all is connected, when only the two rows of a pair belong together. Gradient steps from the
/// identity lower a contrastive loss (of a pair's row among the rows of other kinds in the batch
/// and rows without a pair) while what pairs do not speak of stays where it is and keeps the order
/// of its neighbours.
/// Kinds and queries are held out; the step that answers held-out queries of seen kinds best is
/// taken, where that is a significant gain and held-out kinds lose nothing significant. It is then
/// learned again from all pairs.
///
/// Source: InfoNCE (van den Oord et al., arXiv:1807.03748); docs/sources.md.
/// @throws Error  kCorruption: `task.begun` does not fit the task.
[[nodiscard]] PairMap learn_pairs(const PairTask& task);

/// Returns which pairs take part: all, in their order, or kMaxTrainingPairs of them drawn.
[[nodiscard]] std::vector<std::size_t> drawn_pairs(std::size_t pairs, std::uint64_t seed);

/// Writes an outcome of learn_pairs() as a state, and reads it again.
[[nodiscard]] LearningState to_state(PairMap learned);
/// @throws Error  kCorruption: the state does not fit the task.
[[nodiscard]] PairMap pair_map_from(LearningState state, const PairTask& task);

/// What rows and what they are mapped to have in common: means of products.
struct MapMoments {
    std::vector<float> across; ///< [d, d]: row * mapped^T.
    std::vector<float> within; ///< [d, d]: mapped * mapped^T.
};

/// Measures it. Fewer rows than directions do not tell all: as if there were d / 128 more, spread
/// evenly over all directions, that the map leaves as they are.
/// @param rows, mapped  [n, d].
[[nodiscard]] MapMoments map_moments(MatrixView<const float> rows, MatrixView<const float> mapped);

/// Returns the linear map that takes rows back: the least squared error of x from mapped(x) +
/// noise.
/// @param noise    Variance of each coordinate of the noise, at least 0.
/// @returns        [d, d].
[[nodiscard]] std::vector<float> inverse_map(const MapMoments& moments, double noise);

} // namespace arfc
