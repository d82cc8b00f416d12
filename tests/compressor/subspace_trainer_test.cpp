#include "subspace_trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels.h"
#include "random_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 12;
constexpr std::size_t kRows = 1200;
constexpr std::size_t kHeldOut = 300;

class SubspaceTrainerTest : public testing::Test {
  protected:
    SubspaceTrainerTest() {
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            rows_[i] *= i % kDim / 4 == 1 ? 3.0F : 1.0F; // The second sub-space is the strongest.
        }
    }

    [[nodiscard]] SubspaceTask task(std::size_t beam_width) const {
        return {
            .trained = test::view(rows_, kDim),
            .held_out = {held_out_.data(), held_out_.size() / kDim, kDim},
            .bounds = bounds_,
            .beam_width = beam_width,
            .commit_points = {2, 5, 9},
            .go_on = [] { return true; }};
    }
    static void offer_all(SubspaceTrainer& trainer) {
        for (std::size_t s = 0; s < trainer.subspaces(); ++s) {
            trainer.make_offer(s, s);
        }
    }
    /// Takes so many tokens of the second sub-space. @returns each token.
    static std::vector<SubspaceTrainer::Token> take_some(
        SubspaceTrainer& trainer, std::size_t tokens) {
        std::vector<SubspaceTrainer::Token> taken;
        for (std::size_t t = 0; t < tokens; ++t) {
            trainer.make_offer(1, 100 + t);
            taken.push_back(trainer.take(1));
        }
        return taken;
    }
    static double total_gain(const std::vector<SubspaceTrainer::Token>& tokens) {
        return std::accumulate(
            tokens.begin(), tokens.end(), 0.0,
            [](double sum, const SubspaceTrainer::Token& token) { return sum + token.gain; });
    }

    std::vector<float> rows_ = test::random_rows(kRows, kDim, 1);
    std::vector<float> held_out_ = test::random_rows(kHeldOut, kDim, 2);
    std::vector<std::size_t> bounds_ = {0, 4, 8, 12};
};

TEST_F(SubspaceTrainerTest, TheSubspaceThatGainsMostIsFirst) {
    SubspaceTrainer trainer(task(3));
    offer_all(trainer);
    EXPECT_EQ(trainer.best(), 1U);
}

TEST_F(SubspaceTrainerTest, AGainIsTheErrorRemoved) {
    SubspaceTrainer trainer(task(1));
    const std::vector<SubspaceTrainer::Token> tokens = take_some(trainer, 3);
    // By hand: the closest symbol of one codebook after another.
    double before = 0.0;
    double after = 0.0;
    for (std::size_t i = 0; i < kRows; ++i) {
        std::vector<float> left(
            rows_.begin() + static_cast<std::ptrdiff_t>(i * kDim + 4),
            rows_.begin() + static_cast<std::ptrdiff_t>(i * kDim + 8));
        before += static_cast<double>(kernels().dot(left.data(), left.data(), 4));
        for (const SubspaceTrainer::Token& token : tokens) {
            std::vector<float> closest;
            float least = 0.0F;
            for (std::size_t k = 0; k < 256; ++k) {
                std::vector<float> rest = left;
                kernels().subtract(rest.data(), token.codebook.data() + k * 4, 4);
                const float cost = kernels().dot(rest.data(), rest.data(), 4);
                if (closest.empty() || cost < least) {
                    closest = rest;
                    least = cost;
                }
            }
            left = closest;
        }
        after += static_cast<double>(kernels().dot(left.data(), left.data(), 4));
    }
    EXPECT_NEAR(total_gain(tokens), before - after, 1e-4 * before);
    EXPECT_GT(total_gain(tokens), 0.9 * before);
}

TEST_F(SubspaceTrainerTest, ABeamLeavesLessThanOneHypothesisDoesByTheSameCodebooks) {
    SubspaceTask same = task(1);
    SubspaceTrainer greedy(same);
    const std::vector<SubspaceTrainer::Token> tokens = take_some(greedy, 2);
    same.beam_width = 5;
    std::size_t next = 0;
    same.learn = [&](std::size_t subspace, std::size_t token, std::size_t count, const auto&) {
        EXPECT_EQ(subspace, 1U);
        EXPECT_EQ(count, 256U * 4U);
        ++next;
        return tokens[token].codebook;
    };
    SubspaceTrainer beam(same);
    EXPECT_GT(total_gain(take_some(beam, 2)), total_gain(tokens));
    EXPECT_EQ(next, 2U);
}

