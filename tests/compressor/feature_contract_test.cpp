// What features of every kind of model must hold: a new row of compressor_kinds() is tested here
// unasked.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "paired_rows.h"
#include "random_rows.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

struct Case {
    std::string kind;
    std::size_t dim;
    Metric metric;
    std::size_t rows;
    bool pairs = false; ///< Whether pairs taught the model a map.
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.kind << "_d" << c.dim << "_" << to_string(c.metric) << "_n" << c.rows
               << (c.pairs ? "_pairs" : "");
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const CompressorKind& kind : compressor_kinds()) {
        const std::string name(kind.name);
        all.push_back({name, 40, Metric::kCosine, 1200}); // Enough that features are learned;
        all.push_back({name, 33, Metric::kL2, 700});      // of fewer they are principal axes.
        all.push_back({name, 17, Metric::kInnerProduct, 300});
        all.push_back({name, 1, Metric::kL2, 300});
        all.push_back({name, 16, Metric::kCosine, 1});
        all.push_back({name, 20, Metric::kCosine, 1200, true});
    }
    return all;
}

class FeatureContract : public ::testing::TestWithParam<Case> {
  protected:
    static std::unique_ptr<Compressor> train(bool features) {
        const Case& c = GetParam();
        const auto [queries, relevant] = test::paired_rows(1500, c.dim);
        TrainOptions options{
            .kind = c.kind,
            .code_bytes = 1,
            .metric = c.metric,
            .relations = false,
            .features = features};
        if (c.pairs) {
            options.pair_queries = test::view(queries, c.dim);
            options.pair_rows = test::view(relevant, c.dim);
        }
        return Compressor::train(test::view(test::random_rows(c.rows, c.dim), c.dim), options);
    }
    static const Compressor& model() {
        static std::map<std::string, std::unique_ptr<Compressor>> trained;
        auto& slot = trained[::testing::PrintToString(GetParam())];
        if (slot == nullptr) {
            slot = train(true);
        }
        return *slot;
    }
    static std::vector<float> features(
        const Compressor& compressor, const std::vector<float>& rows, std::size_t dims) {
        const std::size_t n = rows.size() / compressor.dim();
        std::vector<float> out(n * dims);
        compressor.features(test::view(rows, compressor.dim()), {out.data(), n, dims});
        return out;
    }
    static std::vector<float> columns(
        const std::vector<float>& values, std::size_t width, std::size_t kept) {
        std::vector<float> out;
        for (std::size_t i = 0; i < values.size(); i += width) {
            out.insert(
                out.end(), values.begin() + static_cast<std::ptrdiff_t>(i),
                values.begin() + static_cast<std::ptrdiff_t>(i + kept));
        }
        return out;
    }
};

TEST_P(FeatureContract, EveryPrefixIsTheShorterFeature) {
    const std::size_t d = GetParam().dim;
    const std::vector<float> rows = test::random_rows(197, d, 5);
    const std::vector<float> full = features(model(), rows, d);
    for (std::size_t dims = 1; dims <= d; ++dims) {
        EXPECT_EQ(features(model(), rows, dims), columns(full, d, dims)) << dims;
    }
}

TEST_P(FeatureContract, FeaturesDependOnTheRowAlone) {
    const std::size_t d = GetParam().dim;
    const std::size_t dims = (d + 1) / 2;
    constexpr std::size_t kCount = 200;
    const std::vector<float> rows = test::random_rows(kCount, d, 6);
    const std::vector<float> together = features(model(), rows, dims);
    for (const std::size_t batch : {1U, 2U, 7U, 95U, 96U, 97U}) {
        std::vector<float> pieces;
        for (std::size_t first = 0; first < kCount; first += batch) {
            const std::size_t last = std::min<std::size_t>(first + batch, kCount);
            const std::vector<float> piece = features(
                model(),
                {rows.begin() + static_cast<std::ptrdiff_t>(first * d),
                 rows.begin() + static_cast<std::ptrdiff_t>(last * d)},
                dims);
            pieces.insert(pieces.end(), piece.begin(), piece.end());
        }
        EXPECT_EQ(pieces, together) << "batches of " << batch;
    }
    std::vector<std::size_t> order(kCount);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937(3));
    std::vector<float> shuffled(rows.size());
    for (std::size_t i = 0; i < kCount; ++i) {
        std::copy_n(rows.data() + order[i] * d, d, shuffled.data() + i * d);
    }
    const std::vector<float> moved = features(model(), shuffled, dims);
    for (std::size_t i = 0; i < kCount; ++i) {
        EXPECT_TRUE(std::equal(
            moved.data() + i * dims, moved.data() + (i + 1) * dims,
            together.data() + order[i] * dims));
    }
}

TEST_P(FeatureContract, ThreadsChangeNothing) {
    const std::size_t d = GetParam().dim;
    const std::vector<float> rows = test::random_rows(6000, d, 7); // Worth several threads.
    const std::size_t before = num_threads();
    set_num_threads(1);
    const std::vector<float> alone = features(model(), rows, d);
    for (const std::size_t threads : {2U, 5U}) {
        set_num_threads(threads);
        EXPECT_EQ(features(model(), rows, d), alone) << threads;
    }
    set_num_threads(before);
}

