#include <atomic>
#include <thread>

#include "door.h"

namespace arfc::server {
namespace {

using nlohmann::json;

class PointEndpointsTest : public DoorTest {
  protected:
    void SetUp() override { create("c"); }

    json point(const std::string& id) {
        return ask(Method::kGet, "/collections/c/points/" + id).result();
    }
    std::size_t count() { return ask(Method::kGet, "/collections/c").result()["points_count"]; }

    static constexpr const char* kPoints = "/collections/c/points";
    static constexpr const char* kDelete = "/collections/c/points/delete";
};

TEST_F(PointEndpointsTest, StoresAndReturnsPoints) {
    upsert(
        "c",
        R"([{"id":18446744073709551615,"vector":[0.6,0,0,0.8],
             "payload":{"a":[1,{"b":null}],"n":9007199254740993}},
            {"id":0,"vector":[1,0,0,0]}])");
    const json last = point("18446744073709551615");
    EXPECT_EQ(last["id"], 18446744073709551615U);
    EXPECT_EQ(last["payload"].dump(), R"({"a":[1,{"b":null}],"n":9007199254740993})");
    ASSERT_EQ(last["vector"].size(), 4U);
    EXPECT_FLOAT_EQ(last["vector"][0], 0.6F);
    EXPECT_FLOAT_EQ(last["vector"][3], 0.8F);
    EXPECT_EQ(point("0")["payload"], nullptr);
}

TEST_F(PointEndpointsTest, TakesColumns) {
    const Answer answer =
        ask(Method::kPut, kPoints,
            R"({"batch":{"ids":[1,2],"vectors":[[1,0,0,0],[0,1,0,0]],"payloads":[{"a":1},null]}})");
    ASSERT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(answer.result(), json({{"status", "acknowledged"}}));
    EXPECT_EQ(point("1")["payload"], json({{"a", 1}}));
    EXPECT_EQ(point("2")["payload"], nullptr);
    EXPECT_EQ(
        ask(Method::kPut, kPoints, R"({"batch":{"ids":[3],"vectors":[[1,0,0,0]]}})").status, 200U);
    EXPECT_EQ(count(), 3U);
}

TEST_F(PointEndpointsTest, ReplacesPoints) {
    upsert("c", R"([{"id":1,"vector":[1,0,0,0],"payload":{"a":1}}])");
    upsert(
        "c",
        R"([{"id":1,"vector":[0,1,0,0]},{"id":2,"vector":[0,0,1,0]},{"id":2,"vector":[0,0,0,1]}])");
    EXPECT_EQ(point("1")["payload"], nullptr);
    EXPECT_FLOAT_EQ(point("1")["vector"][1], 1);
    EXPECT_FLOAT_EQ(point("2")["vector"][3], 1);
    EXPECT_EQ(count(), 2U);
}

TEST_F(PointEndpointsTest, DeletesPoints) {
    upsert("c", R"([{"id":1,"vector":[1,0,0,0]},{"id":2,"vector":[0,1,0,0]}])");
    const Answer answer =
        ask(Method::kPost, "/collections/c/points/delete?wait=true", R"({"points":[2,7]})");
    EXPECT_EQ(answer.result(), json({{"status", "completed"}}));
    EXPECT_EQ(
        ask(Method::kPost, kDelete, R"({"points":[]})").result(),
        json({{"status", "acknowledged"}}));
    EXPECT_EQ(count(), 1U);
    refused(
        Method::kGet, "/collections/c/points/2", "", 404,
        "There is no such point in collection c: 2");
    EXPECT_EQ(point("1")["id"], 1);
}

TEST_F(PointEndpointsTest, SurvivesReopening) {
    upsert("c", R"([{"id":5,"vector":[0.6,0.8,0,0],"payload":{"a":1}}])");
    const json before = point("5");
    reopen();
    EXPECT_EQ(point("5"), before);
}

