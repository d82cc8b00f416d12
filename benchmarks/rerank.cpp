// What ranking a shortlist by longer prefixes costs, beside what its tails cost to read: of RocksDB
// with a warm cache a bare MultiGet of the same keys, of memory rows copied from random places.
// Every figure is of the same run, in turns. Table building is told apart: it does not grow with
// the shortlist.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "arfc/storage/store.h"
#include "memory_tails.h"
#include "random_rows.h"
#include "rocks_database.h"
#include "rocks_snapshot.h"
#include "seconds.h"
#include "staged_index.h"
#include "stored_tails.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 384;
constexpr std::size_t kHead = 16;
constexpr std::size_t kCode = 96;
constexpr std::size_t kTail = kCode - kHead;
constexpr std::size_t kShortlist = 200;
constexpr std::size_t kQueries = 128;

const std::shared_ptr<const Compressor>& model() {
    static const std::shared_ptr<const Compressor> kModel = [] {
        TrainOptions options;
        options.code_bytes = kCode;
        options.relations = false;
        options.time_budget_s = 10.0;
        return Compressor::train(test::view(test::random_rows(5000, kDim), kDim), options);
    }();
    return kModel;
}

/// Random codes: in memory, in a RocksDB store, and as the heads of an index.
struct Rows {
    explicit Rows(std::size_t count)
        : codes(count * kCode), index(model(), StagedShape{.stage_bytes = {kHead, kCode}}) {
        std::mt19937_64 random(1);
        std::vector<std::uint64_t> words(count * kCode / sizeof(std::uint64_t));
        std::generate(words.begin(), words.end(), std::ref(random));
        std::copy_n(reinterpret_cast<const std::byte*>(words.data()), codes.size(), codes.data());
        const MatrixView<const std::byte> all(codes.data(), count, kCode);
        index.train(all.slice(0, std::min<std::size_t>(count, 5000)), {});
        std::unique_ptr<storage::Store> store = storage::open_store(
            "rocksdb", {.directory = directory / "store",
                        .create = true,
                        .shape = {kDim, kHead, kTail, model()->id()}});
        constexpr std::size_t kPortion = 20'000;
        for (std::size_t first = 0; first < count; first += kPortion) {
            add(*store, first, std::min(kPortion, count - first));
        }
        store->close();
        // Opened anew: what is read are files, not what was written last.
        database = storage::RocksDatabase::open(directory / "store");
    }

    void add(storage::Store& store, std::size_t first, std::size_t count) {
        std::vector<PointId> ids;
        std::vector<std::byte> heads;
        std::vector<std::byte> tails;
        for (std::size_t row = first; row < first + count; ++row) {
            const auto code = codes.begin() + static_cast<std::ptrdiff_t>(row * kCode);
            ids.push_back(row);
            heads.insert(heads.end(), code, code + kHead);
            tails.insert(tails.end(), code + kHead, code + kCode);
        }
        const storage::Mutation mutation{
            .ids = ids,
            .heads = {heads.data(), count, kHead},
            .tails = {tails.data(), count, kTail}};
        (void)store.write(mutation, storage::Durability::kBuffered);
        index.add({heads.data(), count, kHead});
    }

    test::TemporaryDirectory directory;
    std::vector<std::byte> codes;
    StagedIndex index;
    std::shared_ptr<storage::RocksDatabase> database;
};

Rows& rows_of(std::size_t count) {
    static std::map<std::size_t, std::unique_ptr<Rows>> made;
    std::unique_ptr<Rows>& found = made[count];
    if (found == nullptr) {
        found = std::make_unique<Rows>(count);
    }
    return *found;
}

/// Notes the rows that a search ranks.
class NotedTails final : public TailSource {
  public:
    explicit NotedTails(const TailSource& source) : source_(source) {}
    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        noted.insert(noted.end(), rows.begin(), rows.end());
        source_.read_tails(rows, tails, lengths);
    }
    [[nodiscard]] bool is_resident() const noexcept override { return true; }
    mutable std::vector<std::uint64_t> noted; ///< A query's after another's, each ascending.

  private:
    const TailSource& source_;
};

