#include "beam_search.h"

#include <algorithm>
#include <array>
#include <limits>

#include "arfc/compressor/compressor.h"
#include "best_places.h"
#include "kernels.h"
#include "threads.h"

namespace arfc {
namespace {

constexpr std::size_t kMaxWidth = 64;
constexpr std::size_t kMaxTokens = 1024;

using Candidate = Landmarks::Candidate;

/// Minima that bound() chooses from, each over values of its own.
constexpr std::size_t kBoundParts = 32;

/// Returns the count-th smallest of minima: a value that at least `count` of the values do not
/// exceed, and few more (16 of 32: 22 of 4096 in a random order; 16 of 16: 54).
float bound(const float* minima, std::size_t size, std::size_t count) {
    std::array<std::int32_t, kBoundParts> ranks; // NOLINT: read as far as it is written
    kernels().ranks(minima, size, ranks.data());
    float least = -std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < size; ++i) {
        const bool is_within = static_cast<std::size_t>(ranks[i]) < count;
        least = is_within && minima[i] > least ? minima[i] : least;
    }
    return least;
}

/// Keeps the least `kept` of candidates, at most 64, ascending; among equals the one that came
/// first is first.
void keep_least(std::vector<Candidate>& candidates, std::size_t kept) {
    // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init): read as far as they are written
    std::array<Candidate, kMostJudged> pool; // The best so far, and others.
    std::array<Candidate, kMostJudged> best;
    std::array<float, kMostJudged> costs;
    // NOLINTEND(cppcoreguidelines-pro-type-member-init)
    std::size_t found = 0;
    for (auto next = candidates.begin(); next != candidates.end();) {
        const float most =
            found < kept ? std::numeric_limits<float>::infinity() : best[kept - 1].cost;
        std::copy_n(best.begin(), found, pool.begin());
        std::size_t count = found;
        for (; next != candidates.end() && count < kMostJudged; ++next) {
            if (found < kept || next->cost < most) {
                pool[count++] = *next;
            }
        }
        for (std::size_t c = 0; c < count; ++c) {
            costs[c] = pool[c].cost;
        }
        const std::size_t padded = padded_columns(count);
        std::fill(
            costs.data() + count, costs.data() + padded, std::numeric_limits<float>::infinity());
        found = std::min(kept, count);
        const BestPlaces places(costs.data(), padded, found);
        for (std::size_t b = 0; b < found; ++b) {
            best[b] = pool[places[b]];
        }
    }
    candidates.assign(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(found));
}

} // namespace

void BeamSearch::add_codebook(MatrixView<const float> codebook) {
    Token token;
    token.codebook = AlignedFloats(kSymbols * dim_);
    std::copy_n(codebook.data(), codebook.size(), token.codebook.data());
    token.packed = PackedMatrix(codebook);
    token.norms = AlignedFloats(kSymbols);
    for (std::size_t k = 0; k < kSymbols; ++k) {
        token.norms.data()[k] = kernels().dot(codebook.row(k).data(), codebook.row(k).data(), dim_);
    }
    token.crosses = AlignedFloats(tokens_.size() * kSymbols * kSymbols);
    const double operations = product_flop(tokens_.size() * kSymbols, kSymbols * dim_);
    parallel_for(tokens_.size(), operations, [&](std::size_t s) {
        float* const table = token.crosses.data() + s * kSymbols * kSymbols;
        token.packed.multiply(tokens_[s].codebook.data(), dim_, kSymbols, table, kSymbols);
        for (std::size_t i = 0; i < kSymbols * kSymbols; ++i) {
            table[i] += table[i];
        }
    });
    if (landmarks_) {
        landmarks_->add_codebook(codebook);
    }
    tokens_.push_back(std::move(token));
}

BeamSearch::State BeamSearch::start(std::size_t rows, std::size_t width, std::size_t capacity) {
    State state;
    state.rows = rows;
    state.width = width;
    state.capacity = capacity;
    state.costs.assign(rows * width, 0.0F);
    state.codes.resize(rows * width * capacity);
    state.order.resize(rows * width);
    state.shared.resize(rows * width);
    return state;
}

