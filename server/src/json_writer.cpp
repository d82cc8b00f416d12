#include "json_writer.h"

#include <simdjson.h>

namespace arfc::server {

namespace {

void append_escaped(std::string& out, char character) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    switch (character) {
        case '"': out += "\\\""; break;
        case '\\': out += "\\\\"; break;
        case '\b': out += "\\b"; break;
        case '\f': out += "\\f"; break;
        case '\n': out += "\\n"; break;
        case '\r': out += "\\r"; break;
        case '\t': out += "\\t"; break;
        default:
            out += "\\u00";
            out += kDigits[static_cast<unsigned char>(character) >> 4U];
            out += kDigits[static_cast<unsigned char>(character) & 15U];
    }
}

} // namespace

void JsonWriter::append_string(std::string_view text) {
    constexpr std::string_view kReplacement = "\xEF\xBF\xBD"; // U+FFFD
    const bool valid = simdjson::validate_utf8(text.data(), text.size());
    out_ += '"';
    std::size_t copied = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool replace = byte >= 0x80 && !valid;
        if (byte >= 0x20 && byte != '"' && byte != '\\' && !replace) {
            continue;
        }
        out_.append(text, copied, i - copied);
        copied = i + 1;
        if (replace) {
            out_ += kReplacement;
        } else {
            append_escaped(out_, text[i]);
        }
    }
    out_.append(text, copied);
    out_ += '"';
}

} // namespace arfc::server
