#include "arfc/index/shards.h"

#include <faiss/IndexFlat.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "arfc/index/index_factory.h"
#include "expect_error.h"
#include "trained_index.h"

namespace arfc {
namespace {

using test::Answer;
using test::kDim;
using test::Rows;
using test::search;
using test::trained_index;

constexpr int kWidth = static_cast<int>(kDim);
constexpr std::size_t kN = 900;
constexpr std::size_t kM = 7;

using Indexes = std::vector<std::unique_ptr<faiss::Index>>;

/// Copies of one trained, empty index.
Indexes copies(std::size_t count, faiss::MetricType metric, const Rows& rows) {
    Indexes made;
    for (std::size_t i = 0; i < count; ++i) {
        made.push_back(trained_index("ARFC12/4,IVF6", metric, rows));
    }
    return made;
}

std::unique_ptr<faiss::Index> whole(faiss::MetricType metric, const Rows& rows) {
    auto index = trained_index("ARFC12/4,IVF6", metric, rows);
    index->add(kN, rows.data());
    return index;
}

/// Scores every row by the whole code.
SearchParametersARFC everything() {
    SearchParametersARFC params;
    params.nprobe = 6;
    params.stages = {{4, kN}, {12, 0}};
    return params;
}

std::vector<std::vector<std::pair<std::int64_t, float>>> range_search(
    const faiss::Index& index, const Rows& queries, float radius, SearchParametersARFC params) {
    params.stages.clear(); // A range has no limits.
    faiss::RangeSearchResult result(queries.count());
    index.range_search(queries.signed_count(), queries.data(), radius, &result, &params);
    std::vector<std::vector<std::pair<std::int64_t, float>>> found(queries.count());
    for (std::size_t q = 0; q < queries.count(); ++q) {
        for (std::size_t i = result.lims[q]; i < result.lims[q + 1]; ++i) {
            found[q].emplace_back(result.labels[i], result.distances[i]);
        }
        std::ranges::sort(found[q]);
    }
    return found;
}

class Threads : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(OneOrOneEach, Threads, testing::Bool());

TEST_P(Threads, ShardsAnswerAsOneIndexDoes) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        const auto one = whole(metric, rows);
        for (const bool successive : {true, false}) {
            ShardsIndex shards(copies(3, metric, rows), GetParam(), successive);
            EXPECT_TRUE(shards.is_trained);
            shards.add(kN, rows.data());
            EXPECT_EQ(shards.ntotal, static_cast<std::int64_t>(kN));
            EXPECT_GT(shards.at(1)->ntotal, 0);
            SearchParametersARFC params = everything();
            EXPECT_EQ(search(shards, queries, 25, &params), search(*one, queries, 25, &params));
            const float radius = search(*one, queries, 30, &params).distances[29];
            EXPECT_EQ(
                range_search(shards, queries, radius, params),
                range_search(*one, queries, radius, params));
            faiss::IDSelectorRange some(295, 320); // Across two shards.
            params.sel = &some;
            const Answer filtered = search(shards, queries, 30, &params);
            EXPECT_EQ(filtered, search(*one, queries, 30, &params));
            EXPECT_EQ(filtered.labels[24] == -1, false);
            EXPECT_EQ(filtered.labels[25], -1);
            EXPECT_EQ(
                range_search(shards, queries, radius, params),
                range_search(*one, queries, radius, params));
            std::vector<float> expected(kDim);
            std::vector<float> row(kDim);
            one->reconstruct(605, expected.data());
            shards.reconstruct(605, row.data());
            EXPECT_EQ(row, expected);
        }
    }
}

TEST_P(Threads, TellHowSureTheirAnswersAre) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        const auto one = whole(metric, rows);
        const SearchParametersARFC all = everything();
        SearchParametersARFC params;
        std::vector<Certainty> certainty;
        params.until = Until{};
        params.certainty = &certainty;
        ShardsIndex shards(copies(3, metric, rows), GetParam(), true);
        shards.add(kN, rows.data());
        EXPECT_EQ(search(shards, queries, 9, &params), search(*one, queries, 9, &all));
        EXPECT_EQ(certainty, std::vector<Certainty>(kM, Certainty::kCodes));
        // Every row is an answer of its shard, and so nearest there; of all of them codes choose.
        (void)search(shards, queries, 350, &params);
        EXPECT_EQ(certainty, std::vector<Certainty>(kM, Certainty::kCodes));
        params.until->max_bytes = 100;
        (void)search(shards, queries, 9, &params);
        EXPECT_EQ(certainty, std::vector<Certainty>(kM, Certainty::kNone));
        ReplicasIndex replicas(copies(2, metric, rows), GetParam());
        replicas.add(kN, rows.data());
        params.until = Until{.confidence = 0.9};
        const Answer answer = search(replicas, queries, 9, &params);
        ASSERT_EQ(certainty.size(), kM);
        std::vector<Certainty> of_one;
        params.certainty = &of_one;
        EXPECT_EQ(answer, search(*one, queries, 9, &params));
        EXPECT_EQ(certainty, of_one);
        // A third of what may be missed for each: as many rows are found at least.
        params.certainty = &certainty;
        (void)search(shards, queries, 9, &params);
        EXPECT_EQ(certainty.size(), kM);
        EXPECT_TRUE(std::ranges::none_of(
            certainty, [](Certainty sure) { return sure == Certainty::kNone; }));
        params.until.reset();
        (void)search(shards, queries, 9, &params);
        EXPECT_EQ(certainty, std::vector<Certainty>(kM, Certainty::kNone));
    }
}

