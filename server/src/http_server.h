#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "request.h"

namespace arfc::server {

struct HttpOptions {
    std::string address = "127.0.0.1"; ///< An IP address.
    std::uint16_t port = 0;            ///< 0: any free one.
    std::size_t threads = 4;           ///< Of the pool that slow requests are answered on, >= 1.
    std::size_t maximum_connections = 1024;
    std::size_t maximum_body_bytes = 32U << 20U;
    std::size_t maximum_header_bytes = 16U << 10U;
    std::chrono::milliseconds idle_timeout{60'000};
    std::chrono::milliseconds request_timeout{60'000};
    std::chrono::milliseconds drain_timeout{30'000};
};

/// Carries requests from connections to a function and its answers back: HTTP/1.0 and 1.1,
/// kept-alive and pipelined connections, chunked bodies, `Expect: 100-continue`, HEAD.
///
/// One thread moves all bytes; what may be slow runs on a pool. A connection has one request in
/// work at a time. Members may be called from many threads.
class HttpServer {
  public:
    /// What answers requests. Called from many threads; throws nothing.
    struct Answering {
        std::function<Response(const Request&)> answer;
        std::function<bool(const Request&)> may_block; ///< Whether `answer` has to run on the pool.
    };

    /// Binds, and does not listen yet.
    /// @throws Error  kInvalidArgument: not an IP address. kIo: it cannot be bound.
    HttpServer(const HttpOptions& options, Answering answering);
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;
    ~HttpServer(); ///< As stop().

    /// Listens and answers, once.
    /// @throws Error  kIo.
    void start();

    [[nodiscard]] std::uint16_t port() const noexcept;

    /// Accepts no more, closes idle connections, lets the others finish their request, for at most
    /// `drain_timeout`; then cuts them and calls `at_limit`. Returns when all is done; further
    /// calls wait for the first.
    void stop(const std::function<void()>& at_limit = {});

  private:
    class Implementation;
    std::unique_ptr<Implementation> implementation_;
};

} // namespace arfc::server
