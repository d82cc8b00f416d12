#pragma once

#include <cstddef>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"

namespace arfc {

/// Finds points among which rows lie about evenly: the means of `count` clusters by a few passes of
/// Lloyd's algorithm, of length one under cosine. Deterministic, whatever the threads.
/// @param rows   [n, d], in a random order: the first `count` are where it starts.
/// @param count  In [1, n].
/// @returns      [count, d].
[[nodiscard]] std::vector<float> landmark_points(
    MatrixView<const float> rows, std::size_t count, Metric metric);

} // namespace arfc
