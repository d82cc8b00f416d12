#include "smooth_bootstrap.h"

#include <torch/torch.h>

#include <algorithm>
#include <random>

namespace arfc {
namespace {

constexpr std::int64_t kNear = 16;

/// @returns each row's nearest others [n, near], int64.
torch::Tensor nearest_others(const torch::Tensor& rows, const std::function<void()>& alive) {
    const torch::Tensor squares = rows.square().sum(1).unsqueeze(0);
    const std::int64_t near = std::min(kNear, rows.size(0) - 1);
    std::vector<torch::Tensor> parts;
    constexpr std::int64_t kTogether = 512;
    for (std::int64_t first = 0; first < rows.size(0); first += kTogether) {
        alive();
        const std::int64_t last = std::min(rows.size(0), first + kTogether);
        torch::Tensor closeness = 2.0 * torch::mm(rows.slice(0, first, last), rows.t()) - squares;
        closeness.slice(1, first, last).fill_diagonal_(-INFINITY);
        parts.push_back(std::get<1>(closeness.topk(near, 1)));
    }
    return torch::cat(parts).contiguous();
}

} // namespace

std::vector<float> smooth_bootstrap(
    MatrixView<const float> rows, std::size_t count, float scale, std::uint64_t seed,
    const std::function<void()>& alive) {
    if (rows.rows() < 3 || count == 0) {
        return {};
    }
    const torch::NoGradGuard guard;
    const std::size_t d = rows.cols();
    const torch::Tensor near = nearest_others(
        torch::from_blob(
            const_cast<float*>(rows.data()),
            {static_cast<std::int64_t>(rows.rows()), static_cast<std::int64_t>(d)}),
        alive);
    const auto* const others = near.data_ptr<std::int64_t>();
    const auto choices = static_cast<std::size_t>(near.size(1));
    std::mt19937_64 random(seed);
    std::vector<float> out(count * d);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t row = random() % rows.rows();
        const std::int64_t* const beside = others + row * choices;
        const float* const itself = rows.row(row).data();
        const float* const to =
            rows.row(static_cast<std::size_t>(beside[random() % choices])).data();
        const float* const from =
            rows.row(static_cast<std::size_t>(beside[random() % choices])).data();
        bool zero = true; // Which has no direction.
        for (std::size_t j = 0; j < d; ++j) {
            out[i * d + j] = itself[j] + scale * (to[j] - from[j]);
            zero = zero && out[i * d + j] == 0.0F;
        }
        if (zero) {
            std::copy_n(itself, d, out.data() + i * d);
        }
    }
    return out;
}

} // namespace arfc
