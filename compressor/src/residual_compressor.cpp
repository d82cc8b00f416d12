#include "residual_compressor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>

#include "arfc/base/error.h"
#include "kernels.h"
#include "threads.h"
#include "tiles.h"

namespace arfc {
namespace {

/// Codes scored side by side against one query; their sums are independent chains.
constexpr std::size_t kScoreRows = 8;

/// Divides a row by its length. A row whose squares overflow or vanish in float is scaled by its
/// largest value first.
void normalise(std::span<const float> row, float* out) {
    float largest = 0.0F;
    for (const float value : row) {
        largest = std::max(largest, std::fabs(value));
    }
    double sum = 0.0;
    for (const float value : row) {
        const double scaled = static_cast<double>(value) / static_cast<double>(largest);
        sum += scaled * scaled;
    }
    // What pairs taught may leave nothing of a row.
    const double factor =
        largest > 0.0F ? 1.0 / (static_cast<double>(largest) * std::sqrt(sum)) : 0.0;
    for (std::size_t i = 0; i < row.size(); ++i) {
        out[i] = static_cast<float>(static_cast<double>(row[i]) * factor);
    }
}

std::vector<float> transpose(const std::vector<float>& matrix, std::size_t n) {
    std::vector<float> out(matrix.size());
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
            out[j * n + i] = matrix[i * n + j];
        }
    }
    return out;
}

} // namespace

/// What encoding needs beyond scoring.
struct ResidualCompressor::Encoder {
    /// Tokens of a sub-space from one commit point to the next.
    struct Run {
        std::vector<std::size_t> tokens; ///< Places among the late tokens, ascending.
        BeamSearch search;
    };
    BeamSearch early;
    std::vector<std::vector<Run>> late; ///< Of each sub-space.
};

struct ResidualCompressor::LazyEncoder {
    std::once_flag once;
    std::unique_ptr<Encoder> encoder;
};

void require_cpu(std::string_view device) {
    if (device == "cpu" || device == "auto") {
        return;
    }
    if (device.substr(0, 4) == "cuda") {
        fail(
            ErrorKind::kUnsupported,
            "This kind of model runs on the CPU; ask for device \"cpu\" or \"auto\", not \"",
            device, "\"");
    }
    fail(
        ErrorKind::kInvalidArgument, "Device is not one of \"auto\", \"cpu\", \"cuda:<n>\": \"",
        device, "\"");
}

void require_usable_rows(MatrixView<const float> rows, Metric metric, std::string_view what) {
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        float magnitude = 0.0F;
        bool finite = true;
        for (const float value : rows.row(i)) {
            finite = finite && std::isfinite(value);
            magnitude = std::max(magnitude, std::fabs(value));
        }
        if (!finite) {
            fail(
                ErrorKind::kInvalidArgument, what,
                " holds a value that is not finite (NaN or infinity) in row: ", i);
        }
        if (metric == Metric::kCosine && magnitude == 0.0F) {
            fail(
                ErrorKind::kInvalidArgument, what,
                " holds a zero row, which has no direction under cosine: ", i);
        }
    }
}

BeamSearch early_search(
    const ResidualModel& model, const std::vector<float>& decoded_mean,
    const std::vector<float>& decoded_early) {
    const std::size_t d = model.dim;
    BeamSearch search(d);
    if (!model.landmarks.empty()) {
        search.set_landmarks(Landmarks(
            {model.landmarks.data(), model.landmarks.size() / d, d}, decoded_mean,
            {model.metric, model.landmarks_asked,
             static_cast<float>(model.landmark_error_weight)}));
    }
    const std::vector<float>& symbols = model.landmarks.empty() ? model.early : decoded_early;
    // Counted by what is there: in training, later tokens are not known yet.
    for (std::size_t at = 0; at < symbols.size(); at += kSymbols * d) {
        search.add_codebook({symbols.data() + at, kSymbols, d});
    }
    return search;
}

std::unique_ptr<Compressor> open_residual(const ModelFiles& files, std::string_view device) {
    require_cpu(device);
    return std::make_unique<ResidualCompressor>(read_residual_model(files));
}

