#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "arfc/index/collection.h"
#include "random_rows.h"
#include "trained_model.h"

namespace arfc::test {

/// Rows of random operations; some are there twice, so that scores tie.
inline const std::vector<float>& rows_to_draw() {
    static const std::vector<float> rows = [] {
        std::vector<float> out = random_rows(kRows, kDim, 1);
        std::copy_n(out.begin(), 50 * kDim, out.end() - 50 * static_cast<std::ptrdiff_t>(kDim));
        return out;
    }();
    return rows;
}

/// A model of a part of the rows, made in half a second, once a process and metric: how good its
/// codes are is of no matter here.
inline std::shared_ptr<const Compressor> quick_model(Metric metric) {
    static std::map<Metric, std::shared_ptr<const Compressor>> models;
    std::shared_ptr<const Compressor>& model = models[metric];
    if (model == nullptr) {
        model = Compressor::train(
            view(rows_to_draw(), kDim).slice(100, 300),
            {.code_bytes = kCodeBytes, .metric = metric});
    }
    return model;
}

/// What every query scores every row of a test, by every prefix of a model's codes: what a
/// collection of these rows must answer with. Rows are rows_to_draw(); some are queries, too. Const
/// members may be called from many threads.
class ScoreTable {
  public:
    /// @param compressor  Null: scores are those of float32 rows, in double precision.
    ScoreTable(Metric metric, std::shared_ptr<const Compressor> compressor)
        : metric_(metric), compressor_(std::move(compressor)), rows_(rows_to_draw()),
          queries_(random_rows(kQueries, kDim, 2)) {
        // Rows that are there twice, and others.
        queries_.insert(queries_.end(), rows_.begin(), rows_.begin() + 10 * kDim);
        queries_.insert(queries_.end(), rows_.begin() + 700 * kDim, rows_.begin() + 710 * kDim);
        scores_.assign(has_codes() ? code_bytes() + 1 : 1, {});
        if (!has_codes()) {
            scores_[0] = scores_of_floats();
            return;
        }
        codes_.resize(kRows * code_bytes());
        compressor_->encode(view(rows_, kDim), code_bytes(), {codes_.data(), kRows, code_bytes()});
        for (std::size_t bytes = 1; bytes <= code_bytes(); ++bytes) {
            scores_[bytes] = scores_of_codes(bytes);
        }
    }

    [[nodiscard]] bool has_codes() const { return compressor_ != nullptr; }
    [[nodiscard]] std::size_t code_bytes() const { return compressor_->code_bytes(); }
    [[nodiscard]] MatrixView<const float> row(std::size_t row) const {
        return view(rows_, kDim).slice(row, 1);
    }
    [[nodiscard]] std::size_t query_count() const { return queries_.size() / kDim; }
    [[nodiscard]] MatrixView<const float> query(std::size_t query) const {
        return view(queries_, kDim).slice(query, 1);
    }

    /// @param bytes  Prefix length; without codes it has no effect.
    [[nodiscard]] float score(std::size_t bytes, std::size_t query, std::size_t row) const {
        return scores_[has_codes() ? bytes : 0][query * kRows + row];
    }

    /// How far from score() an answer may be: nothing, but for sums of floats in another order.
    [[nodiscard]] float tolerance() const { return has_codes() ? 0.0F : 1e-4F; }

    /// What a point of a row reads as.
    [[nodiscard]] std::vector<float> vector_of(std::size_t row) const {
        std::vector<float> out(kDim);
        if (has_codes()) {
            const MatrixView<const std::byte> codes(codes_.data(), kRows, code_bytes());
            compressor_->decode(codes.slice(row, 1), {out.data(), 1, kDim});
        } else {
            std::copy_n(rows_.begin() + static_cast<std::ptrdiff_t>(row * kDim), kDim, out.begin());
        }
        return out;
    }

