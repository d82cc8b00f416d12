#include "landmarks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "arfc/compressor/compressor.h"
#include "beam_search.h"
#include "landmark_trainer.h"
#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 24;
constexpr std::size_t kTokens = 3;
constexpr std::size_t kRows = 30;
constexpr std::size_t kPoints = 70;
constexpr std::size_t kAsked = 5;
constexpr std::size_t kWidth = 16;

std::vector<float> unit_rows(std::size_t count, std::uint32_t seed) {
    std::vector<float> rows = test::random_rows(count, kDim, seed);
    for (std::size_t i = 0; i < count; ++i) {
        float squared = 0.0F;
        for (std::size_t j = 0; j < kDim; ++j) {
            squared += rows[i * kDim + j] * rows[i * kDim + j];
        }
        for (std::size_t j = 0; j < kDim; ++j) {
            rows[i * kDim + j] /= std::sqrt(squared);
        }
    }
    return rows;
}

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}
double squared_distance(const Vector& a, const Vector& b) {
    return dot(a, a) - 2.0 * dot(a, b) + dot(b, b);
}

/// A beam search with landmarks, and the same by hand, in double.
class LandmarksTest : public ::testing::TestWithParam<Metric> {
  protected:
    BeamSearch search(float error_weight) const {
        BeamSearch search(kDim);
        search.set_landmarks(
            Landmarks(test::view(points_, kDim), mean_, {GetParam(), kAsked, error_weight}));
        add_codebooks(search);
        return search;
    }
    void add_codebooks(BeamSearch& search) const {
        for (std::size_t t = 0; t < kTokens; ++t) {
            search.add_codebook({codebooks_.data() + t * kSymbols * kDim, kSymbols, kDim});
        }
    }
    BeamSearch::State run(const BeamSearch& search, std::size_t width = kWidth) const {
        std::vector<float> centred = rows_;
        for (std::size_t i = 0; i < centred.size(); ++i) {
            centred[i] -= mean_[i % kDim];
        }
        std::vector<float> scratch(BeamSearch::scratch_size(kRows));
        const std::vector<std::size_t> commits = {2, kTokens};
        return search.run(test::view(centred, kDim), width, commits, kTokens, scratch.data());
    }

    static Vector row_of(const std::vector<float>& rows, std::size_t i) {
        return {
            rows.begin() + static_cast<std::ptrdiff_t>(i * kDim),
            rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim)};
    }
    Vector decoded(const std::uint8_t* code, std::size_t tokens) const {
        Vector sum(mean_.begin(), mean_.end());
        for (std::size_t t = 0; t < tokens; ++t) {
            const Vector symbol = row_of(codebooks_, t * kSymbols + code[t]);
            std::transform(sum.begin(), sum.end(), symbol.begin(), sum.begin(), std::plus<>());
        }
        return sum;
    }
    double score(const Vector& query, const Vector& row) const {
        switch (GetParam()) {
            case Metric::kInnerProduct: return dot(query, row);
            case Metric::kL2: return dot(query, row) - 0.5 * dot(row, row);
            case Metric::kCosine: return dot(query, row) / std::sqrt(dot(row, row));
        }
        return 0.0;
    }
    /// What is to be small, by the definition.
    double judged(std::size_t row, const Vector& hypothesis, double weight) const {
        const Vector x = row_of(rows_, row);
        std::vector<Vector> points;
        for (std::size_t l = 0; l < kPoints; ++l) {
            points.push_back(row_of(points_, l));
        }
        const auto nearer = [&](const Vector& a, const Vector& b) {
            return GetParam() == Metric::kL2 ? squared_distance(a, x) < squared_distance(b, x)
                                             : dot(a, x) > dot(b, x);
        };
        std::sort(points.begin(), points.end(), nearer);
        double errors = 0.0;
        double spread = 0.0;
        for (std::size_t j = 0; j < kAsked; ++j) {
            errors += std::pow(score(points[j], hypothesis) - score(points[j], x), 2.0);
            spread += squared_distance(points[j], x);
        }
        Vector seen = hypothesis;
        if (GetParam() == Metric::kCosine) {
            const double length = std::sqrt(dot(seen, seen));
            std::transform(
                seen.begin(), seen.end(), seen.begin(), [&](double v) { return v / length; });
        }
        return (errors + weight * spread * squared_distance(seen, x)) / kAsked;
    }

    std::vector<float> rows_ = unit_rows(kRows, 1);
    std::vector<float> points_ = unit_rows(kPoints, 2);
    std::vector<float> mean_ = [] {
        std::vector<float> mean = test::random_rows(1, kDim, 3);
        std::transform(mean.begin(), mean.end(), mean.begin(), [](float v) { return 0.1F * v; });
        return mean;
    }();
    std::vector<float> codebooks_ = [] {
        std::vector<float> all = test::random_rows(kTokens * kSymbols, kDim, 4);
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i] *= 0.15F / static_cast<float>(1 + i / (kSymbols * kDim));
        }
        return all;
    }();
};

