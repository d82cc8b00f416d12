#pragma once

#include <algorithm>
#include <cstddef>

#include "arfc/base/aligned_floats.h"
#include "arfc/base/matrix_view.h"
#include "arfc/base/packed_matrix.h"
#include "arfc/compressor/compressor.h"
#include "beam_search.h"
#include "threads.h"

namespace arfc {

/// Rows that are worked on together: enough that a matrix read into the second-level cache is used
/// often.
inline constexpr std::size_t kTileRows = 96;

/// Most rows of a beam search's tile. Its tables between symbols, and between landmarks and
/// symbols, are larger than any cache, so that they come from memory once a tile.
inline constexpr std::size_t kMostBeamRows = 384;

[[nodiscard]] constexpr std::size_t tile_count(
    std::size_t rows, std::size_t tile_rows = kTileRows) noexcept {
    return (rows + tile_rows - 1) / tile_rows;
}

/// Returns how many rows a beam search works on together, so that each thread has some.
[[nodiscard]] inline std::size_t beam_tile_rows(std::size_t rows) noexcept {
    return std::clamp(tile_count(rows, num_threads()), kTileRows, kMostBeamRows);
}

/// Divides rows among threads, a tile of them at a time.
/// @param flop  Floating-point operations of a row.
/// @param work  Is given the number of a tile's first row, and how many rows it has.
template <class Work>
void for_each_tile(
    std::size_t rows, double flop, const Work& work, std::size_t tile_rows = kTileRows) {
    const double operations = flop * static_cast<double>(rows);
    parallel_for(tile_count(rows, tile_rows), operations, [&](std::size_t tile) {
        const std::size_t first = tile * tile_rows;
        work(first, std::min(tile_rows, rows - first));
    });
}

/// Calls work(i) for every i < rows, a tile of them at a time on one of the threads.
/// @param flop  Floating-point operations of a row.
template <class Work>
void for_each_by_tiles(std::size_t rows, double flop, const Work& work) {
    for_each_tile(rows, flop, [&](std::size_t first, std::size_t count) {
        for (std::size_t i = first; i < first + count; ++i) {
            work(i);
        }
    });
}

/// Divides rows for a beam search among threads.
/// @param work  Is given the number of a tile's first row, the tile, and scratch for a beam.
template <class Work>
void for_each_tile(MatrixView<const float> points, const Work& work) {
    const double flop = product_flop(kSymbols, points.cols());
    const auto search = [&](std::size_t first, std::size_t count) {
        AlignedFloats scratch(BeamSearch::scratch_size(count));
        work(first, points.slice(first, count), scratch.data());
    };
    for_each_tile(points.rows(), flop, search, beam_tile_rows(points.rows()));
}

} // namespace arfc
