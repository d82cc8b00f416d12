#include <cmath>

#include "door.h"

namespace arfc::server {
namespace {

using nlohmann::json;

class QueryEndpointsTest : public DoorTest {
  protected:
    void fill(const std::string& distance) {
        create("c", distance);
        upsert(
            "c", R"([{"id":1,"vector":[1,0,0,0],"payload":{"n":"one"}},{"id":2,"vector":[3,4,0,0]},
                        {"id":3,"vector":[0,2,0,0],"payload":{"n":"three"}},
                        {"id":4,"vector":[0,0,1,0]}])");
    }
    Answer query(const std::string& body) { return ask(Method::kPost, kPath, body); }
    static std::vector<int> ids(const Answer& answer) {
        std::vector<int> ids;
        for (const json& point : answer.result().at("points")) {
            ids.push_back(point.at("id"));
        }
        return ids;
    }

    static constexpr const char* kPath = "/collections/c/points/query";
};

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(QueryEndpointsTest, RanksByCosine) {
    fill("Cosine");
    const Answer answer = query(R"({"query":[2,0,0,0],"limit":2})");
    ASSERT_EQ(answer.status, 200U) << answer.body;
    EXPECT_THAT(ids(answer), ElementsAre(1, 2));
    const json points = answer.result()["points"];
    EXPECT_FLOAT_EQ(points[0]["score"], 1);
    EXPECT_FLOAT_EQ(points[1]["score"], 0.6F);
    EXPECT_EQ(points[0]["version"], 0);
    EXPECT_FALSE(points[0].contains("payload"));
    EXPECT_FALSE(points[0].contains("vector"));
    EXPECT_TRUE(answer.result()["arfc"]["stages"].is_array());
}

TEST_F(QueryEndpointsTest, RanksByInnerProduct) {
    fill("Dot");
    const Answer answer = query(R"({"query":[2,1,0,0],"limit":3})");
    EXPECT_THAT(ids(answer), ElementsAre(2, 1, 3)); // 10, 2, 2: ties by the smaller id.
    EXPECT_FLOAT_EQ(answer.result()["points"][0]["score"], 10);
}

TEST_F(QueryEndpointsTest, ScoresEuclidByPositiveDistances) {
    fill("Euclid");
    const Answer answer = query(R"({"query":[0,0,0,0],"limit":4})");
    EXPECT_THAT(ids(answer), ElementsAre(1, 4, 3, 2));
    const json points = answer.result()["points"];
    EXPECT_FLOAT_EQ(points[0]["score"], 1);
    EXPECT_FLOAT_EQ(points[2]["score"], 2);
    EXPECT_FLOAT_EQ(points[3]["score"], 5);
    EXPECT_FLOAT_EQ(query(R"({"query":[3,4,0,0],"limit":1})").result()["points"][0]["score"], 0);
}

TEST_F(QueryEndpointsTest, SaysHowSureAnswersAre) {
    fill("Cosine");
    const auto certainty = [&](const std::string& extension) {
        const Answer answer =
            query(R"({"query":[2,0,0,0],"limit":2,"params":{"arfc":)" + extension + "}}");
        EXPECT_THAT(ids(answer), ElementsAre(1, 2)) << answer.body;
        return answer.result()["arfc"];
    };
    EXPECT_FALSE(certainty("{}").contains("certain"));
    EXPECT_FALSE(certainty(R"({"until":null,"max_bytes":null})").contains("certainty"));
    for (const char* const until : {R"("certain")", R"({"confidence":0.9})"}) { // Raw rows: exact.
        const json raw = certainty(R"({"until":)" + std::string(until) + "}");
        EXPECT_EQ(raw["certain"], true);
        EXPECT_EQ(raw["certainty"], "codes");
    }
    refused(
        Method::kPost, kPath,
        R"({"query":[2,0,0,0],"params":{"arfc":{"until":"certain","max_bytes":9}}})", 409,
        "reads every row");
    ASSERT_EQ(ask(Method::kPost, "/collections/c/train", "{}").status, 200U);
    const json coded = certainty(R"({"until":"certain","max_bytes":100000})");
    EXPECT_EQ(coded["certain"], true);
    EXPECT_EQ(coded["certainty"], "codes");
}

TEST_F(QueryEndpointsTest, ThresholdsMeanBetterUnderEveryDistance) {
    fill("Cosine");
    EXPECT_THAT(ids(query(R"({"query":[1,0,0,0],"score_threshold":0.5})")), ElementsAre(1, 2));
    EXPECT_THAT(ids(query(R"({"query":[1,0,0,0],"score_threshold":1.5})")), IsEmpty());
    ASSERT_EQ(ask(Method::kDelete, "/collections/c").status, 200U);
    fill("Euclid");
    EXPECT_THAT(ids(query(R"({"query":[0,0,0,0],"score_threshold":2})")), ElementsAre(1, 4, 3));
}

TEST_F(QueryEndpointsTest, LimitsAndSkips) {
    fill("Euclid");
    EXPECT_EQ(ids(query(R"({"query":[0,0,0,0]})")).size(), 4U);
    EXPECT_THAT(ids(query(R"({"query":[0,0,0,0],"limit":2,"offset":1})")), ElementsAre(4, 3));
    EXPECT_THAT(ids(query(R"({"query":[0,0,0,0],"offset":9})")), IsEmpty());
    EXPECT_EQ(ids(query(R"({"query":[0,0,0,0],"limit":100000,"offset":100000})")).size(), 0U);
}

TEST_F(QueryEndpointsTest, ReturnsPayloadsAndVectorsWhenAsked) {
    fill("Euclid");
    const json points =
        query(R"({"query":{"nearest":[0,0,0,0]},"with_payload":true,"with_vector":true})")
            .result()["points"];
    EXPECT_EQ(points[0]["payload"], json({{"n", "one"}}));
    EXPECT_EQ(points[1]["payload"], nullptr);
    EXPECT_EQ(points[3]["vector"], json({3, 4, 0, 0}));
}

TEST_F(QueryEndpointsTest, TakesItsParameters) {
    fill("Cosine");
    const Answer answer = query(
        R"({"query":[1,0,0,0],"limit":1,
            "params":{"hnsw_ef":64,"exact":true,"arfc":{"stages":null,"nprobe":null}},
            "filter":null,"prefetch":null,"using":null,"lookup_from":null,
            "with_payload":null,"score_threshold":null})");
    ASSERT_EQ(answer.status, 200U) << answer.body;
    EXPECT_THAT(ids(answer), ElementsAre(1));
}

