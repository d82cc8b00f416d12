#pragma once

#include "arfc/base/error.h"

namespace arfc::tools {

/// Returns the program's exit code for a kind of error; 0 is success. docs/cli.md lists them.
[[nodiscard]] constexpr int exit_code(ErrorKind kind) noexcept {
    switch (kind) {
        case ErrorKind::kInternal: return 1;
        case ErrorKind::kInvalidArgument: return 2;
        case ErrorKind::kNotFound: return 3;
        case ErrorKind::kAlreadyExists: return 4;
        case ErrorKind::kFailedPrecondition: return 5;
        case ErrorKind::kUnsupported: return 6;
        case ErrorKind::kResourceExhausted: return 7;
        case ErrorKind::kCorruption: return 8;
        case ErrorKind::kIo: return 9;
        case ErrorKind::kUnauthenticated: return 10;
        case ErrorKind::kPermissionDenied: return 11;
        case ErrorKind::kDeadlineExceeded: return 12;
        case ErrorKind::kCancelled: return 13;
    }
    return 1;
}

} // namespace arfc::tools
