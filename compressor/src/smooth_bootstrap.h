#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "arfc/base/matrix_view.h"

namespace arfc {

/// Draws rows that the given ones make likely: each is one of them, moved by the difference of two
/// rows near to it.
///
/// Codebooks follow the rows that they average, the more so the fewer there are. Differences of
/// near rows have the covariance that rows have locally, so what is drawn lies where rows that come
/// later will lie, between and beside those that are there, and not in directions that no row
/// takes.
///
/// Source: the smooth bootstrap (Silverman & Young, Biometrika 1987) with a local kernel, as in
/// SMOTE (Chawla et al., JAIR 2002); docs/sources.md.
///
/// @param rows   [n, d], finite.
/// @param count  Rows to draw.
/// @param scale  Of the differences, at least 0.
/// @param alive  Called now and then while neighbours are sought, which takes n^2 d multiply-adds;
///               it may throw.
/// @returns [count, d], no row of them zero that need not be; nothing where there are fewer than
///          three rows.
[[nodiscard]] std::vector<float> smooth_bootstrap(
    MatrixView<const float> rows, std::size_t count, float scale, std::uint64_t seed,
    const std::function<void()>& alive);

} // namespace arfc
