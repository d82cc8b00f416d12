#include "nsg_structure.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "byte_io.h"
#include "hnsw_structure.h"
#include "link_io.h"
#include "parallel.h"

namespace arfc {
namespace {

constexpr std::size_t kConstructionBeam = 60;
constexpr std::size_t kPool = 300;        // Rows met on a walk that its end may link to.
constexpr std::size_t kMiddleRows = 1024; // Whose mean is the middle of all.
constexpr std::size_t kQueriesAtOnce = 8;

/// @returns the node nearest to the mean of some of the rows. (Of rows with the same head the first
/// one is the node, and it is what find() proposes first.)
std::uint32_t middle(const HeadRows& all, const HnswStructure& graph) {
    const std::size_t dim = all.compressor->dim();
    const std::size_t count = std::min(kMiddleRows, all.rows());
    std::vector<float> mean(dim);
    for (std::size_t i = 0; i < count; ++i) {
        const std::vector<float> row = decode_as_queries(all, i * all.rows() / count, 1);
        std::ranges::transform(mean, row, mean.begin(), [count](float sum, float value) {
            return sum + value / static_cast<float>(count);
        });
    }
    if (std::ranges::all_of(mean, [](float value) { return value == 0.0F; })) {
        mean[0] = 1.0F;
    }
    std::vector<float> tables(all.heads.cols() * kSymbols);
    all.compressor->query_tables({mean.data(), 1, dim}, 0, {tables.data(), 1, tables.size()});
    Compressor::QueryTerms terms{};
    all.compressor->query_terms({mean.data(), 1, dim}, {&terms, 1});
    return graph.find(all, {.values = mean, .tables = tables.data(), .terms = terms, .beam = 10})
        .rows.front();
}

} // namespace

void NsgStructure::add(const HeadRows& all) {
    if (all.rows() - rows() > rows()) {
        build(all);
    }
}

void NsgStructure::build(const HeadRows& all) {
    HnswStructure nearest(std::max<std::size_t>(links_.width() / 2, HnswStructure::kLeastLinks));
    nearest.add(all);
    NsgStructure next(links_.width());
    next.links_.grow(all.rows());
    next.entry_ = middle(all, nearest);
    next.duplicates_ = nearest.duplicates();
    next.link_along_walks(all, nearest.sketches(), nearest.lowest());
    next.link_back(all, nearest.sketches());
    next.connect(all, nearest.lowest());
    *this = std::move(next);
}

/// Links each row to rows that a walk towards it meets, in the directions that are not covered by
/// nearer ones. A row that only stands beside another has no links in `nearest` and gets none.
void NsgStructure::link_along_walks(
    const HeadRows& all, const HeadSketches& sketches, const LinkTable& nearest) {
    const auto walk = [&](std::uint32_t row, HeadScorer& scorer) {
        if (nearest.of(row).empty()) {
            return;
        }
        std::vector<Scored> met;
        GraphWalk search(scorer, rows(), kConstructionBeam);
        search.record(&met);
        (void)search.run(entry_, [&](std::uint32_t at) { return nearest.of(at); });
        std::ranges::sort(met, is_closer);
        std::vector<std::uint32_t> near(nearest.of(row).begin(), nearest.of(row).end());
        for (std::size_t i = 0; i < std::min(kPool, met.size()); ++i) {
            near.push_back(met[i].row);
        }
        links_.set(row, choose_links(sketches, all, row, near, links_.width()));
    };
    for_each_in_parallel((rows() + kQueriesAtOnce - 1) / kQueriesAtOnce, [&](std::size_t block) {
        const std::size_t first = block * kQueriesAtOnce;
        ask_about(all, first, std::min(kQueriesAtOnce, rows() - first), walk);
    });
}

void NsgStructure::link_back(const HeadRows& all, const HeadSketches& sketches) {
    std::vector<std::vector<std::uint32_t>> backs(rows());
    for (std::uint32_t row = 0; row < rows(); ++row) {
        for (const std::uint32_t linked : links_.of(row)) {
            backs[linked].push_back(row);
        }
    }
    for_each_in_parallel(rows(), [&](std::size_t row) {
        std::vector<std::uint32_t> links(links_.of(row).begin(), links_.of(row).end());
        for (const std::uint32_t back : backs[row]) {
            if (std::ranges::find(links, back) == links.end()) {
                links.push_back(back);
            }
        }
        if (links.size() > links_.width()) {
            links =
                choose_links(sketches, all, static_cast<std::uint32_t>(row), links, links_.width());
        }
        links_.set(row, links);
    });
}

/// Makes every node reachable from the entry: one that is not is linked to by the nearest node that
/// is and has room; or, where none near has, in place of a link that no node needs in order to be
/// reached. (Fu et al., algorithm 2, step iv.)
void NsgStructure::connect(const HeadRows& all, const LinkTable& nearest) {
    std::vector<std::uint32_t> parents(rows(), kNoLink);
    reach_from(entry_, entry_, parents);
    for (std::uint32_t row = 0; row < rows(); ++row) {
        if (parents[row] != kNoLink || nearest.of(row).empty()) {
            continue;
        }
        ask_about(all, row, 1, [&](std::uint32_t lost, HeadScorer& scorer) {
            const std::vector<Scored> found =
                GraphWalk(scorer, rows(), kConstructionBeam).run(entry_, [&](std::uint32_t at) {
                    return links_.of(at);
                });
            for (const bool has_room : {true, false}) {
                for (const Scored& near : found) {
                    if ((links_.of(near.row).size() < links_.width()) == has_room &&
                        link_to_lost(near.row, lost, parents)) {
                        return;
                    }
                }
            }
            // There are fewer such links than nodes, so some node has room for one more.
            for (std::uint32_t at = 0; at < rows(); ++at) {
                if (parents[at] != kNoLink && link_to_lost(at, lost, parents)) {
                    return;
                }
            }
        });
    }
}

/// @param parents  [rows] of each node the one that it was reached from; kNoLink: none.
/// @returns false where every link of `from` is the way to another node.
bool NsgStructure::link_to_lost(
    std::uint32_t from, std::uint32_t lost, std::span<std::uint32_t> parents) {
    std::vector<std::uint32_t> links(links_.of(from).begin(), links_.of(from).end());
    if (links.size() == links_.width()) {
        const auto farthest = std::ranges::find_if(
            links.rbegin(), links.rend(), [&](std::uint32_t to) { return parents[to] != from; });
        if (farthest == links.rend()) {
            return false;
        }
        links.erase(std::next(farthest).base());
    }
    links.push_back(lost);
    links_.set(from, links);
    reach_from(lost, from, parents);
    return true;
}

/// Notes how nodes are reached from `row` that were not reached before.
void NsgStructure::reach_from(
    std::uint32_t row, std::uint32_t parent, std::span<std::uint32_t> parents) const {
    std::vector<std::uint32_t> ahead{row};
    parents[row] = parent;
    while (!ahead.empty()) {
        const std::uint32_t at = ahead.back();
        ahead.pop_back();
        for (const std::uint32_t linked : links_.of(at)) {
            if (parents[linked] == kNoLink) {
                parents[linked] = at;
                ahead.push_back(linked);
            }
        }
    }
}

Proposals NsgStructure::find(const HeadRows& all, const CoarseQuery& query) const {
    if (entry_ == kNoLink) {
        return {};
    }
    HeadScorer scorer(all, query.tables, query.terms);
    GraphWalk walk(scorer, rows(), query.beam, query.accepts, &duplicates_);
    Proposals proposals;
    for (const Scored& found :
         walk.run(entry_, [&](std::uint32_t row) { return links_.of(row); })) {
        proposals.rows.push_back(found.row);
    }
    proposals.scored = scorer.scored();
    return proposals;
}

void NsgStructure::compact(const HeadRows& all, std::span<const std::uint32_t> /*numbers*/) {
    clear();
    if (all.rows() > 0) {
        build(all);
    }
}

std::size_t NsgStructure::bytes() const noexcept {
    return links_.slots().size() * sizeof(std::uint32_t) + bytes_of(duplicates_);
}

void NsgStructure::save(ByteWriter& out) const {
    out.number(static_cast<std::uint64_t>(rows()));
    out.number(entry_);
    write_links(out, links_);
    write_duplicates(out, duplicates_);
}

void NsgStructure::restore(ByteReader& in, std::size_t rows) {
    NsgStructure read(links_.width());
    const auto count = in.number<std::uint64_t>();
    in.require(count <= rows, "graph of ", count, " rows, of ", rows);
    read.entry_ = in.number<std::uint32_t>();
    in.require(
        count == 0 ? read.entry_ == kNoLink : read.entry_ < count, "entry ", read.entry_, " of ",
        count);
    read.links_ = read_links(in, count, links_.width(), count);
    read.duplicates_ = read_duplicates(in, count);
    *this = std::move(read);
}

} // namespace arfc
