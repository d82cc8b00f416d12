#include "http_server.h"

#include <atomic>
#include <future>
#include <thread>

#include "expect_error.h"
#include "raw_client.h"

namespace arfc::server {
namespace {

using namespace std::chrono_literals; // NOLINT(google-build-using-namespace): the only way
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A server whose answers say what it was asked; "/slow" waits on the pool until it is released.
class HttpServerTest : public ::testing::Test {
  protected:
    void TearDown() override { release_.set_value(); }

    void start(const HttpOptions& options = {}) {
        server_ = std::make_unique<HttpServer>(
            options,
            HttpServer::Answering{
                .answer = [this](const Request& request) { return answer(request); },
                .may_block =
                    [](const Request& request) { return request.target.starts_with("/slow"); }});
        server_->start();
    }

    Response answer(const Request& request) {
        if (request.target == "/slow") {
            ++running_;
            released_.wait();
        }
        Response response;
        response.body =
            std::string(to_string(request.method)) + " " + request.target + " [" +
            request.content_type + "] " +
            (request.body.size() > 64 ? std::to_string(request.body.size()) : request.body);
        response.headers.emplace_back("X-Extra", "yes");
        return response;
    }

    void wait_until_running(int requests) const {
        while (running_ < requests) {
            std::this_thread::sleep_for(1ms);
        }
    }

    RawClient client() const { return RawClient(server_->port()); }

