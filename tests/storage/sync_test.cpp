// What a synced write promises: its log is on the disk, by a system call, before the call returns.
// Killing the process cannot show that, because the system keeps what a dead process wrote.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <string_view>

#include "arfc/storage/store.h"
#include "script.h"
#include "temporary_directory.h"

namespace {

std::atomic<int> syncs{0};
std::atomic<int> log_syncs{0}; // Of them, those of a write-ahead log.

void note(int descriptor) {
    ++syncs;
    const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
    char target[4096];
    const ssize_t length = ::readlink(link.c_str(), target, sizeof(target));
    const std::string_view path(target, length > 0 ? static_cast<std::size_t>(length) : 0);
    log_syncs += path.ends_with(".log") ? 1 : 0;
}

} // namespace

// The program's own names come before the C library's, for RocksDB's shared library too.
extern "C" {
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): those have reserved names.
__attribute__((visibility("default"))) int fdatasync(int descriptor) {
    note(descriptor);
    return static_cast<int>(::syscall(SYS_fdatasync, descriptor));
}

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): those have reserved names.
__attribute__((visibility("default"))) int fsync(int descriptor) {
    note(descriptor);
    return static_cast<int>(::syscall(SYS_fsync, descriptor));
}
}

namespace arfc::storage::test {
namespace {

TEST(Durability, ASyncedWriteIsOnTheDiskWhenItReturnsAndABufferedOneMayNotBe) {
    const Shape shape{.dim = 4, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};
    const arfc::test::TemporaryDirectory directory;
    const auto store = open_store(
        "rocksdb", {.directory = directory.path() / "rocks",
                    .create = true,
                    .read_only = false,
                    .shape = shape});
    std::uint64_t step = 0;
    for (int round = 0; round < 3; ++round) {
        int before = syncs;
        store->write(scripted_batch(shape, ++step, true).mutation(shape), Durability::kSynced);
        EXPECT_GT(syncs, before);
        before = syncs;
        store->write(scripted_batch(shape, ++step, true).mutation(shape), Durability::kBuffered);
        EXPECT_EQ(syncs, before);
        store->write({}, Durability::kBuffered);
        EXPECT_EQ(syncs, before);
        store->write({}, Durability::kSynced); // Asks for what came before.
        EXPECT_GT(syncs, before);
    }
}

TEST(Durability, ANewStoreIsOnTheDiskWhenItIsThere) {
    const arfc::test::TemporaryDirectory directory;
    const int before = log_syncs;
    const auto store = open_store(
        "rocksdb", {.directory = directory.path() / "rocks",
                    .create = true,
                    .read_only = false,
                    .shape = {.dim = 4, .head_bytes = 0, .tail_bytes = 0, .model_id = ""}});
    EXPECT_GT(log_syncs, before) << "its first records are in the log alone";
}

} // namespace
} // namespace arfc::storage::test
