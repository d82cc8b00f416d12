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
    line.add_random(1297, 200, 16, 5);
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
        {4, "e0d54d4aeb928b70edc65ec50d3c52ac07291b9469fa7eaf0a10a896366896b1", 4330},
        {8, "310a7693572a82ad63531d426b3bf86ef7c2cd2f080e6201fdff0263dea03a62", 4330},
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
    EXPECT_EQ(line.position(file.entry), 350.0F);
    Line few;
    for (const unsigned at : {1000, 1, 10, 20}) { // Their mean is 257.75.
        few.add(at);
    }
    EXPECT_EQ(read_graph(saved(graph_of(few, 8)), false).entry, 3U);
}

/// Rows of one place choose the same few of them, so that no row links to the others.
TEST(NsgStructure, LinksToRowsThatNoRowChose) {
    const struct {
        std::size_t links;
        std::string digest;
    } cases[] = {
        {4, "818c33282748a156962e01cc4735a4692051145596c5c80d0a93279b48a7f62a"},
        {8, "a05ff791306ba994efd6186cc6ef0bef5550269fa78cbcc99052f36e14cac9df"},
    };
    for (const auto& c : cases) {
        Line line;
        for (unsigned i = 0; i < 30; ++i) {
            line.add(i, 240 - 8 * i);
        }
        line.add_random(298, 60, 8, 4);
        line.add(500); // A head of its own, in the last block of rows alone.
        const NsgStructure graph = graph_of(line, c.links);
        EXPECT_EQ(reached(line, graph), line.size()) << c.links;
        EXPECT_EQ(sha256_hex(saved(graph)), c.digest) << c.links;
    }
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
