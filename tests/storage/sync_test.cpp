// What a synced write promises: its log is on the disk, by a system call, before the call returns.
// Killing the process cannot show that, because the system keeps what a dead process wrote.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "arfc/storage/store.h"
#include "script.h"
#include "temporary_directory.h"

namespace {

std::atomic<int> syncs{0};

} // namespace

// The program's own names come before the C library's, for RocksDB's shared library too.
extern "C" {
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): those have reserved names.
__attribute__((visibility("default"))) int fdatasync(int descriptor) {
    ++syncs;
    return static_cast<int>(::syscall(SYS_fdatasync, descriptor));
}

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): those have reserved names.
__attribute__((visibility("default"))) int fsync(int descriptor) {
    ++syncs;
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

} // namespace
} // namespace arfc::storage::test
