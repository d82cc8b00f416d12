#pragma once

#include <chrono>

#include "json_writer.h"
#include "request.h"

namespace arfc::server {

/// Returns the seconds since a moment, to the microsecond.
[[nodiscard]] double seconds_since(std::chrono::steady_clock::time_point moment) noexcept;

/// A success in the making, `{"result": ..., "status": "ok", "time": ...}`: the handler writes the
/// result's one value straight into the answer's body.
class Success {
  public:
    explicit Success(const Request& request);
    Success(const Success&) = delete;
    Success& operator=(const Success&) = delete;
    ~Success() = default;

    [[nodiscard]] JsonWriter& result() noexcept { return json_; }
    void reserve(std::size_t bytes) { response_.body.reserve(bytes); }

    /// Returns the answer, once.
    [[nodiscard]] Response finish();

  private:
    const Request& request_;
    Response response_;
    JsonWriter json_;
};

} // namespace arfc::server