TEST_P(FeatureContract, AnOpenedModelHasTheSameFeatures) {
    const std::size_t d = GetParam().dim;
    const test::TemporaryDirectory directory;
    model().save(directory / "model");
    const auto opened = Compressor::open(directory / "model");
    EXPECT_TRUE(opened->has_features());
    EXPECT_EQ(opened->id(), model().id());
    EXPECT_EQ(opened->model_bytes(), model().model_bytes());
    EXPECT_EQ(opened->files().weights, model().files().weights);
    const std::vector<float> rows = test::random_rows(50, d, 8);
    EXPECT_EQ(features(*opened, rows, d), features(model(), rows, d));
}

TEST_P(FeatureContract, CodesHaveNoPartInThem) {
    const std::size_t d = GetParam().dim;
    const auto plain = train(false);
    EXPECT_FALSE(plain->has_features());
    EXPECT_TRUE(model().has_features());
    EXPECT_NE(plain->id(), model().id());
    EXPECT_GT(model().model_bytes(), plain->model_bytes());
    EXPECT_EQ(plain->files().weights.find("feature"), std::string::npos);
    const std::vector<float> rows = test::random_rows(60, d, 9);
    std::vector<std::byte> left(60);
    std::vector<std::byte> right(60);
    plain->encode(test::view(rows, d), 1, {left.data(), 60, 1});
    model().encode(test::view(rows, d), 1, {right.data(), 60, 1});
    EXPECT_EQ(left, right);
    std::vector<float> out(d);
    ARFC_EXPECT_ERROR(
        plain->features(test::view(rows, d).slice(0, 1), {out.data(), 1, d}),
        ErrorKind::kFailedPrecondition,
        "train one with them (features=True, TrainOptions::features, arfc train --features): " +
            plain->id());
}

TEST_P(FeatureContract, WhatPairsTaughtShows) {
    if (!GetParam().pairs) {
        GTEST_SKIP() << "This model had no pairs.";
    }
    const std::size_t d = GetParam().dim;
    const auto [queries, relevant] = test::paired_rows(400, d);
    // Mean cosine of the two rows of a pair.
    const auto closeness = [&](const std::vector<float>& left, const std::vector<float>& right) {
        double sum = 0.0;
        for (std::size_t first = 0; first < left.size(); first += d) {
            double product = 0.0;
            double left_square = 0.0;
            double right_square = 0.0;
            for (std::size_t i = first; i < first + d; ++i) {
                product += double{left[i]} * double{right[i]};
                left_square += double{left[i]} * double{left[i]};
                right_square += double{right[i]} * double{right[i]};
            }
            sum += product / std::sqrt(left_square * right_square);
        }
        return sum * static_cast<double>(d) / static_cast<double>(left.size());
    };
    EXPECT_GT(
        closeness(features(model(), queries, d), features(model(), relevant, d)),
        closeness(queries, relevant) + 0.2);
}

TEST_P(FeatureContract, NoRowsAreFine) {
    EXPECT_TRUE(features(model(), {}, 1).empty());
}

TEST_P(FeatureContract, WrongUseIsRefused) {
    const std::size_t d = GetParam().dim;
    const std::vector<float> rows = test::random_rows(2, d, 10);
    std::vector<float> out(2 * (d + 1));
    const auto refuses = [&](MatrixView<const float> asked, MatrixView<float> answer,
                             const std::string& text) {
        ARFC_EXPECT_ERROR(model().features(asked, answer), ErrorKind::kInvalidArgument, text);
    };
    refuses(
        test::view(rows, d), {out.data(), 2, 0},
        "Number of feature dimensions is outside [1, " + std::to_string(d) + "]: 0");
    refuses(
        test::view(rows, d), {out.data(), 2, d + 1},
        "Number of feature dimensions is outside [1, " + std::to_string(d) +
            "]: " + std::to_string(d + 1));
    refuses(
        test::view(rows, d), {out.data(), 1, d},
        "Features differ in number from the rows: 1, expected 2");
    refuses({rows.data(), 1, d + 1}, {out.data(), 1, d}, "expected " + std::to_string(d));
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
        std::vector<float> wrong = rows;
        wrong[d + d / 2] = bad;
        refuses(test::view(wrong, d), {out.data(), 2, d}, "not finite (NaN or infinity) in row: 1");
    }
    if (GetParam().metric == Metric::kCosine) {
        const std::vector<float> zero(d, 0.0F);
        refuses(test::view(zero, d), {out.data(), 1, d}, "zero row");
    }
}

TEST_P(FeatureContract, ScaleIsNoPartOfADirection) {
    if (GetParam().metric != Metric::kCosine) {
        GTEST_SKIP() << "Scale counts under this metric.";
    }
    const std::size_t d = GetParam().dim;
    const std::vector<float> rows = test::random_rows(2, d, 11);
    std::vector<float> scaled = rows;
    for (std::size_t j = 0; j < d; ++j) {
        scaled[j] *= 0x1p100F;
        scaled[d + j] *= 0x1p-80F;
    }
    EXPECT_EQ(features(model(), scaled, d), features(model(), rows, d));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FeatureContract, ::testing::ValuesIn(cases()),
    [](const auto& instance) { return ::testing::PrintToString(instance.param); });

} // namespace
} // namespace arfc
