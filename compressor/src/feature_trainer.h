#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "feature_map.h"
#include "learning_state.h"

namespace arfc {

/// Widest rows that features are learned for: a map between all numbers of both sides has to be
/// found, and its eigendecomposition takes a minute there.
inline constexpr std::size_t kMaxFeatureDim = 4096;

/// Most rows that they are learned from: of more the first.
inline constexpr std::size_t kMaxFeatureRows = 65536;

/// What features are learned from. Rows are as features will be asked for: of length one under
/// cosine.
struct FeatureTask {
    MatrixView<const float> rows;     ///< [n, d], n >= 1, d in [1, kMaxFeatureDim].
    MatrixView<const float> held_out; ///< [m, d]: take no part and measure; m may be 0.
    Metric metric = Metric::kCosine;  ///< By which neighbours are near.
    std::uint64_t seed = 0;
    std::function<bool()> go_on; ///< Asked between steps; false ends early, with the best so far.
    /// Share of the time for this that has gone, in [0, 1]: the rate and the lengths follow it
    /// where it is ahead of the steps; may be empty.
    std::function<double()> spent;
    std::optional<LearningState> begun; ///< Where to go on, as `keep` was given it.
    /// Is offered, between steps, a function that tells where the learning stands; may be empty.
    std::function<void(const std::function<LearningState()>&)> keep;
};

/// Features, and how many of the held-out rows' ten nearest others stay so: the mean over half, a
/// quarter, a tenth and a twentieth of the numbers.
struct LearnedFeatures {
    FeatureWeights weights;
    double kept_before = 0; ///< By principal axes, in [0, 1]; 0 where nothing measures.
    double kept_after = 0;
};

/// Learns features of which every prefix is a shorter feature.
///
/// They begin as principal axes, of the covariance or of the second moment, whichever keeps more
/// neighbours of held-out rows. Gradient steps then change the map, and what a small perceptron
/// adds to it, by two losses at sampled lengths, from long to short: the squared error of a decoder
/// that is thrown away afterwards, and the divergence between the graph of the rows and that of
/// their prefixes. What keeps most neighbours of held-out rows stays: the principal axes, where
/// nothing gains or rows are too few.
///
/// Source: the entity relation graph constraint and progressive training of arXiv:2602.11494;
/// nested dropout (Rippel et al., ICML 2014); docs/sources.md.
/// @throws Error  kCorruption: `task.begun` does not fit the task.
[[nodiscard]] LearnedFeatures learn_features(const FeatureTask& task);

/// Writes an outcome of learn_features() as a state, and reads it again.
[[nodiscard]] LearningState to_state(LearnedFeatures features);
/// @throws Error  kCorruption: the state does not fit rows of this width.
[[nodiscard]] LearnedFeatures features_from(LearningState state, std::size_t dim);

} // namespace arfc
