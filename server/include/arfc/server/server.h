#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace arfc {

/// How a server runs.
struct ServerOptions {
    std::filesystem::path data_directory; ///< Holds the collections, a folder each; created if it
                                          ///< is missing.
    std::string address = "127.0.0.1";    ///< A loopback address or "localhost": there is no
                                          ///< authentication yet.
    std::uint16_t port = 6333;            ///< 0: any free one, see Server::port().
    std::size_t threads = 0; ///< Requests that work on collections at once; 0: the cores, at
                             ///< least 4.
    std::size_t maximum_connections = 1024;         ///< Further ones wait in the system's queue.
    std::size_t maximum_body_bytes = 32U << 20U;    ///< Larger bodies are answered 413; 32 MiB, as
                                                    ///< Qdrant's.
    std::size_t maximum_header_bytes = 16U << 10U;  ///< Larger request heads are answered 431.
    std::chrono::milliseconds idle_timeout{60'000}; ///< How long a connection may wait before its
                                                    ///< next request.
    std::chrono::milliseconds request_timeout{60'000}; ///< From a request's first byte to its last;
                                                       ///< the answer's too.
    std::chrono::milliseconds drain_timeout{30'000};   ///< How long stop() lets running requests
                                                       ///< finish.
};

/// Serves the collections of a directory over HTTP; docs/rest.md has the endpoints.
///
/// Runs on threads of its own from start() to stop(). It handles no signals: those are the
/// program's. Members may be called from many threads.
class Server {
  public:
    /// Opens the collections, binds and begins to answer. A collection that cannot be opened is
    /// logged and answers each use with its error; the others serve.
    /// @throws Error  kInvalidArgument: an option. kUnsupported: `address` is not a loopback one.
    ///                kIo: the address and port cannot be bound, or the directory cannot be read or
    ///                made.
    [[nodiscard]] static std::unique_ptr<Server> start(const ServerOptions& options);

    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server(); ///< As stop().

    /// Returns the port that it listens on.
    [[nodiscard]] std::uint16_t port() const noexcept;

    /// Returns where clients find it, such as "http://127.0.0.1:6333".
    [[nodiscard]] std::string url() const;

    /// Accepts no more, lets running requests finish, closes the collections. After `drain_timeout`
    /// connections are cut and trainings cancelled; what else still works on a collection is waited
    /// for. Further calls wait for the first one and do nothing.
    void stop();

    /// Returns when the server has stopped.
    void wait();

  private:
    struct Parts;
    explicit Server(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

} // namespace arfc
