#include "hnsw_structure.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "arfc/base/error.h"
#include "byte_io.h"
#include "link_io.h"
#include "parallel.h"

namespace arfc {
namespace {

constexpr std::size_t kConstructionBeam = 100;
constexpr std::size_t kMostBatch = 512;   // Rows inserted side by side ...
constexpr std::size_t kBatchShare = 32;   // ... and at most this part of the rows there are.
constexpr std::size_t kNearInBatch = 32;  // Best rows of its own batch that a row may link to.
constexpr std::size_t kQueriesAtOnce = 8; // Whose tables are made together: 128 KB at 16 tokens.
constexpr std::size_t kMostLevel = 16;
constexpr std::size_t kRebuildShare = 4; // Where more than a quarter of the rows go, the rest is
                                         // linked anew.

/// Scrambles a row number (Steele et al., SplitMix64, OOPSLA 2014).
std::uint64_t scrambled(std::uint64_t value) noexcept {
    value += 0x9E3779B97F4A7C15U;
    value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31U);
}

} // namespace

/// A row on its way into the graph.
struct HnswStructure::Newcomer {
    std::uint32_t row = 0;
    std::size_t level = 0;
    std::uint32_t same_as = kNoLink; ///< The node that has its head; kNoLink: it becomes a node.
    std::vector<std::vector<std::uint32_t>> near;     ///< [levels] rows of the graph, best first.
    std::vector<std::vector<std::uint32_t>> in_batch; ///< [levels] rows of its batch, best first.
    std::vector<std::vector<std::uint32_t>> links;    ///< [levels].
};

std::size_t HnswStructure::level_of(std::uint32_t row) const noexcept {
    const double uniform = static_cast<double>((scrambled(row) >> 11U) + 1) * 0x1p-53; // (0, 1].
    const double level = -std::log(uniform) / std::log(static_cast<double>(links_));
    return std::min(static_cast<std::size_t>(level), kMostLevel);
}

const HnswStructure::Tower* HnswStructure::tower_of(std::uint32_t row) const noexcept {
    const auto found = std::ranges::lower_bound(towers_, row, {}, &Tower::row);
    return found != towers_.end() && found->row == row ? &*found : nullptr;
}

std::span<const std::uint32_t> HnswStructure::links_of(
    std::uint32_t row, std::size_t level) const noexcept {
    if (level == 0) {
        return lowest_.of(row);
    }
    const Tower* const tower = tower_of(row);
    return tower == nullptr || level > tower->levels ? std::span<const std::uint32_t>()
                                                     : upper_.of(tower->first + level - 1);
}

void HnswStructure::set_links(
    std::uint32_t row, std::size_t level, std::span<const std::uint32_t> links) {
    if (level == 0) {
        lowest_.set(row, links);
    } else {
        upper_.set(tower_of(row)->first + level - 1, links);
    }
}

void HnswStructure::add(const HeadRows& all) {
    try {
        while (rows_ < all.rows()) {
            if (sketches_.empty()) {
                sketches_ = HeadSketches(*all.compressor, all.heads.cols());
            }
            const std::size_t batch = std::clamp<std::size_t>(rows_ / kBatchShare, 1, kMostBatch);
            add_batch(all, std::min(batch, all.rows() - rows_));
        }
    } catch (...) {
        clear(); // Half a batch may be linked. The next call begins anew.
        throw;
    }
}

void HnswStructure::add_batch(const HeadRows& all, std::size_t count) {
    std::vector<Newcomer> batch(count);
    for (std::size_t i = 0; i < count; ++i) {
        batch[i].row = static_cast<std::uint32_t>(rows_ + i);
        batch[i].level = level_of(batch[i].row);
        batch[i].near.resize(batch[i].level + 1);
        batch[i].in_batch.resize(batch[i].level + 1);
        batch[i].links.resize(batch[i].level + 1);
    }
    for_each_in_parallel((count + kQueriesAtOnce - 1) / kQueriesAtOnce, [&](std::size_t block) {
        const std::size_t first = block * kQueriesAtOnce;
        look_around(all, batch, first, std::min(kQueriesAtOnce, count - first));
    });
    set_duplicates_aside(all, batch);
    for_each_in_parallel(count, [&](std::size_t i) {
        Newcomer& newcomer = batch[i];
        for (std::size_t level = 0; newcomer.same_as == kNoLink && level <= newcomer.level;
             ++level) {
            std::vector<std::uint32_t>& near = newcomer.near[level];
            near.insert(
                near.end(), newcomer.in_batch[level].begin(), newcomer.in_batch[level].end());
            newcomer.links[level] =
                choose_links(sketches_, all, newcomer.row, near, most_links(level));
        }
    });
    link(all, batch);
    rows_ += count;
}

