#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/progress.h"
#include "arfc/compressor/compressor.h"
#include "recall_fall.h"

namespace arfc {

/// Rows on which a plan measures, in an order drawn at random, so that each run of them is a sample
/// of its own.
struct PlanSample {
    std::shared_ptr<const Compressor> compressor;
    MatrixView<const std::byte> codes; ///< [n, code bytes]; recall is wanted of their prefixes.
    MatrixView<const float> originals; ///< [n, dim] what they were made from; or no rows.
    std::size_t queries = 0;           ///< Rows [0, queries) ask, each for its neighbours among the
                                       ///< other rows. At most n.
    std::size_t k = 10;                ///< Answers, fewer than rows in a quarter of the sample.
};

/// Parts of a sample over which neighbours are sought: its quarters, its halves, and the whole.
enum class Part : std::uint8_t { kFirstQuarter = 0, kFirstHalf = 4, kWhole = 6 };
inline constexpr std::size_t kParts = 7;

/// What rows find by every length of their code when every row is scored: what no way of searching
/// makes better.
///
/// The reference is the exact neighbours of the originals; of a sample without them, what the
/// reconstructions of whole codes find by whole codes.
class PrefixRecall {
  public:
    /// @param sample   Must outlive the object.
    /// @param lengths  Prefix lengths, ascending, in [1, code bytes].
    /// @throws Error   kCancelled.
    PrefixRecall(
        const PlanSample& sample, std::vector<std::size_t> lengths,
        const ProgressFunction& progress);

    [[nodiscard]] const std::vector<std::size_t>& lengths() const noexcept { return lengths_; }

    /// Returns what asks: the originals of rows [0, queries), or reconstructions. [queries, dim].
    [[nodiscard]] MatrixView<const float> queries() const noexcept {
        return {queries_.data(), sample_.queries, sample_.compressor->dim()};
    }

    /// Returns the nearest rows of query q within a part of the sample, itself left out. [k].
    [[nodiscard]] std::span<const std::uint32_t> truth(Part part, std::size_t q) const noexcept {
        return truth_of(static_cast<std::size_t>(part), q);
    }

    /// Returns recalls of queries [first, first + count) within a part.
    /// @param length  Place in lengths().
    [[nodiscard]] std::span<const double> recalls(
        std::size_t length, Part part, std::size_t first, std::size_t count) const noexcept {
        return recalls_of(length, static_cast<std::size_t>(part)).subspan(first, count);
    }

    /// Returns recalls of queries [first, first + count): means over the quarters, over the halves,
    /// and of the whole.
    [[nodiscard]] RecallBySize recalls_by_size(
        std::size_t length, std::size_t first, std::size_t count) const;

  private:
    static constexpr std::size_t kQuarters = 4;
    /// Best rows of one query: in each quarter, then in what holds them.
    struct Best {
        std::uint32_t row;
        float score;
    };
    using BestOfParts = std::array<std::vector<Best>, kParts>;

    [[nodiscard]] std::size_t quarter_begin(std::size_t quarter) const noexcept {
        return quarter * sample_.codes.rows() / kQuarters;
    }
    [[nodiscard]] std::span<const std::uint32_t> truth_of(
        std::size_t part, std::size_t q) const noexcept {
        return std::span(truth_).subspan((q * kParts + part) * sample_.k, sample_.k);
    }
    [[nodiscard]] std::span<const double> recalls_of(
        std::size_t length, std::size_t part) const noexcept {
        return std::span(recalls_).subspan(
            (length * kParts + part) * sample_.queries, sample_.queries);
    }
    void find_exact_neighbours();
    void measure(std::size_t q, const float* tables, const Compressor::QueryTerms& terms);
    void join(BestOfParts& best) const;
    void set_truth(std::size_t q, const BestOfParts& best);
    void set_recalls(std::size_t length, std::size_t q, const BestOfParts& best);

    const PlanSample& sample_;
    std::vector<std::size_t> lengths_;
    std::vector<float> queries_;                ///< [queries, dim].
    std::vector<std::vector<float>> row_terms_; ///< [lengths][n].
    std::vector<std::uint32_t> truth_;          ///< [queries, kParts, k].
    std::vector<double> recalls_;               ///< [lengths, kParts, queries].
};

} // namespace arfc
