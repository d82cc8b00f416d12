#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace arfc::tools {

/// Writes facts as aligned lines, "name  value".
[[nodiscard]] inline std::string key_values(
    const std::vector<std::pair<std::string, std::string>>& facts) {
    std::size_t width = 0;
    for (const auto& [name, value] : facts) {
        width = std::max(width, name.size());
    }
    std::string text;
    for (const auto& [name, value] : facts) {
        text.append(name).append(width - name.size() + 2, ' ').append(value).append("\n");
    }
    return text;
}

} // namespace arfc::tools
