#include "arfc/index/parameter_space.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVF.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "arfc/index/index_factory.h"
#include "arfc/index/shards.h"
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

std::vector<std::string> names(const faiss::ParameterSpace& space) {
    std::vector<std::string> found;
    for (const faiss::ParameterRange& range : space.parameter_ranges) {
        found.push_back(range.name);
    }
    return found;
}

TEST(ParameterSpace, SetsWhatASearchWithoutParametersDoes) {
    const Rows rows(kN, 1);
    const Rows queries(20, 2);
    const auto index = trained_index("ARFC12/6/3,IVF7", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    const ParameterSpace space;
    SearchParametersARFC params;
    for (const std::size_t nprobe : {1, 3, 7}) {
        for (const std::size_t limit : {5, 10, 60}) {
            space.set_index_parameter(index.get(), "nprobe", static_cast<double>(nprobe));
            space.set_index_parameters(
                index.get(), ("limit3=" + std::to_string(limit) + ",limit6=40").c_str());
            params.nprobe = nprobe;
            params.stages = {{3, std::max<std::size_t>(limit, 10)}, {6, 40}, {12, 0}};
            EXPECT_EQ(search(*index, queries, 10), search(*index, queries, 10, &params));
        }
    }
    params.nprobe = 1; // What a search says itself goes before.
    params.stages = {{3, 20}, {12, 0}};
    const Answer said = search(*index, queries, 10, &params);
    index->search_defaults = {};
    EXPECT_EQ(search(*index, queries, 10, &params), said);
}

TEST(ParameterSpace, SetsEfSearchWhereThereIsAGraph) {
    const Rows rows(kN, 1);
    const Rows queries(60, 2);
    const auto index = trained_index("ARFC12,HNSW2", faiss::METRIC_L2, rows);
    index->add(kN, rows.data());
    const ParameterSpace space;
    SearchParametersARFC params;
    params.efSearch = 10;
    const Answer narrow = search(*index, queries, 10, &params);
    params.efSearch = 1000; // Costs as much as a scan, so it is one.
    const Answer wide = search(*index, queries, 10, &params);
    EXPECT_NE(narrow, wide) << "efSearch makes no difference, so that it was set shows nothing";
    space.set_index_parameter(index.get(), "efSearch", 10);
    EXPECT_EQ(index->search_defaults.ef_search, 10U);
    EXPECT_EQ(search(*index, queries, 10), narrow);
    EXPECT_EQ(search(*index, queries, 10, &params), wide) << "what a search says goes before";
    const faiss::SearchParameters plain;
    EXPECT_EQ(search(*index, queries, 10, &plain), narrow);
    space.set_index_parameters(index.get(), "efSearch=1000");
    EXPECT_EQ(search(*index, queries, 10), wide);
    for (const double bad : {0.0, -1.0, 2.5, static_cast<double>(NAN)}) {
        ARFC_EXPECT_ERROR(
            space.set_index_parameter(index.get(), "efSearch", bad), ErrorKind::kInvalidArgument,
            "not a whole number");
    }
    ARFC_EXPECT_ERROR(
        space.set_index_parameter(index.get(), "efSearch", 1000001), ErrorKind::kInvalidArgument,
        "efSearch is outside [1, 1000000]: 1000001");
    ARFC_EXPECT_ERROR(
        space.set_index_parameter(index.get(), "nprobe", 1), ErrorKind::kUnsupported,
        "no inverted lists");
    EXPECT_EQ(index->search_defaults.ef_search, 1000U);
}

TEST(ParameterSpace, ExploresEfSearchBehindWrappers) {
    const Rows rows(kN, 1);
    std::vector<std::unique_ptr<faiss::Index>> copies;
    copies.push_back(trained_index("ARFC12/4,HNSW2", faiss::METRIC_L2, rows));
    copies.push_back(trained_index("ARFC12/4,HNSW2", faiss::METRIC_L2, rows));
    ShardsIndex shards(std::move(copies));
    shards.add(kN, rows.data());
    ParameterSpace space;
    space.initialize(&shards);
    EXPECT_EQ(names(space), (std::vector<std::string>{"efSearch", "limit4"}));
    EXPECT_EQ(
        space.parameter_ranges[0].values, (std::vector<double>{4, 8, 16, 32, 64, 128, 256, 512}));
    space.set_index_parameters(&shards, "efSearch=32,limit4=50");
    for (int i = 0; i < 2; ++i) {
        const auto& shard = dynamic_cast<const ArfcIndex&>(*shards.at(i));
        EXPECT_EQ(shard.search_defaults.ef_search, 32U);
    }
    const auto mapped = index_factory(kWidth, "IDMap2,PCA16,ARFC8,HNSW4", faiss::METRIC_L2);
    space.set_index_parameter(mapped.get(), "efSearch", 20); // Before training, too.
    const Rows queries(5, 2);
    std::vector<std::int64_t> ids(kN);
    for (std::size_t i = 0; i < kN; ++i) {
        ids[i] = 7 * static_cast<std::int64_t>(i);
    }
    mapped->train(kN, rows.data());
    mapped->add_with_ids(kN, rows.data(), ids.data());
    SearchParametersARFC params;
    params.efSearch = 20;
    EXPECT_EQ(search(*mapped, queries, 3), search(*mapped, queries, 3, &params));
}

TEST(ParameterSpace, IsExploredByFaiss) {
    const Rows rows(kN, 1);
    const Rows queries(60, 2);
    faiss::IndexFlatL2 flat(kWidth);
    flat.add(kN, rows.data());
    const Answer truth = search(flat, queries, 10);
    for (const std::string prefix : {"", "IDMap2,", "RR,"}) {
        const auto index = index_factory(kWidth, prefix + "ARFC20/4,IVF9", faiss::METRIC_L2);
        index->train(kN, rows.data());
        std::vector<std::int64_t> ids(kN);
        for (std::size_t i = 0; i < kN; ++i) {
            ids[i] = static_cast<std::int64_t>(i);
        }
        index->add_with_ids(kN, rows.data(), ids.data());
        ParameterSpace space;
        space.verbose = 0;
        space.initialize(index.get());
        EXPECT_EQ(names(space), (std::vector<std::string>{"nprobe", "limit4"})) << prefix;
        EXPECT_EQ(space.parameter_ranges[0].values, (std::vector<double>{1, 2, 4, 8, 9}));
        EXPECT_EQ(
            space.parameter_ranges[1].values, (std::vector<double>{10, 20, 50, 100, 200, 500}));
        faiss::IntersectionCriterion criterion(60, 10);
        criterion.set_groundtruth(10, truth.distances.data(), truth.labels.data());
        faiss::OperatingPoints points;
        space.n_experiments = 0; // All of them.
        space.explore(index.get(), queries.count(), queries.data(), criterion, &points);
        EXPECT_EQ(points.all_pts.size(), space.n_combinations());
        const auto of = [&](const std::string& key) {
            for (const faiss::OperatingPoint& point : points.all_pts) {
                if (point.key == key) {
                    return point.perf;
                }
            }
            ADD_FAILURE() << "no point " << key;
            return 0.0;
        };
        const double least = of("nprobe=1,limit4=10");
        const double most = of("nprobe=9,limit4=500");
        EXPECT_LT(least + 0.1, most) << "what FAISS set made no difference";
        EXPECT_GT(most, 0.6);
        EXPECT_GE(of("nprobe=9,limit4=100"), of("nprobe=9,limit4=10"));
    }
}

TEST(ParameterSpace, ReachesShardsAndLeavesFaissIndexesToFaiss) {
    const Rows rows(kN, 1);
    std::vector<std::unique_ptr<faiss::Index>> copies;
    copies.push_back(trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows));
    copies.push_back(trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows));
    ShardsIndex shards(std::move(copies));
    ParameterSpace space;
    space.initialize(&shards);
    EXPECT_EQ(names(space), (std::vector<std::string>{"nprobe", "limit4"}));
    space.set_index_parameters(&shards, "nprobe=3,limit4=50");
    for (int i = 0; i < 2; ++i) {
        const auto& shard = dynamic_cast<const ArfcIndex&>(*shards.at(i));
        EXPECT_EQ(shard.search_defaults.nprobe, 3U);
        EXPECT_EQ(shard.search_defaults.limits.at(4), 50U);
    }
    const auto ivf = index_factory(kWidth, "IVF8,Flat", faiss::METRIC_L2);
    ParameterSpace of_faiss;
    of_faiss.initialize(ivf.get());
    EXPECT_EQ(names(of_faiss).front(), "nprobe");
    of_faiss.set_index_parameter(ivf.get(), "nprobe", 5);
    EXPECT_EQ(dynamic_cast<faiss::IndexIVF&>(*ivf).nprobe, 5U);
    ARFC_EXPECT_ERROR(
        of_faiss.set_index_parameter(ivf.get(), "limit4", 5), ErrorKind::kUnsupported,
        "FAISS does not set this parameter");
    const auto graph = index_factory(kWidth, "IDMap2,HNSW8", faiss::METRIC_L2);
    space.set_index_parameter(graph.get(), "efSearch", 77);
}