TEST_P(Threads, ShardsRemoveAndForget) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const SearchParametersARFC params = everything();
    for (const bool successive : {true, false}) {
        ShardsIndex shards(copies(3, faiss::METRIC_L2, rows), GetParam(), successive);
        shards.add(kN, rows.data());
        const auto one = trained_index("ARFC12/4,IVF6", faiss::METRIC_L2, rows);
        std::vector<std::int64_t> ids(kN);
        for (std::size_t i = 0; i < kN; ++i) {
            ids[i] = static_cast<std::int64_t>(i);
        }
        successive ? one->add(kN, rows.data()) : one->add_with_ids(kN, rows.data(), ids.data());
        const faiss::IDSelectorRange gone(250, 350);
        EXPECT_EQ(shards.remove_ids(gone), 100U);
        EXPECT_EQ(one->remove_ids(gone), 100U);
        EXPECT_EQ(shards.ntotal, 800);
        EXPECT_EQ(search(shards, queries, 25, &params), search(*one, queries, 25, &params));
        std::vector<float> row(kDim);
        ARFC_EXPECT_ERROR(
            shards.reconstruct(static_cast<std::int64_t>(kN), row.data()), ErrorKind::kNotFound,
            "no row of id: 900");
        shards.reset();
        EXPECT_TRUE(shards.is_trained);
        EXPECT_EQ(shards.ntotal, 0);
        EXPECT_EQ(search(shards, queries, 3).labels, std::vector<std::int64_t>(kM * 3, -1));
        shards.add(kN, rows.data());
        EXPECT_EQ(shards.ntotal, static_cast<std::int64_t>(kN));
    }
}

TEST_P(Threads, ReplicasAnswerAsOneIndexDoes) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto one = whole(faiss::METRIC_L2, rows);
    ReplicasIndex replicas(copies(3, faiss::METRIC_L2, rows), GetParam());
    replicas.add(kN, rows.data());
    EXPECT_EQ(replicas.ntotal, static_cast<std::int64_t>(kN));
    SearchParametersARFC params = everything();
    faiss::IDSelectorRange some(100, 800);
    for (faiss::IDSelector* const sel :
         {static_cast<faiss::IDSelector*>(nullptr), static_cast<faiss::IDSelector*>(&some)}) {
        params.sel = sel;
        EXPECT_EQ(search(replicas, queries, 25, &params), search(*one, queries, 25, &params));
        EXPECT_EQ(search(replicas, Rows(2, 3), 4, &params), search(*one, Rows(2, 3), 4, &params))
            << "fewer queries than replicas";
        const float radius = search(*one, queries, 30, &params).distances[29];
        EXPECT_EQ(
            range_search(replicas, queries, radius, params),
            range_search(*one, queries, radius, params));
    }
    EXPECT_EQ(replicas.remove_ids(some), 700U);
    EXPECT_EQ(replicas.ntotal, 200);
    std::vector<float> row(kDim);
    replicas.reconstruct(199, row.data());
    ARFC_EXPECT_ERROR(replicas.reconstruct(200, row.data()), ErrorKind::kNotFound, "200");
    replicas.reset();
    EXPECT_TRUE(replicas.is_trained);
    const std::vector<std::int64_t> ids = {70, 80};
    EXPECT_EQ(replicas.ntotal, 0);
    replicas.add_with_ids(2, rows.data(), ids.data());
    EXPECT_EQ(replicas.ntotal, 2);
    replicas.reconstruct(80, row.data());
}

