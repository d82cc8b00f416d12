#include "landmarks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "arfc/compressor/compressor.h"
#include "best_places.h"
#include "kernels.h"
#include "threads.h"

namespace arfc {
namespace {

constexpr std::size_t kMostAsked = 64;
constexpr float kNever = std::numeric_limits<float>::infinity();
/// The most that are kept: Kernels::extend.
constexpr std::size_t kTogether = 16;

} // namespace

Landmarks::Landmarks(
    MatrixView<const float> points, std::vector<float> mean, const LandmarkOptions& options)
    : dim_(points.cols()), options_(options), packed_(points), mean_(std::move(mean)) {
    options_.asked = std::min({options.asked, kMostAsked, points.rows()});
    for (std::size_t i = 0; i < points.rows(); ++i) {
        const float* const point = points.row(i).data();
        norms_.push_back(kernels().dot(point, point, dim_));
        bias_.push_back(kernels().dot(point, mean_.data(), dim_));
    }
}

void Landmarks::add_codebook(MatrixView<const float> codebook) {
    Token token;
    // Symbols times landmarks, then the other way round: a landmark's products side by side.
    const std::size_t n = packed_.rows();
    const std::size_t padded = padded_columns(n);
    AlignedFloats products(kSymbols * padded);
    constexpr std::size_t kRows = 32;
    parallel_for(kSymbols / kRows, product_flop(kSymbols * n, dim_), [&](std::size_t part) {
        packed_.multiply(
            codebook.row(part * kRows).data(), dim_, kRows, products.data() + part * kRows * padded,
            padded);
    });
    token.tables = AlignedFloats(n * kSymbols);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < kSymbols; ++k) {
            token.tables.data()[i * kSymbols + k] = products.data()[k * padded + i];
        }
    }
    for (std::size_t k = 0; k < kSymbols; ++k) {
        token.means.push_back(kernels().dot(codebook.row(k).data(), mean_.data(), dim_));
    }
    tokens_.push_back(std::move(token));
}

Landmarks::State Landmarks::start(MatrixView<const float> z, std::size_t width) const {
    const std::size_t rows = z.rows();
    const std::size_t asked = options_.asked;
    const std::size_t padded = padded_columns(packed_.rows());
    State state;
    state.asked = asked;
    state.width = width;
    state.nearest.resize(rows * asked);
    state.wanted.resize(rows * asked);
    state.squared.resize(rows);
    state.centred.resize(rows);
    state.spread.resize(rows);
    state.own.resize(rows * width);
    state.sums.resize(rows * asked * kTogether);
    AlignedFloats x(z.size());
    std::copy_n(z.data(), z.size(), x.data());
    for (std::size_t i = 0; i < rows; ++i) {
        float* const row = x.data() + i * dim_;
        state.centred[i] = kernels().dot(row, row, dim_);
        kernels().add(row, mean_.data(), dim_);
        state.squared[i] = kernels().dot(row, row, dim_);
        state.own[i * width] = kernels().dot(row, mean_.data(), dim_);
    }
    AlignedFloats products(rows * padded);
    packed_.multiply(x.data(), dim_, rows, products.data(), padded);
    const bool is_l2 = options_.metric == Metric::kL2;
    for (std::size_t i = 0; i < rows; ++i) {
        const float* const product = products.data() + i * padded;
        std::array<float, kMostAsked> best = {};
        std::size_t count = 0;
        std::uint32_t* const nearest = state.nearest.data() + i * asked;
        for (std::size_t l = 0; l < packed_.rows(); ++l) {
            const float near = is_l2 ? product[l] - 0.5F * norms_[l] : product[l];
            if (count == asked && !(near > best[count - 1])) {
                continue;
            }
            std::size_t at = count < asked ? count++ : asked - 1;
            for (; at > 0 && near > best[at - 1]; --at) {
                best[at] = best[at - 1];
                nearest[at] = nearest[at - 1];
            }
            best[at] = near;
            nearest[at] = static_cast<std::uint32_t>(l);
        }
        float spread = 0.0F;
        for (std::size_t j = 0; j < asked; ++j) {
            const std::uint32_t l = nearest[j];
            state.wanted[i * asked + j] = is_l2 ? product[l] - 0.5F * state.squared[i] : product[l];
            state.sums[(i * asked + j) * kTogether] = bias_[l];
            spread += state.squared[i] - 2.0F * product[l] + norms_[l];
        }
        state.spread[i] = std::max(spread, 0.0F) / static_cast<float>(asked);
    }
    return state;
}

