#include "arfc/index/plan.h"

#include <gtest/gtest.h>

#include <limits>

#include "expect_error.h"
#include "factory_spec.h"
#include "trained_model.h"

namespace arfc {
namespace {

Plan plan_of(const PlanOptions& options, Metric metric = Metric::kCosine) {
    const test::TrainedModel& model = test::trained_model(metric);
    return plan(*model.compressor, model.row_view(), options);
}

class PlanTest : public ::testing::TestWithParam<Metric> {};

TEST_P(PlanTest, ReachesATargetThatCodesReach) {
    const Plan easy = plan_of({.target_recall = 0.3}, GetParam());
    EXPECT_TRUE(easy.reaches_target);
    EXPECT_GE(easy.chosen.predicted_recall, 0.3);
    const double longest = easy.curve.back().predicted_recall;
    const Plan hard = plan_of({.target_recall = longest - 0.02}, GetParam());
    EXPECT_TRUE(hard.reaches_target);
    EXPECT_GE(hard.chosen.predicted_recall, longest - 0.02);
    EXPECT_LT(easy.chosen.bytes_per_row(), hard.chosen.bytes_per_row());
}

TEST_P(PlanTest, QueriesThatTookNoPartFindWhatWasPredicted) {
    const Plan plan = plan_of({.target_recall = 0.4}, GetParam());
    EXPECT_EQ(plan.sample_rows, test::kRows);
    EXPECT_EQ(plan.queries + plan.test_queries, test::kRows);
    std::vector<PlannedPoint> points = plan.curve;
    points.push_back(plan.chosen);
    for (const PlannedPoint& point : points) {
        // Standard errors: about .009 of those that chose, .015 of the others.
        EXPECT_NEAR(point.predicted_recall, point.measured_recall, 0.06) << point.factory;
        EXPECT_LE(point.recall_low, point.predicted_recall);
        EXPECT_GE(point.recall_high, point.predicted_recall);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Metrics, PlanTest, ::testing::Values(Metric::kCosine, Metric::kInnerProduct, Metric::kL2));

TEST(Plan, CurveAscends) {
    const Plan plan = plan_of({});
    ASSERT_GE(plan.curve.size(), 3U);
    for (std::size_t i = 0; i < plan.curve.size(); ++i) {
        const PlannedPoint& point = plan.curve[i];
        const FactorySpec spec = parse_factory(test::kDim, point.factory);
        EXPECT_EQ(spec.code_bytes(), point.stages.back().bytes);
        EXPECT_EQ(spec.stage_bytes.front(), point.stages.front().bytes);
        EXPECT_EQ(point.stages.back().limit, 10U);
        EXPECT_GT(point.milliseconds, 0.0);
        if (i > 0) {
            EXPECT_GT(point.stages.back().bytes, plan.curve[i - 1].stages.back().bytes);
            EXPECT_GT(point.predicted_recall, plan.curve[i - 1].predicted_recall);
            EXPECT_GT(point.disk_bytes_per_row, plan.curve[i - 1].disk_bytes_per_row);
        }
    }
    EXPECT_EQ(plan.curve.back().stages.back().bytes, test::kCodeBytes);
    EXPECT_EQ(plan.reference, PlanReference::kOriginals);
    EXPECT_EQ(plan.model_bytes, test::trained_model(Metric::kCosine).compressor->model_bytes());
}

TEST(Plan, SaysWhereNoCodeReachesTheTarget) {
    const Plan plan = plan_of({.target_recall = 1.0});
    EXPECT_FALSE(plan.reaches_target);
    EXPECT_EQ(plan.chosen.stages.back().bytes, test::kCodeBytes);
    EXPECT_NEAR(plan.chosen.predicted_recall, plan.curve.back().predicted_recall, 0.005);
}

TEST(Plan, KeepsTheBudget) {
    const Plan free = plan_of({.target_recall = 1.0});
    const double least = free.curve.front().bytes_per_row();
    const double budget = least + 4;
    ASSERT_LT(budget, free.chosen.bytes_per_row());
    const Plan plan = plan_of({.target_recall = 1.0, .most_bytes_per_row = budget});
    EXPECT_FALSE(plan.reaches_target);
    EXPECT_LE(plan.chosen.bytes_per_row(), budget);
    EXPECT_GE(plan.chosen.predicted_recall, free.curve.front().predicted_recall);
    ARFC_EXPECT_ERROR(
        (void)plan_of({.most_bytes_per_row = least - 1}), ErrorKind::kInvalidArgument,
        "Budget is below what the shortest code takes");
}

TEST(Plan, OfBytesAmongWhichAGraphFitsStillKeepsRecall) {
    const Plan plan = plan_of({.target_recall = 0.4, .most_bytes_per_row = 5000});
    EXPECT_TRUE(plan.reaches_target);
    EXPECT_LE(plan.chosen.bytes_per_row(), 5000);
}

TEST(Plan, CarriesRecallToMoreRows) {
    const Plan here = plan_of({.target_recall = 0.4});
    const Plan there = plan_of({.target_recall = 0.4, .rows = 100 * test::kRows});
    EXPECT_EQ(there.rows, 100 * test::kRows);
    EXPECT_EQ(there.sample_rows, test::kRows);
    for (std::size_t i = 0; i < here.curve.size(); ++i) {
        EXPECT_LT(there.curve[i].predicted_recall, here.curve[i].predicted_recall);
        EXPECT_GT(
            there.curve[i].recall_high - there.curve[i].recall_low,
            here.curve[i].recall_high - here.curve[i].recall_low);
    }
}

TEST(Plan, OfFewerRowsUsesFewer) {
    const Plan plan = plan_of({.target_recall = 0.3, .rows = 600});
    EXPECT_EQ(plan.rows, 600U);
    EXPECT_EQ(plan.sample_rows, 600U);
}

TEST(Plan, IsTheSameForTheSameSeed) {
    const Plan one = plan_of({.target_recall = 0.4, .seed = 3});
    const Plan two = plan_of({.target_recall = 0.4, .seed = 3});
    const Plan other = plan_of({.target_recall = 0.4, .seed = 4});
    bool differs = false;
    for (std::size_t i = 0; i < one.curve.size(); ++i) {
        EXPECT_EQ(one.curve[i].predicted_recall, two.curve[i].predicted_recall);
        differs |= one.curve[i].predicted_recall != other.curve[i].predicted_recall;
    }
    EXPECT_TRUE(differs);
}

TEST(Plan, OfMoreAnswersKeepsAsMany) {
    const Plan plan = plan_of({.target_recall = 0.3, .k = 40});
    EXPECT_EQ(plan.chosen.stages.back().limit, 40U);
    EXPECT_GE(plan.chosen.stages.front().limit, 40U);
}

TEST(Plan, RefusesWrongOptions) {
    for (const double target : {0.0, -0.5, 1.01, std::numeric_limits<double>::quiet_NaN()}) {
        ARFC_EXPECT_ERROR(
            (void)plan_of({.target_recall = target}), ErrorKind::kInvalidArgument,
            "Target recall is outside (0, 1]");
    }
    ARFC_EXPECT_ERROR(
        (void)plan_of({.k = 0}), ErrorKind::kInvalidArgument,
        "Number of answers is less than one: 0");
    ARFC_EXPECT_ERROR(
        (void)plan_of({.k = 1000}), ErrorKind::kInvalidArgument,
        "Rows are fewer than a plan is made from: 1500, expected at least 10400");
    ARFC_EXPECT_ERROR(
        (void)plan_of({.rows = 0}), ErrorKind::kInvalidArgument,
        "Number of rows to plan for is zero");
    for (const double budget : {0.0, -3.0, std::numeric_limits<double>::quiet_NaN()}) {
        ARFC_EXPECT_ERROR(
            (void)plan_of({.most_bytes_per_row = budget}), ErrorKind::kInvalidArgument,
            "Budget is not above zero");
    }
}

TEST(Plan, RefusesWrongRows) {
    const test::TrainedModel& model = test::trained_model(Metric::kCosine);
    ARFC_EXPECT_ERROR(
        (void)plan(*model.compressor, {}), ErrorKind::kInvalidArgument,
        "Rows are fewer than a plan is made from: 0, expected at least 500");
    ARFC_EXPECT_ERROR(
        (void)plan(*model.compressor, {model.rows.data(), test::kRows, test::kDim - 1}),
        ErrorKind::kInvalidArgument, "width");
    std::vector<float> rows = model.rows;
    rows[17] = std::numeric_limits<float>::infinity();
    ARFC_EXPECT_ERROR(
        (void)plan(*model.compressor, test::view(rows, test::kDim)), ErrorKind::kInvalidArgument,
        "");
}

TEST(Plan, IsCancelledInEachStage) {
    for (const std::string_view stage : {"recall", "searches"}) {
        ARFC_EXPECT_ERROR(
            (void)plan_of(
                {.progress = [&](const Progress& progress) { return progress.stage != stage; }}),
            ErrorKind::kCancelled, "Plan was cancelled");
    }
}

} // namespace
} // namespace arfc
