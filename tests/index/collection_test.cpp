#include "arfc/index/collection.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <set>
#include <thread>

#include "arfc/base/files.h"
#include "arfc/compressor/compressor.h"
#include "arfc/storage/manifest.h"
#include "arfc/storage/store.h"
#include "expect_error.h"
#include "random_rows.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 32;
constexpr std::size_t kRows = 2500;

std::vector<PointId> ids_from(PointId first, std::size_t count) {
    std::vector<PointId> ids(count);
    std::iota(ids.begin(), ids.end(), first);
    return ids;
}

class CollectionTest : public ::testing::Test {
  protected:
    CollectionTest()
        : rows_(test::random_rows(kRows, kDim)), queries_(test::random_rows(20, kDim, 2)) {}

    std::unique_ptr<Collection> create(
        const std::string& factory = "ARFC24/8,IVF16", Metric metric = Metric::kCosine,
        const std::filesystem::path& model = {}) {
        return Collection::create(
            path(), {.dim = kDim, .metric = metric, .factory = factory, .model = model});
    }
    std::unique_ptr<Collection> filled(
        const std::string& factory = "ARFC24/8,IVF16", Metric metric = Metric::kCosine) {
        auto collection = create(factory, metric);
        collection->upsert(ids_from(1000, kRows), test::view(rows_, kDim));
        return collection;
    }
    std::unique_ptr<Collection> trained(
        const std::string& factory = "ARFC24/8,IVF16", Metric metric = Metric::kCosine) {
        auto collection = filled(factory, metric);
        collection->train({.time_budget_s = 0.3, .minimum_recall = 0.0}); // What is tested is not
                                                                          // how good the codes are.
        return collection;
    }
    std::filesystem::path path() const { return directory_ / "collection"; }
    MatrixView<const float> queries() const { return test::view(queries_, kDim); }

    /// Saves a model of the rows and returns its directory.
    std::filesystem::path model(std::size_t bytes = 24, Metric metric = Metric::kCosine) const {
        auto directory = directory_ / ("model-" + std::to_string(bytes));
        Compressor::train(
            test::view(rows_, kDim), {.code_bytes = bytes, .metric = metric, .time_budget_s = 0.3})
            ->save(directory);
        return directory;
    }

    /// As trained("ARFC24/8"), but with one training for all tests that need no more than a model.
    std::unique_ptr<Collection> with_a_model() {
        static const test::TemporaryDirectory kept;
        const std::filesystem::path of_rows = kept.path() / "model";
        if (!std::filesystem::exists(of_rows)) {
            Compressor::train(test::view(rows_, kDim), {.code_bytes = 24, .time_budget_s = 0.3})
                ->save(of_rows);
        }
        auto collection = create("ARFC24/8", Metric::kCosine, of_rows);
        collection->upsert(ids_from(1000, kRows), test::view(rows_, kDim));
        return collection;
    }

    /// Counts the float32 rows that the collection's store holds.
    std::size_t raw_rows() const {
        const auto store =
            storage::open_store("rocksdb", {.directory = path() / "rocks", .read_only = true});
        std::size_t rows = 0;
        store->snapshot()->for_each_raw(
            0, [&](storage::Row, MatrixView<const float> run) { rows += run.rows(); });
        return rows;
    }

    test::TemporaryDirectory directory_;
    std::vector<float> rows_;
    std::vector<float> queries_;
};

bool same(const SearchAnswer& a, const SearchAnswer& b) {
    return std::equal(
        a.hits.begin(), a.hits.end(), b.hits.begin(), b.hits.end(),
        [](const auto& x, const auto& y) {
            return std::equal(
                x.begin(), x.end(), y.begin(), y.end(), [](const Hit& left, const Hit& right) {
                    return left.id == right.id && left.score == right.score &&
                           left.payload == right.payload;
                });
        });
}

double recall(const SearchAnswer& found, const SearchAnswer& truth) {
    std::size_t hits = 0;
    std::size_t all = 0;
    for (std::size_t q = 0; q < truth.hits.size(); ++q) {
        std::set<PointId> wanted;
        for (const Hit& hit : truth.hits[q]) {
            wanted.insert(hit.id);
        }
        for (const Hit& hit : found.hits[q]) {
            hits += wanted.contains(hit.id) ? 1 : 0;
        }
        all += wanted.size();
    }
    return static_cast<double>(hits) / static_cast<double>(all);
}

TEST_F(CollectionTest, WithoutAModelItSearchesExactly) {
    for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct, Metric::kL2}) {
        const auto collection = filled("ARFC24/8", metric);
        const SearchAnswer answer = collection->search(queries(), {.k = 5});
        for (std::size_t q = 0; q < 20; ++q) {
            std::vector<std::pair<double, PointId>> scores;
            for (std::size_t i = 0; i < kRows; ++i) {
                double product = 0.0;
                double left = 0.0;
                double right = 0.0;
                double distance = 0.0;
                for (std::size_t j = 0; j < kDim; ++j) {
                    const auto a = static_cast<double>(queries_[q * kDim + j]);
                    const auto b = static_cast<double>(rows_[i * kDim + j]);
                    product += a * b;
                    left += a * a;
                    right += b * b;
                    distance += (a - b) * (a - b);
                }
                scores.emplace_back(
                    metric == Metric::kL2             ? -distance
                    : metric == Metric::kInnerProduct ? product
                                                      : product / std::sqrt(left * right),
                    1000 + i);
            }
            std::sort(scores.begin(), scores.end(), std::greater<>());
            ASSERT_EQ(answer.hits[q].size(), 5U);
            for (std::size_t place = 0; place < 5; ++place) {
                EXPECT_NEAR(answer.hits[q][place].score, scores[place].first, 1e-3);
            }
            EXPECT_EQ(answer.hits[q][0].id, scores[0].second);
        }
        collection->close();
        std::filesystem::remove_all(path());
    }
}

