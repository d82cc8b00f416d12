#include "coarse_quantizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "arfc/base/error.h"
#include "coarse_products.h"
#include "parallel.h"
#include "unit_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kRowsPerList = 128; // More shift a centroid less than the spread of its rows.
constexpr std::size_t kIterations = 10;
constexpr std::size_t kTile = 64;      // Rows assigned by one task.
constexpr std::size_t kProbeTile = 16; // Queries: fewer, so that a block of them feeds threads.

/// Copies at most `most` rows, evenly spaced.
std::vector<float> spread_sample(MatrixView<const float> rows, std::size_t most) {
    const std::size_t count = std::min(most, rows.rows());
    std::vector<float> sample(count * rows.cols());
    for (std::size_t i = 0; i < count; ++i) {
        std::ranges::copy(rows.row(i * rows.rows() / count), sample.data() + i * rows.cols());
    }
    return sample;
}

/// Chooses `count` different rows.
std::vector<float> random_rows(
    MatrixView<const float> rows, std::size_t count, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::size_t> order(rows.rows());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::vector<float> chosen(count * rows.cols());
    for (std::size_t i = 0; i < count; ++i) {
        std::swap(order[i], order[i + random() % (order.size() - i)]);
        std::ranges::copy(rows.row(order[i]), chosen.data() + i * rows.cols());
    }
    return chosen;
}

/// Gives every list without rows one half of the largest list's: both take its centroid, moved
/// apart a little.
void split_empty_lists(
    std::vector<std::size_t>& counts, std::vector<double>& sums, std::size_t dim) {
    constexpr double kApart = 1.0 / 1024; // As FAISS's k-means does.
    for (std::size_t c = 0; c < counts.size(); ++c) {
        if (counts[c] > 0) {
            continue;
        }
        const auto largest =
            static_cast<std::size_t>(std::ranges::max_element(counts) - counts.begin());
        counts[c] = counts[largest] / 2;
        counts[largest] -= counts[c];
        const double total = static_cast<double>(counts[c] + counts[largest]);
        for (std::size_t j = 0; j < dim; ++j) {
            const double mean = sums[largest * dim + j] / total;
            const double shift = j % 2 == 0 ? 1.0 + kApart : 1.0 - kApart;
            sums[c * dim + j] = mean * shift * static_cast<double>(counts[c]);
            sums[largest * dim + j] = mean * (2.0 - shift) * static_cast<double>(counts[largest]);
        }
    }
}

/// Moves each centroid to the mean of its rows, of which there are as many as centroids or more.
void move_centroids(
    MatrixView<const float> rows, std::span<const std::uint32_t> lists, Metric metric,
    std::vector<float>& centroids) {
    const std::size_t dim = rows.cols();
    std::vector<double> sums(centroids.size());
    std::vector<std::size_t> counts(centroids.size() / dim);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        ++counts[lists[i]];
        double* const sum = sums.data() + lists[i] * dim;
        for (std::size_t j = 0; j < dim; ++j) {
            sum[j] += static_cast<double>(rows.row(i)[j]);
        }
    }
    split_empty_lists(counts, sums, dim);
    std::vector<float> mean(dim);
    for (std::size_t c = 0; c < counts.size(); ++c) {
        for (std::size_t j = 0; j < dim; ++j) {
            mean[j] = static_cast<float>(sums[c * dim + j] / static_cast<double>(counts[c]));
        }
        if (metric == Metric::kL2 || normalise(mean)) {
            std::ranges::copy(mean, centroids.data() + c * dim);
        }
    }
}

/// Returns an integer that is less where a list is nearer: lists are then ordered by integers,
/// those of one nearness by their numbers.
std::uint64_t farness(float nearness) noexcept {
    if (std::isnan(nearness)) { // Infinite products of a huge query: an order is needed all the
                                // same.
        nearness = -std::numeric_limits<float>::infinity();
    }
    const auto bits = std::bit_cast<std::uint32_t>(nearness + 0.0F); // There is one zero.
    const bool is_negative = bits >> 31U != 0;
    return is_negative ? bits : ~bits & 0x7FFF'FFFFU;
}

} // namespace

CoarseQuantizer::CoarseQuantizer(Metric metric, std::size_t dim, std::vector<float> centroids)
    : metric_(metric), dim_(dim), centroids_(std::move(centroids)), offsets_(nlist()) {
    for (std::size_t c = 0; metric_ == Metric::kL2 && c < nlist(); ++c) {
        float squared = 0.0F;
        portable_coarse_products()(
            centroids_.data() + c * dim_, 1, centroids_.data() + c * dim_, 1, dim_, &squared);
        offsets_[c] = -0.5F * squared;
    }
}

CoarseQuantizer CoarseQuantizer::train(
    Metric metric, MatrixView<const float> rows, std::size_t nlist, std::uint64_t seed,
    const ProgressFunction& progress) {
    if (nlist < 1 || rows.rows() < nlist) {
        fail(
            ErrorKind::kInvalidArgument,
            "Training rows are fewer than inverted lists: ", rows.rows(), ", expected at least ",
            nlist);
    }
    const std::size_t dim = rows.cols();
    std::vector<float> sample = spread_sample(rows, nlist * kRowsPerList);
    const MatrixView<float> used(sample.data(), sample.size() / dim, dim);
    for (std::size_t i = 0; metric != Metric::kL2 && i < used.rows(); ++i) {
        normalise(used.row(i));
    }
    std::vector<float> centroids = random_rows(used, nlist, seed);
    std::vector<std::uint32_t> lists(used.rows());
    for (std::size_t iteration = 0; iteration < kIterations; ++iteration) {
        if (progress && !progress(
                            {.stage = "lists",
                             .done = iteration,
                             .total = kIterations,
                             .error = {},
                             .held_out_recall = {},
                             .seconds_left = {}})) {
            fail(ErrorKind::kCancelled, "Training was cancelled while lists were learned");
        }
        const CoarseQuantizer now(metric, dim, centroids);
        now.assign(used, lists);
        move_centroids(used, lists, metric, centroids);
    }
    return CoarseQuantizer(metric, dim, std::move(centroids));
}

