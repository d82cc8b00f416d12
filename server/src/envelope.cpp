#include "envelope.h"

#include <utility>

namespace arfc::server {

double seconds_since(std::chrono::steady_clock::time_point moment) noexcept {
    const auto passed = std::chrono::steady_clock::now() - moment;
    return static_cast<double>(
               std::chrono::duration_cast<std::chrono::microseconds>(passed).count()) /
           1e6;
}

Success::Success(const Request& request) : request_(request), json_(response_.body) {
    json_.begin_object();
    json_.key("result");
}

Response Success::finish() {
    json_.field("status", "ok");
    json_.field("time", seconds_since(request_.received));
    json_.end_object();
    return std::move(response_);
}

} // namespace arfc::server