TEST(Replicas, TrainEachAndHaveNothingToDoWithNone) {
    const Rows rows(kN, 1);
    ReplicasIndex replicas(kWidth);
    EXPECT_FALSE(replicas.is_trained);
    float value = 0;
    std::int64_t label = 3;
    faiss::RangeSearchResult result(1);
    const auto refuse = [&](const auto& call) {
        ARFC_EXPECT_ERROR(call(), ErrorKind::kFailedPrecondition, "nothing behind it yet");
    };
    refuse([&] { replicas.train(kN, rows.data()); });
    refuse([&] { replicas.add(1, rows.data()); });
    refuse([&] { replicas.add_with_ids(1, rows.data(), &label); });
    refuse([&] { replicas.search(1, rows.data(), 1, &value, &label); });
    refuse([&] { replicas.range_search(1, rows.data(), 1.0F, &result); });
    refuse([&] { replicas.reconstruct(0, &value); });
    EXPECT_EQ(replicas.remove_ids(faiss::IDSelectorRange(0, 9)), 0U);
    ShardsIndex shards(kWidth);
    EXPECT_FALSE(shards.is_trained);
    refuse([&] { shards.train(kN, rows.data()); });
    refuse([&] { shards.add(1, rows.data()); });
    refuse([&] { shards.range_search(1, rows.data(), 1.0F, &result); });
    Indexes untrained;
    untrained.push_back(index_factory(kWidth, "IVF4,Flat"));
    untrained.push_back(index_factory(kWidth, "IVF4,Flat"));
    ReplicasIndex two(std::move(untrained));
    EXPECT_FALSE(two.is_trained);
    two.train(kN, rows.data());
    EXPECT_TRUE(two.is_trained);
    two.add(kN, rows.data());
    EXPECT_EQ(two.at(1)->ntotal, static_cast<std::int64_t>(kN));
    EXPECT_EQ(search(two, rows, 1).labels.size(), kN);
}

TEST(Shards, KeepTheCallersIds) {
    const Rows rows(kN, 1);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 3148 - 7 * static_cast<std::int64_t>(i); // Negative ones too; -2 is among them.
    }
    ShardsIndex shards(copies(2, faiss::METRIC_L2, rows), false, false);
    shards.add_with_ids(kN, rows.data(), ids.data());
    SearchParametersARFC params = everything();
    const auto one = trained_index("ARFC12/4,IVF6", faiss::METRIC_L2, rows);
    one->add_with_ids(kN, rows.data(), ids.data());
    EXPECT_EQ(search(shards, rows, 3, &params), search(*one, rows, 3, &params));
    faiss::IDSelectorRange some(-1000, 1000);
    params.sel = &some;
    EXPECT_EQ(search(shards, rows, 3, &params), search(*one, rows, 3, &params));
}

TEST(Shards, HoldFaissIndexesAndEachOther) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    faiss::IndexFlatL2 flat(kWidth);
    flat.add(kN, rows.data());
    Indexes halves;
    for (int i = 0; i < 2; ++i) {
        Indexes quarters;
        quarters.push_back(index_factory(kWidth, "Flat"));
        quarters.push_back(index_factory(kWidth, "Flat"));
        halves.push_back(std::make_unique<ShardsIndex>(std::move(quarters)));
    }
    ShardsIndex shards(std::move(halves));
    shards.add(kN, rows.data());
    faiss::IDSelectorRange some(200, 700);
    faiss::SearchParameters params;
    params.sel = &some;
    EXPECT_EQ(search(shards, queries, 9, &params).labels, search(flat, queries, 9, &params).labels);
}

TEST(Shards, TrainEachByItself) {
    const Rows rows(kN, 1);
    ShardsIndex shards(kWidth);
    float distance = 0;
    std::int64_t label = 0;
    ARFC_EXPECT_ERROR(
        shards.search(1, rows.data(), 1, &distance, &label), ErrorKind::kFailedPrecondition,
        "nothing behind it yet");
    ArfcIndex first(kWidth, "ARFC8", faiss::METRIC_L2);
    ArfcIndex second(kWidth, "ARFC8", faiss::METRIC_L2);
    shards.add_shard(&first);
    shards.add_shard(&second);
    EXPECT_FALSE(shards.is_trained);
    ARFC_EXPECT_ERROR(shards.add(4, rows.data()), ErrorKind::kFailedPrecondition, "not trained");
    shards.train(kN, rows.data());
    EXPECT_TRUE(shards.is_trained);
    shards.add(kN, rows.data());
    EXPECT_EQ(first.ntotal + second.ntotal, static_cast<std::int64_t>(kN));
}

