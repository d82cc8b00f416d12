// What the system may do to a file's bytes and seldom does: interrupt a call, cut it short, refuse
// it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>
#include <vector>

#include "arfc/base/files.h"
#include "expect_error.h"
#include "open_descriptors.h"
#include "temporary_directory.h"

namespace {

/// How one call ends.
struct Ending {
    int error = 0; ///< It fails with this; 0: it does not.
    std::size_t most = std::numeric_limits<std::size_t>::max(); ///< Bytes that it moves at most.
};

/// The calls to come of one kind: a test's endings first, then whatever the system does.
struct Script {
    std::vector<Ending> endings;
    std::vector<std::size_t> asked; ///< Bytes that the scripted calls so far were asked to move.

    std::optional<Ending> next(std::size_t bytes) {
        if (endings.empty()) {
            return std::nullopt;
        }
        const Ending ending = endings.front();
        endings.erase(endings.begin());
        asked.push_back(bytes);
        return ending;
    }
};

constinit Script reads;
constinit Script writes;
constinit Script syncs;
constinit Script examinations;

template <class Call>
ssize_t play(Script& script, std::size_t bytes, Call call) {
    const std::optional<Ending> ending = script.next(bytes);
    if (!ending) {
        return call(bytes);
    }
    if (ending->error != 0) {
        errno = ending->error;
        return -1;
    }
    return ending->most == 0 ? 0 : call(std::min(bytes, ending->most));
}

} // namespace

// The program's own names come before the C library's. Those have reserved parameter names.
// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name)
extern "C" {
__attribute__((visibility("default"))) ssize_t read(int descriptor, void* data, std::size_t bytes) {
    return play(reads, bytes, [&](std::size_t most) {
        return static_cast<ssize_t>(::syscall(SYS_read, descriptor, data, most));
    });
}

__attribute__((visibility("default"))) ssize_t write(
    int descriptor, const void* data, std::size_t bytes) {
    return play(writes, bytes, [&](std::size_t most) {
        return static_cast<ssize_t>(::syscall(SYS_write, descriptor, data, most));
    });
}

__attribute__((visibility("default"))) int fsync(int descriptor) {
    return static_cast<int>(play(syncs, 0, [&](std::size_t) {
        return static_cast<ssize_t>(::syscall(SYS_fsync, descriptor));
    }));
}

__attribute__((visibility("default"))) int fstat(int descriptor, struct stat* status) noexcept {
    return static_cast<int>(play(examinations, 0, [&](std::size_t) {
        return static_cast<ssize_t>(
            ::syscall(SYS_newfstatat, descriptor, "", status, AT_EMPTY_PATH));
    }));
}
}
// NOLINTEND(readability-inconsistent-declaration-parameter-name)

namespace arfc {
namespace {

class FileFaults : public ::testing::Test {
  protected:
    ~FileFaults() override {
        for (Script* const script : {&reads, &writes, &syncs, &examinations}) {
            *script = {};
        }
    }
    [[nodiscard]] std::filesystem::path path() const { return directory_ / "file"; }
    [[nodiscard]] bool has_neighbour() const {
        return std::filesystem::exists(path().string() + ".tmp");
    }

    test::TemporaryDirectory directory_;
};

using Sizes = std::vector<std::size_t>;

TEST_F(FileFaults, ReadingGoesOnAfterInterruptionsAndShortReads) {
    write_file_atomically(path(), "0123456789");
    // One call more than there is reason for would fail.
    reads.endings = {{.error = EINTR}, {.most = 1}, {.most = 3},
                     {.error = EINTR}, {},          {.error = EIO}};
    EXPECT_EQ(read_file(path()), "0123456789");
    EXPECT_EQ(reads.asked, (Sizes{10, 10, 9, 6, 6}));
}

TEST_F(FileFaults, AFileThatWasShortenedEndsWhereItEndsThoughAReadWasInterrupted) {
    write_file_atomically(path(), "0123456789");
    reads.endings = {{.most = 4}, {.error = EINTR}, {.most = 0}, {.error = EIO}};
    EXPECT_EQ(read_file(path()), "0123");
}

TEST_F(FileFaults, WritingGoesOnAfterInterruptionsAndShortWrites) {
    writes.endings = {{.error = EINTR}, {.most = 1}, {.most = 3},   {.most = 0},
                      {.error = EINTR}, {},          {.error = EIO}};
    write_file_atomically(path(), "0123456789");
    EXPECT_EQ(writes.asked, (Sizes{10, 10, 9, 6, 6, 6}));
    EXPECT_EQ(read_file(path()), "0123456789");
}

TEST_F(FileFaults, AFileThatCannotBeReadOrExaminedIsNamed) {
    write_file_atomically(path(), "bytes");
    reads.endings = {{.most = 2}, {.error = EIO}};
    ARFC_EXPECT_ERROR(
        (void)read_file(path()), ErrorKind::kIo, "File cannot be read: " + path().string() + " (");
    examinations.endings = {{.error = EOVERFLOW}};
    ARFC_EXPECT_ERROR(
        (void)read_file(path()), ErrorKind::kIo,
        "File cannot be examined: " + path().string() + " (");
    EXPECT_EQ(read_file(path()), "bytes");
}

TEST_F(FileFaults, AQuotaThatIsUsedUpIsAFullDisk) {
    write_file_atomically(path(), "old");
    writes.endings = {{.most = 1}, {.error = EDQUOT}};
    ARFC_EXPECT_ERROR(
        write_file_atomically(path(), "new"), ErrorKind::kResourceExhausted,
        "File cannot be written: " + path().string() + ".tmp (");
    EXPECT_EQ(read_file(path()), "old");
    EXPECT_FALSE(has_neighbour());
}

TEST_F(FileFaults, WhatCannotBeMadeDurableDoesNotReplaceTheOldFile) {
    write_file_atomically(path(), "old");
    syncs.endings = {{.error = EIO}};
    ARFC_EXPECT_ERROR(
        write_file_atomically(path(), "new"), ErrorKind::kIo,
        "File cannot be made durable: " + path().string() + ".tmp (");
    EXPECT_EQ(read_file(path()), "old");
    EXPECT_FALSE(has_neighbour());
}

TEST_F(FileFaults, ANewNameIsMadeDurableAfterTheFile) {
    syncs.endings = {{}, {.error = EIO}};
    ARFC_EXPECT_ERROR(
        write_file_atomically(path(), "new"), ErrorKind::kIo,
        "Directory cannot be made durable: " + directory_.path().string() + " (");
    EXPECT_EQ(read_file(path()), "new");
    syncs = {.endings = {{}, {}, {.error = EIO}}, .asked = {}};
    write_file_atomically(path(), "newer");
    EXPECT_EQ(syncs.asked.size(), 2U);
}

TEST_F(FileFaults, DescriptorZeroIsOneLikeOthers) {
    const test::DescriptorZero is_free;
    write_file_atomically(path(), "bytes");
    EXPECT_LT(::fcntl(STDIN_FILENO, F_GETFD), 0) << "closed after writing";
    EXPECT_EQ(read_file(path()), "bytes");
    EXPECT_LT(::fcntl(STDIN_FILENO, F_GETFD), 0) << "closed after reading";
}

} // namespace
} // namespace arfc
