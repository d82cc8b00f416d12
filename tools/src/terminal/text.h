#pragma once

#include <sstream>
#include <string>

namespace arfc::tools {

/// Returns the parts, streamed one after the other.
template <class... Parts>
[[nodiscard]] std::string text_of(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
}

} // namespace arfc::tools
