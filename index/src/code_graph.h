#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <span>
#include <unordered_map>
#include <vector>

#include "head_scorer.h"
#include "head_sketches.h"

namespace arfc {

inline constexpr std::uint32_t kNoLink = 0xFFFFFFFF;

/// A row of a graph and how it scores.
struct Scored {
    float score = 0; ///< Larger = closer; never NaN.
    std::uint32_t row = 0;
};

/// Orders by score, larger first, then by row: a total order, so that graphs do not depend on the
/// order in which rows are met.
[[nodiscard]] inline bool is_closer(const Scored& a, const Scored& b) noexcept {
    return a.score != b.score ? a.score > b.score : a.row < b.row;
}

/// Links of nodes 0, 1, 2, ...: `width` slots each, filled from the front.
class LinkTable {
  public:
    explicit LinkTable(std::size_t width = 1) : width_(width) {}
    LinkTable(std::size_t width, std::vector<std::uint32_t> slots)
        : width_(width), slots_(std::move(slots)) {}

    [[nodiscard]] std::size_t width() const noexcept { return width_; }
    [[nodiscard]] std::size_t nodes() const noexcept { return slots_.size() / width_; }
    [[nodiscard]] std::span<const std::uint32_t> slots() const noexcept { return slots_; }

    [[nodiscard]] std::span<const std::uint32_t> of(std::size_t node) const noexcept {
        const std::uint32_t* const first = slots_.data() + node * width_;
        return {first, std::find(first, first + width_, kNoLink)};
    }

    /// @param links  At most width().
    void set(std::size_t node, std::span<const std::uint32_t> links) noexcept {
        std::uint32_t* const first = slots_.data() + node * width_;
        std::fill(std::copy(links.begin(), links.end(), first), first + width_, kNoLink);
    }

    /// Adds nodes without links; spare room is at most a quarter.
    void grow(std::size_t nodes) {
        const std::size_t needed = nodes * width_;
        if (needed > slots_.capacity()) {
            slots_.reserve(std::max(needed, slots_.capacity() + slots_.capacity() / 4));
        }
        slots_.resize(needed, kNoLink);
    }

  private:
    std::size_t width_;
    std::vector<std::uint32_t> slots_; ///< [nodes, width].
};

/// Rows with the same head as an earlier row, by that row. They stand in no other place of a graph:
/// as nodes of their own they would link to each other and to nothing else.
using Duplicates = std::unordered_map<std::uint32_t, std::vector<std::uint32_t>>;

/// Returns what duplicates take, the map's own share left out.
[[nodiscard]] inline std::size_t bytes_of(const Duplicates& duplicates) noexcept {
    std::size_t bytes = 0;
    for (const auto& [node, rows] : duplicates) {
        bytes += sizeof(Duplicates::value_type) + rows.size() * sizeof(std::uint32_t);
    }
    return bytes;
}

/// One walk through a graph towards a query: keeps the best `beam` rows met and looks at the links
/// of each row that is still among them. For one thread.
///
/// Source: Malkov & Yashunin, Efficient and robust approximate nearest neighbor search using
/// Hierarchical Navigable Small World graphs, TPAMI 2018, algorithm 2.
class GraphWalk {
  public:
    /// @param rows        Of the graph: links are smaller.
    /// @param accepts     Null, or asked which rows to keep; others are only passed through.
    /// @param duplicates  Null, or rows to keep along with the row that stands for them.
    GraphWalk(
        HeadScorer& scorer, std::size_t rows, std::size_t beam,
        const std::function<bool(std::uint32_t)>* accepts = nullptr,
        const Duplicates* duplicates = nullptr)
        : scorer_(scorer), beam_(beam), accepts_(accepts), duplicates_(duplicates), visited_(rows) {
    }

    /// Notes every row that is scored and comes into view.
    void record(std::vector<Scored>* met) { met_ = met; }

