#include "kmeans.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "arfc/base/aligned_floats.h"
#include "arfc/base/packed_matrix.h"
#include "arfc/compressor/compressor.h"
#include "kernels.h"
#include "threads.h"
#include "tiles.h"

namespace arfc {
namespace {

// Each about 1.8 times the one before, as FAISS's ten are at 384 floats; in steps smaller than
// that, narrow rows cluster longer for nothing.
constexpr std::size_t kMostWidenings = 10;
constexpr double kWidening = 1.8;
// What may be left out: the last coordinates, as long as they hold this little of the energy and
// are this weak, on average, beside all. Of images that is about half of the width.
constexpr double kLeftOut = 0.05;
constexpr double kWeak = 0.125;
constexpr std::size_t kMeasuredPoints = 8192; // To learn which those are.
constexpr std::size_t kLeastPoints = 32768;   // 128 a centroid, however little time there is.
/// Partial sums are kept for this many runs of points and added in their order, so the result does
/// not depend on which thread took which run.
constexpr std::size_t kRuns = 16;

struct Partial {
    std::vector<float> sums; ///< [256, width]
    std::vector<std::size_t> counts;

    /// Writes the mean of a centroid's points, of which there are some. @param out  [width].
    void write_mean(std::size_t k, std::size_t width, float* out) const {
        const auto total = static_cast<double>(counts[k]);
        for (std::size_t i = 0; i < width; ++i) {
            out[i] = static_cast<float>(static_cast<double>(sums[k * width + i]) / total);
        }
    }
};

/// Looks up the closest centroid of tiles of points by the first `width` coordinates.
class Assigner {
  public:
    Assigner(const float* centroids, std::size_t width, std::size_t stride) : norms_(kSymbols) {
        std::vector<float> narrow(kSymbols * width);
        for (std::size_t k = 0; k < kSymbols; ++k) {
            std::copy_n(centroids + k * stride, width, narrow.data() + k * width);
            norms_.data()[k] = kernels().dot(centroids + k * stride, centroids + k * stride, width);
        }
        packed_ = PackedMatrix({narrow.data(), kSymbols, width});
    }

    /// Returns the floating-point operations of a point.
    [[nodiscard]] double flop() const noexcept { return packed_.flop(); }

    /// @param visit  Called with (index in the tile, symbol, squared distance less the point's own
    ///               squared norm).
    template <class Visit>
    void tile(
        const float* points, std::size_t stride, std::size_t count, float* scratch,
        const Visit& visit) const {
        packed_.multiply(points, stride, count, scratch, kSymbols);
        for (std::size_t i = 0; i < count; ++i) {
            float cost = 0.0F;
            const std::size_t symbol =
                kernels().closest(norms_.data(), scratch + i * kSymbols, &cost);
            visit(i, symbol, cost);
        }
    }

