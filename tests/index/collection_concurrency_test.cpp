// Many threads on one collection at once: what must hold of every answer at any instant.

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <thread>

#include "arfc/index/collection.h"
#include "collection_model.h"
#include "expect_error.h"
#include "random_run.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

using test::kDim;
using test::kRows;
using test::ScoreTable;

constexpr std::size_t kWriters = 2;
constexpr std::size_t kPinned = 1000; // Enough to learn lists from.
constexpr std::size_t kMostGrown = 2000;
constexpr std::size_t kGroups = 12;
constexpr std::size_t kGroupSize = 7;
constexpr PointId kGrown = 10'000;
constexpr PointId kGrouped = 100'000;

/// What a point of a row and of a generation of its group carries.
std::string payload_of(std::size_t row, std::size_t generation) {
    return nlohmann::json({{"row", row}, {"generation", generation}}).dump();
}

/// One collection with three kinds of points, and what everybody may expect of them:
///  - pinned ones are always there, each of a row of its own; writers replace them by the same row;
///  - grown ones are added in order and stay: whoever knows of one finds it;
///  - grouped ones come and go by groups, each in one call: they are there all or none, and of one
///    generation.
/// A payload says which row a point is of, and so what it must score: by its code, or as float32
/// where there was no model yet.
class SharedCollection {
  public:
    SharedCollection(const std::string& factory, Metric metric, bool has_model)
        : metric_(metric), scores_(metric, has_model ? test::quick_model(metric) : nullptr) {
        const std::filesystem::path model = directory_ / "model";
        if (has_model) {
            test::quick_model(metric)->save(model);
        }
        collection_ = Collection::create(
            path(), {.dim = kDim,
                     .metric = metric,
                     .factory = factory,
                     .model = has_model ? model : std::filesystem::path()});
        std::vector<PointId> ids(kPinned);
        std::iota(ids.begin(), ids.end(), PointId{0});
        upsert(ids, 0);
    }

    [[nodiscard]] std::filesystem::path path() const { return directory_ / "collection"; }
    [[nodiscard]] Collection& collection() { return *collection_; }

    void replace_pinned(test::Draw& draw) {
        std::vector<PointId> ids(draw.between(1, 20));
        for (PointId& id : ids) {
            id = draw.between(0, kPinned - 1);
        }
        upsert(ids, 0);
    }

    /// By one thread alone.
    void grow(std::size_t count) {
        const std::size_t grown = grown_;
        std::vector<PointId> ids(std::min(count, kMostGrown - grown));
        std::iota(ids.begin(), ids.end(), kGrown + grown);
        upsert(ids, 0);
        grown_ = grown + ids.size();
    }

    /// @param group  Which the calling thread alone writes.
    void replace_group(std::size_t group, std::size_t generation) {
        upsert(ids_of(group), generation);
    }
    void remove_group(std::size_t group, bool is_there) {
        EXPECT_EQ(
            collection_->remove(ids_of(group), false), is_there ? kGroupSize : std::size_t{0});
    }