/// Finds the rows near to some of a batch, level by level.
void HnswStructure::look_around(
    const HeadRows& all, std::span<Newcomer> batch, std::size_t first, std::size_t count) const {
    std::vector<std::uint32_t> others(batch.size());
    std::ranges::transform(batch, others.begin(), &Newcomer::row);
    std::vector<Scored> scored(batch.size());
    std::vector<float> scores(batch.size());
    ask_about(all, batch[first].row, count, [&](std::uint32_t asked, HeadScorer& scorer) {
        Newcomer& newcomer = batch[asked - batch.front().row];
        if (entry_ != kNoLink) {
            std::size_t level = top_;
            std::uint32_t at = descend(scorer, std::min(newcomer.level, top_), level);
            for (;; --level) {
                const auto links = [&](std::uint32_t row) { return links_of(row, level); };
                for (const Scored& found :
                     GraphWalk(scorer, rows_, kConstructionBeam).run(at, links)) {
                    newcomer.near[level].push_back(found.row);
                }
                at = newcomer.near[level].front();
                if (level == 0) {
                    break;
                }
            }
        }
        scorer(others, scores.data());
        for (std::size_t j = 0; j < batch.size(); ++j) {
            scored[j] = {scores[j], static_cast<std::uint32_t>(j)};
        }
        std::ranges::sort(scored, is_closer);
        for (const Scored& other : scored) {
            const Newcomer& near = batch[other.row];
            for (std::size_t level = 0; level <= std::min(near.level, newcomer.level); ++level) {
                if (near.row != newcomer.row && newcomer.in_batch[level].size() < kNearInBatch) {
                    newcomer.in_batch[level].push_back(near.row);
                }
            }
        }
    });
}

/// Goes greedily from the entry to the lowest level that is asked for.
/// @param level  In: the entry's. Out: `down_to`.
/// @returns where it arrived: of the level above, the row nearest to the query that it found.
std::uint32_t HnswStructure::descend(
    HeadScorer& scorer, std::size_t down_to, std::size_t& level) const {
    Scored at{scorer(entry_), entry_};
    std::vector<float> scores;
    for (; level > down_to; --level) {
        for (bool moved = true; moved;) {
            moved = false;
            const std::span<const std::uint32_t> links = links_of(at.row, level);
            scores.resize(links.size());
            scorer(links, scores.data());
            for (std::size_t i = 0; i < links.size(); ++i) {
                const Scored next{scores[i], links[i]};
                if (is_closer(next, at)) {
                    at = next;
                    moved = true;
                }
            }
        }
    }
    return at.row;
}

/// Finds newcomers that have the head of a node, or of an earlier newcomer that becomes one.
void HnswStructure::set_duplicates_aside(const HeadRows& all, std::span<Newcomer> batch) {
    const auto newcomer_at = [&](std::uint32_t row) -> Newcomer& {
        return batch[row - batch.front().row];
    };
    for (Newcomer& newcomer : batch) {
        for (const std::uint32_t row : newcomer.near[0]) {
            if (is_same_head(all, row, newcomer.row)) {
                newcomer.same_as = row;
                break;
            }
        }
        for (const std::uint32_t row : newcomer.in_batch[0]) {
            if (newcomer.same_as != kNoLink) {
                break;
            }
            if (row < newcomer.row && is_same_head(all, row, newcomer.row)) {
                const std::uint32_t node = newcomer_at(row).same_as;
                newcomer.same_as = node == kNoLink ? row : node;
            }
        }
    }
    for (Newcomer& newcomer : batch) {
        for (std::vector<std::uint32_t>& rows : newcomer.in_batch) {
            std::erase_if(
                rows, [&](std::uint32_t row) { return newcomer_at(row).same_as != kNoLink; });
        }
    }
}

void HnswStructure::link(const HeadRows& all, std::span<Newcomer> batch) {
    lowest_.grow(rows_ + batch.size());
    for (const Newcomer& newcomer : batch) {
        if (newcomer.same_as != kNoLink) {
            duplicates_[newcomer.same_as].push_back(newcomer.row);
            continue;
        }
        if (newcomer.level > 0) {
            towers_.push_back(
                {newcomer.row, static_cast<std::uint32_t>(upper_.nodes()),
                 static_cast<std::uint32_t>(newcomer.level)});
            upper_.grow(upper_.nodes() + newcomer.level);
        }
        for (std::size_t level = 0; level <= newcomer.level; ++level) {
            set_links(newcomer.row, level, newcomer.links[level]);
        }
    }
    link_back(all, batch);
    for (const Newcomer& newcomer : batch) {
        if (newcomer.same_as == kNoLink && (entry_ == kNoLink || newcomer.level > top_)) {
            entry_ = newcomer.row;
            top_ = newcomer.level;
        }
    }
}

