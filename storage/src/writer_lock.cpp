#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arfc/base/error.h"
#include "arfc/storage/manifest.h"

namespace arfc::storage {

WriterLock::WriterLock(const std::filesystem::path& directory) {
    const std::filesystem::path path = directory / "LOCK";
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) {
        const int code = errno;
        const ErrorKind kind = code == ENOENT                   ? ErrorKind::kNotFound
                             : code == ENOSPC || code == EDQUOT ? ErrorKind::kResourceExhausted
                                                                : ErrorKind::kIo;
        fail(kind, "Lock file cannot be opened: ", path.string(), " (", std::strerror(code), ")");
    }
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        const int code = errno;
        if (code == EINTR) {
            continue;
        }
        ::close(descriptor_);
        if (code == EWOULDBLOCK) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Collection is open for writing elsewhere: ", directory.string());
        }
        fail(
            ErrorKind::kIo, "Lock file cannot be locked: ", path.string(), " (",
            std::strerror(code), ")");
    }
}

WriterLock::~WriterLock() {
    ::close(descriptor_); // The lock goes with its only descriptor.
}

} // namespace arfc::storage
