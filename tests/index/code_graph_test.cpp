#include "code_graph.h"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <vector>

#include "line_model.h"

namespace arfc {
namespace {

using test::Line;
using test::LineModel;

using Rows = std::vector<std::uint32_t>;

Rows rows_of(const std::vector<Scored>& scored) {
    Rows rows;
    for (const Scored& one : scored) {
        rows.push_back(one.row);
    }
    return rows;
}

TEST(LinkTable, KeepsLinksFromTheFront) {
    LinkTable links(3);
    links.grow(2);
    EXPECT_EQ(links.nodes(), 2U);
    EXPECT_TRUE(links.of(1).empty());
    links.set(1, Rows{7, 8, 9});
    links.set(0, Rows{5});
    EXPECT_EQ(Rows(links.of(0).begin(), links.of(0).end()), Rows{5});
    EXPECT_EQ(Rows(links.of(1).begin(), links.of(1).end()), (Rows{7, 8, 9}));
    links.set(1, Rows{4});
    EXPECT_EQ(
        Rows(links.slots().begin(), links.slots().end()),
        (Rows{5, kNoLink, kNoLink, 4, kNoLink, kNoLink}));
}

/// A graph is most of what an index takes, so doubling it would be dear.
TEST(LinkTable, GrowsByAQuarterAndMovesSeldom) {
    LinkTable links(4);
    links.grow(100);
    std::vector<std::size_t> moved;
    for (std::size_t nodes = 101; nodes <= 400; ++nodes) {
        const std::uint32_t* const before = links.slots().data();
        links.grow(nodes);
        if (links.slots().data() != before) {
            moved.push_back(nodes);
        }
    }
    // Room for 400, 500, 625, 781, 976, 1220, 1525 and 1906 slots.
    EXPECT_EQ(moved, (std::vector<std::size_t>{101, 126, 157, 196, 245, 306, 382}));
}

/// Rows 0 to 9 of a line, each linked to the next and the last one.
class Walk : public testing::Test {
  protected:
    Walk() {
        for (unsigned at = 0; at < 10; ++at) {
            line_.add(10 * at);
            links_.push_back(at == 0 ? Rows{1} : at == 9 ? Rows{8} : Rows{at - 1, at + 1});
        }
        links_[0].push_back(9);
    }

    /// A walk from row 0 towards a place.
    std::vector<Scored> run(
        float at, std::size_t beam, const std::function<bool(std::uint32_t)>* accepts = nullptr,
        const Duplicates* duplicates = nullptr) {
        std::vector<float> tables(LineModel::kTokens * kSymbols);
        line_.model->query_tables({&at, 1, 1}, 0, {tables.data(), 1, tables.size()});
        const HeadRows all = line_.all();
        HeadScorer scorer(all, tables.data(), {.bias = 0.0F, .squared_norm = at * at});
        GraphWalk walk(scorer, line_.size(), beam, accepts, duplicates);
        met_.clear();
        walk.record(&met_);
        std::vector<Scored> found = walk.run(
            0, [&](std::uint32_t row) { return std::span<const std::uint32_t>(links_[row]); });
        scored_ = scorer.scored();
        return found;
    }

