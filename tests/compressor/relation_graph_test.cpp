#include "relation_graph.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace arfc {
namespace {

torch::Tensor matrix(const std::vector<float>& values, std::int64_t rows) {
    return torch::tensor(values).reshape({rows, -1});
}

/// Rows on a line: 0, 1, 3.
torch::Tensor line() {
    return matrix({0.0F, 1.0F, 3.0F}, 3);
}

/// Neighbours of the first two of them, the farthest last.
torch::Tensor neighbours_on_line() {
    return torch::tensor({1, 2, 0, 2}, torch::kInt64).reshape({2, 2});
}

float entry(const torch::Tensor& tensor, std::int64_t row, std::int64_t column) {
    return tensor[row][column].item<float>();
}

TEST(RelationGraph, ScalesDistancesByThatOfTheFarthestNeighbour) {
    RelationGraph graph(Metric::kL2);
    EXPECT_FLOAT_EQ(entry(graph.similarities(line(), line()), 1, 2), 2.0F * 3.0F - 9.0F);
    graph.fit_scale(line(), neighbours_on_line());
    const float scale = 0.2F / ((9.0F + 4.0F) / 2.0F);
    const torch::Tensor found = graph.similarities(line(), line());
    EXPECT_FLOAT_EQ(entry(found, 1, 2), scale * (2.0F * 3.0F - 9.0F));
    EXPECT_FLOAT_EQ(entry(found, 2, 1), scale * (2.0F * 3.0F - 1.0F));
    EXPECT_TRUE(graph.scores(line(), line()).equal(found)) << "length counts";
}

TEST(RelationGraph, ScalesProductsByTheSquareOfALength) {
    RelationGraph graph(Metric::kInnerProduct);
    graph.fit_scale(line(), neighbours_on_line());
    EXPECT_FLOAT_EQ(entry(graph.similarities(line(), line()), 1, 2), 3.0F / ((0.0F + 1.0F) / 2.0F));
    EXPECT_FLOAT_EQ(entry(graph.scores(line(), line()), 1, 2), 6.0F);
}

TEST(RelationGraph, ScalesNeitherCosinesNorRowsThatAreAllAlike) {
    RelationGraph cosine(Metric::kCosine);
    cosine.fit_scale(line(), neighbours_on_line());
    EXPECT_FLOAT_EQ(entry(cosine.similarities(line(), line()), 1, 2), 3.0F);
    RelationGraph same(Metric::kL2);
    same.fit_scale(torch::ones({3, 1}), neighbours_on_line());
    EXPECT_FLOAT_EQ(entry(same.similarities(line(), line()), 1, 2), -3.0F);
}

TEST(RelationGraph, ScoresOfCosinesAreThoseOfDirections) {
    const RelationGraph graph(Metric::kCosine);
    const torch::Tensor decoded = matrix({3.0F, 4.0F, 0.0F, 0.0F}, 2);
    const torch::Tensor found = graph.scores(matrix({1.0F, 0.0F}, 1), decoded);
    EXPECT_FLOAT_EQ(entry(found, 0, 0), 0.6F);
    EXPECT_EQ(entry(found, 0, 1), 0.0F) << "of what has no direction";
}

TEST(RelationGraph, EdgesAreASoftmaxOverOthers) {
    const torch::Tensor itself = matrix({0.0F, 0.0F, 1.0F}, 1).to(torch::kBool);
    const torch::Tensor edges = RelationGraph::edges(matrix({0.1F, 0.2F, 0.9F}, 1), itself);
    const float sum = std::exp(2.0F) + std::exp(4.0F);
    EXPECT_NEAR(entry(edges, 0, 0), 2.0F - std::log(sum), 1e-5);
    EXPECT_NEAR(entry(edges, 0, 1), 4.0F - std::log(sum), 1e-5);
    EXPECT_LT(entry(edges, 0, 2), -9000.0F);
}

TEST(RelationGraph, FindsTheNearestOthersInEveryBlock) {
    constexpr std::int64_t kRows = 600; // More than a block.
    const torch::Tensor rows = torch::arange(kRows, torch::kFloat32).unsqueeze(1);
    const RelationGraph graph(Metric::kL2);
    int asked = 0;
    const torch::Tensor near = graph.nearest_rows(rows, [&] { return ++asked < 9; });
    ASSERT_EQ(near.sizes(), (std::vector<std::int64_t>{kRows, kNeighbours}));
    EXPECT_EQ(asked, 2);
    const auto of = [&](std::int64_t row) {
        const auto* const first = near.data_ptr<std::int64_t>() + row * kNeighbours;
        return std::vector<std::int64_t>(first, first + kNeighbours);
    };
    std::vector<std::int64_t> ahead(kNeighbours);
    std::iota(ahead.begin(), ahead.end(), 1);
    EXPECT_EQ(of(0), ahead);
    for (const std::int64_t row : {100, 512, 550}) {
        std::set<std::int64_t> around;
        for (std::int64_t step = 1; step <= kNeighbours / 2; ++step) {
            around.insert({row - step, row + step});
        }
        const std::vector<std::int64_t> found = of(row);
        EXPECT_EQ(std::set<std::int64_t>(found.begin(), found.end()), around) << row;
    }
    EXPECT_EQ(graph.nearest_rows(rows, [] { return false; }).size(0), 512) << "some will do";
}

/// Query i is not row i: the nearest row may be that of its number.
TEST(RelationGraph, FindsTheNearestRowsToQueriesInEveryBlock) {
    constexpr std::int64_t kRows = 100;
    constexpr std::int64_t kQueries = 600;
    const torch::Tensor rows = torch::arange(kRows, torch::kFloat32).unsqueeze(1);
    const torch::Tensor queries = torch::full({kQueries, 1}, -1.0F);
    queries[3][0] = 3.125F;
    queries[599][0] = 1000.0F;
    const RelationGraph graph(Metric::kL2);
    const torch::Tensor near = graph.nearest_rows(queries, rows, [] { return true; });
    ASSERT_EQ(near.sizes(), (std::vector<std::int64_t>{kQueries, kNeighbours}));
    EXPECT_EQ(near[0][0].item<std::int64_t>(), 0);
    EXPECT_EQ(near[0][kNeighbours - 1].item<std::int64_t>(), kNeighbours - 1);
    EXPECT_EQ(near[3][0].item<std::int64_t>(), 3);
    EXPECT_EQ(near[3][1].item<std::int64_t>(), 4);
    EXPECT_EQ(near[599][0].item<std::int64_t>(), kRows - 1);
    EXPECT_EQ(graph.nearest_rows(queries, rows, [] { return false; }).size(0), 512);
}

TEST(RelationGraph, CountsWhichOfTheBestOthersAreFound) {
    const torch::Tensor edges = torch::arange(12, torch::kFloat32).repeat({12, 1});
    const torch::Tensor best = best_others(edges);
    ASSERT_EQ(best.sizes(), (std::vector<std::int64_t>{12, kFound}));
    EXPECT_EQ(best[0][0].item<std::int64_t>(), 11);
    EXPECT_EQ(best[0][9].item<std::int64_t>(), 2);
    EXPECT_EQ(best[11][0].item<std::int64_t>(), 10) << "and not itself";
    EXPECT_EQ(best[11][9].item<std::int64_t>(), 1);
    EXPECT_DOUBLE_EQ(share_found(best, best), 1.0);
    // Five of a row's ten are others, and all of the other row's.
    const torch::Tensor truth = torch::arange(20, torch::kInt64).reshape({2, 10});
    const torch::Tensor found = torch::stack({truth[0] + 5, truth[1] - 10});
    EXPECT_DOUBLE_EQ(share_found(found, truth), 0.25);
}

TEST(RelationGraph, DrawsEveryRow) {
    std::mt19937_64 random(1);
    const torch::Tensor drawn = drawn_rows(random, 200, 7);
    ASSERT_EQ(drawn.size(0), 200);
    std::set<std::int64_t> seen;
    for (std::int64_t i = 0; i < 200; ++i) {
        seen.insert(drawn[i].item<std::int64_t>());
    }
    EXPECT_EQ(seen, (std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6}));
}

