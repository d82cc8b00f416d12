#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <random>
#include <set>

#include "arfc/base/metric.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

/// Nearest others that are known of a row, nearest first; edges of a graph are drawn from them.
inline constexpr std::int64_t kNeighbours = 32;
/// Nearest others by which a compression is judged.
inline constexpr std::int64_t kFound = 10;

/// Compares rows as a metric does, in the units of a cosine, and makes graphs of it: each row's
/// softmax (temperature .05) over its similarities to others.
///
/// Source: the entity relation graph constraint of arXiv:2602.11494, in a listwise form;
/// docs/sources.md.
class RelationGraph {
  public:
    explicit RelationGraph(Metric metric) : metric_(metric) {}

    /// Brings similarities to the range of cosines, whose neighbours differ by tenths.
    /// @param rows        [n, d].
    /// @param neighbours  [m, kNeighbours] of the first m rows, as nearest_rows() gives them.
    void fit_scale(const torch::Tensor& rows, const torch::Tensor& neighbours);

    /// Returns what ranks rows for queries. @returns [m, n].
    [[nodiscard]] torch::Tensor similarities(
        const torch::Tensor& queries, const torch::Tensor& rows) const;

    /// The same with what codes stand for; under cosine those are not of length one.
    [[nodiscard]] torch::Tensor scores(
        const torch::Tensor& queries, const torch::Tensor& decoded) const;

    /// Returns logarithms of the edges' weights. @param itself  [m, n]: where a row meets itself.
    [[nodiscard]] static torch::Tensor edges(
        const torch::Tensor& similarities, const torch::Tensor& itself);

    /// Finds the nearest others of the first rows, of all where there is time.
    /// @param rows  [n, d], n > kNeighbours.
    /// @returns [m, kNeighbours], int64, 1 <= m <= n.
    [[nodiscard]] torch::Tensor nearest_rows(
        const torch::Tensor& rows, const std::function<bool()>& go_on) const;

    /// Finds the nearest rows to the first queries, of all where there is time.
    /// @param queries  [q, d], q >= 1; none of them is a row.
    /// @returns [m, kNeighbours], int64, 1 <= m <= q.
    [[nodiscard]] torch::Tensor nearest_rows(
        const torch::Tensor& queries, const torch::Tensor& rows,
        const std::function<bool()>& go_on) const;

  private:
    /// @param are_rows  Whether query i is row i, and no neighbour of itself.
    [[nodiscard]] torch::Tensor nearest(
        const torch::Tensor& queries, const torch::Tensor& rows, bool are_rows,
        const std::function<bool()>& go_on) const;

    Metric metric_;
    double scale_ = 1.0;
};

/// Returns the kFound largest of each row besides itself. @param edges  [m, m], changed.
[[nodiscard]] torch::Tensor best_others(torch::Tensor edges);

/// Returns the share of `truth` [m, kFound] that `found` has in the same row, in [0, 1].
[[nodiscard]] double share_found(const torch::Tensor& found, const torch::Tensor& truth);

/// Draws row numbers, with repetition. @returns [count], int64.
[[nodiscard]] torch::Tensor drawn_rows(
    std::mt19937_64& random, std::int64_t count, std::int64_t below);

/// Draws three prefix lengths and adds the shortest that is measured.
/// @param share  Of the training that is over, in [0, 1].
[[nodiscard]] std::set<std::int64_t> drawn_lengths(
    std::mt19937_64& random, const PrefixSchedule& schedule, double share, std::int64_t shortest,
    std::int64_t longest);

} // namespace arfc
