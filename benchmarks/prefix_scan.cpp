// How fast heads are scanned exhaustively, beside how fast the same bytes can be read: queries a
// second, gigabytes of heads and levels a second, and their share of the run's own reading.
//
// Heads are of 16 random tokens. Each iteration answers queries and then reads as many bytes, on as
// many threads, so that a noisy machine slows both; and it looks up bytes in registers, the
// instruction that bounds a batch, which reads heads once (of_permutes). ARFC_KERNELS=avx512 scans
// by float tables alone.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "arfc/base/instruction_set.h"
#include "arfc/compressor/compressor.h"
#include "permutes.h"
#include "random_rows.h"
#include "seconds.h"
#include "staged_index.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 64;
constexpr std::size_t kHead = 16;
constexpr std::size_t kCode = 24; // Longer, as otherwise heads keep float terms beside them.
constexpr std::size_t kReadBytes = kHead + 1; // A level a row.

const std::shared_ptr<const Compressor>& model() {
    static const std::shared_ptr<const Compressor> kModel = [] {
        TrainOptions options;
        options.code_bytes = kCode;
        options.relations = false;
        options.time_budget_s = 5.0;
        return Compressor::train(test::view(test::random_rows(5000, kDim), kDim), options);
    }();
    return kModel;
}

const StagedIndex& index_of(std::size_t rows) {
    static std::map<std::size_t, std::unique_ptr<StagedIndex>> made;
    std::unique_ptr<StagedIndex>& found = made[rows];
    if (found == nullptr) {
        found = std::make_unique<StagedIndex>(model(), StagedShape{.stage_bytes = {kHead, kCode}});
        auto random_codes = [random = std::mt19937_64(1)](
                                std::size_t count, std::size_t width) mutable {
            std::vector<std::uint64_t> words(count * width / sizeof(std::uint64_t));
            std::generate(words.begin(), words.end(), std::ref(random));
            return words;
        };
        const std::vector<std::uint64_t> some = random_codes(5000, kCode);
        found->train({reinterpret_cast<const std::byte*>(some.data()), 5000, kCode}, {});
        constexpr std::size_t kPortion = std::size_t{1} << 18U;
        for (std::size_t first = 0; first < rows; first += kPortion) {
            const std::size_t count = std::min(kPortion, rows - first);
            const std::vector<std::uint64_t> heads = random_codes(count, kHead);
            found->add({reinterpret_cast<const std::byte*>(heads.data()), count, kHead});
        }
    }
    return *found;
}

/// Reads words in lines, as many chains as cover the latency of an addition.
std::uint64_t read(const std::vector<std::uint64_t>& words) {
    std::uint64_t sum = 0;
    const auto count = static_cast<std::int64_t>(words.size());
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
    for (std::int64_t i = 0; i < count; ++i) {
        sum += words[static_cast<std::size_t>(i)];
    }
    return sum;
}

/// Returns how long 64 look-ups of a byte among 256 take at least, on each of `threads`.
double seconds_of_look_up(std::size_t threads) {
    constexpr std::size_t kCount = 1'000'000;
    const double taken = seconds([&] {
#pragma omp parallel for schedule(static)
        for (std::size_t i = 0; i < threads; ++i) {
            benchmark::DoNotOptimize(look_up_128(kCount));
        }
    });
    return 2.0 * taken / kCount;
}

void scan(benchmark::State& state) {
    const auto megabytes = static_cast<std::size_t>(state.range(0));
    const auto batch = static_cast<std::size_t>(state.range(1));
    const auto threads = static_cast<std::size_t>(state.range(2));
    const std::size_t rows = (megabytes << 20U) / kHead;
    set_num_threads(2);
    const StagedIndex& index = index_of(rows);
    set_num_threads(threads);
    omp_set_num_threads(static_cast<int>(threads));
    const std::vector<float> queries = test::random_rows(batch, kDim, 3);
    const std::vector<std::uint64_t> words(rows * kReadBytes / sizeof(std::uint64_t), 1);
    const StagedRequest request{.k = 10, .stages = {{kHead, 0}}, .exhaustive = true};
    const bool permutes = instruction_set() >= InstructionSet::kAvx512Vbmi;
    double searching = 0.0;
    double permuting = 0.0;
    double reading = 0.0;
    for (auto _ : state) {
        const double now = seconds([&] {
            benchmark::DoNotOptimize(
                index.search(test::view(queries, kDim), request, nullptr).rows.data());
        });
        state.SetIterationTime(now);
        searching += now;
        reading += seconds([&] { benchmark::DoNotOptimize(read(words)); });
        permuting += permutes ? seconds_of_look_up(threads) : 0.0;
    }
    const auto answered = static_cast<double>(state.iterations() * batch);
    const double bytes = static_cast<double>(rows * kReadBytes);
    state.counters["queries/s"] = answered / searching;
    state.counters["GB/s"] = answered * bytes / searching / 1e9;
    state.counters["read_GB/s"] = static_cast<double>(state.iterations()) * bytes / reading / 1e9;
    state.counters["of_reading"] =
        answered * reading / (searching * static_cast<double>(state.iterations()));
    if (permutes) {
        const double blocks = static_cast<double>(rows) / 64 / static_cast<double>(threads);
        state.counters["of_permutes"] =
            static_cast<double>(batch) * blocks * kReadBytes * permuting / searching;
    }
    state.counters["ns_row"] = 1e9 * searching / (answered * static_cast<double>(rows));
}
BENCHMARK(scan)
    ->ArgNames({"MiB", "batch", "threads"})
    ->ArgsProduct({{16, 512}, {1, 64}, {1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->MinTime(1.0);

} // namespace
} // namespace arfc
