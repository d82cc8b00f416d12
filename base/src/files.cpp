#include "arfc/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arfc/base/error.h"

namespace arfc {
namespace {

/// Closes a file descriptor when it goes out of scope.
class Descriptor {
  public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) {
            ::close(number_);
        }
    }
    [[nodiscard]] int number() const noexcept { return number_; }

  private:
    int number_;
};

[[noreturn]] void fail_with_errno(std::string_view what, const std::filesystem::path& path) {
    const int code = errno;
    const bool full = code == ENOSPC || code == EDQUOT;
    const bool missing = code == ENOENT;
    fail(
        full      ? ErrorKind::kResourceExhausted
        : missing ? ErrorKind::kNotFound
                  : ErrorKind::kIo,
        what, ": ", path.string(), " (", std::strerror(code), ")");
}

} // namespace

std::string read_file(const std::filesystem::path& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.number() < 0) {
        fail_with_errno("File cannot be opened", path);
    }
    struct stat status {};
    if (::fstat(file.number(), &status) != 0) {
        fail_with_errno("File cannot be examined", path);
    }
    if (!S_ISREG(status.st_mode)) {
        fail(ErrorKind::kIo, "Not a regular file: ", path.string());
    }
    std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t got = ::read(file.number(), bytes.data() + done, bytes.size() - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            fail_with_errno("File cannot be read", path);
        }
        if (got == 0) {
            // Somebody shortened it meanwhile: the caller's format check decides.
            bytes.resize(done);
        }
        done += static_cast<std::size_t>(got);
    }
    return bytes;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
    const std::filesystem::path temporary = path.string() + ".tmp";
    try {
        const Descriptor file(
            ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (file.number() < 0) {
            const int code = errno;
            fail(
                code == ENOSPC ? ErrorKind::kResourceExhausted : ErrorKind::kIo,
                "File cannot be created: ", temporary.string(), " (", std::strerror(code), ")");
        }
        std::size_t done = 0;
        while (done < bytes.size()) {
            const ssize_t put = ::write(file.number(), bytes.data() + done, bytes.size() - done);
            if (put < 0 && errno == EINTR) {
                continue;
            }
            if (put < 0) {
                fail_with_errno("File cannot be written", temporary);
            }
            done += static_cast<std::size_t>(put);
        }
        if (::fsync(file.number()) != 0) {
            fail_with_errno("File cannot be made durable", temporary);
        }
        if (::rename(temporary.c_str(), path.c_str()) != 0) {
            fail_with_errno("File cannot be replaced", path);
        }
    } catch (...) {
        ::unlink(temporary.c_str());
        throw;
    }
    sync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

void sync_directory(const std::filesystem::path& directory) {
    const Descriptor handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (handle.number() < 0 || ::fsync(handle.number()) != 0) {
        fail(
            ErrorKind::kIo, "Directory cannot be made durable: ", directory.string(), " (",
            std::strerror(errno), ")");
    }
}

} // namespace arfc
