#include "nsg_structure.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "arfc/base/sha256.h"
#include "byte_io.h"
#include "hnsw_structure.h"
#include "line_model.h"

namespace arfc {
namespace {

using test::Line;
using test::read_graph;
using test::saved;
using test::SavedGraph;

NsgStructure graph_of(const Line& line, std::size_t links) {
    NsgStructure graph(links);
    graph.add(line.all());
    return graph;
}

Line random_line() {
    Line line;
    line.add_random(1300, 200, 16, 5);
    return line;
}

/// Rows that a walk which keeps everything in view proposes.
std::size_t reached(const Line& line, const NsgStructure& graph) {
    return line.find(graph, 3.0F, line.size()).rows.size();
}

TEST(NsgStructure, LinksTheSameRowsOnEveryMachine) {
    const Line line = random_line();
    const struct {
        std::size_t links;
        std::string digest;
        std::size_t scored;
    } cases[] = {
        {4, "b6bce2c14c0f5a9e83f235ff0c9df37e718be0531c5faadc7027dd59715a9b0d", 4325},
        {8, "3253ca8e695ce48a54112f1c90ec78edd59a05ad9171c79fe34d842805f17311", 4325},
    };
    for (const auto& c : cases) {
        const NsgStructure graph = graph_of(line, c.links);
        EXPECT_EQ(sha256_hex(saved(graph)), c.digest) << c.links;
        std::size_t scored = 0;
        for (float at = 0.5F; at < 1600.0F; at += 100.0F) {
            const Proposals found = line.find(graph, at, 10);
            EXPECT_EQ(found.rows.front(), line.nearest(at, 1).front()) << c.links << " " << at;
            scored += found.scored;
        }
        EXPECT_EQ(scored, c.scored) << c.links;
        EXPECT_EQ(reached(line, graph), line.size()) << c.links;
        EXPECT_EQ(graph.expected_scored(10), 5 * c.links);
    }
}

TEST(NsgStructure, EntersInTheMiddle) {
    Line line;
    for (unsigned i = 0; i < 101; ++i) {
        line.add(7 * ((37 * i) % 101)); // 0, 7, ... 700, shuffled.
    }
    const SavedGraph file = read_graph(saved(graph_of(line, 8)), false);
    EXPECT_NEAR(line.position(file.entry), 350.0F, 0.0F);
}

TEST(NsgStructure, CountsItsBytes) {
    Line line;
    line.add_random(500, 128, 8, 3);
    NsgStructure graph = graph_of(line, 8);
    Duplicates duplicates;
    for (const auto& [row, node] : read_graph(saved(graph), false).duplicates) {
        duplicates[node].push_back(row);
    }
    EXPECT_GT(duplicates.size(), 0U);
    EXPECT_EQ(graph.bytes(), 500 * 8 * 4 + bytes_of(duplicates));
    graph.clear();
    EXPECT_EQ(graph.bytes(), 0U);
    EXPECT_EQ(graph.rows(), 0U);
    EXPECT_TRUE(line.find(graph, 5.0F, 3).rows.empty());
}

TEST(NsgStructure, CoversRowsOnceTheyAreMoreThanItCovers) {
    Line line;
    line.add_random(101, 128, 8, 3);
    NsgStructure graph(8);
    graph.add(line.first(50));
    graph.add(line.first(100));
    EXPECT_EQ(graph.rows(), 50U) << "as many as it covers";
    graph.add(line.all());
    EXPECT_EQ(graph.rows(), 101U);
    EXPECT_EQ(saved(graph), saved(graph_of(line, 8)));
}

TEST(NsgStructure, IsMadeAnewOfTheRowsThatAreLeft) {
    Line line = random_line();
    NsgStructure graph = graph_of(line, 8);
    std::vector<std::uint32_t> numbers = line.drop([](std::size_t row) { return row % 10 == 3; });
    graph.compact(line.all(), numbers);
    EXPECT_EQ(saved(graph), saved(graph_of(line, 8)));
    numbers = line.drop([](std::size_t row) { return row > 0; });
    graph.compact(line.all(), numbers);
    EXPECT_EQ(graph.rows(), 1U);
    EXPECT_EQ(line.find(graph, 1.0F, 2).rows, std::vector<std::uint32_t>{0});
    numbers = line.drop([](std::size_t) { return true; });
    graph.compact(line.all(), numbers);
    EXPECT_EQ(graph.rows(), 0U);
    EXPECT_TRUE(line.find(graph, 1.0F, 1).rows.empty());
}

} // namespace
} // namespace arfc
