#include "rocks_info_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace arfc::storage {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20U;
constexpr std::size_t kLongestLine = 2048;

/// Writes the time in UTC, then the message, cut to the line. @returns the length, newline
/// included.
std::size_t format_line(
    std::array<char, kLongestLine>& line, const char* format, va_list arguments) {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    std::size_t length = std::strftime(line.data(), line.size(), "%Y-%m-%dT%H:%M:%SZ ", &utc);
    const std::size_t room = line.size() - length - 1; // The newline's place is kept.
    const int wanted = std::vsnprintf(line.data() + length, room, format, arguments);
    length += wanted < 0 ? 0 : std::min(static_cast<std::size_t>(wanted), room - 1);
    line[length++] = '\n';
    return length;
}

} // namespace

InfoLog::InfoLog(const std::filesystem::path& directory)
    : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), path_(directory / "LOG") {
    open();
}

InfoLog::~InfoLog() {
    ::close(descriptor_);
}

void InfoLog::Logv(const char* format, va_list arguments) {
    std::array<char, kLongestLine> line = {};
    const std::size_t length = format_line(line, format, arguments);
    const std::lock_guard lock(mutex_);
    if (size_ + length > kLargestFile) {
        open();
    }
    if (::write(descriptor_, line.data(), length) > 0) { // Not where there is no file.
        size_ += length;
    }
}

/// Opens the file to append to it; one that is full steps aside first.
void InfoLog::open() {
    struct stat status {};
    const bool is_there = ::stat(path_.c_str(), &status) == 0;
    size_ = is_there ? static_cast<std::size_t>(status.st_size) : 0;
    if (size_ + kLongestLine > kLargestFile &&
        std::rename(path_.c_str(), (path_.string() + ".old").c_str()) == 0) {
        size_ = 0;
    }
    ::close(descriptor_);
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

} // namespace arfc::storage
