#include "json_reader.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "arfc/base/error.h"

namespace arfc::server {

namespace {

constexpr std::size_t kDeepestPayload = 128; // Levels; bounds the recursion of copy_to().
constexpr std::size_t kLongestQuote = 64; // Characters of a refused value that a message repeats.

std::string_view name_of(JsonValue::Type type) {
    switch (type) {
        case JsonValue::Type::kObject: return "an object";
        case JsonValue::Type::kArray: return "an array";
        case JsonValue::Type::kString: return "a string";
        case JsonValue::Type::kNumber: return "a number";
        case JsonValue::Type::kBoolean: return "a boolean";
        case JsonValue::Type::kNull: return "null";
    }
    return "a value";
}

std::size_t digits(std::string_view text, std::size_t from) {
    std::size_t end = from;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') {
        ++end;
    }
    return end - from;
}

/// Says whether a text is a number by JSON's grammar (RFC 8259, section 6), whatever its size.
bool is_json_number(std::string_view text) {
    std::size_t at = text.starts_with('-') ? 1 : 0;
    const std::size_t whole = digits(text, at);
    if (whole == 0 || (whole > 1 && text[at] == '0')) {
        return false;
    }
    at += whole;
    if (at < text.size() && text[at] == '.') {
        const std::size_t fraction = digits(text, at + 1);
        if (fraction == 0) {
            return false;
        }
        at += 1 + fraction;
    }
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
        ++at;
        at += at < text.size() && (text[at] == '+' || text[at] == '-') ? 1 : 0;
        const std::size_t exponent = digits(text, at);
        if (exponent == 0) {
            return false;
        }
        at += exponent;
    }
    return at == text.size();
}

/// simdjson reads ahead of a text's end, so there must be memory.
bool is_padded(const std::string& body) {
    return body.capacity() - body.size() >= simdjson::SIMDJSON_PADDING;
}

std::string padded_copy(const std::string& body) {
    std::string copy;
    copy.reserve(body.size() + simdjson::SIMDJSON_PADDING);
    copy = body;
    return copy;
}

} // namespace

std::string JsonPath::text() const {
    std::string text;
    append_to(text);
    return text.empty() ? "body" : text;
}

void JsonPath::append_to(std::string& text) const {
    if (parent_ == nullptr) {
        return;
    }
    parent_->append_to(text);
    if (name_.data() == nullptr) {
        text += '[' + std::to_string(index_) + ']';
        return;
    }
    if (!text.empty()) {
        text += '.';
    }
    text += name_;
}

void refuse_missing(std::string_view path) {
    fail(ErrorKind::kInvalidArgument, "Field is missing: ", path);
}

void SeenFields::add(std::string_view name, const JsonPath& object) {
    const auto end = names_.begin() + static_cast<std::ptrdiff_t>(count_);
    if (count_ == names_.size() || std::find(names_.begin(), end, name) != end) {
        fail(ErrorKind::kInvalidArgument, "Field comes twice: ", object.field(name).text());
    }
    names_[count_++] = name;
}

JsonDocument::JsonDocument(const std::string& body)
    : copy_(is_padded(body) ? std::string() : padded_copy(body)),
      body_(is_padded(body) ? body : copy_) {
    if (std::all_of(
            body_.begin(), body_.end(), [](unsigned char c) { return std::isspace(c) != 0; })) {
        fail(ErrorKind::kInvalidArgument, "Body is empty, a JSON object is expected");
    }
    check(parser_.iterate(body_.data(), body_.size(), body_.capacity()).get(document_));
    is_open_ = true;
}

void JsonDocument::check(simdjson::error_code error) {
    if (error == simdjson::MEMALLOC) {
        fail(
            ErrorKind::kResourceExhausted,
            "Memory ran out while a body was read, in bytes: ", body_.size());
    }
    if (error != simdjson::SUCCESS) {
        refuse_syntax(simdjson::error_message(error));
    }
}

void JsonDocument::refuse_syntax(std::string_view reason) {
    // simdjson's sentences say more than is known here after their first full stop.
    reason = reason.substr(0, reason.find_first_of(".("));
    while (reason.ends_with(' ')) {
        reason.remove_suffix(1);
    }
    const char* location = nullptr;
    if (is_open_ && document_.current_location().get(location) == simdjson::SUCCESS) {
        fail(
            ErrorKind::kInvalidArgument, "Body is not valid JSON: ", reason, ", near byte ",
            location - body_.data());
    }
    fail(ErrorKind::kInvalidArgument, "Body is not valid JSON: ", reason);
}

void JsonDocument::expect_end() {
    const char* location = nullptr;
    if (document_.current_location().get(location) == simdjson::SUCCESS) {
        refuse_syntax("something follows the object");
    }
}