TEST_P(LandmarksTest, HypothesesAreInTheOrderOfTheirScoresErrors) {
    constexpr float kWeight = 0.1F;
    const BeamSearch::State first = [&] {
        BeamSearch one(kDim);
        one.set_landmarks(
            Landmarks(test::view(points_, kDim), mean_, {GetParam(), kAsked, kWeight}));
        one.add_codebook({codebooks_.data(), kSymbols, kDim});
        std::vector<float> centred = rows_;
        for (std::size_t i = 0; i < centred.size(); ++i) {
            centred[i] -= mean_[i % kDim];
        }
        std::vector<float> scratch(BeamSearch::scratch_size(kRows));
        BeamSearch::State state = BeamSearch::start(kRows, kWidth, 1);
        state.judged = one.judge(test::view(centred, kDim), kWidth);
        one.step(test::view(centred, kDim), 0, state, scratch.data());
        return state;
    }();
    for (std::size_t i = 0; i < kRows; ++i) {
        std::vector<double> values;
        for (std::size_t h = 0; h < kWidth; ++h) {
            values.push_back(judged(i, decoded(first.code(i, h), 1), kWeight));
            EXPECT_TRUE(h == 0 || values[h] >= values[h - 1] - 1e-5) << i << ", " << h;
        }
        // Whatever is proposed, the closest 16 symbols are: the best of those is a hypothesis.
        std::vector<std::pair<double, double>> all; // Distance, judged.
        for (std::size_t k = 0; k < kSymbols; ++k) {
            const auto symbol = static_cast<std::uint8_t>(k);
            const Vector sum = decoded(&symbol, 1);
            all.emplace_back(squared_distance(sum, row_of(rows_, i)), judged(i, sum, kWeight));
        }
        std::sort(all.begin(), all.end());
        double best = all[0].second;
        for (std::size_t k = 1; k < kWidth; ++k) {
            best = std::min(best, all[k].second);
        }
        EXPECT_LE(values[0], best + 1e-5);
    }
}

/// Every sixteenth symbol is far, so that the bound on what is proposed lets all others pass: more
/// than are judged together.
TEST_P(LandmarksTest, OfManyProposalsTheBestAreKept) {
    std::vector<float> symbols(codebooks_.begin(), codebooks_.begin() + kSymbols * kDim);
    for (std::size_t k = 0; k < kSymbols; k += 16) {
        for (std::size_t j = 0; j < kDim; ++j) {
            symbols[k * kDim + j] = 9.0F;
        }
    }
    BeamSearch one(kDim);
    one.set_landmarks(Landmarks(test::view(points_, kDim), mean_, {GetParam(), kAsked, 0.1F}));
    one.add_codebook({symbols.data(), kSymbols, kDim});
    std::copy(symbols.begin(), symbols.end(), codebooks_.begin()); // What decoded() sums.
    std::vector<float> centred = rows_;
    for (std::size_t i = 0; i < centred.size(); ++i) {
        centred[i] -= mean_[i % kDim];
    }
    std::vector<float> scratch(BeamSearch::scratch_size(kRows));
    const std::vector<std::size_t> commits = {1};
    for (const std::size_t width : {std::size_t{5}, kWidth}) {
        const BeamSearch::State state =
            one.run(test::view(centred, kDim), width, commits, 1, scratch.data());
        for (std::size_t i = 0; i < kRows; ++i) {
            std::vector<double> all;
            for (std::size_t k = 0; k < kSymbols; ++k) {
                const auto symbol = static_cast<std::uint8_t>(k);
                all.push_back(judged(i, decoded(&symbol, 1), 0.1));
            }
            std::sort(all.begin(), all.end());
            EXPECT_NEAR(judged(i, decoded(state.code(i, 0), 1), 0.1), all[0], 1e-5) << i;
            EXPECT_NEAR(judged(i, decoded(state.code(i, width - 1), 1), 0.1), all[width - 1], 1e-5)
                << i;
        }
    }
}

