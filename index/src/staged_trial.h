#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prefix_recall.h"
#include "staged_index.h"

namespace arfc {

/// How much a search does.
struct SearchEffort {
    std::size_t limit = 0;                ///< Rows that the first of two stages keeps.
    std::optional<std::size_t> nprobe;    ///< Of an index with lists.
    std::optional<std::size_t> ef_search; ///< Of one with a graph.
};

/// What one query cost.
struct TrialCost {
    double milliseconds = 0;
    double scan_milliseconds = 0; ///< Of the first stage.
    std::size_t scanned = 0;      ///< Rows that the first stage scored.
};

/// Resident bytes that grow with the rows, and those that do not.
struct TrialBytes {
    double per_row = 0;
    double fixed = 0; ///< Centroids, tables of a graph.
};

/// An index of one shape over a sample, as a collection would hold it: the real one, searched to
/// see what it finds.
class StagedTrial {
  public:
    /// @param sample  Must outlive the object, as must `ground`.
    /// @param shape   Of one or two stages.
    /// @param part    kWhole, or the part of the sample that is indexed.
    StagedTrial(
        const PlanSample& sample, const PrefixRecall& ground, StagedShape shape, Part part,
        std::uint64_t seed);

    [[nodiscard]] const StagedShape& shape() const noexcept { return index_.shape(); }
    [[nodiscard]] std::size_t rows() const noexcept { return index_.rows(); }

    /// Returns what queries [first, first + count) find of their nearest rows, those rows left out.
    /// @param part  Of what is indexed: only its rows are searched, and truth is sought among them.
    [[nodiscard]] std::vector<double> recalls(
        const SearchEffort& effort, Part part, std::size_t first, std::size_t count) const;

    /// Searches with one query.
    [[nodiscard]] TrialCost cost(const SearchEffort& effort, std::size_t q) const;

    /// Measures how long one more row takes to be scanned where every row is, in milliseconds.
    [[nodiscard]] double milliseconds_a_row(const SearchEffort& effort) const;

    [[nodiscard]] TrialBytes bytes() const;

  private:
    [[nodiscard]] StagedRequest request(const SearchEffort& effort, std::size_t more) const;

    const PlanSample& sample_;
    const PrefixRecall& ground_;
    Part part_;
    StagedIndex index_;
};

} // namespace arfc
