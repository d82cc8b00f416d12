#include "head_sieve.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "arfc/base/instruction_set.h"
#include "sieve_kernel.h"

namespace arfc {
namespace {

constexpr std::size_t kBytes = 256;
constexpr std::size_t kAlignment = 64;
/// The widest table takes so many steps: one less than a byte holds, for what rounding adds.
constexpr double kSteps = 254.0;

const SieveKernel* kernel() noexcept {
#if defined(__x86_64__)
    if (instruction_set() >= InstructionSet::kAvx512Vbmi) {
        return &avx512vbmi::kSieveKernel;
    }
#endif
    return nullptr;
}

} // namespace

std::optional<HeadSieve> HeadSieve::make(
    const float* tables, std::size_t tokens, Metric metric, const Compressor::QueryTerms& terms,
    std::span<const float> levels) {
    const SieveKernel* const by = kernel();
    if (by == nullptr || tokens < 1 || tokens > kMostSieveTokens) {
        return std::nullopt;
    }
    HeadSieve sieve;
    sieve.metric_ = metric;
    sieve.tokens_ = tokens;
    sieve.squared_norm_ = static_cast<double>(terms.squared_norm);
    std::array<float, kMostSieveTokens> least; // NOLINT: filled in the next loop
    double widest = 0.0;
    double magnitude = std::fabs(static_cast<double>(terms.bias));
    double start = static_cast<double>(terms.bias);
    for (std::size_t t = 0; t < tokens; ++t) {
        float largest = 0.0F;
        by->range(tables + t * kSymbols, &least[t], &largest);
        widest = std::max(widest, static_cast<double>(largest) - static_cast<double>(least[t]));
        start += static_cast<double>(least[t]);
        magnitude += static_cast<double>(std::max(std::fabs(least[t]), std::fabs(largest)));
    }
    // A NaN in the tables may have been passed over; then sums are NaN, and no score is wanted.
    const double step = widest / kSteps;
    const auto scale = static_cast<float>(1.0 / step);
    if (!std::isfinite(magnitude + sieve.squared_norm_) || !std::isfinite(scale) || step <= 0.0) {
        return std::nullopt;
    }
    sieve.start_ = start;
    sieve.step_ = step;
    sieve.rounding_ = std::ldexp(static_cast<double>(tokens + 4) * magnitude, -20);
    for (const float level : levels) {
        const auto term = static_cast<double>(level);
        const double value = metric == Metric::kCosine ? 1.0 / term : term;
        if (!std::isfinite(value) || (metric == Metric::kCosine && value <= 0.0)) {
            return std::nullopt;
        }
        sieve.levels_.push_back(value);
    }
    sieve.storage_.resize((tokens + 1) * kBytes + kAlignment);
    const auto address = reinterpret_cast<std::uintptr_t>(sieve.storage_.data());
    sieve.bytes_ = sieve.storage_.data() + (kAlignment - address % kAlignment) % kAlignment;
    for (std::size_t t = 0; t < tokens; ++t) {
        by->quantise(tables + t * kSymbols, least[t], scale, sieve.bytes_ + t * kBytes);
    }
    return sieve;
}

void HeadSieve::aim(float threshold) {
    aimed_at_ = threshold;
    passes_all_ = !std::isfinite(threshold);
    passes_none_ = false;
    if (passes_all_) {
        return;
    }
    // A row of level l needs a sum of base + slope * levels_[l] at least.
    const auto wanted = static_cast<double>(threshold);
    double base = wanted;
    double slope = 0.0;
    if (metric_ == Metric::kL2) {
        base = 0.5 * (wanted + squared_norm_);
        slope = 0.5;
    } else if (metric_ == Metric::kCosine && !levels_.empty()) {
        base = 0.0;
        slope = wanted;
    }
    double most = base;
    double magnitude = std::fabs(base);
    if (!levels_.empty()) {
        const auto [low, high] = std::minmax_element(levels_.begin(), levels_.end());
        const double one_end = base + slope * *low;
        const double other_end = base + slope * *high;
        // Rows that need more than a byte can tell apart from what others need are taken to need
        // less.
        most =
            std::min(std::max(one_end, other_end), std::min(one_end, other_end) + kSteps * step_);
        magnitude += std::max(std::fabs(slope * *low), std::fabs(slope * *high));
        std::uint8_t* const bytes = bytes_ + tokens_ * kBytes;
        for (std::size_t l = 0; l < levels_.size(); ++l) {
            const double above = (most - base - slope * levels_[l]) / step_;
            bytes[l] = static_cast<std::uint8_t>(std::ceil(std::max(above, 0.0) + 1e-3));
        }
    }
    const double least =
        std::floor((most - start_ - rounding_ - std::ldexp(magnitude, -20)) / step_);
    passes_all_ = !(least > 0.0);
    passes_none_ = least > static_cast<double>(std::numeric_limits<std::uint16_t>::max());
    least_ = passes_all_ || passes_none_ ? std::uint16_t{0} : static_cast<std::uint16_t>(least);
}

std::size_t HeadSieve::pass(
    const std::byte* heads, const std::uint8_t* levels, std::size_t count, float threshold,
    std::uint16_t* places) {
    if (aimed_at_ != threshold) {
        aim(threshold);
    }
    if (passes_all_) {
        std::iota(places, places + count, std::uint16_t{0});
        return count;
    }
    if (passes_none_) {
        return 0;
    }
    std::array<std::uint64_t, kMostRows / kSieveBlock> masks = {};
    kernel()->sieve(
        bytes_, heads, tokens_, levels_.empty() ? nullptr : levels, count, least_, masks.data());
    std::size_t found = 0;
    for (std::size_t block = 0; block * kSieveBlock < count; ++block) {
        for (std::uint64_t mask = masks[block]; mask != 0; mask &= mask - 1) {
            places[found++] = static_cast<std::uint16_t>(
                block * kSieveBlock + static_cast<std::size_t>(std::countr_zero(mask)));
        }
    }
    return found;
}

} // namespace arfc
