#include "ingest/row_sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "expect_error.h"
#include "ingest/ingestion.h"

namespace arfc::tools {
namespace {

/// [rows, 2]: row i is i, -i.
std::vector<float> numbered(std::size_t rows) {
    std::vector<float> values;
    for (std::size_t i = 0; i < rows; ++i) {
        values.push_back(static_cast<float>(i));
        values.push_back(-static_cast<float>(i));
    }
    return values;
}

void offer(RowSample& sample, const std::vector<float>& values, std::size_t batch_rows) {
    for (std::size_t first = 0; first < values.size() / 2; first += batch_rows) {
        const std::size_t count = std::min(batch_rows, values.size() / 2 - first);
        sample.add({values.data() + first * 2, count, 2});
    }
}

/// Returns the numbers of the sampled rows, in the sample's order.
std::vector<std::size_t> drawn(
    std::size_t rows, std::size_t capacity, std::uint64_t seed, std::size_t batch_rows = 64,
    std::uint64_t expected = 0) {
    RowSample sample(2, capacity, seed, expected);
    offer(sample, numbered(rows), batch_rows);
    EXPECT_EQ(sample.rows_offered(), rows);
    std::vector<std::size_t> numbers;
    for (std::size_t i = 0; i < sample.rows().rows(); ++i) {
        const std::span<const float> row = sample.rows().row(i);
        EXPECT_EQ(row[1], -row[0]) << "rows stay whole";
        numbers.push_back(static_cast<std::size_t>(row[0]));
    }
    return numbers;
}

TEST(RowSampleTest, KeepsAllOfAShortStreamInItsOrder) {
    for (const std::size_t rows : {0U, 1U, 99U, 100U}) {
        std::vector<std::size_t> all(rows);
        std::iota(all.begin(), all.end(), std::size_t{0});
        EXPECT_EQ(drawn(rows, 100, 5, 7), all);
        EXPECT_EQ(drawn(rows, 100, 5, 7, rows), all);
    }
}

TEST(RowSampleTest, DependsOnTheSeedAndNotOnTheBatches) {
    const std::vector<std::size_t> first = drawn(5000, 100, 3, 1);
    for (const std::size_t batch_rows : {2U, 99U, 100U, 101U, 5000U}) {
        EXPECT_EQ(drawn(5000, 100, 3, batch_rows), first);
        EXPECT_EQ(drawn(5000, 100, 3, batch_rows, 5000), first);
    }
    EXPECT_NE(drawn(5000, 100, 4), first);
    EXPECT_NE(drawn(5000, 100, 3 + (std::uint64_t{1} << 32U)), first) << "all bits of it";
}

TEST(RowSampleTest, HoldsNoRowTwice) {
    const std::vector<std::size_t> numbers = drawn(1000, 300, 8);
    EXPECT_EQ(std::set<std::size_t>(numbers.begin(), numbers.end()).size(), 300U);
}

/// Chi-square of how often each of 200 rows is among 20, over 20,000 seeds: 199 degrees of freedom,
/// times 1 - 20 / 200 because the counts of a sample are tied. Its mean is 179 and its deviation
/// 18, so that 5 deviations are 269; a tenth of the rows drawn a tenth too often adds 400.
TEST(RowSampleTest, EveryRowIsAsLikely) {
    constexpr std::size_t kRows = 200;
    constexpr std::size_t kCapacity = 20;
    constexpr std::size_t kSeeds = 20000;
    std::vector<double> counts(kRows, 0.0);
    for (std::size_t seed = 0; seed < kSeeds; ++seed) {
        for (const std::size_t row : drawn(kRows, kCapacity, seed)) {
            counts[row] += 1.0;
        }
    }
    constexpr double kExpected = static_cast<double>(kSeeds * kCapacity) / kRows;
    double chi_square = 0.0;
    for (const double count : counts) {
        chi_square += (count - kExpected) * (count - kExpected) / kExpected;
    }
    EXPECT_LT(chi_square, 269.0);
    EXPECT_GT(chi_square, 100.0) << "more even than chance";
}

/// Rows are drawn independently of each other: of 10 among 40, each pair of rows comes together as
/// often as 10 * 9 / (40 * 39).
TEST(RowSampleTest, EveryPairIsAsLikely) {
    constexpr std::size_t kSeeds = 20000;
    double together = 0.0;
    double first_and_last = 0.0;
    for (std::size_t seed = 0; seed < kSeeds; ++seed) {
        const std::vector<std::size_t> numbers = drawn(40, 10, seed);
        const std::set<std::size_t> set(numbers.begin(), numbers.end());
        together += set.contains(12) && set.contains(13) ? 1.0 : 0.0;
        first_and_last += set.contains(0) && set.contains(39) ? 1.0 : 0.0;
    }
    constexpr double kExpected = kSeeds * 10.0 * 9.0 / (40.0 * 39.0); // 1,154; deviation 33.
    EXPECT_NEAR(together, kExpected, 5 * 33.0);
    EXPECT_NEAR(first_and_last, kExpected, 5 * 33.0);
}

TEST(RowSampleTest, TakesMemoryForTheSampleAlone) {
    constexpr std::size_t kDim = 1024;
    constexpr std::size_t kBatchRows = 256;
    const std::vector<float> batch(kBatchRows * kDim, 1.0F); // 1 MiB.
    RowSample sample(kDim, 2048, 1);                         // 8 MiB.
    const std::uint64_t before = resident_bytes();
    for (int i = 0; i < 200; ++i) {
        sample.add({batch.data(), kBatchRows, kDim});
    }
    EXPECT_EQ(sample.rows_offered(), 200U * kBatchRows);
    EXPECT_EQ(sample.rows().rows(), 2048U);
    EXPECT_LT(resident_bytes(), before + (std::uint64_t{24} << 20U)) << "of 200 MiB that passed";
}

TEST(RowSampleTest, NothingCannotBeKept) {
    ARFC_EXPECT_ERROR(RowSample(8, 0, 1), ErrorKind::kInvalidArgument, "0 rows of 8");
    ARFC_EXPECT_ERROR(RowSample(0, 8, 1), ErrorKind::kInvalidArgument, "8 rows of 0");
}

} // namespace
} // namespace arfc::tools
