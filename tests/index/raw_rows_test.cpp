#include "raw_rows.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace arfc {
namespace {

using Rows = std::vector<std::uint64_t>;

/// Six rows of two floats; the third is twice the first, the fifth the second again.
RawRows some_rows(Metric metric) {
    RawRows rows(2, metric);
    const std::vector<float> first = {1, 0, 0, 2, 2, 0};
    const std::vector<float> more = {3, 4, 0, 2, -1, 0};
    rows.add({first.data(), 3, 2});
    rows.add({more.data(), 3, 2});
    return rows;
}

struct Answer {
    Rows rows;
    std::vector<float> scores;
};

Answer ask(
    const RawRows& rows, const std::vector<float>& query, std::size_t k,
    const std::function<bool(std::uint64_t)>& accepts = {}) {
    Answer answer;
    const std::vector<std::vector<RawRows::Found>> of_queries =
        rows.search({query.data(), 1, 2}, k, accepts);
    for (const RawRows::Found& found : of_queries.front()) {
        answer.rows.push_back(found.row);
        answer.scores.push_back(found.score);
    }
    return answer;
}

TEST(RawRows, RanksByItsMetricAndThenByRow) {
    const Answer product = ask(some_rows(Metric::kInnerProduct), {2, 1}, 9);
    EXPECT_EQ(product.rows, (Rows{3, 2, 0, 1, 4, 5}));
    EXPECT_EQ(product.scores, (std::vector<float>{10, 4, 2, 2, 2, -2}));
    const Answer distance = ask(some_rows(Metric::kL2), {1, 0}, 4);
    EXPECT_EQ(distance.rows, (Rows{0, 2, 5, 1}));
    EXPECT_EQ(distance.scores, (std::vector<float>{0, -1, -4, -5}));
    const Answer cosine = ask(some_rows(Metric::kCosine), {4, 0}, 6);
    EXPECT_EQ(cosine.rows, (Rows{0, 2, 3, 1, 4, 5}));
    const std::vector<float> expected = {1, 1, 0.6F, 0, 0, -1};
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(cosine.scores[i], expected[i], 1e-6F);
    }
}

TEST(RawRows, KeepsTheBestOfWhatIsLiveAndAccepted) {
    RawRows rows = some_rows(Metric::kInnerProduct);
    EXPECT_EQ(ask(rows, {0, 1}, 2).rows, (Rows{3, 1})) << "of equal rows the first";
    EXPECT_EQ(ask(rows, {0, -1}, 3).rows, (Rows{0, 2, 5}));
    rows.erase(Rows{3, 3, 77});
    rows.erase(Rows{3});
    EXPECT_EQ(rows.rows(), 6U);
    EXPECT_EQ(rows.live_rows(), 5U);
    EXPECT_FALSE(rows.is_live(3));
    EXPECT_FALSE(rows.is_live(6));
    EXPECT_TRUE(rows.is_live(5));
    EXPECT_EQ(ask(rows, {0, 1}, 2).rows, (Rows{1, 4}));
    EXPECT_EQ(
        ask(rows, {0, 1}, 9, [](std::uint64_t row) { return row % 2 == 1; }).rows, (Rows{1, 5}));
    EXPECT_EQ(rows.row(2)[0], 2.0F);
}

TEST(RawRows, CountsItsBytes) {
    for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
        RawRows rows(2, metric);
        const std::vector<float> values(32, 1.0F);
        rows.add({values.data(), 16, 2});
        const std::size_t lengths = metric == Metric::kCosine ? 16 : 0;
        EXPECT_EQ(rows.resident_bytes(), (32 + lengths) * 4 + 2);
    }
}

} // namespace
} // namespace arfc
