#include "http_server.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <ctime>
#include <future>
#include <list>
#include <optional>
#include <thread>

#include "arfc/base/error.h"
#include "errors.h"

namespace arfc::server {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Tcp = asio::ip::tcp;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// What an early refusal leaves unread is read and dropped for so long: a connection closed over
// unread bytes is reset, and the client might never see why.
constexpr std::chrono::seconds kLingerTime{2};
constexpr std::chrono::milliseconds kPauseAfterFailedAccept{100}; // Descriptors have run out: let
                                                                  // some come back.
constexpr std::size_t kReadAhead = 512; // Bytes beyond a body's end that its reader may look at.

Method method_of(http::verb verb) {
    switch (verb) {
        case http::verb::get:
        case http::verb::head: return Method::kGet;
        case http::verb::put: return Method::kPut;
        case http::verb::post: return Method::kPost;
        case http::verb::delete_: return Method::kDelete;
        default: return Method::kOther; // Beast's list is open.
    }
}

/// Returns the time as HTTP writes it (RFC 9110, section 5.6.7).
std::string http_date() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[64];
    const std::size_t length =
        std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return {text, length};
}

/// Says what is wrong with a request that could not be read; nothing where the connection itself
/// ended.
std::optional<Response> response_of(
    beast::error_code error, const Request& request, const HttpOptions& options) {
    if (error == http::error::header_limit) {
        return error_response(
            request, 431, ErrorKind::kInvalidArgument,
            "Request head is larger than allowed, in bytes: " +
                std::to_string(options.maximum_header_bytes));
    }
    if (error == http::error::body_limit) {
        return error_response(
            request, 413, ErrorKind::kInvalidArgument,
            "Body is larger than allowed, in bytes: " + std::to_string(options.maximum_body_bytes));
    }
    const bool ended = error == http::error::end_of_stream || error == http::error::partial_message;
    if (error.category() == http::make_error_code(http::error::bad_method).category() && !ended) {
        return error_response(
            request, ErrorKind::kInvalidArgument, "Request is not HTTP: " + error.message());
    }
    return std::nullopt;
}

} // namespace

class HttpServer::Implementation {
  public:
    Implementation(const HttpOptions& options, Answering answering)
        : options_(options), answering_(std::move(answering)), pool_(options.threads),
          acceptor_(context_), slots_(context_), drain_timer_(context_) {
        bind();
    }

    void start() {
        beast::error_code error;
        acceptor_.listen(asio::socket_base::max_listen_connections, error);
        if (error) {
            fail_to_bind(error);
        }
        asio::co_spawn(context_, accept_connections(), asio::detached);
        thread_ = std::thread([this] { context_.run(); });
    }

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

    void stop(const std::function<void()>& at_limit) {
        const std::lock_guard lock(stop_mutex_);
        if (stopped_) {
            return;
        }
        if (thread_.joinable()) {
            asio::post(context_, [this, &at_limit] { begin_to_drain(at_limit); });
            thread_.join(); // It runs out of work when the last connection has ended.
        }
        pool_.join();
        stopped_ = true;
    }

  private:
    /// One client; touched by the input thread alone.
    struct Connection {
        explicit Connection(Tcp::socket socket) : stream(std::move(socket)) {}

        beast::tcp_stream stream;
        beast::flat_buffer buffer; ///< Read and not yet parsed: the next request's beginning.
        bool idle = true;          ///< Between two requests, where closing it harms nobody.
    };
    using Parser = http::request_parser<http::string_body>;

    void bind() {
        beast::error_code error;
        const asio::ip::address address = asio::ip::make_address(options_.address, error);
        if (error) {
            fail(
                ErrorKind::kInvalidArgument, "Address is not an IP address: \"", options_.address,
                "\"");
        }
        const Tcp::endpoint endpoint(address, options_.port);
        acceptor_.open(endpoint.protocol(), error);
        if (!error) {
            acceptor_.set_option(asio::socket_base::reuse_address(true), error);
        }
        if (!error) {
            acceptor_.bind(endpoint, error);
        }
        if (error) {
            fail_to_bind(error);
        }
        port_ = acceptor_.local_endpoint().port();
    }