TEST_F(CollectionTest, TrainingReplacesRowsByCodes) {
    const auto collection = filled();
    const SearchAnswer exact = collection->search(queries());
    std::vector<std::size_t> encoded;
    const CollectionTrainReport report = collection->train(
        {.time_budget_s = 2.0, .minimum_recall = 0.0, .progress = [&](const Progress& progress) {
             if (progress.stage == "encoding") {
                 encoded.push_back(progress.done);
             }
             return true;
         }});
    EXPECT_EQ(report.rows, kRows);
    EXPECT_TRUE(report.raw_dropped);
    ASSERT_TRUE(report.held_out_recall.has_value());
    EXPECT_GT(*report.held_out_recall, 0.6);
    EXPECT_EQ(encoded, (std::vector<std::size_t>{2048, kRows})) << "rows are encoded in parts";
    const storage::Manifest manifest = storage::read_manifest(path());
    EXPECT_EQ(manifest.model_id, report.model_id);
    EXPECT_FALSE(manifest.keep_raw);
    EXPECT_EQ(raw_rows(), 0U);
    const CollectionInfo info = collection->info();
    EXPECT_EQ(info.model_id, report.model_id);
    EXPECT_EQ(info.points, kRows);
    EXPECT_EQ(info.code_bytes, 24U);
    EXPECT_EQ(info.stage_bytes, (std::vector<std::size_t>{8, 24}));
    EXPECT_EQ(info.nlist, 16U);
    EXPECT_FALSE(info.has_raw);
    EXPECT_EQ(info.resident_head_bytes, 8 * kRows);
    EXPECT_EQ(info.resident_id_bytes, 8 * kRows);
    EXPECT_EQ(info.resident_norm_bytes, 5 * kRows); // One byte to scan, a float to rank.
    EXPECT_EQ(info.dim, kDim);
    EXPECT_EQ(info.metric, Metric::kCosine);
    EXPECT_EQ(info.factory, "ARFC24/8,IVF16");
    EXPECT_EQ(info.tombstones, 0U);
    EXPECT_EQ(info.calibration_bytes, 2000 * (2 * kDim + 12));
    // Heads, ids and terms; numbers of rows in lists, a bit each, and centroids; what 600 questions
    // told of margins and of lists, for three numbers of answers.
    constexpr std::size_t kMargins = 600 * 3 * (4 + 4);
    EXPECT_EQ(
        info.resident_bytes - info.calibration_bytes,
        (8 + 8 + 5 + 4) * kRows + (kRows + 7) / 8 + 16 * kDim * 4 + kMargins);
    EXPECT_EQ(info.model_bytes, collection->model()->model_bytes());
    EXPECT_GT(info.disk_bytes, 0U);
    ASSERT_FALSE(info.held_out_recall.empty());
    EXPECT_EQ(info.held_out_recall.back().recall_at_10, *report.held_out_recall);
    EXPECT_TRUE(same(
        collection->search(queries(), {.exact = true}),
        collection->search(queries(), {.stages = {{8, kRows}, {24, 0}}, .nprobe = 16})));
    EXPECT_GT(recall(collection->search(queries(), {.exact = true}), exact), 0.6);
    EXPECT_GT(
        recall(collection->search(queries()), collection->search(queries(), {.exact = true})), 0.9);
    ARFC_EXPECT_ERROR(collection->train(), ErrorKind::kFailedPrecondition, "has a model already");
}

TEST_F(CollectionTest, LowRecallKeepsTheRows) {
    const auto collection = filled("ARFC2");
    const CollectionTrainReport report =
        collection->train({.time_budget_s = 0.3, .minimum_recall = 0.99});
    EXPECT_FALSE(report.raw_dropped);
    EXPECT_TRUE(collection->info().has_raw);
    collection->upsert(ids_from(1, 1), test::view(rows_, kDim).slice(0, 1)); // Rows to come keep
                                                                             // theirs too.
    collection->close();
    EXPECT_TRUE(Collection::open(path())->info().has_raw);
}

TEST_F(CollectionTest, AnswersAreTheSameAfterReopening) {
    for (const std::string factory :
         {"ARFC24/8,IVF16", "ARFC24", "ARFC24/16/4", "ARFC24/8,HNSW8", "ARFC24/8,NSG8",
          "ARFC24/8,IVF16,SQ8", "ARFC24/8,PQ8x4fs"}) {
        auto collection = trained(factory);
        collection->upsert(ids_from(0, 300), test::view(rows_, kDim).slice(500, 300));
        const std::vector<PointId> gone = ids_from(1100, 50);
        EXPECT_EQ(collection->remove(gone), 50U);
        const SearchAnswer before = collection->search(queries(), {.k = 30});
        EXPECT_GT(recall(before, collection->search(queries(), {.k = 30, .exact = true})), 0.5)
            << factory;
        const CollectionInfo info = collection->info();
        collection.reset();
        const auto reopened = Collection::open(path());
        EXPECT_TRUE(same(reopened->search(queries(), {.k = 30}), before)) << factory;
        EXPECT_EQ(reopened->info().points, info.points);
        EXPECT_EQ(reopened->info().default_nprobe, info.default_nprobe);
        reopened->close();
        std::filesystem::remove_all(path());
    }
}

TEST_F(CollectionTest, AGraphIsReadBackAndGoesOn) {
    auto collection = trained("ARFC24/8,HNSW8");
    const SearchOptions walk{.ef_search = 40}; // Narrow enough that rows are not simply scanned.
    const SearchAnswer exact = collection->search(queries(), {.exact = true});
    EXPECT_GE(recall(collection->search(queries(), walk), exact), 0.9);
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.ef_search = 0}), ErrorKind::kInvalidArgument,
        "efSearch is outside [1, 1000000]: 0");
    const std::string old_coarse = read_file(path() / "coarse.arfc");
    collection->upsert(ids_from(1, 300), test::view(rows_, kDim).slice(100, 300));
    collection->remove(ids_from(1005, 50));
    const SearchAnswer before = collection->search(queries(), walk);
    collection->close();
    auto reopened = Collection::open(path());
    EXPECT_TRUE(same(reopened->search(queries(), walk), before));
    EXPECT_GE(reopened->info().resident_bytes, reopened->info().points * (8 + 64));
    reopened->close();
    // After a crash the rows beyond the file are put into the graph again.
    write_file_atomically(path() / "coarse.arfc", old_coarse);
    reopened = Collection::open(path());
    EXPECT_GE(recall(reopened->search(queries(), walk), before), 0.995);
    reopened->close();
    std::filesystem::remove(path() / "coarse.arfc");
    reopened = Collection::open(path());
    EXPECT_GE(recall(reopened->search(queries(), walk), before), 0.9);
    const auto plain = reopened->search(queries(), {.exact = true});
    EXPECT_FALSE(plain.hits.front().empty());
}