  private:
    AlignedFloats norms_;
    PackedMatrix packed_;
};

/// One pass over points: counts of those that are closest to each centroid by the first `width`
/// coordinates, and their sums of the first `sum_width` coordinates of `summed`.
Partial accumulate(
    MatrixView<const float> points, const std::vector<float>& centroids, std::size_t width,
    MatrixView<const float> summed, std::size_t sum_width) {
    const std::size_t d = points.cols();
    const Assigner assigner(centroids.data(), width, d);
    const std::size_t run = (points.rows() + kRuns - 1) / kRuns;
    std::array<Partial, kRuns> partials;
    const double flop = assigner.flop() * static_cast<double>(points.rows());
    parallel_for(kRuns, flop, [&](std::size_t r) {
        Partial& partial = partials[r];
        partial.sums.assign(kSymbols * sum_width, 0.0F);
        partial.counts.assign(kSymbols, 0);
        AlignedFloats scratch(kTileRows * kSymbols);
        const std::size_t end = std::min((r + 1) * run, points.rows());
        for (std::size_t first = r * run; first < end; first += kTileRows) {
            const float* const tile = points.data() + first * d;
            assigner.tile(
                tile, d, std::min(kTileRows, end - first), scratch.data(),
                [&](std::size_t i, std::size_t symbol, float /*cost*/) {
                    kernels().add(
                        partial.sums.data() + symbol * sum_width, summed.row(first + i).data(),
                        sum_width);
                    ++partial.counts[symbol];
                });
        }
    });
    for (std::size_t r = 1; r < kRuns; ++r) {
        kernels().add(partials[0].sums.data(), partials[r].sums.data(), kSymbols * sum_width);
        for (std::size_t k = 0; k < kSymbols; ++k) {
            partials[0].counts[k] += partials[r].counts[k];
        }
    }
    return std::move(partials[0]);
}

/// Gives each empty centroid half of the fullest one: the two part in the next iteration.
void split_empty(
    std::vector<float>& centroids, std::vector<std::size_t>& counts, std::size_t width,
    std::size_t d) {
    constexpr float kNudge = 1.0F / 1024.0F;
    for (std::size_t k = 0; k < kSymbols; ++k) {
        if (counts[k] != 0) {
            continue;
        }
        const auto fullest = static_cast<std::size_t>(
            std::max_element(counts.begin(), counts.end()) - counts.begin());
        if (counts[fullest] < 2) {
            return; // Fewer points than centroids.
        }
        for (std::size_t i = 0; i < width; ++i) {
            const float value = centroids[fullest * d + i];
            const float sign = i % 2 == 0 ? kNudge : -kNudge;
            centroids[k * d + i] = value * (1.0F + sign);
            centroids[fullest * d + i] = value * (1.0F - sign);
        }
        counts[k] = counts[fullest] / 2;
        counts[fullest] -= counts[k];
    }
}

/// One Lloyd step in the first `width` coordinates.
void update(MatrixView<const float> points, std::size_t width, std::vector<float>& centroids) {
    const std::size_t d = points.cols();
    Partial partial = accumulate(points, centroids, width, points, width);
    for (std::size_t k = 0; k < kSymbols; ++k) {
        if (partial.counts[k] == 0) {
            continue;
        }
        partial.write_mean(k, width, centroids.data() + k * d);
    }
    split_empty(centroids, partial.counts, width, d);
}

/// Returns all indices below `count`, or `most` different ones of them at random.
std::vector<std::size_t> drawn_indices(
    std::size_t count, std::size_t most, std::mt19937_64& random) {
    std::vector<std::size_t> indices(count);
    std::iota(indices.begin(), indices.end(), std::size_t{0});
    if (count > most) {
        for (std::size_t i = 0; i < most; ++i) {
            std::swap(indices[i], indices[i + random() % (count - i)]);
        }
        indices.resize(most);
    }
    return indices;
}

std::vector<float> initial_centroids(MatrixView<const float> points, std::mt19937_64& random) {
    const std::vector<std::size_t> chosen = drawn_indices(points.rows(), kSymbols, random);
    std::vector<float> centroids(kSymbols * points.cols());
    for (std::size_t k = 0; k < kSymbols; ++k) {
        const std::span<const float> point = points.row(chosen[k < chosen.size() ? k : 0]);
        std::copy(
            point.begin(), point.end(),
            centroids.begin() + static_cast<std::ptrdiff_t>(k * points.cols()));
    }
    return centroids;
}

std::size_t width_of(std::size_t widening, std::size_t widenings, std::size_t d) {
    const double share = static_cast<double>(widening + 1) / static_cast<double>(widenings);
    const auto width =
        static_cast<std::size_t>(std::lround(std::pow(static_cast<double>(d), share)));
    return std::clamp<std::size_t>(width, 1, d);
}

/// Returns how many leading coordinates there are without the weak ones at the end.
std::size_t telling_width(MatrixView<const float> points) {
    const std::size_t d = points.cols();
    std::vector<double> sums(d, 0.0);
    std::vector<double> squares(d, 0.0);
    const std::size_t step = std::max<std::size_t>(points.rows() / kMeasuredPoints, 1);
    double count = 0.0;
    for (std::size_t i = 0; i < points.rows(); i += step) {
        for (std::size_t j = 0; j < d; ++j) {
            const auto value = static_cast<double>(points.row(i)[j]);
            sums[j] += value;
            squares[j] += value * value;
        }
        ++count;
    }
    for (std::size_t j = 0; j < d; ++j) {
        squares[j] = std::max(squares[j] - sums[j] * sums[j] / count, 0.0);
    }
    const double all = std::accumulate(squares.begin(), squares.end(), 0.0);
    std::size_t width = d;
    for (double left_out = 0.0; width > 1; --width) {
        left_out += squares[width - 1];
        const double strength =
            left_out / static_cast<double>(d - width + 1) / (all / static_cast<double>(d));
        if (left_out > kLeftOut * all || !(strength <= kWeak)) {
            break;
        }
    }
    return width;
}

/// Copies the leading coordinates.
AlignedFloats leading(MatrixView<const float> points, std::size_t width) {
    AlignedFloats narrow(points.rows() * width);
    for (std::size_t i = 0; i < points.rows(); ++i) {
        std::copy_n(points.row(i).data(), width, narrow.data() + i * width);
    }
    return narrow;
}

/// Widens centroids [256, narrow.cols()] to the means of their points [256, points.cols()], of
/// which `narrow` are the leading coordinates, turned or not, as centroids are.
/// @param turned_back  Centroids in the points' own coordinates: what those without points stay.
std::vector<float> widened(
    MatrixView<const float> points, MatrixView<const float> narrow,
    const std::vector<float>& centroids, const std::vector<float>& turned_back) {
    const std::size_t d = points.cols();
    const std::size_t width = narrow.cols();
    const Partial partial = accumulate(narrow, centroids, width, points, d);
    std::vector<float> out(kSymbols * d, 0.0F);
    for (std::size_t k = 0; k < kSymbols; ++k) {
        if (partial.counts[k] == 0) {
            std::copy_n(turned_back.data() + k * width, width, out.data() + k * d);
            continue;
        }
        partial.write_mean(k, d, out.data() + k * d);
    }
    return out;
}

/// Turns centroids back: out = centroids * axes.
std::vector<float> turn_back(
    const std::vector<float>& centroids, const std::vector<float>& axes, std::size_t d) {
    std::vector<float> transposed(axes.size());
    for (std::size_t i = 0; i < d; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
            transposed[j * d + i] = axes[i * d + j];
        }
    }
    std::vector<float> out(centroids.size());
    turn_points({centroids.data(), kSymbols, d}, transposed, out.data());
    return out;
}

/// Lloyd's algorithm, width by width.
std::vector<float> cluster(
    MatrixView<const float> points, const KMeansOptions& options, std::mt19937_64& random) {
    const std::size_t d = points.cols();
    std::vector<float> centroids = initial_centroids(points, random);
    bool stopped = false;
    std::size_t width_before = 0;
    for (std::size_t w = 0; w < options.widenings; ++w) {
        const std::size_t width = width_of(w, options.widenings, d);
        if (width == width_before || (stopped && w + 1 < options.widenings)) {
            continue;
        }
        // A wider centroid starts at its points' mean in the new coordinates, after one step; at
        // zero until then.
        for (std::size_t k = 0; w > 0 && k < kSymbols; ++k) {
            std::fill(
                centroids.begin() + static_cast<std::ptrdiff_t>(k * d + width_before),
                centroids.begin() + static_cast<std::ptrdiff_t>((k + 1) * d), 0.0F);
        }
        // Once stopped, one at full width is left.
        for (std::size_t i = 0; i < (stopped ? 1 : options.iterations); ++i) {
            update(points, width, centroids);
            stopped = stopped || (options.go_on && !options.go_on());
        }
        width_before = width;
    }
    return centroids;
}

} // namespace

