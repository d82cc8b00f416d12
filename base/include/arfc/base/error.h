#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace arfc {

/// Says what went wrong, in terms of what the caller can do about it.
///
/// A closed set: the doors map it to HTTP statuses, exit codes and Python classes by exhaustive
/// switches without `default`, so a kind added here does not compile until every door knows it.
enum class ErrorKind : std::uint8_t {
    kInvalidArgument,    ///< The request itself is wrong: a shape, a range, a syntax. Change it.
    kNotFound,           ///< The named thing does not exist.
    kAlreadyExists,      ///< The named thing exists and the request would create it.
    kFailedPrecondition, ///< Right request, wrong state: not trained, closed, open elsewhere.
    kUnsupported,        ///< Understood, and not offered by this build, format or model.
    kResourceExhausted,  ///< Memory, disk or a quota ran out; the same request may pass later.
    kCorruption,         ///< Stored bytes are not what was written, or not of this format.
    kIo,                 ///< The operating system refused a read or a write.
    kInternal,           ///< A bug of arfc.
    kUnauthenticated,    ///< No valid credential.
    kPermissionDenied,   ///< The credential does not cover this.
    kDeadlineExceeded,   ///< The caller's time limit passed.
    kCancelled,          ///< The caller withdrew the request.
};

/// Returns the kind's stable name in words, such as "invalid_argument": for logs and wire formats.
[[nodiscard]] std::string_view to_string(ErrorKind kind) noexcept;

/// The one exception that leaves a room. The message is a sentence with the values at its end.
class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

    [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }

  private:
    ErrorKind kind_;
};

/// Throws an Error whose message is the parts, streamed one after the other.
template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
    std::ostringstream message;
    (message << ... << parts);
    throw Error(kind, message.str());
}

} // namespace arfc
