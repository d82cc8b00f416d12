#include "beam_search.h"

#include <algorithm>
#include <array>
#include <limits>

#include "arfc/compressor/compressor.h"
#include "kernels.h"
#include "threads.h"

namespace arfc {
namespace {

constexpr std::size_t kMaxWidth = 64;
constexpr std::size_t kMaxTokens = 1024;

using Candidate = Landmarks::Candidate;

/// The best candidates so far, ascending by cost; among equals the one that came first stays first.
class Best {
  public:
    // One is made for each row and token: what is beyond size() stays as it is.
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
    explicit Best(std::size_t limit) : limit_(limit) {}

    [[nodiscard]] float threshold() const noexcept {
        return count_ < limit_ ? std::numeric_limits<float>::infinity()
                               : candidates_[count_ - 1].cost;
    }
    void offer(const Candidate& candidate) noexcept {
        if (!(candidate.cost < threshold())) {
            return;
        }
        std::size_t at = count_ < limit_ ? count_++ : limit_ - 1;
        for (; at > 0 && candidate.cost < candidates_[at - 1].cost; --at) {
            candidates_[at] = candidates_[at - 1];
        }
        candidates_[at] = candidate;
    }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] const Candidate* begin() const noexcept { return candidates_.data(); }
    [[nodiscard]] const Candidate* end() const noexcept { return candidates_.data() + count_; }

  private:
    std::array<Candidate, kMaxWidth> candidates_; ///< [count_]; the rest is never read.
    std::size_t limit_;
    std::size_t count_ = 0;
};

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
            propose(state, row, product, costs, candidates);
            landmarks_->choose(state.judged, row, state.tokens, product, kept, candidates);
        } else {
            closest(state, row, product, kept, costs, candidates);
        }
        extend(state, row, candidates);
    }
}

void BeamSearch::hypothesis_costs(
    const State& state, std::size_t row, std::size_t hypothesis, const float* products,
    float* costs) const {
    const Token& token = tokens_[state.tokens];
    const std::uint8_t* const code = state.code(row, hypothesis);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): read as far as it is written
    std::array<const float*, kMaxTokens> crosses;
    for (std::size_t s = 0; s < state.tokens; ++s) {
        crosses[s] = token.crosses.data() + (s * kSymbols + code[s]) * kSymbols;
    }
    kernels().symbol_costs(
        token.norms.data(), products, crosses.data(), state.tokens,
        state.costs[row * state.width + hypothesis], costs);
}

void BeamSearch::closest(
    const State& state, std::size_t row, const float* products, std::size_t kept, float* costs,
    std::vector<Candidate>& candidates) const {
    const Kernels& kernel = kernels();
    std::array<unsigned char, kSymbols> indices = {};
    Best best(kept);
    for (std::size_t h = 0; h < state.count; ++h) {
        hypothesis_costs(state, row, h, products, costs);
        // The first hypothesis meets no threshold yet: bound it from its own costs.
        const bool unbounded = best.size() < kept && kept - best.size() <= 16;
        const float threshold =
            unbounded ? kernel.bound(costs, kSymbols, kept - best.size()) : best.threshold();
        const std::size_t found = kernel.at_most(costs, threshold, indices.data());
        for (std::size_t c = 0; c < found; ++c) {
            best.offer({costs[indices[c]], static_cast<std::uint8_t>(h), indices[c]});
        }
    }
    candidates.assign(best.begin(), best.end());
}

void BeamSearch::propose(
    const State& state, std::size_t row, const float* products, float* costs,
    std::vector<Candidate>& candidates) const {
    const Kernels& kernel = kernels();
    for (std::size_t h = 0; h < state.count; ++h) {
        hypothesis_costs(state, row, h, products, costs + h * kSymbols);
    }
    const float threshold = kernel.bound(costs, state.count * kSymbols, 16);
    std::array<unsigned char, kSymbols> indices = {};
    candidates.clear();
    for (std::size_t h = 0; h < state.count; ++h) {
        const float* const own = costs + h * kSymbols;
        const std::size_t found = kernel.at_most(own, threshold, indices.data());
        for (std::size_t c = 0; c < found; ++c) {
            candidates.push_back({own[indices[c]], static_cast<std::uint8_t>(h), indices[c]});
        }
    }
}

void BeamSearch::extend(
    State& state, std::size_t row, const std::vector<Candidate>& candidates) const {
    const std::size_t t = state.tokens;
    std::array<std::uint8_t, kMaxWidth * kMaxTokens> before;
    for (std::size_t h = 0; h < state.count; ++h) {
        std::copy_n(state.code(row, h), t, before.data() + h * t);
    }
    for (std::size_t b = 0; b < candidates.size(); ++b) {
        std::uint8_t* const code = state.code(row, b);
        std::copy_n(before.data() + candidates[b].hypothesis * t, t, code);
        code[t] = candidates[b].symbol;
        state.costs[row * state.width + b] = candidates[b].cost;
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
