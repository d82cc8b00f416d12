#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <string>

namespace arfc::tools {

/// Declares an option that takes a whole number, into `value`. CLI11 alone takes "-1" for the
/// largest number of an unsigned type, and too large ones for the largest.
template <class Value>
CLI::Option* add_count(
    CLI::App& command, const std::string& name, Value& value, const std::string& description) {
    const auto check = [](const std::string& text) {
        std::uint64_t number = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, code] = std::from_chars(text.data(), end, number);
        return code == std::errc() && stop == end
                 ? std::string()
                 : "not a whole number of 0 to 2^64 - 1: \"" + text + "\"";
    };
    return command.add_option(name, value, description)->check(CLI::Validator(check, ""));
}

} // namespace arfc::tools
