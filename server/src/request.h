#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace arfc::server {

/// The methods that some endpoint takes.
enum class Method : std::uint8_t { kGet, kPut, kPost, kDelete, kOther };

/// Returns "GET" and so on; "another method" for kOther.
[[nodiscard]] std::string_view to_string(Method method) noexcept;

/// One request as it came, whole, without the connection that it came over.
struct Request {
    Method method = Method::kGet;
    std::string target; ///< Path and query, percent-encoded: "/collections/a/points?wait=true".
    std::string content_type; ///< "" where there was none.
    std::string body;
    std::uint64_t number = 0; ///< Counts the requests of this process; names one in the log.
    std::chrono::steady_clock::time_point received = std::chrono::steady_clock::now();
};

/// What is sent back.
struct Response {
    unsigned status = 200;
    std::string_view content_type = "application/json";
    std::vector<std::pair<std::string, std::string>> headers; ///< Further ones, such as Allow.
    std::string body;
};

} // namespace arfc::server
