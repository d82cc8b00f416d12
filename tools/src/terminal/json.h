#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "readers/row_reader.h"

namespace arfc::tools {

/// Results of the program: fields stay in the order in which they were written.
using Json = nlohmann::ordered_json;

/// Writes JSON on one line; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] inline std::string to_text(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Returns {"row", "line", "reason"}.
[[nodiscard]] inline Json to_json(const RejectedRow& row) {
    Json json = {{"row", row.row}};
    if (row.line) {
        json["line"] = *row.line;
    }
    json["reason"] = row.reason;
    return json;
}

} // namespace arfc::tools