TEST_P(LandmarksTest, ScoresOfLandmarksErrLessThanOfTheClosestHypotheses) {
    BeamSearch plain(kDim);
    add_codebooks(plain);
    const BeamSearch::State closest = run(plain);
    const BeamSearch::State chosen = run(search(0.1F));
    double before = 0.0;
    double after = 0.0;
    double distance_before = 0.0;
    double distance_after = 0.0;
    for (std::size_t i = 0; i < kRows; ++i) {
        const Vector x = row_of(rows_, i);
        const Vector by_distance = decoded(closest.code(i, 0), kTokens);
        const Vector by_landmarks = decoded(chosen.code(i, 0), kTokens);
        before += judged(i, by_distance, 0.0);
        after += judged(i, by_landmarks, 0.0);
        distance_before += squared_distance(x, by_distance);
        distance_after += squared_distance(x, by_landmarks);
        // What a state keeps beside its codes stays true.
        EXPECT_NEAR(
            chosen.costs[i * kWidth] + squared_distance(x, Vector(mean_.begin(), mean_.end())),
            squared_distance(x, by_landmarks), 1e-3);
    }
    EXPECT_LT(after, 0.7 * before);
    EXPECT_GT(distance_after, distance_before); // The price.
}

TEST_P(LandmarksTest, ALargeErrorWeightChoosesTheClosest) {
    if (GetParam() == Metric::kCosine) {
        GTEST_SKIP() << "under cosine the error is that of rows of length one, which orders anew";
    }
    BeamSearch plain(kDim);
    add_codebooks(plain);
    const BeamSearch::State closest = run(plain);
    const BeamSearch::State chosen = run(search(1e5F));
    std::size_t same = 0;
    for (std::size_t i = 0; i < kRows; ++i) {
        same += std::equal(closest.code(i, 0), closest.code(i, 0) + kTokens, chosen.code(i, 0));
    }
    EXPECT_EQ(same, kRows);
}

TEST_P(LandmarksTest, ARowsCodeDependsOnTheRowAlone) {
    const BeamSearch with = search(0.1F);
    const BeamSearch::State together = run(with);
    for (const std::size_t i : {std::size_t{0}, std::size_t{7}, kRows - 1}) {
        std::vector<float> one(
            rows_.begin() + static_cast<std::ptrdiff_t>(i * kDim),
            rows_.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim));
        for (std::size_t j = 0; j < kDim; ++j) {
            one[j] -= mean_[j];
        }
        std::vector<float> scratch(BeamSearch::scratch_size(1));
        const std::vector<std::size_t> commits = {2, kTokens};
        const BeamSearch::State alone =
            with.run(test::view(one, kDim), kWidth, commits, kTokens, scratch.data());
        EXPECT_TRUE(std::equal(alone.code(0, 0), alone.code(0, 0) + kTokens, together.code(i, 0)));
    }
}

TEST_P(LandmarksTest, FewerPointsThanAreAskedForWillDo) {
    BeamSearch few(kDim);
    few.set_landmarks(Landmarks(
        MatrixView<const float>(points_.data(), 2, kDim), mean_, {GetParam(), kAsked, 0.1F}));
    add_codebooks(few);
    const BeamSearch::State state = run(few, 1);
    EXPECT_EQ(state.judged.asked, 2U);
    EXPECT_EQ(state.tokens, kTokens);
}

INSTANTIATE_TEST_SUITE_P(
    Metrics, LandmarksTest, ::testing::Values(Metric::kCosine, Metric::kL2, Metric::kInnerProduct),
    [](const auto& tested) { return std::string(to_string(tested.param)); });