void BeamSearch::step(
    MatrixView<const float> z, std::size_t first, State& state, float* scratch) const {
    const Token& token = tokens_[state.tokens];
    float* const products = scratch;
    float* const costs = scratch + z.rows() * kSymbols;
    token.packed.multiply(z.data(), dim_, z.rows(), products, kSymbols);
    const std::size_t kept = std::min(state.width, state.count * kSymbols);
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < z.rows(); ++i) {
        const std::size_t row = first + i;
        const float* const product = products + i * kSymbols;
        if (landmarks_) {
            if (i + 1 < z.rows()) {
                landmarks_->prefetch(state.judged, row + 1, state.tokens);
            }
            propose(state, row, product, kPanel, kPanel, costs, candidates);
            landmarks_->choose(state.judged, row, state.tokens, product, kept, candidates);
        } else {
            propose(state, row, product, kept, kBoundParts, costs, candidates);
            keep_least(candidates, kept);
        }
        extend(state, row, candidates);
    }
}

void BeamSearch::all_costs(
    const State& state, std::size_t row, const float* products, float* costs, float* minima) const {
    const Kernels& kernel = kernels();
    const Token& token = tokens_[state.tokens];
    const std::uint8_t* const order = state.order.data() + row * state.width;
    const std::uint16_t* const shared = state.shared.data() + row * state.width;
    // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init): read as far as they are written
    std::array<const float*, kMaxTokens> crosses;
    alignas(64) std::array<float, kMaxWidth * kSymbols> sums; // Over the first depth[i] tokens.
    std::array<std::size_t, kMaxWidth> depth;
    std::array<std::size_t, kMaxWidth> branches;
    // NOLINTEND(cppcoreguidelines-pro-type-member-init)
    kernel.symbol_costs(token.norms.data(), products, sums.data());
    depth[0] = 0;
    std::size_t top = 0;
    for (std::size_t i = 0; i < state.count; ++i) {
        const std::size_t h = state.count == 1 ? 0 : order[i];
        const std::size_t start = i == 0 ? 0 : shared[i];
        while (depth[top] > start) {
            --top;
        }
        const std::uint8_t* const code = state.code(row, h);
        for (std::size_t s = start; s < state.tokens; ++s) {
            crosses[s] = token.crosses.data() + (s * kSymbols + code[s]) * kSymbols;
        }
        // Where hypotheses to come leave this one, the deepest place first.
        std::size_t branch_count = 0;
        std::size_t least = state.tokens + 1;
        for (std::size_t next = i + 1; next < state.count && least > start; ++next) {
            if (shared[next] < least) {
                least = shared[next];
                if (least > start) {
                    branches[branch_count++] = least;
                }
            }
        }
        while (branch_count > 0) {
            const std::size_t at = branches[--branch_count];
            kernel.add_rows(
                sums.data() + top * kSymbols, crosses.data() + depth[top], at - depth[top],
                sums.data() + (top + 1) * kSymbols);
            depth[++top] = at;
        }
        kernel.total_costs(
            sums.data() + top * kSymbols, crosses.data() + depth[top], state.tokens - depth[top],
            state.costs[row * state.width + h], costs + h * kSymbols, minima + h * kPanel);
    }
}