/// Makes rows that newcomers link to link back; those that have too many links choose among them.
void HnswStructure::link_back(const HeadRows& all, std::span<const Newcomer> batch) {
    using Back = std::tuple<std::size_t, std::uint32_t, std::uint32_t>; // Level, from, to.
    std::vector<Back> backs;
    for (const Newcomer& newcomer : batch) {
        for (std::size_t level = 0; level < newcomer.links.size(); ++level) {
            for (const std::uint32_t row : newcomer.links[level]) {
                backs.emplace_back(level, row, newcomer.row);
            }
        }
    }
    std::ranges::sort(backs);
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < backs.size(); ++i) {
        if (i == 0 || std::get<0>(backs[i]) != std::get<0>(backs[i - 1]) ||
            std::get<1>(backs[i]) != std::get<1>(backs[i - 1])) {
            starts.push_back(i);
        }
    }
    starts.push_back(backs.size());
    for_each_in_parallel(starts.size() - 1, [&](std::size_t group) {
        const auto [level, row, ignored] = backs[starts[group]];
        const std::span<const std::uint32_t> old = links_of(row, level);
        std::vector<std::uint32_t> links(old.begin(), old.end());
        for (std::size_t i = starts[group]; i < starts[group + 1]; ++i) {
            const std::uint32_t more = std::get<2>(backs[i]);
            if (std::ranges::find(old, more) == old.end()) { // Two newcomers may choose each other.
                links.push_back(more);
            }
        }
        if (links.size() > most_links(level)) {
            links = choose_links(sketches_, all, row, links, most_links(level));
        }
        set_links(row, level, links);
    });
}

Proposals HnswStructure::find(const HeadRows& all, const CoarseQuery& query) const {
    if (entry_ == kNoLink) {
        return {};
    }
    HeadScorer scorer(all, query.tables, query.terms);
    std::size_t level = top_;
    const std::uint32_t at = descend(scorer, 0, level);
    GraphWalk search(scorer, rows_, query.beam, query.accepts, &duplicates_);
    const auto links = [&](std::uint32_t row) { return lowest_.of(row); };
    Proposals proposals;
    for (const Scored& found : search.run(at, links)) {
        proposals.rows.push_back(found.row);
    }
    proposals.scored = scorer.scored();
    return proposals;
}

void HnswStructure::clear() {
    HnswStructure empty(links_);
    empty.sketches_ = std::move(sketches_);
    *this = std::move(empty);
}

void HnswStructure::compact(const HeadRows& all, std::span<const std::uint32_t> numbers) {
    if (rows_ == 0) {
        return;
    }
    const std::size_t dropped = numbers.size() - all.rows();
    if (dropped > numbers.size() / kRebuildShare) {
        clear();
        add(all);
        return;
    }
    if (sketches_.empty()) {
        sketches_ = HeadSketches(*all.compressor, all.heads.cols());
    }
    HnswStructure next = renumbered(all, numbers);
    next.sketches_ = std::move(sketches_);
    *this = std::move(next);
}

