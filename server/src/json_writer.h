#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <string>
#include <string_view>

namespace arfc::server {

/// Appends JSON to a text that somebody else owns; places the commas. Allocates only when the text
/// grows. The caller keeps objects and arrays balanced and gives each key one value.
class JsonWriter {
  public:
    explicit JsonWriter(std::string& out) noexcept : out_(out) {}

    void begin_object() { open('{'); }
    void end_object() { close('}'); }
    void begin_array() { open('['); }
    void end_array() { close(']'); }

    void key(std::string_view name) {
        separate();
        append_string(name);
        out_ += ':';
        needs_comma_ = false;
    }

    /// Bytes that are not UTF-8 become U+FFFD, so that the answer stays valid.
    void value(std::string_view text) {
        separate();
        append_string(text);
    }
    void value(const char* text) { value(std::string_view(text)); }
    void value(std::same_as<bool> auto truth) { json(truth ? "true" : "false"); }
    void value(std::integral auto number) requires(!std::same_as<decltype(number), bool>) {
        append_number(number);
    }
    /// The shortest text that reads back as the same number; null for what JSON cannot write.
    void value(std::floating_point auto number) {
        if (std::isfinite(number)) {
            append_number(number);
        } else {
            null();
        }
    }
    void null() { json("null"); }

    /// Appends a text that is JSON already.
    void json(std::string_view text) {
        separate();
        out_ += text;
    }

    void field(std::string_view name, const auto& content) {
        key(name);
        value(content);
    }

  private:
    void open(char bracket) {
        separate();
        out_ += bracket;
        needs_comma_ = false;
    }
    void close(char bracket) {
        out_ += bracket;
        needs_comma_ = true;
    }
    void separate() {
        if (needs_comma_) {
            out_ += ',';
        }
        needs_comma_ = true;
    }
    void append_number(auto number) {
        separate();
        char text[32]; // The longest double has 24 characters.
        const char* const end = std::to_chars(text, text + sizeof(text), number).ptr;
        out_.append(text, static_cast<std::size_t>(end - text));
    }
    void append_string(std::string_view text);

    std::string& out_;
    bool needs_comma_ = false;
};

} // namespace arfc::server
