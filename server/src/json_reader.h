#pragma once

#include <simdjson.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json_writer.h"

namespace arfc::server {

/// Where a value lies in a body, such as `points[3].vector[7]`; a chain of steps on the stack,
/// spelled out for messages only. A step must not outlive the one that it was made from.
class JsonPath {
  public:
    JsonPath() noexcept = default;

    [[nodiscard]] JsonPath field(std::string_view name) const noexcept { return {this, name, 0}; }
    [[nodiscard]] JsonPath element(std::size_t index) const noexcept { return {this, {}, index}; }

    /// Returns the path, "body" for the root.
    [[nodiscard]] std::string text() const;

  private:
    JsonPath(const JsonPath* parent, std::string_view name, std::size_t index) noexcept
        : parent_(parent), name_(name), index_(index) {}
    void append_to(std::string& text) const;

    const JsonPath* parent_ = nullptr;
    std::string_view name_; ///< Of a field; elements have none.
    std::size_t index_ = 0;
};

class JsonDocument;

/// One value of a request's body, read once and in order.
///
/// Every reading function throws Error kInvalidArgument with the value's path: where the value is
/// of another type or out of range, and where the body turns out not to be JSON. Whoever visits
/// fields reads each or refuses it.
class JsonValue {
  public:
    enum class Type : std::uint8_t { kObject, kArray, kString, kNumber, kBoolean, kNull };

    /// Calls `visit(name, value)` for each field; a field that comes twice is refused.
    template <class Visit>
    void each_field(Visit&& visit);

    /// Calls `visit(index, value)` for each element.
    template <class Visit>
    void each_element(Visit&& visit);

    [[nodiscard]] Type type();

    /// Consumes a null and says whether there was one.
    [[nodiscard]] bool take_null();

    /// Says whether this is a null under one of these names: then the field counts as absent, and
    /// is consumed.
    [[nodiscard]] bool is_absent(std::string_view name, std::span<const std::string_view> optional);

    [[nodiscard]] bool boolean();
    [[nodiscard]] std::string_view string(); ///< Unescaped; lives as long as the document.
    [[nodiscard]] std::uint64_t unsigned_number(
        std::uint64_t smallest = 0,
        std::uint64_t largest = std::numeric_limits<std::uint64_t>::max());
    [[nodiscard]] double number();

    /// Reads a number that float32 can hold (rounded to the nearest), and refuses larger ones.
    [[nodiscard]] float number_as_float();

    /// Writes the value without insignificant white space; numbers keep their digits.
    void copy_to(JsonWriter& writer) { copy_to(writer, 0); }

    /// Refuses a field that its object does not have: kInvalidArgument, or kUnsupported if
    /// `not_offered` names it. Null stands for absence: a field of `not_offered` may have it.
    void refuse(std::string_view name, std::span<const std::string_view> not_offered = {});

    /// @throws Error  kUnsupported, with the path.
    [[noreturn]] void refuse_as_not_offered() const;
    /// @throws Error  kInvalidArgument: "<what>: <path>, <this value>".
    [[noreturn]] void refuse_value(std::string_view what);

    [[nodiscard]] const JsonPath& path() const noexcept { return path_; }

  private:
    friend class JsonDocument;
    JsonValue(JsonDocument& document, simdjson::ondemand::value value, JsonPath path) noexcept
        : document_(&document), value_(value), path_(path) {}

    void copy_to(JsonWriter& writer, std::size_t depth);
    void expect(Type expected);
    [[nodiscard]] std::string_view token(); ///< The text of a scalar, of the first character of
                                            ///< anything else.
    [[noreturn]] void refuse_number();

    JsonDocument* document_;
    simdjson::ondemand::value value_;
    JsonPath path_;
};

/// A request's body while it is read: an object. Thread-compatible.
class JsonDocument {
  public:
    /// @param body  Must outlive the document; is copied unless it has capacity for
    /// SIMDJSON_PADDING bytes more.
    /// @throws Error  kInvalidArgument: the body is empty or plainly not JSON.
    explicit JsonDocument(const std::string& body);
    JsonDocument(const JsonDocument&) = delete;
    JsonDocument& operator=(const JsonDocument&) = delete;
    ~JsonDocument() = default;

    /// Reads the whole body: calls `visit(name, value)` for each field of the outermost object,
    /// then makes sure that nothing follows it. To be called once.
    template <class Visit>
    void read(Visit&& visit);

  private:
    friend class JsonValue;

    template <class Visit>
    void each_field(simdjson::ondemand::object& object, const JsonPath& path, Visit&& visit);
    void check(simdjson::error_code error);
    [[noreturn]] void refuse_syntax(std::string_view reason);
    void expect_end();

    std::string copy_; ///< Where the body leaves the parser no room to read ahead.
    const std::string& body_;
    simdjson::ondemand::parser parser_;
    simdjson::ondemand::document document_;
    bool is_open_ = false; ///< Whether `document_` is one.
};

/// Refuses an object without a field that it must have.
/// @throws Error  kInvalidArgument: "Field is missing: <path>".
[[noreturn]] void refuse_missing(std::string_view path);

/// Tells the fields of an object apart from those that came before. An object has few: what is
/// unknown is refused.
class SeenFields {
  public:
    /// @throws Error  kInvalidArgument: the name came before.
    void add(std::string_view name, const JsonPath& object);

  private:
    std::array<std::string_view, 48> names_; // More than any object has known fields.
    std::size_t count_ = 0;
};

template <class Visit>
void JsonDocument::each_field(
    simdjson::ondemand::object& object, const JsonPath& path, Visit&& visit) {
    SeenFields seen;
    for (auto result : object) {
        simdjson::ondemand::field field;
        check(std::move(result).get(field));
        std::string_view name;
        check(field.unescaped_key().get(name));
        seen.add(name, path);
        JsonValue value(*this, field.value(), path.field(name));
        visit(name, value);
    }
}

template <class Visit>
void JsonDocument::read(Visit&& visit) {
    simdjson::ondemand::object object;
    const simdjson::error_code error = document_.get_object().get(object);
    if (error == simdjson::INCORRECT_TYPE) {
        refuse_syntax("not an object");
    }
    check(error);
    const JsonPath root;
    each_field(object, root, visit);
    expect_end();
}

template <class Visit>
void JsonValue::each_field(Visit&& visit) {
    expect(Type::kObject);
    simdjson::ondemand::object object;
    document_->check(value_.get_object().get(object));
    document_->each_field(object, path_, visit);
}

template <class Visit>
void JsonValue::each_element(Visit&& visit) {
    expect(Type::kArray);
    simdjson::ondemand::array array;
    document_->check(value_.get_array().get(array));
    std::size_t index = 0;
    for (auto result : array) {
        simdjson::ondemand::value element;
        document_->check(std::move(result).get(element));
        JsonValue value(*document_, element, path_.element(index));
        visit(index, value);
        ++index;
    }
}

} // namespace arfc::server
