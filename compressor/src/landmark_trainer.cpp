#include "landmark_trainer.h"

#include <torch/torch.h>

#include <algorithm>

#include "learning_tensors.h"

namespace arfc {
namespace {

constexpr int kPasses = 6;
constexpr std::int64_t kTogether = 4096; // Rows assigned at once: bounds their products.

} // namespace

std::vector<float> landmark_points(MatrixView<const float> rows, std::size_t count, Metric metric) {
    const torch::NoGradGuard guard;
    const torch::Tensor all = tensor_of(rows);
    const auto n = static_cast<std::int64_t>(count);
    torch::Tensor points = all.slice(0, 0, n).clone();
    for (int pass = 0; pass < kPasses; ++pass) {
        const torch::Tensor half_norms = 0.5 * points.square().sum(1);
        torch::Tensor sums = torch::zeros_like(points);
        torch::Tensor counts = torch::zeros({n});
        for (std::int64_t first = 0; first < all.size(0); first += kTogether) {
            const torch::Tensor some =
                all.slice(0, first, std::min(all.size(0), first + kTogether));
            const torch::Tensor closest =
                (torch::mm(some, points.t()) - half_norms.unsqueeze(0)).argmax(1);
            sums.index_add_(0, closest, some);
            counts.index_add_(0, closest, torch::ones({closest.size(0)}));
        }
        // A point that no row is closest to stays where it is.
        const torch::Tensor means = sums / counts.clamp_min(1.0).unsqueeze(1);
        points = torch::where((counts > 0.0).unsqueeze(1), means, points);
        if (metric == Metric::kCosine) {
            points = points / points.norm(2, 1, true).clamp_min(1e-12);
        }
    }
    return values_of(points);
}

} // namespace arfc
