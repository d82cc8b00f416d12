#include "coarse_quantizer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>

#include "arfc/base/error.h"
#include "parallel.h"
#include "unit_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kRowsPerList = 128; // More shift a centroid less than the spread of its rows.
constexpr std::size_t kIterations = 10;
constexpr std::size_t kTile = 96;      // Rows assigned by one task.
constexpr std::size_t kProbeTile = 12; // Queries of one task: what a product takes together.

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

} // namespace

CoarseQuantizer::CoarseQuantizer(
    Metric metric, std::size_t dim, const std::vector<float>& centroids)
    : metric_(metric), dim_(dim),
      centroids_(std::make_shared<const PackedMatrix>(
          MatrixView<const float>(centroids.data(), centroids.size() / dim, dim))),
      offsets_(centroids.size() / dim) {
    for (std::size_t c = 0; metric_ == Metric::kL2 && c < nlist(); ++c) {
        const float* const centroid = centroids.data() + c * dim;
        offsets_[c] = -0.5F * std::inner_product(centroid, centroid + dim, centroid, 0.0F);
    }
}

std::vector<float> CoarseQuantizer::centroids() const {
    std::vector<float> all(nlist() * dim_);
    for (std::size_t c = 0; c < nlist(); ++c) {
        centroids_->copy_row(c, std::span(all).subspan(c * dim_, dim_));
    }
    return all;
}

std::vector<float> CoarseQuantizer::products(const float* rows, std::size_t count) const {
    const std::size_t width = padded_columns(nlist());
    std::vector<float> out(count * width);
    centroids_->multiply(rows, dim_, count, out.data(), width);
    return out;
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
    return {metric, dim, centroids};
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
    const std::size_t width = padded_columns(nlist());
    for_each_in_parallel((rows.rows() + kTile - 1) / kTile, [&](std::size_t tile) {
        const std::size_t first = tile * kTile;
        const std::size_t count = std::min(kTile, rows.rows() - first);
        const std::vector<float> of_rows = products(rows.row(first).data(), count);
        for (std::size_t i = 0; i < count; ++i) {
            lists[first + i] = static_cast<std::uint32_t>(nearest(of_rows.data() + i * width));
        }
    });
}

void CoarseQuantizer::assign_several(
    MatrixView<const float> rows, std::size_t copies, std::span<std::uint32_t> lists) const {
    constexpr float kAlong = 2.0F; // Of 0.5, 1 and 2 the best on sentence embeddings.
    const std::size_t width = padded_columns(nlist());
    for_each_in_parallel((rows.rows() + kTile - 1) / kTile, [&](std::size_t tile) {
        const std::size_t first = tile * kTile;
        const std::size_t count = std::min(kTile, rows.rows() - first);
        const std::span<const float> source(rows.row(first).data(), count * dim_);
        std::vector<float> given(source.begin(), source.end());
        const MatrixView<float> x(given.data(), count, dim_);
        for (std::size_t i = 0; metric_ != Metric::kL2 && i < count; ++i) {
            normalise(x.row(i));
        }
        const std::vector<float> of_rows = products(given.data(), count);
        for (std::size_t i = 0; i < count; ++i) {
            lists[(first + i) * copies] =
                static_cast<std::uint32_t>(nearest(of_rows.data() + i * width));
        }
        std::vector<float> rest(count * dim_);
        const MatrixView<float> r(rest.data(), count, dim_);
        std::vector<float> penalties(count * nlist());
        for (std::size_t copy = 1; copy < copies; ++copy) {
            for (std::size_t i = 0; i < count; ++i) {
                centroids_->copy_row(lists[(first + i) * copies + copy - 1], r.row(i));
                std::ranges::transform(x.row(i), r.row(i), r.row(i).begin(), std::minus<>());
                normalise(r.row(i)); // One of length 0 stays 0: no direction is worse than another.
            }
            const std::vector<float> along = products(rest.data(), count);
            for (std::size_t i = 0; i < count; ++i) {
                const float x_along =
                    std::inner_product(x.row(i).begin(), x.row(i).end(), r.row(i).begin(), 0.0F);
                float* const penalty = penalties.data() + i * nlist();
                for (std::size_t c = 0; c < nlist(); ++c) {
                    const float left = x_along - along[i * width + c];
                    penalty[c] += kAlong * left * left;
                }
                const std::span<std::uint32_t> own = lists.subspan((first + i) * copies, copies);
                own[copy] = static_cast<std::uint32_t>(
                    next(own.first(copy), of_rows.data() + i * width, penalty));
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
    const std::size_t width = padded_columns(nlist());
    for_each_in_parallel((queries.rows() + kProbeTile - 1) / kProbeTile, [&](std::size_t tile) {
        const std::size_t first = tile * kProbeTile;
        const std::size_t count = std::min(kProbeTile, queries.rows() - first);
        std::vector<float> of_queries = products(queries.row(first).data(), count);
        std::vector<std::uint32_t> order(nlist());
        for (std::size_t i = 0; i < count; ++i) {
            nearest_lists(
                std::span(of_queries).subspan(i * width, nlist()), order, lists.row(first + i));
        }
    });
}

void CoarseQuantizer::nearest_lists(
    std::span<float> nearness, std::span<std::uint32_t> order,
    std::span<std::uint32_t> lists) const {
    for (std::size_t c = 0; c < nlist(); ++c) {
        nearness[c] += offsets_[c];
        if (std::isnan(nearness[c])) { // Infinite products of a huge query: an order is needed all
                                       // the same.
            nearness[c] = -std::numeric_limits<float>::infinity();
        }
    }
    std::iota(order.begin(), order.end(), 0U);
    const auto nearer = [&](std::uint32_t a, std::uint32_t b) {
        return nearness[a] != nearness[b] ? nearness[a] > nearness[b] : a < b;
    };
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(lists.size());
    std::nth_element(order.begin(), end - 1, order.end(), nearer);
    std::sort(order.begin(), end, nearer);
    std::copy(order.begin(), end, lists.begin());
}

} // namespace arfc
