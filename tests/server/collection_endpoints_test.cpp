#include <fstream>

#include "door.h"
#include "random_rows.h"

namespace arfc::server {
namespace {

using nlohmann::json;

class CollectionEndpointsTest : public DoorTest {};

TEST_F(CollectionEndpointsTest, NamesTheService) {
    const Response response = handle({.method = Method::kGet, .target = "/"}, *registry_);
    EXPECT_EQ(
        json::parse(response.body),
        json({{"title", "arfc - one code, every length"}, {"version", "0.1.0"}}));
}

TEST_F(CollectionEndpointsTest, AnswersProbes) {
    for (const std::string path : {"/healthz", "/livez", "/readyz"}) {
        const Response response = handle({.method = Method::kGet, .target = path}, *registry_);
        EXPECT_EQ(response.status, 200U);
        EXPECT_EQ(response.content_type, "text/plain; charset=utf-8");
        EXPECT_FALSE(response.body.empty());
    }
}

TEST_F(CollectionEndpointsTest, CreatesListsDescribesAndDeletes) {
    EXPECT_EQ(ask(Method::kGet, "/collections").result(), json::parse(R"({"collections":[]})"));
    create("b");
    create("a-1_Z", "Dot");
    EXPECT_EQ(
        ask(Method::kGet, "/collections").result(),
        json::parse(R"({"collections":[{"name":"a-1_Z"},{"name":"b"}]})"));
    const Answer deleted = ask(Method::kDelete, "/collections/b");
    EXPECT_EQ(deleted.status, 200U);
    EXPECT_EQ(deleted.result(), true);
    EXPECT_FALSE(std::filesystem::exists(directory_ / "b"));
    refused(Method::kGet, "/collections/b", "", 404, "Collection does not exist: b");
    refused(Method::kDelete, "/collections/b", "", 404, "Collection does not exist: b");
    EXPECT_EQ(
        ask(Method::kGet, "/collections").result(),
        json::parse(R"({"collections":[{"name":"a-1_Z"}]})"));
}

TEST_F(CollectionEndpointsTest, DescribesAsQdrantsClientsExpect) {
    create("c", "Euclid");
    upsert("c", R"([{"id":1,"vector":[1,2,3,4]},{"id":2,"vector":[4,3,2,1]}])");
    const json result = ask(Method::kGet, "/collections/c").result();
    EXPECT_EQ(result["status"], "green");
    EXPECT_EQ(result["optimizer_status"], "ok");
    EXPECT_EQ(result["points_count"], 2);
    EXPECT_EQ(result["segments_count"], 1);
    EXPECT_EQ(
        result["config"]["params"]["vectors"], json::parse(R"({"size":4,"distance":"Euclid"})"));
    EXPECT_TRUE(result["config"]["hnsw_config"].is_object());
    EXPECT_TRUE(result["config"]["optimizer_config"].is_object());
    EXPECT_TRUE(result["payload_schema"].is_object());
    EXPECT_EQ(result["arfc"]["factory"], "ARFC4");
    EXPECT_EQ(result["arfc"]["model_id"], nullptr);
    EXPECT_EQ(result["arfc"]["stage_bytes"], json::array());
    EXPECT_EQ(result["arfc"]["has_raw"], true);
}

TEST_F(CollectionEndpointsTest, KeepsEachDistance) {
    for (const std::string distance : {"Cosine", "Dot", "Euclid"}) {
        create(distance, distance);
        EXPECT_EQ(
            ask(Method::kGet, "/collections/" + distance)
                .result()["config"]["params"]["vectors"]["distance"],
            distance);
    }
}

TEST_F(CollectionEndpointsTest, RefusesWhatExists) {
    create("a");
    const std::string body = R"({"vectors":{"size":4,"distance":"Dot"}})";
    refused(Method::kPut, "/collections/a", body, 409, "Collection exists: a");
    EXPECT_EQ(ask(Method::kPut, "/collections/a", body).kind(), "already_exists");
}

TEST_F(CollectionEndpointsTest, RefusesNamesThatAreNone) {
    const std::string body = R"({"vectors":{"size":4,"distance":"Dot"}})";
    for (const std::string name :
         {".", "..", "%2e%2e", "a.b", "..%2Fa", "a%00", "a%20b", "%C3%A9"}) {
        refused(
            Method::kPut, "/collections/" + name, body, 400, "Collection name is not 1 to 255 of");
        refused(
            Method::kGet, "/collections/" + name, "", 400, "Collection name is not 1 to 255 of");
        refused(
            Method::kDelete, "/collections/" + name, "", 400, "Collection name is not 1 to 255 of");
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
    refused(
        Method::kPut, "/collections/" + std::string(256, 'a'), body, 400,
        "Collection name is not 1 to 255 of");
    EXPECT_EQ(
        ask(Method::kPut, "/collections/" + std::string(255, 'a'),
            R"({"vectors":{"size":4,"distance":"Dot"},"arfc":{"factory":"ARFC4"}})")
            .status,
        200U);
    EXPECT_EQ(ask(Method::kDelete, "/collections/" + std::string(255, 'a')).status, 200U);
}

TEST_F(CollectionEndpointsTest, RefusesBodiesOfCreationWithTheFieldsPath) {
    struct Case {
        std::string body;
        unsigned status;
        std::string message;
    };
    const Case cases[] = {
        {"", 400, "Body is empty"},
        {"{", 400, "Body is not valid JSON"},
        {"[]", 400, "Body is not valid JSON: not an object"},
        {"{}", 400, "Field is missing: vectors"},
        {R"({"vectors":{}})", 400, "Field is missing: vectors.size"},
        {R"({"vectors":{"size":4}})", 400, "Field is missing: vectors.distance"},
        {R"({"vectors":{"distance":"Dot"}})", 400, "Field is missing: vectors.size"},
        {R"({"vectors":4})", 400,
         "Field has another type: vectors is a number, expected an object"},
        {R"({"vectors":{"size":0,"distance":"Dot"}})", 400, "vectors.size, 0, expected 1 to 65536"},
        {R"({"vectors":{"size":65537,"distance":"Dot"}})", 400,
         "vectors.size, 65537, expected 1 to 65536"},
        {R"({"vectors":{"size":"4","distance":"Dot"}})", 400,
         "vectors.size is a string, expected a number"},
        {R"({"vectors":{"size":4,"distance":"dot"}})", 400,
         "Distance is not one of Cosine, Dot, Euclid: vectors.distance, \"dot\""},
        {R"({"vectors":{"size":4,"distance":"Manhattan"}})", 501,
         "vectors.distance, \"Manhattan\""},
        {R"({"vectors":{"size":4,"distance":"Dot","sise":4}})", 400,
         "Field is unknown: vectors.sise"},
        {R"({"vectors":{"size":4,"distance":"Dot","on_disk":true}})", 501,
         "Field is not offered: vectors.on_disk"},
        {R"({"vectors":{"text":{"size":4,"distance":"Dot"}}})", 501,
         "Field is not offered: vectors.text"},
        {R"({"vectors":{"size":4,"distance":"Dot"},"sparse_vectors":{"t":{}}})", 501,
         "Field is not offered: sparse_vectors"},
        {R"({"vectors":{"size":4,"distance":"Dot"},"shard_number":2})", 501,
         "Field is not offered: shard_number"},
        {R"({"vectors":{"size":4,"distance":"Dot"},"shards":2})", 400, "Field is unknown: shards"},
        {R"({"vectors":{"size":4,"distance":"Dot"},"arfc":{"factroy":"ARFC4"}})", 400,
         "Field is unknown: arfc.factroy"},
        {R"({"vectors":{"size":4,"distance":"Dot"},"arfc":{"factory":4}})", 400,
         "arfc.factory is a number, expected a string"},
        {R"({"vectors":{"size":4,"distance":"Dot"},"arfc":{"factory":"Flat"}})", 400, "Flat"},
        {R"({"vectors":{"size":4,"distance":"Dot"},"arfc":{"model":"/nowhere/at/all"}})", 404,
         "/nowhere/at/all"},
    };
    for (const Case& refusal : cases) {
        refused(Method::kPut, "/collections/c", refusal.body, refusal.status, refusal.message);
        EXPECT_FALSE(std::filesystem::exists(directory_ / "c")) << refusal.body;
    }
    create("c"); // Refusals leave the name free.
}

TEST_F(CollectionEndpointsTest, NullStandsForFieldsThatAreNotOffered) {
    const Answer answer =
        ask(Method::kPut, "/collections/c",
            R"({"vectors":{"size":4,"distance":"Dot","on_disk":null},"shard_number":null,
            "arfc":{"factory":"ARFC4"}})");
    EXPECT_EQ(answer.status, 200U) << answer.body;
}

TEST_F(CollectionEndpointsTest, TrainsAndSearchesCodes) {
    const Answer created =
        ask(Method::kPut, "/collections/c",
            R"({"vectors":{"size":16,"distance":"Cosine"},"arfc":{"factory":"ARFC8/4"}})");
    ASSERT_EQ(created.status, 200U) << created.body;
    refused(Method::kPost, "/collections/c/train", "", 409, "");
    const std::vector<float> rows = test::random_rows(300, 16);
    json points = json::array();
    for (std::size_t i = 0; i < 300; ++i) {
        const auto row = test::view(rows, 16).row(i);
        points.push_back({{"id", i}, {"vector", std::vector<float>(row.begin(), row.end())}});
    }
    upsert("c", points.dump());
    const Answer trained = ask(
        Method::kPost, "/collections/c/train", R"({"time_budget_s":20,"seed":3,"keep_raw":true})");
    ASSERT_EQ(trained.status, 200U) << trained.body;
    EXPECT_EQ(trained.result()["rows"], 300);
    EXPECT_EQ(trained.result()["raw_dropped"], false);
    EXPECT_TRUE(trained.result().contains("held_out_recall"));
    EXPECT_EQ(trained.result()["model_id"].get<std::string>().size(), 64U);
    const json info = ask(Method::kGet, "/collections/c").result();
    EXPECT_EQ(info["status"], "green");
    EXPECT_EQ(info["arfc"]["model_id"], trained.result()["model_id"]);
    EXPECT_EQ(info["arfc"]["code_bytes"], 8);
    EXPECT_EQ(info["arfc"]["stage_bytes"], json::parse("[4,8]"));
    refused(Method::kPost, "/collections/c/train", "{}", 409, "");
    const Answer found = ask(
        Method::kPost, "/collections/c/points/query",
        json(
            {{"query", points[5]["vector"]},
             {"limit", 3},
             {"params", {{"arfc", {{"stages", {{{"bytes", 4}, {"limit", 50}}, {{"bytes", 8}}}}}}}}})
            .dump());
    ASSERT_EQ(found.status, 200U) << found.body;
    EXPECT_EQ(found.result()["points"].size(), 3U);
    const json stages = found.result()["arfc"]["stages"];
    ASSERT_EQ(stages.size(), 2U) << stages;
    EXPECT_EQ(stages[0]["bytes"], 4);
    EXPECT_EQ(stages[0]["candidates"], 300);
    EXPECT_EQ(stages[1]["candidates"], 50);
}

TEST_F(CollectionEndpointsTest, RefusesBodiesOfTrainingWithTheFieldsPath) {
    create("c");
    refused(Method::kPost, "/collections/d/train", "", 404, "Collection does not exist: d");
    refused(
        Method::kPost, "/collections/c/train", R"({"time_budget_s":0})", 400, "time_budget_s, 0");
    refused(
        Method::kPost, "/collections/c/train", R"({"time_budget_s":-1})", 400, "time_budget_s, -1");
    refused(Method::kPost, "/collections/c/train", R"({"seed":-1})", 400, "seed, -1");
    refused(
        Method::kPost, "/collections/c/train", R"({"keep_raw":1})", 400, "keep_raw is a number");
    refused(
        Method::kPost, "/collections/c/train", R"({"epochs":1})", 400, "Field is unknown: epochs");
}

} // namespace
} // namespace arfc::server