TEST_F(SubspaceTrainerTest, CodebooksReachRowsThatAreLongerThanThoseThatTrained) {
    const auto longest = [](const std::vector<float>& codebook) {
        float most = 0.0F;
        for (std::size_t k = 0; k < 256; ++k) {
            most =
                std::max(most, kernels().dot(codebook.data() + k * 4, codebook.data() + k * 4, 4));
        }
        return most;
    };
    held_out_ = rows_;
    SubspaceTrainer equal(task(3));
    std::transform(held_out_.begin(), held_out_.end(), held_out_.begin(), [](float value) {
        return 2.0F * value;
    });
    SubspaceTrainer longer(task(3));
    EXPECT_GT(
        longest(take_some(longer, 1)[0].codebook), 2.0F * longest(take_some(equal, 1)[0].codebook));
}

TEST_F(SubspaceTrainerTest, OnlyRowsThatAreClearlyLongerCount) {
    const auto codebook = [&](float factor) {
        held_out_ = rows_;
        for (float& value : held_out_) {
            value *= factor;
        }
        SubspaceTrainer trainer(task(3));
        return take_some(trainer, 1)[0].codebook;
    };
    const std::vector<float> equal = codebook(1.0F);
    EXPECT_EQ(codebook(1.02F), equal); // By four hundredths of energy; five are worth it.
    EXPECT_NE(codebook(1.03F), equal);
    EXPECT_EQ(codebook(0.5F), equal);
}

TEST_F(SubspaceTrainerTest, GainsOfABeamAddUpOverCommitPoints) {
    SubspaceTrainer trainer(task(4));
    const std::vector<SubspaceTrainer::Token> tokens = take_some(trainer, 5);
    BeamSearch search(4);
    for (const SubspaceTrainer::Token& token : tokens) {
        search.add_codebook({token.codebook.data(), 256, 4});
    }
    double energy = 0.0;
    double left = 0.0;
    std::vector<float> points;
    for (std::size_t i = 0; i < kRows; ++i) {
        points.insert(
            points.end(), rows_.begin() + static_cast<std::ptrdiff_t>(i * kDim + 4),
            rows_.begin() + static_cast<std::ptrdiff_t>(i * kDim + 8));
        const float* const point = points.data() + i * 4;
        energy += static_cast<double>(kernels().dot(point, point, 4));
    }
    std::vector<float> scratch(BeamSearch::scratch_size(kRows));
    const std::vector<std::size_t> commit_points = {2, 5};
    const BeamSearch::State state =
        search.run(test::view(points, 4), 4, commit_points, 5, scratch.data());
    for (std::size_t i = 0; i < kRows; ++i) {
        float* const point = points.data() + i * 4;
        for (std::size_t t = 0; t < 5; ++t) {
            kernels().subtract(point, tokens[t].codebook.data() + state.code(i, 0)[t] * 4UL, 4);
        }
        left += static_cast<double>(kernels().dot(point, point, 4));
    }
    EXPECT_NEAR(total_gain(tokens), energy - left, 1e-5 * energy);
    EXPECT_LT(left, 1e-3 * energy);
}

TEST_F(SubspaceTrainerTest, ClustersAsOftenAsIsAskedFromASeed) {
    std::size_t asked = 0;
    SubspaceTask task = this->task(3);
    task.iterations = 4;
    task.go_on = [&] { return ++asked > 0; };
    const auto codebook = [&](std::uint64_t seed) {
        SubspaceTrainer trainer(task);
        trainer.make_offer(0, seed);
        return trainer.take(0).codebook;
    };
    const std::vector<float> first = codebook(1);
    EXPECT_EQ(asked, 4U);
    EXPECT_EQ(codebook(1), first);
    EXPECT_NE(codebook(2), first);
}

TEST_F(SubspaceTrainerTest, NothingNeedBeHeldOut) {
    held_out_.clear();
    SubspaceTrainer trainer(task(3));
    EXPECT_GT(total_gain(take_some(trainer, 2)), 0.0);
}

TEST(LengthRatioTest, IsBoundedAndNeverShortens) {
    EXPECT_DOUBLE_EQ(length_ratio(4.0, 1.0), 2.0);
    EXPECT_DOUBLE_EQ(length_ratio(1.0, 4.0), 1.0);
    EXPECT_DOUBLE_EQ(length_ratio(100.0, 1.0), 3.0);
    EXPECT_DOUBLE_EQ(length_ratio(1.0, 0.0), 1.0);
    EXPECT_DOUBLE_EQ(length_ratio(-1e-9, 1e-9), 1.0); // Rounding: codes leave nothing.
    EXPECT_DOUBLE_EQ(length_ratio(1e-9, -1e-9), 1.0);
}

} // namespace
} // namespace arfc