TEST_P(Threads, ErrorsKeepTheirKind) {
    const Rows rows(kN, 1);
    Rows bad(kN, 3);
    bad.values[(kN - 1) * kDim] = NAN; // In the last shard.
    ShardsIndex shards(copies(3, faiss::METRIC_L2, rows), GetParam());
    ARFC_EXPECT_ERROR(shards.add(kN, bad.data()), ErrorKind::kInvalidArgument, "not finite");
    EXPECT_EQ(shards.ntotal, 0) << "shards that took their rows gave them back";
    shards.add(kN, rows.data());
    ARFC_EXPECT_ERROR(
        shards.add(kN, rows.data()), ErrorKind::kFailedPrecondition, "rows already: 900");
    ShardsIndex of_one(copies(2, faiss::METRIC_L2, rows), GetParam());
    of_one.add(1, rows.data());
    ARFC_EXPECT_ERROR(
        of_one.add(1, rows.data()), ErrorKind::kFailedPrecondition, "rows already: 1");
    const std::int64_t id = 3;
    ARFC_EXPECT_ERROR(
        shards.add_with_ids(1, rows.data(), &id), ErrorKind::kInvalidArgument, "successive");
    SearchParametersARFC params;
    params.nprobe = 7;
    ARFC_EXPECT_ERROR(
        (void)search(shards, rows, 1, &params), ErrorKind::kInvalidArgument, "outside [1, 6]: 7");
    ARFC_EXPECT_ERROR(
        (void)search(shards, rows, 0), ErrorKind::kInvalidArgument, "answers is below 1: 0");
    ARFC_EXPECT_ERROR(
        shards.range_search(1, rows.data(), NAN, nullptr), ErrorKind::kInvalidArgument,
        "another number of queries");
    faiss::RangeSearchResult result(1);
    ARFC_EXPECT_ERROR(
        shards.range_search(1, rows.data(), NAN, &result), ErrorKind::kInvalidArgument, "Radius");
    ReplicasIndex replicas(copies(2, faiss::METRIC_L2, rows), GetParam());
    ARFC_EXPECT_ERROR(
        (void)search(replicas, rows, 1, &params), ErrorKind::kInvalidArgument, "outside [1, 6]: 7");
    ARFC_EXPECT_ERROR(
        (void)search(replicas, rows, 0), ErrorKind::kInvalidArgument, "Number of answers");
}

TEST(Shards, TakeOverRowsThatAreThere) {
    const Rows rows(kN, 1);
    const Rows queries(kM, 2);
    const auto one = whole(faiss::METRIC_L2, rows);
    Indexes parts = copies(3, faiss::METRIC_L2, rows);
    parts[0]->add(500, rows.data());
    parts[2]->add(400, rows.data() + 500 * kDim);
    ShardsIndex shards(std::move(parts));
    EXPECT_EQ(shards.ntotal, static_cast<std::int64_t>(kN));
    const SearchParametersARFC params = everything();
    EXPECT_EQ(search(shards, queries, 25, &params), search(*one, queries, 25, &params));
    std::vector<float> expected(kDim);
    std::vector<float> row(kDim);
    for (const std::int64_t key : {0, 499, 500, 899}) {
        one->reconstruct(key, expected.data());
        shards.reconstruct(key, row.data());
        EXPECT_EQ(row, expected) << key;
    }
    for (const std::int64_t key : {-1, 900}) {
        ARFC_EXPECT_ERROR(
            shards.reconstruct(key, row.data()), ErrorKind::kNotFound, std::to_string(key));
    }
    ARFC_EXPECT_ERROR(
        shards.add(1, rows.data()), ErrorKind::kFailedPrecondition, "rows already: 900");
    Indexes equal = copies(2, faiss::METRIC_L2, rows);
    equal[0]->add(7, rows.data());
    equal[1]->add(7, rows.data());
    EXPECT_EQ(ReplicasIndex(std::move(equal)).ntotal, 7);
}

TEST(Shards, GiveRowsTheirPositionsWhereTheyHaveIdsOfTheirOwn) {
    const Rows rows(kN, 1);
    ShardsIndex shards(copies(2, faiss::METRIC_L2, rows), false, false);
    shards.add(500, rows.data());
    shards.add(400, rows.data() + 500 * kDim); // Where ids are kept, rows may come in portions.
    EXPECT_EQ(shards.ntotal, static_cast<std::int64_t>(kN));
    Rows bad(4, 3);
    bad.values[3 * kDim] = NAN;
    ARFC_EXPECT_ERROR(shards.add(4, bad.data()), ErrorKind::kInvalidArgument, "not finite");
    EXPECT_GE(shards.ntotal, static_cast<std::int64_t>(kN)) << "rows of earlier calls stay";
    EXPECT_EQ(shards.ntotal, shards.at(0)->ntotal + shards.at(1)->ntotal);
    std::vector<float> expected(kDim);
    std::vector<float> row(kDim);
    whole(faiss::METRIC_L2, rows)->reconstruct(777, expected.data());
    shards.reconstruct(777, row.data());
    EXPECT_EQ(row, expected);
}

