#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/progress.h"
#include "arfc/compressor/compressor.h"
#include "arfc/index/stage.h"

namespace arfc {

/// What a plan is asked for.
struct PlanOptions {
    double target_recall = 0.9;               ///< recall@k that searches are to reach, in (0, 1].
    std::size_t k = 10;                       ///< Answers per query, >= 1.
    std::optional<double> most_bytes_per_row; ///< Budget, as PlannedPoint::bytes_per_row() counts.
                                              ///< Nothing: none, and no graph, whose links take
                                              ///< more than most codes.
    std::optional<std::size_t> rows; ///< Size to plan for; nothing: that of what is given. Where it
                                     ///< is the larger one, recall is carried to it by how it falls
                                     ///< over a quarter, half and all of the sample.
    std::uint64_t seed = 0;          ///< Same rows, options and seed: same recall.
    ProgressFunction progress;       ///< Stages "recall" and "searches".
};

/// One way to keep and search rows. Recall is recall@k, in [0, 1], against PlanReference.
struct PlannedPoint {
    std::string factory;                  ///< Such as "ARFC24/8,IVF128"; docs/factory_strings.md.
    std::vector<Stage> stages;            ///< With the limits to search with; the last keeps k.
    std::optional<std::size_t> nprobe;    ///< Of lists.
    std::optional<std::size_t> ef_search; ///< Of a graph.
    double predicted_recall = 0; ///< At Plan::rows, from the queries that the plan chose by.
    double recall_low = 0;       ///< Ends of the 95 % interval of it: chance among the queries, and
    double recall_high = 0;      ///< the doubt in carrying it to more rows than were measured.
    double measured_recall = 0;  ///< Over the sample, of queries that took no part in choosing: the
                                 ///< same as predicted but for chance, where nothing was carried.
    double resident_bytes_per_row = 0; ///< Heads, row terms, lists or links, and ids.
    double disk_bytes_per_row = 0;     ///< Codes and ids in a collection's store, once compacted.
    double milliseconds = 0; ///< Median of one query at a time on this machine, tails in memory.
                             ///< Measured over the sample; rows beyond it are added at the rate at
                             ///< which they are scanned.

    [[nodiscard]] double bytes_per_row() const noexcept {
        return resident_bytes_per_row + disk_bytes_per_row;
    }
};

/// What recall is measured against.
enum class PlanReference : std::uint8_t {
    kOriginals,     ///< The exact neighbours of the uncompressed rows.
    kLongestPrefix, ///< What the whole code finds: there were no uncompressed rows.
};

/// Returns "originals" or "longest prefix".
[[nodiscard]] std::string_view to_string(PlanReference reference) noexcept;

/// A way to search that reaches a recall with few bytes, and what other lengths would give.
struct Plan {
    PlannedPoint chosen; ///< The shortest code that reaches the target, searched in the fastest way
                         ///< that still does. Where none does within the budget: the best of those
                         ///< that keep it.
    bool reaches_target = false;     ///< chosen.predicted_recall >= the target.
    std::vector<PlannedPoint> curve; ///< One a code length, ascending, each searched with hardly
                                     ///< any loss; budget and target play no part.
    PlanReference reference = PlanReference::kOriginals;
    std::size_t rows = 0;          ///< That were planned for.
    std::size_t sample_rows = 0;   ///< That were searched.
    std::size_t queries = 0;       ///< That the plan chose by.
    std::size_t test_queries = 0;  ///< That took no part and gave measured_recall.
    std::uint64_t model_bytes = 0; ///< Of the model, once for all rows; in no point's bytes.
};

/// The fewest rows that a plan is made from: so many, and ten for each answer wanted.
inline constexpr std::size_t kLeastPlanRows = 400;

/// The most rows of a sample: of more it draws this many at random.
inline constexpr std::size_t kMostPlanRows = 50'000;

/// Measures on a sample how rows should be kept and searched to reach a recall.
///
/// Rows of the sample ask for their neighbours among the others, by every length of their code and
/// through the index itself; three quarters of up to 4,000
/// choose, the others only measure. Rows that trained
/// the model look better than others: give others where there are.
/// @param rows    [n, dim()] float32, as Compressor::encode takes them; of more than kMostPlanRows,
///                or than PlanOptions::rows, so many are drawn.
/// @throws Error  kInvalidArgument: too few rows, a shape, a value or an option; a budget below
///                what the shortest code takes. kCancelled: `progress` said so.
[[nodiscard]] Plan plan(
    const Compressor& model, MatrixView<const float> rows, const PlanOptions& options = {});

} // namespace arfc