  private:
    [[nodiscard]] std::vector<float> scores_of_codes(std::size_t bytes) const {
        std::vector<std::byte> prefixes;
        for (std::size_t row = 0; row < kRows; ++row) {
            const std::byte* const code = codes_.data() + row * code_bytes();
            prefixes.insert(prefixes.end(), code, code + bytes);
        }
        std::vector<float> scores(query_count() * kRows);
        compressor_->score(
            view(queries_, kDim), {prefixes.data(), kRows, bytes}, false,
            {scores.data(), query_count(), kRows});
        return scores;
    }

    [[nodiscard]] std::vector<float> scores_of_floats() const {
        const auto product = [](std::span<const float> a, std::span<const float> b) {
            return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
        };
        std::vector<float> scores;
        for (std::size_t query = 0; query < query_count(); ++query) {
            const std::span<const float> q = view(queries_, kDim).row(query);
            for (std::size_t row = 0; row < kRows; ++row) {
                const std::span<const float> x = view(rows_, kDim).row(row);
                const double qx = product(q, x);
                const double qq = product(q, q);
                const double xx = product(x, x);
                scores.push_back(static_cast<float>(
                    metric_ == Metric::kInnerProduct ? qx
                    : metric_ == Metric::kL2         ? 2.0 * qx - qq - xx
                                                     : qx / std::sqrt(qq * xx)));
            }
        }
        return scores;
    }

    Metric metric_;
    std::shared_ptr<const Compressor> compressor_;
    std::vector<float> rows_;                ///< [kRows, kDim].
    std::vector<float> queries_;             ///< [query_count(), kDim].
    std::vector<std::byte> codes_;           ///< [kRows, code_bytes()].
    std::vector<std::vector<float>> scores_; ///< Of each length: [query_count(), kRows].
};

/// What a collection holds, as a table; scored one by one. Copies are states to compare with later.
class CollectionModel {
  public:
    struct Point {
        std::size_t row;      ///< Of the table of scores.
        std::uint64_t number; ///< Of the collection's row: rows are numbered as they come.
        std::string payload;
    };

    explicit CollectionModel(std::shared_ptr<const ScoreTable> scores)
        : scores_(std::move(scores)) {}

    void upsert(PointId id, std::size_t row, std::string payload) {
        points_[id] = {row, next_number_++, std::move(payload)};
    }
    bool remove(PointId id) { return points_.erase(id) > 0; }

    /// Takes over what a training made of the rows.
    void use(std::shared_ptr<const ScoreTable> scores) { scores_ = std::move(scores); }

    [[nodiscard]] std::size_t size() const { return points_.size(); }
    [[nodiscard]] std::uint64_t rows() const { return next_number_; } ///< Dead ones included.
    [[nodiscard]] const Point* find(PointId id) const {
        const auto found = points_.find(id);
        return found == points_.end() ? nullptr : &found->second;
    }
    [[nodiscard]] const ScoreTable& scores() const { return *scores_; }

    /// Ranks all points that a filter accepts by a prefix of their codes.
    /// @returns at most k, as a search that scans everything must answer: of points that tie for
    /// the last place those of the older rows, and equal scores by id.
    [[nodiscard]] std::vector<Hit> best(
        std::size_t query, std::size_t bytes, std::size_t k,
        const std::function<bool(PointId)>& filter) const {
        struct Scored {
            float score;
            std::uint64_t number;
            PointId id;
        };
        std::vector<Scored> all;
        for (const auto& [id, point] : points_) {
            if (!filter || filter(id)) {
                all.push_back({scores_->score(bytes, query, point.row), point.number, id});
            }
        }
        std::ranges::sort(all, [](const Scored& a, const Scored& b) {
            return a.score != b.score ? a.score > b.score : a.number < b.number;
        });
        all.resize(std::min(k, all.size()));
        std::ranges::stable_sort(all, [](const Scored& a, const Scored& b) {
            return a.score != b.score ? a.score > b.score : a.id < b.id;
        });
        std::vector<Hit> hits;
        for (const Scored& scored : all) {
            hits.push_back({scored.id, scored.score, points_.at(scored.id).payload});
        }
        return hits;
    }

  private:
    std::shared_ptr<const ScoreTable> scores_;
    std::map<PointId, Point> points_;
    std::uint64_t next_number_ = 0;
};

} // namespace arfc::test