ResidualCompressor::ResidualCompressor(ResidualModel model, TrainReport report)
    : model_(std::move(model)), report_(std::move(report)) {
    id_ = read_residual_model(files()).id;
    prepare();
}

ResidualCompressor::ResidualCompressor(StoredResidualModel stored)
    : model_(std::move(stored.model)), report_(std::move(stored.report)),
      id_(std::move(stored.id)) {
    prepare();
}

void ResidualCompressor::prepare() {
    const std::size_t d = model_.dim;
    entry_ = Perceptron(model_.entry);
    if (!model_.rotation.empty()) {
        rotation_ = PackedMatrix({model_.rotation.data(), d, d});
        const std::vector<float> inverse =
            model_.exit_map.empty() ? transpose(model_.rotation, d) : model_.exit_map;
        inverse_rotation_ = PackedMatrix({inverse.data(), d, d});
    }
    decode_early_symbols();
    for (std::size_t t = 0; t < model_.early_tokens(); ++t) {
        early_.emplace_back(MatrixView<const float>(decoded_symbol(t, 0), kSymbols, d));
    }
    const float* codebook = model_.late.data();
    for (std::size_t j = 0; j < model_.late_subspaces.size(); ++j) {
        const std::size_t width = model_.late_width(j);
        LateToken token{
            model_.subspace_bounds[model_.late_subspaces[j]], width, codebook,
            PackedMatrix({codebook, kSymbols, width})};
        late_.push_back(std::move(token));
        codebook += kSymbols * width;
    }
    sum_lengths();
    encoder_ = std::make_shared<LazyEncoder>();
    if (has_features()) {
        features_ = FeatureMap(model_.features);
    }
}

void ResidualCompressor::decode_early_symbols() {
    decoded_mean_ = model_.mean;
    decoded_early_ = model_.early;
    if (model_.decode_map.empty()) {
        return;
    }
    const std::size_t d = model_.dim;
    const PackedMatrix map({model_.decode_map.data(), d, d});
    multiply(map, {model_.mean.data(), 1, d}, decoded_mean_.data());
    const MatrixView<const float> symbols(model_.early.data(), model_.early.size() / d, d);
    for_each_tile(symbols.rows(), map.flop(), [&](std::size_t first, std::size_t count) {
        multiply(map, symbols.slice(first, count), decoded_early_.data() + first * d);
    });
}

void ResidualCompressor::sum_lengths() {
    const auto length = [](const float* values, std::size_t count) {
        double squared = 0.0;
        for (std::size_t i = 0; i < count; ++i) {
            squared += static_cast<double>(values[i]) * static_cast<double>(values[i]);
        }
        return std::sqrt(squared);
    };
    rotation_norm_ = length(model_.rotation.data(), model_.rotation.size());
    const std::size_t early = model_.early_tokens();
    summed_lengths_ = {length(decoded_mean_.data(), model_.dim)};
    for (std::size_t t = 0; t < model_.code_bytes; ++t) {
        const std::size_t width = t < early ? model_.dim : late_[t - early].width;
        const float* const symbols = t < early ? decoded_symbol(t, 0) : late_[t - early].codebook;
        double longest = 0.0;
        for (std::size_t symbol = 0; symbol < kSymbols; ++symbol) {
            longest = std::max(longest, length(symbols + symbol * width, width));
        }
        summed_lengths_.push_back(summed_lengths_.back() + longest);
    }
}

void ResidualCompressor::multiply(
    const PackedMatrix& matrix, MatrixView<const float> rows, float* out) const {
    const std::size_t d = model_.dim;
    if (d % kPanel == 0) {
        matrix.multiply(rows.data(), d, rows.rows(), out, d);
        return;
    }
    const std::size_t padded = padded_columns(d);
    AlignedFloats wide(rows.rows() * padded);
    matrix.multiply(rows.data(), d, rows.rows(), wide.data(), padded);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        std::copy_n(wide.data() + i * padded, d, out + i * d);
    }
}

