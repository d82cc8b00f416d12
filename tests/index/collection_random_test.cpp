// Random operations on collections, each answer compared with brute force over a table.

#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <limits>
#include <set>
#include <unordered_set>

#include "arfc/base/files.h"
#include "arfc/index/collection.h"
#include "collection_model.h"
#include "expect_error.h"
#include "random_run.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

using test::CollectionModel;
using test::kDim;
using test::kRows;
using test::ScoreTable;

constexpr std::array kFactories = {
    "ARFC12",         "ARFC12/4",       "ARFC12/8/4",    "ARFC12/4,IVF8",    "ARFC12/8/4,IVF40",
    "ARFC12/1,IVF33", "ARFC12/4,HNSW3", "ARFC12/4,NSG4", "ARFC12/4,PQ8x4fs", "ARFC12/4,IVF8,SQ8"};
constexpr std::size_t kSteps = 25;
constexpr std::size_t kMostIds = 2500;

/// Recall@10 of searches without options against scans by whole codes, over a round: defaults
/// promise .99 of rows like those they were measured on, while these rows come and go.
constexpr double kLeastRecall = 0.95;

/// Counts what rounds did, so that a test can say that it reached what it is meant to.
struct Reached {
    std::size_t steps = 0;
    std::size_t answers = 0; ///< Of one query each.
    std::size_t hits = 0;
    std::size_t reopenings = 0;
    std::size_t replays = 0; ///< Reopenings with a coarse file that is behind, or none.
    std::size_t trainings = 0;
    std::size_t readers = 0;
    std::size_t learned = 0; ///< Coarse files that replaced another.
    std::set<std::size_t> lists_per_row;
    double least_recall = 1.0;
    std::string least_recall_of;
};

std::shared_ptr<const ScoreTable> scores_of_model(Metric metric) {
    static std::map<Metric, std::shared_ptr<const ScoreTable>> tables;
    std::shared_ptr<const ScoreTable>& table = tables[metric];
    if (table == nullptr) {
        table = std::make_shared<const ScoreTable>(metric, test::quick_model(metric));
    }
    return table;
}

/// Small and huge ids; a tenth of them are given.
PointId id_of(std::size_t number) {
    return number % 5 == 0 ? std::numeric_limits<PointId>::max() - number : PointId{number};
}

/// Accepts a share of the ids, scattered, in thousandths.
std::function<bool(PointId)> share_of_ids(std::size_t thousandths, std::size_t salt) {
    return [=](PointId id) {
        std::uint64_t mixed = (id + salt) * 0x9E3779B97F4A7C15U;
        mixed ^= mixed >> 29U;
        return (mixed * 0xBF58476D1CE4E5B9U >> 32U) % 1000 < thousandths;
    };
}

/// One collection and its model, through kSteps operations.
class Round {
  public:
    Round(std::uint64_t seed, Reached& reached)
        : draw_(seed), reached_(reached), metric_(static_cast<Metric>(seed % 3)),
          factory_(kFactories.at(seed % kFactories.size())), has_model_(!draw_.one_in(4)),
          model_(
              has_model_ ? scores_of_model(metric_)
                         : std::make_shared<const ScoreTable>(metric_, nullptr)) {
        const std::filesystem::path model = directory_ / "model";
        if (has_model_) {
            test::quick_model(metric_)->save(model);
        }
        collection_ = Collection::create(
            path(), {.dim = kDim,
                     .metric = metric_,
                     .factory = factory_,
                     .model = has_model_ ? model : std::filesystem::path()});
    }

    void play() {
        SCOPED_TRACE(factory_ + " " + std::string(to_string(metric_)));
        // Lists are learned from 1,000 points on: some rounds begin with few, some with more.
        upsert(draw_.one_in(3) ? draw_.between(0, 300) : draw_.between(1300, kMostIds));
        for (std::size_t step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
            SCOPED_TRACE("step " + std::to_string(step));
            SCOPED_TRACE(take_a_step());
            note_coarse_file();
            check(*collection_, model_);
            ++reached_.steps;
        }
        if (asked_ >= 50 && !testing::Test::HasFailure()) {
            const double recall = static_cast<double>(found_) / static_cast<double>(wanted_);
            EXPECT_GE(recall, kLeastRecall);
            if (recall < reached_.least_recall) {
                reached_.least_recall = recall;
                reached_.least_recall_of = factory_ + " " + std::string(to_string(metric_));
            }
        }
    }

