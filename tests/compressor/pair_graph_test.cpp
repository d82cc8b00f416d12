#include "pair_graph.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 3;

/// Pairs of the rows of a table, by their places in it.
struct Pairs {
    std::vector<float> table;
    std::vector<float> queries;
    std::vector<float> relevant;

    Pairs(std::size_t rows, const std::vector<std::pair<std::size_t, std::size_t>>& places)
        : table(test::random_rows(rows, kDim)) {
        for (const auto& [query, row] : places) {
            queries.insert(queries.end(), at(query), at(query) + kDim);
            relevant.insert(relevant.end(), at(row), at(row) + kDim);
        }
    }
    [[nodiscard]] const float* at(std::size_t row) const { return table.data() + row * kDim; }
    [[nodiscard]] PairGraph graph() const {
        return {test::view(queries, kDim), test::view(relevant, kDim)};
    }
};

/// Pairs of adjacent rows within so many kinds of so many rows each.
std::vector<std::pair<std::size_t, std::size_t>> chains(std::size_t kinds, std::size_t rows) {
    std::vector<std::pair<std::size_t, std::size_t>> places;
    for (std::size_t i = 0; i < kinds * rows; ++i) {
        if (i % rows + 1 < rows) {
            places.emplace_back(i, i + 1);
        }
    }
    return places;
}

TEST(PairGraph, EqualRowsAreOneNodeAndConnectedOnesOneKind) {
    // 0-1-2 through a row that is a query, too; 3-4 and 5-4 through a shared row; 6 alone.
    const Pairs pairs(8, {{0, 1}, {1, 2}, {3, 4}, {5, 4}, {0, 1}, {6, 6}});
    const PairGraph graph = pairs.graph();
    EXPECT_EQ(graph.nodes(), 7U);
    EXPECT_EQ(graph.pairs().size(), 6U);
    ASSERT_TRUE(graph.has_kinds());
    const auto node = [&](std::size_t row) { return graph.find(pairs.at(row)).value(); };
    EXPECT_FALSE(graph.find(pairs.at(7)));
    EXPECT_EQ(graph.kind(node(0)), graph.kind(node(2)));
    EXPECT_EQ(graph.kind(node(3)), graph.kind(node(5)));
    EXPECT_NE(graph.kind(node(0)), graph.kind(node(3)));
    EXPECT_NE(graph.kind(node(6)), graph.kind(node(3)));
    EXPECT_TRUE(graph.related(node(2), node(0)));
    EXPECT_FALSE(graph.related(node(2), node(4)));
    EXPECT_EQ(graph.queries().size(), 5U); // 0, 1, 3, 5, 6
    EXPECT_EQ(graph.rows().size(), 4U);    // 1, 2, 4, 6
}

TEST(PairGraph, WhatIsConnectedAltogetherHasNoKinds) {
    const Pairs pairs(20, chains(1, 20));
    const PairGraph graph = pairs.graph();
    EXPECT_FALSE(graph.has_kinds());
    const auto node = [&](std::size_t row) { return graph.find(pairs.at(row)).value(); };
    EXPECT_TRUE(graph.related(node(3), node(4)));
    EXPECT_FALSE(graph.related(node(4), node(3))) << "a row is no query of its query";
    EXPECT_FALSE(graph.related(node(3), node(5)));
}

TEST(PairGraph, HoldsOutWholeKindsAndQueriesOfOthers) {
    const Pairs pairs(140, chains(14, 10));
    const PairGraph graph = pairs.graph();
    std::mt19937_64 random(5);
    const HeldOutNodes held_out = hold_out(graph, random);
    EXPECT_EQ(std::ranges::count(held_out.is_unseen, true), 2 * 10);
    EXPECT_EQ(held_out.unseen.size(), 2U * 9);
    EXPECT_EQ(held_out.seen.size(), 14U * 9 / 5);
    EXPECT_EQ(
        std::ranges::count(held_out.is_hidden, true),
        20 + static_cast<std::ptrdiff_t>(held_out.seen.size()));
    for (const std::size_t query : held_out.seen) {
        EXPECT_FALSE(held_out.is_unseen[query]);
    }
    for (std::size_t node = 0; node < graph.nodes(); ++node) {
        EXPECT_EQ(held_out.is_unseen[node], held_out.is_unseen[graph.kind(node)]);
    }
}