void BeamSearch::propose(
    const State& state, std::size_t row, const float* products, std::size_t count,
    std::size_t parts, float* costs, std::vector<Candidate>& candidates) const {
    // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init): read as far as they are written
    std::array<float, kMaxWidth * kPanel> minima;
    std::array<float, kMaxWidth> least;
    std::array<std::uint32_t, kSymbols + kPanel> symbols;
    // NOLINTEND(cppcoreguidelines-pro-type-member-init)
    all_costs(state, row, products, costs, minima.data());
    std::array<float, kBoundParts> of_parts; // NOLINT: filled in the next line
    of_parts.fill(std::numeric_limits<float>::infinity());
    for (std::size_t h = 0; h < state.count; ++h) {
        const float* const own = minima.data() + h * kPanel;
        float* const part = of_parts.data() + h * kPanel % parts;
        float smallest = own[0];
        for (std::size_t i = 0; i < kPanel; ++i) {
            part[i] = own[i] < part[i] ? own[i] : part[i];
            smallest = own[i] < smallest ? own[i] : smallest;
        }
        least[h] = smallest;
    }
    float threshold = 0.0F;
    if (count <= kPanel) {
        threshold = bound(of_parts.data(), std::min(parts, state.count * kPanel), count);
    } else {
        std::vector<float> ordered(costs, costs + state.count * kSymbols);
        const auto last = ordered.begin() + static_cast<std::ptrdiff_t>(count - 1);
        std::nth_element(ordered.begin(), last, ordered.end());
        threshold = *last;
    }
    candidates.clear();
    // Symbols of which many are alike, as where rows are few, have many candidates at the threshold
    // itself: the first ones will do.
    std::size_t ties = 0;
    for (std::size_t h = 0; h < state.count; ++h) {
        if (least[h] > threshold || (least[h] == threshold && ties >= count)) {
            continue;
        }
        const float* const own = costs + h * kSymbols;
        const std::size_t found = kernels().at_most(own, kSymbols, threshold, symbols.data());
        for (std::size_t c = 0; c < found; ++c) {
            const float cost = own[symbols[c]];
            if (cost == threshold && ties++ >= count) {
                continue;
            }
            candidates.push_back(
                {cost, static_cast<std::uint8_t>(h), static_cast<std::uint8_t>(symbols[c])});
        }
    }
}

void BeamSearch::extend(
    State& state, std::size_t row, const std::vector<Candidate>& candidates) const {
    const std::size_t t = state.tokens;
    std::uint8_t* const order = state.order.data() + row * state.width;
    std::uint16_t* const shared = state.shared.data() + row * state.width;
    // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init): read as far as they are written
    std::array<std::uint8_t, kMaxWidth * kMaxTokens> before;
    std::array<std::uint16_t, kMaxWidth> shared_before;
    std::array<std::size_t, kMaxWidth> places; // In the order so far.
    std::array<float, kMaxWidth> keys;
    // NOLINTEND(cppcoreguidelines-pro-type-member-init)
    for (std::size_t h = 0; h < state.count; ++h) {
        std::copy_n(state.code(row, h), t, before.data() + h * t);
        places[state.count == 1 ? 0 : order[h]] = h;
        shared_before[h] = shared[h];
    }
    for (std::size_t b = 0; b < candidates.size(); ++b) {
        const Candidate& candidate = candidates[b];
        std::uint8_t* const code = state.code(row, b);
        std::copy_n(before.data() + candidate.hypothesis * t, t, code);
        code[t] = candidate.symbol;
        state.costs[row * state.width + b] = candidate.cost;
        keys[b] = static_cast<float>(places[candidate.hypothesis] * kSymbols + candidate.symbol);
    }
    const std::size_t padded = padded_columns(candidates.size());
    std::fill(
        keys.data() + candidates.size(), keys.data() + padded,
        std::numeric_limits<float>::infinity());
    const BestPlaces sorted(keys.data(), padded, candidates.size());
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        order[i] = static_cast<std::uint8_t>(sorted[i]);
        if (i > 0) {
            const std::size_t left = places[candidates[sorted[i - 1]].hypothesis];
            const std::size_t right = places[candidates[sorted[i]].hypothesis];
            shared[i] = left == right
                          ? static_cast<std::uint16_t>(t)
                          : *std::min_element(
                                shared_before.data() + left + 1, shared_before.data() + right + 1);
        }
    }
}

void BeamSearch::advance(State& state) {
    state.count = std::min(state.width, state.count * kSymbols);
    ++state.tokens;
}

BeamSearch::State BeamSearch::run(
    MatrixView<const float> z, std::size_t width, std::span<const std::size_t> commit_points,
    std::size_t tokens, float* scratch) const {
    State state = start(z.rows(), width, tokens);
    if (landmarks_) {
        state.judged = judge(z, width);
    }
    auto next_commit = commit_points.begin();
    while (state.tokens < tokens) {
        step(z, 0, state, scratch);
        advance(state);
        if (state.tokens == *next_commit) {
            commit(state);
            ++next_commit;
        }
    }
    return state;
}

} // namespace arfc
