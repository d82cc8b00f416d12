#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/compressor/compressor.h"
#include "landmarks.h"
#include "learning_state.h"

namespace arfc {

/// What relation fine-tuning starts from. Rows are turned as the model turns them, then centred.
struct RelationTask {
    MatrixView<const float> rows;     ///< [n, d]: shape the codebooks.
    MatrixView<const float> held_out; ///< [m, d]: took no part in training, and measure.
    MatrixView<const float> queries;  ///< [q, d], turned, not centred: rows are to keep their order
                                      ///< for these, too; empty: for rows alone.
    MatrixView<const float> asking;   ///< [m, d], m >= 1, as queries: took no part, and measure
                                      ///< instead of `held_out`; empty where there are no queries.
    std::span<const float> mean;      ///< [d]: what was taken from the rows.
    std::span<const float> codebooks; ///< [tokens, 256, d], whole-space.
    Metric metric = Metric::kCosine;
    std::size_t beam_width = 1; ///< As the model will encode.
    std::vector<std::size_t> commit_points;
    MatrixView<const float> landmarks; ///< [l, d], turned as rows, not centred; empty: none judge.
    LandmarkOptions landmark_options;
    PrefixSchedule schedule; ///< Of the prefixes that steps compare.
    std::uint64_t seed = 0;
    std::function<bool()> go_on; ///< Asked between steps; false ends early, with the best so far.
    /// Share of the time for this that has gone, in [0, 1]: the rate and the lengths follow it
    /// where it is ahead of the steps; may be empty.
    std::function<double()> spent;
    std::optional<LearningState> begun; ///< Where to go on, as `keep` was given it.
    /// Is offered, between steps, a function that tells where the tuning stands; may be empty.
    std::function<void(const std::function<LearningState()>&)> keep;
};

/// Codebooks whose order of rows is closer to that of the embeddings.
struct RelatedCodebooks {
    std::vector<float> codebooks;  ///< [tokens, 256, d]: symbols are chosen with them.
    std::vector<float> mean;       ///< [d]: taken from rows before that.
    std::vector<float> decode_map; ///< [d, d]: a sum of symbols (and the mean) times its transpose
                                   ///< is what they stand for.
    double recall_before = 0;      ///< Held-out recall@10, mean over the prefixes measured.
    double recall_after = 0;
};

/// Returns whether there are rows enough to learn relations from, and to tell whether they gain.
[[nodiscard]] bool can_relate(const RelationTask& task) noexcept;

/// Tunes codebooks by gradient steps on two losses: the squared error at every prefix, and the
/// divergence between the graph of the embeddings and that of the codes (edges: each row's
/// softmax over its similarities to neighbours and to random rows) at sampled prefixes, whose
/// lengths move from long to short. Symbols are chosen anew by beam search as codebooks move.
/// What has the best recall among held-out rows is kept. Of each step's anchors half are queries,
/// where there are any.
///
/// Source: the entity relation graph constraint and progressive training of arXiv:2602.11494, in a
/// listwise form; docs/sources.md.
/// @returns nothing where can_relate() does not hold, or nothing gains.
/// @throws Error  kCorruption: `task.begun` does not fit the task.
std::optional<RelatedCodebooks> relate(const RelationTask& task);

/// Measures the task's codebooks, as they are or as they were tuned, with the task's landmarks
/// where it has any: recall@10 of held-out rows (or queries) among them and 8,192 rows that
/// trained, at a quarter, half and all of the tokens. can_relate() holds.
/// @param related  What relate() made of them, or nullptr.
[[nodiscard]] std::vector<HeldOutRecall> held_out_recall(
    const RelationTask& task, const RelatedCodebooks* related = nullptr);

/// Returns the mean over the lengths, 0 for none.
[[nodiscard]] double mean_recall(std::span<const HeldOutRecall> recall) noexcept;

/// Writes an outcome of relate() as a state, and reads it again.
[[nodiscard]] LearningState to_state(std::optional<RelatedCodebooks> related);
/// @throws Error  kCorruption: the state does not fit the task.
[[nodiscard]] std::optional<RelatedCodebooks> related_from(
    LearningState state, const RelationTask& task);

} // namespace arfc
