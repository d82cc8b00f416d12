// A disk that fills up: refused with its own kind, nothing lost, and writing goes on once there is
// room.

#include <sys/mount.h>

#include <fstream>
#include <memory>

#include "arfc/storage/manifest.h"
#include "arfc/storage/store.h"
#include "expect_error.h"
#include "expect_store.h"
#include "script.h"
#include "temporary_directory.h"

namespace arfc::storage::test {
namespace {

const Shape kRaw{.dim = 512, .head_bytes = 0, .tail_bytes = 0, .model_id = ""};

/// A file system of its own and of few bytes; only root may have one.
class SmallDisk {
  public:
    SmallDisk()
        : is_mounted_(
              ::mount("arfc-test", directory_.path().c_str(), "tmpfs", 0, "size=6m,mode=0755") ==
              0) {}
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;
    ~SmallDisk() {
        if (is_mounted_) {
            ::umount2(directory_.path().c_str(), MNT_DETACH);
        }
    }
    [[nodiscard]] bool is_mounted() const noexcept { return is_mounted_; }
    [[nodiscard]] const std::filesystem::path& path() const noexcept { return directory_.path(); }

    /// Takes up all the room there is.
    void fill() const {
        std::ofstream ballast(path() / "ballast", std::ios::binary | std::ios::app);
        const std::string page(4096, 'x');
        while (ballast.write(page.data(), static_cast<std::streamsize>(page.size())).flush()) {
        }
    }
    void make_room() const { std::filesystem::remove(path() / "ballast"); }

  private:
    arfc::test::TemporaryDirectory directory_;
    bool is_mounted_;
};

Published write_step(Store& store, std::uint64_t step, Durability durability) {
    return store.write(scripted_batch(kRaw, step, true).mutation(kRaw), durability);
}

/// Makes a store anew, buffers five steps and fills the disk, so that the next step is refused.
std::unique_ptr<Store> fill_behind_buffered_steps(
    const SmallDisk& disk, const std::filesystem::path& path) {
    std::filesystem::remove_all(path);
    auto store = open_store(
        "rocksdb", {.directory = path, .create = true, .read_only = false, .shape = kRaw});
    for (std::uint64_t step = 1; step <= 5; ++step) {
        write_step(*store, step, Durability::kBuffered);
    }
    disk.fill();
    ARFC_EXPECT_ERROR(
        write_step(*store, 6, Durability::kSynced), ErrorKind::kResourceExhausted, path.string());
    return store;
}

void expect_five_steps(const std::filesystem::path& path) {
    const auto store = open_store(
        "rocksdb", {.directory = path, .create = false, .read_only = false, .shape = {}});
    EXPECT_EQ(store->snapshot()->epoch(), 5U);
    expect_scripted(*store->snapshot(), kRaw, true);
}

TEST(FullDisk, RefusesAMutationWholeAndGoesOnOnceThereIsRoom) {
    const SmallDisk disk;
    if (!disk.is_mounted()) {
        GTEST_SKIP() << "needs the right to mount a file system";
    }
    const auto path = disk.path() / "rocks";
    auto store = open_store(
        "rocksdb", {.directory = path, .create = true, .read_only = false, .shape = kRaw});
    for (std::uint64_t step = 1; step <= 5; ++step) {
        write_step(*store, step, Durability::kSynced);
    }
    disk.fill();
    ARFC_EXPECT_ERROR(
        write_step(*store, 6, Durability::kSynced), ErrorKind::kResourceExhausted, path.string());
    ARFC_EXPECT_ERROR(
        write_step(*store, 6, Durability::kBuffered), ErrorKind::kResourceExhausted, path.string());
    EXPECT_EQ(store->snapshot()->epoch(), 5U);
    expect_scripted(*store->snapshot(), kRaw, true);
    disk.make_room();
    for (std::uint64_t step = 6; step <= 10; ++step) {
        EXPECT_EQ(write_step(*store, step, Durability::kSynced).epoch, step);
    }
    expect_scripted(*store->snapshot(), kRaw, true);
    store.reset();
    store = open_store(
        "rocksdb", {.directory = path, .create = false, .read_only = false, .shape = {}});
    EXPECT_EQ(store->snapshot()->epoch(), 10U);
    expect_scripted(*store->snapshot(), kRaw, true);
}

TEST(FullDisk, ClosingReleasesTheDirectoryAndKeepsWhatWasAcknowledged) {
    const SmallDisk disk;
    if (!disk.is_mounted()) {
        GTEST_SKIP() << "needs the right to mount a file system";
    }
    const auto path = disk.path() / "rocks";
    for (const bool is_closed : {true, false}) {
        auto store = fill_behind_buffered_steps(disk, path);
        if (is_closed) {
            ARFC_EXPECT_ERROR(store->close(), ErrorKind::kResourceExhausted, path.string());
            ARFC_EXPECT_ERROR(store->close(), ErrorKind::kFailedPrecondition, "Store is closed");
        } else {
            store.reset();
        }
        disk.make_room();
        expect_five_steps(path);
    }
}

TEST(FullDisk, WhatWasBufferedIsMadeDurableOnceThereIsRoom) {
    const SmallDisk disk;
    if (!disk.is_mounted()) {
        GTEST_SKIP() << "needs the right to mount a file system";
    }
    const auto path = disk.path() / "rocks";
    for (const bool is_closed : {true, false}) {
        auto store = fill_behind_buffered_steps(disk, path);
        disk.make_room();
        if (is_closed) {
            EXPECT_NO_THROW(store->close());
        } else {
            EXPECT_EQ(store->write({}, Durability::kSynced).epoch, 5U);
        }
        store.reset();
        expect_five_steps(path);
    }
}

TEST(FullDisk, RefusesNewStoresAndManifestsAndLeavesNothing) {
    const SmallDisk disk;
    if (!disk.is_mounted()) {
        GTEST_SKIP() << "needs the right to mount a file system";
    }
    const Manifest old{
        .format = kFormat,
        .creator = "old",
        .dim = 1,
        .metric = Metric::kL2,
        .factory = "ARFC8",
        .model_id = "",
        .keep_raw = false};
    write_manifest(disk.path(), old);
    std::filesystem::create_directory(disk.path() / "rocks");
    disk.fill();
    ARFC_EXPECT_ERROR(
        open_store(
            "rocksdb", {.directory = disk.path() / "rocks",
                        .create = true,
                        .read_only = false,
                        .shape = kRaw}),
        ErrorKind::kResourceExhausted, disk.path().string());
    EXPECT_TRUE(std::filesystem::is_empty(disk.path() / "rocks"));
    Manifest big = old;
    big.creator = std::string(100000, 'x');
    ARFC_EXPECT_ERROR(
        write_manifest(disk.path(), big), ErrorKind::kResourceExhausted, disk.path().string());
    EXPECT_EQ(read_manifest(disk.path()).creator, "old");
}

} // namespace
} // namespace arfc::storage::test
