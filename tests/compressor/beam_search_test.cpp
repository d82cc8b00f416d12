#include "beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "arfc/compressor/compressor.h"
#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 24;
constexpr std::size_t kTokens = 4;
constexpr std::size_t kRows = 40;

class BeamSearchTest : public ::testing::Test {
  protected:
    BeamSearchTest() : rows_(test::random_rows(kRows, kDim)) {
        for (std::size_t t = 0; t < kTokens; ++t) {
            codebooks_.push_back(
                test::random_rows(kSymbols, kDim, 10 + static_cast<std::uint32_t>(t)));
            for (float& value : codebooks_.back()) {
                value /= static_cast<float>(1 + t);
            }
            search_.add_codebook(test::view(codebooks_.back(), kDim));
        }
    }

    double distance(std::size_t row, const std::uint8_t* code, std::size_t tokens) const {
        double sum = 0.0;
        for (std::size_t j = 0; j < kDim; ++j) {
            double left = static_cast<double>(rows_[row * kDim + j]);
            for (std::size_t t = 0; t < tokens; ++t) {
                left -= static_cast<double>(codebooks_[t][code[t] * kDim + j]);
            }
            sum += left * left;
        }
        return sum;
    }
    double norm(std::size_t row) const {
        double sum = 0.0;
        for (std::size_t j = 0; j < kDim; ++j) {
            sum += static_cast<double>(rows_[row * kDim + j]) *
                   static_cast<double>(rows_[row * kDim + j]);
        }
        return sum;
    }
    BeamSearch::State run(std::size_t width, std::vector<std::size_t> commits, std::size_t tokens) {
        std::vector<float> scratch(BeamSearch::scratch_size(kRows));
        return search_.run(test::view(rows_, kDim), width, commits, tokens, scratch.data());
    }

    std::vector<float> rows_;
    std::vector<std::vector<float>> codebooks_;
    BeamSearch search_{kDim};
};

TEST_F(BeamSearchTest, WidthOneIsGreedy) {
    const BeamSearch::State state = run(1, {kTokens}, kTokens);
    for (std::size_t i = 0; i < kRows; ++i) {
        std::vector<std::uint8_t> code;
        for (std::size_t t = 0; t < kTokens; ++t) {
            double best = std::numeric_limits<double>::infinity();
            std::uint8_t chosen = 0;
            code.push_back(0);
            for (std::size_t k = 0; k < kSymbols; ++k) {
                code[t] = static_cast<std::uint8_t>(k);
                const double d = distance(i, code.data(), t + 1);
                if (d < best - 1e-6) {
                    best = d;
                    chosen = code[t];
                }
            }
            code[t] = chosen;
        }
        EXPECT_NEAR(
            distance(i, state.code(i, 0), kTokens), distance(i, code.data(), kTokens), 1e-3);
    }
}

TEST_F(BeamSearchTest, CostsAreTheDistancesThatTheyStandFor) {
    const BeamSearch::State state = run(6, {2, kTokens}, kTokens);
    for (std::size_t i = 0; i < kRows; ++i) {
        EXPECT_NEAR(
            state.costs[i * state.width] + norm(i), distance(i, state.code(i, 0), kTokens), 1e-2);
    }
}

/// By a search that keeps nothing but codes and computes each distance anew, in double.
TEST_F(BeamSearchTest, HypothesesAreTheClosestExtensions) {
    for (const std::size_t width : {1U, 3U, 16U, 17U, 64U}) {
        const BeamSearch::State state = run(width, {kTokens}, kTokens);
        for (std::size_t i = 0; i < 4; ++i) {
            std::vector<std::vector<std::uint8_t>> kept = {{}};
            for (std::size_t t = 0; t < kTokens; ++t) {
                std::vector<std::pair<double, std::vector<std::uint8_t>>> longer;
                for (std::vector<std::uint8_t> code : kept) {
                    code.push_back(0);
                    for (std::size_t k = 0; k < kSymbols; ++k) {
                        code[t] = static_cast<std::uint8_t>(k);
                        longer.emplace_back(distance(i, code.data(), t + 1), code);
                    }
                }
                std::sort(longer.begin(), longer.end());
                longer.resize(std::min(width, longer.size()));
                kept.clear();
                for (auto& [_, code] : longer) {
                    kept.push_back(code);
                }
            }
            for (std::size_t h = 0; h < width; ++h) {
                EXPECT_TRUE(std::equal(kept[h].begin(), kept[h].end(), state.code(i, h)))
                    << "width " << width << ", row " << i << ", hypothesis " << h;
                EXPECT_NEAR(
                    state.costs[i * width + h] + norm(i), distance(i, state.code(i, h), kTokens),
                    1e-2);
            }
        }
    }
}

TEST_F(BeamSearchTest, TwoTokensWithAFullBeamAreOptimal) {
    // With 64 hypotheses after the first token the best pair is nearly always among them; compare
    // with all 65,536.
    const BeamSearch::State state = run(64, {2}, 2);
    double found = 0.0;
    double optimal = 0.0;
    for (std::size_t i = 0; i < 6; ++i) {
        double best = std::numeric_limits<double>::infinity();
        for (std::size_t a = 0; a < kSymbols; ++a) {
            for (std::size_t b = 0; b < kSymbols; ++b) {
                const std::uint8_t code[] = {
                    static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b)};
                best = std::min(best, distance(i, code, 2));
            }
        }
        found += distance(i, state.code(i, 0), 2);
        optimal += best;
    }
    EXPECT_GE(found, optimal - 1e-3);
    EXPECT_LE(found, 1.05 * optimal);
}

TEST_F(BeamSearchTest, WiderIsCloser) {
    double narrow = 0.0;
    double wide = 0.0;
    const BeamSearch::State one = run(1, {kTokens}, kTokens);
    const BeamSearch::State eight = run(8, {kTokens}, kTokens);
    for (std::size_t i = 0; i < kRows; ++i) {
        narrow += distance(i, one.code(i, 0), kTokens);
        wide += distance(i, eight.code(i, 0), kTokens);
    }
    EXPECT_LT(wide, 0.99 * narrow);
}

TEST_F(BeamSearchTest, CommittedTokensDoNotChangeAfterwards) {
    const BeamSearch::State two = run(8, {2, kTokens}, 2);
    const BeamSearch::State four = run(8, {2, kTokens}, kTokens);
    for (std::size_t i = 0; i < kRows; ++i) {
        EXPECT_EQ(two.code(i, 0)[0], four.code(i, 0)[0]);
        EXPECT_EQ(two.code(i, 0)[1], four.code(i, 0)[1]);
    }
}

} // namespace
} // namespace arfc
