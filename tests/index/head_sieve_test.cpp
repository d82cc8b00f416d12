#include "head_sieve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "arfc/base/instruction_set.h"
#include "look_ups.h"

namespace arfc {
namespace {

constexpr std::size_t kRows = HeadBlock::kMostRows;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Tables, heads and levels of a metric and a width, and their scores as a scan by floats has them.
class HeadSieveTest : public ::testing::TestWithParam<std::tuple<Metric, std::size_t>> {
  protected:
    void SetUp() override {
        if (instruction_set() < InstructionSet::kAvx512Vbmi) {
            GTEST_SKIP() << "this processor has no AVX-512 VBMI, or ARFC_KERNELS forbids it";
        }
        std::mt19937 random(static_cast<std::uint32_t>(tokens()));
        std::normal_distribution<float> normal(0.02F, 0.1F);
        std::generate(tables_.begin(), tables_.end(), [&] { return normal(random); });
        for (std::byte& token : heads_) {
            token = static_cast<std::byte>(random() % kSymbols);
        }
        for (std::uint8_t& level : levels_) {
            level = static_cast<std::uint8_t>(random() % 256);
        }
        for (std::size_t l = 0; l < terms_.size(); ++l) {
            terms_[l] = 0.9F + 0.001F * static_cast<float>(l);
        }
    }

    static Metric metric() { return std::get<0>(GetParam()); }
    static std::size_t tokens() { return std::get<1>(GetParam()); }
    [[nodiscard]] std::span<const float> level_terms() const {
        return metric() == Metric::kInnerProduct ? std::span<const float>() : terms_;
    }
    [[nodiscard]] std::optional<HeadSieve> make() const {
        return HeadSieve::make(tables_.data(), tokens(), metric(), of_query_, level_terms());
    }
    [[nodiscard]] std::vector<float> scores() const {
        std::vector<float> sums(kRows, of_query_.bias);
        add_look_ups(
            tables_.data(), heads_.data(), tokens(), tokens(), levels_.size(), sums.data());
        for (std::size_t i = 0; i < kRows; ++i) {
            const float term = level_terms().empty() ? 0.0F : terms_[levels_[i]];
            sums[i] = Compressor::combine(metric(), sums[i], term, of_query_.squared_norm);
        }
        return sums;
    }
    std::vector<std::uint16_t> pass(HeadSieve& sieve, std::size_t count, float threshold) const {
        const std::uint8_t* const levels = level_terms().empty() ? nullptr : levels_.data();
        HeadBlock block(tokens());
        block.take(heads_.data(), levels, count, false);
        std::vector<std::uint16_t> places(count);
        places.resize(sieve.pass(block, threshold, places.data()));
        block.take(heads_.data(), levels, count, true);
        std::vector<std::uint16_t> shared(count);
        shared.resize(sieve.pass(block, threshold, shared.data()));
        EXPECT_EQ(shared, places);
        return places;
    }

    const Compressor::QueryTerms of_query_ = {0.05F, 1.3F};
    std::vector<float> tables_ = std::vector<float>(tokens() * kSymbols);
    std::vector<std::byte> heads_ = std::vector<std::byte>(kRows * tokens());
    std::vector<std::uint8_t> levels_ = std::vector<std::uint8_t>(kRows);
    std::vector<float> terms_ = std::vector<float>(256);
};

TEST_P(HeadSieveTest, PassesWhateverReachesTheThreshold) {
    std::optional<HeadSieve> sieve = make();
    ASSERT_TRUE(sieve);
    const std::vector<float> of_rows = scores();
    std::vector<float> thresholds = of_rows; // Each row is on the edge of one.
    thresholds.insert(thresholds.end(), {-100.0F, 0.0F, 100.0F});
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, std::size_t{200},
          kRows}) {
        for (const float threshold : thresholds) {
            const std::vector<std::uint16_t> places = pass(*sieve, count, threshold);
            EXPECT_TRUE(std::is_sorted(places.begin(), places.end()));
            EXPECT_TRUE(places.empty() || places.back() < count);
            for (std::size_t i = 0; i < count; ++i) {
                if (of_rows[i] >= threshold) {
                    ASSERT_TRUE(std::binary_search(places.begin(), places.end(), i))
                        << i << " of " << count << " at " << threshold;
                }
            }
        }
    }
}

TEST_P(HeadSieveTest, PassesFewOthers) {
    std::optional<HeadSieve> sieve = make();
    ASSERT_TRUE(sieve);
    std::vector<float> sorted = scores();
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    // A token's rounding is half a step of 254 on the mean, where scores spread over many.
    EXPECT_LE(pass(*sieve, kRows, sorted[19]).size(), 80U);
    EXPECT_EQ(pass(*sieve, kRows, sorted[0] + 10.0F).size(), 0U);
    EXPECT_EQ(pass(*sieve, kRows, sorted.back() - 10.0F).size(), kRows);
}

TEST_P(HeadSieveTest, ThresholdsThatAreNoNumberLetEverythingPass) {
    std::optional<HeadSieve> sieve = make();
    ASSERT_TRUE(sieve);
    for (const float threshold : {-kInfinity, std::nanf("")}) {
        EXPECT_EQ(pass(*sieve, kRows, threshold).size(), kRows);
    }
}

TEST_P(HeadSieveTest, ATableWithAnInfinityHasNoSieve) {
    tables_.back() = kInfinity;
    EXPECT_FALSE(make());
}

TEST_P(HeadSieveTest, TablesThatTellNothingApartHaveNoSieve) {
    std::fill(tables_.begin(), tables_.end(), 0.25F);
    EXPECT_FALSE(make());
}

TEST_P(HeadSieveTest, LevelsFurtherApartThanAByteCanTellLoseNoRow) {
    if (metric() == Metric::kInnerProduct) {
        GTEST_SKIP() << "rows have no levels under inner product";
    }
    for (std::size_t l = 0; l < terms_.size(); ++l) {
        terms_[l] = 1.0F + 10.0F * static_cast<float>(l);
    }
    std::optional<HeadSieve> sieve = make();
    ASSERT_TRUE(sieve);
    const std::vector<float> of_rows = scores();
    for (const float threshold : of_rows) {
        const std::vector<std::uint16_t> places = pass(*sieve, kRows, threshold);
        for (std::size_t i = 0; i < kRows; ++i) {
            if (of_rows[i] >= threshold) {
                ASSERT_TRUE(std::binary_search(places.begin(), places.end(), i)) << i;
            }
        }
    }
}

TEST_P(HeadSieveTest, ATermThatIsNotPositiveHasNoSieveUnderCosine) {
    if (metric() != Metric::kCosine) {
        GTEST_SKIP() << "terms multiply under cosine alone";
    }
    for (const float term : {0.0F, -1.0F, std::nanf("")}) {
        terms_[7] = term;
        EXPECT_FALSE(make()) << term;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Widths, HeadSieveTest,
    ::testing::Combine(
        ::testing::Values(Metric::kCosine, Metric::kL2, Metric::kInnerProduct),
        ::testing::Values<std::size_t>(1, 8, 15, 16, 17, 40, 128)),
    [](const auto& tested) {
        return std::string(to_string(std::get<0>(tested.param))) + "_" +
               std::to_string(std::get<1>(tested.param));
    });

TEST(HeadSieveOfWideHeads, IsNone) {
    const std::vector<float> tables(129 * kSymbols, 1.0F);
    EXPECT_FALSE(HeadSieve::make(tables.data(), 129, Metric::kInnerProduct, {0.0F, 1.0F}, {}));
}

} // namespace
} // namespace arfc