JsonValue::Type JsonValue::type() {
    simdjson::ondemand::json_type type{};
    if (value_.type().get(type) != simdjson::SUCCESS) {
        fail(
            ErrorKind::kInvalidArgument, "Body is not valid JSON: no value begins so, ",
            path_.text(), ", ", token());
    }
    switch (type) {
        case simdjson::ondemand::json_type::object: return Type::kObject;
        case simdjson::ondemand::json_type::array: return Type::kArray;
        case simdjson::ondemand::json_type::string: return Type::kString;
        case simdjson::ondemand::json_type::number: return Type::kNumber;
        case simdjson::ondemand::json_type::boolean: return Type::kBoolean;
        case simdjson::ondemand::json_type::null: return Type::kNull;
    }
    return Type::kNull;
}

std::string_view JsonValue::token() {
    std::string_view text = value_.raw_json_token();
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
        text.remove_suffix(1);
    }
    return text.substr(0, kLongestQuote);
}

void JsonValue::expect(Type expected) {
    const Type found = type();
    if (found != expected) {
        fail(
            ErrorKind::kInvalidArgument, "Field has another type: ", path_.text(), " is ",
            name_of(found), ", expected ", name_of(expected));
    }
}

bool JsonValue::take_null() {
    if (type() != Type::kNull) {
        return false;
    }
    bool null = false;
    document_->check(value_.is_null().get(null));
    if (!null) {
        refuse_value("Value is not JSON");
    }
    return true;
}

bool JsonValue::is_absent(std::string_view name, std::span<const std::string_view> optional) {
    return std::find(optional.begin(), optional.end(), name) != optional.end() && take_null();
}

bool JsonValue::boolean() {
    expect(Type::kBoolean);
    bool truth = false;
    if (value_.get_bool().get(truth) != simdjson::SUCCESS) {
        refuse_value("Value is not JSON");
    }
    return truth;
}

std::string_view JsonValue::string() {
    expect(Type::kString);
    std::string_view text;
    document_->check(value_.get_string().get(text));
    return text;
}

std::uint64_t JsonValue::unsigned_number(std::uint64_t smallest, std::uint64_t largest) {
    expect(Type::kNumber);
    std::uint64_t number = 0;
    if (value_.get_uint64().get(number) != simdjson::SUCCESS) {
        if (!is_json_number(token())) {
            refuse_value("Value is not JSON");
        }
        refuse_value("Number is not an unsigned 64-bit integer");
    }
    if (number < smallest || number > largest) {
        fail(
            ErrorKind::kInvalidArgument, "Number is out of range: ", path_.text(), ", ", number,
            ", expected ", smallest, " to ", largest);
    }
    return number;
}

double JsonValue::number() {
    expect(Type::kNumber);
    double number = 0;
    if (value_.get_double().get(number) != simdjson::SUCCESS) {
        refuse_number();
    }
    return number;
}

float JsonValue::number_as_float() {
    const double wide = number();
    if (std::abs(wide) > std::numeric_limits<float>::max()) {
        refuse_value("Number does not fit float32");
    }
    return static_cast<float>(wide);
}

void JsonValue::refuse_number() {
    refuse_value(is_json_number(token()) ? "Number does not fit a double" : "Value is not JSON");
}

void JsonValue::refuse_value(std::string_view what) {
    const std::string_view text = token();
    fail(ErrorKind::kInvalidArgument, what, ": ", path_.text(), ", ", text);
}

void JsonValue::copy_to(JsonWriter& writer, std::size_t depth) {
    if (depth == kDeepestPayload) {
        fail(
            ErrorKind::kInvalidArgument, "Value is nested too deeply: ", path_.text(),
            ", expected at most ", kDeepestPayload, " levels");
    }
    switch (type()) {
        case Type::kObject: {
            // Not each_field(): a payload may have any number of fields.
            simdjson::ondemand::object object;
            document_->check(value_.get_object().get(object));
            writer.begin_object();
            for (auto result : object) {
                simdjson::ondemand::field field;
                document_->check(std::move(result).get(field));
                std::string_view name;
                document_->check(field.unescaped_key().get(name));
                writer.key(name);
                JsonValue(*document_, field.value(), path_.field(name)).copy_to(writer, depth + 1);
            }
            writer.end_object();
            return;
        }
        case Type::kArray:
            writer.begin_array();
            each_element(
                [&](std::size_t, JsonValue& element) { element.copy_to(writer, depth + 1); });
            writer.end_array();
            return;
        case Type::kString: writer.value(string()); return;
        case Type::kNumber: {
            // The digits themselves: a 64-bit integer would not survive a double.
            std::string_view text = value_.raw_json_token();
            while (std::isspace(static_cast<unsigned char>(text.back())) != 0) {
                text.remove_suffix(1);
            }
            (void)number();
            writer.json(text);
            return;
        }
        case Type::kBoolean: writer.value(boolean()); return;
        case Type::kNull:
            (void)take_null();
            writer.null();
            return;
    }
}

void JsonValue::refuse(std::string_view name, std::span<const std::string_view> not_offered) {
    if (std::find(not_offered.begin(), not_offered.end(), name) == not_offered.end()) {
        fail(ErrorKind::kInvalidArgument, "Field is unknown: ", path_.text());
    }
    if (!take_null()) {
        refuse_as_not_offered();
    }
}

void JsonValue::refuse_as_not_offered() const {
    fail(ErrorKind::kUnsupported, "Field is not offered: ", path_.text());
}

} // namespace arfc::server