TEST_F(CollectionTest, AnyIndexOfFaissMayFindCandidates) {
    for (const std::string bad : {"ARFC24/8,PQ7", "ARFC24/8,IDMap,Flat", "ARFC24/8,IVF4(ARFC8)"}) {
        ARFC_EXPECT_ERROR(
            (void)Collection::create(path(), {.dim = kDim, .factory = bad}),
            ErrorKind::kInvalidArgument, "\"" + bad + "\"");
    }
    ARFC_EXPECT_ERROR(
        (void)Collection::create(
            path(), {.dim = kDim, .metric = Metric::kInnerProduct, .factory = "ARFC24/8,LSH"}),
        ErrorKind::kUnsupported, "no such index for the metric");
    auto collection = trained("ARFC24/8,IVF16,SQ8");
    const SearchAnswer exact = collection->search(queries(), {.exact = true});
    EXPECT_GE(recall(collection->search(queries(), {.nprobe = 16}), exact), 0.95);
    EXPECT_EQ(collection->info().nlist, 16U);
    EXPECT_EQ(collection->info().default_nprobe, 16U);
    EXPECT_GT(
        recall(collection->search(queries(), {.nprobe = 16}), exact),
        recall(collection->search(queries(), {.nprobe = 1}), exact));
    EXPECT_TRUE(same( // It has no graph: without effect, as on every collection.
        collection->search(queries(), {.ef_search = 5}), collection->search(queries())));
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.nprobe = 17}), ErrorKind::kInvalidArgument,
        "outside [1, 16]: 17 of IVF16,SQ8");
    SearchOptions even{.filter = [](PointId id) { return id % 2 == 0; }};
    for (const auto& hits : collection->search(queries(), even).hits) {
        EXPECT_EQ(hits.size(), 10U);
        EXPECT_TRUE(std::ranges::all_of(hits, [](const Hit& hit) { return hit.id % 2 == 0; }));
    }
    const std::string old_coarse = read_file(path() / "coarse.arfc");
    collection->upsert(ids_from(1, 300), test::view(rows_, kDim).slice(100, 300));
    collection->remove(ids_from(1005, 50));
    const SearchAnswer before = collection->search(queries());
    // Codes of a byte a float, ids, and the rest.
    EXPECT_GE(collection->info().resident_bytes, collection->info().points * (8 + kDim + 8));
    collection->close();
    EXPECT_TRUE(same(Collection::open(path())->search(queries()), before));
    // After a crash the rows beyond the file are added again; a damaged file is made anew.
    write_file_atomically(path() / "coarse.arfc", old_coarse);
    EXPECT_TRUE(same(Collection::open(path())->search(queries()), before));
    write_file_atomically(path() / "coarse.arfc", old_coarse.substr(0, old_coarse.size() / 2));
    EXPECT_GE(recall(Collection::open(path())->search(queries()), before), 0.9);
}

TEST_F(CollectionTest, RowsBeyondTheCoarseFileAreReplayed) {
    auto collection = trained();
    const std::string old_coarse = read_file(path() / "coarse.arfc");
    collection->upsert(ids_from(1, 200), test::view(rows_, kDim).slice(100, 200));
    collection->remove(ids_from(1005, 5));
    const SearchAnswer before = collection->search(queries());
    collection->close();
    EXPECT_NE(read_file(path() / "coarse.arfc"), old_coarse) << "the new rows are in it";
    write_file_atomically(path() / "coarse.arfc", old_coarse); // As a crash before the file was
                                                               // written leaves it.
    EXPECT_TRUE(same(Collection::open(path())->search(queries()), before));
    write_file_atomically(path() / "coarse.arfc", old_coarse.substr(0, old_coarse.size() / 2));
    const auto rebuilt = Collection::open(path()); // Other lists perhaps, the same scores.
    EXPECT_TRUE(same(
        rebuilt->search(queries(), {.exact = true}), rebuilt->search(queries(), {.exact = true})));
    EXPECT_GT(recall(rebuilt->search(queries()), before), 0.9);
    rebuilt->close();
    std::filesystem::remove(path() / "coarse.arfc");
    (void)Collection::open(path(), {.read_only = true});
    EXPECT_FALSE(std::filesystem::exists(path() / "coarse.arfc")) << "a reader writes nothing";
    (void)Collection::open(path());
    EXPECT_TRUE(std::filesystem::exists(path() / "coarse.arfc")) << "lists were due";
}

TEST_F(CollectionTest, CloseTellsWhatItCouldNotWriteAndClosesAllTheSame) {
    const auto collection = trained("ARFC24/8");
    const SearchAnswer before = collection->search(queries());
    collection->upsert(ids_from(1, 1), test::view(rows_, kDim).slice(0, 1));
    collection->remove(ids_from(1, 1));
    std::filesystem::remove(path() / "coarse.arfc");
    std::filesystem::create_directories(path() / "coarse.arfc" / "in-the-way");
    ARFC_EXPECT_ERROR(collection->close(), ErrorKind::kIo, "coarse.arfc");
    collection->close();
    std::filesystem::remove_all(path() / "coarse.arfc");
    const auto reopened = Collection::open(path()); // Nobody holds its lock.
    EXPECT_EQ(reopened->info().points, kRows);
    EXPECT_GE(recall(reopened->search(queries()), before), 0.9);
}

TEST_F(CollectionTest, UpsertsReplaceAndRemovalsRemove) {
    for (const bool with_model : {false, true}) {
        const auto collection = with_model ? trained() : filled();
        std::vector<float> mark(kDim, 0.0F);
        mark[3] = -50.0F;
        const std::vector<PointId> id = {1234};
        const std::vector<std::string> payload = {R"({"colour": "red"})"};
        collection->upsert(id, {mark.data(), 1, kDim}, payload);
        const SearchAnswer found =
            collection->search({mark.data(), 1, kDim}, {.k = 1, .with_payload = true});
        EXPECT_EQ(found.hits[0][0].id, 1234U);
        EXPECT_EQ(found.hits[0][0].payload, payload[0]);
        EXPECT_EQ(collection->info().points, kRows);
        EXPECT_EQ(collection->info().tombstones, 1U);
        const std::vector<PointId> several = {1234, 1235, 77};
        const auto points = collection->get(several, true);
        ASSERT_EQ(points.size(), 2U);
        EXPECT_EQ(points[0].payload, payload[0]);
        EXPECT_EQ(points[1].payload, "");
        EXPECT_EQ(points[0].vector.size(), kDim);
        EXPECT_EQ(collection->remove(several), 2U);
        EXPECT_EQ(collection->remove(several), 0U);
        EXPECT_TRUE(collection->get(several).empty());
        const SearchAnswer all = collection->search({mark.data(), 1, kDim}, {.k = kRows});
        for (const Hit& hit : all.hits[0]) {
            EXPECT_NE(hit.id, 1234U);
        }
        collection->close();
        std::filesystem::remove_all(path());
    }
}

TEST_F(CollectionTest, TheLastOfEqualIdsWins) {
    const auto collection = create("ARFC24/8");
    const std::vector<PointId> ids = {5, 6, 5};
    const std::vector<std::string> payloads = {R"({"n":1})", R"({"n":2})", R"({"n":3})"};
    collection->upsert(ids, test::view(rows_, kDim).slice(0, 3), payloads);
    EXPECT_EQ(collection->info().points, 2U);
    const std::vector<PointId> five = {5};
    EXPECT_EQ(collection->get(five)[0].payload, R"({"n":3})");
    EXPECT_EQ(collection->search(queries()).hits[0].size(), 2U);
}

