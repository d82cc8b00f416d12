#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/progress.h"

namespace arfc {

/// Divides the space into lists around centroids.
///
/// Under inner product and cosine centroids have unit length and the nearest is the one of largest
/// inner product; under L2 it is the one of smallest distance. Each product is one chain of float
/// operations of fixed order, so a row's list depends on the row alone, in every batch and thread
/// count; ties go to the lowest list. Immutable once made; thread-safe.
class CoarseQuantizer {
  public:
    CoarseQuantizer() = default;

    /// Takes centroids [nlist, dim] as they are.
    CoarseQuantizer(Metric metric, std::size_t dim, std::vector<float> centroids);

    /// Runs k-means from a seeded choice of rows; under cosine rows are normalised first.
    /// @param rows    [n, dim], n >= nlist; at most 128 rows a list are used, evenly spaced.
    /// @throws Error  kInvalidArgument: fewer rows than lists. kCancelled.
    static CoarseQuantizer train(
        Metric metric, MatrixView<const float> rows, std::size_t nlist, std::uint64_t seed,
        const ProgressFunction& progress);

    [[nodiscard]] std::size_t nlist() const noexcept {
        return dim_ == 0 ? 0 : centroids_.size() / dim_;
    }
    [[nodiscard]] MatrixView<const float> centroids() const noexcept {
        return {centroids_.data(), nlist(), dim_};
    }

    /// Finds the nearest list of each row, on num_threads() threads.
    /// @param rows   [n, dim].
    /// @param lists  Out, [n].
    void assign(MatrixView<const float> rows, std::span<std::uint32_t> lists) const;

    /// Finds several lists of each row: the nearest, then lists that make up for it. Of those not
    /// yet taken the next has the least |x - c|^2 + 2 sum_j <x - c, r_j>^2, r_j being the direction
    /// of what the j-th list's centroid leaves of x: queries that see the row far from the lists
    /// it has see it close to the next.
    ///
    /// Source: spilling with orthogonality-amplified residuals (SOAR), Sun et al., NeurIPS 2023,
    /// whose one further list is j = 1 here.
    /// @param rows    [n, dim]; normalised here except under L2.
    /// @param copies  Lists a row, in [1, nlist()].
    /// @param lists   Out, [n, copies].
    void assign_several(
        MatrixView<const float> rows, std::size_t copies, std::span<std::uint32_t> lists) const;

    /// Finds the lists nearest to each query, nearest first, on num_threads() threads.
    /// @param queries  [m, dim].
    /// @param lists    Out, [m, nprobe], nprobe <= nlist().
    void probe(MatrixView<const float> queries, MatrixView<std::uint32_t> lists) const;

  private:
    /// @param products  [nlist()] inner products of a row and the centroids.
    [[nodiscard]] std::size_t nearest(const float* products) const;

    /// @param taken    Lists that the row is in already, at least one.
    /// @param penalty  [nlist()] 2 sum_j <x - c, r_j>^2 of each list.
    [[nodiscard]] std::size_t next(
        std::span<const std::uint32_t> taken, const float* products, const float* penalty) const;

    Metric metric_ = Metric::kInnerProduct;
    std::size_t dim_ = 0;
    std::vector<float> centroids_; ///< [nlist, dim].
    std::vector<float> offsets_;   ///< [nlist]: added to the inner product; minus half the squared
                                   ///< norm under L2, else 0.
};

} // namespace arfc