TEST(LandmarkPointsTest, AreTheMiddlesOfWhatLiesTogether) {
    // Rows around three places, far from each other.
    const std::vector<float> places = {10, 0, 0, 10, -10, 0};
    std::vector<float> rows = test::random_rows(300, 2, 5);
    for (std::size_t i = 0; i < 300; ++i) {
        rows[i * 2] += places[i % 3 * 2];
        rows[i * 2 + 1] += places[i % 3 * 2 + 1];
    }
    const std::vector<float> points = landmark_points(test::view(rows, 2), 3, Metric::kL2);
    ASSERT_EQ(points.size(), 6U);
    for (std::size_t p = 0; p < 3; ++p) { // The first three rows are of three places.
        EXPECT_NEAR(points[p * 2], places[p * 2], 0.5);
        EXPECT_NEAR(points[p * 2 + 1], places[p * 2 + 1], 0.5);
    }
    EXPECT_EQ(points, landmark_points(test::view(rows, 2), 3, Metric::kL2));
}

/// Steps of Lloyd's algorithm by hand: rows 0 and 1 begin, 1 and 5 draw the second to 3, and it
/// loses 1 to the first.
TEST(LandmarkPointsTest, AreTheMeansOfTheRowsThatAreNearestToThem) {
    const std::vector<float> rows = {0.0F, 1.0F, 5.0F};
    EXPECT_EQ(
        landmark_points(test::view(rows, 1), 2, Metric::kL2), (std::vector<float>{0.5F, 5.0F}));
    const std::vector<float> groups = {1.0F, 10.0F, 1.25F, 10.5F, 0.75F, 9.5F};
    EXPECT_EQ(
        landmark_points(test::view(groups, 1), 2, Metric::kL2), (std::vector<float>{1.0F, 10.0F}));
    // More rows than are looked at together.
    std::vector<float> many;
    for (std::size_t i = 0; i < 5000; ++i) {
        many.push_back(i % 2 == 0 ? (i < 2500 ? 0.0F : 2.0F) : 16.0F);
    }
    const std::vector<float> points = landmark_points(test::view(many, 1), 2, Metric::kL2);
    EXPECT_FLOAT_EQ(points[0], 1.0F);
    EXPECT_FLOAT_EQ(points[1], 16.0F);
}

/// A landmark that is the row itself has no distance by which to weigh what is left of the row.
TEST(LandmarksAloneTest, OneWhereTheRowLiesAsksForItsScoreAlone) {
    const std::vector<float> point = {1.0F, 0.0F};
    const std::vector<float> mean = {0.0F, 0.0F};
    BeamSearch search(2);
    search.set_landmarks(
        Landmarks(test::view(point, 2), mean, {Metric::kInnerProduct, 1, 1000.0F}));
    std::vector<float> codebook(kSymbols * 2, 8.0F);
    const std::vector<float> closest = {0.75F, 0.0F};
    const std::vector<float> right = {1.0F, 0.5F}; // By the product with the landmark.
    std::copy(closest.begin(), closest.end(), codebook.begin());
    std::copy(right.begin(), right.end(), codebook.begin() + 2);
    search.add_codebook(test::view(codebook, 2));
    std::vector<float> scratch(BeamSearch::scratch_size(1));
    const std::vector<std::size_t> commits = {1};
    const BeamSearch::State state = search.run(test::view(point, 2), 1, commits, 1, scratch.data());
    EXPECT_EQ(state.code(0, 0)[0], 1);
}

TEST(LandmarkPointsTest, HaveLengthOneUnderCosine) {
    const std::vector<float> rows = unit_rows(400, 6);
    const std::vector<float> points = landmark_points(test::view(rows, kDim), 37, Metric::kCosine);
    for (std::size_t p = 0; p < 37; ++p) {
        double squared = 0.0;
        for (std::size_t j = 0; j < kDim; ++j) {
            squared += static_cast<double>(points[p * kDim + j]) *
                       static_cast<double>(points[p * kDim + j]);
        }
        EXPECT_NEAR(squared, 1.0, 1e-5);
    }
}

TEST(LandmarkPointsTest, AsManyAsRowsAreTheRows) {
    const std::vector<float> rows = unit_rows(20, 7);
    const std::vector<float> points = landmark_points(test::view(rows, kDim), 20, Metric::kL2);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_NEAR(points[i], rows[i], 1e-6);
    }
}

} // namespace
} // namespace arfc
