#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "random_rows.h"

namespace arfc::test {

inline constexpr std::size_t kDim = 24;
inline constexpr std::size_t kCodeBytes = 12;
inline constexpr std::size_t kRows = 1500;
inline constexpr std::size_t kQueries = 30;

/// A real model of the kind that ships, trained once a process and metric, with rows, queries and
/// codes.
struct TrainedModel {
    std::shared_ptr<const Compressor> compressor;
    std::vector<float> rows;      ///< [kRows, kDim].
    std::vector<float> queries;   ///< [kQueries, kDim].
    std::vector<std::byte> codes; ///< [kRows, kCodeBytes].

    [[nodiscard]] MatrixView<const float> row_view() const { return view(rows, kDim); }
    [[nodiscard]] MatrixView<const float> query_view() const { return view(queries, kDim); }
    [[nodiscard]] MatrixView<const std::byte> code_view() const {
        return {codes.data(), codes.size() / kCodeBytes, kCodeBytes};
    }

    /// Columns [first, first + width) of the codes.
    [[nodiscard]] std::vector<std::byte> columns(std::size_t first, std::size_t width) const {
        std::vector<std::byte> out;
        for (std::size_t i = 0; i < code_view().rows(); ++i) {
            const auto row = code_view().row(i).subspan(first, width);
            out.insert(out.end(), row.begin(), row.end());
        }
        return out;
    }

    /// What search must answer: Compressor::score of a prefix. @returns [kQueries, rows].
    [[nodiscard]] std::vector<float> scores(std::size_t bytes) const {
        const std::vector<std::byte> prefix = columns(0, bytes);
        std::vector<float> out(kQueries * code_view().rows());
        compressor->score(
            query_view(), {prefix.data(), code_view().rows(), bytes}, false,
            {out.data(), kQueries, code_view().rows()});
        return out;
    }
};

inline const TrainedModel& trained_model(Metric metric) {
    static std::map<Metric, TrainedModel> models;
    TrainedModel& model = models[metric];
    if (model.compressor == nullptr) {
        model.rows = random_rows(kRows, kDim, 1);
        // Some rows twice, so that scores tie.
        std::copy_n(
            model.rows.begin(), 50 * kDim,
            model.rows.end() - 50 * static_cast<std::ptrdiff_t>(kDim));
        model.queries = random_rows(kQueries, kDim, 2);
        TrainOptions options;
        options.code_bytes = kCodeBytes;
        options.metric = metric;
        model.compressor = Compressor::train(model.row_view(), options);
        model.codes.resize(kRows * kCodeBytes);
        model.compressor->encode(
            model.row_view(), kCodeBytes, {model.codes.data(), kRows, kCodeBytes});
    }
    return model;
}

/// A row and its score, as brute force ranks them: larger score first, then smaller row.
struct Ranked {
    std::uint64_t row;
    float score;
    bool operator==(const Ranked&) const = default;
};

/// Ranks the rows whose `is_in` is true by one query's scores. @returns at most k.
template <class IsIn>
std::vector<Ranked> brute_force(std::span<const float> scores, std::size_t k, const IsIn& is_in) {
    std::vector<Ranked> all;
    for (std::uint64_t row = 0; row < scores.size(); ++row) {
        if (is_in(row)) {
            all.push_back({row, scores[row]});
        }
    }
    std::ranges::sort(all, [](const Ranked& a, const Ranked& b) {
        return a.score != b.score ? a.score > b.score : a.row < b.row;
    });
    all.resize(std::min(k, all.size()));
    return all;
}

} // namespace arfc::test