void Landmarks::prefetch(const State& state, std::size_t row, std::size_t token) const noexcept {
    constexpr std::size_t kLine = 16; // Floats.
    for (std::size_t j = 0; j < state.asked; ++j) {
        const float* const table =
            tokens_[token].tables.data() + state.nearest[row * state.asked + j] * kSymbols;
        for (std::size_t k = 0; k < kSymbols; k += kLine) {
            __builtin_prefetch(table + k);
        }
    }
}

void Landmarks::choose(
    State& state, std::size_t row, std::size_t token, const float* products, std::size_t kept,
    std::vector<Candidate>& candidates) const {
    const std::size_t asked = state.asked;
    const Token& of = tokens_[token];
    const Kernels& kernel = kernels();
    float* const own = state.own.data() + row * state.width;
    float* const sums = state.sums.data() + row * asked * kTogether;
    // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init): read as far as they are written
    std::array<const float*, kMostAsked> tables;
    std::array<Candidate, kMostJudged> judged; // 54 are expected.
    std::array<std::uint32_t, kMostJudged> hypotheses;
    std::array<std::uint32_t, kMostJudged> symbols;
    std::array<float, kMostJudged> values;
    std::array<float, kMostJudged> products_of_row;
    std::array<Candidate, kTogether> best;
    std::array<float, kTogether> best_values;
    std::array<float, kTogether> best_own;
    // NOLINTEND(cppcoreguidelines-pro-type-member-init)
    for (std::size_t j = 0; j < asked; ++j) {
        tables[j] = of.tables.data() + state.nearest[row * asked + j] * kSymbols;
    }
    const Judgement by = {
        tables.data(),
        sums,
        state.wanted.data() + row * asked,
        asked,
        state.squared[row],
        options_.error_weight * state.spread[row] * static_cast<float>(asked),
        options_.metric == Metric::kCosine,
        options_.metric == Metric::kL2};
    std::size_t found = 0;
    for (std::size_t taken = 0; taken < candidates.size();) {
        // Beside the best so far, which are judged already, there is room for fewer.
        std::copy_n(best.begin(), found, judged.begin());
        std::copy_n(best_values.begin(), found, values.begin());
        std::copy_n(best_own.begin(), found, products_of_row.begin());
        const std::size_t room = found == 0 ? kMostJudged : kMostJudged - kTogether;
        const std::size_t more = std::min(candidates.size() - taken, room);
        const std::size_t count = found + more;
        for (std::size_t c = 0; c < more; ++c, ++taken) {
            const Candidate& candidate = candidates[taken];
            judged[found + c] = candidate;
            hypotheses[c] = candidate.hypothesis;
            symbols[c] = candidate.symbol;
            products_of_row[found + c] =
                own[candidate.hypothesis] + products[candidate.symbol] + of.means[candidate.symbol];
            values[found + c] = candidate.cost + state.centred[row];
        }
        const std::size_t whole = padded_columns(more);
        std::fill_n(hypotheses.begin() + more, whole - more, 0U);
        std::fill_n(symbols.begin() + more, whole - more, 0U);
        std::fill_n(products_of_row.begin() + count, whole - more, 0.0F);
        std::fill_n(values.begin() + count, whole - more, 0.0F);
        kernel.judge(
            by, whole, hypotheses.data(), symbols.data(), products_of_row.data() + found,
            values.data() + found);
        const std::size_t padded = padded_columns(count);
        std::fill_n(values.begin() + count, padded - count, kNever);
        const std::size_t keeping = std::min(kept, count);
        const BestPlaces places(values.data(), padded, keeping);
        for (std::size_t b = 0; b < keeping; ++b) {
            best[b] = judged[places[b]];
            best_values[b] = values[places[b]];
            best_own[b] = products_of_row[places[b]];
        }
        found = keeping;
    }
    for (std::size_t b = 0; b < kTogether; ++b) {
        hypotheses[b] = b < found ? best[b].hypothesis : 0U;
        symbols[b] = b < found ? best[b].symbol : 0U;
    }
    kernel.extend(tables.data(), asked, hypotheses.data(), symbols.data(), sums);
    std::copy_n(best_own.data(), found, own);
    candidates.assign(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(found));
}

} // namespace arfc
