#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "best_rows.h"
#include "coarse_structure.h"
#include "look_ups.h"

namespace arfc {

/// Scores rows that lie anywhere by their heads, against one query, as a scan does. For one thread.
class HeadScorer {
  public:
    /// @param tables  [head_bytes, kSymbols]; must outlive the scorer, as must the rows.
    HeadScorer(const HeadRows& rows, const float* tables, Compressor::QueryTerms terms)
        : rows_(rows), tables_(tables), terms_(terms), gathered_(kBlock * rows.heads.cols()) {}

    /// @param scores  Out, [wanted.size()]; never NaN.
    void operator()(std::span<const std::uint32_t> wanted, float* scores) {
        for (std::size_t first = 0; first < wanted.size(); first += kBlock) {
            block(wanted.subspan(first, std::min(kBlock, wanted.size() - first)), scores + first);
        }
        scored_ += wanted.size();
    }

    float operator()(std::uint32_t row) {
        float score = 0.0F;
        (*this)({&row, 1}, &score);
        return score;
    }

    [[nodiscard]] std::size_t scored() const noexcept { return scored_; } ///< Rows so far.

  private:
    static constexpr std::size_t kBlock = 64;

    void block(std::span<const std::uint32_t> wanted, float* scores) {
        const std::size_t width = rows_.heads.cols();
        for (const std::uint32_t row : wanted) {
            __builtin_prefetch(rows_.heads.row(row).data());
        }
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            std::memcpy(gathered_.data() + i * width, rows_.heads.row(wanted[i]).data(), width);
        }
        std::fill_n(scores, wanted.size(), terms_.bias);
        add_look_ups(tables_, gathered_.data(), width, width, wanted.size(), scores);
        const Metric metric = rows_.compressor->metric();
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            scores[i] = orderable(
                Compressor::combine(metric, scores[i], rows_.term(wanted[i]), terms_.squared_norm));
        }
    }

    const HeadRows& rows_;
    const float* tables_;
    Compressor::QueryTerms terms_;
    std::vector<std::byte> gathered_;
    std::size_t scored_ = 0;
};

} // namespace arfc