TEST_F(CollectionTest, StagesAndFiltersAreObeyed) {
    const auto collection = trained("ARFC24/16/8,IVF16");
    const SearchAnswer answer = collection->search(
        queries(), {.k = 3, .stages = {{8, 50}, {16, 20}, {24, 0}}, .nprobe = 16});
    ASSERT_EQ(answer.stages.size(), 3U);
    EXPECT_EQ(answer.stages[0].candidates, 20 * kRows);
    EXPECT_EQ(answer.stages[1].candidates, 20U * 50U);
    EXPECT_EQ(answer.stages[2].candidates, 20U * 20U);
    const SearchAnswer odd =
        collection->search(queries(), {.k = 5, .filter = [](PointId id) { return id % 2 == 1; }});
    for (const auto& hits : odd.hits) {
        EXPECT_FALSE(hits.empty());
        for (const Hit& hit : hits) {
            EXPECT_EQ(hit.id % 2, 1U);
        }
    }
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.stages = {{16, 50}, {8, 50}}}),
        ErrorKind::kInvalidArgument, "8");
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.stages = {{8, 50}, {25, 0}}}),
        ErrorKind::kInvalidArgument, "25");
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.nprobe = 17}), ErrorKind::kInvalidArgument, "17");
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.k = 0}), ErrorKind::kInvalidArgument, "0");
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.stages = {{8, 50}}, .exact = true}),
        ErrorKind::kInvalidArgument, "cannot be exact and have stages of its own: 1");
    EXPECT_EQ(collection->search(queries(), {.k = 2 * kRows, .exact = true}).hits[0].size(), kRows);
}

TEST_F(CollectionTest, BeginsWithAModelOfOnesOwn) {
    const auto collection = create("ARFC24/8,IVF16", Metric::kCosine, model(40)); // Longer codes
                                                                                  // than are
                                                                                  // stored.
    EXPECT_FALSE(collection->info().model_id.empty());
    EXPECT_TRUE(collection->search(queries()).hits[0].empty());
    for (std::size_t first = 0; first < kRows; first += 250) {
        collection->upsert(ids_from(first, 250), test::view(rows_, kDim).slice(first, 250));
    }
    const SearchAnswer before = collection->search(queries());
    EXPECT_EQ(before.hits[0].size(), 10U);
    EXPECT_GE(collection->info().default_nprobe, 1U);
    collection->close();
    EXPECT_TRUE(same(Collection::open(path())->search(queries()), before));
}

TEST_F(CollectionTest, ListsFollowRowsThatCameInOrder) {
    // Of ten clusters far apart the first is in the collection when lists are first learned.
    std::vector<float> rows = test::random_rows(kRows, kDim, 9);
    for (std::size_t i = 0; i < kRows; ++i) {
        rows[i * kDim + i / (kRows / 10)] += 20.0F;
    }
    const std::size_t late = kRows - 200;
    const MatrixView<const float> all = test::view(rows, kDim);
    const std::filesystem::path model = directory_ / "clusters";
    Compressor::train(all, {.code_bytes = 24, .metric = Metric::kL2, .time_budget_s = 1.0})
        ->save(model);
    const auto collection = create("ARFC24/8,IVF33", Metric::kL2, model);
    const auto found_in_one_list = [&] {
        const MatrixView<const float> some = all.slice(late, 200);
        return recall(
            collection->search(some, {.nprobe = 1}), collection->search(some, {.exact = true}));
    };
    for (std::size_t first = 0; first < kRows; first += 100) {
        collection->upsert(ids_from(first, 100), all.slice(first, 100));
    }
    const double before = found_in_one_list();
    EXPECT_TRUE(collection->optimize());
    EXPECT_FALSE(collection->optimize()) << "There is nothing new to learn";
    EXPECT_GT(found_in_one_list(), before + 0.1)
        << "Rows of clusters unseen at first are scattered";
    const SearchAnswer answer = collection->search(queries());
    collection->upsert(ids_from(kRows, 100), all.slice(0, 100));
    EXPECT_FALSE(collection->optimize()) << "Less than a tenth is new";
    collection->remove(ids_from(kRows, 100));
    EXPECT_TRUE(same(collection->search(queries()), answer));
    collection->close();
    EXPECT_TRUE(same(Collection::open(path())->search(queries()), answer));
    const auto reader = Collection::open(path(), {.read_only = true});
    ARFC_EXPECT_ERROR(reader->optimize(), ErrorKind::kFailedPrecondition, "was opened read-only");
}

TEST_F(CollectionTest, ModelsThatDoNotFitAreRefused) {
    ARFC_EXPECT_ERROR(
        create("ARFC48", Metric::kCosine, model(24)), ErrorKind::kInvalidArgument,
        "24 bytes, expected at least 48");
    ARFC_EXPECT_ERROR(
        create("ARFC24", Metric::kL2, model(24)), ErrorKind::kInvalidArgument,
        "cosine, expected l2");
    ARFC_EXPECT_ERROR(
        create("ARFC24", Metric::kCosine, directory_ / "absent"), ErrorKind::kNotFound, "absent");
    EXPECT_FALSE(std::filesystem::exists(path())); // Nothing half-made stays.
    trained()->close();
    std::filesystem::remove_all(path() / "model");
    Compressor::train(test::view(rows_, kDim), {.code_bytes = 24, .time_budget_s = 0.3, .seed = 9})
        ->save(path() / "model");
    ARFC_EXPECT_ERROR(
        Collection::open(path()), ErrorKind::kFailedPrecondition,
        "not the one that wrote the codes");
}

TEST_F(CollectionTest, WrongUseIsRefusedAndChangesNothing) {
    const auto collection = filled();
    const CollectionInfo before = collection->info();
    const std::vector<PointId> one = {1};
    std::vector<float> row(kDim, 1.0F);
    ARFC_EXPECT_ERROR(
        collection->upsert(one, {row.data(), 1, kDim - 1}), ErrorKind::kInvalidArgument,
        "31, expected 32");
    ARFC_EXPECT_ERROR(
        collection->upsert(one, test::view(rows_, kDim).slice(0, 2)), ErrorKind::kInvalidArgument,
        "1, expected 2");
    const std::vector<std::string> payloads = {"[1]"};
    ARFC_EXPECT_ERROR(
        collection->upsert(one, {row.data(), 1, kDim}, payloads), ErrorKind::kInvalidArgument,
        "not a JSON object");
    row[7] = std::nanf("");
    ARFC_EXPECT_ERROR(
        collection->upsert(one, {row.data(), 1, kDim}), ErrorKind::kInvalidArgument, "not finite");
    ARFC_EXPECT_ERROR(
        (void)collection->search({row.data(), 1, kDim}), ErrorKind::kInvalidArgument, "not finite");
    const std::vector<float> zero(kDim, 0.0F);
    ARFC_EXPECT_ERROR(
        collection->upsert(one, {zero.data(), 1, kDim}), ErrorKind::kInvalidArgument, "zero row");
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.nprobe = 4}), ErrorKind::kFailedPrecondition,
        "no model yet");
    EXPECT_EQ(collection->info().points, before.points);
    ARFC_EXPECT_ERROR(create(), ErrorKind::kAlreadyExists, path().string());
    ARFC_EXPECT_ERROR(
        Collection::open(path()), ErrorKind::kFailedPrecondition, path().string()); // A second
                                                                                    // writer.
    ARFC_EXPECT_ERROR(Collection::open(directory_ / "absent"), ErrorKind::kNotFound, "absent");
    std::filesystem::create_directory(directory_ / "empty");
    ARFC_EXPECT_ERROR(Collection::open(directory_ / "empty"), ErrorKind::kNotFound, "empty");
    collection->close();
    ARFC_EXPECT_ERROR(
        collection->upsert(one, test::view(rows_, kDim).slice(0, 1)),
        ErrorKind::kFailedPrecondition, "closed");
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries()), ErrorKind::kFailedPrecondition, "closed");
    collection->close(); // Twice is fine.
}

