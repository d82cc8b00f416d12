#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"

namespace arfc::test {

/// What one token says: `step` times the token is added to coordinate `axis`.
struct TokenMeaning {
    std::size_t axis;
    float step;
};

/// A model whose sums are small whole numbers, exact on every machine, and which counts what it is
/// asked for. It encodes nothing: tests write the codes.
class TableCompressor : public Compressor {
  public:
    TableCompressor(Metric metric, std::size_t dim, std::vector<TokenMeaning> tokens)
        : metric_(metric), dim_(dim), tokens_(std::move(tokens)) {}

    [[nodiscard]] std::size_t dim() const noexcept override { return dim_; }
    [[nodiscard]] std::size_t code_bytes() const noexcept override { return tokens_.size(); }
    [[nodiscard]] Metric metric() const noexcept override { return metric_; }
    [[nodiscard]] const TrainReport& report() const noexcept override { return report_; }
    [[nodiscard]] ModelFiles files() const override { return {}; }
    [[nodiscard]] const std::string& id() const noexcept override { return id_; }
    [[nodiscard]] std::size_t model_bytes() const noexcept override { return 0; }

    void encode(MatrixView<const float>, std::size_t, MatrixView<std::byte>) const override {
        fail(ErrorKind::kUnsupported, "Tests write the codes");
    }

    void decode(MatrixView<const std::byte> codes, MatrixView<float> embeddings) const override {
        decoded_rows += codes.rows();
        for (std::size_t i = 0; i < codes.rows(); ++i) {
            decode_row(codes.row(i), embeddings.row(i));
        }
    }

    void query_tables(
        MatrixView<const float> queries, std::size_t first_token,
        MatrixView<float> tables) const override {
        {
            const std::lock_guard lock(mutex_);
            table_queries.push_back(queries.rows());
        }
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            for (std::size_t i = 0; i < tables.cols(); ++i) {
                const TokenMeaning& token = tokens_[first_token + i / kSymbols];
                tables.row(q)[i] =
                    queries.row(q)[token.axis] * token.step * static_cast<float>(i % kSymbols);
            }
        }
    }

    void query_terms(MatrixView<const float> queries, std::span<QueryTerms> terms) const override {
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            terms[q] = {.bias = 0.0F, .squared_norm = squared(queries.row(q))};
        }
    }

    void row_terms(MatrixView<const std::byte> codes, std::span<float> terms) const override {
        termed_rows += codes.rows();
        std::vector<float> row(dim_);
        for (std::size_t i = 0; i < codes.rows(); ++i) {
            decode_row(codes.row(i), row);
            terms[i] = metric_ == Metric::kL2     ? squared(row)
                     : metric_ == Metric::kCosine ? 1.0F / std::sqrt(squared(row))
                                                  : 0.0F;
        }
    }

    void score(MatrixView<const float>, MatrixView<const std::byte>, bool, MatrixView<float>)
        const override {
        fail(ErrorKind::kUnsupported, "Tests know the scores");
    }

    mutable std::atomic<std::size_t> decoded_rows = 0;
    mutable std::atomic<std::size_t> termed_rows = 0;
    mutable std::vector<std::size_t> table_queries; ///< Of each call of query_tables().

  private:
    void decode_row(std::span<const std::byte> code, std::span<float> row) const {
        std::fill(row.begin(), row.end(), 0.0F);
        for (std::size_t t = 0; t < code.size(); ++t) {
            row[tokens_[t].axis] +=
                tokens_[t].step * static_cast<float>(std::to_integer<int>(code[t]));
        }
    }

    [[nodiscard]] static float squared(std::span<const float> values) {
        float sum = 0.0F;
        for (const float value : values) {
            sum += value * value;
        }
        return sum;
    }

    Metric metric_;
    std::size_t dim_;
    std::vector<TokenMeaning> tokens_;
    TrainReport report_;
    std::string id_ = "of a test";
    mutable std::mutex mutex_;
};

/// Codes written by hand: one list of tokens a row.
struct Codes {
    explicit Codes(std::size_t of_width) : width(of_width) {}

    void add(const std::vector<std::size_t>& tokens) {
        for (const std::size_t token : tokens) {
            bytes.push_back(static_cast<std::byte>(token));
        }
    }

    [[nodiscard]] std::size_t rows() const { return bytes.size() / width; }
    [[nodiscard]] MatrixView<const std::byte> view() const { return {bytes.data(), rows(), width}; }

    /// The first `head` bytes of each row.
    [[nodiscard]] std::vector<std::byte> heads(std::size_t head) const {
        std::vector<std::byte> out;
        for (std::size_t row = 0; row < rows(); ++row) {
            const std::byte* const code = bytes.data() + row * width;
            out.insert(out.end(), code, code + head);
        }
        return out;
    }

    std::size_t width;
    std::vector<std::byte> bytes;
};

} // namespace arfc::test
