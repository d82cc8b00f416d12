#include "relation_graph.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace arfc {
namespace {

constexpr double kTemperature = 0.05; // Of cosines.
constexpr int kLengths = 3;           // Sampled prefixes of a step.

} // namespace

void RelationGraph::fit_scale(const torch::Tensor& rows, const torch::Tensor& neighbours) {
    if (metric_ == Metric::kCosine) {
        return;
    }
    const torch::Tensor known = rows.slice(0, 0, neighbours.size(0));
    const torch::Tensor far = rows.index_select(0, neighbours.select(1, -1));
    const double apart = metric_ == Metric::kL2
                           ? ((known - far).square().sum(1)).mean().item<double>()
                           : ((known * known).sum(1)).mean().item<double>();
    scale_ = apart > 0.0 ? (metric_ == Metric::kL2 ? 0.2 : 1.0) / apart : 1.0;
}

torch::Tensor RelationGraph::similarities(
    const torch::Tensor& queries, const torch::Tensor& rows) const {
    torch::Tensor products = torch::mm(queries, rows.t());
    if (metric_ == Metric::kL2) {
        products = 2.0 * products - rows.square().sum(1).unsqueeze(0);
    }
    return products * scale_;
}

torch::Tensor RelationGraph::scores(
    const torch::Tensor& queries, const torch::Tensor& decoded) const {
    if (metric_ != Metric::kCosine) {
        return similarities(queries, decoded);
    }
    return similarities(queries, decoded / decoded.norm(2, 1, true).clamp_min(1e-12));
}

torch::Tensor RelationGraph::edges(const torch::Tensor& similarities, const torch::Tensor& itself) {
    return torch::log_softmax((similarities / kTemperature).masked_fill(itself, -1e4), 1);
}

torch::Tensor RelationGraph::nearest_rows(
    const torch::Tensor& rows, const std::function<bool()>& go_on) const {
    return nearest(rows, rows, /*are_rows=*/true, go_on);
}

torch::Tensor RelationGraph::nearest_rows(
    const torch::Tensor& queries, const torch::Tensor& rows,
    const std::function<bool()>& go_on) const {
    return nearest(queries, rows, /*are_rows=*/false, go_on);
}

torch::Tensor RelationGraph::nearest(
    const torch::Tensor& queries, const torch::Tensor& rows, bool are_rows,
    const std::function<bool()>& go_on) const {
    const std::int64_t anchors = queries.size(0);
    std::vector<torch::Tensor> parts;
    constexpr std::int64_t kTogether = 512;
    for (std::int64_t first = 0; first < anchors; first += kTogether) {
        const std::int64_t last = std::min(anchors, first + kTogether);
        torch::Tensor near = similarities(queries.slice(0, first, last), rows);
        if (are_rows) {
            near.slice(1, first, last).fill_diagonal_(-INFINITY);
        }
        parts.push_back(std::get<1>(near.topk(kNeighbours, 1)));
        if (!go_on()) { // Some neighbours will do.
            break;
        }
    }
    return torch::cat(parts);
}

torch::Tensor best_others(torch::Tensor edges) {
    edges.fill_diagonal_(-INFINITY);
    return std::get<1>(edges.topk(kFound, 1));
}

double share_found(const torch::Tensor& found, const torch::Tensor& truth) {
    const torch::Tensor hits = (found.unsqueeze(2) == truth.unsqueeze(1)).sum();
    return hits.item<double>() / static_cast<double>(truth.numel());
}

torch::Tensor drawn_rows(std::mt19937_64& random, std::int64_t count, std::int64_t below) {
    torch::Tensor numbers = torch::empty({count}, torch::kInt64);
    auto* const out = numbers.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < count; ++i) {
        out[i] = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(below));
    }
    return numbers;
}

std::set<std::int64_t> drawn_lengths(
    std::mt19937_64& random, const PrefixSchedule& schedule, double share, std::int64_t shortest,
    std::int64_t longest) {
    const double mean = schedule.first_mean + (schedule.last_mean - schedule.first_mean) * share;
    std::gamma_distribution<double> a(schedule.concentration * mean);
    std::gamma_distribution<double> b(schedule.concentration * (1.0 - mean));
    std::set<std::int64_t> lengths{std::min(shortest, longest)};
    for (int i = 0; i < kLengths; ++i) {
        const double x = a(random);
        const double y = b(random);
        const double length = std::ceil(static_cast<double>(longest) * x / (x + y));
        lengths.insert(std::clamp<std::int64_t>(std::llround(length), 1, longest));
    }
    return lengths;
}

} // namespace arfc
