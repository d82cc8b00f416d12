#include "arfc/server/server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "arfc/base/error.h"
#include "http_server.h"
#include "registry.h"
#include "router.h"

namespace arfc {

namespace {

constexpr std::size_t kFewestThreads = 4; // So that one training or large upsert does not hold up
                                          // every query.

/// Returns the IP address to bind.
std::string loopback_address(const std::string& address) {
    std::string numeric = address == "localhost" ? "127.0.0.1" : address;
    boost::system::error_code error;
    const auto parsed = boost::asio::ip::make_address(numeric, error);
    if (error) {
        fail(
            ErrorKind::kInvalidArgument, "Address is neither an IP address nor localhost: \"",
            address, "\"");
    }
    if (!parsed.is_loopback()) {
        fail(
            ErrorKind::kUnsupported,
            "Server has no authentication yet and so binds loopback addresses only, such as "
            "127.0.0.1, not: ",
            address);
    }
    return numeric;
}

server::HttpOptions http_options(const ServerOptions& options) {
    const std::size_t cores = std::thread::hardware_concurrency();
    return {
        .address = loopback_address(options.address),
        .port = options.port,
        .threads = options.threads > 0 ? options.threads : std::max(cores, kFewestThreads),
        .maximum_connections = options.maximum_connections,
        .maximum_body_bytes = options.maximum_body_bytes,
        .maximum_header_bytes = options.maximum_header_bytes,
        .idle_timeout = options.idle_timeout,
        .request_timeout = options.request_timeout,
        .drain_timeout = options.drain_timeout,
    };
}

void check(const ServerOptions& options) {
    if (options.data_directory.empty()) {
        fail(ErrorKind::kInvalidArgument, "Data directory is not given");
    }
    if (options.maximum_connections == 0) {
        fail(
            ErrorKind::kInvalidArgument,
            "Server must accept at least one connection: maximum_connections, 0");
    }
    constexpr std::size_t kLargestHead = 1U << 20U;
    if (options.maximum_header_bytes == 0 || options.maximum_header_bytes > kLargestHead) {
        fail(
            ErrorKind::kInvalidArgument, "Number is out of range: maximum_header_bytes, ",
            options.maximum_header_bytes, ", expected 1 to ", kLargestHead);
    }
}

} // namespace

struct Server::Parts {
    explicit Parts(const ServerOptions& options)
        : address(loopback_address(options.address)),
          http(
              http_options(options), {.answer =
                                          [this](const server::Request& request) {
                                              return server::handle(request, *registry);
                                          },
                                      .may_block = server::may_block}) {
        // The port is ours now: a server that cannot have it has not opened large collections in
        // vain.
        registry.emplace(options.data_directory);
        http.start();
    }

    const std::string address;
    std::optional<server::Registry> registry;
    server::HttpServer http;
    std::mutex mutex;
    std::condition_variable stopped_changed;
    bool stopped = false;
};

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() {
    stop();
}

std::unique_ptr<Server> Server::start(const ServerOptions& options) {
    check(options);
    std::unique_ptr<Server> server(new Server(std::make_unique<Parts>(options)));
    spdlog::info("Serving {} on {}", options.data_directory.string(), server->url());
    return server;
}

std::uint16_t Server::port() const noexcept {
    return parts_->http.port();
}

std::string Server::url() const {
    const bool is_version_6 = parts_->address.find(':') != std::string::npos;
    const std::string host = is_version_6 ? "[" + parts_->address + "]" : parts_->address;
    return "http://" + host + ":" + std::to_string(port());
}

void Server::stop() {
    parts_->http.stop([this] { parts_->registry->cancel_long_requests(); });
    parts_->registry->close();
    const std::lock_guard lock(parts_->mutex);
    parts_->stopped = true;
    parts_->stopped_changed.notify_all();
}

void Server::wait() {
    std::unique_lock lock(parts_->mutex);
    parts_->stopped_changed.wait(lock, [this] { return parts_->stopped; });
}

} // namespace arfc