TEST_F(PointEndpointsTest, RefusesUpsertsWithTheFieldsPath) {
    upsert("c", R"([{"id":1,"vector":[1,0,0,0]}])");
    struct Case {
        std::string body;
        unsigned status;
        std::string message;
    };
    const std::string good = R"({"id":8,"vector":[1,2,3,4]},)";
    const Case cases[] = {
        {"", 400, "Body is empty"},
        {"{}", 400, "Field is missing: points"},
        {R"({"points":{}})", 400, "points is an object, expected an array"},
        {R"({"points":[1]})", 400, "points[0] is a number, expected an object"},
        {R"({"points":[)" + good + R"({"vector":[1,2,3,4]}]})", 400,
         "Field is missing: points[1].id"},
        {R"({"points":[)" + good + R"({"id":9}]})", 400, "Field is missing: points[1].vector"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3]}]})", 400,
         "Embedding width differs from the collection's: 3, expected 4, in points[1].vector"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[]}]})", 400,
         "0, expected 4, in points[1].vector"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,"4"]}]})", 400,
         "points[1].vector[3] is a string, expected a number"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,null]}]})", 400,
         "points[1].vector[3] is null, expected a number"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,NaN]}]})", 400,
         "points[1].vector[3], NaN"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,-Infinity]}]})", 400,
         "points[1].vector[3], -Infinity"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,1e39]}]})", 400,
         "Number does not fit float32: points[1].vector[3], 1e39"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,1e400]}]})", 400,
         "points[1].vector[3], 1e400"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[[1,2,3,4]]}]})", 501,
         "Field is not offered: points[1].vector[0]"},
        {R"({"points":[)" + good + R"({"id":9,"vector":{"text":[1,2,3,4]}}]})", 501,
         "Field is not offered: points[1].vector"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[0,0,0,0]}]})", 400, ""},
        {R"({"points":[)" + good + R"({"id":-1,"vector":[1,2,3,4]}]})", 400, "points[1].id, -1"},
        {R"({"points":[)" + good + R"({"id":1.5,"vector":[1,2,3,4]}]})", 400, "points[1].id, 1.5"},
        {R"({"points":[)" + good + R"({"id":18446744073709551616,"vector":[1,2,3,4]}]})", 400,
         "points[1].id, 18446744073709551616"},
        {R"({"points":[)" + good + R"({"id":null,"vector":[1,2,3,4]}]})", 400,
         "points[1].id is null, expected a number"},
        {R"({"points":[)" + good + R"({"id":"abc","vector":[1,2,3,4]}]})", 400,
         "points[1].id, \"abc\""},
        {R"({"points":[)" + good +
             R"({"id":"5c56c793-69f3-4fbf-87e6-c4bf54c28c26","vector":[1,2,3,4]}]})",
         501, "UUIDs are not offered as point ids: points[1].id"},
        {R"({"points":[)" + good +
             R"({"id":"5c56c79369f34fbf87e6c4bf54c28c26","vector":[1,2,3,4]}]})",
         501, "points[1].id"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,4],"payload":[]}]})", 400,
         "Payload is not an object: points[1].payload"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,4],"payload":{"a":tru}}]})", 400,
         "Value is not JSON: points[1].payload.a, tru"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,4],"vectors":1}]})", 400,
         "Field is unknown: points[1].vectors"},
        {R"({"points":[)" + good + R"({"id":9,"id":10,"vector":[1,2,3,4]}]})", 400,
         "Field comes twice: points[1].id"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,4]}]}])", 400,
         "Body is not valid JSON"},
        {R"({"points":[)" + good + R"({"id":9,"vector":[1,2,3,4])", 400, "Body is not valid JSON"},
        {R"({"points":[],"shard_key":"a"})", 501, "Field is not offered: shard_key"},
        {R"({"points":[],"batch":{}})", 400, "Body has both: points, batch"},
        {R"({"points":[],"point":[]})", 400, "Field is unknown: point"},
        {R"({"batch":{"ids":[9],"vectors":[]}})", 400, "batch has ids, vectors, payloads 1, 0, 0"},
        {R"({"batch":{"ids":[9],"vectors":[[1,2,3,4]],"payloads":[]}})", 400,
         "batch has ids, vectors, payloads 1, 1, 0"},
        {R"({"batch":{"ids":["x"],"vectors":[[1,2,3,4]]}})", 400, "batch.ids[0], \"x\""},
        {R"({"batch":{"ids":[9],"vectors":[[1,2,3]]}})", 400, "3, expected 4, in batch.vectors[0]"},
        {R"({"batch":{"ids":[9],"vectors":{"text":[[1,2,3,4]]}}})", 501,
         "Field is not offered: batch.vectors"},
        {R"({"batch":{"ids":[9],"vectors":[[1,2,3,4]],"payload":[]}})", 400,
         "Field is unknown: batch.payload"},
    };
    for (const Case& refusal : cases) {
        refused(Method::kPut, kPoints, refusal.body, refusal.status, refusal.message);
    }
    EXPECT_EQ(count(), 1U); // Each refusal was whole.
    refused(
        Method::kPut, "/collections/d/points", R"({"points":[]})", 404,
        "Collection does not exist: d");
}

TEST_F(PointEndpointsTest, RefusesDeletionsWithTheFieldsPath) {
    refused(Method::kPost, kDelete, "{}", 400, "Field is missing: points");
    refused(Method::kPost, kDelete, R"({"points":[1,"x"]})", 400, "points[1], \"x\"");
    refused(Method::kPost, kDelete, R"({"filter":{}})", 501, "Field is not offered: filter");
    refused(Method::kPost, kDelete, R"({"ids":[1]})", 400, "Field is unknown: ids");
    refused(
        Method::kPost, "/collections/d/points/delete", R"({"points":[1]})", 404,
        "Collection does not exist: d");
}

TEST_F(PointEndpointsTest, RefusesIdsInPaths) {
    refused(Method::kGet, "/collections/c/points/x", "", 400, "id, \"x\"");
    refused(Method::kGet, "/collections/c/points/-1", "", 400, "id, \"-1\"");
    refused(Method::kGet, "/collections/c/points/1x", "", 400, "id, \"1x\"");
    refused(
        Method::kGet, "/collections/c/points/5c56c793-69f3-4fbf-87e6-c4bf54c28c26", "", 501,
        "UUIDs are not offered");
}

TEST_F(PointEndpointsTest, WritesFromManyThreadsAllArrive) {
    std::vector<std::thread> writers;
    writers.reserve(4);
    std::atomic<int> failures = 0;
    for (int writer = 0; writer < 4; ++writer) {
        writers.emplace_back([&, writer] {
            for (int i = 0; i < 50; ++i) {
                const json body = {
                    {"points", {{{"id", writer * 1000 + i}, {"vector", {1, i, 2, 3}}}}}};
                const Response response = handle(
                    {.method = Method::kPut, .target = kPoints, .body = body.dump()}, *registry_);
                failures += response.status != 200 ? 1 : 0;
            }
        });
    }
    for (std::thread& writer : writers) {
        writer.join();
    }
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(count(), 200U);
}

} // namespace
} // namespace arfc::server
