#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "readers/input_file.h"

namespace arfc::tools {

/// Longest line of a text file, in bytes: twice what the widest vector takes. A longer one is
/// skipped and reported, so that a file without line ends cannot fill the memory.
inline constexpr std::size_t kMaxLineBytes = std::size_t{4} << 20U;

/// Longest payload, in bytes of JSON text without white space.
inline constexpr std::size_t kMaxPayloadBytes = std::size_t{1} << 20U;

/// A line without its end ("\n" or "\r\n").
struct Line {
    std::string_view text; ///< At least kPadding readable bytes follow it. Valid until next().
    bool too_long = false; ///< Longer than the limit: `text` is empty.

    [[nodiscard]] bool blank() const noexcept {
        return !too_long && text.find_first_not_of(" \t") == std::string_view::npos;
    }
};

/// Reads a text file line by line in bounded memory. A UTF-8 byte order mark at its start is left
/// out. Not thread-safe.
class LineReader {
  public:
    /// Readable bytes after each line, as simdjson wants them.
    static constexpr std::size_t kPadding = 64;

    /// @throws Error  kNotFound, kIo.
    explicit LineReader(const std::filesystem::path& path, std::size_t max_bytes = kMaxLineBytes);

    /// Returns the next line; nothing at the end. @throws Error  kIo.
    [[nodiscard]] std::optional<Line> next();

    /// Returns how many lines next() has returned.
    [[nodiscard]] std::uint64_t lines() const noexcept { return lines_; }

    /// Returns how many bytes those lines had.
    [[nodiscard]] std::uint64_t bytes() const noexcept { return file_.offset() - (end_ - begin_); }
    [[nodiscard]] const InputFile& file() const noexcept { return file_; }

  private:
    bool fill();
    std::optional<Line> skip_line();
    Line take(std::size_t length, std::size_t line_end);

    InputFile file_;
    std::size_t max_bytes_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0; // Unread bytes are [begin_, end_) of the buffer.
    std::size_t end_ = 0;
    std::uint64_t lines_ = 0;
};

} // namespace arfc::tools