TEST_F(QueryEndpointsTest, AnswersAnEmptyCollection) {
    create("c");
    EXPECT_THAT(ids(query(R"({"query":[1,0,0,0]})")), IsEmpty());
}

TEST_F(QueryEndpointsTest, AnswersTheSameAfterReopening) {
    fill("Cosine");
    const std::string body =
        R"({"query":[0.3,0.5,0.1,0.7],"with_payload":true,"with_vector":true})";
    const json before = query(body).result()["points"];
    reopen();
    EXPECT_EQ(query(body).result()["points"], before);
}

TEST_F(QueryEndpointsTest, RefusesQueriesWithTheFieldsPath) {
    fill("Cosine");
    struct Case {
        std::string body;
        unsigned status;
        std::string message;
    };
    const Case cases[] = {
        {"", 400, "Body is empty"},
        {"{\"query\":[1,0,0,0]", 400, "Body is not valid JSON"},
        {"{}", 400, "Field is missing: query"},
        {R"({"query":{}})", 400, "Field is missing: query"},
        {R"({"query":[1,2,3]})", 400,
         "Query width differs from the collection's: 3, expected 4, in query"},
        {R"({"query":{"nearest":[1]}})", 400, "1, expected 4, in query.nearest"},
        {R"({"query":[1,2,3,true]})", 400, "query[3] is a boolean, expected a number"},
        {R"({"query":[1,2,3,NaN]})", 400, "query[3], NaN"},
        {R"({"query":[1,2,3,4e38]})", 400, "Number does not fit float32: query[3], 4e38"},
        {R"({"query":[0,0,0,0]})", 400, ""},
        {R"({"query":null})", 400, "query is null, expected an array"},
        {R"({"query":1})", 501, "Field is not offered: query"},
        {R"({"query":"5c56c793-69f3-4fbf-87e6-c4bf54c28c26"})", 501, "Field is not offered: query"},
        {R"({"query":{"nearest":7}})", 501, "Field is not offered: query.nearest"},
        {R"({"query":{"indices":[1],"values":[1]}})", 501, "Field is not offered: query.indices"},
        {R"({"query":{"recommend":{"positive":[1]}}})", 501,
         "Field is not offered: query.recommend"},
        {R"({"query":{"fusion":"rrf"}})", 501, "Field is not offered: query.fusion"},
        {R"({"query":{"farthest":[1,2,3,4]}})", 400, "Field is unknown: query.farthest"},
        {R"({"query":[[1,2,3,4]]})", 501, "Field is not offered: query[0]"},
        {R"({"query":[1,0,0,0],"limit":0})", 400,
         "Number is out of range: limit, 0, expected 1 to 100000"},
        {R"({"query":[1,0,0,0],"limit":100001})", 400, "limit, 100001"},
        {R"({"query":[1,0,0,0],"limit":"3"})", 400, "limit is a string"},
        {R"({"query":[1,0,0,0],"offset":-1})", 400, "offset, -1"},
        {R"({"query":[1,0,0,0],"score_threshold":"x"})", 400, "score_threshold is a string"},
        {R"({"query":[1,0,0,0],"with_payload":"yes"})", 400, "with_payload is a string"},
        {R"({"query":[1,0,0,0],"with_payload":["n"]})", 501, "Field is not offered: with_payload"},
        {R"({"query":[1,0,0,0],"with_payload":{"include":["n"]}})", 501,
         "Field is not offered: with_payload"},
        {R"({"query":[1,0,0,0],"with_vector":["text"]})", 501, "Field is not offered: with_vector"},
        {R"({"query":[1,0,0,0],"with_vectors":true})", 400, "Field is unknown: with_vectors"},
        {R"({"query":[1,0,0,0],"top":3})", 400, "Field is unknown: top"},
        {R"({"query":[1,0,0,0],"filter":{"must":[]}})", 501, "Field is not offered: filter"},
        {R"({"query":[1,0,0,0],"prefetch":[]})", 501, "Field is not offered: prefetch"},
        {R"({"query":[1,0,0,0],"using":"text"})", 501, "Field is not offered: using"},
        {R"({"query":[1,0,0,0],"shard_key":"a"})", 501, "Field is not offered: shard_key"},
        {R"({"query":[1,0,0,0],"lookup_from":{}})", 501, "Field is not offered: lookup_from"},
        {R"({"query":[1,0,0,0],"params":[]})", 400, "params is an array, expected an object"},
        {R"({"query":[1,0,0,0],"params":{"quantization":{"rescore":true}}})", 400,
         "Field is unknown: params.quantization"},
        {R"({"query":[1,0,0,0],"params":{"indexed_only":true}})", 501,
         "Field is not offered: params.indexed_only"},
        {R"({"query":[1,0,0,0],"params":{"ef":3}})", 400, "Field is unknown: params.ef"},
        {R"({"query":[1,0,0,0],"params":{"exact":1}})", 400, "params.exact is a number"},
        {R"({"query":[1,0,0,0],"params":{"hnsw_ef":0}})", 400, "params.hnsw_ef, 0"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"probe":3}}})", 400,
         "Field is unknown: params.arfc.probe"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"nprobe":0}}})", 400, "params.arfc.nprobe, 0"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"until":"sure"}}})", 400,
         "neither \"certain\" nor an object with \"confidence\": params.arfc.until, \"sure\""},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"until":3}}})", 400,
         "params.arfc.until is a number"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"until":{}}}})", 400,
         "Field is missing: params.arfc.until.confidence"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"until":{"confidence":1}}}})", 400,
         "Confidence is outside (0, 1): 1"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"until":{"recall":0.9}}}})", 400,
         "Field is unknown: params.arfc.until.recall"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"until":"certain","max_bytes":0}}})", 400,
         "params.arfc.max_bytes, 0"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"max_bytes":100}}})", 400,
         "Field is missing: params.arfc.until"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"stages":{}}}})", 400,
         "params.arfc.stages is an object"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"stages":[{"limit":3}]}}})", 400,
         "Field is missing: params.arfc.stages[0].bytes"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"stages":[{"bytes":0}]}}})", 400,
         "params.arfc.stages[0].bytes, 0"},
        {R"({"query":[1,0,0,0],"params":{"arfc":{"stages":[{"bytes":4,"k":1}]}}})", 400,
         "Field is unknown: params.arfc.stages[0].k"},
    };
    for (const Case& refusal : cases) {
        refused(Method::kPost, kPath, refusal.body, refusal.status, refusal.message);
    }
    refused(
        Method::kPost, "/collections/d/points/query", "not even JSON", 404,
        "Collection does not exist: d");
}

} // namespace
} // namespace arfc::server
