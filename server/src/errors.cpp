#include "errors.h"

#include <spdlog/spdlog.h>

#include <new>

#include "envelope.h"
#include "json_writer.h"

namespace arfc::server {

unsigned http_status(ErrorKind kind) noexcept {
    switch (kind) {
        case ErrorKind::kInvalidArgument: return 400;
        case ErrorKind::kNotFound: return 404;
        case ErrorKind::kAlreadyExists:
        case ErrorKind::kFailedPrecondition: return 409;
        case ErrorKind::kUnsupported: return 501;
        case ErrorKind::kResourceExhausted: return 503;
        case ErrorKind::kCorruption:
        case ErrorKind::kIo:
        case ErrorKind::kInternal: return 500;
        case ErrorKind::kUnauthenticated: return 401;
        case ErrorKind::kPermissionDenied: return 403;
        case ErrorKind::kDeadlineExceeded: return 504;
        case ErrorKind::kCancelled: return 499;
    }
    return 500;
}

Response error_response(const Request& request, ErrorKind kind, std::string_view message) {
    return error_response(request, http_status(kind), kind, message);
}

Response error_response(
    const Request& request, unsigned status, ErrorKind kind, std::string_view message) {
    if (status >= 500 && kind != ErrorKind::kUnsupported) {
        spdlog::error(
            "Request {} failed, {} {}: {}", request.number, to_string(request.method),
            request.target, message);
    }
    Response response;
    response.status = status;
    if (kind == ErrorKind::kResourceExhausted) {
        response.headers.emplace_back("Retry-After", "1"); // Seconds.
    }
    JsonWriter json(response.body);
    json.begin_object();
    json.key("status");
    json.begin_object();
    if (kind == ErrorKind::kInternal) {
        json.field(
            "error", "An error inside the server; its log has the details, request " +
                         std::to_string(request.number));
    } else {
        json.field("error", message);
    }
    json.field("kind", to_string(kind));
    json.end_object();
    json.field("time", seconds_since(request.received));
    json.end_object();
    return response;
}

Response response_of_current_exception(const Request& request) noexcept {
    try {
        throw;
    } catch (const Error& error) {
        return error_response(request, error.kind(), error.what());
    } catch (const std::bad_alloc&) {
        return error_response(
            request, ErrorKind::kResourceExhausted,
            "Memory ran out while the request was answered");
    } catch (const std::exception& error) {
        return error_response(request, ErrorKind::kInternal, error.what());
    } catch (...) {
        return error_response(request, ErrorKind::kInternal, "an exception of an unknown type");
    }
}

} // namespace arfc::server