std::size_t ClusteringPace::most_points(double seconds) const noexcept {
    if (seconds_per_point_ * static_cast<double>(kMostPoints) <= seconds) {
        return kMostPoints;
    }
    return std::max(kLeastPoints, static_cast<std::size_t>(seconds / seconds_per_point_));
}

void ClusteringPace::took(double seconds, std::size_t points) noexcept {
    seconds_per_point_ = seconds / static_cast<double>(points);
}

std::size_t widenings(std::size_t dim) {
    const double steps = std::log(static_cast<double>(dim)) / std::log(kWidening);
    return std::min(static_cast<std::size_t>(std::ceil(steps)), kMostWidenings);
}

std::vector<float> kmeans(const PointSource& source, const KMeansOptions& options) {
    std::mt19937_64 random(options.seed);
    const std::vector<std::size_t> indices =
        drawn_indices(source.count, options.most_points, random);
    AlignedFloats values(indices.size() * source.dim);
    source.fetch(indices, values.data());
    const MatrixView<const float> all(values.data(), indices.size(), source.dim);
    if (!options.principal_axes) {
        return cluster(all, options, random);
    }
    const std::size_t d = options.leaves_out_weak ? telling_width(all) : source.dim;
    std::vector<float> axes;
    AlignedFloats turned(all.rows() * d);
    {
        const AlignedFloats narrow = d < source.dim ? leading(all, d) : AlignedFloats();
        const MatrixView<const float> given(
            d < source.dim ? narrow.data() : values.data(), all.rows(), d);
        axes = principal_axes(given);
        turn_points(given, axes, turned.data());
    }
    if (d == source.dim) {
        values = AlignedFloats(); // Not needed any more.
    }
    const MatrixView<const float> points(turned.data(), indices.size(), d);
    const std::vector<float> centroids = cluster(points, options, random);
    std::vector<float> turned_back = turn_back(centroids, axes, d);
    return d < source.dim ? widened(all, points, centroids, turned_back) : turned_back;
}

