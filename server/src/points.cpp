#include "points.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "arfc/base/error.h"

namespace arfc::server {

namespace {

/// Says whether a text is a UUID as Qdrant takes them: 32 hexadecimal digits, dashed 8-4-4-4-12 or
/// not at all.
bool is_uuid(std::string_view text) {
    constexpr std::string_view kPrefix = "urn:uuid:";
    if (text.starts_with(kPrefix)) {
        text.remove_prefix(kPrefix.size());
    }
    const bool dashed = text.size() == 36;
    if (!dashed && text.size() != 32) {
        return false;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash_here = dashed && (i == 8 || i == 13 || i == 18 || i == 23);
        if (dash_here ? text[i] != '-' : std::isxdigit(static_cast<unsigned char>(text[i])) == 0) {
            return false;
        }
    }
    return true;
}

[[noreturn]] void refuse_id(std::string_view name, std::string_view text) {
    if (is_uuid(text)) {
        fail(
            ErrorKind::kUnsupported, "UUIDs are not offered as point ids: ", name, ", \"", text,
            "\"");
    }
    fail(
        ErrorKind::kInvalidArgument,
        "Point id is neither an unsigned 64-bit integer nor a UUID: ", name, ", \"",
        text.substr(0, 64), "\"");
}

} // namespace

PointId read_point_id(JsonValue& value) {
    if (value.type() == JsonValue::Type::kString) {
        refuse_id(value.path().text(), value.string());
    }
    return value.unsigned_number();
}

PointId point_id_from_text(std::string_view text, std::string_view name) {
    PointId id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size()) {
        refuse_id(name, text);
    }
    return id;
}

void write_payload(JsonWriter& json, std::string_view payload) {
    if (payload.empty()) {
        json.null();
    } else {
        json.json(payload);
    }
}

void write_vector(JsonWriter& json, std::span<const float> vector) {
    json.begin_array();
    for (const float value : vector) {
        json.value(value);
    }
    json.end_array();
}

void append_embedding(
    JsonValue& value, std::size_t dim, std::vector<float>& out, std::string_view what) {
    if (value.type() == JsonValue::Type::kObject) {
        value.refuse_as_not_offered(); // A named or sparse one, or something to embed.
    }
    const std::size_t before = out.size();
    value.each_element([&](std::size_t, JsonValue& element) {
        if (element.type() == JsonValue::Type::kArray) {
            element.refuse_as_not_offered(); // A multi-vector.
        }
        out.push_back(element.number_as_float());
    });
    if (out.size() - before != dim) {
        fail(
            ErrorKind::kInvalidArgument, what,
            " width differs from the collection's: ", out.size() - before, ", expected ", dim,
            ", in ", value.path().text());
    }
}

} // namespace arfc::server