    [[noreturn]] void fail_to_bind(beast::error_code error) const {
        fail(
            ErrorKind::kIo, "Server cannot listen on its address and port (", error.message(),
            "): ", options_.address, ", ", options_.port);
    }

    asio::awaitable<void> accept_connections() {
        while (!draining_) {
            if (connections_.size() >= options_.maximum_connections) {
                slots_.expires_at(asio::steady_timer::time_point::max());
                co_await slots_.async_wait(kAwait); // Cancelled when a connection ends.
                continue;
            }
            auto [error, socket] = co_await acceptor_.async_accept(kAwait);
            if (draining_) {
                co_return;
            }
            if (error) {
                spdlog::warn("Connection cannot be accepted: {}", error.message());
                slots_.expires_after(kPauseAfterFailedAccept);
                co_await slots_.async_wait(kAwait);
                continue;
            }
            const auto connection = connections_.emplace(connections_.end(), std::move(socket));
            asio::co_spawn(
                context_, serve(*connection),
                [this, connection](const std::exception_ptr& failure) {
                    end(connection, failure);
                });
        }
    }

    void end(std::list<Connection>::iterator connection, const std::exception_ptr& failure) {
        try {
            if (failure) {
                std::rethrow_exception(failure);
            }
        } catch (const std::exception& error) {
            spdlog::error("Connection ended by an exception: {}", error.what());
        }
        connections_.erase(connection);
        slots_.cancel();
        if (draining_ && connections_.empty()) {
            drain_timer_.cancel();
        }
    }

    asio::awaitable<void> serve(Connection& connection) {
        beast::error_code ignored; // A client may have left already.
        connection.stream.socket().set_option(Tcp::no_delay(true), ignored);
        bool more = true;
        while (more) {
            const bool begun = co_await await_request(connection);
            if (!begun) {
                break;
            }
            more = co_await serve_request(connection);
        }
        connection.stream.socket().shutdown(Tcp::socket::shutdown_both, ignored);
    }

    /// Waits for a request's first byte. @returns whether one came.
    asio::awaitable<bool> await_request(Connection& connection) {
        if (connection.buffer.size() > 0) {
            co_return true; // Pipelined behind the one before.
        }
        if (draining_) {
            co_return false;
        }
        connection.idle = true;
        connection.stream.expires_after(options_.idle_timeout);
        const auto room = connection.buffer.prepare(4096);
        const auto [error, read] = co_await connection.stream.async_read_some(room, kAwait);
        connection.buffer.commit(read);
        connection.idle = false;
        co_return !error && read > 0;
    }

    /// Reads, answers. @returns whether the connection goes on.
    asio::awaitable<bool> serve_request(Connection& connection) {
        Parser parser;
        parser.header_limit(static_cast<std::uint32_t>(options_.maximum_header_bytes));
        parser.body_limit(options_.maximum_body_bytes);
        Request request;
        request.number = ++requests_;
        const beast::error_code error = co_await read(connection, parser);
        fill(request, parser);
        if (error) {
            const std::optional<Response> refusal = response_of(error, request, options_);
            if (refusal) {
                co_await refuse(connection, *refusal);
            }
            co_return false;
        }
        Response response;
        if (answering_.may_block(request)) {
            response = co_await asio::co_spawn(pool_, answer(request), asio::use_awaitable);
        } else {
            response = answering_.answer(request);
        }
        spdlog::debug("{} {} {}", to_string(request.method), request.target, response.status);
        const bool keep_alive = parser.keep_alive() && !draining_;
        const bool head_only = parser.get().method() == http::verb::head;
        const bool sent = co_await write(
            connection, std::move(response), parser.get().version(), keep_alive, head_only);
        co_return sent&& keep_alive;
    }

