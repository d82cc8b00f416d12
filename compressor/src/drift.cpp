#include "arfc/compressor/drift.h"

#include <algorithm>
#include <cmath>

#include "arfc/base/error.h"
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

/// Squared length of each row, and of what a code of one length leaves of it.
struct Energies {
    std::vector<double> whole; ///< [n]
    std::vector<double> left;  ///< [n]
};

/// Takes codes to what they leave of rows [first, first + codes.rows()).
void subtract_decoded(
    const Compressor& model, MatrixView<const float> rows, MatrixView<const std::byte> codes,
    std::size_t first, Energies& energies) {
    const std::size_t d = model.dim();
    std::vector<float> decoded(codes.rows() * d);
    model.decode(codes, {decoded.data(), codes.rows(), d});
    const auto operations = 8.0 * static_cast<double>(decoded.size());
    parallel_for(codes.rows(), operations, [&](std::size_t i) {
        const std::span<const float> row = rows.row(first + i);
        double squared = 0.0;
        for (const float value : row) {
            squared += static_cast<double>(value) * static_cast<double>(value);
        }
        // Codes stand for the direction of a row alone where that is what scores see.
        const double length = model.metric() == Metric::kCosine ? std::sqrt(squared) : 1.0;
        double left = 0.0;
        for (std::size_t j = 0; j < d; ++j) {
            const double difference =
                static_cast<double>(row[j]) / length - static_cast<double>(decoded[i * d + j]);
            left += difference * difference;
        }
        energies.whole[first + i] = squared / (length * length);
        energies.left[first + i] = left;
    });
}

/// Returns the ratio of the sums, and its deviation by linearisation.
HeldOutResidual summed(std::size_t bytes, const Energies& energies) {
    double whole = 0.0;
    double left = 0.0;
    const std::size_t n = energies.whole.size();
    for (std::size_t i = 0; i < n; ++i) {
        whole += energies.whole[i];
        left += energies.left[i];
    }
    if (!(whole > 0.0)) { // Rows of zeros: nothing to know.
        return {bytes, 0.0, 0.0};
    }
    const double share = left / whole;
    double squares = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        const double difference = energies.left[i] - share * energies.whole[i];
        squares += difference * difference;
    }
    const auto count = static_cast<double>(n);
    return {bytes, share, std::sqrt(squares / count) * count / whole};
}

} // namespace

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
    std::vector<Energies> energies(
        lengths.size(), {std::vector<double>(n), std::vector<double>(n)});
    for (std::size_t first = 0; first < n; first += kBlockRows) {
        const std::size_t count = std::min(kBlockRows, n - first);
        std::vector<std::byte> codes(count * model.code_bytes());
        model.encode(
            rows.slice(first, count), model.code_bytes(),
            {codes.data(), count, model.code_bytes()});
        std::vector<std::byte> prefix;
        for (std::size_t l = 0; l < lengths.size(); ++l) {
            prefix.resize(count * lengths[l]);
            for (std::size_t i = 0; i < count; ++i) {
                std::copy_n(
                    codes.data() + i * model.code_bytes(), lengths[l],
                    prefix.data() + i * lengths[l]);
            }
            subtract_decoded(model, rows, {prefix.data(), count, lengths[l]}, first, energies[l]);
        }
    }
    std::vector<HeldOutResidual> residuals;
    for (std::size_t l = 0; l < lengths.size(); ++l) {
        residuals.push_back(summed(lengths[l], energies[l]));
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
