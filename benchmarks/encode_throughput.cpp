// How many rows a second are encoded, beside what the processor can multiply: the run's own sgemm
// peak.
//
// Each iteration encodes a block of rows and then multiplies two matrices with LibTorch on as many
// threads, so that a noisy machine slows both. `of_peak` counts the fewest floating-point
// operations that the beam needs (each symbol of each token once, each landmark once; model
// `flop_per_encoded_row`), not those that are spent.
#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "random_rows.h"
#include "seconds.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 384;
constexpr std::size_t kBlock = 8192;

const Compressor& model() {
    static const std::unique_ptr<Compressor> kTrained = [] {
        TrainOptions options;
        options.time_budget_s = 10.0; // The speed does not depend on how good the codebooks are.
        return Compressor::train(test::view(test::random_rows(8000, kDim), kDim), options);
    }();
    return *kTrained;
}

/// The fewest operations, as the model's config.json counts them: what turns a row, and its
/// products with landmarks and with the symbols of each token; less those of tokens that are not
/// asked for.
double flop_per_row(std::size_t bytes) {
    static const double kWhole =
        nlohmann::json::parse(model().files().config).at("flop_per_encoded_row").get<double>();
    const auto missing = static_cast<double>(model().code_bytes() - bytes);
    return kWhole - missing * 2.0 * kSymbols * kDim / 8.0; // Those tokens see an eighth of a row.
}

void encode_rows(benchmark::State& state) {
    const auto bytes = static_cast<std::size_t>(state.range(0));
    set_num_threads(static_cast<std::size_t>(state.range(1)));
    const std::vector<float> rows = test::random_rows(kBlock, kDim, 2);
    std::vector<std::byte> codes(kBlock * bytes);
    const double flop = flop_per_row(bytes); // Trains the model, which the guard would not let.
    const torch::InferenceMode guard;
    constexpr std::int64_t kSide = 2048;
    const torch::Tensor left = torch::randn({kSide, kSide});
    const torch::Tensor right = torch::randn({kSide, kSide});
    const auto encode = [&] {
        model().encode(test::view(rows, kDim), bytes, {codes.data(), kBlock, bytes});
    };
    encode(); // Builds the beam's tables.
    torch::mm(left, right);
    double encode_seconds = 0.0;
    double peak = 0.0;
    for (auto _ : state) {
        const double now = seconds(encode);
        state.SetIterationTime(now);
        encode_seconds += now;
        const double multiply = seconds([&] { benchmark::DoNotOptimize(torch::mm(left, right)); });
        peak = std::max(peak, 2.0 * kSide * kSide * kSide / multiply);
    }
    const double rate = static_cast<double>(state.iterations() * kBlock) / encode_seconds;
    state.counters["rows_per_s"] = rate;
    state.counters["gflop_per_s"] = rate * flop / 1e9;
    state.counters["sgemm_peak"] = peak / 1e9;
    state.counters["of_peak"] = rate * flop / peak;
}
BENCHMARK(encode_rows)
    ->ArgNames({"bytes", "threads"})
    ->ArgsProduct({{16, 96}, {1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->MinTime(2.0);

void train_rows(benchmark::State& state) {
    const std::vector<float> rows =
        test::random_rows(static_cast<std::size_t>(state.range(0)), kDim);
    set_num_threads(2);
    for (auto _ : state) {
        benchmark::DoNotOptimize(Compressor::train(test::view(rows, kDim), {}));
    }
}
BENCHMARK(train_rows)->ArgName("rows")->Arg(20000)->Iterations(1)->Unit(benchmark::kSecond);

} // namespace
} // namespace arfc