/// Beta-distributed: of the schedule's mean and a + b.
void expect_drawn(const PrefixSchedule& schedule, double share, double mean) {
    constexpr std::int64_t kLongest = 100000;
    constexpr int kDraws = 3000;
    std::mt19937_64 random(1);
    double sum = 0.0;
    double squares = 0.0;
    double count = 0.0;
    for (int i = 0; i < kDraws; ++i) {
        for (const std::int64_t length :
             drawn_lengths(random, schedule, share, 2 * kLongest, kLongest)) {
            ASSERT_GE(length, 1);
            ASSERT_LE(length, kLongest);
            if (length < kLongest) { // That is the one that is always there.
                const double part = static_cast<double>(length) / double{kLongest};
                sum += part;
                squares += part * part;
                ++count;
            }
        }
    }
    EXPECT_NEAR(count, 3.0 * kDraws, 5.0);
    EXPECT_NEAR(sum / count, mean, 0.01) << share;
    const double variance = squares / count - std::pow(sum / count, 2.0);
    EXPECT_NEAR(variance, mean * (1.0 - mean) / (schedule.concentration + 1.0), 0.003) << share;
}

TEST(RelationGraph, DrawsLongPrefixesAtFirstAndShortOnesAtLast) {
    const PrefixSchedule usual;
    expect_drawn(usual, 0.0, 0.75);
    expect_drawn(usual, 0.5, 0.5);
    expect_drawn(usual, 1.0, 0.25);
    std::mt19937_64 random(1);
    EXPECT_TRUE(drawn_lengths(random, usual, 0.0, 8, 100000).contains(8));
    EXPECT_EQ(drawn_lengths(random, usual, 0.0, 8, 1), std::set<std::int64_t>{1});
}

TEST(RelationGraph, DrawsPrefixesByTheSchedule) {
    const PrefixSchedule turned{.first_mean = 0.2, .last_mean = 0.6, .concentration = 9.0};
    expect_drawn(turned, 0.0, 0.2);
    expect_drawn(turned, 0.25, 0.3);
    expect_drawn(turned, 1.0, 0.6);
}

} // namespace
} // namespace arfc
