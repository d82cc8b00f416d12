#include "readers/line_reader.h"

#include <algorithm>
#include <cstring>

namespace arfc::tools {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20U;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

} // namespace

LineReader::LineReader(const std::filesystem::path& path, std::size_t max_bytes)
    : file_(path), max_bytes_(max_bytes), buffer_(kChunk + kPadding) {
    while (end_ < kByteOrderMark.size() && fill()) {
    }
    if (std::string_view(buffer_.data(), end_).starts_with(kByteOrderMark)) {
        begin_ = kByteOrderMark.size();
    }
}

std::optional<Line> LineReader::next() {
    std::size_t searched = 0;
    while (true) {
        const char* const start = buffer_.data() + begin_;
        const std::size_t unread = end_ - begin_;
        const void* const found = std::memchr(start + searched, '\n', unread - searched);
        if (found != nullptr) {
            return take(static_cast<std::size_t>(static_cast<const char*>(found) - start), 1);
        }
        if (unread > max_bytes_) {
            return skip_line();
        }
        searched = unread;
        if (!fill()) {
            return unread == 0 ? std::optional<Line>() : take(unread, 0);
        }
    }
}

/// Reads more bytes behind the unread ones. @returns false at the end of the file.
bool LineReader::fill() {
    if (begin_ > 0) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    if (end_ + kPadding == buffer_.size()) {
        buffer_.resize(2 * end_ + kPadding);
    }
    const std::size_t room = buffer_.size() - kPadding - end_;
    const std::size_t got =
        file_.read_some(std::as_writable_bytes(std::span(buffer_).subspan(end_, room)));
    end_ += got;
    return got > 0;
}

/// Drops bytes up to the next line end.
std::optional<Line> LineReader::skip_line() {
    while (true) {
        const void* const found = std::memchr(buffer_.data() + begin_, '\n', end_ - begin_);
        if (found != nullptr) {
            begin_ = static_cast<std::size_t>(static_cast<const char*>(found) - buffer_.data()) + 1;
            break;
        }
        begin_ = end_ = 0;
        if (!fill()) {
            break;
        }
    }
    ++lines_;
    return Line{.text = {}, .too_long = true};
}

Line LineReader::take(std::size_t length, std::size_t line_end) {
    std::string_view text(buffer_.data() + begin_, length);
    begin_ += length + line_end;
    ++lines_;
    if (length > max_bytes_) {
        return {.text = {}, .too_long = true};
    }
    if (text.ends_with('\r')) {
        text.remove_suffix(1);
    }
    return {.text = text};
}

} // namespace arfc::tools