  private:
    [[nodiscard]] std::filesystem::path path() const { return directory_ / "collection"; }

    /// @returns what it did.
    std::string take_a_step() {
        switch (draw_.between(0, 15)) {
            case 0: upsert(draw_.between(300, 900)); return "many upserts";
            case 1: remove(draw_.between(100, 1500)); return "many removals";
            case 2: optimize(); return "optimize";
            case 3:
            case 4: return reopen();
            case 5: return read_beside();
            case 6: train(); return "train";
            case 7: refuse(); return "refused";
            case 8: get(); return "get";
            case 9:
            case 10:
            case 11: remove(draw_.between(0, 30)); return "removals";
            default: upsert(draw_.between(0, 40)); return "upserts";
        }
    }

    void upsert(std::size_t count) {
        std::vector<PointId> ids;
        std::vector<float> rows;
        std::vector<std::string> payloads;
        const bool has_payloads = draw_.one_in(2);
        for (std::size_t i = 0; i < count; ++i) {
            const bool repeats = !ids.empty() && draw_.one_in(8);
            ids.push_back(repeats ? draw_.of(ids) : id_of(draw_.between(0, kMostIds)));
            const std::size_t row = draw_.between(0, kRows - 1);
            const std::span<const float> values = model_.scores().row(row).row(0);
            rows.insert(rows.end(), values.begin(), values.end());
            if (has_payloads) {
                payloads.push_back(
                    draw_.one_in(5) ? ""
                                    : R"({"row":)" + std::to_string(row) + R"(,"is":")" +
                                          std::string(draw_.between(0, 60), 'x') + "\"}");
            }
            model_.upsert(ids.back(), row, has_payloads ? payloads.back() : "");
        }
        collection_->upsert(ids, test::view(rows, kDim), payloads, draw_.one_in(4));
    }

    void remove(std::size_t count) {
        std::vector<PointId> ids;
        std::size_t existed = 0;
        for (std::size_t i = 0; i < count; ++i) {
            ids.push_back(id_of(draw_.between(0, kMostIds)));
            existed += model_.remove(ids.back()) ? 1 : 0;
        }
        EXPECT_EQ(collection_->remove(ids, draw_.one_in(4)), existed);
    }

    void optimize() { (void)collection_->optimize(); }

    void train() {
        if (has_model_ || model_.size() == 0) {
            ARFC_EXPECT_ERROR(
                collection_->train(), ErrorKind::kFailedPrecondition,
                has_model_ ? "has a model already" : "no rows to learn from");
            return;
        }
        const CollectionTrainReport report = collection_->train(
            {.keep_raw = draw_.one_in(2), .minimum_recall = draw_.one_in(2) ? 0.9 : 0.0});
        EXPECT_EQ(report.rows, model_.size());
        has_model_ = true;
        model_.use(std::make_shared<const ScoreTable>(metric_, collection_->model()));
        ++reached_.trainings;
    }

    /// One bad row refuses the whole call.
    void refuse() {
        std::vector<float> rows(2 * kDim, 1.0F);
        rows[kDim + draw_.between(0, kDim - 1)] = std::numeric_limits<float>::infinity();
        const std::array<PointId, 2> ids = {id_of(draw_.between(0, kMostIds)), 1};
        ARFC_EXPECT_ERROR(
            collection_->upsert(ids, test::view(rows, kDim)), ErrorKind::kInvalidArgument,
            "not finite (NaN or infinity) in row: 1");
    }

    void get() {
        std::vector<PointId> ids;
        std::vector<PointId> present;
        for (std::size_t i = draw_.between(0, 60); i > 0; --i) {
            ids.push_back(
                !ids.empty() && draw_.one_in(6) ? draw_.of(ids)
                                                : id_of(draw_.between(0, kMostIds)));
            if (model_.find(ids.back()) != nullptr) {
                present.push_back(ids.back());
            }
        }
        const bool with_vector = draw_.one_in(2);
        const std::vector<Collection::Point> points = collection_->get(ids, with_vector);
        ASSERT_EQ(points.size(), present.size());
        for (std::size_t i = 0; i < points.size(); ++i) {
            const CollectionModel::Point& point = *model_.find(present[i]);
            EXPECT_EQ(points[i].id, present[i]);
            EXPECT_EQ(points[i].payload, point.payload);
            EXPECT_EQ(
                points[i].vector,
                with_vector ? model_.scores().vector_of(point.row) : std::vector<float>());
        }
    }

    /// Opens the collection anew: as it was closed, or as a crash may have left its coarse file.
    std::string reopen() {
        const SearchOptions options{.with_payload = true};
        const MatrixView<const float> query = model_.scores().query(draw_.between(0, 49));
        const SearchAnswer before = collection_->search(query, options);
        draw_.one_in(2) ? collection_->close() : collection_.reset();
        std::string how = "reopening";
        const bool is_behind = draw_.one_in(2);
        if (is_behind && !coarse_files_.empty()) {
            write_file_atomically(path() / "coarse.arfc", draw_.of(coarse_files_));
            how += " with an old coarse file";
        } else if (is_behind) {
            std::filesystem::remove(path() / "coarse.arfc");
            how += " without a coarse file";
        }
        collection_.reset();
        collection_ = Collection::open(path());
        ++reached_.reopenings;
        reached_.replays += is_behind ? 1 : 0;
        if (!is_behind) {
            expect_same(collection_->search(query, options).hits[0], before.hits[0]);
        }
        return how;
    }

    /// A reader stays at what it found when it was opened, whatever the writer does meanwhile.
    std::string read_beside() {
        if (reader_ == nullptr) {
            reader_ = Collection::open(path(), {.read_only = true});
            read_.emplace(model_);
            ++reached_.readers;
        }
        check(*reader_, *read_);
        if (draw_.one_in(2)) {
            reader_.reset();
        }
        return "reading beside";
    }

    /// Keeps some of the coarse files, each of which a crash could leave in place of a later one.
    void note_coarse_file() {
        const std::filesystem::path file = path() / "coarse.arfc";
        if (!std::filesystem::exists(file)) {
            return;
        }
        std::string bytes = read_file(file);
        if (coarse_files_.empty() || coarse_files_.back() != bytes) {
            coarse_files_.push_back(std::move(bytes));
            ++reached_.learned;
        }
        if (coarse_files_.size() > 3) {
            coarse_files_.erase(coarse_files_.begin());
        }
        const CollectionInfo info = collection_->info();
        if (info.nlist > 1 && info.resident_head_bytes > 0) {
            reached_.lists_per_row.insert(
                info.resident_head_bytes / info.stage_bytes.front() / model_.rows());
        }
    }

    void check(const Collection& collection, const CollectionModel& model) {
        const CollectionInfo info = collection.info();
        EXPECT_EQ(info.points, model.size());
        EXPECT_EQ(info.tombstones, model.rows() - model.size());
        check_exact(collection, model);
        if (!info.stage_bytes.empty()) {
            check_stages(collection, model, info);
            measure_recall(collection, model);
        }
    }

    std::vector<std::size_t> some_queries(const CollectionModel& model) {
        std::vector<std::size_t> queries(draw_.of({1, 2, 5}));
        for (std::size_t& query : queries) {
            query = draw_.between(0, model.scores().query_count() - 1);
        }
        return queries;
    }

    static SearchAnswer ask(
        const Collection& collection, const CollectionModel& model,
        const std::vector<std::size_t>& queries, const SearchOptions& options) {
        std::vector<float> rows;
        for (const std::size_t query : queries) {
            const std::span<const float> row = model.scores().query(query).row(0);
            rows.insert(rows.end(), row.begin(), row.end());
        }
        SearchAnswer answer = collection.search(test::view(rows, kDim), options);
        EXPECT_EQ(answer.hits.size(), queries.size());
        return answer;
    }

    /// Draws k and a filter.
    SearchOptions some_options() {
        SearchOptions options{
            .k = draw_.of({1, 2, 10, 10, 40, 5000}), .with_payload = draw_.one_in(2)};
        if (!draw_.one_in(3)) {
            options.filter =
                share_of_ids(draw_.of({0, 1, 5, 50, 300, 700, 990, 1000}), draw_.between(0, 1000));
        }
        return options;
    }

    void check_exact(const Collection& collection, const CollectionModel& model) {
        const std::vector<std::size_t> queries = some_queries(model);
        SearchOptions options = some_options();
        options.exact = true;
        const SearchAnswer answer = ask(collection, model, queries, options);
        const std::size_t bytes = model.scores().has_codes() ? model.scores().code_bytes() : 0;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            expect_best(answer.hits[q], model, queries[q], bytes, options);
        }
    }

    /// Expects what brute force answers, but for what rounding may exchange.
    void expect_best(
        const std::vector<Hit>& hits, const CollectionModel& model, std::size_t query,
        std::size_t bytes, const SearchOptions& options) {
        std::vector<Hit> best = model.best(query, bytes, options.k, options.filter);
        for (Hit& hit : best) {
            hit.payload = options.with_payload ? hit.payload : "";
        }
        if (model.scores().has_codes()) {
            expect_same(hits, best);
        } else {
            expect_true(hits, model, query, bytes, options);
            ASSERT_EQ(hits.size(), best.size());
            for (std::size_t i = 0; i < hits.size(); ++i) {
                const float slack =
                    model.scores().tolerance() * std::max(1.0F, std::abs(best[i].score));
                EXPECT_NEAR(hits[i].score, best[i].score, slack);
            }
        }
        ++reached_.answers;
        reached_.hits += hits.size();
    }

    static void expect_same(const std::vector<Hit>& hits, const std::vector<Hit>& expected) {
        ASSERT_EQ(hits.size(), expected.size());
        for (std::size_t i = 0; i < hits.size(); ++i) {
            ASSERT_EQ(hits[i].id, expected[i].id)
                << "at place " << i << ", scores " << hits[i].score << " and " << expected[i].score;
            ASSERT_EQ(hits[i].score, expected[i].score) << "at place " << i;
            ASSERT_EQ(hits[i].payload, expected[i].payload) << "at place " << i;
        }
    }

    /// Expects what holds of every answer, whatever was passed over to find it.
    static void expect_true(
        const std::vector<Hit>& hits, const CollectionModel& model, std::size_t query,
        std::size_t bytes, const SearchOptions& options) {
        std::unordered_set<PointId> seen;
        const Hit* before = nullptr;
        for (const Hit& hit : hits) {
            ASSERT_TRUE(seen.insert(hit.id).second) << "twice: " << hit.id;
            const CollectionModel::Point* const point = model.find(hit.id);
            ASSERT_NE(point, nullptr) << "dead: " << hit.id;
            ASSERT_TRUE(!options.filter || options.filter(hit.id)) << "filtered: " << hit.id;
            const float score = model.scores().score(bytes, query, point->row);
            ASSERT_NEAR(
                hit.score, score, model.scores().tolerance() * std::max(1.0F, std::abs(score)))
                << "of " << hit.id;
            ASSERT_EQ(hit.payload, options.with_payload ? point->payload : "");
            ASSERT_TRUE(
                before == nullptr || before->score > hit.score ||
                (before->score == hit.score && before->id < hit.id));
            before = &hit;
        }
    }

    /// Searches by stages of all kinds.
    void check_stages(
        const Collection& collection, const CollectionModel& model, const CollectionInfo& info) {
        SearchOptions options = some_options();
        const std::size_t head = info.stage_bytes.front();
        const std::size_t whole = model.scores().code_bytes();
        std::size_t last = whole;
        bool keeps_all = false; // Every row reaches the last stage.
        if (!draw_.one_in(3)) {
            keeps_all = draw_.one_in(2);
            const auto limit = [&]() -> std::size_t {
                return keeps_all ? model.rows() + options.k
                                 : draw_.of({0, options.k, options.k + draw_.between(0, 200)});
            };
            options.stages = {{head, limit()}};
            for (std::size_t bytes = head + 1; bytes <= whole; ++bytes) {
                if (draw_.one_in(4)) {
                    options.stages.push_back({bytes, limit()});
                }
            }
            last = options.stages.back().bytes;
            // A head on its own is ranked by more than it is scanned by, among few rows.
            keeps_all = keeps_all && (options.stages.size() > 1 || info.stage_bytes.size() == 1);
        }
        if (info.nlist > 0 && draw_.one_in(2)) {
            options.nprobe = draw_.one_in(2) ? info.nlist : draw_.between(1, info.nlist);
        }
        if (draw_.one_in(3)) {
            options.ef_search = draw_.between(1, 300);
        }
        const bool is_ivf = factory_.find(",IVF") != std::string::npos;
        const bool is_of_faiss = factory_.ends_with("SQ8") || factory_.ends_with("fs");
        const bool scans_all =
            !is_ivf || is_of_faiss || options.nprobe.value_or(info.default_nprobe) == info.nlist;
        const std::vector<std::size_t> queries = some_queries(model);
        const SearchAnswer answer = ask(collection, model, queries, options);
        for (std::size_t q = 0; q < queries.size(); ++q) {
            if (keeps_all && scans_all && !is_of_faiss) {
                expect_best(answer.hits[q], model, queries[q], last, options);
                continue;
            }
            expect_true(answer.hits[q], model, queries[q], last, options);
            const std::size_t most = model.best(queries[q], last, options.k, options.filter).size();
            EXPECT_LE(answer.hits[q].size(), most);
            if (scans_all) {
                EXPECT_EQ(answer.hits[q].size(), most);
            }
            ++reached_.answers;
            reached_.hits += answer.hits[q].size();
        }
    }

    void measure_recall(const Collection& collection, const CollectionModel& model) {
        const std::vector<std::size_t> queries = some_queries(model);
        const SearchAnswer answer = ask(collection, model, queries, {});
        const std::size_t whole = model.scores().code_bytes();
        for (std::size_t q = 0; q < queries.size(); ++q) {
            expect_true(answer.hits[q], model, queries[q], whole, {});
            const std::vector<Hit> best = model.best(queries[q], whole, 10, {});
            wanted_ += best.size();
            found_ += static_cast<std::size_t>(std::ranges::count_if(
                answer.hits[q], // Points that tie for the last place are all as good.
                [&](const Hit& hit) { return hit.score >= best.back().score; }));
            ++asked_;
            ++reached_.answers;
            reached_.hits += answer.hits[q].size();
        }
    }

    test::Draw draw_;
    Reached& reached_;
    Metric metric_;
    std::string factory_;
    bool has_model_;
    CollectionModel model_;
    test::TemporaryDirectory directory_;
    std::unique_ptr<Collection> collection_;
    std::unique_ptr<Collection> reader_;
    std::optional<CollectionModel> read_; ///< What the reader reads.
    std::vector<std::string> coarse_files_;
    std::size_t asked_ = 0, wanted_ = 0, found_ = 0; ///< To measure recall.
};

TEST(CollectionRandomTest, AnswersAsBruteForceDoes) {
    const test::RandomRun run(kFactories.size());
    Reached reached;
    std::size_t rounds = 0;
    run.play([&](std::uint64_t seed) {
        Round(seed, reached).play();
        ++rounds;
    });
    std::cout << rounds << " rounds, " << reached.steps << " steps, " << reached.answers
              << " answers of " << reached.hits << " hits, " << reached.reopenings
              << " reopenings, " << reached.replays << " of them with replay, " << reached.trainings
              << " trainings, " << reached.readers << " readers, " << reached.learned
              << " coarse files; least recall@10 of a round " << reached.least_recall << " ("
              << reached.least_recall_of << ")" << std::endl;
    if (rounds >= kFactories.size() && !HasFailure()) {
        EXPECT_TRUE(reached.lists_per_row.contains(1));
        EXPECT_GT(reached.lists_per_row.size(), 1U) << "no row was in several lists";
        EXPECT_GT(reached.trainings, 0U);
        EXPECT_GT(reached.replays, 0U);
        EXPECT_GT(reached.readers, 0U);
    }
}

} // namespace
} // namespace arfc
