#include "arfc/compressor/drift.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "random_rows.h"
#include "residual_measure.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 24;

TrainOptions options_of(Metric metric, std::size_t bytes = 40) {
    TrainOptions options;
    options.code_bytes = bytes;
    options.metric = metric;
    options.relations = false;
    return options;
}

const Compressor& model(Metric metric = Metric::kCosine) {
    const auto train = [](Metric of) {
        return Compressor::train(test::view(test::random_rows(2500, kDim), kDim), options_of(of));
    };
    static const std::unique_ptr<Compressor> kCosine = train(Metric::kCosine);
    static const std::unique_ptr<Compressor> kL2 = train(Metric::kL2);
    return metric == Metric::kCosine ? *kCosine : *kL2;
}

/// Rows without any structure. @param length  Mean squared value.
std::vector<float> noise(std::size_t rows, float length = 1.0F) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal(0.0F, length);
    std::vector<float> out(rows * kDim);
    for (float& value : out) {
        value = normal(random);
    }
    return out;
}

TEST(DriftTest, TrainingMeasuresWhatItsCodesLeaveOfHeldOutRows) {
    const TrainReport& report = model().report();
    ASSERT_EQ(report.residuals.size(), 4U);
    const std::size_t expected[] = {8, 16, 32, 40};
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(report.residuals[i].bytes, expected[i]);
        EXPECT_GT(report.residuals[i].share, 0.0);
        EXPECT_GT(report.residuals[i].deviation, 0.0);
        EXPECT_TRUE(i == 0 || report.residuals[i].share < report.residuals[i - 1].share);
    }
    EXPECT_LT(report.residuals[0].share, 0.1);
}

TEST(DriftTest, ShortCodesAreMeasuredAtTheirOwnLength) {
    const auto trained = Compressor::train(
        test::view(test::random_rows(1200, kDim), kDim), options_of(Metric::kCosine, 5));
    ASSERT_EQ(trained->report().residuals.size(), 1U);
    EXPECT_EQ(trained->report().residuals[0].bytes, 5U);
}

/// The share and its deviation by their definitions.
TEST(DriftTest, SharesAreThoseOfTheDecodedRows) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        const std::vector<float> rows = test::random_rows(1500, kDim, 5); // More than a block.
        const std::size_t lengths[] = {3, 17};
        const auto measured = measure_residuals(model(metric), test::view(rows, kDim), lengths);
        ASSERT_EQ(measured.size(), 2U);
        for (std::size_t l = 0; l < 2; ++l) {
            std::vector<std::byte> codes(1500 * lengths[l]);
            const MatrixView<std::byte> view(codes.data(), 1500, lengths[l]);
            model(metric).encode(test::view(rows, kDim), lengths[l], view);
            std::vector<float> decoded(rows.size());
            model(metric).decode(view, {decoded.data(), 1500, kDim});
            double left = 0.0;
            double whole = 0.0;
            std::vector<std::pair<double, double>> each;
            for (std::size_t i = 0; i < 1500; ++i) {
                double squared = 0.0;
                for (std::size_t j = 0; j < kDim; ++j) {
                    squared += double{rows[i * kDim + j]} * double{rows[i * kDim + j]};
                }
                const double scale = metric == Metric::kCosine ? 1.0 / std::sqrt(squared) : 1.0;
                double difference = 0.0;
                for (std::size_t j = 0; j < kDim; ++j) {
                    const double d =
                        double{rows[i * kDim + j]} * scale - double{decoded[i * kDim + j]};
                    difference += d * d;
                }
                each.emplace_back(difference, squared * scale * scale);
                left += difference;
                whole += squared * scale * scale;
            }
            EXPECT_EQ(measured[l].bytes, lengths[l]);
            EXPECT_NEAR(measured[l].share, left / whole, 1e-9);
            double squares = 0.0;
            for (const auto& [difference, squared] : each) {
                squares += std::pow(difference - left / whole * squared, 2);
            }
            EXPECT_NEAR(
                measured[l].deviation, std::sqrt(squares / 1500.0) / (whole / 1500.0), 1e-9);
        }
    }
}

