#include "rocks_options.h"

#include <gtest/gtest.h>
#include <rocksdb/convenience.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <algorithm>

#include "temporary_directory.h"

namespace arfc::storage::test {
namespace {

const rocksdb::BlockBasedTableOptions& table_of(const rocksdb::ColumnFamilyOptions& options) {
    return *options.table_factory->GetOptions<rocksdb::BlockBasedTableOptions>();
}

/// Sizes are those that the members' comments give reasons for; a store is read whatever they are.
TEST(RocksOptions, FamiliesAreStoredAsTheyAreRead) {
    const auto cache = make_block_cache();
    EXPECT_EQ(cache->GetCapacity(), std::size_t{64} << 20U);
    const auto lz4 = rocksdb::GetSupportedCompressions();
    const bool has_lz4 = std::find(lz4.begin(), lz4.end(), rocksdb::kLZ4Compression) != lz4.end();
    for (const std::string name : {"head", "tail", "raw", "payload", "ids", "meta"}) {
        SCOPED_TRACE(name);
        const rocksdb::ColumnFamilyOptions options = family_options(name, cache);
        const rocksdb::BlockBasedTableOptions& table = table_of(options);
        EXPECT_EQ(table.block_cache, cache);
        EXPECT_EQ(table.format_version, 5U); // Readers of any RocksDB since 6.6.
        EXPECT_EQ(table.checksum, rocksdb::kXXH3);
        const bool has_large_blocks = name == "head" || name == "raw" || name == "payload";
        EXPECT_EQ(table.block_size, has_large_blocks ? 32768U : 4096U);
        EXPECT_EQ(table.filter_policy != nullptr, name == "ids");
        const bool compresses = has_lz4 && (name == "payload" || name == "ids");
        EXPECT_EQ(
            options.compression, compresses ? rocksdb::kLZ4Compression : rocksdb::kNoCompression);
        EXPECT_EQ(options.write_buffer_size, std::size_t{16} << 20U);
        EXPECT_TRUE(options.level_compaction_dynamic_level_bytes);
    }
}

TEST(RocksOptions, AStoreTakesBoundedMemoryFilesAndReplay) {
    const arfc::test::TemporaryDirectory directory;
    const rocksdb::Options options = database_options(directory.path());
    EXPECT_TRUE(options.paranoid_checks);
    EXPECT_EQ(options.wal_recovery_mode, rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords);
    EXPECT_TRUE(options.track_and_verify_wals_in_manifest);
    EXPECT_TRUE(options.atomic_flush);
    EXPECT_FALSE(options.create_if_missing);
    EXPECT_EQ(options.db_write_buffer_size, std::size_t{64} << 20U);
    EXPECT_EQ(options.max_total_wal_size, std::uint64_t{128} << 20U);
    EXPECT_EQ(options.max_open_files, 512);
    EXPECT_EQ(options.max_background_jobs, 2);
    EXPECT_EQ(options.bytes_per_sync, std::uint64_t{1} << 20U);
    EXPECT_EQ(options.stats_dump_period_sec, 0U);
    EXPECT_EQ(options.stats_persist_period_sec, 0U);
    ASSERT_NE(options.info_log, nullptr);
    EXPECT_EQ(options.info_log->GetInfoLogLevel(), rocksdb::InfoLogLevel::WARN_LEVEL);
}

} // namespace
} // namespace arfc::storage::test
