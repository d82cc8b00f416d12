#include "head_sieve.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "arfc/base/instruction_set.h"

namespace arfc {
namespace {

/// Longer heads are added in words: a byte's 254 steps are divided among all tokens.
constexpr std::size_t kMostTokensInBytes = 24;
/// Steps of the widest table of words, and of what a sum of bytes may lack: one less than a byte
/// holds.
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

void HeadBlock::take(
    const std::byte* heads, const std::uint8_t* levels, std::size_t count,
    bool is_shared) noexcept {
    heads_ = heads;
    levels_ = levels;
    rows_ = count;
    is_shared_ = is_shared;
    has_columns_ = false;
}

const std::uint8_t* HeadBlock::columns() {
    if (!has_columns_) {
        kernel()->transpose(heads_, tokens_, rows_, columns_.data());
        if (levels_ != nullptr) {
            std::memcpy(columns_.data() + tokens_ * kSieveRows, levels_, rows_);
        }
        has_columns_ = true;
    }
    return columns_.data();
}

bool HeadSieve::is_available(std::size_t tokens) noexcept {
    return kernel() != nullptr && tokens >= 1 && tokens <= kMostSieveTokens;
}

std::optional<HeadSieve> HeadSieve::make(
    const float* tables, std::size_t tokens, Metric metric, const Compressor::QueryTerms& terms,
    std::span<const float> levels) {
    if (!is_available(tokens)) {
        return std::nullopt;
    }
    const SieveKernel* const by = kernel();
    HeadSieve sieve;
    sieve.metric_ = metric;
    sieve.tables_ = tables;
    sieve.tokens_ = tokens;
    sieve.squared_norm_ = static_cast<double>(terms.squared_norm);
    std::array<float, kMostSieveTokens> least; // NOLINT: filled in the next loop
    double widest = 0.0;
    double magnitude = std::fabs(static_cast<double>(terms.bias));
    sieve.start_ = static_cast<double>(terms.bias);
    sieve.end_ = sieve.start_;
    for (std::size_t t = 0; t < tokens; ++t) {
        float& largest = sieve.largest_[t];
        by->range(tables + t * kSymbols, &least[t], &largest);
        widest = std::max(widest, static_cast<double>(largest) - static_cast<double>(least[t]));
        sieve.start_ += static_cast<double>(least[t]);
        sieve.end_ += static_cast<double>(largest);
        magnitude += static_cast<double>(std::max(std::fabs(least[t]), std::fabs(largest)));
    }
    // A NaN in the tables may have been passed over; then sums are NaN, and no score is wanted.
    sieve.step_ = widest / kSteps;
    const auto scale = static_cast<float>(1.0 / sieve.step_);
    if (!std::isfinite(magnitude + sieve.squared_norm_) || !std::isfinite(scale) ||
        sieve.step_ <= 0.0) {
        return std::nullopt;
    }
    sieve.rounding_ = std::ldexp(static_cast<double>(tokens + 4) * magnitude, -20);
    for (const float level : levels) {
        const auto term = static_cast<double>(level);
        const double value = metric == Metric::kCosine ? 1.0 / term : term;
        if (!std::isfinite(value) || (metric == Metric::kCosine && value <= 0.0)) {
            return std::nullopt;
        }
        sieve.levels_.push_back(value);
    }
    sieve.bytes_ = AlignedBytes((tokens + 1) * kSymbols);
    for (std::size_t t = 0; tokens > kMostTokensInBytes && t < tokens; ++t) {
        by->quantise(tables + t * kSymbols, least[t], scale, sieve.table(t));
    }
    return sieve;
}

HeadSieve::Needed HeadSieve::needed_for(float threshold) const {
    const auto wanted = static_cast<double>(threshold);
    Needed needed;
    needed.base = wanted;
    if (metric_ == Metric::kL2) {
        needed.base = 0.5 * (wanted + squared_norm_);
        needed.slope = 0.5;
    } else if (metric_ == Metric::kCosine && !levels_.empty()) {
        needed.base = 0.0;
        needed.slope = wanted;
    }
    double magnitude = std::fabs(needed.base);
    needed.least = needed.base;
    needed.largest = needed.base;
    if (!levels_.empty()) {
        const auto [low, high] = std::minmax_element(levels_.begin(), levels_.end());
        const double one_end = needed.base + needed.slope * *low;
        const double other_end = needed.base + needed.slope * *high;
        needed.least = std::min(one_end, other_end);
        needed.largest = std::max(one_end, other_end);
        magnitude += std::max(std::fabs(needed.slope * *low), std::fabs(needed.slope * *high));
    }
    needed.rounding = rounding_ + std::ldexp(magnitude, -20);
    return needed;
}

void HeadSieve::aim(float threshold) {
    aimed_at_ = threshold;
    passes_all_ = !std::isfinite(threshold);
    passes_none_ = false;
    if (passes_all_) {
        return;
    }
    const Needed needed = needed_for(threshold);
    if (tokens_ > kMostTokensInBytes) {
        aim_words(needed);
    } else {
        aim_bytes(needed);
    }
}

void HeadSieve::aim_bytes(const Needed& needed) {
    // What a row of the least needed may lack is 254 steps.
    const double step = (end_ - needed.least + needed.rounding) / kSteps;
    const auto scale = static_cast<float>(1.0 / step);
    passes_none_ = step < 0.0;
    passes_all_ = !passes_none_ && !std::isfinite(scale);
    if (passes_none_ || passes_all_) {
        return;
    }
    for (std::size_t t = 0; t < tokens_; ++t) {
        kernel()->quantise_below(tables_ + t * kSymbols, largest_[t], scale, table(t));
    }
    for (std::size_t l = 0; l < levels_.size(); ++l) {
        const double more = (needed.base + needed.slope * levels_[l] - needed.least) / step;
        table(tokens_)[l] = static_cast<std::uint8_t>(std::clamp(more - 1e-3, 0.0, 255.0));
    }
}

void HeadSieve::aim_words(const Needed& needed) {
    // Rows that need more than a byte can tell apart from what others need are taken to need less.
    const double most = std::min(needed.largest, needed.least + kSteps * step_);
    for (std::size_t l = 0; l < levels_.size(); ++l) {
        const double above = (most - needed.base - needed.slope * levels_[l]) / step_;
        table(tokens_)[l] = static_cast<std::uint8_t>(std::ceil(std::max(above, 0.0) + 1e-3));
    }
    const double least = std::floor((most - start_ - needed.rounding) / step_);
    passes_all_ = !(least > 0.0);
    passes_none_ = least > static_cast<double>(std::numeric_limits<std::uint16_t>::max());
    least_ = passes_all_ || passes_none_ ? std::uint16_t{0} : static_cast<std::uint16_t>(least);
}

std::size_t HeadSieve::pass(HeadBlock& rows, float threshold, std::uint16_t* places) {
    if (aimed_at_ != threshold) {
        aim(threshold);
    }
    if (passes_none_) {
        return 0;
    }
    if (passes_all_) {
        std::iota(places, places + rows.rows(), std::uint16_t{0});
        return rows.rows();
    }
    std::array<std::uint64_t, kSieveRows / 64> masks; // NOLINT: the kernel fills them
    const std::size_t tables = tokens_ + (levels_.empty() ? 0 : 1);
    if (tokens_ > kMostTokensInBytes) {
        kernel()->sieve_words(table(0), rows.columns(), tables, rows.rows(), least_, masks.data());
    } else if (rows.is_shared()) {
        kernel()->sieve_bytes(table(0), rows.columns(), tables, rows.rows(), masks.data());
    } else {
        kernel()->sieve_rows(
            table(0), rows.heads(), tokens_, levels_.empty() ? nullptr : rows.levels(), rows.rows(),
            masks.data());
    }
    std::size_t found = 0;
    for (std::size_t block = 0; block * 64 < rows.rows(); ++block) {
        for (std::uint64_t mask = masks[block]; mask != 0; mask &= mask - 1) {
            places[found++] = static_cast<std::uint16_t>(
                block * 64 + static_cast<std::size_t>(std::countr_zero(mask)));
        }
    }
    return found;
}

} // namespace arfc