TEST(DriftTest, OtherRowsOfTheSameKindAreWithinTheThreshold) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        for (const std::uint32_t seed : {2U, 3U, 4U, 5U, 6U}) {
            for (const std::size_t count : {30, 1000}) {
                const Drift drift =
                    model(metric).drift(test::view(test::random_rows(count, kDim, seed), kDim));
                EXPECT_EQ(drift.rows, count);
                EXPECT_FALSE(drift.is_beyond_threshold())
                    << count << " rows, seed " << seed << ", ratio " << drift.worst().ratio
                    << ", threshold " << drift.worst().threshold;
                EXPECT_GT(drift.worst().ratio, 0.5);
            }
        }
    }
}

TEST(DriftTest, UnlikeRowsAreBeyondIt) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        for (const std::size_t count : {30, 1000}) {
            const Drift drift = model(metric).drift(test::view(noise(count), kDim));
            EXPECT_TRUE(drift.is_beyond_threshold()) << count;
            EXPECT_GT(drift.worst().ratio, 2.0);
        }
    }
    // Rows of the same directions that are ten times as long are unlike those under L2 alone.
    std::vector<float> longer = test::random_rows(500, kDim, 2);
    for (float& value : longer) {
        value *= 10.0F;
    }
    EXPECT_TRUE(model(Metric::kL2).drift(test::view(longer, kDim)).is_beyond_threshold());
    EXPECT_FALSE(model().drift(test::view(longer, kDim)).is_beyond_threshold());
}

TEST(DriftTest, FewRowsTellLess) {
    const std::vector<float> rows = test::random_rows(1000, kDim, 2);
    const Drift one = model().drift(test::view(rows, kDim).slice(0, 1));
    const Drift many = model().drift(test::view(rows, kDim));
    for (std::size_t i = 0; i < many.points.size(); ++i) {
        EXPECT_GT(one.points[i].threshold, many.points[i].threshold + 0.5);
        EXPECT_GT(many.points[i].threshold, 1.1); // What differs without meaning anything.
        EXPECT_DOUBLE_EQ(
            many.points[i].ratio, many.points[i].residual / many.points[i].held_out_residual);
    }
}

/// A tenth more is harmless, and so are four standard errors of means over so many rows.
TEST(DriftTest, AThresholdIsWhatChanceDoes) {
    const std::vector<float> rows = test::random_rows(40, kDim, 2);
    const Drift drift = model().drift(test::view(rows, kDim));
    const TrainReport& report = model().report();
    ASSERT_EQ(drift.points.size(), report.residuals.size());
    const double chance = std::sqrt(1.0 / 40.0 + 1.0 / static_cast<double>(report.held_out_rows));
    for (std::size_t i = 0; i < drift.points.size(); ++i) {
        const HeldOutResidual& known = report.residuals[i];
        EXPECT_EQ(drift.points[i].bytes, known.bytes);
        EXPECT_EQ(drift.points[i].held_out_residual, known.share);
        EXPECT_NEAR(
            drift.points[i].threshold, 1.1 + 4.0 * chance * known.deviation / known.share, 1e-9);
    }
}

TEST(DriftTest, OfRowsOfZerosThereIsNothingToKnow) {
    const std::vector<float> zeros(3 * kDim, 0.0F);
    const std::size_t lengths[] = {8, 40};
    const auto measured = measure_residuals(model(Metric::kL2), test::view(zeros, kDim), lengths);
    ASSERT_EQ(measured.size(), 2U);
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(measured[i].bytes, lengths[i]);
        EXPECT_EQ(measured[i].share, 0.0);
        EXPECT_EQ(measured[i].deviation, 0.0);
    }
}

TEST(DriftTest, TheWorstIsTheFurthestBeyondItsThreshold) {
    Drift drift{.rows = 9, .points = {{8, 0.5, 0.5, 1.0, 1.1}, {16, 0.3, 0.2, 1.5, 1.6}}};
    EXPECT_EQ(drift.worst().bytes, 16U);
    EXPECT_FALSE(drift.is_beyond_threshold());
    drift.points.push_back({32, 0.2, 0.1, 1.7, 1.7});
    EXPECT_EQ(drift.worst().bytes, 32U);
    EXPECT_FALSE(drift.is_beyond_threshold()); // At it is not beyond it.
    drift.points.front().ratio = 1.2;
    EXPECT_EQ(drift.worst().bytes, 8U);
    EXPECT_TRUE(drift.is_beyond_threshold());
}

