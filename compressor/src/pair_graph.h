#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "arfc/base/matrix_view.h"

namespace arfc {

/// Pairs as a graph: its nodes are the distinct rows (equal to the bit), its edges the pairs.
///
/// What is connected is of one kind: two questions that share an answer, all rows of a class. Where
/// most nodes are connected, as in a log of clicks, that says nothing, and every node is a kind of
/// its own. The matrices are kept by reference.
class PairGraph {
  public:
    struct Pair {
        std::size_t query; ///< A node,
        std::size_t row;   ///< and another.
    };

    /// @param queries   [p, d], @param relevant  [p, d]: the i-th of both are a pair.
    PairGraph(MatrixView<const float> queries, MatrixView<const float> relevant);

    [[nodiscard]] std::size_t nodes() const noexcept { return places_.size(); }
    [[nodiscard]] const std::vector<Pair>& pairs() const noexcept { return pairs_; }
    [[nodiscard]] const float* values(std::size_t node) const noexcept { return places_[node]; }
    [[nodiscard]] std::size_t kind(std::size_t node) const noexcept { return kinds_[node]; }
    /// Returns whether a kind can have more than one node.
    [[nodiscard]] bool has_kinds() const noexcept { return has_kinds_; }
    /// Returns the node of a row, if it is one.
    [[nodiscard]] std::optional<std::size_t> find(const float* row) const;

    /// Returns whether a row belongs with a query: they are of one kind, or a pair.
    [[nodiscard]] bool related(std::size_t query, std::size_t row) const;

    /// Returns each node that is a pair's query, and each that is a pair's row, ascending.
    [[nodiscard]] std::vector<std::size_t> queries() const;
    [[nodiscard]] std::vector<std::size_t> rows() const;

  private:
    std::size_t add(const float* row);
    void find_kinds();
    [[nodiscard]] std::string_view bytes(const float* row) const noexcept {
        return {reinterpret_cast<const char*>(row), width_ * sizeof(float)};
    }

    std::size_t width_;
    std::vector<const float*> places_; ///< Of each node's values.
    std::unordered_map<std::string_view, std::size_t> known_;
    std::vector<Pair> pairs_;
    std::vector<std::pair<std::size_t, std::size_t>> edges_; ///< (query, row), ascending, distinct.
    std::vector<std::size_t> kinds_;
    bool has_kinds_ = false;
};

/// What is kept from training to measure it.
struct HeldOutNodes {
    std::vector<std::size_t> seen;   ///< Queries of kinds that train.
    std::vector<std::size_t> unseen; ///< Queries of kinds that do not.
    std::vector<bool> is_hidden;     ///< [nodes]: in no pair that trains.
    std::vector<bool> is_unseen;     ///< [nodes]: of a kind that does not train.
};

/// Holds out a seventh of the kinds whole, where there are at least five, and a fifth of the
/// queries of the others, at most kMaxHeldOutQueries of each.
[[nodiscard]] HeldOutNodes hold_out(const PairGraph& graph, std::mt19937_64& random);

inline constexpr std::size_t kMaxHeldOutQueries = 1000;

} // namespace arfc
