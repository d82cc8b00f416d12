#include "subspace_trainer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "arfc/compressor/compressor.h"
#include "kernels.h"
#include "tiles.h"

namespace arfc {
namespace {

// Hypotheses of a row that are clustered: all five gain nothing over three.
constexpr std::size_t kClustered = 3;
// Held-out rows that leave this much more energy than training rows make codebooks learn from both.
constexpr double kWorthEnlarging = 1.05;

double energy_of(std::span<const float> values) {
    return std::transform_reduce(values.begin(), values.end(), 0.0, std::plus<>(), [](float value) {
        return static_cast<double>(value) * static_cast<double>(value);
    });
}

double energy_per_row(MatrixView<const float> rows) {
    return energy_of({rows.data(), rows.size()}) / static_cast<double>(rows.rows());
}

} // namespace

double length_ratio(double held_out_energy, double trained_energy) {
    constexpr double kMost = 3.0; // Where rows that trained are left with next to nothing.
    // Where codes reproduce rows, energies are differences of equal sums: either may be below zero.
    return trained_energy > 0.0 && held_out_energy > 0.0
             ? std::clamp(std::sqrt(held_out_energy / trained_energy), 1.0, kMost)
             : 1.0;
}

SubspaceTrainer::SubspaceTrainer(const SubspaceTask& task) : task_(task) {
    if (!task_.held_out.empty()) {
        const double ratio =
            length_ratio(energy_per_row(task_.held_out), energy_per_row(task_.trained));
        enlarged_ = ratio * ratio < kWorthEnlarging ? 1.0 : ratio;
    }
    for (std::size_t s = 0; s + 1 < task_.bounds.size(); ++s) {
        chains_.emplace_back(task_.bounds[s + 1] - task_.bounds[s]);
        cut_slices(chains_.back(), task_.bounds[s]);
    }
    task_.trained = {};
    task_.held_out = {};
    task_.bounds = {};
}

void SubspaceTrainer::cut_slices(Chain& chain, std::size_t first) const {
    for (std::size_t which = 0; which < kPopulations; ++which) {
        const MatrixView<const float>& rows = which == kHeldOut ? task_.held_out : task_.trained;
        const float factor = which == kEnlarged ? static_cast<float>(enlarged_) : 1.0F;
        const std::size_t count = which == kEnlarged && enlarged_ == 1.0 ? 0 : rows.rows();
        Slice& slice = chain.slices[which];
        slice.points.resize(count * chain.width);
        for (std::size_t i = 0; i < count; ++i) {
            const std::span<const float> part = rows.row(i).subspan(first, chain.width);
            std::transform(
                part.begin(), part.end(), slice.points.data() + i * chain.width,
                [factor](float value) { return factor * value; });
        }
        slice.energy = energy_of(slice.points);
        slice.state = fresh_state(chain, count);
    }
}

BeamSearch::State SubspaceTrainer::fresh_state(const Chain& chain, std::size_t rows) const {
    const std::size_t next =
        *std::upper_bound(task_.commit_points.begin(), task_.commit_points.end(), chain.tokens);
    return BeamSearch::start(rows, task_.beam_width, next - chain.tokens);
}

void SubspaceTrainer::subtract_symbols(
    const Chain& chain, const Slice& slice, std::size_t row, std::size_t hypothesis, float* point) {
    const std::uint8_t* const code = slice.state.code(row, hypothesis);
    for (std::size_t t = 0; t < slice.state.tokens; ++t) {
        kernels().subtract(point, chain.codebooks[t].data() + code[t] * chain.width, chain.width);
    }
}

PointSource SubspaceTrainer::hypotheses(const Chain& chain, float longer) const {
    const std::size_t count = std::min(kClustered, chain.slices[kTrained].state.count);
    const std::size_t trained = chain.slices[kTrained].rows() * count;
    PointSource source;
    source.count = trained + chain.slices[kEnlarged].rows() * count;
    source.dim = chain.width;
    source.fetch = [&chain, count, trained, longer](
                       std::span<const std::size_t> indices, float* out) {
        const auto flop = static_cast<double>(chain.width * (chain.codebooks.size() + 1));
        for_each_by_tiles(indices.size(), flop, [&](std::size_t i) {
            const bool is_trained = indices[i] < trained;
            const Slice& slice = chain.slices[is_trained ? kTrained : kEnlarged];
            const std::size_t index = is_trained ? indices[i] : indices[i] - trained;
            float* const point = out + i * chain.width;
            std::copy_n(slice.points.data() + index / count * chain.width, chain.width, point);
            subtract_symbols(chain, slice, index / count, index % count, point);
            for (std::size_t j = 0; j < chain.width && !is_trained; ++j) {
                point[j] *= longer;
            }
        });
    };
    return source;
}

void SubspaceTrainer::make_offer(std::size_t subspace, std::uint64_t seed) {
    Chain& chain = chains_[subspace];
    const Slice& enlarged = chain.slices[kEnlarged];
    const Slice& held_out = chain.slices[kHeldOut];
    double longer = 1.0; // Late codebooks, too, leave less of rows that trained them.
    if (enlarged.rows() > 0) {
        longer = length_ratio(
            held_out.left() / static_cast<double>(held_out.rows()),
            enlarged.left() / static_cast<double>(enlarged.rows()));
    }
    KMeansOptions options;
    options.iterations = task_.iterations;
    options.seed = seed;
    options.go_on = task_.go_on;
    Offer offer;
    const auto cluster = [&] {
        return kmeans(hypotheses(chain, static_cast<float>(longer)), options);
    };
    offer.codebook = task_.learn
                       ? task_.learn(subspace, chain.tokens, kSymbols * chain.width, cluster)
                       : cluster();
    measure(chain, offer);
    chain.offer = std::move(offer);
}

void SubspaceTrainer::measure(Chain& chain, Offer& offer) const {
    chain.search.add_codebook({offer.codebook.data(), kSymbols, chain.width});
    for (std::size_t which = 0; which < kPopulations; ++which) {
        const Slice& slice = chain.slices[which];
        BeamSearch::State& state = offer.states[which];
        state = slice.state;
        const MatrixView<const float> points(slice.points.data(), slice.rows(), chain.width);
        for_each_tile(points, [&](std::size_t first, auto tile, float* scratch) {
            chain.search.step(tile, first, state, scratch);
        });
        BeamSearch::advance(state);
        double gain = 0.0;
        for (std::size_t i = 0; i < state.rows; ++i) {
            gain += static_cast<double>(slice.state.costs[i * state.width]) -
                    static_cast<double>(state.costs[i * state.width]);
        }
        offer.gain += which == kHeldOut ? 0.0 : gain;
        offer.trained_gain += which == kTrained ? gain : 0.0;
    }
}

std::size_t SubspaceTrainer::best() const {
    return static_cast<std::size_t>(
        std::max_element(
            chains_.begin(), chains_.end(),
            [](const Chain& a, const Chain& b) { return a.offer->gain < b.offer->gain; }) -
        chains_.begin());
}

SubspaceTrainer::Token SubspaceTrainer::take(std::size_t subspace) {
    Chain& chain = chains_[subspace];
    Offer offer = std::move(*chain.offer);
    chain.offer.reset();
    chain.codebooks.push_back(offer.codebook);
    ++chain.tokens;
    for (std::size_t which = 0; which < kPopulations; ++which) {
        chain.slices[which].state = std::move(offer.states[which]);
    }
    if (std::binary_search(task_.commit_points.begin(), task_.commit_points.end(), chain.tokens)) {
        commit(chain);
    }
    return {std::move(offer.codebook), offer.trained_gain};
}

void SubspaceTrainer::commit(Chain& chain) const {
    for (Slice& slice : chain.slices) {
        for (std::size_t i = 0; i < slice.rows(); ++i) {
            subtract_symbols(chain, slice, i, 0, slice.points.data() + i * chain.width);
        }
        slice.energy = energy_of(slice.points);
        slice.state = fresh_state(chain, slice.rows());
    }
    chain.codebooks.clear();
    chain.search = BeamSearch(chain.width);
}

} // namespace arfc
