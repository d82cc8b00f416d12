#include "hnsw_structure.h"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "arfc/base/sha256.h"
#include "byte_io.h"
#include "expect_error.h"
#include "line_model.h"

namespace arfc {
namespace {

using test::Line;
using test::LineModel;
using test::read_graph;
using test::saved;
using test::SavedGraph;

constexpr std::size_t kSketchBytes = (LineModel::kTokens * kSymbols + 1) * sizeof(float);

HnswStructure graph_of(const Line& line, std::size_t links = 4) {
    HnswStructure graph(links);
    graph.add(line.all());
    return graph;
}

/// 2,000 rows, and then 60 beyond them that are inserted side by side: to the right of the one in
/// the middle lie more of them than a row looks at in its batch.
Line two_portions() {
    Line line;
    line.add_random(2000, 128, 16, 1);
    for (unsigned i = 0; i < 20; ++i) {
        line.add(1100 + 3 * i);
    }
    line.add(1500);
    for (unsigned i = 0; i < 39; ++i) {
        line.add(1600 + i);
    }
    return line;
}

HnswStructure graph_of_two_portions(const Line& line) {
    HnswStructure graph(4);
    graph.add(line.first(2000));
    graph.add(line.all());
    return graph;
}

/// How many rows walks to places all along a line score, and whether each proposes the nearest.
std::size_t scored_along(const Line& line, const CoarseStructure& graph, std::size_t beam) {
    std::size_t scored = 0;
    for (float at = 0.5F; at < 1700.0F; at += 25.0F) {
        const Proposals found = line.find(graph, at, beam);
        EXPECT_EQ(found.rows, line.nearest(at, beam)) << at;
        scored += found.scored;
    }
    return scored;
}

TEST(HnswStructure, HasLevelsThatFollowFromTheNumbersOfRows) {
    Line line;
    for (unsigned i = 0; i < 48; ++i) {
        line.add(5 * i);
    }
    EXPECT_EQ(
        read_graph(saved(graph_of(line, 2)), true).levels,
        (std::vector<std::size_t>{0, 0, 0, 3, 1, 1, 0, 1, 0, 0, 4, 1, 0, 0, 1, 0,
                                  1, 0, 3, 0, 2, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                  0, 2, 0, 1, 0, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 1}));
}

/// Files go on growing on other machines, so what is made of rows must not change.
TEST(HnswStructure, LinksTheSameRowsOnEveryMachine) {
    const Line line = two_portions();
    const HnswStructure graph = graph_of_two_portions(line);
    EXPECT_EQ(
        sha256_hex(saved(graph)),
        "b4db1c26850705bff91106b915ec6bee03c22544c324836938e16ab858796f3f");
    const SavedGraph file = read_graph(saved(graph), true);
    EXPECT_GT(file.duplicates.size(), 0U);
    for (const auto& [row, node] : file.duplicates) {
        EXPECT_EQ(line.position(row), line.position(node));
        EXPECT_TRUE(file.links[row].empty()) << "it stands beside a node";
        EXPECT_LT(node, row);
    }
    // The first is the nearest to the right; to the left none of the 32 rows of its batch that it
    // looks at lies, so that it chose one that was there before; and a row of its batch chose it.
    EXPECT_EQ(file.links[2020], (std::vector<std::uint32_t>{2021, 589, 2019}));
}

TEST(HnswStructure, FindsTheNearestRowsOfALineByAFewSteps) {
    const Line line = two_portions();
    const HnswStructure graph = graph_of_two_portions(line);
    EXPECT_EQ(scored_along(line, graph, 1), 2135U);
    EXPECT_EQ(scored_along(line, graph, 10), 2450U);
    EXPECT_EQ(graph.expected_scored(10), 40U);
    HnswStructure read(4);
    const std::string bytes = saved(graph);
    ByteReader in(bytes, "Graph");
    read.restore(in, line.size());
    EXPECT_EQ(scored_along(line, read, 1), 2135U) << "it begins elsewhere";
    EXPECT_EQ(read.bytes() + kSketchBytes, graph.bytes()) << "sketches are made when rows come";
}

TEST(HnswStructure, CountsItsBytes) {
    Line line;
    line.add_random(500, 128, 8, 3);
    HnswStructure graph = graph_of(line);
    const SavedGraph file = read_graph(saved(graph), true);
    std::size_t towers = 0;
    for (const std::size_t levels : file.levels) {
        towers += levels > 0 ? 1 : 0;
    }
    Duplicates duplicates;
    for (const auto& [row, node] : file.duplicates) {
        duplicates[node].push_back(row);
    }
    EXPECT_GT(duplicates.size(), 0U);
    EXPECT_EQ(
        graph.bytes(),
        (500 * 8 + file.upper.size() * 4) * 4 + towers * 12 + kSketchBytes + bytes_of(duplicates));
    graph.clear();
    EXPECT_EQ(graph.rows(), 0U);
    EXPECT_EQ(graph.bytes(), kSketchBytes) << "what follows from the model alone stays";
    EXPECT_TRUE(line.find(graph, 5.0F, 3).rows.empty());
    graph.add(line.all());
    EXPECT_EQ(saved(graph), saved(graph_of(line)));
    HnswStructure empty(4);
    empty.add(line.first(0));
    EXPECT_EQ(empty.bytes(), 0U) << "of no rows";
    empty.compact(line.first(0), {});
    EXPECT_EQ(empty.bytes(), 0U);
}

TEST(HnswStructure, BeginsAnewWhereRowsCouldNotBeAdded) {
    Line line;
    line.add_random(300, 128, 8, 3);
    HnswStructure graph(4);
    graph.add(line.first(200));
    line.model->tables_left = 5;
    ARFC_EXPECT_ERROR(graph.add(line.all()), ErrorKind::kResourceExhausted, "No table is left");
    EXPECT_EQ(graph.rows(), 0U);
    line.model->tables_left = 1'000'000;
    graph.add(line.all());
    EXPECT_EQ(saved(graph), saved(graph_of(line)));
}

TEST(HnswStructure, IsLinkedAnewWhereMoreThanAQuarterOfItsRowsGo) {
    for (const std::size_t more : {0, 1}) {
        Line line = two_portions();
        line.add_random(40, 128, 16, 9);
        HnswStructure graph = graph_of(line); // Of 2,100 rows.
        const std::vector<std::uint32_t> numbers =
            line.drop([&](std::size_t row) { return row % 4 == 1 || (more == 1 && row == 2); });
        ASSERT_EQ(line.size(), 2100 - 525 - more);
        graph.compact(line.all(), numbers);
        EXPECT_EQ(graph.rows(), line.size());
        EXPECT_EQ(saved(graph) == saved(graph_of(line)), more == 1);
    }
}

TEST(HnswStructure, IsRepairedTheSameOnEveryMachine) {
    Line line = two_portions();
    HnswStructure graph = graph_of_two_portions(line);
    const std::string bytes = saved(graph);
    HnswStructure read(4);
    ByteReader in(bytes, "Graph");
    read.restore(in, line.size());
    const std::vector<std::uint32_t> numbers =
        line.drop([&](std::size_t row) { return row % 5 == 0; });
    graph.compact(line.all(), numbers);
    EXPECT_EQ(
        sha256_hex(saved(graph)),
        "950c23d45515a975e601837f9a9bd480269030729053beb8b77c75f30c17636c");
    EXPECT_EQ(line.find(graph, 1000.0F, 10).scored, 51U);
    read.compact(line.all(), numbers);
    EXPECT_EQ(saved(read), saved(graph)) << "a graph from a file is repaired otherwise";
    EXPECT_EQ(read.bytes(), graph.bytes());
    HnswStructure again(4);
    const std::string repaired = saved(graph);
    ByteReader second(repaired, "Graph");
    again.restore(second, line.size());
    EXPECT_EQ(again.bytes() + kSketchBytes, graph.bytes()) << "sketches stay";
}

TEST(HnswStructure, LosesItsLastRows) {
    for (const unsigned count : {1, 5}) {
        Line line;
        for (unsigned i = 0; i < count; ++i) {
            line.add(7 * i + 1);
        }
        HnswStructure graph = graph_of(line);
        EXPECT_EQ(line.find(graph, 1.0F, 1).rows, std::vector<std::uint32_t>{0});
        const std::vector<std::uint32_t> numbers = line.drop([](std::size_t) { return true; });
        graph.compact(line.all(), numbers);
        EXPECT_EQ(graph.rows(), 0U);
        EXPECT_TRUE(line.find(graph, 1.0F, 1).rows.empty());
    }
}

/// Files name no entry where there are no higher levels: it is the first row that is a node.
TEST(HnswStructure, EntersByTheFirstNode) {
    Line line;
    for (const unsigned at : {30, 30, 50}) {
        line.add(at);
    }
    const auto read = [&](const std::vector<std::pair<std::uint32_t, std::uint32_t>>& duplicates) {
        ByteWriter out;
        out.number(std::uint64_t{3});
        const std::vector<std::uint16_t> counts = {0, 1, 1};
        out.array(std::span(counts));
        out.number(std::uint32_t{2});
        out.number(std::uint32_t{1});
        out.number(std::uint64_t{0}); // Towers.
        out.number(static_cast<std::uint64_t>(duplicates.size()));
        for (const auto& [row, node] : duplicates) {
            out.number(row);
            out.number(node);
        }
        HnswStructure graph(2);
        ByteReader in(out.bytes(), "Graph");
        graph.restore(in, 3);
        in.finish();
        return graph;
    };
    const Proposals found = line.find(read({{0, 1}}), 30.0F, 3);
    EXPECT_EQ(found.rows, (std::vector<std::uint32_t>{0, 1, 2}));
    EXPECT_EQ(found.scored, 2U + 1U); // The entry is scored again when the walk begins.
    EXPECT_TRUE(line.find(read({{0, 1}, {1, 0}, {2, 0}}), 30.0F, 3).rows.empty())
        << "each stands beside another";
}

} // namespace
} // namespace arfc
