#pragma once

#include <cstddef>
#include <vector>

namespace arfc {

/// A recall and the ends of its 95 % interval, all in [0, 1].
struct RecallEstimate {
    double recall = 0;
    double low = 0;
    double high = 0;
};

/// What each query found over a quarter, half and all of the rows: [m] recalls each, the same
/// queries in the same order.
struct RecallBySize {
    std::vector<double> quarter;
    std::vector<double> half;
    std::vector<double> whole;
};

/// Says what recall over more rows will be: its log-odds go on falling, with each doubling, as they
/// fell with the last one. What rose is not expected to go on rising: recall rises while the rows
/// of a cluster become as many as the answers, and falls from there on, so that a mean over earlier
/// doublings would say too little.
///
/// The interval is 1.96 standard errors of the mean over queries, beyond what the last two
/// doublings together would say: what changed between them may change as much again, either way.
/// @param recalls    m >= 1 queries.
/// @param doublings  log2 of the size over that of `whole`, >= 0.
/// @param k          Answers of a query: a mean recall of 1 stands for one less than half an answer
///                   missed by all queries together.
[[nodiscard]] RecallEstimate estimate_recall(
    const RecallBySize& recalls, double doublings, std::size_t k);

} // namespace arfc