    /// Searches everything that a filter accepts, by whole codes.
    /// @param grown  As grown() was before the collection was opened, or asked.
    void search_exactly(const Collection& collection, std::size_t grown, test::Draw& draw) const {
        const std::size_t modulus = draw.of({1, 2, 5, 40});
        const std::size_t query = draw.between(0, scores_.query_count() - 1);
        SearchOptions options{.k = 10'000, .exact = true, .with_payload = true};
        if (modulus > 1) {
            options.filter = [=](PointId id) { return id >= kGrouped || id % modulus == 0; };
        }
        const SearchAnswer answer = collection.search(scores_.query(query), options);
        std::map<PointId, std::string> found;
        for (const Hit& hit : answer.hits.at(0)) {
            expect_score(hit, query, scores_.has_codes() ? scores_.code_bytes() : 0);
            EXPECT_TRUE(found.emplace(hit.id, hit.payload).second) << "twice: " << hit.id;
        }
        for (PointId id = 0; id < kPinned; ++id) {
            EXPECT_EQ(found.contains(id), id % modulus == 0) << id;
        }
        for (PointId id = kGrown; id < kGrown + grown; ++id) {
            EXPECT_EQ(found.contains(id), id % modulus == 0) << id;
        }
        expect_whole_groups(found);
    }

    /// Searches as users do; what is missed is not known, what is found must be true.
    void search(test::Draw& draw) const {
        const std::size_t query = draw.between(0, scores_.query_count() - 1);
        SearchOptions options{.k = draw.of({1, 10, 50}), .with_payload = true};
        if (draw.one_in(2)) {
            options.filter = [](PointId id) { return id % 3 != 0; };
        }
        std::size_t bytes = scores_.has_codes() ? scores_.code_bytes() : 0;
        if (scores_.has_codes() && draw.one_in(3)) {
            options.stages = {{4, 0}};
            bytes = 4;
        }
        const SearchAnswer answer = collection_->search(scores_.query(query), options);
        std::set<PointId> seen;
        for (const Hit& hit : answer.hits.at(0)) {
            expect_score(hit, query, bytes);
            EXPECT_TRUE(seen.insert(hit.id).second) << "twice: " << hit.id;
            EXPECT_TRUE(!options.filter || options.filter(hit.id)) << hit.id;
        }
        EXPECT_LE(seen.size(), options.k);
        EXPECT_GT(seen.size(), 0U);
    }

    void get(test::Draw& draw) const {
        const std::size_t group = draw.between(0, kGroups - 1);
        std::vector<PointId> ids = ids_of(group);
        const PointId pinned = draw.between(0, kPinned - 1);
        ids.push_back(pinned);
        std::map<PointId, std::string> found;
        for (const Collection::Point& point : collection_->get(ids, true)) {
            expect_vector(point);
            found[point.id] = point.payload;
        }
        EXPECT_TRUE(found.contains(pinned));
        expect_whole_groups(found);
    }

    void look() const {
        const std::size_t at_least = kPinned + grown_;
        const CollectionInfo info = collection_->info();
        EXPECT_GE(info.points, at_least);
        EXPECT_LE(info.points, kPinned + kMostGrown + kGroups * kGroupSize);
    }

    [[nodiscard]] std::size_t grown() const { return grown_; }

    /// Expects of answers that were not of float32 rows that they are of the model's codes, once
    /// no thread asks any more. @returns how many there were.
    std::size_t judge_answers_after_training() const {
        const ScoreTable trained(metric_, collection_->model());
        for (const Scored& scored : scores_after_training_) {
            EXPECT_EQ(scored.score, trained.score(trained.code_bytes(), scored.query, scored.row));
        }
        for (const auto& [row, vector] : vectors_after_training_) {
            EXPECT_EQ(vector, trained.vector_of(row));
        }
        return scores_after_training_.size();
    }

    /// @param generation  0: it is not there.
    void expect_group(
        const Collection& collection, std::size_t group, std::size_t generation) const {
        const std::vector<Collection::Point> points = collection.get(ids_of(group), false);
        ASSERT_EQ(points.size(), generation == 0 ? std::size_t{0} : kGroupSize);
        for (const Collection::Point& point : points) {
            EXPECT_EQ(point.payload, payload_of(row_of(point.payload), generation));
        }
    }

  private:
    struct Scored {
        std::size_t query;
        std::size_t row;
        float score;
    };

    static std::vector<PointId> ids_of(std::size_t group) {
        std::vector<PointId> ids(kGroupSize);
        std::iota(ids.begin(), ids.end(), kGrouped + group * kGroupSize);
        return ids;
    }

    static std::size_t row_of(const std::string& payload) {
        return nlohmann::json::parse(payload).at("row").get<std::size_t>();
    }

    void upsert(const std::vector<PointId>& ids, std::size_t generation) {
        std::vector<float> rows;
        std::vector<std::string> payloads;
        for (const PointId id : ids) {
            const std::size_t row = (id + 31 * generation) % kRows;
            const std::span<const float> values = scores_.row(row).row(0);
            rows.insert(rows.end(), values.begin(), values.end());
            payloads.push_back(payload_of(row, generation));
        }
        collection_->upsert(ids, test::view(rows, kDim), payloads, false);
    }

    void expect_score(const Hit& hit, std::size_t query, std::size_t bytes) const {
        const std::size_t row = row_of(hit.payload);
        const float score = scores_.score(bytes, query, row);
        const float tolerance = scores_.tolerance() * std::max(1.0F, std::abs(score));
        if (scores_.has_codes() || std::abs(hit.score - score) <= tolerance) {
            EXPECT_NEAR(hit.score, score, tolerance) << "of " << hit.id << " of row " << row;
        } else {
            const std::lock_guard lock(mutex_);
            scores_after_training_.push_back({query, row, hit.score});
        }
    }

    void expect_vector(const Collection::Point& point) const {
        const std::size_t row = row_of(point.payload);
        if (scores_.has_codes() || point.vector == scores_.vector_of(row)) {
            EXPECT_EQ(point.vector, scores_.vector_of(row)) << point.id;
        } else {
            const std::lock_guard lock(mutex_);
            vectors_after_training_.emplace_back(row, point.vector);
        }
    }

    /// @param found  Payloads of points, among them every grouped one that there was.
    static void expect_whole_groups(const std::map<PointId, std::string>& found) {
        std::map<std::size_t, std::size_t> sizes;
        std::map<std::size_t, std::set<std::size_t>> generations;
        for (auto point = found.lower_bound(kGrouped); point != found.end(); ++point) {
            const std::size_t group = (point->first - kGrouped) / kGroupSize;
            ++sizes[group];
            generations[group].insert(
                nlohmann::json::parse(point->second).at("generation").get<std::size_t>());
        }
        for (const auto& [group, size] : sizes) {
            EXPECT_EQ(size, kGroupSize) << "half of an upsert or a removal, of group " << group;
            EXPECT_EQ(generations[group].size(), 1U) << "halves of two upserts, group " << group;
        }
    }

    Metric metric_;
    ScoreTable scores_;
    test::TemporaryDirectory directory_;
    std::unique_ptr<Collection> collection_;
    std::atomic<std::size_t> grown_ = 0;
    mutable std::mutex mutex_;
    mutable std::vector<Scored> scores_after_training_;
    mutable std::vector<std::pair<std::size_t, std::vector<float>>> vectors_after_training_;
};

/// Runs jobs over and over, each on a thread of its own with draws of its own, until time is over
/// or something has failed. An exception is a failure. @returns how often each ran.
std::vector<std::size_t> run_together(
    double seconds, std::uint64_t seed, const std::vector<std::function<void(test::Draw&)>>& jobs) {
    std::atomic<bool> stop = false;
    std::vector<std::size_t> times(jobs.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        threads.emplace_back([&, i] {
            test::Draw draw(seed * 100 + i);
            try {
                do {
                    jobs[i](draw);
                    ++times[i];
                } while (!stop);
            } catch (const std::exception& error) {
                ADD_FAILURE() << "job " << i << ": " << error.what();
            }
        });
    }
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds) &&
           !testing::Test::HasFailure()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    stop = true;
    for (std::thread& thread : threads) {
        thread.join();
    }
    return times;
}

