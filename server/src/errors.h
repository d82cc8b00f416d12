#pragma once

#include <string_view>

#include "arfc/base/error.h"
#include "request.h"

namespace arfc::server {

/// Returns the HTTP status of a kind of error.
[[nodiscard]] unsigned http_status(ErrorKind kind) noexcept;

/// Makes the answer `{"status": {"error", "kind"}, "time"}`. The message of kInternal is logged,
/// not sent.
[[nodiscard]] Response error_response(
    const Request& request, ErrorKind kind, std::string_view message);

/// The same under a status that says more than the kind's: 404 of a path, 405, 408, 413, 415, 431.
[[nodiscard]] Response error_response(
    const Request& request, unsigned status, ErrorKind kind, std::string_view message);

/// Makes the answer of the exception that is being handled.
[[nodiscard]] Response response_of_current_exception(const Request& request) noexcept;

} // namespace arfc::server
