#include "arfc/index/plan.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "arfc/base/error.h"
#include "planner.h"

namespace arfc {

std::string_view to_string(PlanReference reference) noexcept {
    switch (reference) {
        case PlanReference::kOriginals: return "originals";
        case PlanReference::kLongestPrefix: return "longest prefix";
    }
    return "";
}

Plan plan(const Compressor& model, MatrixView<const float> rows, const PlanOptions& options) {
    check_plan_options(options);
    const std::size_t least = least_plan_rows(options.k);
    const std::size_t used =
        std::min({rows.rows(), options.rows.value_or(rows.rows()), kMostPlanRows});
    if (used < least) {
        fail(
            ErrorKind::kInvalidArgument, "Rows are fewer than a plan is made from: ", used,
            ", expected at least ", least, " for this many answers: ", options.k);
    }
    std::vector<std::size_t> order(rows.rows());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937_64(options.seed));
    std::vector<float> drawn(used * rows.cols());
    for (std::size_t i = 0; i < used; ++i) {
        std::ranges::copy(
            rows.row(order[i]), drawn.begin() + static_cast<std::ptrdiff_t>(i * rows.cols()));
    }
    const MatrixView<const float> originals(drawn.data(), used, rows.cols());
    std::vector<std::byte> codes(used * model.code_bytes());
    const MatrixView<std::byte> code_view(codes.data(), used, model.code_bytes());
    model.encode(originals, model.code_bytes(), code_view);
    const PlanSample sample{
        .compressor = {std::shared_ptr<const Compressor>(), &model},
        .codes = code_view,
        .originals = originals,
        .queries = plan_queries(used),
        .k = options.k};
    return make_plan(sample, options, options.rows.value_or(rows.rows()));
}

} // namespace arfc