double assign(
    MatrixView<const float> points, MatrixView<const float> centroids,
    std::span<std::uint8_t> symbols) {
    const std::size_t d = points.cols();
    const Assigner assigner(centroids.data(), d, d);
    std::vector<double> errors(tile_count(points.rows()), 0.0);
    for_each_tile(points.rows(), assigner.flop(), [&](std::size_t first, std::size_t count) {
        AlignedFloats scratch(count * kSymbols);
        assigner.tile(
            points.data() + first * d, d, count, scratch.data(),
            [&](std::size_t i, std::size_t symbol, float cost) {
                const float* const point = points.data() + (first + i) * d;
                const float distance = cost + kernels().dot(point, point, d);
                symbols[first + i] = static_cast<std::uint8_t>(symbol);
                errors[first / kTileRows] += static_cast<double>(std::max(distance, 0.0F));
            });
    });
    return std::accumulate(errors.begin(), errors.end(), 0.0);
}

std::vector<float> principal_axes(MatrixView<const float> points) {
    const torch::InferenceMode guard;
    const auto d = static_cast<std::int64_t>(points.cols());
    // LibTorch takes views of const memory as mutable; nothing here writes to it.
    const torch::Tensor x = torch::from_blob(
        const_cast<float*>(points.data()), {static_cast<std::int64_t>(points.rows()), d},
        torch::kFloat32);
    const torch::Tensor centred = x - x.mean(0, true);
    const torch::Tensor covariance = torch::mm(centred.t(), centred).to(torch::kFloat64);
    // Ascending, as columns.
    const torch::Tensor vectors = std::get<1>(torch::linalg_eigh(covariance));
    const torch::Tensor axes = vectors.flip({1}).t().to(torch::kFloat32).contiguous();
    return {axes.data_ptr<float>(), axes.data_ptr<float>() + axes.numel()};
}

void turn_points(MatrixView<const float> points, const std::vector<float>& axes, float* out) {
    const std::size_t d = points.cols();
    const PackedMatrix packed({axes.data(), d, d});
    const std::size_t padded = padded_columns(d);
    for_each_tile(points.rows(), packed.flop(), [&](std::size_t first, std::size_t count) {
        AlignedFloats wide(count * padded);
        packed.multiply(points.data() + first * d, d, count, wide.data(), padded);
        for (std::size_t i = 0; i < count; ++i) {
            std::copy_n(wide.data() + i * padded, d, out + (first + i) * d);
        }
    });
}

} // namespace arfc
