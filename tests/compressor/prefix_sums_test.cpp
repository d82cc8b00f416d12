#include "prefix_sums.h"

#include <gtest/gtest.h>

#include <vector>

#include "thread_count.h"

namespace arfc {
namespace {

torch::Tensor drawn(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
    torch::manual_seed(seed);
    return torch::randn(shape);
}

PrefixSums drawn_sums(std::int64_t width, std::set<std::int64_t> lengths, std::int64_t rows = 40) {
    constexpr std::int64_t kTokens = 5;
    PrefixSums sums{
        drawn({kTokens, 256, width}, 1), drawn({width}, 2), torch::Tensor(), std::move(lengths)};
    // Few symbols: rows share them.
    sums.codes = torch::randint(250, 256, {rows, kTokens}, torch::kInt64);
    return sums;
}

/// As autograd has them: of <gradients, sums of the prefixes asked for> and of the weighted squared
/// error of all prefixes.
PrefixSums::Gradients by_autograd(
    const PrefixSums& of, const torch::Tensor& rows, const torch::Tensor& gradients,
    double weight) {
    torch::Tensor codebooks = of.codebooks.clone().requires_grad_();
    torch::Tensor mean = of.mean.clone().requires_grad_();
    torch::Tensor sum = mean.unsqueeze(0);
    torch::Tensor loss = torch::zeros({});
    std::int64_t at = 0;
    for (std::int64_t t = 0; t < of.codes.size(1); ++t) {
        sum = sum + codebooks.select(0, t).index_select(0, of.codes.select(1, t));
        loss = loss + weight * (rows - sum).square().sum();
        if (of.lengths.contains(t + 1)) {
            loss = loss + (gradients[at++] * sum).sum();
        }
    }
    loss.backward();
    return {codebooks.grad(), mean.grad()};
}

TEST(PrefixSums, AddsMeanAndSymbolsOfThePrefixesAskedFor) {
    const PrefixSums sums = drawn_sums(37, {1, 3, 5});
    const torch::Tensor found = sums.sums();
    ASSERT_EQ(found.sizes(), (std::vector<std::int64_t>{3, 40, 37}));
    torch::Tensor sum = sums.mean.unsqueeze(0);
    std::int64_t at = 0;
    for (std::int64_t t = 0; t < 5; ++t) {
        sum = sum + sums.codebooks[t].index_select(0, sums.codes.select(1, t));
        if (sums.lengths.contains(t + 1)) {
            EXPECT_TRUE(found[at++].equal(sum)) << t;
        }
    }
    EXPECT_EQ(at, 3);
}

TEST(PrefixSums, GradientsAreThoseOfAutograd) {
    // 1300 columns are more than one block on any number of threads.
    for (const std::int64_t width : {1, 37, 1300}) {
        for (const std::set<std::int64_t>& lengths :
             {std::set<std::int64_t>{5}, {1}, {2, 4}, {1, 2, 3, 4, 5}}) {
            const PrefixSums sums = drawn_sums(width, lengths);
            const torch::Tensor rows = drawn({40, width}, 3);
            const torch::Tensor gradients =
                drawn({static_cast<std::int64_t>(lengths.size()), 40, width}, 4);
            const PrefixSums::Gradients expected = by_autograd(sums, rows, gradients, 0.3);
            const PrefixSums::Gradients found = sums.gradients(rows, gradients, 0.3);
            EXPECT_TRUE(found.codebooks.allclose(expected.codebooks, 1e-4, 1e-3)) << width;
            EXPECT_TRUE(found.mean.allclose(expected.mean, 1e-4, 1e-3)) << width;
        }
    }
}

TEST(PrefixSums, BitsDoNotDependOnTheThreads) {
    constexpr std::int64_t kRows = 2000; // Enough for several threads.
    const PrefixSums sums = drawn_sums(1300, {2, 5}, kRows);
    const torch::Tensor rows = drawn({kRows, 1300}, 3);
    const torch::Tensor gradients = drawn({2, kRows, 1300}, 4);
    torch::Tensor alone_sums;
    PrefixSums::Gradients alone;
    {
        const test::ThreadCount threads(1);
        alone_sums = sums.sums();
        alone = sums.gradients(rows, gradients, 0.3);
    }
    for (const std::size_t count : {2, 3, 7}) {
        const test::ThreadCount threads(count);
        EXPECT_TRUE(sums.sums().equal(alone_sums)) << count;
        const PrefixSums::Gradients found = sums.gradients(rows, gradients, 0.3);
        EXPECT_TRUE(found.codebooks.equal(alone.codebooks)) << count;
        EXPECT_TRUE(found.mean.equal(alone.mean)) << count;
    }
}

} // namespace
} // namespace arfc
