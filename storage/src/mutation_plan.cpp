#include "mutation_plan.h"

#include <algorithm>

namespace arfc::storage {
namespace {

std::size_t position(std::span<const PointId> sorted, PointId id) {
    return static_cast<std::size_t>(
        std::lower_bound(sorted.begin(), sorted.end(), id) - sorted.begin());
}

} // namespace

std::vector<PointId> touched_points(const Mutation& mutation) {
    std::vector<PointId> touched(mutation.ids.begin(), mutation.ids.end());
    touched.insert(touched.end(), mutation.removals.begin(), mutation.removals.end());
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    return touched;
}

MutationPlan plan_mutation(
    const Mutation& mutation, std::span<const PointId> touched,
    std::span<const std::optional<Row>> current, Row next_row, std::uint64_t points) {
    MutationPlan plan;
    plan.live.assign(mutation.ids.size(), false);
    plan.points = points;
    std::vector<bool> is_removed(touched.size(), false);
    for (const PointId id : mutation.removals) {
        is_removed[position(touched, id)] = true;
    }
    std::vector<std::optional<Row>> newest(touched.size());
    for (std::size_t i = 0; i < mutation.ids.size(); ++i) {
        std::optional<Row>& row = newest[position(touched, mutation.ids[i])];
        if (row) {
            plan.live[*row - next_row] = false;
            plan.tombstones.push_back(*row);
        }
        row = next_row + i;
        plan.live[i] = true;
    }
    for (std::size_t i = 0; i < touched.size(); ++i) {
        if (!current[i] && !newest[i]) {
            continue; // A removal of a point that does not exist.
        }
        plan.changes.push_back({.id = touched[i], .old_row = current[i], .new_row = newest[i]});
        if (current[i]) {
            plan.tombstones.push_back(*current[i]);
            plan.removed_points += is_removed[i] ? 1 : 0;
        }
        plan.points = plan.points - (current[i] ? 1 : 0) + (newest[i] ? 1 : 0);
    }
    std::sort(plan.tombstones.begin(), plan.tombstones.end());
    return plan;
}

} // namespace arfc::storage