    std::promise<void> release_;
    std::shared_future<void> released_ = release_.get_future().share();
    std::atomic<int> running_ = 0;
    std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, CarriesARequestAndItsAnswer) {
    start();
    RawClient connection(server_->port());
    const std::string response =
        connection.ask(request_text("PUT", "/a?b=c", "{}", "Content-Type: application/json\r\n"));
    EXPECT_EQ(status_line_of(response), "HTTP/1.1 200 OK");
    EXPECT_EQ(body_of(response), "PUT /a?b=c [application/json] {}");
    EXPECT_THAT(response, HasSubstr("\r\nContent-Type: application/json\r\n"));
    EXPECT_THAT(response, HasSubstr("\r\nServer: arfc/"));
    EXPECT_THAT(response, HasSubstr(" GMT\r\n"));
    EXPECT_THAT(response, HasSubstr("\r\nX-Extra: yes\r\n"));
}

TEST_F(HttpServerTest, KeepsConnectionsAlive) {
    start();
    RawClient connection(server_->port());
    for (int i = 0; i < 50; ++i) {
        const std::string target = "/" + std::to_string(i);
        ASSERT_EQ(body_of(connection.ask(request_text("GET", target))), "GET " + target + " [] ");
    }
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
    start();
    RawClient connection(server_->port());
    std::string requests;
    for (int i = 0; i < 40; ++i) {
        // Every other one takes the longer way over the pool.
        requests += request_text("POST", (i % 2 == 0 ? "/slow/" : "/") + std::to_string(i), "body");
    }
    ASSERT_TRUE(connection.send(requests));
    for (int i = 0; i < 40; ++i) {
        const std::string target = (i % 2 == 0 ? "/slow/" : "/") + std::to_string(i);
        ASSERT_EQ(body_of(connection.response()), "POST " + target + " [] body");
    }
}

TEST_F(HttpServerTest, ReadsChunkedBodies) {
    start();
    RawClient connection(server_->port());
    const std::string head = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    EXPECT_EQ(
        body_of(connection.ask(head + "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n")),
        "POST /a [] abc0123456789");
    ASSERT_TRUE(connection.send(head + "2\r\nx"));
    EXPECT_TRUE(connection.is_silent_for(50ms));
    EXPECT_EQ(body_of(connection.ask("y\r\n0\r\n\r\n")), "POST /a [] xy");
}

TEST_F(HttpServerTest, ReadsRequestsThatComeByteByByte) {
    start();
    RawClient connection(server_->port());
    for (const char character : request_text("PUT", "/a", "hello")) {
        ASSERT_TRUE(connection.send({&character, 1}));
    }
    EXPECT_EQ(body_of(connection.response()), "PUT /a [] hello");
}

TEST_F(HttpServerTest, CarriesLargeBodies) {
    start();
    RawClient connection(server_->port());
    const std::string body(8U << 20U, 'x');
    EXPECT_EQ(
        body_of(connection.ask(request_text("PUT", "/a", body))),
        "PUT /a [] " + std::to_string(body.size()));
}

TEST_F(HttpServerTest, ClosesWhenAskedAndForHttp10) {
    start();
    RawClient closing(server_->port());
    EXPECT_THAT(
        closing.ask(request_text("GET", "/", "", "Connection: close\r\n")),
        HasSubstr("Connection: close"));
    EXPECT_TRUE(closing.is_closed_within(5s));
    RawClient old(server_->port());
    EXPECT_THAT(old.ask("GET /old HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.0 200 OK"));
    EXPECT_TRUE(old.is_closed_within(5s));
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
    start();
    RawClient connection(server_->port());
    ASSERT_TRUE(connection.send(request_text("HEAD", "/a")));
    const std::string response = connection.response(false);
    EXPECT_THAT(response, HasSubstr("Content-Length: 10\r\n")); // "GET /a [] "
    EXPECT_EQ(body_of(response), "");
    EXPECT_EQ(body_of(connection.ask(request_text("GET", "/b"))), "GET /b [] ");
}

TEST_F(HttpServerTest, LetsClientsAskBeforeTheySendABody) {
    start({.maximum_body_bytes = 100});
    RawClient connection(server_->port());
    const std::string expect = "Expect: 100-continue\r\n";
    ASSERT_TRUE(
        connection.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + expect + "\r\n"));
    EXPECT_EQ(status_line_of(connection.response()), "HTTP/1.1 100 Continue");
    EXPECT_EQ(body_of(connection.ask("{}")), "PUT /a [] {}");
    // Too large a body need not be sent to be refused.
    const std::string refusal =
        connection.ask("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n" + expect + "\r\n");
    EXPECT_EQ(status_line_of(refusal), "HTTP/1.1 413 Payload Too Large");
}

TEST_F(HttpServerTest, RefusesLargeBodiesReadably) {
    start({.maximum_body_bytes = 1000});
    RawClient whole(server_->port());
    EXPECT_EQ(
        status_line_of(whole.ask(request_text("PUT", "/a", std::string(1000, 'x')))),
        "HTTP/1.1 200 OK");
    // A client that sends it all before it reads must still get to read why: the connection is not
    // reset.
    RawClient eager(server_->port());
    const std::string refusal = eager.ask(request_text("PUT", "/a", std::string(4U << 20U, 'x')));
    EXPECT_EQ(status_line_of(refusal), "HTTP/1.1 413 Payload Too Large");
    EXPECT_THAT(body_of(refusal), HasSubstr("Body is larger than allowed, in bytes: 1000"));
    EXPECT_THAT(body_of(refusal), HasSubstr("\"kind\":\"invalid_argument\""));
    EXPECT_THAT(refusal, HasSubstr("Connection: close"));
    RawClient chunked(server_->port());
    EXPECT_EQ(
        status_line_of(chunked.ask(
            "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
            std::string(2000, 'x') + "\r\n0\r\n\r\n")),
        "HTTP/1.1 413 Payload Too Large");
}

TEST_F(HttpServerTest, RefusesLargeHeads) {
    start({.maximum_header_bytes = 2000});
    RawClient small(server_->port());
    EXPECT_EQ(
        status_line_of(
            small.ask(request_text("GET", "/", "", "X: " + std::string(1500, 'x') + "\r\n"))),
        "HTTP/1.1 200 OK");
    RawClient large(server_->port());
    const std::string refusal =
        large.ask(request_text("GET", "/", "", "X: " + std::string(3000, 'x') + "\r\n"));
    EXPECT_THAT(refusal, StartsWith("HTTP/1.1 431"));
    EXPECT_THAT(refusal, HasSubstr("Request head is larger than allowed, in bytes: 2000"));
    RawClient endless(server_->port());
    EXPECT_THAT(endless.ask("GET /" + std::string(100'000, 'a')), StartsWith("HTTP/1.1 431"));
}

TEST_F(HttpServerTest, RefusesWhatIsNotHttp) {
    start();
    for (const std::string garbage :
         {"\x16\x03\x01\x02\x01 TLS perhaps\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
          "GET /\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
          "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
          "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
          "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"}) {
        RawClient connection(server_->port());
        const std::string refusal = connection.ask(garbage);
        EXPECT_THAT(refusal, StartsWith("HTTP/1.1 400 Bad Request")) << garbage;
        EXPECT_THAT(refusal, HasSubstr("Request is not HTTP: ")) << garbage;
    }
    RawClient after(server_->port());
    EXPECT_EQ(body_of(after.ask(request_text("GET", "/a"))), "GET /a [] ");
}

TEST_F(HttpServerTest, ClosesIdleAndHalfDoneConnections) {
    start({.idle_timeout = 300ms, .request_timeout = 200ms});
    RawClient idle(server_->port());
    RawClient used(server_->port());
    EXPECT_EQ(body_of(used.ask(request_text("GET", "/a"))), "GET /a [] ");
    RawClient half_head(server_->port());
    ASSERT_TRUE(half_head.send("GET / HT"));
    RawClient half_body(server_->port());
    ASSERT_TRUE(half_body.send("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345"));
    RawClient half_chunk(server_->port());
    ASSERT_TRUE(half_chunk.send("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"));
    for (RawClient* connection : {&idle, &used, &half_head, &half_body, &half_chunk}) {
        EXPECT_TRUE(connection->is_closed_within(5s));
    }
}

TEST_F(HttpServerTest, ATricklingRequestDoesNotLastForEver) {
    start({.request_timeout = 300ms});
    RawClient trickle(server_->port());
    const auto begun = std::chrono::steady_clock::now();
    ASSERT_TRUE(trickle.send("GET / HTTP/1.1\r\nX: "));
    while (std::chrono::steady_clock::now() - begun < 5s && trickle.is_silent_for(20ms)) {
        (void)trickle.send("x");
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begun, 3s);
}

TEST_F(HttpServerTest, ASlowRequestHoldsUpNoOther) {
    start({.threads = 1});
    RawClient slow(server_->port());
    ASSERT_TRUE(slow.send(request_text("GET", "/slow")));
    wait_until_running(1);
    for (int i = 0; i < 20; ++i) {
        RawClient other(server_->port());
        EXPECT_EQ(body_of(other.ask(request_text("GET", "/quick"))), "GET /quick [] ");
    }
    EXPECT_TRUE(slow.is_silent_for(0ms));
    release_.set_value();
    EXPECT_EQ(body_of(slow.response()), "GET /slow [] ");
    release_ = {};
}

TEST_F(HttpServerTest, AClientThatLeavesHarmsNobody) {
    start({.threads = 1});
    {
        RawClient leaving(server_->port());
        ASSERT_TRUE(leaving.send(request_text("GET", "/slow")));
        wait_until_running(1);
    }
    release_.set_value();
    RawClient other(server_->port());
    EXPECT_EQ(body_of(other.ask(request_text("GET", "/slow/b"))), "GET /slow/b [] ");
    release_ = {};
}

TEST_F(HttpServerTest, FurtherConnectionsWaitForRoom) {
    start({.maximum_connections = 2});
    auto first = std::make_unique<RawClient>(server_->port());
    RawClient second(server_->port());
    EXPECT_EQ(body_of(first->ask(request_text("GET", "/1"))), "GET /1 [] ");
    EXPECT_EQ(body_of(second.ask(request_text("GET", "/2"))), "GET /2 [] ");
    RawClient third(server_->port());
    ASSERT_TRUE(third.send(request_text("GET", "/3")));
    EXPECT_TRUE(third.is_silent_for(100ms));
    first.reset();
    EXPECT_EQ(body_of(third.response()), "GET /3 [] ");
}

TEST_F(HttpServerTest, ServesManyClientsAtOnce) {
    start();
    std::vector<std::thread> threads;
    threads.reserve(8);
    std::atomic<int> wrong = 0;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
            RawClient connection(server_->port());
            for (int j = 0; j < 200; ++j) {
                const std::string target =
                    (j % 3 == 0 ? "/slow/" : "/") + std::to_string(i * 1000 + j);
                const std::string answer =
                    body_of(connection.ask(request_text("PUT", target, target)));
                wrong +=
                    answer.starts_with("PUT " + target) && answer.ends_with("] " + target) ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(wrong, 0);
}

TEST_F(HttpServerTest, StoppingLetsARunningRequestFinish) {
    start();
    RawClient running(server_->port());
    RawClient idle(server_->port());
    EXPECT_EQ(body_of(idle.ask(request_text("GET", "/a"))), "GET /a [] ");
    ASSERT_TRUE(running.send(request_text("GET", "/slow") + request_text("GET", "/behind")));
    wait_until_running(1);
    std::atomic<bool> stopped = false;
    std::thread stopper([&] {
        server_->stop([] { ADD_FAILURE() << "the limit was not reached"; });
        stopped = true;
    });
    EXPECT_TRUE(idle.is_closed_within(5s));
    EXPECT_FALSE(RawClient(server_->port()).connected());
    EXPECT_FALSE(stopped);
    release_.set_value();
    const std::string response = running.response();
    EXPECT_EQ(body_of(response), "GET /slow [] ");
    EXPECT_THAT(response, HasSubstr("Connection: close"));
    EXPECT_TRUE(running.is_closed_within(5s)); // The one behind may be sent again: it was not
                                               // begun.
    stopper.join();
    release_ = {};
}

TEST_F(HttpServerTest, StoppingLetsAHalfReadRequestFinish) {
    start();
    RawClient half(server_->port());
    ASSERT_TRUE(half.send("PUT /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n12"));
    EXPECT_TRUE(half.is_silent_for(50ms)); // Its beginning has been read by now.
    std::thread stopper([&] { server_->stop(); });
    EXPECT_TRUE(half.is_silent_for(50ms));
    EXPECT_EQ(body_of(half.ask("34")), "PUT /a [] 1234");
    stopper.join();
}

TEST_F(HttpServerTest, StoppingCutsWhatOutlastsTheLimit) {
    start({.drain_timeout = 100ms});
    RawClient endless(server_->port());
    ASSERT_TRUE(endless.send("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\n1"));
    RawClient slow(server_->port());
    ASSERT_TRUE(slow.send(request_text("GET", "/slow")));
    wait_until_running(1);
    std::atomic<int> limits = 0;
    server_->stop([&] {
        ++limits;
        release_.set_value(); // As cancelling long requests does.
    });
    EXPECT_EQ(limits, 1);
    EXPECT_TRUE(endless.is_closed_within(5s));
    EXPECT_TRUE(slow.is_closed_within(5s));
    release_ = {};
}

TEST_F(HttpServerTest, StopsOnceWhoeverAsks) {
    start();
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] { server_->stop(); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    server_->stop();
}

TEST_F(HttpServerTest, StopsWithoutHavingStarted) {
    HttpServer server({}, {});
    EXPECT_GT(server.port(), 0);
}

TEST_F(HttpServerTest, RefusesAPortThatIsTaken) {
    start();
    const auto taken = [&] { HttpServer({.port = server_->port()}, {}).start(); };
    ARFC_EXPECT_ERROR(taken(), ErrorKind::kIo, "Server cannot listen on its address and port");
    ARFC_EXPECT_ERROR(taken(), ErrorKind::kIo, "127.0.0.1, " + std::to_string(server_->port()));
    ARFC_EXPECT_ERROR(HttpServer({.address = "here"}, {}), ErrorKind::kInvalidArgument, "\"here\"");
}

} // namespace
} // namespace arfc::server
