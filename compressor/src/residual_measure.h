#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

/// Cuts codes of so many bytes each to a length.
[[nodiscard]] std::vector<std::byte> prefixes(
    const std::vector<std::byte>& codes, std::size_t bytes, std::size_t length);

/// Returns the code lengths whose residuals training keeps: 8, 16 and 32 bytes, as far as they are
/// shorter than the model's own length, and that.
[[nodiscard]] std::vector<std::size_t> measured_lengths(const Compressor& model);

/// Measures what codes of some lengths leave of rows.
/// @param rows     [n, model.dim()], n >= 1.
/// @param lengths  Each in [1, model.code_bytes()].
/// @returns        As many, in their order; the same bits on any number of threads.
/// @throws Error   kInvalidArgument: a value that encode() refuses.
[[nodiscard]] std::vector<HeldOutResidual> measure_residuals(
    const Compressor& model, MatrixView<const float> rows, std::span<const std::size_t> lengths);

} // namespace arfc