TEST(Shards, AreOfOneKind) {
    ARFC_EXPECT_ERROR(ShardsIndex(Indexes{}), ErrorKind::kInvalidArgument, "at least one index");
    ARFC_EXPECT_ERROR(
        ReplicasIndex(Indexes(std::size_t{1})), ErrorKind::kInvalidArgument, "no null: 1");
    const auto pair = [](const char* left, int left_width, const char* right, int right_width) {
        Indexes made;
        made.push_back(index_factory(left_width, left));
        made.push_back(index_factory(right_width, right));
        return made;
    };
    ARFC_EXPECT_ERROR(
        ShardsIndex(pair("Flat", 8, "Flat", 9)), ErrorKind::kInvalidArgument, "differ in width");
    ARFC_EXPECT_ERROR(
        ShardsIndex(pair("Flat", 8, "ARFC8", 8)), ErrorKind::kInvalidArgument, "training");
    Indexes metrics;
    metrics.push_back(index_factory(8, "Flat", faiss::METRIC_L2));
    metrics.push_back(index_factory(8, "Flat", faiss::METRIC_INNER_PRODUCT));
    ARFC_EXPECT_ERROR(
        ShardsIndex(std::move(metrics)), ErrorKind::kInvalidArgument, "differ in width, metric");
    Indexes uneven = pair("Flat", 8, "Flat", 8);
    const std::vector<float> row(8, 1.0F);
    uneven.back()->add(1, row.data());
    ARFC_EXPECT_ERROR(
        ReplicasIndex(std::move(uneven)), ErrorKind::kInvalidArgument, "as replicas, rows");
}

/// A selector is asked for the ids of the whole, however few rows a shard holds.
TEST(Shards, ShiftSelectorsBehindAShardOfOneRow) {
    const Rows rows(5, 1);
    Indexes parts;
    for (int i = 0; i < 3; ++i) {
        parts.push_back(index_factory(kWidth, "Flat"));
    }
    parts[0]->add(1, rows.data());
    parts[1]->add(1, rows.data() + kDim);
    parts[2]->add(3, rows.data() + 2 * kDim);
    const ShardsIndex shards(std::move(parts));
    for (std::int64_t row = 0; row < 5; ++row) {
        faiss::IDSelectorBatch one(1, &row); // FAISS 1.7.3 crashes on a range beyond its rows.
        faiss::SearchParameters params;
        params.sel = &one;
        EXPECT_EQ(search(shards, Rows(1, 2), 1, &params).labels, std::vector<std::int64_t>{row});
    }
}

TEST(Shards, FillResultsWhateverTheyHeld) {
    const Rows rows(9, 1);
    Indexes parts;
    for (int i = 0; i < 2; ++i) {
        parts.push_back(index_factory(kWidth, "Flat", faiss::METRIC_L2));
    }
    ShardsIndex shards(std::move(parts));
    shards.add(9, rows.data());
    faiss::RangeSearchResult result(2);
    std::fill_n(result.lims, 3, std::size_t{7});
    shards.range_search(2, rows.data(), 1e9F, &result);
    const std::vector<std::size_t> limits(result.lims, result.lims + 3);
    EXPECT_EQ(limits, (std::vector<std::size_t>{0, 9, 18}));
}

/// An index that says when it is deleted, and whose reconstruct() fails.
struct Told final : faiss::IndexFlatL2 {
    explicit Told(int& deleted) : faiss::IndexFlatL2(kWidth), deleted_(deleted) {}
    ~Told() override { ++deleted_; }
    void reconstruct(std::int64_t /*key*/, float* /*recons*/) const override {
        fail(ErrorKind::kIo, "Disk is gone");
    }
    int& deleted_;
};

TEST(Shards, AreDeletedWithTheirParentAndTellTheirErrors) {
    int deleted = 0;
    const auto two = [&] {
        Indexes made;
        made.push_back(std::make_unique<Told>(deleted));
        made.push_back(std::make_unique<Told>(deleted));
        return made;
    };
    {
        const ShardsIndex shards(two(), false, false);
        std::vector<float> row(kDim);
        ARFC_EXPECT_ERROR(shards.reconstruct(0, row.data()), ErrorKind::kIo, "Disk is gone");
    }
    EXPECT_EQ(deleted, 2);
    { const ReplicasIndex replicas(two()); }
    EXPECT_EQ(deleted, 4);
}

} // namespace
} // namespace arfc