TEST(PairGraph, SparesNoKindOfFewAndNoQueryOfPairsThatStandAlone) {
    std::mt19937_64 random(5);
    const Pairs few(40, chains(4, 10));
    const HeldOutNodes of_few = hold_out(few.graph(), random);
    EXPECT_TRUE(of_few.unseen.empty());
    EXPECT_EQ(of_few.seen.size(), 4U * 9 / 5);
    const Pairs alone(100, chains(50, 2));
    const HeldOutNodes of_alone = hold_out(alone.graph(), random);
    EXPECT_TRUE(of_alone.seen.empty());
    EXPECT_EQ(of_alone.unseen.size(), 7U);
}

TEST(PairGraph, EdgesAreFoundInWhateverOrderPairsCome) {
    // A star: all is connected. A click of 0 on row 9 came last.
    const Pairs pairs(10, {{5, 1}, {3, 1}, {0, 1}, {4, 1}, {2, 1}, {6, 1}, {3, 8}, {0, 9}, {5, 1}});
    const PairGraph graph = pairs.graph();
    ASSERT_FALSE(graph.has_kinds());
    const auto node = [&](std::size_t row) { return graph.find(pairs.at(row)).value(); };
    for (const std::size_t query : {0, 2, 3, 4, 5, 6}) {
        EXPECT_TRUE(graph.related(node(query), node(1))) << query;
        EXPECT_EQ(graph.related(node(query), node(9)), query == 0) << query;
    }
    const std::vector<std::size_t> queries = graph.queries();
    EXPECT_EQ(queries.size(), 6U);
    EXPECT_TRUE(std::ranges::is_sorted(queries));
    EXPECT_EQ(graph.rows(), (std::vector<std::size_t>{node(1), node(8), node(9)}));
}

TEST(PairGraph, AKindOfHalfOfAllIsStillOne) {
    EXPECT_TRUE(Pairs(20, chains(2, 10)).graph().has_kinds());
    const Pairs most(21, [] {
        auto places = chains(2, 10);
        places.emplace_back(9, 20); // Eleven of twenty-one.
        return places;
    }());
    EXPECT_FALSE(most.graph().has_kinds());
}

TEST(PairGraph, SparesOneKindOfFiveAndQueriesOfThreeRows) {
    std::mt19937_64 random(5);
    const Pairs pairs(15, chains(5, 3));
    const HeldOutNodes held_out = hold_out(pairs.graph(), random);
    EXPECT_EQ(held_out.unseen.size(), 2U); // Its queries.
    EXPECT_EQ(std::ranges::count(held_out.is_unseen, true), 3);
    EXPECT_EQ(held_out.seen.size(), 2U); // A fifth of ten.
}

TEST(PairGraph, SparesAtMostAThousandQueriesOfEach) {
    std::mt19937_64 random(5);
    const Pairs pairs(12000, chains(1200, 10));
    const HeldOutNodes held_out = hold_out(pairs.graph(), random);
    EXPECT_EQ(std::ranges::count(held_out.is_unseen, true), 1200 / 7 * 10);
    EXPECT_EQ(held_out.unseen.size(), 1000U);
    EXPECT_EQ(held_out.seen.size(), 1000U);
}

TEST(PairGraph, DrawsWhatItHoldsOut) {
    const Pairs pairs(140, chains(14, 10));
    const PairGraph graph = pairs.graph();
    std::mt19937_64 random(5);
    const HeldOutNodes first = hold_out(graph, random);
    const HeldOutNodes second = hold_out(graph, random);
    EXPECT_NE(first.is_unseen, second.is_unseen);
    EXPECT_NE(first.seen, second.seen);
}

} // namespace
} // namespace arfc
