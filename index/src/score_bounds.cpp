#include "score_bounds.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "error_radii.h"

namespace arfc {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kFloatRounding = 0x1p-24; // Of one operation, as a share of its result.
constexpr double kRounding = 1e-12;        // More than what a few operations on doubles lose.

} // namespace

ScoreBounds::ScoreBounds(
    const Compressor& compressor, std::span<const std::size_t> stage_bytes,
    std::span<const float> query, const float* tables, const Compressor::QueryTerms& terms)
    : compressor_(compressor), stage_bytes_(stage_bytes), metric_(compressor.metric()),
      squared_norm_(terms.squared_norm), exact_squared_norm_(0.0), gains_(stage_bytes.size()),
      sizes_(stage_bytes.size()) {
    for (const float value : query) {
        exact_squared_norm_ += static_cast<double>(value) * static_cast<double>(value);
    }
    if (metric_ == Metric::kCosine) {
        exact_squared_norm_ = 1.0;
    }
    length_ = std::sqrt(exact_squared_norm_) * (1.0 + kRounding);
    // From the last token to the first: a row may end behind any of them, and then gains no more.
    double gain = 0.0;
    double size = 0.0;
    std::size_t stage = stage_bytes.size();
    for (std::size_t t = stage_bytes.back();; --t) {
        if (stage > 0 && t == stage_bytes[stage - 1]) {
            --stage;
            gains_[stage] = gain;
            sizes_[stage] = size;
        }
        if (stage == 0) {
            return;
        }
        const std::span<const float> table(tables + (t - 1) * kSymbols, kSymbols);
        const auto [least, most] = std::ranges::minmax(table);
        gain = std::max(0.0, static_cast<double>(most) + gain);
        size += std::max(std::abs(static_cast<double>(least)), std::abs(static_cast<double>(most)));
    }
}

Bounds ScoreBounds::length(const Compressor& compressor, float row_term) {
    const double told = compressor.reconstruction_length(row_term);
    if (!(told >= 0.0 && told < kInfinity)) {
        return {0.0, kInfinity};
    }
    constexpr double kError = 1.01 * kLengthError; // Of the length, while kLengthError is of
                                                   // decode()'s.
    return {told * (1.0 - kError), told * (1.0 + kError)};
}

Bounds ScoreBounds::distance(std::size_t stage, float sum, const Bounds& length) const {
    const double most_length = metric_ == Metric::kInnerProduct ? kInfinity : length.most;
    const double error = length_ * compressor_.sum_error(stage_bytes_[stage], most_length);
    const double least = static_cast<double>(sum) - error;
    const double most = static_cast<double>(sum) + error;
    const bool is_known = least > -kInfinity && most < kInfinity;
    switch (metric_) {
        case Metric::kInnerProduct: {
            const double slack = kRounding * (std::abs(static_cast<double>(sum)) + error);
            return is_known ? Bounds{-most - slack, -least + slack} : Bounds{-kInfinity, kInfinity};
        }
        case Metric::kL2: {
            const double slack = kRounding * (exact_squared_norm_ + length.most * length.most);
            const double nearest =
                exact_squared_norm_ - 2.0 * most + length.least * length.least - slack;
            const double farthest =
                exact_squared_norm_ - 2.0 * least + length.most * length.most + slack;
            return is_known && length.most < kInfinity
                     ? Bounds{std::sqrt(std::max(0.0, nearest)), std::sqrt(std::max(0.0, farthest))}
                     : Bounds{0.0, kInfinity};
        }
        case Metric::kCosine: break;
    }
    if (!is_known || !(length.least > 0.0)) {
        return {0.0, std::numbers::pi};
    }
    // The rounding of a cosine is a root of it in the angle, where that is small.
    const double most_cosine = most / (most >= 0.0 ? length.least : length.most) + 1e-3 * kRounding;
    const double least_cosine =
        least / (least >= 0.0 ? length.most : length.least) - 1e-3 * kRounding;
    return {
        std::max(0.0, std::acos(std::clamp(most_cosine, -1.0, 1.0)) - kRounding),
        std::min(std::numbers::pi, std::acos(std::clamp(least_cosine, -1.0, 1.0)) + kRounding)};
}

Bounds ScoreBounds::around(const Bounds& distance, double radius) const {
    switch (metric_) {
        case Metric::kInnerProduct:
            return {distance.least - length_ * radius, distance.most + length_ * radius};
        case Metric::kL2: return {std::max(0.0, distance.least - radius), distance.most + radius};
        case Metric::kCosine: break;
    }
    return {
        std::max(0.0, distance.least - radius), std::min(std::numbers::pi, distance.most + radius)};
}

double ScoreBounds::score_at(const Bounds& distance, float row_term) const {
    const std::size_t tokens = stage_bytes_.back();
    double score = kInfinity;
    switch (metric_) {
        case Metric::kInnerProduct:
            score = -distance.least + length_ * compressor_.sum_error(tokens, kInfinity);
            break;
        case Metric::kL2: {
            const double longest = length_ + distance.most;
            const double reach = length_ + longest;
            score = -distance.least * distance.least +
                    2.0 * length_ * compressor_.sum_error(tokens, longest) +
                    3.0 * kLengthError * longest * longest +
                    std::abs(static_cast<double>(squared_norm_) - exact_squared_norm_) +
                    8.0 * kFloatRounding * reach * reach;
            break;
        }
        case Metric::kCosine: {
            // A whole code with a radius is no shorter than kShortestLength, and its term is at
            // most 1 / length, both but for kLengthError.
            const bool is_known = row_term > 0.0F;
            const Bounds known = is_known ? length(row_term) : Bounds{};
            const double shortest = is_known ? known.most : kShortestLength;
            const double term =
                is_known ? static_cast<double>(row_term) : (1.0 + 2.0 * kLengthError) / shortest;
            const double share =
                is_known ? std::min(term * known.most, 1.0 + kLengthError) : 1.0 + kLengthError;
            score = std::max(0.0, std::cos(distance.least)) * share +
                    term * compressor_.sum_error(tokens, shortest);
            break;
        }
    }
    score += 4.0 * kFloatRounding * std::abs(score) + kRounding * std::abs(score);
    return std::isnan(score) ? kInfinity : score;
}

double ScoreBounds::score_by_extremes(std::size_t stage, float sum, float row_term) const {
    if (metric_ != Metric::kInnerProduct && std::isnan(row_term)) {
        return kInfinity;
    }
    const auto start = static_cast<double>(sum);
    const auto additions = static_cast<double>(stage_bytes_.back() - stage_bytes_[stage] + 1);
    const double rounding = 1.01 * additions * kFloatRounding * (std::abs(start) + sizes_[stage]);
    // Float operations keep the order of what goes in: what is larger before is no smaller after.
    const float most = std::nextafter(
        static_cast<float>(start + gains_[stage] + rounding),
        std::numeric_limits<float>::infinity());
    const float score = Compressor::combine(metric_, most, row_term, squared_norm_);
    return std::isnan(score) ? kInfinity : static_cast<double>(score);
}

} // namespace arfc