/// Seconds of MultiGets of these rows' tails, one a query, values unread.
double bare_look_ups(const Rows& rows, const std::vector<std::uint64_t>& wanted) {
    using storage::Key;
    std::vector<Key> keys;
    std::transform(wanted.begin(), wanted.end(), std::back_inserter(keys), Key::of_row);
    std::vector<rocksdb::Slice> slices;
    std::transform(keys.begin(), keys.end(), std::back_inserter(slices), [](const Key& key) {
        return rocksdb::Slice(key.view());
    });
    std::vector<rocksdb::PinnableSlice> values(kShortlist);
    std::vector<rocksdb::Status> statuses(kShortlist);
    return seconds([&] {
        for (std::size_t first = 0; first < slices.size(); first += kShortlist) {
            for (rocksdb::PinnableSlice& value : values) {
                value.Reset();
            }
            rows.database->db().MultiGet(
                {}, rows.database->handle(storage::Family::kTail), kShortlist,
                slices.data() + first, values.data(), statuses.data(), true);
        }
    });
}

/// Seconds of copying these rows' tails from where they lie in memory.
double bare_copies(const Rows& rows, const std::vector<std::uint64_t>& wanted) {
    std::vector<std::byte> copies(wanted.size() * kTail);
    return seconds([&] {
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            std::copy_n(
                rows.codes.data() + wanted[i] * kCode + kHead, kTail, copies.data() + i * kTail);
        }
        benchmark::DoNotOptimize(copies.data());
    });
}

/// Sums over the turns of a measurement, in seconds.
struct Sums {
    double stage = 0;  ///< The ranking stage, tables included,
    double tables = 0; ///< the same tables alone,
    double bare = 0;   ///< and what its rows cost to fetch.
};

void rerank(benchmark::State& state) {
    Rows& rows = rows_of(static_cast<std::size_t>(state.range(0)));
    const auto batch = static_cast<std::size_t>(state.range(1));
    const bool is_stored = state.range(2) != 0;
    set_num_threads(1);
    const storage::RocksSnapshot snapshot(rows.database);
    const StoredTails stored(snapshot);
    const MemoryTails memory(rows.codes.data() + kHead, kCode, kTail);
    const TailSource& tails = is_stored ? static_cast<const TailSource&>(stored) : memory;
    const std::vector<float> queries = test::random_rows(kQueries, kDim, 3);
    const StagedRequest request{
        .k = 10, .stages = {{kHead, kShortlist}, {kCode, 0}}, .exhaustive = true};
    const StagedRequest scan_alone{.k = 10, .stages = {{kHead, 0}}, .exhaustive = true};
    Sums sums;
    std::size_t first = 0;
    std::vector<float> tables(batch * kTail * kSymbols);
    for (auto _ : state) {
        const MatrixView<const float> some = test::view(queries, kDim).slice(first, batch);
        const NotedTails noted(memory);
        (void)rows.index.search(some, request, &noted);
        const auto rank = [&] {
            sums.stage += rows.index.search(some, request, &tails).stages[1].milliseconds / 1e3;
        };
        const auto fetch = [&] {
            sums.bare +=
                is_stored ? bare_look_ups(rows, noted.noted) : bare_copies(rows, noted.noted);
        };
        // Whoever comes second finds rows in the processor's caches, but for what a scan evicts.
        const auto scan = [&] { (void)rows.index.search(some, scan_alone, nullptr); };
        if (first / batch % 2 == 0) {
            rank();
            scan();
            fetch();
        } else {
            scan();
            fetch();
            rank();
        }
        scan();
        const double building = seconds([&] {
            model()->query_tables(some, kHead, {tables.data(), batch, kTail * kSymbols});
        });
        sums.tables += building;
        state.SetIterationTime(building);
        first = (first + batch) % kQueries;
    }
    const auto asked = static_cast<double>(state.iterations() * batch);
    const double ranking = sums.stage - sums.tables;
    state.counters["tables_us"] = 1e6 * sums.tables / asked;
    state.counters["ranking_us"] = 1e6 * ranking / asked;
    state.counters["fetching_us"] = 1e6 * sums.bare / asked;
    state.counters["ratio"] = ranking / sums.bare;
    state.counters["ns_row"] = 1e9 * ranking / (asked * kShortlist);
}
BENCHMARK(rerank)
    ->ArgNames({"rows", "batch", "stored"})
    ->ArgsProduct({{10'000, 100'000, 1'000'000}, {1}, {0, 1}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(512);
BENCHMARK(rerank)
    ->ArgNames({"rows", "batch", "stored"})
    ->ArgsProduct({{10'000, 100'000, 1'000'000}, {64}, {0, 1}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(16);

} // namespace
} // namespace arfc