const ResidualCompressor::Encoder& ResidualCompressor::encoder() const {
    std::call_once(encoder_->once, [this] {
        auto encoder = std::make_unique<Encoder>(
            Encoder{early_search(model_, decoded_mean_, decoded_early_), {}});
        for (const auto& runs : model_.late_runs()) {
            encoder->late.emplace_back();
            for (const std::vector<std::size_t>& tokens : runs) {
                const std::size_t width = late_[tokens.front()].width;
                encoder->late.back().push_back({tokens, BeamSearch(width)});
                for (const std::size_t j : tokens) {
                    encoder->late.back().back().search.add_codebook(
                        {late_[j].codebook, kSymbols, width});
                }
            }
        }
        encoder_->encoder = std::move(encoder);
    });
    return *encoder_->encoder;
}

void ResidualCompressor::check_rows(MatrixView<const float> rows, std::string_view what) const {
    if (rows.cols() != model_.dim) {
        fail(
            ErrorKind::kInvalidArgument, "Embedding width differs from the model's: ", rows.cols(),
            ", expected ", model_.dim);
    }
    require_usable_rows(rows, model_.metric, what);
}

void ResidualCompressor::check_codes(MatrixView<const std::byte> codes) const {
    if (codes.cols() < 1 || codes.cols() > model_.code_bytes) {
        fail(
            ErrorKind::kInvalidArgument, "Code length is outside [1, ", model_.code_bytes,
            "]: ", codes.cols());
    }
}

void ResidualCompressor::turn(MatrixView<const float> rows, float* out) const {
    const std::size_t d = model_.dim;
    const bool is_cosine = model_.metric == Metric::kCosine;
    const float* source = rows.data();
    AlignedFloats buffer;
    if (is_cosine || !model_.entry.empty()) {
        float* seen = out;
        if (!model_.rotation.empty()) {
            buffer = AlignedFloats(rows.size());
            seen = buffer.data();
        }
        const auto normalise_all = [&](const float* from) {
            for (std::size_t i = 0; i < rows.rows(); ++i) {
                normalise({from + i * d, d}, seen + i * d);
            }
        };
        if (is_cosine) {
            normalise_all(source);
        } else {
            std::copy_n(source, rows.size(), seen);
        }
        if (!model_.entry.empty()) {
            entry_.add({seen, rows.rows(), d}, d, seen, d);
            if (is_cosine) {
                normalise_all(seen);
            }
        }
        source = seen;
    }
    if (!model_.rotation.empty()) {
        multiply(rotation_, {source, rows.rows(), d}, out);
    } else if (source != out) {
        std::copy_n(source, rows.size(), out);
    }
}

void ResidualCompressor::turn_all(MatrixView<const float> rows, float* out) const {
    for_each_tile(rows.rows(), rotation_.flop(), [&](std::size_t first, std::size_t count) {
        turn(rows.slice(first, count), out + first * model_.dim);
    });
}

void ResidualCompressor::encode(
    MatrixView<const float> embeddings, std::size_t num_bytes, MatrixView<std::byte> codes) const {
    if (num_bytes < 1 || num_bytes > model_.code_bytes) {
        fail(
            ErrorKind::kInvalidArgument, "Number of bytes is outside [1, ", model_.code_bytes,
            "]: ", num_bytes);
    }
    if (codes.rows() != embeddings.rows() || codes.cols() != num_bytes) {
        fail(
            ErrorKind::kInvalidArgument, "Codes have a shape other than the rows ask for: [",
            codes.rows(), ", ", codes.cols(), "], expected [", embeddings.rows(), ", ", num_bytes,
            "]");
    }
    check_rows(embeddings, "Embeddings matrix");
    if (embeddings.empty()) {
        return;
    }
    const Encoder& by = encoder(); // Before the threads start, since building it starts some.
    const double flop = model_.encode_flop();
    const auto encode_rows = [&](std::size_t first, std::size_t count) {
        encode_tile(by, embeddings.slice(first, count), codes.slice(first, count));
    };
    for_each_tile(embeddings.rows(), flop, encode_rows, beam_tile_rows(embeddings.rows()));
}

