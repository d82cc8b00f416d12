#include "terminal/numbers.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "arfc/base/error.h"
#include "terminal/text.h"

namespace arfc::tools {
namespace {

/// Takes a positive integer and the separator behind it, if it is there.
std::size_t take_number(std::string_view& rest, std::string_view text) {
    std::size_t value = 0;
    const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (code != std::errc() || value == 0) {
        fail(
            ErrorKind::kInvalidArgument,
            "Stages are not prefix lengths with row counts, such as 16:200,96: \"", text, "\"");
    }
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return value;
}

bool take(std::string_view& rest, char separator) {
    if (rest.empty() || rest.front() != separator) {
        return false;
    }
    rest.remove_prefix(1);
    return true;
}

} // namespace

std::string grouped(std::uint64_t count) {
    const std::string digits = std::to_string(count);
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0) {
            text += ',';
        }
        text += digits[i];
    }
    return text;
}

std::string with_digits(double value, int digits) {
    std::array<char, 400> text{}; // The largest double has 309 digits before the point.
    std::snprintf(text.data(), text.size(), "%.*f", digits, value);
    return text.data();
}

std::string readable_bytes(std::uint64_t bytes) {
    constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    return text_of(with_digits(value, unit == 0 ? 0 : 1), ' ', kUnits[unit]);
}

std::string readable_seconds(double seconds) {
    if (seconds < 9.95) {
        return text_of(with_digits(seconds, 1), " s");
    }
    constexpr double kLongest = 1e9; // 30 years: what is more is no estimate.
    const auto whole = static_cast<std::uint64_t>(std::llround(std::min(seconds, kLongest)));
    if (whole < 60) {
        return text_of(whole, " s");
    }
    if (whole < 3600) {
        return text_of(whole / 60, " min ", whole % 60, " s");
    }
    return text_of(whole / 3600, " h ", whole % 3600 / 60, " min");
}

std::uint64_t parse_size(std::string_view text) {
    constexpr std::string_view kUnits = "bkmgt";
    std::uint64_t size = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), size);
    std::string unit(end, text.data() + text.size());
    std::erase(unit, ' ');
    std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return std::tolower(c); });
    const std::size_t power = unit.empty() ? 0 : kUnits.find(unit[0]);
    const std::string_view rest = unit.empty() ? "" : std::string_view(unit).substr(1);
    bool good = code == std::errc() && size > 0 && power != std::string_view::npos &&
                (rest.empty() || (power > 0 && (rest == "b" || rest == "ib")));
    for (std::size_t i = 0; good && i < power; ++i) {
        good = !__builtin_mul_overflow(size, std::uint64_t{1024}, &size);
    }
    if (!good) {
        fail(
            ErrorKind::kInvalidArgument, "Size is not a number of bytes, such as 512M or 2G: \"",
            text, "\"");
    }
    return size;
}

std::vector<StageArgument> parse_stages(std::string_view text) {
    std::vector<StageArgument> stages;
    std::string_view rest = text;
    do {
        StageArgument stage{.bytes = take_number(rest, text)};
        if (take(rest, ':')) {
            stage.limit = take_number(rest, text);
        }
        if (!stages.empty() && stage.bytes <= stages.back().bytes) {
            fail(
                ErrorKind::kInvalidArgument, "Prefix lengths of the stages do not ascend: \"", text,
                "\"");
        }
        stages.push_back(stage);
    } while (take(rest, ','));
    if (!rest.empty()) {
        fail(
            ErrorKind::kInvalidArgument, "Stages end in something else, at \"", rest, "\": \"",
            text, "\"");
    }
    return stages;
}

std::vector<float> parse_vector(std::string_view text) {
    simdjson::dom::parser parser;
    simdjson::dom::array numbers;
    if (parser.parse(text.data(), text.size()).get(numbers) != simdjson::SUCCESS ||
        numbers.size() == 0) {
        fail(
            ErrorKind::kInvalidArgument,
            "Vector is not a JSON array of numbers, such as [0.1, -2]: \"", text.substr(0, 80),
            "\"");
    }
    std::vector<float> vector;
    for (const simdjson::dom::element number : numbers) {
        double value = 0;
        if (number.get(value) != simdjson::SUCCESS || !std::isfinite(static_cast<float>(value))) {
            fail(
                ErrorKind::kInvalidArgument,
                "Vector holds something that is not a number of float's range, at position: ",
                vector.size());
        }
        vector.push_back(static_cast<float>(value));
    }
    return vector;
}

} // namespace arfc::tools
