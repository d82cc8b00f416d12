#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "leaning_rows.h"
#include "random_rows.h"
#include "temporary_directory.h"
#include "thread_count.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 24;
constexpr std::size_t kRows = 2200;
constexpr std::size_t kQueries = 500;
constexpr std::size_t kBytes = 3;

class TrainingQueries : public testing::Test {
  protected:
    std::unique_ptr<Compressor> train(TrainOptions options = {}) const {
        options.code_bytes = kBytes;
        return Compressor::train(test::view(rows_, kDim), options);
    }
    [[nodiscard]] TrainOptions with_queries() const {
        TrainOptions options;
        options.queries = test::view(queries_, kDim);
        return options;
    }

    test::ThreadCount threads_{1};
    std::vector<float> rows_ = test::leaning_rows(kRows, kDim, test::Leaning::kToTheFirst, 1);
    std::vector<float> queries_ = test::leaning_rows(kQueries, kDim, test::Leaning::kToTheLast, 2);
};

TEST_F(TrainingQueries, AreWhatTheReportMeasures) {
    const auto with = train(with_queries());
    const auto without = train();
    EXPECT_NE(with->id(), without->id());
    // For queries of this kind the strong coordinates of rows say little.
    EXPECT_LT(
        with->report().recall.back().recall_at_10, without->report().recall.back().recall_at_10);
    std::vector<std::string> parts;
    for (const PartReport& part : with->report().parts) {
        parts.push_back(part.part);
    }
    EXPECT_EQ(
        parts,
        (std::vector<std::string>{"codebooks", "landmarks", "landmarks of queries", "relations"}));
    EXPECT_EQ(with->report().held_out_rows, without->report().held_out_rows);
}

TEST_F(TrainingQueries, ATrainingResumesToTheSameModelAndRefusesOthers) {
    const std::string id = train(with_queries())->id();
    const test::TemporaryDirectory directory;
    TrainOptions options = with_queries();
    options.checkpoint = directory / "checkpoint";
    options.checkpoint_every_s = 0.0;
    int seen = 0;
    options.progress = [&](const Progress& progress) {
        seen += progress.stage == "relations" ? 1 : 0;
        return seen < 8;
    };
    ARFC_EXPECT_ERROR(train(options), ErrorKind::kCancelled, "cancelled");
    options.progress = nullptr;
    options.resume = true;
    std::vector<float> other = queries_;
    other[0] += 1.0F;
    for (const MatrixView<const float> queries :
         {test::view(other, kDim), MatrixView<const float>()}) {
        TrainOptions others = options;
        others.queries = queries;
        ARFC_EXPECT_ERROR(
            train(others), ErrorKind::kFailedPrecondition, "other options, in queries");
    }
    EXPECT_EQ(train(options)->id(), id);
}

TEST_F(TrainingQueries, OfTooFewRowsForRelationsChangeNothing) {
    rows_.resize(900 * kDim);
    EXPECT_EQ(train(with_queries())->id(), train()->id());
}

TEST_F(TrainingQueries, WrongOnesAreRefused) {
    const auto refuses = [&](MatrixView<const float> queries, ErrorKind kind, const char* message) {
        TrainOptions options;
        options.queries = queries;
        ARFC_EXPECT_ERROR(train(options), kind, message);
    };
    const MatrixView<const float> all = test::view(queries_, kDim);
    refuses(
        all.slice(0, 99), ErrorKind::kInvalidArgument,
        "too few to learn from and to measure with: 99, at least 100");
    refuses(
        {queries_.data(), 200, kDim - 1}, ErrorKind::kInvalidArgument,
        "Queries differ in width from the training matrix: 23, expected 24");
    std::vector<float> wrong = queries_;
    wrong[7 * kDim] = std::numeric_limits<float>::infinity();
    refuses(
        test::view(wrong, kDim), ErrorKind::kInvalidArgument,
        "Matrix of queries holds a value that is not finite (NaN or infinity) in row: 7");
    std::fill_n(wrong.begin() + 7 * kDim, kDim, 0.0F);
    refuses(test::view(wrong, kDim), ErrorKind::kInvalidArgument, "Matrix of queries holds a zero");
    TrainOptions unrelated = with_queries();
    unrelated.relations = false;
    ARFC_EXPECT_ERROR(
        train(unrelated), ErrorKind::kInvalidArgument,
        "Queries serve relations, which are left out");
    const std::vector<float> wide(std::size_t{100} * 4097, 1.0F);
    TrainOptions options;
    options.queries = {wide.data(), 100, 4097};
    ARFC_EXPECT_ERROR(
        Compressor::train({wide.data(), 1, 4097}, options), ErrorKind::kUnsupported,
        "at most 4096 floats");
}

} // namespace
} // namespace arfc