TEST(DriftTest, RowsThatCodesHoldExactlyAreAlike) {
    std::vector<float> rows;
    for (int i = 0; i < 1200; ++i) {
        rows.insert(rows.end(), {1.0F, 2.0F, 3.0F, 4.0F});
    }
    const auto trained = Compressor::train({rows.data(), 1200, 4}, options_of(Metric::kL2));
    const Drift drift = trained->drift({rows.data(), 10, 4});
    EXPECT_FALSE(drift.is_beyond_threshold());
    EXPECT_DOUBLE_EQ(drift.worst().ratio, 1.0);
    rows[0] = -1.0F;
    EXPECT_TRUE(trained->drift({rows.data(), 1, 4}).is_beyond_threshold());
}

TEST(DriftTest, IsTheSameOnAnyNumberOfThreads) {
    const std::vector<float> rows = test::random_rows(3000, kDim, 2);
    const std::size_t before = num_threads();
    set_num_threads(1);
    const Drift one = model().drift(test::view(rows, kDim));
    set_num_threads(3);
    const Drift three = model().drift(test::view(rows, kDim));
    set_num_threads(before);
    for (std::size_t i = 0; i < one.points.size(); ++i) {
        EXPECT_EQ(one.points[i].residual, three.points[i].residual);
    }
}

TEST(DriftTest, ModelsThatDoNotKnowSaySo) {
    const std::string text =
        "Model does not know how well it codes rows that it was not trained on";
    const auto few = Compressor::train(
        test::view(test::random_rows(500, kDim), kDim), options_of(Metric::kCosine));
    ARFC_EXPECT_ERROR(
        (void)few->drift(test::view(noise(5), kDim)), ErrorKind::kFailedPrecondition, text);
    // A model of an earlier version: the same one without the numbers, and with the same identity.
    ModelFiles files = model().files();
    auto config = nlohmann::ordered_json::parse(files.config);
    config["training"].erase("held_out_residual");
    files.config = config.dump();
    const auto earlier = Compressor::open(files);
    EXPECT_EQ(earlier->id(), model().id());
    ARFC_EXPECT_ERROR(
        (void)earlier->drift(test::view(noise(5), kDim)), ErrorKind::kFailedPrecondition,
        "held-out rows: 125");
}

TEST(DriftTest, AnOpenedModelTellsTheSame) {
    const std::vector<float> rows = noise(100);
    const Drift before = model().drift(test::view(rows, kDim));
    const Drift after = Compressor::open(model().files())->drift(test::view(rows, kDim));
    for (std::size_t i = 0; i < before.points.size(); ++i) {
        EXPECT_EQ(before.points[i].ratio, after.points[i].ratio);
        EXPECT_EQ(before.points[i].threshold, after.points[i].threshold);
    }
}

TEST(DriftTest, WrongRowsAreRefused) {
    std::vector<float> rows = noise(4);
    ARFC_EXPECT_ERROR(
        (void)model().drift({rows.data(), 0, kDim}), ErrorKind::kInvalidArgument,
        "Drift is told of at least one row: 0");
    ARFC_EXPECT_ERROR(
        (void)model().drift({rows.data(), 4, kDim - 1}), ErrorKind::kInvalidArgument,
        "Embedding width differs from the model's: 23, expected 24");
    rows[2 * kDim] = std::numeric_limits<float>::quiet_NaN();
    ARFC_EXPECT_ERROR(
        (void)model().drift(test::view(rows, kDim)), ErrorKind::kInvalidArgument, "row: 2");
    std::fill_n(rows.begin() + 2 * kDim, kDim, 0.0F);
    ARFC_EXPECT_ERROR(
        (void)model().drift(test::view(rows, kDim)), ErrorKind::kInvalidArgument, "zero row");
    EXPECT_NO_THROW((void)model(Metric::kL2).drift(test::view(rows, kDim)));
}

} // namespace
} // namespace arfc