void ResidualCompressor::encode_tile(
    const Encoder& by, MatrixView<const float> rows, MatrixView<std::byte> codes) const {
    const std::size_t d = model_.dim;
    const std::size_t num_bytes = codes.cols();
    AlignedFloats z(rows.size());
    AlignedFloats scratch(BeamSearch::scratch_size(rows.rows()));
    turn(rows, z.data());
    const std::vector<float>& mean = model_.landmarks.empty() ? model_.mean : decoded_mean_;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        kernels().subtract(z.data() + i * d, mean.data(), d);
    }
    const std::size_t early = std::min(num_bytes, model_.early_tokens());
    // Up to the next commit point and not to `early`: what is chosen must not depend on where the
    // code is cut.
    const std::size_t end =
        *std::lower_bound(model_.commit_points.begin(), model_.commit_points.end(), early);
    const BeamSearch::State state = by.early.run(
        {z.data(), rows.rows(), d}, model_.beam_width, model_.commit_points, end, scratch.data());
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        std::memcpy(codes.row(i).data(), state.code(i, 0), early);
    }
    if (num_bytes > early) {
        encode_late(by, {z.data(), rows.rows(), d}, state, codes, scratch.data());
    }
}

void ResidualCompressor::encode_late(
    const Encoder& by, MatrixView<float> residual, const BeamSearch::State& state,
    MatrixView<std::byte> codes, float* scratch) const {
    const Kernels& kernel = kernels();
    const std::size_t d = model_.dim;
    const std::size_t early = model_.early_tokens();
    for (std::size_t i = 0; i < residual.rows(); ++i) {
        if (model_.landmarks.empty() && !model_.decode_map.empty()) { // The residual was centred by
                                                                      // the other mean.
            kernel.add(residual.row(i).data(), model_.mean.data(), d);
            kernel.subtract(residual.row(i).data(), decoded_mean_.data(), d);
        }
        for (std::size_t t = 0; t < early; ++t) {
            kernel.subtract(residual.row(i).data(), decoded_symbol(t, state.code(i, 0)[t]), d);
        }
    }
    for (std::size_t s = 0; s + 1 < model_.subspace_bounds.size(); ++s) {
        encode_subspace(by, s, residual, codes, scratch);
    }
}

void ResidualCompressor::encode_subspace(
    const Encoder& by, std::size_t subspace, MatrixView<const float> residual,
    MatrixView<std::byte> codes, float* scratch) const {
    const std::size_t early = model_.early_tokens();
    const std::vector<Encoder::Run>& runs = by.late[subspace];
    const auto is_asked_for = [&](const Encoder::Run& run) {
        return early + run.tokens.front() < codes.cols();
    };
    if (runs.empty() || !is_asked_for(runs.front())) {
        return;
    }
    const std::size_t first = model_.subspace_bounds[subspace];
    const std::size_t width = model_.subspace_bounds[subspace + 1] - first;
    AlignedFloats points(residual.rows() * width);
    for (std::size_t i = 0; i < residual.rows(); ++i) {
        std::copy_n(residual.row(i).data() + first, width, points.data() + i * width);
    }
    for (const Encoder::Run& run : runs) {
        if (!is_asked_for(run)) {
            return;
        }
        // The whole run, wherever the code is cut: as for early tokens.
        const std::array<std::size_t, 1> end = {run.tokens.size()};
        const BeamSearch::State state = run.search.run(
            {points.data(), residual.rows(), width}, model_.late_beam_width, end, end[0], scratch);
        for (std::size_t i = 0; i < residual.rows(); ++i) {
            for (std::size_t t = 0; t < run.tokens.size(); ++t) {
                const std::size_t symbol = state.code(i, 0)[t];
                const LateToken& token = late_[run.tokens[t]];
                if (early + run.tokens[t] < codes.cols()) {
                    codes.row(i)[early + run.tokens[t]] = static_cast<std::byte>(symbol);
                }
                kernels().subtract(
                    points.data() + i * width, token.codebook + symbol * width, width);
            }
        }
    }
}

