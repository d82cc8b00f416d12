#include "calibration_sample.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arfc/base/sha256.h"
#include "expect_error.h"
#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 8;
constexpr std::size_t kRows = 6000;

class CalibrationSampleTest : public ::testing::Test {
  protected:
    MatrixView<const float> rows() const { return test::view(values_, kDim); }

    CalibrationSample full() const {
        CalibrationSample sample(kDim);
        sample.add(0, rows());
        return sample;
    }

    std::vector<float> values_ = test::random_rows(kRows, kDim, 1);
};

TEST_F(CalibrationSampleTest, KeepsEveryRowOfFew) {
    CalibrationSample sample(kDim);
    sample.add(0, rows().slice(0, 100));
    EXPECT_EQ(sample.rows(), 100U);
    EXPECT_EQ(sample.bytes(), 100 * (2 * kDim + 12));
}

TEST_F(CalibrationSampleTest, IsTheSameInOtherBatchesAndOrders) {
    CalibrationSample other(kDim);
    for (std::size_t first = kRows; first > 0;) {
        first -= 100;
        other.add(first, rows().slice(first, 100));
    }
    EXPECT_EQ(full().rows(), CalibrationSample::kMostRows);
    EXPECT_EQ(full().values(), other.values());
}

TEST_F(CalibrationSampleTest, IsUniform) {
    CalibrationSample sample = full();
    sample.keep([](std::uint64_t row) { return row < kRows / 2; });
    // Binomial: 1,000 expected, standard deviation 18.
    EXPECT_NEAR(static_cast<double>(sample.rows()), 1000.0, 90.0);
}

TEST_F(CalibrationSampleTest, ValuesAreTheRowsToHalfPrecision) {
    values_[0] = 3e30F; // Of any scale.
    values_[kDim] = 1e-30F;
    CalibrationSample sample(kDim);
    sample.add(0, rows().slice(0, 1));
    const std::vector<float> found = sample.values();
    ASSERT_EQ(found.size(), kDim);
    for (std::size_t j = 0; j < kDim; ++j) {
        EXPECT_NEAR(found[j] / 3e30, values_[j] / 3e30, std::exp2(-11));
    }
}

TEST_F(CalibrationSampleTest, ForgetsRows) {
    CalibrationSample sample(kDim);
    sample.add(0, rows().slice(0, 10));
    sample.erase(std::vector<std::uint64_t>{3, 7, 99});
    EXPECT_EQ(sample.rows(), 8U);
    CalibrationSample without(kDim);
    without.add(0, rows().slice(0, 3));
    without.add(4, rows().slice(4, 3));
    without.add(8, rows().slice(8, 2));
    EXPECT_EQ(sample.values(), without.values());
}

TEST_F(CalibrationSampleTest, RowsThatComeAfterOthersLeftAreNoLikelier) {
    CalibrationSample sample = full();
    const std::string before = sample.save();
    sample.keep([](std::uint64_t row) { return row >= 3000; });
    const std::size_t left = sample.rows();
    sample.add(kRows, rows().slice(0, 3000));
    // A third of those offered, as of the first: not all that there is room for.
    EXPECT_NEAR(static_cast<double>(sample.rows() - left), 1000.0, 100.0);
}

TEST_F(CalibrationSampleTest, IsReadAsItWasWritten) {
    const CalibrationSample read = CalibrationSample::restore(full().save(), kDim);
    EXPECT_EQ(read.values(), full().values());
    EXPECT_EQ(read.save(), full().save());
    EXPECT_EQ(CalibrationSample::restore(CalibrationSample(kDim).save(), kDim).rows(), 0U);
}

TEST_F(CalibrationSampleTest, RefusesDamage) {
    CalibrationSample sample(kDim);
    sample.add(0, rows().slice(0, 3));
    const std::string bytes = sample.save();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        ARFC_EXPECT_ERROR(
            (void)CalibrationSample::restore(bytes.substr(0, size), kDim), ErrorKind::kCorruption,
            "Calibration sample");
    }
    for (std::size_t i = 12; i < bytes.size(); ++i) { // What comes before is magic and format.
        std::string damaged = bytes;
        damaged[i] = static_cast<char>(damaged[i] ^ 1);
        ARFC_EXPECT_ERROR(
            (void)CalibrationSample::restore(damaged, kDim), ErrorKind::kCorruption,
            "Calibration sample differs from its checksum");
    }
    ARFC_EXPECT_ERROR(
        (void)CalibrationSample::restore(bytes, kDim + 1), ErrorKind::kCorruption,
        "width 8, expected 9");
    std::string newer = bytes;
    newer[8] = 1;
    ARFC_EXPECT_ERROR(
        (void)CalibrationSample::restore(newer, kDim), ErrorKind::kUnsupported, "newer format: 1");
}

} // namespace
} // namespace arfc