TEST_F(CollectionTest, OptionsAreChecked) {
    const auto refuses = [&](std::size_t dim, const std::string& factory, const std::string& text) {
        ARFC_EXPECT_ERROR(
            Collection::create(path(), {.dim = dim, .factory = factory}),
            ErrorKind::kInvalidArgument, text);
        EXPECT_FALSE(std::filesystem::exists(path()));
    };
    refuses(0, "ARFC24", ": 0");
    refuses(65537, "ARFC24", "Embedding width is outside [1, 65536]: 65537");
    EXPECT_EQ(
        Collection::create(directory_ / "wide", {.dim = 65536, .factory = "ARFC4"})->info().dim,
        65536U);
    EXPECT_EQ(
        Collection::create(directory_ / "narrow", {.dim = 1, .factory = "ARFC4"})->info().dim, 1U);
    refuses(32, "Flat", "must be an ARFC one");
    refuses(32, "IDMap2,ARFC24", "leave IDMap out");
    refuses(32, "ARFC8/16", "ARFC8/16");
    std::filesystem::create_directory(path());
    write_file_atomically(path() / "notes.txt", "mine");
    ARFC_EXPECT_ERROR(create(), ErrorKind::kAlreadyExists, "not empty");
    EXPECT_EQ(read_file(path() / "notes.txt"), "mine");
    ARFC_EXPECT_ERROR(
        Collection::create("/proc/collection", {.dim = 4}), ErrorKind::kIo, "/proc/collection");
}

TEST_F(CollectionTest, CountsRowsWithoutAModel) {
    const auto collection = filled("ARFC24/8");
    const std::vector<PointId> gone = ids_from(1000, 100);
    collection->remove(gone);
    const CollectionInfo info = collection->info();
    EXPECT_EQ(info.points, kRows - 100);
    EXPECT_EQ(info.tombstones, 100U);
    EXPECT_TRUE(info.has_raw);
    EXPECT_EQ(info.code_bytes, 0U);
    EXPECT_EQ(info.resident_id_bytes, 8 * kRows);
    // Floats, their inverse lengths, a bit each, and ids.
    EXPECT_EQ(info.resident_bytes, kRows * (kDim + 1) * 4 + kRows / 8 + 8 * kRows);
    const SearchAnswer answer = collection->search(queries(), {.k = 3});
    ASSERT_EQ(answer.stages.size(), 1U);
    EXPECT_EQ(answer.stages[0].bytes, kDim * 4);
    EXPECT_EQ(answer.stages[0].candidates, 20 * (kRows - 100));
    EXPECT_EQ(answer.stages[0].bytes_read, 20 * (kRows - 100) * kDim * 4);
    EXPECT_GT(answer.stages[0].milliseconds, 0.0);
    EXPECT_LT(answer.stages[0].milliseconds, 60'000.0);
    const SearchOptions even{.k = kRows, .filter = [](PointId id) { return id % 2 == 0; }};
    for (const auto& hits : collection->search(queries(), even).hits) {
        EXPECT_EQ(hits.size(), (kRows - 100) / 2);
        EXPECT_TRUE(std::ranges::all_of(hits, [](const Hit& hit) { return hit.id % 2 == 0; }));
    }
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.stages = {{8, 50}, {24, 0}}}),
        ErrorKind::kFailedPrecondition, "no model yet");
    ARFC_EXPECT_ERROR(
        (void)collection->search(queries(), {.k = 0}), ErrorKind::kInvalidArgument,
        "answers is less than one: 0");
}

TEST_F(CollectionTest, ReopensRowsWithoutAModelAndTheirGaps) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
        auto collection = filled("ARFC24/8", metric);
        collection->remove(ids_from(1000, 3));
        collection->remove(ids_from(1500, 700));
        collection->remove(ids_from(1000 + kRows - 4, 4));
        const SearchAnswer before = collection->search(queries(), {.k = 40});
        const CollectionInfo info = collection->info();
        collection.reset();
        collection = Collection::open(path());
        EXPECT_TRUE(same(collection->search(queries(), {.k = 40}), before));
        EXPECT_EQ(collection->info().points, kRows - 707);
        EXPECT_EQ(collection->info().tombstones, 707U);
        EXPECT_EQ(collection->info().resident_bytes, info.resident_bytes);
        EXPECT_FALSE(collection->optimize()) << "there are no lists";
        collection->close();
        std::filesystem::remove_all(path());
    }
}

TEST_F(CollectionTest, FewRowsCanBeLearnedFromAndAreKept) {
    const auto collection = create();
    collection->upsert(ids_from(0, 10), test::view(rows_, kDim).slice(0, 10));
    const CollectionTrainReport report = collection->train({.time_budget_s = 0.3});
    EXPECT_FALSE(report.held_out_recall.has_value());
    EXPECT_FALSE(report.raw_dropped) << "how good the codes are is not known";
    EXPECT_EQ(report.rows, 10U);
    const SearchAnswer answer = collection->search(queries(), {.k = 20});
    for (const auto& hits : answer.hits) {
        EXPECT_EQ(hits.size(), 10U);
    }
    EXPECT_FALSE(std::filesystem::exists(path() / "coarse.arfc")) << "ten rows make no 16 lists";
}

TEST_F(CollectionTest, DefaultsSufficeWhenFewRowsThatItLearnedFromBecomeMany) {
    const auto collection = create("ARFC24/2");
    collection->upsert(ids_from(0, 50), test::view(rows_, kDim).slice(0, 50));
    collection->train({.time_budget_s = 0.3, .minimum_recall = 0.0});
    collection->upsert(ids_from(50, 949), test::view(rows_, kDim).slice(50, 949));
    EXPECT_GE(
        recall(collection->search(queries()), collection->search(queries(), {.exact = true})),
        0.99);
}

