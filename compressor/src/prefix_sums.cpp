#include "prefix_sums.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "arfc/compressor/compressor.h"
#include "kernels.h"
#include "threads.h"

namespace arfc {
namespace {

constexpr std::size_t kMostColumns = 512; // Of a block: what is summed stays in a level-1 cache.

using Block = std::array<float, kMostColumns>;

/// Calls work(first column, columns) for all columns, as many at once as give each thread its
/// share: narrower blocks read symbols in smaller pieces, in twice the time at 32 columns.
template <class Work>
void for_each_block(std::size_t d, double operations, const Work& work) {
    const std::size_t threads = num_threads();
    const std::size_t columns = std::min((d + threads - 1) / threads, kMostColumns);
    parallel_for((d + columns - 1) / columns, operations, [&](std::size_t block) {
        const std::size_t first = block * columns;
        work(first, std::min(columns, d - first));
    });
}

} // namespace

torch::Tensor PrefixSums::sums() const {
    const auto n = static_cast<std::size_t>(codes.size(0));
    const auto tokens = static_cast<std::size_t>(codes.size(1));
    const auto d = static_cast<std::size_t>(mean.size(0));
    torch::Tensor out =
        torch::empty({static_cast<std::int64_t>(lengths.size()), codes.size(0), mean.size(0)});
    const float* const symbols = codebooks.data_ptr<float>();
    const auto* const code = codes.data_ptr<std::int64_t>();
    float* const to = out.data_ptr<float>();
    const double operations = static_cast<double>(n * tokens * d);
    for_each_block(d, operations, [&](std::size_t first, std::size_t count) {
        Block sum = {};
        for (std::size_t i = 0; i < n; ++i) {
            std::copy_n(mean.data_ptr<float>() + first, count, sum.data());
            auto length = lengths.begin();
            std::size_t at = 0;
            for (std::size_t t = 0; length != lengths.end(); ++t) {
                const auto symbol = static_cast<std::size_t>(code[i * tokens + t]);
                kernels().add(sum.data(), symbols + (t * kSymbols + symbol) * d + first, count);
                if (static_cast<std::size_t>(*length) == t + 1) {
                    std::copy_n(sum.data(), count, to + (at * n + i) * d + first);
                    ++length;
                    ++at;
                }
            }
        }
    });
    return out;
}

PrefixSums::Gradients PrefixSums::gradients(
    const torch::Tensor& rows, const torch::Tensor& gradients, double weight) const {
    const auto n = static_cast<std::size_t>(codes.size(0));
    const auto tokens = static_cast<std::size_t>(codes.size(1));
    const auto d = static_cast<std::size_t>(mean.size(0));
    Gradients out{torch::zeros_like(codebooks), torch::zeros_like(mean)};
    const float* const symbols = codebooks.data_ptr<float>();
    const auto* const code = codes.data_ptr<std::int64_t>();
    const float* const row = rows.data_ptr<float>();
    const float* const of_sums = gradients.data_ptr<float>();
    float* const of_symbols = out.codebooks.data_ptr<float>();
    float* const of_mean = out.mean.data_ptr<float>();
    const auto factor = static_cast<float>(2.0 * weight);
    const double operations = 5.0 * static_cast<double>(n * tokens * d);
    for_each_block(d, operations, [&](std::size_t first, std::size_t count) {
        Block error = {};    // Of the sum of as many symbols as are looked at.
        Block gradient = {}; // Of all prefixes that a symbol is in: it and longer ones.
        for (std::size_t i = 0; i < n; ++i) {
            const auto place = [&](std::size_t t) {
                const auto symbol = static_cast<std::size_t>(code[i * tokens + t]);
                return (t * kSymbols + symbol) * d + first;
            };
            std::copy_n(mean.data_ptr<float>() + first, count, error.data());
            for (std::size_t t = 0; t < tokens; ++t) {
                kernels().add(error.data(), symbols + place(t), count);
            }
            kernels().subtract(error.data(), row + i * d + first, count);
            std::fill_n(gradient.data(), count, 0.0F);
            auto length = lengths.rbegin();
            std::size_t at = lengths.size();
            for (std::size_t t = tokens; t-- > 0;) {
                if (length != lengths.rend() && static_cast<std::size_t>(*length) == t + 1) {
                    --at;
                    ++length;
                    kernels().add(gradient.data(), of_sums + (at * n + i) * d + first, count);
                }
                const float* const symbol = symbols + place(t);
                float* const of_symbol = of_symbols + place(t);
                for (std::size_t j = 0; j < count; ++j) {
                    gradient[j] += factor * error[j];
                    of_symbol[j] += gradient[j];
                    error[j] -= symbol[j];
                }
            }
            kernels().add(of_mean + first, gradient.data(), count);
        }
    });
    return out;
}

} // namespace arfc
