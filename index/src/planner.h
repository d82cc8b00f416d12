#pragma once

#include "arfc/index/plan.h"
#include "prefix_recall.h"

namespace arfc {

/// Makes a plan from a sample that has been drawn and encoded.
/// @param sample  Three quarters of its queries choose, the others only measure.
/// @param rows    To plan for, at least the sample's.
/// @throws Error  as plan().
[[nodiscard]] Plan make_plan(
    const PlanSample& sample, const PlanOptions& options, std::size_t rows);

/// Checks what does not depend on a sample. @throws Error  kInvalidArgument.
void check_plan_options(const PlanOptions& options);

/// Returns the fewest rows that a plan for k answers is made from.
[[nodiscard]] std::size_t least_plan_rows(std::size_t k) noexcept;

/// Returns how many rows of a sample ask: up to 4,000, of which those that choose find recall to a
/// standard error of at most .006.
[[nodiscard]] std::size_t plan_queries(std::size_t rows) noexcept;

} // namespace arfc