TEST_F(CollectionTest, ListsAreLearnedFromThirtyRowsEachAndAgainFromTwice) {
    const auto coarse = [&] {
        const auto file = path() / "coarse.arfc";
        return std::filesystem::exists(file) ? read_file(file) : std::string();
    };
    const std::filesystem::path of_rows = model();
    for (const auto& [factory, least] :
         {std::pair<std::string, std::size_t>{"ARFC24/8", 1000}, {"ARFC24/8,IVF40", 1200}}) {
        const auto collection = create(factory, Metric::kCosine, of_rows);
        const auto upsert = [&](std::size_t first, std::size_t count) {
            collection->upsert(ids_from(first, count), test::view(rows_, kDim).slice(first, count));
        };
        upsert(0, least - 1);
        EXPECT_FALSE(collection->optimize()) << "too few";
        EXPECT_EQ(coarse(), "");
        upsert(least - 1, 1);
        const std::string first = coarse();
        EXPECT_NE(first, "") << factory;
        upsert(least, least - 1);
        EXPECT_EQ(coarse(), first);
        upsert(2 * least - 1, 1);
        EXPECT_NE(coarse(), first) << factory;
        collection->close();
        std::filesystem::remove_all(path());
    }
}

TEST_F(CollectionTest, EqualScoresStandInTheOrderOfIds) {
    const auto collection = create("ARFC24/8");
    std::vector<PointId> ids = {9, 3, 7, 1, 5};
    std::vector<float> rows;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        rows.insert(rows.end(), rows_.begin(), rows_.begin() + kDim);
    }
    collection->upsert(ids, test::view(rows, kDim));
    // Of rows that tie those that came first are among the answers.
    const SearchAnswer two = collection->search({rows.data(), 1, kDim}, {.k = 2});
    ASSERT_EQ(two.hits[0].size(), 2U);
    EXPECT_EQ(two.hits[0][0].id, 3U);
    EXPECT_EQ(two.hits[0][1].id, 9U);
    std::ranges::sort(ids);
    const SearchAnswer answer = collection->search({rows.data(), 1, kDim}, {.k = 50});
    ASSERT_EQ(answer.hits[0].size(), ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
        EXPECT_EQ(answer.hits[0][i].id, ids[i]);
    }
}

TEST_F(CollectionTest, PayloadsAreObjectsOrNothing) {
    const auto collection = create("ARFC24/8");
    const std::vector<PointId> ids = {1, 2, 3};
    const MatrixView<const float> rows = test::view(rows_, kDim).slice(0, 3);
    for (const std::string bad : {" ", "{", "[1]", "1", R"("x")", "{} {}"}) {
        ARFC_EXPECT_ERROR(
            collection->upsert(ids, rows, std::vector<std::string>{"", bad, ""}),
            ErrorKind::kInvalidArgument, "Payload is not a JSON object in row: 1");
    }
    for (const std::size_t count : {1, 2, 4}) {
        ARFC_EXPECT_ERROR(
            collection->upsert(ids, rows, std::vector<std::string>(count)),
            ErrorKind::kInvalidArgument,
            "Payloads differ in number from the embeddings: " + std::to_string(count));
    }
    EXPECT_EQ(collection->info().points, 0U);
    const std::vector<std::string> good = {"{}", " \t\r\n{\"a\": 1}", ""};
    collection->upsert(ids, rows, good);
    const auto points = collection->get(ids);
    ASSERT_EQ(points.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(points[i].id, ids[i]);
        EXPECT_EQ(points[i].payload, good[i]);
        EXPECT_TRUE(points[i].vector.empty());
    }
    collection->upsert({}, test::view(rows_, kDim).slice(0, 0));
    EXPECT_EQ(collection->remove({}), 0U);
    EXPECT_EQ(collection->info().points, 3U);
}

TEST_F(CollectionTest, TakesADirectoryThatAnInterruptedCreationLeft) {
    std::filesystem::create_directories(path() / "rocks");
    for (const char* const name : {"LOCK", "coarse.arfc", "manifest.json.tmp", "rocks/CURRENT"}) {
        write_file_atomically(path() / name, "half");
    }
    create("ARFC24/8")->upsert(ids_from(1, 3), test::view(rows_, kDim).slice(0, 3));
    EXPECT_EQ(Collection::open(path())->info().points, 3U);
    EXPECT_FALSE(std::filesystem::exists(path() / "manifest.json.tmp"));
    ARFC_EXPECT_ERROR(
        create("ARFC24/8"), ErrorKind::kAlreadyExists, "Collection exists: " + path().string());
    std::filesystem::remove_all(path());
    write_file_atomically(path(), "a file");
    ARFC_EXPECT_ERROR(create("ARFC24/8"), ErrorKind::kAlreadyExists, "something else is there");
    ARFC_EXPECT_ERROR(
        Collection::open(path()), ErrorKind::kNotFound, "does not exist: " + path().string());
}

/// What a crash between two steps of a training leaves, and what opening makes of it.
TEST_F(CollectionTest, OpeningFinishesWhatATrainingBegan) {
    auto collection = filled("ARFC24/8");
    collection->remove(ids_from(1000, 100));
    const auto vectors = collection->get(ids_from(1100, 50), true);
    ASSERT_EQ(vectors.size(), 50U);
    std::size_t encoded = 0;
    const CollectionTrainReport report = collection->train(
        {.time_budget_s = 0.3,
         .keep_raw = true,
         .minimum_recall = 0.0,
         .progress = [&](const Progress& progress) {
             if (progress.stage == "encoding") {
                 EXPECT_GT(progress.done, encoded);
                 EXPECT_EQ(progress.total, kRows);
                 encoded = progress.done;
             }
             return true;
         }});
    EXPECT_EQ(encoded, kRows);
    EXPECT_EQ(report.rows, kRows - 100);
    EXPECT_EQ(collection->info().points, kRows - 100);
    EXPECT_EQ(collection->info().tombstones, 100U);
    EXPECT_FALSE(report.raw_dropped);
    EXPECT_GT(report.seconds, 0.0);
    // Rows are what they were, as far as codes say.
    const auto decoded = collection->get(ids_from(1000, 150), true);
    ASSERT_EQ(decoded.size(), 50U);
    for (std::size_t i = 0; i < 50; ++i) {
        EXPECT_EQ(decoded[i].id, vectors[i].id);
        EXPECT_TRUE(std::equal(
            vectors[i].vector.begin(), vectors[i].vector.end(),
            rows_.begin() + static_cast<std::ptrdiff_t>((100 + i) * kDim)));
        double product = 0.0;
        double left = 0.0;
        double right = 0.0;
        for (std::size_t j = 0; j < kDim; ++j) {
            product += double{vectors[i].vector[j]} * double{decoded[i].vector[j]};
            left += double{vectors[i].vector[j]} * double{vectors[i].vector[j]};
            right += double{decoded[i].vector[j]} * double{decoded[i].vector[j]};
        }
        EXPECT_GT(product / std::sqrt(left * right), 0.9);
    }
    collection->upsert(ids_from(1, 1), test::view(rows_, kDim).slice(0, 1));
    const SearchAnswer answer = collection->search(queries());
    collection->close();
    EXPECT_EQ(raw_rows(), kRows - 100 + 1);
    Collection::open(path())->close();
    EXPECT_EQ(raw_rows(), kRows - 100 + 1) << "rows that are to be kept are kept";

    // Codes were published; the manifest does not name the model yet, and rows are not dropped yet.
    storage::Manifest manifest = storage::read_manifest(path());
    EXPECT_TRUE(manifest.keep_raw);
    EXPECT_EQ(manifest.model_id, report.model_id);
    manifest.model_id = "";
    manifest.keep_raw = false;
    storage::write_manifest(path(), manifest);
    EXPECT_TRUE(same(Collection::open(path(), {.read_only = true})->search(queries()), answer));
    EXPECT_EQ(raw_rows(), kRows - 100 + 1) << "who only reads changes nothing";
    EXPECT_TRUE(same(Collection::open(path())->search(queries()), answer));
    EXPECT_EQ(raw_rows(), 0U);
    EXPECT_EQ(storage::read_manifest(path()).model_id, report.model_id);

    manifest.model_id = "another";
    storage::write_manifest(path(), manifest);
    ARFC_EXPECT_ERROR(
        Collection::open(path()), ErrorKind::kFailedPrecondition, "expected \"another\"");
    manifest.model_id = report.model_id;
    manifest.dim = kDim + 1;
    storage::write_manifest(path(), manifest);
    ARFC_EXPECT_ERROR(
        Collection::open(path()), ErrorKind::kCorruption,
        "width differs from the manifest's: 32, expected 33");
    manifest.dim = kDim;
    manifest.factory = "ARFC24/16";
    storage::write_manifest(path(), manifest);
    ARFC_EXPECT_ERROR(
        Collection::open(path()), ErrorKind::kCorruption, "disagree about the code in: ");
    manifest.factory = "Flat";
    storage::write_manifest(path(), manifest);
    ARFC_EXPECT_ERROR(
        Collection::open(path()), ErrorKind::kCorruption, "names a collection that cannot be");
}