void ResidualCompressor::reconstruct(std::span<const std::byte> code, float* z) const {
    const Kernels& kernel = kernels();
    const std::size_t d = model_.dim;
    std::copy_n(decoded_mean_.data(), d, z);
    const std::size_t early = std::min(code.size(), model_.early_tokens());
    for (std::size_t t = 0; t < early; ++t) {
        kernel.add(z, decoded_symbol(t, std::to_integer<std::size_t>(code[t])), d);
    }
    for (std::size_t t = early; t < code.size(); ++t) {
        const LateToken& token = late_[t - early];
        kernel.add(
            z + token.first, token.codebook + std::to_integer<std::size_t>(code[t]) * token.width,
            token.width);
    }
}

void ResidualCompressor::reconstruct_all(MatrixView<const std::byte> codes, float* z) const {
    for (std::size_t i = 0; i < codes.rows(); ++i) {
        reconstruct(codes.row(i), z + i * model_.dim);
    }
}

void ResidualCompressor::decode(
    MatrixView<const std::byte> codes, MatrixView<float> embeddings) const {
    check_codes(codes);
    if (embeddings.rows() != codes.rows() || embeddings.cols() != model_.dim) {
        fail(
            ErrorKind::kInvalidArgument, "Embeddings have a shape other than the codes ask for: [",
            embeddings.rows(), ", ", embeddings.cols(), "], expected [", codes.rows(), ", ",
            model_.dim, "]");
    }
    const std::size_t d = model_.dim;
    const std::size_t padded = padded_columns(d);
    const double flop = static_cast<double>(codes.cols() * d) + inverse_rotation_.flop();
    for_each_tile(codes.rows(), flop, [&](std::size_t first, std::size_t count) {
        AlignedFloats z(count * d);
        AlignedFloats wide(count * padded);
        reconstruct_all(codes.slice(first, count), z.data());
        if (!model_.rotation.empty()) {
            inverse_rotation_.multiply(z.data(), d, count, wide.data(), padded);
        }
        for (std::size_t i = 0; i < count; ++i) {
            const float* const from =
                model_.rotation.empty() ? z.data() + i * d : wide.data() + i * padded;
            std::copy_n(from, d, embeddings.row(first + i).data());
        }
    });
}

void ResidualCompressor::query_tables(
    MatrixView<const float> queries, std::size_t first_token, MatrixView<float> tables) const {
    check_rows(queries, "Queries matrix");
    const std::size_t tokens = tables.cols() / kSymbols;
    if (tables.rows() != queries.rows() || tables.cols() % kSymbols != 0 ||
        first_token + tokens > model_.code_bytes) {
        fail(
            ErrorKind::kInvalidArgument,
            "Query tables have a shape other than queries and tokens ask for: [", tables.rows(),
            ", ", tables.cols(), "] from token ", first_token);
    }
    const std::size_t d = model_.dim;
    const std::size_t early = model_.early_tokens();
    AlignedFloats turned(queries.size());
    turn_all(queries, turned.data());
    parallel_for(tokens, product_flop(tables.size(), d), [&](std::size_t i) {
        const std::size_t t = first_token + i;
        float* const out = tables.data() + i * kSymbols;
        if (t < early) {
            early_[t].multiply(turned.data(), d, queries.rows(), out, tables.cols());
        } else {
            const LateToken& token = late_[t - early];
            token.packed.multiply(
                turned.data() + token.first, d, queries.rows(), out, tables.cols());
        }
    });
}

void ResidualCompressor::query_terms(
    MatrixView<const float> queries, std::span<QueryTerms> terms) const {
    check_rows(queries, "Queries matrix");
    if (terms.size() != queries.rows()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Query terms differ in number from the queries: ", terms.size(), ", expected ",
            queries.rows());
    }
    const std::size_t d = model_.dim;
    for_each_tile(queries.rows(), rotation_.flop(), [&](std::size_t first, std::size_t count) {
        AlignedFloats turned(count * d);
        turn(queries.slice(first, count), turned.data());
        for (std::size_t i = 0; i < count; ++i) {
            const float* const row = turned.data() + i * d;
            const float bias = kernels().dot(row, decoded_mean_.data(), d);
            terms[first + i] = {bias, squared_norm(queries.row(first + i), row)};
        }
    });
}

float ResidualCompressor::squared_norm(std::span<const float> query, const float* turned) const {
    if (model_.metric == Metric::kCosine) {
        return 1.0F;
    }
    const float* const seen = model_.entry.empty() ? query.data() : turned;
    return kernels().dot(seen, seen, model_.dim);
}

