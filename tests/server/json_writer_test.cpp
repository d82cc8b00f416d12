#include "json_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

namespace arfc::server {
namespace {

std::string written(const auto& content) {
    std::string text;
    JsonWriter(text).value(content);
    return text;
}

TEST(JsonWriterTest, PlacesCommas) {
    std::string text;
    JsonWriter json(text);
    json.begin_object();
    json.field("a", 1);
    json.key("b");
    json.begin_array();
    json.value(2);
    json.value("three");
    json.begin_array();
    json.end_array();
    json.begin_object();
    json.end_object();
    json.null();
    json.end_array();
    json.key("c");
    json.json(R"({"raw":[1,2]})");
    json.field("d", false);
    json.end_object();
    EXPECT_EQ(text, R"({"a":1,"b":[2,"three",[],{},null],"c":{"raw":[1,2]},"d":false})");
}

TEST(JsonWriterTest, AppendsToWhatIsThere) {
    std::string text = "before ";
    JsonWriter(text).value(true);
    EXPECT_EQ(text, "before true");
}

TEST(JsonWriterTest, WritesIntegersToTheirLimits) {
    EXPECT_EQ(written(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615");
    EXPECT_EQ(written(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
}

TEST(JsonWriterTest, WritesFloatsThatReadBackAsTheSame) {
    std::mt19937 random(7);
    for (int i = 0; i < 100'000; ++i) {
        const auto bits = static_cast<std::uint32_t>(random());
        float value = 0;
        std::memcpy(&value, &bits, sizeof(value));
        if (std::isfinite(value)) {
            const std::string text = written(value);
            ASSERT_EQ(std::strtof(text.c_str(), nullptr), value) << text;
            ASSERT_TRUE(nlohmann::json::accept(text)) << text;
        }
    }
}

TEST(JsonWriterTest, WritesTheLongestDouble) {
    EXPECT_EQ(written(-2.2250738585072014e-308), "-2.2250738585072014e-308");
}

TEST(JsonWriterTest, WritesNullForWhatIsNoNumber) {
    EXPECT_EQ(written(std::numeric_limits<float>::quiet_NaN()), "null");
    EXPECT_EQ(written(-std::numeric_limits<double>::infinity()), "null");
}

TEST(JsonWriterTest, EscapesWhatMustBe) {
    EXPECT_EQ(
        written(std::string_view("a\"b\\c\b\f\n\r\t\x01\x1f\0z", 14)),
        R"("a\"b\\c\b\f\n\r\t\u0001\u001f\u0000z")");
    EXPECT_EQ(written("/ \x7f \xC3\xA9 \xF0\x9F\x90\x8D"), "\"/ \x7f \xC3\xA9 \xF0\x9F\x90\x8D\"");
}

TEST(JsonWriterTest, EveryTextReadsBack) {
    std::mt19937 random(3);
    for (int i = 0; i < 2'000; ++i) {
        std::string text(random() % 40, '\0');
        for (char& character : text) {
            character = static_cast<char>(random() % 128);
        }
        ASSERT_EQ(nlohmann::json::parse(written(text)).get<std::string>(), text);
    }
}

TEST(JsonWriterTest, ReplacesBytesThatAreNotUtf8) {
    const std::string text = written("a\xFF\x80z");
    EXPECT_EQ(text, "\"a\xEF\xBF\xBD\xEF\xBF\xBDz\"");
    EXPECT_TRUE(nlohmann::json::accept(text));
}

} // namespace
} // namespace arfc::server