TEST(ParameterSpace, RefusesWhatTheIndexHasNot) {
    const Rows rows(kN, 1);
    const auto lists = trained_index("ARFC12/4,IVF7", faiss::METRIC_L2, rows);
    const auto plain = trained_index("ARFC12/4", faiss::METRIC_L2, rows);
    const ParameterSpace space;
    const auto set = [&](faiss::Index& index, const char* name, double value) {
        space.set_index_parameter(&index, name, value);
    };
    ARFC_EXPECT_ERROR(
        set(*lists, "efSearch", 64), ErrorKind::kUnsupported,
        "no graph, so efSearch cannot be chosen: ARFC12/4,IVF7");
    ARFC_EXPECT_ERROR(
        set(*plain, "nprobe", 2), ErrorKind::kUnsupported, "no inverted lists, so nprobe");
    ARFC_EXPECT_ERROR(set(*lists, "nprobe", 8), ErrorKind::kInvalidArgument, "[1, 7]: 8");
    for (const double bad : {0.0, -1.0, 2.5, static_cast<double>(NAN), 1e300}) {
        ARFC_EXPECT_ERROR(
            set(*lists, "nprobe", bad), ErrorKind::kInvalidArgument, "not a whole number");
        ARFC_EXPECT_ERROR(
            set(*lists, "limit4", bad), ErrorKind::kInvalidArgument, "not a whole number");
    }
    ARFC_EXPECT_ERROR(
        set(*lists, "limit5", 10), ErrorKind::kInvalidArgument, "no stage of so many bytes: 5");
    ARFC_EXPECT_ERROR(set(*lists, "limit12", 10), ErrorKind::kInvalidArgument, "Last stage keeps");
    for (const char* const name : {"limit", "limit4x", "limit-4", "ht", "", "k_factor"}) {
        ARFC_EXPECT_ERROR(
            set(*lists, name, 10), ErrorKind::kInvalidArgument,
            "nprobe, efSearch and limit<bytes>, not: ");
    }
    EXPECT_FALSE(lists->search_defaults.nprobe.has_value());
    EXPECT_TRUE(lists->search_defaults.limits.empty());
    ARFC_EXPECT_ERROR(
        space.set_index_parameter(nullptr, "nprobe", 1), ErrorKind::kInvalidArgument, "null");
    ParameterSpace ranges;
    ARFC_EXPECT_ERROR(ranges.initialize(nullptr), ErrorKind::kInvalidArgument, "null");
    const ArfcIndex untrained(kWidth, "ARFC12/4", faiss::METRIC_L2);
    ARFC_EXPECT_ERROR(ranges.initialize(&untrained), ErrorKind::kFailedPrecondition, "not trained");
    ranges.initialize(plain.get());
    EXPECT_EQ(names(ranges), std::vector<std::string>{"limit4"});
    EXPECT_EQ(ranges.parameter_ranges[0].values, std::vector<double>{10}) << "there are no rows";
    const Rows many(10'100, 3);
    plain->add(many.signed_count(), many.data());
    ParameterSpace of_many;
    of_many.initialize(plain.get());
    EXPECT_EQ(
        of_many.parameter_ranges[0].values,
        (std::vector<double>{10, 20, 50, 100, 200, 500, 1000, 2000, 5000}));
    set(*plain, "verbose", 1);
    EXPECT_TRUE(plain->verbose);
    set(*plain, "verbose", 0);
    EXPECT_FALSE(plain->verbose);
}

TEST(ParameterSpace, OffersListsWhereThereIsAChoice) {
    const Rows rows(kN, 1);
    ParameterSpace of_one;
    of_one.initialize(trained_index("ARFC12/4,IVF1", faiss::METRIC_L2, rows).get());
    EXPECT_EQ(names(of_one), std::vector<std::string>{"limit4"});
    ParameterSpace of_two;
    of_two.initialize(trained_index("ARFC12/4,IVF2", faiss::METRIC_L2, rows).get());
    EXPECT_EQ(names(of_two), (std::vector<std::string>{"nprobe", "limit4"}));
    EXPECT_EQ(of_two.parameter_ranges[0].values, (std::vector<double>{1, 2}));
}

TEST(ParameterSpace, HasNoneWhereNothingIsBehind) {
    ReplicasIndex replicas(kWidth);
    ParameterSpace space;
    space.initialize(&replicas);
    EXPECT_TRUE(space.parameter_ranges.empty());
    space.set_index_parameter(&replicas, "nprobe", 1); // Of no index each is set.
}

} // namespace
} // namespace arfc