TEST_F(CollectionTest, EveryCallOnAClosedOneSaysSo) {
    const auto collection = filled("ARFC24/8");
    collection->close();
    const std::vector<PointId> one = {1000};
    const std::string text = "Collection is closed: " + path().string();
    const auto refuses = [&](auto call) {
        ARFC_EXPECT_ERROR((void)call(), ErrorKind::kFailedPrecondition, text);
    };
    refuses([&] { return collection->info(); });
    refuses([&] { return collection->model(); });
    refuses([&] { return collection->get(one); });
    refuses([&] { return collection->search(queries()); });
    refuses([&] { return collection->remove(one); });
    refuses([&] { return collection->optimize(); });
    refuses([&] { return collection->train(); });
    ARFC_EXPECT_ERROR(
        collection->upsert(one, test::view(rows_, kDim).slice(0, 1)),
        ErrorKind::kFailedPrecondition, text);
}

TEST_F(CollectionTest, WhoOpenedItToReadWritesNothing) {
    filled("ARFC24/8")->close();
    const auto reader = Collection::open(path(), {.read_only = true});
    const std::vector<PointId> one = {1000};
    const std::string text = "Collection was opened read-only: " + path().string();
    ARFC_EXPECT_ERROR(reader->remove(one), ErrorKind::kFailedPrecondition, text);
    ARFC_EXPECT_ERROR(reader->remove({}), ErrorKind::kFailedPrecondition, text);
    ARFC_EXPECT_ERROR(
        reader->upsert({}, test::view(rows_, kDim).slice(0, 0)), ErrorKind::kFailedPrecondition,
        text);
    ARFC_EXPECT_ERROR(reader->optimize(), ErrorKind::kFailedPrecondition, text);
    ARFC_EXPECT_ERROR(reader->train(), ErrorKind::kFailedPrecondition, text);
    EXPECT_EQ(reader->info().points, kRows);
    EXPECT_EQ(reader->get(one).size(), 1U);
    EXPECT_EQ(reader->model(), nullptr);
}

TEST_F(CollectionTest, NothingCanBeLearnedFromNoRows) {
    const auto collection = create("ARFC24/8,IVF16");
    EXPECT_EQ(collection->info().nlist, 16U) << "as its factory string says";
    const std::string text = "Collection has no rows to learn from: " + path().string();
    ARFC_EXPECT_ERROR(collection->train(), ErrorKind::kFailedPrecondition, text);
    collection->upsert(ids_from(1, 1), test::view(rows_, kDim).slice(0, 1));
    collection->remove(ids_from(1, 1));
    ARFC_EXPECT_ERROR(collection->train(), ErrorKind::kFailedPrecondition, text);
}

TEST_F(CollectionTest, OpeningGivesTheSpaceOfAnInterruptedTrainingBack) {
    filled("ARFC24/8")->close();
    constexpr std::size_t kPart = 4096;
    const std::vector<std::byte> part(kRows * kPart, std::byte{0x5A});
    {
        const auto store = storage::open_store("rocksdb", {.directory = path() / "rocks"});
        store->write_codes(0, {part.data(), kRows, kPart}, {part.data(), kRows, kPart});
        store->close();
        EXPECT_GT(Collection::open(path(), {.read_only = true})->info().disk_bytes, part.size());
    }
    const auto collection = Collection::open(path());
    EXPECT_LT(collection->info().disk_bytes, part.size() / 4);
    EXPECT_EQ(collection->info().points, kRows);
}

TEST_F(CollectionTest, ACoarseFileIsWrittenWhereSomethingChanged) {
    auto collection = with_a_model();
    const auto file = path() / "coarse.arfc";
    const std::string first = read_file(file);
    std::filesystem::remove(file);
    collection->close();
    EXPECT_FALSE(std::filesystem::exists(file)) << "nothing changed since it was written";
    write_file_atomically(file, first);
    collection = Collection::open(path());
    collection->remove(std::vector<PointId>{1000, 1000 + kRows - 1}); // First and last row.
    collection.reset();
    const std::string second = read_file(file);
    EXPECT_NE(second, first) << "a collection that goes is closed";
    const auto is_without_the_removed = [&] {
        const auto reopened = Collection::open(path());
        EXPECT_EQ(reopened->info().points, kRows - 2);
        const SearchAnswer all = reopened->search(queries(), {.k = kRows, .exact = true});
        for (const auto& hits : all.hits) {
            EXPECT_EQ(hits.size(), kRows - 2);
            EXPECT_TRUE(std::ranges::none_of(
                hits, [](const Hit& hit) { return hit.id == 1000 || hit.id == 1000 + kRows - 1; }));
        }
    };
    is_without_the_removed();
    write_file_atomically(file, first);
    is_without_the_removed();
    std::filesystem::remove(file);
    std::filesystem::create_directory(file);
    ARFC_EXPECT_ERROR(Collection::open(path()), ErrorKind::kIo, "Not a regular file: ");
}

