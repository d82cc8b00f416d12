#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "arfc/base/files.h"
#include "arfc/index/collection.h"
#include "expect_error.h"
#include "random_rows.h"
#include "temporary_directory.h"
#include "trained_model.h"

namespace arfc {
namespace {

using test::kDim;

std::vector<PointId> ids_from(PointId first, std::size_t count) {
    std::vector<PointId> ids(count);
    std::iota(ids.begin(), ids.end(), first);
    return ids;
}

class CollectionPlanTest : public ::testing::Test {
  protected:
    std::unique_ptr<Collection> create(bool with_model, bool calibration = true) {
        const std::filesystem::path model = directory_ / "model";
        if (with_model) {
            model_.compressor->save(model);
        }
        return Collection::create(
            path(), {.dim = kDim,
                     .factory = "ARFC10/4",
                     .model = with_model ? model : std::filesystem::path(),
                     .calibration = calibration});
    }
    std::unique_ptr<Collection> filled(bool with_model, bool calibration = true) {
        auto collection = create(with_model, calibration);
        collection->upsert(ids_from(0, test::kRows), model_.row_view());
        return collection;
    }
    std::filesystem::path path() const { return directory_ / "collection"; }
    std::filesystem::path file() const { return path() / "calibration.arfc"; }

    /// Every id and score of a search by whole codes.
    std::vector<std::pair<PointId, float>> answers(const Collection& collection) const {
        std::vector<std::pair<PointId, float>> all;
        for (const auto& hits : collection.search(model_.query_view(), {.exact = true}).hits) {
            for (const Hit& hit : hits) {
                all.emplace_back(hit.id, hit.score);
            }
        }
        return all;
    }

