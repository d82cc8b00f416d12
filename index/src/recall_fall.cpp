#include "recall_fall.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

namespace arfc {
namespace {

double mean(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double from_log_odds(double log_odds) {
    return 1.0 / (1.0 + std::exp(-log_odds));
}

} // namespace

RecallEstimate estimate_recall(const RecallBySize& recalls, double doublings, std::size_t k) {
    const std::size_t count = recalls.whole.size();
    const double least = 0.5 / static_cast<double>(count * k);
    const auto odds_of = [&](std::span<const double> values) {
        const double recall = std::clamp(mean(values), least, 1.0 - least);
        return std::log(recall / (1.0 - recall));
    };
    const double quarter = odds_of(recalls.quarter);
    const double half = odds_of(recalls.half);
    const double whole = odds_of(recalls.whole);
    const double slope = doublings > 0 ? std::min(0.0, whole - half) : 0.0;
    const double slower = doublings > 0 ? std::min(0.0, (whole - quarter) / 2) : 0.0;
    const double recall =
        doublings > 0 ? from_log_odds(whole + slope * doublings) : mean(recalls.whole);
    const double other = doublings > 0 ? from_log_odds(whole + slower * doublings) : recall;

    // By how much a query's recalls move the estimate, and how much they differ among queries.
    const auto derivative = [](double log_odds) {
        const double value = from_log_odds(log_odds);
        return value * (1.0 - value);
    };
    const double leverage = slope < 0 ? doublings : 0.0;
    const double steepness = doublings > 0 ? recall * (1.0 - recall) : derivative(whole);
    const double of_whole = steepness / derivative(whole) * (1.0 + leverage);
    const double of_half = -steepness / derivative(half) * leverage;
    const double centre = of_whole * mean(recalls.whole) + of_half * mean(recalls.half);
    double squares = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
        const double moved = of_whole * recalls.whole[i] + of_half * recalls.half[i] - centre;
        squares += moved * moved;
    }
    const double margin =
        std::abs(other - recall) + 1.96 * std::sqrt(squares) / static_cast<double>(count);
    return {recall, std::max(0.0, recall - margin), std::min(1.0, recall + margin)};
}

} // namespace arfc