TEST_F(CollectionTest, ACoarseFileAheadOfItsStoreIsMadeAnew) {
    auto collection = with_a_model();
    const SearchAnswer answer = collection->search(queries(), {.exact = true});
    collection->close();
    std::filesystem::copy(path(), directory_ / "copy", std::filesystem::copy_options::recursive);
    collection = Collection::open(path());
    collection->upsert(ids_from(1, 100), test::view(rows_, kDim).slice(0, 100));
    collection->close();
    // As where power was lost: the file is newer than what the store kept.
    std::filesystem::copy_file(
        path() / "coarse.arfc", directory_ / "copy" / "coarse.arfc",
        std::filesystem::copy_options::overwrite_existing);
    const auto behind = Collection::open(directory_ / "copy");
    EXPECT_EQ(behind->info().points, kRows);
    EXPECT_TRUE(same(behind->search(queries(), {.exact = true}), answer));
    behind->upsert(ids_from(1, 50), test::view(rows_, kDim).slice(200, 50));
    const SearchAnswer found =
        behind->search(test::view(rows_, kDim).slice(200, 50), {.k = 2, .exact = true});
    for (std::size_t q = 0; q < 50; ++q) {
        ASSERT_EQ(found.hits[q].size(), 2U);
        EXPECT_EQ(found.hits[q][0].score, found.hits[q][1].score) << "the row is there twice";
    }
}

TEST_F(CollectionTest, OthersReadWhileOneWrites) {
    const auto writer = trained();
    const auto reader = Collection::open(path(), {.read_only = true});
    EXPECT_TRUE(same(reader->search(queries()), writer->search(queries())));
    ARFC_EXPECT_ERROR(
        reader->upsert(ids_from(1, 1), test::view(rows_, kDim).slice(0, 1)),
        ErrorKind::kFailedPrecondition, "read-only");
    writer->upsert(ids_from(1, 1), test::view(rows_, kDim).slice(0, 1));
    EXPECT_EQ(Collection::open(path(), {.read_only = true})->info().points, kRows + 1);
}

TEST_F(CollectionTest, SearchesRunBesideWrites) {
    const auto collection = trained();
    std::atomic<bool> stop = false;
    std::atomic<std::size_t> answered = 0;
    std::vector<std::thread> searchers;
    searchers.reserve(2);
    for (int i = 0; i < 2; ++i) {
        searchers.emplace_back([&] {
            while (!stop) {
                const SearchAnswer answer = collection->search(queries(), {.k = 20});
                for (const auto& hits : answer.hits) {
                    // The two halves of each mutation are seen together: 1000.. and their
                    // replacements never at once.
                    std::set<PointId> seen;
                    for (const Hit& hit : hits) {
                        EXPECT_TRUE(seen.insert(hit.id).second);
                    }
                }
                ++answered;
            }
        });
    }
    for (int round = 0; round < 25; ++round) {
        collection->upsert(
            ids_from(1000, 100),
            test::view(rows_, kDim).slice(static_cast<std::size_t>(round) * 50, 100), {}, false);
    }
    while (answered < 4) {
        std::this_thread::yield();
    }
    stop = true;
    for (std::thread& searcher : searchers) {
        searcher.join();
    }
    EXPECT_EQ(collection->info().points, kRows);
    EXPECT_EQ(collection->info().tombstones, 25U * 100U);
}

TEST_F(CollectionTest, ACancelledTrainingLeavesEverything) {
    auto collection = filled();
    const SearchAnswer before = collection->search(queries());
    for (const std::string at : {"whole-space codebook", "encoding"}) {
        ARFC_EXPECT_ERROR(
            collection->train(
                {.time_budget_s = 0.3,
                 .progress = [&](const Progress& progress) { return progress.stage != at; }}),
            ErrorKind::kCancelled, "cancelled");
        EXPECT_TRUE(same(collection->search(queries()), before));
    }
    collection.reset();
    const auto reopened = Collection::open(path());
    EXPECT_TRUE(reopened->info().model_id.empty());
    EXPECT_TRUE(same(reopened->search(queries()), before));
    EXPECT_EQ(reopened->train({.time_budget_s = 0.3, .minimum_recall = 0.0}).rows, kRows);
}

TEST_F(CollectionTest, KilledTrainingLeavesAWholeCollection) {
    filled()->close();
    std::size_t trained_count = 0;
    for (int round = 0; round < 4; ++round) {
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            // A new program in the child, so that no thread of this one is missing there.
            const std::string steps = std::to_string(round);
            ::setenv("ARFC_TEST_DIRECTORY", path().c_str(), 1);
            ::setenv("ARFC_TEST_STEPS", steps.c_str(), 1);
            ::execl(
                "/proc/self/exe", "collection-child", "--gtest_filter=CollectionChild.*",
                "--gtest_brief=1", nullptr);
            ::_exit(127);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << status;
        const auto collection = Collection::open(path());
        EXPECT_EQ(collection->info().points, kRows);
        EXPECT_EQ(collection->search(queries()).hits[0].size(), 10U);
        trained_count += collection->info().model_id.empty() ? 0 : 1;
    }
    EXPECT_EQ(trained_count, 0U); // Every kill was before the codes were published.
}

/// Runs only as the child of the test above: trains, and dies while encoding.
TEST(CollectionChild, DiesWhileTraining) {
    const char* const directory = std::getenv("ARFC_TEST_DIRECTORY");
    if (directory == nullptr) {
        GTEST_SKIP() << "runs as the child of KilledTrainingLeavesAWholeCollection only";
    }
    const int wanted = std::atoi(std::getenv("ARFC_TEST_STEPS"));
    int encoded = 0;
    const auto collection = Collection::open(directory);
    (void)collection->train(
        {.time_budget_s = 1.0, .minimum_recall = 0.0, .progress = [&](const Progress& progress) {
             const bool die = progress.stage == "encoding" ? encoded++ == wanted - 1
                                                           : wanted == 0 && progress.done == 3;
             if (die || encoded > 1) {
                 ::kill(::getpid(), SIGKILL);
             }
             return true;
         }});
    ::kill(::getpid(), SIGKILL);
}

TEST_F(CollectionTest, DamageIsReported) {
    trained()->close();
    const std::string manifest = read_file(path() / "manifest.json");
    for (std::size_t length = 0; length < manifest.size(); length += 7) {
        write_file_atomically(path() / "manifest.json", manifest.substr(0, length));
        ARFC_EXPECT_ERROR(Collection::open(path()), ErrorKind::kCorruption, "");
    }
    write_file_atomically(path() / "manifest.json", manifest);
    const std::string weights = read_file(path() / "model/model.safetensors");
    write_file_atomically(path() / "model/model.safetensors", weights.substr(1));
    ARFC_EXPECT_ERROR(Collection::open(path()), ErrorKind::kCorruption, "SHA-256 differs");
    write_file_atomically(path() / "model/model.safetensors", weights);
    EXPECT_NO_THROW(Collection::open(path()));
}

} // namespace
} // namespace arfc
