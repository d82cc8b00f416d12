#include "arfc/server/server.h"

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "expect_error.h"
#include "random_rows.h"
#include "raw_client.h"
#include "temporary_directory.h"

namespace arfc::server {
namespace {

using nlohmann::json;

class ServerTest : public ::testing::Test {
  protected:
    std::unique_ptr<Server> start(ServerOptions options = {}) const {
        options.data_directory = directory_ / "data";
        options.port = 0;
        return Server::start(options);
    }
    static json ask(
        const Server& server, std::string_view method, std::string_view target,
        const std::string& body = "") {
        RawClient client(server.port());
        return json::parse(body_of(client.ask(request_text(method, target, body))));
    }

    test::TemporaryDirectory directory_;
};

TEST_F(ServerTest, ServesAndKeepsWhatItWasGiven) {
    json before;
    const std::string query = R"({"query":[1,2,3,4],"with_payload":true,"with_vector":true})";
    {
        const auto server = start();
        EXPECT_EQ(server->url(), "http://127.0.0.1:" + std::to_string(server->port()));
        EXPECT_EQ(
            ask(*server, "PUT", "/collections/c",
                R"({"vectors":{"size":4,"distance":"Cosine"},"arfc":{"factory":"ARFC4"}})")
                ["result"],
            true);
        EXPECT_EQ(
            ask(*server, "PUT", "/collections/c/points?wait=true",
                R"({"points":[{"id":7,"vector":[4,3,2,1],"payload":{"a":"b"}}]})")["result"]
                                                                                  ["status"],
            "completed");
        before = ask(*server, "POST", "/collections/c/points/query", query)["result"]["points"];
        ASSERT_EQ(before.size(), 1U);
        server->stop();
        server->wait();
        EXPECT_FALSE(RawClient(server->port()).connected());
    }
    const auto server = start();
    EXPECT_EQ(
        ask(*server, "POST", "/collections/c/points/query", query)["result"]["points"], before);
}

TEST_F(ServerTest, BindsLoopbackAddressesAlone) {
    for (const std::string address : {"0.0.0.0", "192.0.2.1", "::"}) {
        ARFC_EXPECT_ERROR(
            (void)start({.address = address}), ErrorKind::kUnsupported, "no authentication yet");
        ARFC_EXPECT_ERROR((void)start({.address = address}), ErrorKind::kUnsupported, address);
    }
    ARFC_EXPECT_ERROR(
        (void)start({.address = "example.com"}), ErrorKind::kInvalidArgument, "example.com");
    EXPECT_EQ(ask(*start({.address = "localhost"}), "GET", "/collections")["status"], "ok");
}

TEST_F(ServerTest, RefusesItsOptions) {
    ARFC_EXPECT_ERROR(
        (void)Server::start({}), ErrorKind::kInvalidArgument, "Data directory is not given");
    ARFC_EXPECT_ERROR(
        (void)start({.maximum_connections = 0}), ErrorKind::kInvalidArgument,
        "maximum_connections, 0");
    ARFC_EXPECT_ERROR(
        (void)start({.maximum_header_bytes = 0}), ErrorKind::kInvalidArgument,
        "maximum_header_bytes, 0");
}

TEST_F(ServerTest, ATakenPortIsAnErrorBeforeAnythingIsOpened) {
    const auto server = start();
    ServerOptions options;
    options.data_directory = directory_ / "other";
    options.port = server->port();
    ARFC_EXPECT_ERROR(
        (void)Server::start(options), ErrorKind::kIo,
        "127.0.0.1, " + std::to_string(server->port()));
    EXPECT_FALSE(std::filesystem::exists(directory_ / "other"));
}

TEST_F(ServerTest, ADataDirectoryThatIsAFileIsAnError) {
    std::ofstream(directory_ / "data") << "x";
    ARFC_EXPECT_ERROR((void)start(), ErrorKind::kIo, (directory_ / "data").string());
}

TEST_F(ServerTest, StoppingDrainsAnUpsertInFlight) {
    const auto server = start();
    (void)ask(
        *server, "PUT", "/collections/c",
        R"({"vectors":{"size":64,"distance":"Dot"},"arfc":{"factory":"ARFC4"}})");
    const std::vector<float> rows = test::random_rows(2000, 64);
    json points = json::array();
    for (std::size_t i = 0; i < 2000; ++i) {
        const auto row = test::view(rows, 64).row(i);
        points.push_back({{"id", i}, {"vector", std::vector<float>(row.begin(), row.end())}});
    }
    const std::string request =
        request_text("PUT", "/collections/c/points?wait=true", json({{"points", points}}).dump());
    RawClient client(server->port());
    ASSERT_TRUE(client.send(std::string_view(request).substr(0, request.size() - 10)));
    EXPECT_TRUE(client.is_silent_for(std::chrono::milliseconds(100))); // What was sent has been
                                                                       // read by now.
    std::thread stopper([&] { server->stop(); });
    while (RawClient(server->port()).connected()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_TRUE(client.send(std::string_view(request).substr(request.size() - 10)));
    EXPECT_EQ(json::parse(body_of(client.response()))["result"]["status"], "completed");
    stopper.join();
    const auto again = start();
    EXPECT_EQ(ask(*again, "GET", "/collections/c")["result"]["points_count"], 2000);
}

TEST_F(ServerTest, AStopDoesNotWaitForALongTraining) {
    const auto server = start({.drain_timeout = std::chrono::milliseconds(100)});
    (void)ask(
        *server, "PUT", "/collections/c",
        R"({"vectors":{"size":64,"distance":"Cosine"},"arfc":{"factory":"ARFC32/8"}})");
    const std::vector<float> rows = test::random_rows(4000, 64);
    json points = json::array();
    for (std::size_t i = 0; i < 4000; ++i) {
        const auto row = test::view(rows, 64).row(i);
        points.push_back({{"id", i}, {"vector", std::vector<float>(row.begin(), row.end())}});
    }
    (void)ask(*server, "PUT", "/collections/c/points?wait=true", json({{"points", points}}).dump());
    RawClient client(server->port());
    ASSERT_TRUE(client.send(request_text("POST", "/collections/c/train")));
    while (ask(*server, "GET", "/collections/c")["result"]["status"] != "yellow") {
        ASSERT_TRUE(client.is_silent_for(std::chrono::milliseconds(1)))
            << "trained too soon: " << client.response();
    }
    server->stop();
    // Untrained and whole, as before.
    const auto again = start();
    const json info = ask(*again, "GET", "/collections/c")["result"];
    EXPECT_EQ(info["points_count"], 4000);
    EXPECT_EQ(info["arfc"]["model_id"], nullptr);
}

} // namespace
} // namespace arfc::server
