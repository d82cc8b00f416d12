#include "raw_rows.h"

#include <faiss/utils/distances.h>

#include <algorithm>
#include <cmath>
#include <queue>

#include "parallel.h"

namespace arfc {
namespace {

float inverse_norm(std::span<const float> row) {
    double sum = 0.0;
    for (const float value : row) {
        sum += static_cast<double>(value) * static_cast<double>(value);
    }
    return static_cast<float>(1.0 / std::sqrt(sum));
}

/// Orders by what leaves a full answer first: the worst score, among equals the largest row.
struct WorstFirst {
    bool operator()(const RawRows::Found& a, const RawRows::Found& b) const noexcept {
        return a.score != b.score ? a.score > b.score : a.row < b.row;
    }
};

} // namespace

void RawRows::add(MatrixView<const float> rows) {
    values_.insert(values_.end(), rows.data(), rows.data() + rows.size());
    for (std::size_t i = 0; metric_ == Metric::kCosine && i < rows.rows(); ++i) {
        inverse_norms_.push_back(inverse_norm(rows.row(i)));
    }
    live_.insert(live_.end(), rows.rows(), true);
}

void RawRows::erase(std::span<const std::uint64_t> rows) {
    for (const std::uint64_t row : rows) {
        if (is_live(row)) {
            live_[row] = false;
            ++erased_;
        }
    }
}

std::size_t RawRows::resident_bytes() const noexcept {
    return (values_.size() + inverse_norms_.size()) * sizeof(float) + live_.size() / 8;
}

std::vector<std::vector<RawRows::Found>> RawRows::search(
    MatrixView<const float> queries, std::size_t k,
    const std::function<bool(std::uint64_t)>& accepts) const {
    std::vector<std::vector<Found>> answers(queries.rows());
    for_each_in_parallel(queries.rows(), [&](std::size_t q) {
        const float* const query = queries.row(q).data();
        const float factor = metric_ == Metric::kCosine ? inverse_norm(queries.row(q)) : 1.0F;
        std::priority_queue<Found, std::vector<Found>, WorstFirst> best;
        for (std::uint64_t i = 0; i < rows(); ++i) {
            if (!live_[i] || (accepts && !accepts(i))) {
                continue;
            }
            const float* const x = row(i).data();
            float score = metric_ == Metric::kL2
                            ? -faiss::fvec_L2sqr(query, x, dim_)
                            : faiss::fvec_inner_product(query, x, dim_) * factor;
            if (metric_ == Metric::kCosine) {
                score *= inverse_norms_[i];
            }
            if (best.size() < k) {
                best.push({i, score});
            } else if (WorstFirst{}({i, score}, best.top())) {
                best.pop();
                best.push({i, score});
            }
        }
        answers[q].resize(best.size());
        for (std::size_t place = best.size(); place-- > 0; best.pop()) {
            answers[q][place] = best.top();
        }
    });
    return answers;
}

} // namespace arfc
