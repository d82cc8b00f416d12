#include "arfc/base/error.h"

namespace arfc {

std::string_view to_string(ErrorKind kind) noexcept {
    switch (kind) {
        case ErrorKind::kInvalidArgument: return "invalid_argument";
        case ErrorKind::kNotFound: return "not_found";
        case ErrorKind::kAlreadyExists: return "already_exists";
        case ErrorKind::kFailedPrecondition: return "failed_precondition";
        case ErrorKind::kUnsupported: return "unsupported";
        case ErrorKind::kResourceExhausted: return "resource_exhausted";
        case ErrorKind::kCorruption: return "corruption";
        case ErrorKind::kIo: return "io";
        case ErrorKind::kInternal: return "internal";
        case ErrorKind::kUnauthenticated: return "unauthenticated";
        case ErrorKind::kPermissionDenied: return "permission_denied";
        case ErrorKind::kDeadlineExceeded: return "deadline_exceeded";
        case ErrorKind::kCancelled: return "cancelled";
    }
    return "internal";
}

} // namespace arfc