float ResidualCompressor::row_term(float squared) const {
    if (model_.metric == Metric::kL2) {
        return squared;
    }
    if (!(squared > 0.0F)) {
        return 0.0F;
    }
    const float angle = 1.0F / std::sqrt(squared);
    if (model_.norm_shrinkage == 0.0 || squared >= 1.0F) { // No cosine beyond 1.
        return angle;
    }
    return angle *
           static_cast<float>(std::pow(static_cast<double>(squared), 0.5 * model_.norm_shrinkage));
}

void ResidualCompressor::row_terms(
    MatrixView<const std::byte> codes, std::span<float> terms) const {
    check_codes(codes);
    if (terms.size() != codes.rows()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Row terms differ in number from the codes: ", terms.size(), ", expected ",
            codes.rows());
    }
    if (model_.metric == Metric::kInnerProduct) {
        std::fill(terms.begin(), terms.end(), 0.0F);
        return;
    }
    const double flop = product_flop(codes.cols(), model_.dim);
    for_each_tile(codes.rows(), flop, [&](std::size_t first, std::size_t count) {
        AlignedFloats z(model_.dim);
        for (std::size_t i = first; i < first + count; ++i) {
            reconstruct(codes.row(i), z.data());
            const float squared = kernels().dot(z.data(), z.data(), model_.dim);
            terms[i] = row_term(squared);
        }
    });
}

/// Undoes row_term().
double ResidualCompressor::reconstruction_length(float row_term) const noexcept {
    const double length = Compressor::reconstruction_length(row_term);
    if (model_.metric != Metric::kCosine || model_.norm_shrinkage == 0.0 || length >= 1.0) {
        return length;
    }
    return model_.norm_shrinkage < 1.0 ? std::pow(length, 1.0 / (1.0 - model_.norm_shrinkage))
                                       : std::numeric_limits<double>::quiet_NaN();
}

/// A float sum of n products is wrong by at most gamma(n) times the sum of their magnitudes, in any
/// order, fused or not (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
/// Turning the query and turning the reconstruction back err by gamma(dim) times the rotation's
/// Frobenius norm, of a length each; products with symbols, their sums, and the sum of symbols by
/// shares of the lengths of what is summed.
double ResidualCompressor::sum_error(std::size_t num_bytes, double length) const noexcept {
    if (!model_.entry.empty()) {
        return std::numeric_limits<double>::infinity();
    }
    const auto gamma = [](std::size_t n) {
        const double rounding = static_cast<double>(n) * 0x1p-24;
        return rounding / (1.0 - rounding);
    };
    // Four more: normalising the query, and second-order terms.
    const double summed = summed_lengths_[std::min(num_bytes, model_.code_bytes)];
    const double turning = 2.0 * gamma(model_.dim + 4) * rotation_norm_ * std::min(length, summed);
    const double summing = (gamma(model_.dim + 4) + 2.0 * gamma(num_bytes + 4)) * summed;
    constexpr double kSlack = 1.01; // Of products of such errors.
    return kSlack * (turning + summing);
}

void ResidualCompressor::score(
    MatrixView<const float> queries, MatrixView<const std::byte> codes, bool neural,
    MatrixView<float> scores) const {
    check_codes(codes);
    if (scores.rows() != queries.rows() || scores.cols() != codes.rows()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Scores have a shape other than queries and codes ask for: [", scores.rows(), ", ",
            scores.cols(), "], expected [", queries.rows(), ", ", codes.rows(), "]");
    }
    if (neural) {
        score_by_rows(queries, codes, scores);
    } else {
        score_by_tables(queries, codes, scores);
    }
}

