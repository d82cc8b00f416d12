// What a graph over codes finds and costs, beside a scan of the same heads: recall@10, resident
// bytes a row, microseconds a row to build and a query to answer.
//
// Rows are clustered random ones, or those of a file: ARFC_BENCH_ROWS names little-endian float32
// numbers without a header, ARFC_BENCH_DIM their width. Every twentieth row is a query and is not
// indexed.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "random_rows.h"
#include "seconds.h"
#include "staged_index.h"

namespace arfc {
namespace {

constexpr std::size_t kHead = 16;
constexpr std::size_t kAnswers = 10;
constexpr std::size_t kEvery = 20;

struct Data {
    std::size_t dim = 384;
    std::vector<float> rows;
    std::vector<float> queries;
    std::shared_ptr<const Compressor> model;
    std::vector<std::byte> heads; ///< [n, kHead].

    [[nodiscard]] std::size_t count() const { return rows.size() / dim; }
    [[nodiscard]] MatrixView<const float> query_view() const { return test::view(queries, dim); }
};

std::vector<float> read_rows(std::size_t& dim) {
    const char* const path = std::getenv("ARFC_BENCH_ROWS"); // NOLINT(concurrency-mt-unsafe)
    const char* const width = std::getenv("ARFC_BENCH_DIM"); // NOLINT(concurrency-mt-unsafe)
    if (path == nullptr) {
        return test::random_rows(20'000, dim);
    }
    dim = width == nullptr ? dim : std::stoul(width);
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<float> rows(
        static_cast<std::size_t>(std::max<std::streamoff>(file.tellg(), 0)) / sizeof(float));
    file.seekg(0);
    file.read(
        reinterpret_cast<char*>(rows.data()),
        static_cast<std::streamsize>(rows.size() * sizeof(float)));
    if (!file || rows.empty() || rows.size() % dim != 0) {
        throw std::runtime_error("ARFC_BENCH_ROWS holds no rows of ARFC_BENCH_DIM floats");
    }
    return rows;
}

const Data& data() {
    static const Data kData = [] {
        Data made;
        const std::vector<float> all = read_rows(made.dim);
        for (std::size_t row = 0; row < all.size() / made.dim; ++row) {
            std::vector<float>& to = row % kEvery == 0 ? made.queries : made.rows;
            const auto from = all.begin() + static_cast<std::ptrdiff_t>(row * made.dim);
            to.insert(to.end(), from, from + static_cast<std::ptrdiff_t>(made.dim));
        }
        TrainOptions options;
        options.code_bytes = kHead;
        options.time_budget_s = 60.0;
        made.model = Compressor::train(test::view(made.rows, made.dim), options);
        made.heads.resize(made.count() * kHead);
        made.model->encode(
            test::view(made.rows, made.dim), kHead, {made.heads.data(), made.count(), kHead});
        return made;
    }();
    return kData;
}

struct Built {
    explicit Built(const std::string& coarse)
        : index(data().model, {.stage_bytes = {kHead}, .coarse = coarse}) {
        build_seconds = seconds([this] {
            index.add({data().heads.data(), data().count(), kHead});
        });
    }
    StagedIndex index;
    double build_seconds = 0;
};

const Built& built(const std::string& coarse) {
    static std::map<std::string, std::unique_ptr<Built>> indexes;
    std::unique_ptr<Built>& found = indexes[coarse];
    if (found == nullptr) {
        found = std::make_unique<Built>(coarse);
    }
    return *found;
}

double recall(const StagedAnswer& found, const StagedAnswer& truth) {
    std::size_t hits = 0;
    for (std::size_t i = 0; i < truth.rows.size(); ++i) {
        const auto begin =
            found.rows.begin() + static_cast<std::ptrdiff_t>(i / kAnswers * kAnswers);
        hits += std::find(begin, begin + kAnswers, truth.rows[i]) != begin + kAnswers ? 1 : 0;
    }
    return static_cast<double>(hits) / static_cast<double>(truth.rows.size());
}

void search(benchmark::State& state, const std::string& coarse) {
    const Built& graph = built(coarse);
    StagedRequest request{.k = kAnswers, .stages = {{kHead, 0}}};
    request.exhaustive = state.range(0) == 0;
    const StagedAnswer truth = graph.index.search(
        data().query_view(), {.k = kAnswers, .stages = {{kHead, 0}}, .exhaustive = true}, nullptr);
    if (!request.exhaustive) {
        request.ef_search = static_cast<std::size_t>(state.range(0));
    }
    StagedAnswer answer;
    for (auto step : state) {
        (void)step;
        answer = graph.index.search(data().query_view(), request, nullptr);
    }
    const auto rows = static_cast<double>(data().count());
    const auto queries = static_cast<double>(data().query_view().rows());
    const StagedBytes bytes = graph.index.resident_bytes();
    state.counters["recall"] = recall(answer, truth);
    state.counters["scored"] = static_cast<double>(answer.stages[0].candidates) / queries;
    state.counters["graph_bytes_row"] = static_cast<double>(bytes.structure) / rows;
    state.counters["bytes_row"] = static_cast<double>(bytes.total()) / rows;
    state.counters["build_us_row"] = 1e6 * graph.build_seconds / rows;
    state.counters["queries/s"] =
        benchmark::Counter(queries, benchmark::Counter::kIsIterationInvariantRate);
}

/// Values of efSearch; 0: a scan.
void beams(benchmark::internal::Benchmark* of) {
    of->ArgName("ef");
    for (const std::int64_t beam : {0, 16, 32, 64, 128, 256}) {
        of->Arg(beam);
    }
    of->Unit(benchmark::kMillisecond)->MinTime(0.5);
}

BENCHMARK_CAPTURE(search, HNSW16, "HNSW16")->Apply(beams);
BENCHMARK_CAPTURE(search, HNSW32, "HNSW32")->Apply(beams);
BENCHMARK_CAPTURE(search, NSG32, "NSG32")->Apply(beams);

} // namespace
} // namespace arfc