/// Copies the graph under new numbers. Nodes that linked to a dropped one choose anew among what is
/// left of their links and of the dropped one's (Singh et al., FreshDiskANN, arXiv:2105.09613).
HnswStructure HnswStructure::renumbered(
    const HeadRows& all, std::span<const std::uint32_t> numbers) const {
    HnswStructure next(links_);
    // What becomes of each node: of a dropped one, the first row that is left of those with its
    // head.
    std::vector<std::uint32_t> at(
        numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(rows_));
    next.rows_ = rows_ - static_cast<std::size_t>(std::ranges::count(at, kDropped));
    for (const auto& [node, rows] : duplicates_) {
        std::vector<std::uint32_t> left;
        for (const std::uint32_t row : rows) {
            if (numbers[row] != kDropped) {
                left.push_back(numbers[row]);
            }
            at[row] = kDropped; // It is no node.
        }
        if (numbers[node] == kDropped && !left.empty()) {
            at[node] = left.front();
            left.erase(left.begin());
        }
        if (!left.empty()) {
            next.duplicates_[at[node]] = std::move(left);
        }
    }
    next.lowest_.grow(next.rows_);
    for (const Tower& tower : towers_) {
        if (at[tower.row] != kDropped) {
            next.towers_.push_back(
                {at[tower.row], static_cast<std::uint32_t>(next.upper_.nodes()), tower.levels});
            next.upper_.grow(next.upper_.nodes() + tower.levels);
        }
    }
    std::ranges::sort(next.towers_, {}, &Tower::row);
    const auto renumber = [&](std::uint32_t row, std::size_t level) {
        std::vector<std::uint32_t> links;
        bool lost = false;
        for (const std::uint32_t linked : links_of(row, level)) {
            if (at[linked] != kDropped) {
                links.push_back(at[linked]);
                continue;
            }
            lost = true;
            for (const std::uint32_t further : links_of(linked, level)) {
                if (at[further] != kDropped) {
                    links.push_back(at[further]);
                }
            }
        }
        if (lost) {
            links = choose_links(sketches_, all, at[row], links, most_links(level));
        }
        next.set_links(at[row], level, links);
    };
    for_each_in_parallel(rows_, [&](std::size_t i) {
        if (at[i] != kDropped) {
            renumber(static_cast<std::uint32_t>(i), 0);
        }
    });
    for (const Tower& tower : towers_) {
        for (std::size_t level = 1; level <= tower.levels && at[tower.row] != kDropped; ++level) {
            renumber(tower.row, level);
        }
    }
    next.raise_entry();
    return next;
}

/// Enters a graph that has no entry yet: by the first row of the highest level.
void HnswStructure::raise_entry() {
    const auto highest = std::ranges::max_element(towers_, {}, &Tower::levels);
    if (highest != towers_.end()) {
        entry_ = highest->row;
        top_ = highest->levels;
        return;
    }
    std::vector<bool> is_node(rows_, true);
    for (const auto& [node, rows] : duplicates_) {
        for (const std::uint32_t row : rows) {
            is_node[row] = false;
        }
    }
    const auto first = std::ranges::find(is_node, true);
    if (first != is_node.end()) {
        entry_ = static_cast<std::uint32_t>(first - is_node.begin());
    }
}

std::size_t HnswStructure::bytes() const noexcept {
    return (lowest_.slots().size() + upper_.slots().size()) * sizeof(std::uint32_t) +
           towers_.size() * sizeof(Tower) + sketches_.bytes() + bytes_of(duplicates_);
}

void HnswStructure::save(ByteWriter& out) const {
    out.number(static_cast<std::uint64_t>(rows_));
    write_links(out, lowest_);
    out.number(static_cast<std::uint64_t>(towers_.size()));
    for (const Tower& tower : towers_) {
        out.number(tower.row);
        out.number(static_cast<std::uint8_t>(tower.levels));
    }
    // Nodes lie in the order of towers, which renumbering may have changed.
    LinkTable upper(links_);
    for (const Tower& tower : towers_) {
        for (std::size_t level = 0; level < tower.levels; ++level) {
            upper.grow(upper.nodes() + 1);
            upper.set(upper.nodes() - 1, upper_.of(tower.first + level));
        }
    }
    write_links(out, upper);
    write_duplicates(out, duplicates_);
}

void HnswStructure::restore(ByteReader& in, std::size_t rows) {
    HnswStructure read(links_);
    read.rows_ = in.number<std::uint64_t>();
    in.require(read.rows_ <= rows, "graph of ", read.rows_, " rows, of ", rows);
    read.lowest_ = read_links(in, read.rows_, 2 * links_, read.rows_);
    const auto towers = in.number<std::uint64_t>();
    in.require(towers <= read.rows_, towers, " rows of higher levels, of ", read.rows_);
    std::size_t nodes = 0;
    for (std::uint64_t i = 0; i < towers; ++i) {
        Tower tower{};
        tower.row = in.number<std::uint32_t>();
        tower.levels = in.number<std::uint8_t>();
        tower.first = static_cast<std::uint32_t>(nodes);
        in.require(
            tower.row < read.rows_ && tower.levels >= 1 && tower.levels <= kMostLevel &&
                (i == 0 || tower.row > read.towers_.back().row),
            "row ", tower.row, " of level ", tower.levels);
        nodes += tower.levels;
        read.towers_.push_back(tower);
    }
    read.upper_ = read_links(in, nodes, links_, read.rows_);
    read.duplicates_ = read_duplicates(in, read.rows_);
    read.raise_entry();
    *this = std::move(read);
}

} // namespace arfc
