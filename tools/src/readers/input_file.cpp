#include "readers/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "arfc/base/error.h"

namespace arfc::tools {
namespace {

[[noreturn]] void fail_with_errno(std::string_view what, const std::filesystem::path& path) {
    const int code = errno;
    const bool missing = code == ENOENT || code == ENOTDIR;
    fail(
        missing ? ErrorKind::kNotFound : ErrorKind::kIo, what, ": ", path.string(), " (",
        std::strerror(code), ")");
}

} // namespace

InputFile::InputFile(std::filesystem::path path)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) {
        fail_with_errno("File cannot be opened", path_);
    }
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0 || S_ISDIR(status.st_mode)) {
        errno = S_ISDIR(status.st_mode) ? EISDIR : errno;
        const int code = errno;
        ::close(descriptor_);
        errno = code;
        fail_with_errno("File cannot be read", path_);
    }
    if (S_ISREG(status.st_mode)) {
        size_ = static_cast<std::uint64_t>(status.st_size);
        ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
}

InputFile::~InputFile() {
    ::close(descriptor_);
}

std::size_t InputFile::read_some(std::span<std::byte> bytes) {
    while (true) {
        const ssize_t got = ::read(descriptor_, bytes.data(), bytes.size());
        if (got >= 0) {
            offset_ += static_cast<std::uint64_t>(got);
            return static_cast<std::size_t>(got);
        }
        if (errno != EINTR) {
            fail_with_errno("File cannot be read", path_);
        }
    }
}

void InputFile::read_exactly(std::span<std::byte> bytes, std::string_view what) {
    const std::uint64_t first = offset_;
    std::size_t done = 0;
    while (done < bytes.size()) {
        const std::size_t got = read_some(bytes.subspan(done));
        if (got == 0) {
            fail(
                ErrorKind::kCorruption, "File ends inside its ", what, ": ", path_.string(),
                ", bytes there: ", offset_, ", expected at least ", first + bytes.size());
        }
        done += got;
    }
}

std::uint64_t required_size(const InputFile& file, std::string_view format) {
    if (!file.size()) {
        fail(
            ErrorKind::kUnsupported, "A ", format,
            " file is checked against its size, so it cannot come from a pipe: ",
            file.path().string());
    }
    return *file.size();
}

} // namespace arfc::tools