    /// @param entry     Where to begin.
    /// @param links_of  Maps a row to the span of its links.
    /// @returns the best rows, best first.
    template <class LinksOf>
    std::vector<Scored> run(std::uint32_t entry, const LinksOf& links_of) {
        (void)is_first_visit(entry);
        meet({scorer_(entry), entry});
        while (!ahead_.empty()) {
            const Scored next = ahead_.top();
            ahead_.pop();
            if (best_.size() >= beam_ && is_closer(best_.top(), next)) {
                break;
            }
            fresh_.clear();
            for (const std::uint32_t row : links_of(next.row)) {
                if (is_first_visit(row)) {
                    fresh_.push_back(row);
                }
            }
            scores_.resize(fresh_.size());
            scorer_(fresh_, scores_.data());
            for (std::size_t i = 0; i < fresh_.size(); ++i) {
                meet({scores_[i], fresh_[i]});
            }
        }
        std::vector<Scored> found(best_.size());
        for (std::size_t i = found.size(); i-- > 0; best_.pop()) {
            found[i] = best_.top();
        }
        return found;
    }

  private:
    struct WorstOnTop {
        bool operator()(const Scored& a, const Scored& b) const { return is_closer(a, b); }
    };
    struct BestOnTop {
        bool operator()(const Scored& a, const Scored& b) const { return is_closer(b, a); }
    };

    bool is_first_visit(std::uint32_t row) {
        std::vector<bool>::reference is_visited = visited_[row];
        const bool is_first = !is_visited;
        is_visited = true;
        return is_first;
    }

    void meet(const Scored& found) {
        if (best_.size() >= beam_ && is_closer(best_.top(), found)) {
            return;
        }
        ahead_.push(found);
        if (met_ != nullptr) {
            met_->push_back(found);
        }
        keep(found);
        if (duplicates_ == nullptr) {
            return;
        }
        if (const auto same = duplicates_->find(found.row); same != duplicates_->end()) {
            for (const std::uint32_t row : same->second) {
                keep({found.score, row});
            }
        }
    }

    void keep(const Scored& found) {
        if (best_.size() >= beam_ && is_closer(best_.top(), found)) {
            return;
        }
        if (accepts_ != nullptr && !(*accepts_)(found.row)) {
            return;
        }
        best_.push(found);
        if (best_.size() > beam_) {
            best_.pop();
        }
    }

    HeadScorer& scorer_;
    std::size_t beam_;
    const std::function<bool(std::uint32_t)>* accepts_;
    const Duplicates* duplicates_;
    std::vector<bool> visited_; ///< [rows].
    std::priority_queue<Scored, std::vector<Scored>, WorstOnTop> best_;
    std::priority_queue<Scored, std::vector<Scored>, BestOnTop> ahead_;
    std::vector<Scored>* met_ = nullptr;
    std::vector<std::uint32_t> fresh_;
    std::vector<float> scores_;
};

/// Chooses a row's links from rows near it: nearest first, leaving out those that are nearer to one
/// chosen already than to the row itself, so that links point in different directions.
///
/// Source: Malkov & Yashunin, algorithm 4; Fu et al., NSG, VLDB 2019, the same rule.
/// @param near   Any order; the row itself and repetitions are passed over.
/// @param most   Links wanted, at most.
/// @returns the links, nearest first.
[[nodiscard]] std::vector<std::uint32_t> choose_links(
    const HeadSketches& sketches, const HeadRows& all, std::uint32_t row,
    std::span<const std::uint32_t> near, std::size_t most);

/// Reconstructs heads, as queries that walk through a graph to the place of their row.
/// @returns [count, dim] rows; a zero row, which has no direction under cosine, points anywhere.
[[nodiscard]] std::vector<float> decode_as_queries(
    const HeadRows& all, std::size_t first, std::size_t count);

/// Calls work(row, scorer) for rows [first, first + count), each asked about as a query.
template <class Work>
void ask_about(const HeadRows& all, std::size_t first, std::size_t count, const Work& work) {
    const std::vector<float> queries = decode_as_queries(all, first, count);
    const MatrixView<const float> view(queries.data(), count, all.compressor->dim());
    const std::size_t width = all.heads.cols() * kSymbols;
    std::vector<float> tables(count * width);
    all.compressor->query_tables(view, 0, {tables.data(), count, width});
    std::vector<Compressor::QueryTerms> terms(count);
    all.compressor->query_terms(view, terms);
    for (std::size_t i = 0; i < count; ++i) {
        HeadScorer scorer(all, tables.data() + i * width, terms[i]);
        work(static_cast<std::uint32_t>(first + i), scorer);
    }
}

/// Says whether two rows have the same head.
[[nodiscard]] inline bool is_same_head(
    const HeadRows& all, std::uint32_t a, std::uint32_t b) noexcept {
    return std::ranges::equal(all.heads.row(a), all.heads.row(b));
}

} // namespace arfc
