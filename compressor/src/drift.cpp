#include "arfc/compressor/drift.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "arfc/base/error.h"
#include "arfc/base/packed_matrix.h"
#include "arfc/compressor/compressor.h"
#include "residual_measure.h"
#include "threads.h"

namespace arfc {
namespace {

constexpr std::size_t kLengths[] = {8, 16, 32};
constexpr std::size_t kBlockRows = 1024; // Bounds what is held beside the rows.
// Shares below this are rounding of float sums: rows that both are coded exactly are alike.
constexpr double kRounding = 1e-6;
// Other rows of a collection's own kind leave up to so much more than those held out.
constexpr double kHarmless = 0.10;
// Standard errors of the ratio beyond that. A normal error exceeds four once in 30,000.
constexpr double kErrors = 4.0;

/// Returns the squared length of each row.
std::vector<double> squared_lengths(MatrixView<const float> rows) {
    std::vector<double> squared(rows.rows());
    parallel_for(rows.rows(), product_flop(rows.rows(), rows.cols()), [&](std::size_t i) {
        for (const float value : rows.row(i)) {
            squared[i] += static_cast<double>(value) * static_cast<double>(value);
        }
    });
    return squared;
}

/// Returns what rows are divided by: codes stand for their direction alone where scores see that.
double measured_length(const Compressor& model, double squared) {
    return model.metric() == Metric::kCosine ? std::sqrt(squared) : 1.0;
}

/// Adds what codes leave of rows. @param squared, left  [n] squared lengths: of rows; added to.
void add_left(
    const Compressor& model, MatrixView<const float> rows, MatrixView<const std::byte> codes,
    const double* squared, double* left) {
    const std::size_t d = model.dim();
    std::vector<float> decoded(codes.rows() * d);
    model.decode(codes, {decoded.data(), codes.rows(), d});
    parallel_for(codes.rows(), product_flop(codes.rows(), d), [&](std::size_t i) {
        const std::span<const float> row = rows.row(i);
        const double length = measured_length(model, squared[i]);
        for (std::size_t j = 0; j < d; ++j) {
            const double difference =
                static_cast<double>(row[j]) / length - static_cast<double>(decoded[i * d + j]);
            left[i] += difference * difference;
        }
    });
}

/// Returns the ratio of the sums, and its deviation by linearisation.
HeldOutResidual summed(
    std::size_t bytes, const std::vector<double>& wholes, const std::vector<double>& lefts) {
    const double whole = std::accumulate(wholes.begin(), wholes.end(), 0.0);
    const double left = std::accumulate(lefts.begin(), lefts.end(), 0.0);
    if (!(whole > 0.0)) { // Rows of zeros: nothing to know.
        return {bytes, 0.0, 0.0};
    }
    const double share = left / whole;
    double squares = 0.0;
    for (std::size_t i = 0; i < wholes.size(); ++i) {
        const double difference = lefts[i] - share * wholes[i];
        squares += difference * difference;
    }
    const auto count = static_cast<double>(wholes.size());
    return {bytes, share, std::sqrt(squares / count) * count / whole};
}

} // namespace

std::vector<std::byte> prefixes(
    const std::vector<std::byte>& codes, std::size_t bytes, std::size_t length) {
    const std::size_t rows = codes.size() / bytes;
    std::vector<std::byte> out(rows * length);
    for (std::size_t i = 0; i < rows; ++i) {
        std::copy_n(codes.data() + i * bytes, length, out.data() + i * length);
    }
    return out;
}

std::vector<std::size_t> measured_lengths(const Compressor& model) {
    std::vector<std::size_t> lengths;
    std::copy_if(
        std::begin(kLengths), std::end(kLengths), std::back_inserter(lengths),
        [&](std::size_t bytes) { return bytes < model.code_bytes(); });
    lengths.push_back(model.code_bytes());
    return lengths;
}

std::vector<HeldOutResidual> measure_residuals(
    const Compressor& model, MatrixView<const float> rows, std::span<const std::size_t> lengths) {
    const std::size_t n = rows.rows();
    std::vector<double> whole = squared_lengths(rows);
    std::vector<std::vector<double>> left(lengths.size(), std::vector<double>(n));
    for (std::size_t first = 0; first < n; first += kBlockRows) {
        const std::size_t count = std::min(kBlockRows, n - first);
        const MatrixView<const float> block = rows.slice(first, count);
        std::vector<std::byte> codes(count * model.code_bytes());
        model.encode(block, model.code_bytes(), {codes.data(), count, model.code_bytes()});
        for (std::size_t l = 0; l < lengths.size(); ++l) {
            const std::vector<std::byte> cut = prefixes(codes, model.code_bytes(), lengths[l]);
            add_left(
                model, block, {cut.data(), count, lengths[l]}, whole.data() + first,
                left[l].data() + first);
        }
    }
    for (double& squared : whole) {
        const double length = measured_length(model, squared);
        squared /= length * length;
    }
    std::vector<HeldOutResidual> residuals;
    for (std::size_t l = 0; l < lengths.size(); ++l) {
        residuals.push_back(summed(lengths[l], whole, left[l]));
    }
    return residuals;
}

Drift Compressor::drift(MatrixView<const float> embeddings) const {
    if (embeddings.rows() < 1) {
        fail(ErrorKind::kInvalidArgument, "Drift is told of at least one row: ", embeddings.rows());
    }
    const std::vector<HeldOutResidual>& known = report().residuals;
    if (known.empty()) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Model does not know how well it codes rows that it was not trained on, because it"
            " was trained on fewer than 1000 rows or by an earlier version; held-out rows: ",
            report().held_out_rows);
    }
    std::vector<std::size_t> lengths;
    for (const HeldOutResidual& before : known) {
        lengths.push_back(before.bytes);
    }
    const std::vector<HeldOutResidual> found = measure_residuals(*this, embeddings, lengths);
    // Means of so many held-out rows differ from those of so many others by chance.
    const double chance = std::sqrt(
        1.0 / static_cast<double>(report().held_out_rows) +
        1.0 / static_cast<double>(embeddings.rows()));
    Drift drift{.rows = embeddings.rows(), .points = {}};
    for (std::size_t l = 0; l < lengths.size(); ++l) {
        const double base = std::max(known[l].share, kRounding);
        drift.points.push_back(
            {.bytes = lengths[l],
             .residual = found[l].share,
             .held_out_residual = known[l].share,
             .ratio = std::max(found[l].share, kRounding) / base,
             .threshold = 1.0 + kHarmless + kErrors * chance * known[l].deviation / base});
    }
    return drift;
}

} // namespace arfc