    Line line_;
    std::vector<Rows> links_;
    std::vector<Scored> met_;
    std::size_t scored_ = 0;
};

TEST_F(Walk, FindsTheBestAndScoresNoRowTwice) {
    const std::vector<Scored> found = run(42.0F, 3);
    EXPECT_EQ(rows_of(found), (Rows{4, 5, 3}));
    EXPECT_EQ(found[0].score, -4.0F);
    EXPECT_EQ(found[1].score, -64.0F);
    EXPECT_EQ(found[2].score, -144.0F);
    // From 0 to 1 and 9, on by the nearer of what is ahead, until the three best have no better
    // link.
    EXPECT_EQ(rows_of(met_), (Rows{0, 1, 9, 2, 3, 4, 5}));
    EXPECT_EQ(scored_, 8U);
    EXPECT_EQ(rows_of(run(42.0F, 20)), (Rows{4, 5, 3, 6, 2, 7, 1, 8, 0, 9}));
    EXPECT_EQ(scored_, 10U);
    EXPECT_EQ(rows_of(run(0.0F, 1)), Rows{0});
    EXPECT_EQ(scored_, 3U) << "it ends where no link leads nearer";
    EXPECT_EQ(rows_of(met_), Rows{0}) << "what is farther than all that is kept is not met";
    EXPECT_EQ(rows_of(run(88.0F, 1)), Rows{9});
    EXPECT_EQ(rows_of(met_), (Rows{0, 1, 9}));
}

TEST_F(Walk, PassesThroughRowsThatAreNotAccepted) {
    std::vector<std::uint32_t> asked;
    const std::function<bool(std::uint32_t)> is_odd = [&](std::uint32_t row) {
        asked.push_back(row);
        return row % 2 == 1;
    };
    EXPECT_EQ(rows_of(run(42.0F, 2, &is_odd)), (Rows{5, 3}));
    EXPECT_EQ(asked, (Rows{0, 1, 9, 2, 3, 4, 5}))
        << "a row farther than all that is kept need not be asked about";
}

TEST_F(Walk, KeepsDuplicatesWithTheRowThatStandsForThem) {
    line_.add(40);
    line_.add(40);
    links_.resize(line_.size());
    const Duplicates duplicates = {{4, {10, 11}}};
    EXPECT_EQ(rows_of(run(42.0F, 4, nullptr, &duplicates)), (Rows{4, 10, 11, 5}));
    EXPECT_EQ(rows_of(run(42.0F, 2, nullptr, &duplicates)), (Rows{4, 10}));
    EXPECT_EQ(scored_, 7U) << "what stands beside a row is not scored";
    const std::function<bool(std::uint32_t)> is_last = [](std::uint32_t row) { return row == 11; };
    EXPECT_EQ(rows_of(run(42.0F, 2, &is_last, &duplicates)), Rows{11});
    EXPECT_EQ(bytes_of(duplicates), sizeof(Duplicates::value_type) + 2 * 4);
    EXPECT_EQ(bytes_of({}), 0U);
}

/// More rows than one word tells apart.
TEST(GraphWalk, TellsManyRowsApart) {
    Line line;
    for (unsigned at = 0; at < 200; ++at) {
        line.add(at);
    }
    const float at = 199.0F;
    std::vector<float> tables(LineModel::kTokens * kSymbols);
    line.model->query_tables({&at, 1, 1}, 0, {tables.data(), 1, tables.size()});
    const HeadRows all = line.all();
    HeadScorer scorer(all, tables.data(), {.bias = 0.0F, .squared_norm = at * at});
    Rows everywhere(200);
    std::iota(everywhere.begin(), everywhere.end(), 0U);
    GraphWalk walk(scorer, line.size(), 200);
    const std::vector<Scored> found =
        walk.run(63, [&](std::uint32_t) { return std::span<const std::uint32_t>(everywhere); });
    EXPECT_EQ(scorer.scored(), 200U);
    ASSERT_EQ(found.size(), 200U);
    EXPECT_EQ(found.front().row, 199U);
    EXPECT_EQ(found.back().row, 0U);
}

/// On a line there are two directions, so a row has two links: the nearest on either side.
TEST(ChooseLinks, PointInDifferentDirections) {
    Line line;
    for (const unsigned at : {100, 90, 95, 120, 110, 101, 100, 300}) {
        line.add(at);
    }
    const HeadSketches sketches(*line.model, LineModel::kTokens);
    ASSERT_EQ(sketches.dim(), 1U);
    const auto links = [&](const Rows& near, std::size_t most) {
        return choose_links(sketches, line.all(), 0, near, most);
    };
    EXPECT_EQ(links({7, 3, 1, 2, 4}, 8), (Rows{2, 4}));
    EXPECT_EQ(links({7, 3, 1, 2, 4}, 1), Rows{2});
    EXPECT_EQ(links({7, 3}, 8), Rows{3}) << "300 is nearer to 120 than to 100";
    EXPECT_EQ(links({1, 4}, 8), (Rows{1, 4})) << "of rows as near the first comes first";
    EXPECT_EQ(links({4, 5, 1}, 8), (Rows{5, 1}));
    EXPECT_EQ(links({6, 4, 1}, 8), (Rows{6, 1, 4})) << "as near to a link as to the row";
}

} // namespace
} // namespace arfc
