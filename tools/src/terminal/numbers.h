#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace arfc::tools {

/// Writes a count in groups of three digits: "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t count);

/// Writes a size in the largest binary unit that it fills: "0 B", "17 B", "1.5 MiB".
[[nodiscard]] std::string readable_bytes(std::uint64_t bytes);

/// Writes a duration: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min".
[[nodiscard]] std::string readable_seconds(double seconds);

/// Writes a number with a fixed count of digits after the point.
[[nodiscard]] std::string with_digits(double value, int digits);

/// Reads a size such as "512M", "2 GiB" or "1000": whole units of 1024.
/// @throws Error  kInvalidArgument: another syntax, zero, or more than 2^64 - 1 bytes.
[[nodiscard]] std::uint64_t parse_size(std::string_view text);

/// A stage of a search as the command line names it.
struct StageArgument {
    std::size_t bytes = 0; ///< Prefix length, at least 1.
    std::size_t limit = 0; ///< Rows kept, at least 1; 0 where the argument leaves it to the index.
};

/// Reads stages such as "16:200,96": prefix lengths in ascending order, each with the number of
/// rows that it keeps, or without.
/// @throws Error  kInvalidArgument: another syntax, a zero, or lengths that do not ascend.
[[nodiscard]] std::vector<StageArgument> parse_stages(std::string_view text);

/// Reads a vector written as a JSON array of numbers: "[0.1, -2, 3e-1]".
/// @throws Error  kInvalidArgument: not that, or a number that no float holds.
[[nodiscard]] std::vector<float> parse_vector(std::string_view text);

} // namespace arfc::tools
