#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "arfc/index/certainty.h"
#include "best_rows.h"
#include "score_bounds.h"

namespace arfc {

/// A row of which a search knows a prefix.
struct MetRow {
    Candidate candidate; ///< Scored by the stage; by its head with a rounded term at first.
    /// Distance of the stage's reconstruction (ScoreBounds), rounded outwards, where the row has
    /// error radii.
    float nearest = -std::numeric_limits<float>::infinity();
    float farthest = std::numeric_limits<float>::infinity();
    float bound = std::numeric_limits<float>::infinity(); ///< No float score of the whole code is
                                                          ///< larger.
    std::uint32_t stage = 0;                              ///< That was read last.

    void set_distance(const Bounds& distance) noexcept {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        nearest = std::nextafter(static_cast<float>(distance.least), -kInfinity);
        farthest = std::nextafter(static_cast<float>(distance.most), kInfinity);
    }
    [[nodiscard]] Bounds distance() const noexcept {
        return {static_cast<double>(nearest), static_cast<double>(farthest)};
    }
};

/// Reads more of rows, for one query; what a refinement needs of an index.
class PrefixReader {
  public:
    static constexpr std::size_t kMostRows = 64; ///< Read together.

    virtual ~PrefixReader() = default;

    /// Continues the sums of rows to a stage and scores them by it. A row that ends before keeps
    /// the score of the longest prefix it has.
    /// @param rows  At most kMostRows, ascending by row, all at the stage before or at their end.
    /// @returns the bytes read.
    virtual std::size_t read(std::size_t stage, std::span<Candidate> rows) = 0;

    /// Returns a row's term by the prefix of a stage beyond the head; NaN: not known, or the row
    /// has none.
    [[nodiscard]] virtual float term(std::size_t stage, std::uint32_t row) const = 0;

    /// Returns a row's error radius: from the stage's prefix to the whole code, or from that to the
    /// original; infinity: not known.
    [[nodiscard]] virtual double radius(std::size_t stage, std::uint32_t row) const = 0;
};

/// What a refinement ends with.
struct RefinedAnswer {
    std::vector<Candidate> best; ///< At most k, best first.
    Certainty certainty = Certainty::kNone;
};

/// Reads on, for one query, until its answer is proved or as likely as was asked for.
///
/// Source of the order of reading: the threshold algorithms of Fagin, Lotem and Naor (2003): of all
/// that read rows until a proof by the same bounds, none reads fewer than one that goes by the
/// largest bound first.
class Refinement {
  public:
    /// @param stage_bytes  Of the index; must outlive this.
    /// @param k            >= 1.
    /// @param budget       Code bytes that may yet be read; nothing: any number.
    Refinement(
        PrefixReader& reader, std::span<const std::size_t> stage_bytes, std::size_t k,
        std::optional<std::size_t> budget)
        : reader_(reader), stage_bytes_(stage_bytes), k_(k), budget_(budget) {}

    /// Ranks `first_ranked` rows whole, then every one whose bound reaches the k-th best score, the
    /// largest bound first, stage by stage. Where that leaves none, and error radii are known,
    /// tries to prove the answer against the originals too.
    /// @param rows      Every accepted row, by its head, its distances set where there are radii.
    /// @param is_whole  Whether no accepted row is missing.
    [[nodiscard]] RefinedAnswer until_certain(
        std::vector<MetRow> rows, std::size_t first_ranked, const ScoreBounds& bounds,
        bool is_whole);

    /// Keeps, stage by stage, the rows that score at most a margin below the k-th best.
    /// @param margins   [stages - 1]; infinity: every row is kept.
    /// @param is_whole  Whether no row is missing that calibration asks for,
    /// @param is_all    and whether no accepted row is missing at all.
    [[nodiscard]] RefinedAnswer until_confident(
        std::vector<MetRow> rows, std::span<const float> margins, bool is_whole, bool is_all);

  private:
    /// Reads rows to a stage, as many from the front as the budget bears.
    /// @returns how many.
    std::size_t read(std::size_t stage, std::span<MetRow*> rows);

    [[nodiscard]] bool ends_before(const MetRow& row) const noexcept {
        return row.candidate.tokens < stage_bytes_[row.stage];
    }
    [[nodiscard]] bool is_ranked(const MetRow& row) const noexcept {
        return row.stage + 1 == stage_bytes_.size() || ends_before(row);
    }
    void rank_first(std::vector<MetRow>& rows, std::size_t count);
    void measure(MetRow& row, const ScoreBounds& bounds) const;
    void bound(MetRow& row, const ScoreBounds& bounds) const;
    [[nodiscard]] Bounds distance_of_original(const MetRow& row, const ScoreBounds& bounds) const;
    bool rank_all_within_reach(std::vector<MetRow>& rows, const ScoreBounds& bounds);
    bool prove_by_originals(std::vector<MetRow>& rows, const ScoreBounds& bounds);
    void keep(const Candidate& candidate);
    [[nodiscard]] float threshold() const noexcept;
    [[nodiscard]] RefinedAnswer answer(Certainty certainty);

    PrefixReader& reader_;
    std::span<const std::size_t> stage_bytes_;
    std::size_t k_;
    std::optional<std::size_t> budget_;
    std::vector<Candidate> best_; ///< A heap of at most k ranked rows, the worst in front.
};

} // namespace arfc