std::size_t CoarseQuantizer::nearest(const float* products) const {
    std::size_t best = 0;
    for (std::size_t c = 1; c < nlist(); ++c) {
        if (products[c] + offsets_[c] > products[best] + offsets_[best]) {
            best = c;
        }
    }
    return best;
}

void CoarseQuantizer::assign(MatrixView<const float> rows, std::span<std::uint32_t> lists) const {
    const CoarseProducts multiply_rows = coarse_products();
    for_each_in_parallel((rows.rows() + kTile - 1) / kTile, [&](std::size_t tile) {
        const std::size_t first = tile * kTile;
        const std::size_t count = std::min(kTile, rows.rows() - first);
        std::vector<float> products(count * nlist());
        multiply_rows(
            rows.row(first).data(), count, centroids_.data(), nlist(), dim_, products.data());
        for (std::size_t i = 0; i < count; ++i) {
            lists[first + i] = static_cast<std::uint32_t>(nearest(products.data() + i * nlist()));
        }
    });
}

void CoarseQuantizer::assign_several(
    MatrixView<const float> rows, std::size_t copies, std::span<std::uint32_t> lists) const {
    constexpr float kAlong = 2.0F; // Of 0.5, 1 and 2 the best on sentence embeddings.
    const CoarseProducts multiply_rows = coarse_products();
    for_each_in_parallel((rows.rows() + kTile - 1) / kTile, [&](std::size_t tile) {
        const std::size_t first = tile * kTile;
        const std::size_t count = std::min(kTile, rows.rows() - first);
        const std::span<const float> source(rows.row(first).data(), count * dim_);
        std::vector<float> given(source.begin(), source.end());
        const MatrixView<float> x(given.data(), count, dim_);
        for (std::size_t i = 0; metric_ != Metric::kL2 && i < count; ++i) {
            normalise(x.row(i));
        }
        std::vector<float> products(count * nlist());
        multiply_rows(given.data(), count, centroids_.data(), nlist(), dim_, products.data());
        for (std::size_t i = 0; i < count; ++i) {
            lists[(first + i) * copies] =
                static_cast<std::uint32_t>(nearest(products.data() + i * nlist()));
        }
        std::vector<float> rest(count * dim_);
        const MatrixView<float> r(rest.data(), count, dim_);
        std::vector<float> along(count * nlist());
        std::vector<float> penalties(count * nlist());
        for (std::size_t copy = 1; copy < copies; ++copy) {
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t last = lists[(first + i) * copies + copy - 1];
                for (std::size_t j = 0; j < dim_; ++j) {
                    r.row(i)[j] = x.row(i)[j] - centroids_[last * dim_ + j];
                }
                normalise(r.row(i)); // One of length 0 stays 0: no direction is worse than another.
            }
            multiply_rows(rest.data(), count, centroids_.data(), nlist(), dim_, along.data());
            for (std::size_t i = 0; i < count; ++i) {
                float x_along = 0.0F;
                multiply_rows(x.row(i).data(), 1, r.row(i).data(), 1, dim_, &x_along);
                float* const penalty = penalties.data() + i * nlist();
                for (std::size_t c = 0; c < nlist(); ++c) {
                    const float left = x_along - along[i * nlist() + c];
                    penalty[c] += kAlong * left * left;
                }
                const std::span<std::uint32_t> own = lists.subspan((first + i) * copies, copies);
                own[copy] = static_cast<std::uint32_t>(
                    next(own.first(copy), products.data() + i * nlist(), penalty));
            }
        }
    });
}

std::size_t CoarseQuantizer::next(
    std::span<const std::uint32_t> taken, const float* products, const float* penalty) const {
    std::size_t best = taken.front(); // Stands for none.
    float least = std::numeric_limits<float>::infinity();
    for (std::size_t c = 0; c < nlist(); ++c) {
        const float loss = -2.0F * (products[c] + offsets_[c]) + penalty[c];
        if ((loss < least || best == taken.front()) && std::ranges::find(taken, c) == taken.end()) {
            least = loss;
            best = c;
        }
    }
    return best;
}

void CoarseQuantizer::probe(
    MatrixView<const float> queries, MatrixView<std::uint32_t> lists) const {
    const CoarseProducts multiply_rows = coarse_products();
    for_each_in_parallel((queries.rows() + kProbeTile - 1) / kProbeTile, [&](std::size_t tile) {
        const std::size_t first = tile * kProbeTile;
        const std::size_t count = std::min(kProbeTile, queries.rows() - first);
        std::vector<float> products(count * nlist());
        multiply_rows(
            queries.row(first).data(), count, centroids_.data(), nlist(), dim_, products.data());
        std::vector<std::uint64_t> keys(nlist());
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t c = 0; c < nlist(); ++c) {
                keys[c] = farness(products[i * nlist() + c] + offsets_[c]) << 32U | c;
            }
            const std::span<std::uint32_t> nearest = lists.row(first + i);
            const auto end = keys.begin() + static_cast<std::ptrdiff_t>(nearest.size());
            std::partial_sort(keys.begin(), end, keys.end());
            std::transform(keys.begin(), end, nearest.begin(), [](std::uint64_t key) {
                return static_cast<std::uint32_t>(key);
            });
        }
    });
}

} // namespace arfc
