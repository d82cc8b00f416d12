#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "arfc/index/collection.h"
#include "arfc/index/plan.h"
#include "bindings.h"

namespace arfc::python {
namespace {

// clang-tidy 14 does not see that literals are uses of it.
using nb::literals::operator""_a; // NOLINT(misc-unused-using-decls)

/// Returns the fields of `arfc.PlannedPoint`, in their order.
nb::tuple to_tuple(const PlannedPoint& point) {
    nb::list stages;
    for (const Stage& stage : point.stages) {
        stages.append(nb::make_tuple(stage.bytes, stage.limit));
    }
    return nb::make_tuple(
        point.factory, stages, point.nprobe, point.ef_search, point.predicted_recall,
        nb::make_tuple(point.recall_low, point.recall_high), point.measured_recall,
        point.resident_bytes_per_row, point.disk_bytes_per_row, point.milliseconds);
}

/// Returns the fields of `arfc.Plan`, in their order.
nb::tuple to_tuple(const Plan& plan) {
    nb::list curve;
    for (const PlannedPoint& point : plan.curve) {
        curve.append(to_tuple(point));
    }
    return nb::make_tuple(
        to_tuple(plan.chosen), plan.reaches_target, curve, std::string(to_string(plan.reference)),
        plan.rows, plan.sample_rows, plan.queries, plan.test_queries, plan.model_bytes);
}

PlanOptions options_of(
    double target_recall, std::size_t k, std::optional<double> most_bytes_per_row,
    std::optional<std::size_t> rows, std::uint64_t seed, const nb::object& progress) {
    return {
        .target_recall = target_recall,
        .k = k,
        .most_bytes_per_row = most_bytes_per_row,
        .rows = rows,
        .seed = seed,
        .progress = progress_function(progress)};
}

nb::tuple plan_rows(
    const Compressor& model, const Matrix<const float>& embeddings, double target_recall,
    std::size_t k, std::optional<double> most_bytes_per_row, std::optional<std::size_t> rows,
    std::uint64_t seed, const nb::object& progress) {
    const PlanOptions options =
        options_of(target_recall, k, most_bytes_per_row, rows, seed, progress);
    Plan made;
    {
        const nb::gil_scoped_release unlocked;
        made = plan(model, view(embeddings), options);
    }
    return to_tuple(made);
}

} // namespace

nb::tuple plan_collection(
    const Collection& collection, double target_recall, std::size_t k,
    std::optional<double> most_bytes_per_row, std::optional<std::size_t> rows, std::uint64_t seed,
    const nb::object& progress) {
    const PlanOptions options =
        options_of(target_recall, k, most_bytes_per_row, rows, seed, progress);
    Plan made;
    {
        const nb::gil_scoped_release unlocked;
        made = collection.plan(options);
    }
    return to_tuple(made);
}

void bind_plan(nb::module_& module) {
    module.def(
        "plan", &plan_rows, "model"_a, "embeddings"_a.noconvert(), "target_recall"_a, "k"_a,
        "most_bytes_per_row"_a.none(), "rows"_a.none(), "seed"_a, "progress"_a.none());
}

} // namespace arfc::python
