#include "landmarks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "arfc/compressor/compressor.h"
#include "kernels.h"
#include "threads.h"

namespace arfc {
namespace {

constexpr std::size_t kMostAsked = 64;
constexpr std::size_t kMostKept = 64;

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
    state.sums.resize(rows * width * asked);
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
            state.sums[i * width * asked + j] = bias_[l];
            spread += state.squared[i] - 2.0F * product[l] + norms_[l];
        }
        state.spread[i] = std::max(spread, 0.0F) / static_cast<float>(asked);
    }
    return state;
}

void Landmarks::judge(
    const State& state, std::size_t row, const float* sums, const float* own, float* errors) const {
    const float row_squared = state.squared[row];
    std::array<float, kTogether> factor = {};
    std::array<float, kTogether> offset = {};
    for (std::size_t c = 0; c < kTogether; ++c) {
        // |h|^2 = |x - h|^2 - |x|^2 + 2 <x, h>
        const float squared = errors[c] - row_squared + 2.0F * own[c];
        factor[c] = 1.0F;
        if (options_.metric == Metric::kCosine) {
            factor[c] = squared > 0.0F ? 1.0F / std::sqrt(squared) : 0.0F;
            errors[c] = row_squared - 2.0F * factor[c] * own[c] + factor[c] * factor[c] * squared;
        } else if (options_.metric == Metric::kL2) {
            offset[c] = 0.5F * squared;
        }
    }
    std::array<float, kTogether> total = {};
    const float* const wanted = state.wanted.data() + row * state.asked;
    for (std::size_t j = 0; j < state.asked; ++j) {
        for (std::size_t c = 0; c < kTogether; ++c) {
            const float difference = sums[j * kTogether + c] * factor[c] - offset[c] - wanted[j];
            total[c] += difference * difference;
        }
    }
    const float weight = options_.error_weight * state.spread[row];
    const float share = 1.0F / static_cast<float>(state.asked);
    for (std::size_t c = 0; c < kTogether; ++c) {
        errors[c] = total[c] * share + weight * errors[c];
    }
}

void Landmarks::choose(
    State& state, std::size_t row, std::size_t token, const float* products, std::size_t kept,
    std::vector<Candidate>& candidates) const {
    const std::size_t asked = state.asked;
    const Token& of = tokens_[token];
    float* const own = state.own.data() + row * state.width;
    float* const sums = state.sums.data() + row * state.width * asked;
    // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init): read as far as they are written
    std::array<const float*, kMostAsked> tables;
    std::array<float, kTogether* kMostAsked> longer = {};
    struct Judged {
        float value;
        std::uint32_t from;
    };
    std::array<Judged, kMostKept> best;
    // NOLINTEND(cppcoreguidelines-pro-type-member-init)
    for (std::size_t j = 0; j < asked; ++j) {
        tables[j] = of.tables.data() + state.nearest[row * asked + j] * kSymbols;
    }
    const auto extend = [&](const Candidate& candidate, float* out, std::size_t stride) {
        const float* const before = sums + candidate.hypothesis * asked;
        for (std::size_t j = 0; j < asked; ++j) {
            out[j * stride] = before[j] + tables[j][candidate.symbol];
        }
        return own[candidate.hypothesis] + products[candidate.symbol] + of.means[candidate.symbol];
    };
    std::size_t found = 0;
    for (std::size_t first = 0; first < candidates.size(); first += kTogether) {
        const std::size_t count = std::min(kTogether, candidates.size() - first);
        std::array<float, kTogether> products_of_row = {};
        std::array<float, kTogether> values = {}; // Squared errors first.
        for (std::size_t c = 0; c < count; ++c) {
            const Candidate& candidate = candidates[first + c];
            products_of_row[c] = extend(candidate, longer.data() + c, kTogether);
            values[c] = candidate.cost + state.centred[row];
        }
        judge(state, row, longer.data(), products_of_row.data(), values.data());
        for (std::size_t c = 0; c < count; ++c) {
            const float value = values[c];
            if (found == kept && !(value < best[found - 1].value)) {
                continue;
            }
            std::size_t at = found < kept ? found++ : kept - 1;
            for (; at > 0 && value < best[at - 1].value; --at) {
                best[at] = best[at - 1];
            }
            best[at] = {value, static_cast<std::uint32_t>(first + c)};
        }
    }
    std::array<Candidate, kMostKept> chosen = {};
    std::array<float, kMostKept> chosen_own = {};
    std::array<float, kMostKept * kMostAsked> chosen_sums; // NOLINT: as above
    for (std::size_t b = 0; b < found; ++b) {
        chosen[b] = candidates[best[b].from];
        chosen_own[b] = extend(chosen[b], chosen_sums.data() + b * asked, 1);
    }
    std::copy_n(chosen_own.data(), found, own);
    std::copy_n(chosen_sums.data(), found * asked, sums);
    candidates.assign(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(found));
}

} // namespace arfc
