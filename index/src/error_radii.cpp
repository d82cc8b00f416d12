#include "error_radii.h"

#include <algorithm>

#include "parallel.h"

namespace arfc {
namespace {

constexpr std::size_t kTileRows = 256; // Decoded at a time by a thread: 400 KB at 384 floats.
constexpr double kRounding = 1e-9;     // More than what doubles lose in any of this.

double length(std::span<const float> row) {
    double sum = 0.0;
    for (const float value : row) {
        sum += static_cast<double>(value) * static_cast<double>(value);
    }
    return std::sqrt(sum);
}

/// Returns the distance between rows, or a little more. The angle is that of Kahan, which loses
/// nothing where it is small; a row without direction has none.
double distance(Metric metric, std::span<const float> a, std::span<const float> b) {
    const bool is_angle = metric == Metric::kCosine;
    const double scale_a = is_angle ? 1.0 / length(a) : 1.0;
    const double scale_b = is_angle ? 1.0 / length(b) : 1.0;
    double apart = 0.0;
    double together = 0.0;
    for (std::size_t j = 0; j < a.size(); ++j) {
        const double left = static_cast<double>(a[j]) * scale_a;
        const double right = static_cast<double>(b[j]) * scale_b;
        apart += (left - right) * (left - right);
        together += (left + right) * (left + right);
    }
    const double exact =
        is_angle ? 2.0 * std::atan2(std::sqrt(apart), std::sqrt(together)) : std::sqrt(apart);
    return exact * (1.0 + kRounding) + (is_angle ? kRounding : 0.0);
}

/// Says whether a row term tells the length as ScoreBounds takes it: within kLengthError, and under
/// cosine no score beyond the cosine itself.
bool tells_length(const Compressor& compressor, float term, double length) {
    if (compressor.metric() == Metric::kInnerProduct) {
        return true;
    }
    const double told = compressor.reconstruction_length(term);
    return std::abs(told - length) <= kLengthError * length &&
           (compressor.metric() == Metric::kL2 ||
            static_cast<double>(term) * length <= 1.0 + kLengthError);
}

} // namespace

std::vector<ErrorRadius> measure_radii(
    const Compressor& compressor, std::span<const std::size_t> stage_bytes,
    MatrixView<const std::byte> codes, MatrixView<const float> originals) {
    const std::size_t stages = stage_bytes.size();
    const std::size_t dim = compressor.dim();
    const Metric metric = compressor.metric();
    std::vector<ErrorRadius> radii(codes.rows() * stages, kUnknownRadius);
    const std::size_t tiles = (codes.rows() + kTileRows - 1) / kTileRows;
    for_each_in_parallel(tiles, [&](std::size_t tile) {
        const std::size_t first = tile * kTileRows;
        const std::size_t count = std::min(kTileRows, codes.rows() - first);
        std::vector<float> target(count * dim);
        std::vector<float> decoded(count * dim);
        std::vector<float> terms(count);
        std::vector<bool> agrees(count); // Of the last stage.
        std::vector<std::byte> prefix;
        for (std::size_t s = stages; s-- > 0;) { // The last first: the others are measured to it.
            const std::size_t width = stage_bytes[s];
            prefix.resize(count * width);
            for (std::size_t i = 0; i < count; ++i) {
                std::copy_n(codes.row(first + i).data(), width, prefix.data() + i * width);
            }
            const bool is_last = s + 1 == stages;
            std::vector<float>& rows = is_last ? target : decoded;
            compressor.decode({prefix.data(), count, width}, {rows.data(), count, dim});
            compressor.row_terms({prefix.data(), count, width}, terms);
            for (std::size_t i = 0; i < count; ++i) {
                const std::span<const float> row(rows.data() + i * dim, dim);
                const bool is_told = tells_length(compressor, terms[i], length(row));
                if (is_last) {
                    agrees[i] =
                        is_told && (metric != Metric::kCosine || length(row) >= kShortestLength);
                }
                if (!agrees[i] || !is_told || (is_last && originals.empty())) {
                    continue;
                }
                const std::span<const float> to =
                    is_last ? originals.row(first + i)
                            : std::span<const float>(target.data() + i * dim, dim);
                radii[(first + i) * stages + s] = round_up(distance(metric, row, to));
            }
        }
    });
    return radii;
}

} // namespace arfc