    asio::awaitable<beast::error_code> read(Connection& connection, Parser& parser) {
        connection.stream.expires_after(options_.request_timeout);
        const auto [head_error, head_bytes] =
            co_await http::async_read_header(connection.stream, connection.buffer, parser, kAwait);
        if (head_error) {
            co_return head_error;
        }
        if (parser.content_length() && *parser.content_length() <= options_.maximum_body_bytes) {
            // Whoever parses the body may read ahead of its end; so it need not be copied for that.
            parser.get().body().reserve(
                static_cast<std::size_t>(*parser.content_length()) + kReadAhead);
        }
        if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
            http::response<http::empty_body> go_on(http::status::continue_, parser.get().version());
            const auto [error, bytes] =
                co_await http::async_write(connection.stream, go_on, kAwait);
            if (error) {
                co_return error;
            }
        }
        const auto [error, bytes] =
            co_await http::async_read(connection.stream, connection.buffer, parser, kAwait);
        co_return error;
    }

    static void fill(Request& request, Parser& parser) {
        auto& message = parser.get();
        request.method = method_of(message.method());
        request.target = std::string(message.target());
        request.content_type = std::string(message[http::field::content_type]);
        request.body = std::move(message.body());
        request.received = std::chrono::steady_clock::now();
    }

    asio::awaitable<Response> answer(const Request& request) {
        co_return answering_.answer(request);
    }

    /// Sends a response. @returns whether it went out.
    asio::awaitable<bool> write(
        Connection& connection, Response response, unsigned version, bool keep_alive,
        bool head_only) {
        http::response<http::string_body> message(
            static_cast<http::status>(response.status), version);
        message.set(http::field::server, "arfc/" ARFC_VERSION);
        message.set(http::field::date, http_date());
        message.set(
            http::field::content_type,
            beast::string_view(response.content_type.data(), response.content_type.size()));
        for (const auto& [name, value] : response.headers) {
            message.set(name, value);
        }
        message.keep_alive(keep_alive);
        message.content_length(response.body.size());
        if (!head_only) {
            message.body() = std::move(response.body);
        }
        connection.stream.expires_after(options_.request_timeout);
        const auto [error, bytes] = co_await http::async_write(connection.stream, message, kAwait);
        co_return !error;
    }

    /// Sends a response to a request that was not read to its end, and lets the client read it.
    asio::awaitable<void> refuse(Connection& connection, Response response) {
        const bool sent = co_await write(connection, std::move(response), 11, false, false);
        if (!sent) {
            co_return;
        }
        beast::error_code error;
        connection.stream.socket().shutdown(Tcp::socket::shutdown_send, error);
        connection.idle = true; // stop() need not wait for it.
        connection.stream.expires_after(kLingerTime);
        char dropped[8192];
        while (!error && !draining_) {
            const auto [read_error, read] =
                co_await connection.stream.async_read_some(asio::buffer(dropped), kAwait);
            error = read_error;
        }
    }

    void begin_to_drain(const std::function<void()>& at_limit) {
        draining_ = true;
        beast::error_code ignored;
        acceptor_.close(ignored);
        slots_.cancel();
        for (Connection& connection : connections_) {
            if (connection.idle) {
                connection.stream.socket().close(ignored);
            }
        }
        if (connections_.empty()) {
            return;
        }
        drain_timer_.expires_after(options_.drain_timeout);
        drain_timer_.async_wait([this, &at_limit](beast::error_code error) {
            if (!error) {
                cut(at_limit);
            }
        });
    }

    void cut(const std::function<void()>& at_limit) {
        spdlog::warn("Requests still ran at the time limit of stopping: {}", connections_.size());
        beast::error_code ignored;
        for (Connection& connection : connections_) {
            connection.stream.socket().close(ignored);
        }
        if (at_limit) {
            at_limit();
        }
    }

    const HttpOptions options_;
    const Answering answering_;
    asio::io_context context_{1}; // One thread runs it.
    asio::thread_pool pool_;
    Tcp::acceptor acceptor_;
    asio::steady_timer slots_; ///< Cancelled when there may be room for a connection.
    asio::steady_timer drain_timer_;
    std::uint16_t port_ = 0;
    std::list<Connection> connections_;
    std::uint64_t requests_ = 0;
    bool draining_ = false;
    std::thread thread_;
    std::mutex stop_mutex_;
    bool stopped_ = false;
};

HttpServer::HttpServer(const HttpOptions& options, Answering answering)
    : implementation_(std::make_unique<Implementation>(options, std::move(answering))) {}

HttpServer::~HttpServer() {
    stop();
}

void HttpServer::start() {
    implementation_->start();
}

std::uint16_t HttpServer::port() const noexcept {
    return implementation_->port();
}

void HttpServer::stop(const std::function<void()>& at_limit) {
    implementation_->stop(at_limit);
}

} // namespace arfc::server
