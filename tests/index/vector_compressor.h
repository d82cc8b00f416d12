#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"

namespace arfc::test {

/// A model made of codebooks that tests choose: a row decodes to the sum of its tokens' symbols,
/// and scores are what the interface says, computed in the plainest way. It encodes nothing.
class VectorCompressor final : public Compressor {
  public:
    /// @param symbols  [tokens, kSymbols, dim].
    VectorCompressor(Metric metric, std::size_t dim, std::vector<float> symbols)
        : metric_(metric), dim_(dim), symbols_(std::move(symbols)) {
        summed_lengths_.push_back(0.0);
        for (std::size_t t = 0; t < code_bytes(); ++t) {
            double longest = 0.0;
            for (std::size_t k = 0; k < kSymbols; ++k) {
                longest = std::max(longest, std::sqrt(squared(symbol(t, k))));
            }
            summed_lengths_.push_back(summed_lengths_.back() + longest);
        }
    }

    [[nodiscard]] std::size_t dim() const noexcept override { return dim_; }
    [[nodiscard]] std::size_t code_bytes() const noexcept override {
        return symbols_.size() / (kSymbols * dim_);
    }
    [[nodiscard]] Metric metric() const noexcept override { return metric_; }
    [[nodiscard]] const TrainReport& report() const noexcept override { return report_; }
    [[nodiscard]] ModelFiles files() const override { return {}; }
    [[nodiscard]] const std::string& id() const noexcept override { return id_; }
    [[nodiscard]] std::size_t model_bytes() const noexcept override { return 0; }

    void encode(MatrixView<const float>, std::size_t, MatrixView<std::byte>) const override {
        fail(ErrorKind::kUnsupported, "Tests write the codes");
    }

    void decode(MatrixView<const std::byte> codes, MatrixView<float> embeddings) const override {
        for (std::size_t i = 0; i < codes.rows(); ++i) {
            const std::span<float> row = embeddings.row(i);
            std::ranges::fill(row, 0.0F);
            for (std::size_t t = 0; t < codes.cols(); ++t) {
                const std::span<const float> from =
                    symbol(t, std::to_integer<std::size_t>(codes.row(i)[t]));
                std::ranges::transform(row, from, row.begin(), std::plus<>());
            }
        }
    }

    void query_tables(
        MatrixView<const float> queries, std::size_t first_token,
        MatrixView<float> tables) const override {
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            const std::vector<float> query = seen(queries.row(q));
            for (std::size_t i = 0; i < tables.cols(); ++i) {
                tables.row(q)[i] = dot(query, symbol(first_token + i / kSymbols, i % kSymbols));
            }
        }
    }

    void query_terms(MatrixView<const float> queries, std::span<QueryTerms> terms) const override {
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            const std::vector<float> query = seen(queries.row(q));
            terms[q] = {
                .bias = 0.0F,
                .squared_norm = metric_ == Metric::kCosine ? 1.0F : dot(query, query)};
        }
    }

    void row_terms(MatrixView<const std::byte> codes, std::span<float> terms) const override {
        std::vector<float> rows(codes.rows() * dim_);
        decode(codes, {rows.data(), codes.rows(), dim_});
        for (std::size_t i = 0; i < codes.rows(); ++i) {
            const std::span<const float> row(rows.data() + i * dim_, dim_);
            const float squared_length = dot(row, row);
            terms[i] = metric_ == Metric::kL2           ? squared_length
                     : metric_ == Metric::kInnerProduct ? 0.0F
                     : squared_length > 0.0F            ? 1.0F / std::sqrt(squared_length)
                                                        : 0.0F;
        }
    }

    /// Products of dim() numbers, sums of tokens, and sums of symbols, each with the error that
    /// Higham's gamma allows.
    [[nodiscard]] double sum_error(std::size_t num_bytes, double) const noexcept override {
        const auto operations = static_cast<double>(dim_ + 2 * num_bytes + 12);
        return 1.01 * operations * 0x1p-24 * summed_lengths_[num_bytes];
    }

    void score(MatrixView<const float>, MatrixView<const std::byte>, bool, MatrixView<float>)
        const override {
        fail(ErrorKind::kUnsupported, "Tests know the scores");
    }

    /// Returns a query as tables see it.
    [[nodiscard]] std::vector<float> seen(std::span<const float> query) const {
        std::vector<float> out(query.begin(), query.end());
        if (metric_ == Metric::kCosine) {
            const double length = std::sqrt(squared(query));
            for (float& value : out) {
                value = static_cast<float>(static_cast<double>(value) / length);
            }
        }
        return out;
    }

  private:
    [[nodiscard]] std::span<const float> symbol(std::size_t token, std::size_t k) const {
        return {symbols_.data() + (token * kSymbols + k) * dim_, dim_};
    }

    static float dot(std::span<const float> a, std::span<const float> b) {
        float sum = 0.0F;
        for (std::size_t j = 0; j < a.size(); ++j) {
            sum += a[j] * b[j];
        }
        return sum;
    }

    static double squared(std::span<const float> values) {
        double sum = 0.0;
        for (const float value : values) {
            sum += static_cast<double>(value) * static_cast<double>(value);
        }
        return sum;
    }

    Metric metric_;
    std::size_t dim_;
    std::vector<float> symbols_;
    std::vector<double> summed_lengths_; ///< [tokens + 1].
    TrainReport report_;
    std::string id_ = "of a test";
};

} // namespace arfc::test
