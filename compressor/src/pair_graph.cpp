#include "pair_graph.h"

#include <algorithm>
#include <numeric>

namespace arfc {
namespace {

constexpr std::size_t kMinKinds = 5; // Of fewer none is spared.
constexpr std::size_t kKindsPerHidden = 7;
constexpr std::size_t kQueriesPerHidden = 5;
constexpr std::size_t kMinKindNodes = 3; // What is left of a kind without one query still trains.

void shuffle(std::vector<std::size_t>& values, std::mt19937_64& random) {
    for (std::size_t i = 0; i + 1 < values.size(); ++i) {
        std::swap(values[i], values[i + random() % (values.size() - i)]);
    }
}

} // namespace

PairGraph::PairGraph(MatrixView<const float> queries, MatrixView<const float> relevant)
    : width_(queries.cols()) {
    for (std::size_t i = 0; i < queries.rows(); ++i) {
        const std::size_t query = add(queries.row(i).data());
        pairs_.push_back({query, add(relevant.row(i).data())});
        edges_.emplace_back(pairs_.back().query, pairs_.back().row);
    }
    std::sort(edges_.begin(), edges_.end());
    edges_.erase(std::unique(edges_.begin(), edges_.end()), edges_.end());
    find_kinds();
}

std::size_t PairGraph::add(const float* row) {
    const auto [found, is_new] = known_.try_emplace(bytes(row), places_.size());
    if (is_new) {
        places_.push_back(row);
    }
    return found->second;
}

void PairGraph::find_kinds() {
    std::vector<std::size_t> parent(nodes());
    std::iota(parent.begin(), parent.end(), std::size_t{0});
    const auto root = [&](std::size_t node) {
        while (parent[node] != node) {
            parent[node] = parent[parent[node]];
            node = parent[node];
        }
        return node;
    };
    for (const auto& [query, row] : edges_) {
        const std::size_t a = root(query);
        const std::size_t b = root(row);
        parent[std::max(a, b)] = std::min(a, b);
    }
    std::vector<std::size_t> sizes(nodes(), 0);
    for (std::size_t node = 0; node < nodes(); ++node) {
        kinds_.push_back(root(node));
        ++sizes[kinds_.back()];
    }
    has_kinds_ = !sizes.empty() && 2 * *std::max_element(sizes.begin(), sizes.end()) <= nodes();
    if (!has_kinds_) {
        std::iota(kinds_.begin(), kinds_.end(), std::size_t{0});
    }
}

std::optional<std::size_t> PairGraph::find(const float* row) const {
    const auto found = known_.find(bytes(row));
    return found == known_.end() ? std::nullopt : std::optional(found->second);
}

bool PairGraph::related(std::size_t query, std::size_t row) const {
    return kinds_[query] == kinds_[row] ||
           (!has_kinds_ && std::binary_search(edges_.begin(), edges_.end(), std::pair(query, row)));
}

std::vector<std::size_t> PairGraph::queries() const {
    std::vector<std::size_t> all;
    for (const auto& [query, row] : edges_) {
        if (all.empty() || all.back() != query) { // They are in order.
            all.push_back(query);
        }
    }
    return all;
}

std::vector<std::size_t> PairGraph::rows() const {
    std::vector<bool> is_row(nodes(), false);
    for (const Pair& pair : pairs_) {
        is_row[pair.row] = true;
    }
    std::vector<std::size_t> all;
    for (std::size_t node = 0; node < nodes(); ++node) {
        if (is_row[node]) {
            all.push_back(node);
        }
    }
    return all;
}

HeldOutNodes hold_out(const PairGraph& graph, std::mt19937_64& random) {
    HeldOutNodes held_out;
    held_out.is_hidden.assign(graph.nodes(), false);
    held_out.is_unseen.assign(graph.nodes(), false);
    std::vector<std::size_t> sizes(graph.nodes(), 0);
    for (std::size_t node = 0; node < graph.nodes(); ++node) {
        ++sizes[graph.kind(node)];
    }
    std::vector<std::size_t> kinds;
    for (std::size_t kind = 0; kind < sizes.size(); ++kind) {
        if (sizes[kind] > 0) {
            kinds.push_back(kind);
        }
    }
    if (graph.has_kinds() && kinds.size() >= kMinKinds) {
        shuffle(kinds, random);
        kinds.resize(std::max<std::size_t>(1, kinds.size() / kKindsPerHidden));
        std::vector<bool> chosen(graph.nodes(), false);
        for (const std::size_t kind : kinds) {
            chosen[kind] = true;
        }
        for (std::size_t node = 0; node < graph.nodes(); ++node) {
            held_out.is_unseen[node] = chosen[graph.kind(node)];
        }
        held_out.is_hidden = held_out.is_unseen;
    }
    std::vector<std::size_t> queries = graph.queries();
    shuffle(queries, random);
    const std::size_t most = std::min(kMaxHeldOutQueries, queries.size() / kQueriesPerHidden);
    for (const std::size_t query : queries) {
        if (held_out.is_unseen[query]) {
            if (held_out.unseen.size() < kMaxHeldOutQueries) {
                held_out.unseen.push_back(query);
            }
        } else if (
            held_out.seen.size() < most &&
            (!graph.has_kinds() || sizes[graph.kind(query)] >= kMinKindNodes)) {
            held_out.seen.push_back(query);
            held_out.is_hidden[query] = true;
        }
    }
    return held_out;
}

} // namespace arfc