/// Writers of groups, each of its own, that know what they have left there.
class GroupWriters {
  public:
    explicit GroupWriters(SharedCollection& shared) : shared_(shared) {}

    void write(std::size_t writer, test::Draw& draw) {
        const std::size_t group = writer + kWriters * draw.between(0, kGroups / kWriters - 1);
        std::size_t& generation = generations_.at(group);
        if (draw.one_in(3)) {
            shared_.remove_group(group, generation != 0);
            generation = 0;
        } else {
            const std::size_t next = draw.between(1, 1000);
            shared_.replace_group(group, next);
            generation = next;
        }
        shared_.replace_pinned(draw);
    }

    void expect_what_was_written(const Collection& collection) const {
        for (std::size_t group = 0; group < kGroups; ++group) {
            shared_.expect_group(collection, group, generations_.at(group));
        }
    }

  private:
    SharedCollection& shared_;
    std::array<std::size_t, kGroups> generations_{}; ///< 0: not there.
};

struct Case {
    std::string factory;
    std::size_t metric; ///< Of the first round; later ones go on to the others.
    bool has_model = true;
};

void PrintTo(const Case& of, std::ostream* out) {
    *out << of.factory << (of.has_model ? "" : ", trained meanwhile");
}

class CollectionConcurrencyTest : public testing::TestWithParam<Case> {};

