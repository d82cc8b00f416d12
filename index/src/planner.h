#pragma once

#include "arfc/index/plan.h"
#include "prefix_recall.h"

namespace arfc {

/// Makes a plan from a sample that has been drawn and encoded.
/// @param sample  Three fifths of its queries choose, the others only measure.
/// @param rows    To plan for, at least the sample's.
/// @throws Error  as plan().
[[nodiscard]] Plan make_plan(
    const PlanSample& sample, const PlanOptions& options, std::size_t rows);

/// Checks what does not depend on a sample. @throws Error  kInvalidArgument.
void check_plan_options(const PlanOptions& options);

/// Returns how many rows of a sample ask: up to 5,000, so that the standard errors of those that
/// choose and of those that measure are about .004.
[[nodiscard]] std::size_t plan_queries(std::size_t rows) noexcept;

} // namespace arfc
