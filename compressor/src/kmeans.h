#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"

namespace arfc {

/// Points to cluster, fetched as they are asked for, so that residuals need not all be in memory.
struct PointSource {
    std::size_t count = 0;
    std::size_t dim = 0;
    /// Writes the points of these indices to `out` [indices.size(), dim]; called from one thread.
    std::function<void(std::span<const std::size_t> indices, float* out)> fetch;
};

/// Points of the largest sample that is clustered: 640 a centroid, more than FAISS's 256.
inline constexpr std::size_t kMostPoints = 163840;

/// Learns how long clustering takes, and says how many points a time bears: fewer points lose less
/// than fewer iterations.
class ClusteringPace {
  public:
    /// @param seconds  That there are for them; may be infinite.
    [[nodiscard]] std::size_t most_points(double seconds) const noexcept;
    /// Takes down how long so many points took: what comes next is judged by that.
    void took(double seconds, std::size_t points) noexcept;

  private:
    double seconds_per_point_ = 0.0; ///< 0: not known yet.
};

struct KMeansOptions {
    std::size_t iterations = 10; ///< For each width.
    std::size_t widenings = 1;   ///< Widths clustered in turn, growing geometrically to dim; 1: dim
                                 ///< at once.
    bool principal_axes = false; ///< Turn the points to their principal axes first: what widening
                                 ///< is meant for.
    bool leaves_out_weak = false; ///< Cluster without the last coordinates where these hold next to
                                  ///< nothing, of points of descending variance and with
                                  ///< principal_axes; centroids are means in them, too.
    std::size_t most_points = kMostPoints; ///< Of more, so many are drawn at random.
    std::uint64_t seed = 0;
    std::function<bool()> go_on; ///< Asked between iterations; false ends early (after one
                                 ///< iteration at full width).
};

/// Returns how many widths points of `dim` >= 2 coordinates are clustered in: each is at most 1.8
/// times the one before, as far as ten will do.
[[nodiscard]] std::size_t widenings(std::size_t dim);

/// Finds 256 centroids [256, dim] of squared Euclidean distance. Deterministic for a seed, whatever
/// the threads. With fewer points than centroids, each distinct index is a centroid and the rest
/// are copies that ties never pick. Source: Lloyd's algorithm; widening as in FAISS's
/// progressive-dimension clustering.
[[nodiscard]] std::vector<float> kmeans(const PointSource& source, const KMeansOptions& options);

/// Assigns each point its closest centroid (ties: the lowest). @returns the sum of squared
/// distances.
double assign(
    MatrixView<const float> points, MatrixView<const float> centroids,
    std::span<std::uint8_t> symbols);

/// Returns the principal axes of points, as rows in order of descending variance [dim, dim], by
/// LibTorch.
[[nodiscard]] std::vector<float> principal_axes(MatrixView<const float> points);

/// Turns points: out = points * axes^T. @param out  [n, dim].
void turn_points(MatrixView<const float> points, const std::vector<float>& axes, float* out);

} // namespace arfc
