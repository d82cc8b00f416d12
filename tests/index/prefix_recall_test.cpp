#include "prefix_recall.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "expect_error.h"
#include "trained_model.h"

namespace arfc {
namespace {

constexpr std::size_t kAsked = 40;
constexpr std::size_t kAnswers = 5;

PlanSample sample_of(const test::TrainedModel& model, bool with_originals) {
    return {
        .compressor = model.compressor,
        .codes = model.code_view(),
        .originals = with_originals ? model.row_view() : MatrixView<const float>(),
        .queries = kAsked,
        .k = kAnswers};
}

/// Rows [begin, end) that score best, the query's own left out.
std::set<std::uint64_t> best(
    std::span<const float> scores, std::size_t own, std::size_t begin, std::size_t end) {
    std::set<std::uint64_t> rows;
    for (const test::Ranked& ranked : test::brute_force(scores, kAnswers, [&](std::uint64_t row) {
             return row != own && row >= begin && row < end;
         })) {
        rows.insert(ranked.row);
    }
    return rows;
}

std::vector<float> exact_scores(const test::TrainedModel& model, Metric metric, std::size_t q) {
    std::vector<float> scores;
    const auto query = model.row_view().row(q);
    for (std::size_t row = 0; row < test::kRows; ++row) {
        double product = 0;
        double square = 0;
        double distance = 0;
        for (std::size_t j = 0; j < test::kDim; ++j) {
            const double x = model.row_view().row(row)[j];
            product += x * double{query[j]};
            square += x * x;
            distance += (x - double{query[j]}) * (x - double{query[j]});
        }
        scores.push_back(static_cast<float>(
            metric == Metric::kCosine         ? product / std::sqrt(square)
            : metric == Metric::kInnerProduct ? product
                                              : -distance));
    }
    return scores;
}

std::vector<float> code_scores(
    const test::TrainedModel& model, MatrixView<const float> query, std::size_t bytes) {
    const std::vector<std::byte> prefix = model.columns(0, bytes);
    std::vector<float> scores(test::kRows);
    model.compressor->score(
        query, {prefix.data(), test::kRows, bytes}, false, {scores.data(), 1, test::kRows});
    return scores;
}

double share(const std::set<std::uint64_t>& found, const std::set<std::uint64_t>& truth) {
    return static_cast<double>(std::ranges::count_if(
               found, [&](std::uint64_t row) { return truth.contains(row); })) /
           static_cast<double>(kAnswers);
}

class PrefixRecallTest : public ::testing::TestWithParam<Metric> {};

TEST_P(PrefixRecallTest, IsWhatBruteForceFinds) {
    const test::TrainedModel& model = test::trained_model(GetParam());
    const PlanSample sample = sample_of(model, true);
    const PrefixRecall recall(sample, {3, 8, test::kCodeBytes}, {});
    const std::size_t quarter = test::kRows / 4;
    double difference = 0;
    for (std::size_t i = 0; i < recall.lengths().size(); ++i) {
        const RecallBySize by_size = recall.recalls_by_size(i, 0, kAsked);
        for (std::size_t q = 0; q < kAsked; ++q) {
            const std::vector<float> exact = exact_scores(model, GetParam(), q);
            const std::vector<float> coded =
                code_scores(model, model.row_view().slice(q, 1), recall.lengths()[i]);
            const auto of_rows = [&](std::size_t begin, std::size_t end) {
                return share(best(coded, q, begin, end), best(exact, q, begin, end));
            };
            const double whole = of_rows(0, test::kRows);
            const double half = (of_rows(0, 2 * quarter) + of_rows(2 * quarter, test::kRows)) / 2;
            double quarters = 0;
            for (std::size_t part = 0; part < 4; ++part) {
                quarters += of_rows(part * quarter, (part + 1) * quarter) / 4;
            }
            difference += std::abs(by_size.whole[q] - whole) + std::abs(by_size.half[q] - half) +
                          std::abs(by_size.quarter[q] - quarters);
        }
    }
    // Rows that the model's rows hold twice tie, and exact scores are summed in another order.
    EXPECT_LE(difference, 0.01 * static_cast<double>(recall.lengths().size() * kAsked));
}

INSTANTIATE_TEST_SUITE_P(
    Metrics, PrefixRecallTest,
    ::testing::Values(Metric::kCosine, Metric::kInnerProduct, Metric::kL2));

TEST(PrefixRecall, WithoutOriginalsWholeCodesAreTheReference) {
    const test::TrainedModel& model = test::trained_model(Metric::kCosine);
    const PlanSample sample = sample_of(model, false);
    const PrefixRecall recall(sample, {4, test::kCodeBytes}, {});
    double sum = 0;
    for (std::size_t q = 0; q < kAsked; ++q) {
        EXPECT_EQ(recall.recalls(1, Part::kWhole, 0, kAsked)[q], 1.0);
        const std::vector<float> coded = code_scores(model, recall.queries().slice(q, 1), 4);
        const std::vector<float> whole =
            code_scores(model, recall.queries().slice(q, 1), test::kCodeBytes);
        EXPECT_EQ(
            recall.recalls(0, Part::kWhole, 0, kAsked)[q],
            share(best(coded, q, 0, test::kRows), best(whole, q, 0, test::kRows)));
        sum += recall.recalls(0, Part::kWhole, 0, kAsked)[q];
    }
    EXPECT_LT(sum, static_cast<double>(kAsked));
}

TEST(PrefixRecall, IsCancelled) {
    const PlanSample sample = sample_of(test::trained_model(Metric::kCosine), true);
    ARFC_EXPECT_ERROR(
        PrefixRecall(sample, {4}, [](const Progress&) { return false; }), ErrorKind::kCancelled,
        "cancelled after measuring queries: 0");
}

} // namespace
} // namespace arfc
