#include "json_reader.h"

#include <nlohmann/json.hpp>
#include <random>

#include "expect_error.h"

namespace arfc::server {
namespace {

using Type = JsonValue::Type;

/// Reads a body whose one field is "x", by `read(value)`.
void read_x(const std::string& body, const std::function<void(JsonValue&)>& read) {
    JsonDocument(body).read([&](std::string_view name, JsonValue& value) {
        ASSERT_EQ(name, "x");
        read(value);
    });
}

std::string copied(const std::string& text) {
    std::string copy;
    read_x("{\"x\":" + text + "}", [&](JsonValue& value) {
        JsonWriter writer(copy);
        value.copy_to(writer);
    });
    return copy;
}

void expect_refused(const std::string& body, const std::string& message) {
    ARFC_EXPECT_ERROR(
        JsonDocument(body).read([](std::string_view, JsonValue& value) {
            std::string copy;
            JsonWriter writer(copy);
            value.copy_to(writer);
        }),
        ErrorKind::kInvalidArgument, message);
}

TEST(JsonReaderTest, ReadsEachType) {
    read_x(R"({"x": 18446744073709551615})", [](JsonValue& x) {
        EXPECT_EQ(x.unsigned_number(), 18446744073709551615U);
    });
    read_x(R"({"x": -0.5e1})", [](JsonValue& x) { EXPECT_EQ(x.number(), -5); });
    read_x(R"({"x": 3})", [](JsonValue& x) { EXPECT_EQ(x.number_as_float(), 3); });
    read_x(R"({"x": true})", [](JsonValue& x) { EXPECT_TRUE(x.boolean()); });
    read_x(R"({"x": "a\u00e9\n"})", [](JsonValue& x) { EXPECT_EQ(x.string(), "a\xC3\xA9\n"); });
    read_x(R"({"x": null})", [](JsonValue& x) { EXPECT_TRUE(x.take_null()); });
    read_x(R"({"x": 0})", [](JsonValue& x) {
        EXPECT_FALSE(x.take_null());
        EXPECT_EQ(x.unsigned_number(), 0);
    });
}

TEST(JsonReaderTest, NamesThePathOfWhatItRefuses) {
    const std::string body = R"({"x": [{"y": [1, {"z": "text"}]}]})";
    ARFC_EXPECT_ERROR(
        read_x(
            body,
            [](JsonValue& x) {
                x.each_element([](std::size_t, JsonValue& element) {
                    element.each_field([](std::string_view, JsonValue& y) {
                        y.each_element([](std::size_t index, JsonValue& inner) {
                            if (index == 0) {
                                EXPECT_EQ(inner.unsigned_number(), 1);
                                return;
                            }
                            inner.each_field(
                                [](std::string_view, JsonValue& z) { (void)z.number(); });
                        });
                    });
                });
            }),
        ErrorKind::kInvalidArgument,
        "Field has another type: x[0].y[1].z is a string, expected a number");
}

TEST(JsonReaderTest, RefusesNumbersOutOfRange) {
    const auto expect = [](const std::string& number, const std::function<void(JsonValue&)>& read,
                           const std::string& message) {
        ARFC_EXPECT_ERROR(
            read_x("{\"x\":" + number + "}", read), ErrorKind::kInvalidArgument, message);
    };
    const auto as_unsigned = [](JsonValue& x) { (void)x.unsigned_number(1, 9); };
    expect("0", as_unsigned, "Number is out of range: x, 0, expected 1 to 9");
    expect("10", as_unsigned, "Number is out of range: x, 10, expected 1 to 9");
    expect("-1", as_unsigned, "Number is not an unsigned 64-bit integer: x, -1");
    expect("1.5", as_unsigned, "Number is not an unsigned 64-bit integer: x, 1.5");
    expect(
        "18446744073709551616", as_unsigned,
        "Number is not an unsigned 64-bit integer: x, 18446744073709551616");
    const auto as_float = [](JsonValue& x) { (void)x.number_as_float(); };
    expect("1e39", as_float, "Number does not fit float32: x, 1e39");
    expect("-3.5e38", as_float, "Number does not fit float32: x, -3.5e38");
    expect("1e999", as_float, "Number does not fit a double: x, 1e999");
}

TEST(JsonReaderTest, RefusesWhatIsNotJson) {
    const auto as_float = [](JsonValue& x) { (void)x.number_as_float(); };
    for (const std::string number :
         {"01", "1.", "-", "+1", ".5", "1e", "0x10", "1a", "-Infinity", "NaN", "Infinity"}) {
        ARFC_EXPECT_ERROR(
            read_x("{\"x\":" + number + "}", as_float), ErrorKind::kInvalidArgument, "not");
        ARFC_EXPECT_ERROR(
            read_x("{\"x\":" + number + "}", as_float), ErrorKind::kInvalidArgument, "JSON");
        ARFC_EXPECT_ERROR(
            read_x("{\"x\":" + number + "}", as_float), ErrorKind::kInvalidArgument,
            "x, " + number);
    }
    expect_refused("", "Body is empty");
    expect_refused(" \n\t ", "Body is empty");
    expect_refused("[1]", "Body is not valid JSON: not an object");
    expect_refused("3", "Body is not valid JSON");
    expect_refused("{", "Body is not valid JSON");
    expect_refused("{\"x\"", "Body is not valid JSON");
    expect_refused("{\"x\":1", "Body is not valid JSON");
    expect_refused("{\"x\":1}}", "Body is not valid JSON");
    expect_refused("{\"x\":1} 2", "Body is not valid JSON");
    expect_refused(
        "{\"x\":1}{}", "Body is not valid JSON: something follows the object, near byte 7");
    expect_refused("{\"x\" 1}", "Body is not valid JSON");
    expect_refused("{\"x\":1,}", "Body is not valid JSON");
    expect_refused("{\"x\":[1,]}", "JSON");
    expect_refused("{\"x\":[1 2]}", "Body is not valid JSON");
    expect_refused("{x:1}", "Body is not valid JSON");
    expect_refused("{\"x\":\"a}", "Body is not valid JSON");
    expect_refused("{\"x\":\"\\q\"}", "Body is not valid JSON");
    expect_refused("{\"x\":\"\\ud800\"}", "Body is not valid JSON");
    expect_refused("{\"x\":\"\n\"}", "Body is not valid JSON");
    expect_refused("{\"x\":\"\xFF\"}", "Body is not valid JSON");
    expect_refused("{\"x\":tru}", "Value is not JSON: x, tru");
    expect_refused("{\"x\":nul}", "JSON");
    expect_refused("{\"x\":falsee}", "Value is not JSON: x, falsee");
}

TEST(JsonReaderTest, SaysWhereABodyBreaks) {
    expect_refused("{\"x\":[1, 2 3]}", "near byte 11");
}

TEST(JsonReaderTest, RefusesAFieldThatComesTwice) {
    ARFC_EXPECT_ERROR(
        JsonDocument(R"({"a": 1, "b": 2, "a": 3})").read([](std::string_view, JsonValue& value) {
            (void)value.unsigned_number();
        }),
        ErrorKind::kInvalidArgument, "Field comes twice: a");
}

TEST(JsonReaderTest, TellsUnknownFieldsFromThoseNotOffered) {
    constexpr std::string_view kNotOffered[] = {"later"};
    const auto read = [&](const std::string& body) {
        JsonDocument(body).read(
            [&](std::string_view name, JsonValue& value) { value.refuse(name, kNotOffered); });
    };
    ARFC_EXPECT_ERROR(
        read(R"({"never": 1})"), ErrorKind::kInvalidArgument, "Field is unknown: never");
    ARFC_EXPECT_ERROR(
        read(R"({"never": null})"), ErrorKind::kInvalidArgument, "Field is unknown: never");
    ARFC_EXPECT_ERROR(
        read(R"({"later": {"a": 1}})"), ErrorKind::kUnsupported, "Field is not offered: later");
    EXPECT_NO_THROW(read(R"({"later": null})"));
}

TEST(JsonReaderTest, CopiesValuesWithTheirDigits) {
    EXPECT_EQ(copied("12345678901234567890123"), "12345678901234567890123");
    EXPECT_EQ(copied("[ 1.10 ,\t-0, 1E5 ]"), "[1.10,-0,1E5]");
    EXPECT_EQ(
        copied(
            " { \"a\" : { \"b\" : [ ] , \"c\" : \"\\u0041\\n\" } , \"d\" : null, \"e\": true } "),
        R"({"a":{"b":[],"c":"A\n"},"d":null,"e":true})");
}

TEST(JsonReaderTest, CopiesObjectsOfAnyWidth) {
    nlohmann::json wide;
    for (int i = 0; i < 500; ++i) {
        wide["field " + std::to_string(i)] = i;
    }
    EXPECT_EQ(nlohmann::json::parse(copied(wide.dump(2))), wide);
}

TEST(JsonReaderTest, RefusesDeepNestingAndAllowsTheRest) {
    const auto nested = [](std::size_t levels) {
        return std::string(levels, '[') + std::string(levels, ']');
    };
    EXPECT_EQ(copied(nested(128)), nested(128));
    ARFC_EXPECT_ERROR((void)copied(nested(129)), ErrorKind::kInvalidArgument, "nested too deeply");
    ARFC_EXPECT_ERROR(
        (void)copied(nested(1'000'000)), ErrorKind::kInvalidArgument, "nested too deeply");
}

/// Damages valid bodies at random and compares the verdict with another parser's.
TEST(JsonReaderTest, AgreesWithAnotherParserOnDamagedBodies) {
    const std::string sound =
        R"({"a":[1,-2.5e3,{"b":"c\n\u00e9d"},[]],"e":{"f":true,"g":false,"h":null},"i":"",)"
        R"("j":0.125})";
    constexpr std::string_view kCharacters = "{}[]:,\"\\ntfu0123456789.-+eE \x01\xC3";
    std::mt19937 random(11);
    int accepted = 0;
    for (int i = 0; i < 50'000; ++i) {
        std::string body = sound;
        for (std::uint32_t edits = 1 + random() % 2; edits > 0; --edits) {
            const std::size_t at = random() % body.size();
            switch (random() % 3) {
                case 0: body[at] = kCharacters[random() % kCharacters.size()]; break;
                case 1: body.erase(at, 1 + random() % 3); break;
                default: body.insert(at, 1, kCharacters[random() % kCharacters.size()]); break;
            }
        }
        std::string copy = "{";
        bool valid = true;
        bool twice = false;
        try {
            JsonWriter writer(copy);
            JsonDocument(body).read([&](std::string_view name, JsonValue& value) {
                writer.key(name);
                value.copy_to(writer);
            });
            copy += '}';
        } catch (const Error& error) {
            valid = false;
            twice = std::string_view(error.what()).starts_with("Field comes twice") ||
                    std::string_view(error.what()).find("fit a double") != std::string_view::npos;
        }
        const nlohmann::json other = nlohmann::json::parse(body, nullptr, false);
        if (!twice) {
            ASSERT_EQ(valid, other.is_object()) << body;
        }
        if (valid) {
            ++accepted;
            ASSERT_EQ(nlohmann::json::parse(copy), other) << body;
        }
    }
    EXPECT_GT(accepted, 1'000); // Or the test would say little.
}

} // namespace
} // namespace arfc::server
