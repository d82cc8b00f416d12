// Bytes on disk that change under a store: it says so, or it never read them; it answers nothing
// wrong.

#include <fstream>

#include "arfc/base/files.h"
#include "arfc/storage/store.h"
#include "expect_error.h"
#include "expect_store.h"
#include "script.h"
#include "temporary_directory.h"

namespace arfc::storage::test {
namespace {

const Shape kCoded{.dim = 8, .head_bytes = 16, .tail_bytes = 24, .model_id = "model-a"};
constexpr std::uint64_t kSteps = 40;

std::unique_ptr<Store> open(const std::filesystem::path& path) {
    return open_store(
        "rocksdb", {.directory = path, .create = false, .read_only = false, .shape = {}});
}

/// Makes a store of kSteps scripted mutations with raw rows beside codes, so that every family has
/// some.
void make_store(const std::filesystem::path& path, bool is_flushed) {
    const auto store = open_store(
        "rocksdb", {.directory = path, .create = true, .read_only = false, .shape = kCoded});
    for (std::uint64_t step = 1; step <= kSteps; ++step) {
        store->write(scripted_batch(kCoded, step, true).mutation(kCoded), Durability::kBuffered);
    }
    if (is_flushed) {
        store->close();
    }
}

void put_file(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::vector<std::filesystem::path> files_with(
    const std::filesystem::path& directory, const std::string& extension) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        if (entry.path().extension() == extension && entry.file_size() > 0) {
            files.push_back(entry.path().filename());
        }
    }
    return files;
}

class Damage : public ::testing::Test {
  protected:
    [[nodiscard]] std::filesystem::path original() const { return directory_ / "original"; }
    [[nodiscard]] std::filesystem::path copy() const { return directory_ / "copy"; }

    void copy_afresh() const {
        std::filesystem::remove_all(copy());
        std::filesystem::copy(original(), copy(), std::filesystem::copy_options::recursive);
    }

    /// Reads all that there is. @returns whether the store called itself damaged; fails where it
    /// read something wrong.
    [[nodiscard]] bool is_corruption(std::uint64_t& epoch) const {
        try {
            const auto store = open(copy());
            const auto snapshot = store->snapshot();
            epoch = snapshot->epoch();
            expect_scripted(*snapshot, kCoded, true);
            return false;
        } catch (const Error& error) {
            EXPECT_EQ(to_string(error.kind()), to_string(ErrorKind::kCorruption)) << error.what();
            EXPECT_THAT(std::string(error.what()), ::testing::HasSubstr(copy().string()));
            return true;
        }
    }

    arfc::test::TemporaryDirectory directory_;
};

TEST_F(Damage, AFlippedByteOfATableIsCorruption) {
    make_store(original(), true);
    const auto tables = files_with(original(), ".sst");
    ASSERT_GE(tables.size(), 6U); // One of each family at least.
    for (const auto& name : tables) {
        copy_afresh();
        const std::string bytes = read_file(original() / name);
        std::size_t reported = 0;
        constexpr std::size_t kPlaces = 12;
        for (std::size_t i = 0; i < kPlaces; ++i) {
            std::string damaged = bytes;
            const std::size_t place = i * bytes.size() / kPlaces;
            damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
            put_file(copy() / name, damaged);
            std::uint64_t epoch = 0;
            if (is_corruption(epoch)) {
                ++reported;
            } else {
                EXPECT_EQ(epoch, kSteps);
                EXPECT_GT(place, 0U) << "the first block is always read";
            }
            ASSERT_FALSE(HasFailure()) << name << " at " << place;
            copy_afresh(); // Opening may have written files.
        }
        EXPECT_GT(reported, 0U) << name;
    }
}

TEST_F(Damage, ATruncatedOrMissingTableIsCorruption) {
    make_store(original(), true);
    for (const auto& name : files_with(original(), ".sst")) {
        copy_afresh();
        std::filesystem::resize_file(copy() / name, std::filesystem::file_size(copy() / name) - 1);
        std::uint64_t epoch = 0;
        EXPECT_TRUE(is_corruption(epoch)) << name;
        copy_afresh();
        std::filesystem::remove(copy() / name);
        EXPECT_TRUE(is_corruption(epoch)) << name;
    }
}

TEST_F(Damage, ALogCutShortHoldsAPrefixOfTheMutations) {
    make_store(original(), false);
    const auto logs = files_with(original(), ".log");
    ASSERT_EQ(logs.size(), 1U);
    const std::size_t size = std::filesystem::file_size(original() / logs[0]);
    std::uint64_t shorter = 0;
    for (std::size_t length = 997; length < size; length += size / 40) {
        copy_afresh();
        std::filesystem::resize_file(copy() / logs[0], length);
        std::uint64_t epoch = 0;
        EXPECT_FALSE(is_corruption(epoch)) << length;
        EXPECT_LT(epoch, kSteps) << length;
        EXPECT_GE(epoch, shorter) << length;
        shorter = epoch;
        ASSERT_FALSE(HasFailure()) << length;
    }
    EXPECT_GT(shorter, kSteps / 2);
}

TEST_F(Damage, AFlippedByteOfTheLogLosesNothingSilently) {
    make_store(original(), false);
    const auto name = files_with(original(), ".log").at(0);
    const std::string bytes = read_file(original() / name);
    ASSERT_GT(bytes.size(), std::size_t{128} << 10U);
    const std::size_t last_block = bytes.size() / 32768 * 32768; // Where a damaged length looks
                                                                 // like a torn end.
    for (std::size_t place = 0; place < bytes.size(); place += bytes.size() / 60) {
        copy_afresh();
        std::string damaged = bytes;
        damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
        put_file(copy() / name, damaged);
        std::uint64_t epoch = 0;
        EXPECT_TRUE(is_corruption(epoch) || place >= last_block)
            << place << " of " << bytes.size() << ", epoch " << epoch;
        ASSERT_FALSE(HasFailure()) << place;
    }
}

} // namespace
} // namespace arfc::storage::test