TEST_P(CollectionConcurrencyTest, EveryAnswerIsOfOneState) {
    const Case& of = GetParam();
    const test::RandomRun run(1);
    run.play([&](std::uint64_t seed) {
        const auto metric = static_cast<Metric>((of.metric + seed - 1) % 3);
        SharedCollection shared(of.factory, metric, of.has_model);
        const Collection& collection = shared.collection();
        GroupWriters groups(shared);
        std::size_t learned = 0;
        std::vector<std::function<void(test::Draw&)>> jobs = {
            [&](test::Draw& draw) { groups.write(0, draw); },
            [&](test::Draw& draw) { groups.write(1, draw); },
            [&](test::Draw& draw) { shared.grow(draw.between(1, 20)); },
            [&](test::Draw&) {
                learned += shared.collection().optimize() ? 1 : 0;
                std::this_thread::sleep_for(std::chrono::milliseconds(10)); // Others write, too.
            },
            [&](test::Draw& draw) { shared.search_exactly(collection, shared.grown(), draw); },
            [&](test::Draw& draw) { shared.search(draw); },
            [&](test::Draw& draw) { shared.search(draw); },
            [&](test::Draw& draw) { shared.get(draw); },
            [&](test::Draw&) { shared.look(); },
            [&](test::Draw& draw) {
                const std::size_t grown = shared.grown();
                const auto reader = Collection::open(shared.path(), {.read_only = true});
                shared.search_exactly(*reader, grown, draw);
            }};
        if (!of.has_model) {
            jobs.emplace_back([&](test::Draw& draw) {
                if (collection.model() == nullptr) {
                    std::this_thread::sleep_for(std::chrono::milliseconds(200));
                    shared.collection().train({.time_budget_s = 0.1, .minimum_recall = 0.0});
                }
                shared.search_exactly(collection, shared.grown(), draw);
            });
        }
        const double seconds = run.is_long() ? std::min(20.0, run.seconds()) : 1.0;
        const std::vector<std::size_t> times = run_together(seconds, seed, jobs);
        std::cout << of.factory << " " << to_string(metric) << ": learned " << learned
                  << " times; jobs ran";
        for (const std::size_t count : times) {
            std::cout << " " << count;
        }
        std::cout << " times" << std::endl;
        if (!of.has_model) {
            EXPECT_GT(shared.judge_answers_after_training(), 0U);
        }
        groups.expect_what_was_written(collection);
        shared.collection().close();
        const auto reopened = Collection::open(shared.path());
        groups.expect_what_was_written(*reopened);
        test::Draw draw(seed);
        if (of.has_model) {
            shared.search_exactly(*reopened, shared.grown(), draw);
        }
    });
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, CollectionConcurrencyTest,
    testing::Values(
        Case{"ARFC12/4", 0, false}, Case{"ARFC12/4", 1}, Case{"ARFC12/4,IVF8", 2},
        Case{"ARFC12/4,HNSW8", 0}, Case{"ARFC12/4,NSG8", 1}, Case{"ARFC12/4,IVF8,SQ8", 2}));

TEST(CollectionClosingTest, WhoComesLateIsTold) {
    SharedCollection shared("ARFC12/4,IVF8", Metric::kCosine, true);
    GroupWriters groups(shared);
    std::atomic<std::size_t> late = 0;
    using Job = std::function<void(test::Draw&)>;
    const auto until_closed = [&](const Job& job) -> Job {
        return [&, job](test::Draw& draw) {
            try {
                job(draw);
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::kFailedPrecondition);
                EXPECT_THAT(error.what(), testing::HasSubstr("Collection is closed"));
                ++late;
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
            }
        };
    };
    std::vector<Job> jobs = {
        until_closed([&](test::Draw& draw) { groups.write(0, draw); }),
        until_closed([&](test::Draw& draw) { shared.search(draw); }),
        until_closed(
            [&](test::Draw& draw) { shared.search_exactly(shared.collection(), 0, draw); }),
        until_closed([&](test::Draw& draw) { shared.get(draw); }),
        until_closed([&](test::Draw&) { shared.look(); }),
        until_closed([&](test::Draw&) { (void)shared.collection().optimize(); }),
        [&](test::Draw&) {
            std::this_thread::sleep_for(std::chrono::milliseconds(200));
            shared.collection().close();
        }};
    run_together(0.6, 1, jobs);
    jobs.pop_back();
    const std::size_t before = late;
    test::Draw draw(1);
    for (const Job& job : jobs) {
        job(draw);
    }
    EXPECT_EQ(late, before + jobs.size());
    groups.expect_what_was_written(*Collection::open(shared.path()));
}

} // namespace
} // namespace arfc
