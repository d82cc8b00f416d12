#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "arfc/storage/store.h"

namespace arfc::storage {

/// Returns the points that a mutation names, ascending, each once.
[[nodiscard]] std::vector<PointId> touched_points(const Mutation& mutation);

/// What becomes of one point.
struct PointChange {
    PointId id = 0;
    std::optional<Row> old_row; ///< Loses its tail, raw row and payload.
    std::optional<Row> new_row; ///< Nothing: the point is gone.
};

/// What a mutation does, decided before anything is written; the same for every backend.
struct MutationPlan {
    std::vector<PointChange> changes; ///< Points that change, ascending by id.
    std::vector<bool> live;      ///< [n]: new row i is named by a point, no later one took its id.
    std::vector<Row> tombstones; ///< As Published::tombstones.
    std::size_t removed_points = 0; ///< As Published::removed_points.
    std::uint64_t points = 0;       ///< Live points afterwards.
};

/// @param touched   touched_points(mutation).
/// @param current   [touched.size()]: the row of each now.
/// @param next_row  Row that the first new row gets.
/// @param points    Live points before.
[[nodiscard]] MutationPlan plan_mutation(
    const Mutation& mutation, std::span<const PointId> touched,
    std::span<const std::optional<Row>> current, Row next_row, std::uint64_t points);

} // namespace arfc::storage
