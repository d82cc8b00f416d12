// Ordinary FAISS code in which nothing but the factory string decides what codes the rows get:
//
//     consumer FOLDER IDMap2,IVF64,PQ16 IDMap2,ARFC16/8,IVF64
//
// prints a line for each string: what it found of the exact nearest, before and after its file.
#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVF.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "arfc/index/index_factory.h"
#include "arfc/index/index_io.h"

namespace {

constexpr int kDim = 32;
// From 2,000 rows on training also tunes relations, which takes a minute.
constexpr std::int64_t kRows = 1900;
constexpr std::int64_t kQueries = 50;
constexpr std::int64_t kNearest = 10;
constexpr std::int64_t kProbes = 16;         // Of the lists; neither index chooses for itself.
constexpr std::int64_t kFirstId = 1'000'000; // So that an id is not a position.

/// Draws `n` rows that lie along 16 directions with some noise, as embeddings do: [n, kDim].
std::vector<float> draw_rows(std::int64_t n, unsigned seed) {
    constexpr int kDirections = 16;
    std::normal_distribution<float> normal;
    std::mt19937 directions_generator(1);
    std::vector<float> directions(kDirections * kDim);
    for (float& value : directions)
        value = normal(directions_generator);
    std::mt19937 generator(seed);
    std::vector<float> rows(n * kDim);
    for (std::int64_t row = 0; row < n; ++row) {
        float* out = rows.data() + row * kDim;
        for (int j = 0; j < kDirections; ++j) {
            const float weight = normal(generator);
            for (int i = 0; i < kDim; ++i)
                out[i] += weight * directions[j * kDim + i];
        }
        for (int i = 0; i < kDim; ++i)
            out[i] += 0.3F * normal(generator);
    }
    return rows;
}

/// Returns the labels of the nearest of each query, [kQueries, kNearest].
std::vector<std::int64_t> search(
    const faiss::Index& index, const std::vector<float>& queries,
    const faiss::SearchParameters* parameters) {
    std::vector<float> distances(kQueries * kNearest);
    std::vector<std::int64_t> labels(kQueries * kNearest);
    index.search(kQueries, queries.data(), kNearest, distances.data(), labels.data(), parameters);
    return labels;
}

/// Returns the share of the exact nearest that were found, in [0, 1].
double recall(const std::vector<std::int64_t>& exact, const std::vector<std::int64_t>& found) {
    std::int64_t hits = 0;
    for (std::int64_t query = 0; query < kQueries; ++query) {
        const auto begin = exact.begin() + query * kNearest;
        for (std::int64_t rank = 0; rank < kNearest; ++rank) {
            const std::int64_t label = found[query * kNearest + rank];
            hits += std::count(begin, begin + kNearest, label - kFirstId);
        }
    }
    return static_cast<double>(hits) / static_cast<double>(kQueries * kNearest);
}

/// Builds, searches, writes and reads one index; prints its line.
void measure(
    const std::string& factory, const std::filesystem::path& file, const std::vector<float>& rows,
    const std::vector<float>& queries, const std::vector<std::int64_t>& exact) {
    std::vector<std::int64_t> ids(kRows);
    std::iota(ids.begin(), ids.end(), kFirstId);

    const std::unique_ptr<faiss::Index> index = arfc::index_factory(kDim, factory);
    index->train(kRows, rows.data());
    index->add_with_ids(kRows, rows.data(), ids.data());
    faiss::SearchParametersIVF parameters;
    parameters.nprobe = kProbes;
    const std::vector<std::int64_t> found = search(*index, queries, &parameters);

    arfc::write_index(*index, file);
    const std::unique_ptr<faiss::Index> again = arfc::read_index(file);
    std::printf(
        "%s ntotal %lld recall@10 %.3f read_back %s\n", factory.c_str(),
        static_cast<long long>(again->ntotal), recall(exact, found),
        search(*again, queries, &parameters) == found ? "same" : "DIFFERENT");
}

} // namespace

int main(int argc, char** argv) {
    try {
        if (argc < 3) {
            std::fprintf(stderr, "usage: consumer FOLDER FACTORY...\n");
            return 2;
        }
        const std::vector<float> rows = draw_rows(kRows, 2);
        const std::vector<float> queries = draw_rows(kQueries, 3);
        faiss::IndexFlatL2 flat(kDim);
        flat.add(kRows, rows.data());
        const std::vector<std::int64_t> exact = search(flat, queries, nullptr);
        for (int i = 2; i < argc; ++i) {
            measure(
                argv[i], std::filesystem::path(argv[1]) / (std::to_string(i) + ".index"), rows,
                queries, exact);
        }
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "consumer: %s\n", error.what());
        return 1;
    }
}
