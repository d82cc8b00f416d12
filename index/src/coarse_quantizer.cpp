#include "coarse_quantizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "arfc/base/error.h"
#include "parallel.h"
#include "unit_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kRowsPerList = 128; // More shift a centroid less than the spread of its rows.
constexpr std::size_t kIterations = 10;
constexpr std::size_t kTile = 64;    // Rows assigned by one task.
constexpr std::size_t kTogether = 4; // Rows multiplied by a centroid while it is in registers.
constexpr std::size_t kLanes = 16;   // Partial sums of a product; fixed, so that every instruction
                                     // set adds in the same order.

/// Multiplies kRowCount rows by one centroid.
template <std::size_t kRowCount>
[[gnu::always_inline]] inline void multiply(
    const float* rows, const float* centroid, std::size_t dim, float* out) {
    float lanes[kRowCount][kLanes] = {};
    std::size_t j = 0;
    for (; j + kLanes <= dim; j += kLanes) {
        for (std::size_t r = 0; r < kRowCount; ++r) {
            for (std::size_t l = 0; l < kLanes; ++l) {
                lanes[r][l] += rows[r * dim + j + l] * centroid[j + l];
            }
        }
    }
    for (std::size_t l = 0; j + l < dim; ++l) {
        for (std::size_t r = 0; r < kRowCount; ++r) {
            lanes[r][l] += rows[r * dim + j + l] * centroid[j + l];
        }
    }
    for (std::size_t r = 0; r < kRowCount; ++r) {
        for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
            for (std::size_t l = 0; l < width; ++l) {
                lanes[r][l] += lanes[r][l + width];
            }
        }
        out[r] = lanes[r][0];
    }
}

/// Multiplies [count, dim] rows by every centroid: products [count, nlist].
[[gnu::always_inline]] inline void multiply_all(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products) {
    std::size_t i = 0;
    for (; i + kTogether <= count; i += kTogether) {
        for (std::size_t c = 0; c < nlist; ++c) {
            float out[kTogether];
            multiply<kTogether>(rows + i * dim, centroids + c * dim, dim, out);
            for (std::size_t r = 0; r < kTogether; ++r) {
                products[(i + r) * nlist + c] = out[r];
            }
        }
    }
    for (; i < count; ++i) {
        for (std::size_t c = 0; c < nlist; ++c) {
            multiply<1>(rows + i * dim, centroids + c * dim, dim, products + i * nlist + c);
        }
    }
}

using MultiplyAll =
    void (*)(const float*, std::size_t, const float*, std::size_t, std::size_t, float*);

void multiply_all_portable(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products) {
    multiply_all(rows, count, centroids, nlist, dim, products);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void multiply_all_avx2(
    const float* rows, std::size_t count, const float* centroids, std::size_t nlist,
    std::size_t dim, float* products) {
    multiply_all(rows, count, centroids, nlist, dim, products);
}
#endif

/// Chooses by the processor; both give the same bits.
MultiplyAll multiply_all_for_this_machine() noexcept {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        return multiply_all_avx2;
    }
#endif
    return multiply_all_portable;
}

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

CoarseQuantizer::CoarseQuantizer(Metric metric, std::size_t dim, std::vector<float> centroids)
    : metric_(metric), dim_(dim), centroids_(std::move(centroids)), offsets_(nlist()) {
    for (std::size_t c = 0; metric_ == Metric::kL2 && c < nlist(); ++c) {
        float squared = 0.0F;
        multiply_all_portable(
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
    const MultiplyAll multiply_rows = multiply_all_for_this_machine();
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
    const MultiplyAll multiply_rows = multiply_all_for_this_machine();
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

void CoarseQuantizer::probe(std::span<const float> query, std::span<std::uint32_t> lists) const {
    std::vector<float> nearness(nlist());
    multiply_all_for_this_machine()(
        query.data(), 1, centroids_.data(), nlist(), dim_, nearness.data());
    for (std::size_t c = 0; c < nlist(); ++c) {
        nearness[c] += offsets_[c];
        if (std::isnan(nearness[c])) { // Infinite products of a huge query: an order is needed all
                                       // the same.
            nearness[c] = -std::numeric_limits<float>::infinity();
        }
    }
    std::vector<std::uint32_t> order(nlist());
    std::iota(order.begin(), order.end(), 0U);
    const auto nearer = [&](std::uint32_t a, std::uint32_t b) {
        return nearness[a] != nearness[b] ? nearness[a] > nearness[b] : a < b;
    };
    std::partial_sort(
        order.begin(), order.begin() + static_cast<std::ptrdiff_t>(lists.size()), order.end(),
        nearer);
    std::copy_n(order.begin(), lists.size(), lists.begin());
}

} // namespace arfc