void ResidualCompressor::score_by_rows(
    MatrixView<const float> queries, MatrixView<const std::byte> codes,
    MatrixView<float> scores) const {
    check_rows(queries, "Queries matrix");
    const std::size_t d = model_.dim;
    AlignedFloats turned(queries.size());
    turn_all(queries, turned.data());
    std::vector<float> squared_norms(queries.rows());
    for (std::size_t q = 0; q < queries.rows(); ++q) {
        squared_norms[q] = squared_norm(queries.row(q), turned.data() + q * d);
    }
    const PackedMatrix packed({turned.data(), queries.rows(), d});
    const std::size_t padded = padded_columns(queries.rows());
    const double flop = packed.flop() + static_cast<double>(codes.cols() * d);
    for_each_tile(codes.rows(), flop, [&](std::size_t first, std::size_t count) {
        AlignedFloats rows(count * d);
        AlignedFloats products(count * padded);
        reconstruct_all(codes.slice(first, count), rows.data());
        packed.multiply(rows.data(), d, count, products.data(), padded);
        for (std::size_t i = 0; i < count; ++i) {
            const float* const row = rows.data() + i * d;
            const float term = row_term(kernels().dot(row, row, d));
            for (std::size_t q = 0; q < queries.rows(); ++q) {
                scores.row(q)[first + i] =
                    combine(model_.metric, products.data()[i * padded + q], term, squared_norms[q]);
            }
        }
    });
}

void ResidualCompressor::score_by_tables(
    MatrixView<const float> queries, MatrixView<const std::byte> codes,
    MatrixView<float> scores) const {
    std::vector<float> row_term(codes.rows());
    std::vector<QueryTerms> query_term(queries.rows());
    row_terms(codes, row_term);
    query_terms(queries, query_term);
    const std::size_t table_size = codes.cols() * kSymbols;
    constexpr std::size_t kQueries = 64; // Bounds the tables: 64 queries of 96 tokens are 6 MB.
    AlignedFloats tables(std::min(kQueries, queries.rows()) * table_size);
    for (std::size_t first = 0; first < queries.rows(); first += kQueries) {
        const std::size_t count = std::min(kQueries, queries.rows() - first);
        query_tables(queries.slice(first, count), 0, {tables.data(), count, table_size});
        parallel_for(count, 4.0 * static_cast<double>(count * codes.size()), [&](std::size_t q) {
            const float* const table = tables.data() + q * table_size;
            const QueryTerms& term = query_term[first + q];
            const std::span<float> out = scores.row(first + q);
            for (std::size_t i = 0; i < codes.rows(); i += kScoreRows) {
                const std::size_t rows = std::min(kScoreRows, codes.rows() - i);
                std::array<float, kScoreRows> sums = {};
                sums.fill(term.bias);
                for (std::size_t t = 0; t < codes.cols(); ++t) {
                    for (std::size_t r = 0; r < rows; ++r) {
                        sums[r] +=
                            table[t * kSymbols + std::to_integer<std::size_t>(codes.row(i + r)[t])];
                    }
                }
                for (std::size_t r = 0; r < rows; ++r) {
                    out[i + r] =
                        combine(model_.metric, sums[r], row_term[i + r], term.squared_norm);
                }
            }
        });
    }
}

void ResidualCompressor::features(
    MatrixView<const float> embeddings, MatrixView<float> features) const {
    if (!has_features()) {
        Compressor::features(embeddings, features); // Refuses.
    }
    const std::size_t d = model_.dim;
    if (features.cols() < 1 || features.cols() > d) {
        fail(
            ErrorKind::kInvalidArgument, "Number of feature dimensions is outside [1, ", d,
            "]: ", features.cols());
    }
    if (features.rows() != embeddings.rows()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Features differ in number from the rows: ", features.rows(), ", expected ",
            embeddings.rows());
    }
    check_rows(embeddings, "Embeddings matrix");
    const double flop = features_.flop(features.cols());
    for_each_tile(embeddings.rows(), flop, [&](std::size_t first, std::size_t count) {
        const MatrixView<const float> rows = embeddings.slice(first, count);
        if (model_.entry.empty() && model_.metric != Metric::kCosine) {
            features_.apply(rows, features.slice(first, count));
            return;
        }
        AlignedFloats seen(count * d);
        if (!model_.entry.empty()) {
            turn(rows, seen.data());
        } else {
            for (std::size_t i = 0; i < count; ++i) {
                normalise(rows.row(i), seen.data() + i * d);
            }
        }
        features_.apply({seen.data(), count, d}, features.slice(first, count));
    });
}

} // namespace arfc
