#include <signal.h> // NOLINT(modernize-deprecated-headers): kill() is POSIX's, not C++'s
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "arfc/storage/manifest.h"
#include "expect_error.h"
#include "open_descriptors.h"
#include "temporary_directory.h"
#include "unprivileged.h"

namespace arfc::storage::test {
namespace {

TEST(WriterLock, KeepsASecondHolderOutUntilItIsReleased) {
    const arfc::test::TemporaryDirectory directory;
    std::optional<WriterLock> first(directory.path());
    ARFC_EXPECT_ERROR(
        WriterLock(directory.path()), ErrorKind::kFailedPrecondition,
        "Collection is open for writing elsewhere: " + directory.path().string());
    first.reset();
    const WriterLock second(directory.path());
}

TEST(WriterLock, KeepsAnotherProcessOutAndEndsWithItsOwn) {
    const arfc::test::TemporaryDirectory directory;
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const ::pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const WriterLock held(directory.path());
        static_cast<void>(!::write(ready[1], "x", 1));
        ::pause();
        ::_exit(0);
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ARFC_EXPECT_ERROR(
        WriterLock(directory.path()), ErrorKind::kFailedPrecondition, directory.path().string());
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    ::close(ready[0]);
    ::close(ready[1]);
    const WriterLock second(directory.path());
}

TEST(WriterLock, LeavesNoDescriptorOpenAndAFileThatItsOwnerWrites) {
    const arfc::test::TemporaryDirectory directory;
    const auto before = arfc::test::open_descriptors();
    const ::mode_t mask = ::umask(0);
    {
        const WriterLock held(directory.path());
        EXPECT_EQ(arfc::test::open_descriptors(), before + 1);
        EXPECT_THROW(WriterLock(directory.path()), Error);
        EXPECT_EQ(arfc::test::open_descriptors(), before + 1) << "who is refused keeps nothing";
    }
    ::umask(mask);
    EXPECT_EQ(arfc::test::open_descriptors(), before);
    EXPECT_EQ(
        std::filesystem::status(directory / "LOCK").permissions(),
        static_cast<std::filesystem::perms>(0644));
}

TEST(WriterLock, DescriptorZeroHoldsItLikeOthers) {
    const arfc::test::TemporaryDirectory directory;
    const arfc::test::DescriptorZero is_free;
    {
        const WriterLock held(directory.path());
        EXPECT_THROW(WriterLock(directory.path()), Error);
    }
    EXPECT_NO_THROW(WriterLock(directory.path()));
}

TEST(WriterLock, NamesTheDirectoryThatRefuses) {
    const arfc::test::TemporaryDirectory directory;
    ARFC_EXPECT_ERROR(
        WriterLock(directory / "absent"), ErrorKind::kNotFound, (directory / "absent").string());
    const Unprivileged unprivileged(directory.path());
    ARFC_EXPECT_ERROR(WriterLock(directory.path()), ErrorKind::kIo, directory.path().string());
}

} // namespace
} // namespace arfc::storage::test
