#pragma once

#include <concepts>
#include <utility>

#include "arfc/base/error.h"

namespace arfc {

/// Converts between integer types and refuses to lose the value.
/// @throws Error  kInvalidArgument: `value` is not representable in `To`.
template <std::integral To, std::integral From>
[[nodiscard]] constexpr To narrow(From value) {
    if (!std::in_range<To>(value)) {
        fail(ErrorKind::kInvalidArgument, "Number is outside the range of its type: ", value);
    }
    return static_cast<To>(value);
}

} // namespace arfc
