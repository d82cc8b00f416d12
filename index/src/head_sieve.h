#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "arfc/base/metric.h"
#include "arfc/compressor/compressor.h"
#include "sieve_kernel.h"

namespace arfc {

/// Bytes that begin at a line of the cache.
class AlignedBytes {
  public:
    explicit AlignedBytes(std::size_t size = 0) : storage_(size + kAlignment) {}
    AlignedBytes(const AlignedBytes&) = delete; // Another storage is aligned elsewhere.
    AlignedBytes& operator=(const AlignedBytes&) = delete;
    AlignedBytes(AlignedBytes&&) = default;
    AlignedBytes& operator=(AlignedBytes&&) = default;
    ~AlignedBytes() = default;
    [[nodiscard]] std::uint8_t* data() noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
        return storage_.data() + (kAlignment - address % kAlignment) % kAlignment;
    }

  private:
    static constexpr std::size_t kAlignment = 64;
    std::vector<std::uint8_t> storage_;
};

/// Heads of some rows, which sieves look at: for several queries token by token, a layout that is
/// made once for all of them. For one thread.
class HeadBlock {
  public:
    /// Rows that are looked at together.
    static constexpr std::size_t kMostRows = kSieveRows;

    /// @param tokens  Of a head, at most kMostSieveTokens.
    explicit HeadBlock(std::size_t tokens) : tokens_(tokens), columns_((tokens + 1) * kSieveRows) {}

    /// Takes rows, which must stay where they are until others are taken.
    /// @param heads      [count, tokens], count <= kMostRows.
    /// @param levels     [count]; null: rows have none.
    /// @param is_shared  Several queries will look at them.
    void take(
        const std::byte* heads, const std::uint8_t* levels, std::size_t count,
        bool is_shared) noexcept;

    [[nodiscard]] const std::byte* heads() const noexcept { return heads_; }
    [[nodiscard]] const std::uint8_t* levels() const noexcept { return levels_; }
    [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] bool is_shared() const noexcept { return is_shared_; }

    /// Returns the rows token by token, and behind the last the levels: [tokens + 1, kSieveRows].
    [[nodiscard]] const std::uint8_t* columns();

  private:
    std::size_t tokens_;
    const std::byte* heads_ = nullptr;
    const std::uint8_t* levels_ = nullptr;
    std::size_t rows_ = 0;
    bool is_shared_ = false;
    bool has_columns_ = false;
    AlignedBytes columns_;
};

/// Passes over rows that cannot score as high as is wanted, by one query's tables rounded to bytes.
///
/// Each look-up is rounded in the row's favour: what does not reach the threshold by bytes does not
/// by floats, and the answers are those of a scan by floats, to the bit. Bytes are looked up for 64
/// rows at a time. For one thread.
///
/// Short heads are added in bytes: what a row lacks to the best that there could be, in steps of a
/// 254th of what it may lack; tables are made anew for every threshold. Long ones, of which so many
/// rounded terms would tell little, are added in words.
class HeadSieve {
  public:
    /// Says whether the processor has the instructions, and heads of so many tokens fit.
    [[nodiscard]] static bool is_available(std::size_t tokens) noexcept;

    /// Makes a sieve where it is of use: where the processor has the instructions, and tables,
    /// which must outlive it, are finite.
    /// @param tables  [tokens, kSymbols].
    /// @param levels  [256] what combine() takes as the term of a row of each level, positive under
    ///                cosine; empty: rows have no terms, as under inner product.
    [[nodiscard]] static std::optional<HeadSieve> make(
        const float* tables, std::size_t tokens, Metric metric, const Compressor::QueryTerms& terms,
        std::span<const float> levels);

    /// Finds the rows whose scores may reach `threshold`.
    /// @param rows    Of so many tokens as the sieve has; with levels, if it has.
    /// @param places  Out, [rows.rows()]: theirs, ascending.
    /// @returns how many.
    std::size_t pass(HeadBlock& rows, float threshold, std::uint16_t* places);

  private:
    HeadSieve() = default;

    /// What a sum of look-ups must reach for a threshold: base + slope * levels_[level].
    struct Needed {
        double base = 0;
        double slope = 0;
        double least = 0; ///< Over all levels,
        double largest = 0;
        double rounding = 0; ///< More than the error of all of them.
    };
    [[nodiscard]] Needed needed_for(float threshold) const;

    void aim(float threshold);
    void aim_bytes(const Needed& needed);
    void aim_words(const Needed& needed);
    [[nodiscard]] std::uint8_t* table(std::size_t token) noexcept {
        return bytes_.data() + token * kSymbols;
    }

    Metric metric_ = Metric::kInnerProduct;
    const float* tables_ = nullptr;
    std::size_t tokens_ = 0;
    double squared_norm_ = 0;
    double start_ = 0;                                 ///< The least sum there could be,
    double end_ = 0;                                   ///< and the largest.
    double step_ = 0;                                  ///< Of words.
    double rounding_ = 0;                              ///< More than the error of a float sum.
    std::array<float, kMostSieveTokens> largest_ = {}; ///< [tokens].
    std::vector<double> levels_; ///< [256]: 1 / term under cosine, term under L2.
    AlignedBytes bytes_;         ///< [tokens + 1, 256]; the last table is of levels.
    std::optional<float> aimed_at_;
    bool passes_all_ = false;
    bool passes_none_ = false;
    std::uint16_t least_ = 0; ///< Of words.
};

} // namespace arfc