    test::TemporaryDirectory directory_;
    const test::TrainedModel& model_ = test::trained_model(Metric::kCosine);
};

TEST_F(CollectionPlanTest, MeasuresOnTheCalibrationSample) {
    const auto collection = filled(true);
    EXPECT_EQ(collection->info().calibration_rows, test::kRows);
    const Plan plan = collection->plan({.target_recall = 0.3});
    EXPECT_EQ(plan.reference, PlanReference::kOriginals);
    EXPECT_TRUE(plan.reaches_target);
    EXPECT_EQ(plan.rows, test::kRows);
    EXPECT_EQ(plan.sample_rows, test::kRows);
    EXPECT_EQ(plan.curve.back().stages.back().bytes, 10U); // Not the model's 12.
    // As the rows themselves say: float16 changes next to nothing.
    const Plan of_rows = arfc::plan(*model_.compressor, model_.row_view(), {.target_recall = 0.3});
    EXPECT_NEAR(plan.curve.front().predicted_recall, of_rows.curve.front().predicted_recall, 0.05);
}

TEST_F(CollectionPlanTest, WithoutASampleMeasuresAgainstTheLongestPrefix) {
    const auto collection = filled(true, false);
    EXPECT_FALSE(std::filesystem::exists(file()));
    EXPECT_EQ(collection->info().calibration_rows, 0U);
    const Plan plan = collection->plan({.target_recall = 0.3});
    EXPECT_EQ(plan.reference, PlanReference::kLongestPrefix);
    EXPECT_GT(plan.curve.back().predicted_recall, 0.99);
    EXPECT_LT(plan.curve.front().predicted_recall, 0.9);
}

TEST_F(CollectionPlanTest, DroppingTheSampleChangesNoScore) {
    auto collection = filled(true);
    const auto before = answers(*collection);
    const std::uint64_t resident = collection->info().resident_bytes;
    const std::uint64_t kept = collection->info().calibration_bytes;
    EXPECT_EQ(kept, test::kRows * (2 * kDim + 12));
    collection->drop_calibration();
    EXPECT_EQ(collection->info().calibration_rows, 0U);
    EXPECT_EQ(collection->info().resident_bytes, resident - kept);
    EXPECT_FALSE(std::filesystem::exists(file()));
    EXPECT_EQ(answers(*collection), before);
    collection->close();
    collection = Collection::open(path());
    EXPECT_EQ(answers(*collection), before);
    collection->upsert(ids_from(90000, 10), model_.row_view().slice(0, 10));
    EXPECT_EQ(collection->info().calibration_rows, 0U); // For good.
    EXPECT_EQ(collection->plan({.target_recall = 0.3}).reference, PlanReference::kLongestPrefix);
}

TEST_F(CollectionPlanTest, TheSampleFollowsThePoints) {
    auto collection = filled(true);
    collection->remove(ids_from(0, 100));
    EXPECT_EQ(collection->info().calibration_rows, test::kRows - 100);
    collection->upsert(ids_from(100, 50), model_.row_view().slice(0, 50)); // Replaced.
    EXPECT_EQ(collection->info().calibration_rows, test::kRows - 100);
    const std::vector<PointId> twice(2, 7000);
    collection->upsert(twice, model_.row_view().slice(0, 2));
    EXPECT_EQ(collection->info().calibration_rows, test::kRows - 99);
    collection->close();
    collection = Collection::open(path());
    EXPECT_EQ(collection->info().calibration_rows, test::kRows - 99);
}

TEST_F(CollectionPlanTest, RowsDeletedSinceTheSampleWasSavedAreNotReadAgain) {
    filled(true)->close();
    const std::string saved = read_file(file());
    auto collection = Collection::open(path());
    collection->remove(ids_from(0, 100));
    collection->close();
    write_file_atomically(file(), saved); // As after a crash.
    collection = Collection::open(path(), {.read_only = true});
    EXPECT_EQ(collection->info().calibration_rows, test::kRows - 100);
}

TEST_F(CollectionPlanTest, ADamagedSampleIsStartedAnew) {
    filled(true)->close();
    std::string bytes = read_file(file());
    bytes[100] = static_cast<char>(bytes[100] ^ 1);
    write_file_atomically(file(), bytes);
    const auto collection = Collection::open(path());
    EXPECT_EQ(collection->info().calibration_rows, 0U);
    EXPECT_EQ(collection->plan({.target_recall = 0.3}).reference, PlanReference::kLongestPrefix);
    collection->upsert(ids_from(90000, 10), model_.row_view().slice(0, 10));
    EXPECT_EQ(collection->info().calibration_rows, 10U);
}

TEST_F(CollectionPlanTest, TrainingKeepsASampleWhereItDropsRows) {
    const auto collection = filled(false);
    EXPECT_EQ(collection->info().calibration_rows, 0U);
    collection->remove(ids_from(0, 10));
    collection->train({.time_budget_s = 0.3, .minimum_recall = 0.0});
    EXPECT_EQ(collection->info().calibration_rows, test::kRows - 10);
    EXPECT_EQ(collection->plan({.target_recall = 0.3}).reference, PlanReference::kOriginals);
}

TEST_F(CollectionPlanTest, WhereRowsAreKeptTheyServe) {
    const auto collection = filled(false);
    collection->train({.time_budget_s = 0.3, .keep_raw = true});
    EXPECT_EQ(collection->info().calibration_rows, 0U);
    collection->upsert(ids_from(90000, 10), model_.row_view().slice(0, 10));
    EXPECT_EQ(collection->info().calibration_rows, 0U);
    const Plan plan = collection->plan({.target_recall = 0.3});
    EXPECT_EQ(plan.reference, PlanReference::kOriginals);
    EXPECT_EQ(plan.sample_rows, test::kRows + 10);
}

TEST_F(CollectionPlanTest, RefusesWhatCannotBePlanned) {
    {
        const auto raw = filled(false);
        ARFC_EXPECT_ERROR(
            (void)raw->plan({}), ErrorKind::kFailedPrecondition, "Collection has no model");
    }
    std::filesystem::remove_all(path());
    const auto collection = create(true);
    ARFC_EXPECT_ERROR(
        (void)collection->plan({}), ErrorKind::kFailedPrecondition,
        "fewer points than a plan is made from: 0, expected at least 500");
    ARFC_EXPECT_ERROR(
        (void)collection->plan({.target_recall = 2}), ErrorKind::kInvalidArgument,
        "Target recall is outside (0, 1]: 2");
    collection->close();
    ARFC_EXPECT_ERROR((void)collection->plan({}), ErrorKind::kFailedPrecondition, "closed");
    ARFC_EXPECT_ERROR(collection->drop_calibration(), ErrorKind::kFailedPrecondition, "closed");
    const auto reader = Collection::open(path(), {.read_only = true});
    ARFC_EXPECT_ERROR(
        reader->drop_calibration(), ErrorKind::kFailedPrecondition, "opened read-only");
}

} // namespace
} // namespace arfc
