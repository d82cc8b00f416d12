#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "arfc/base/point_id.h"
#include "json_reader.h"
#include "json_writer.h"

namespace arfc::server {

/// Reads a point's id.
/// @throws Error  kUnsupported: a UUID. kInvalidArgument: no unsigned integer either.
[[nodiscard]] PointId read_point_id(JsonValue& value);

/// Reads an id as it stands in a path.
/// @param name  What messages call it.
[[nodiscard]] PointId point_id_from_text(std::string_view text, std::string_view name);

/// Writes a payload, null where there is none.
void write_payload(JsonWriter& json, std::string_view payload);

void write_vector(JsonWriter& json, std::span<const float> vector);

/// Appends one embedding.
/// @param what    What messages call it.
/// @throws Error  kUnsupported: a named, sparse or multi-vector, a text or image to embed.
/// kInvalidArgument: a value,
///                or it is not `dim` wide.
void append_embedding(
    JsonValue& value, std::size_t dim, std::vector<float>& out,
    std::string_view what = "Embedding");

} // namespace arfc::server
