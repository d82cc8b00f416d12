#include "rocks_options.h"

#include <rocksdb/convenience.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <algorithm>

#include "rocks_info_log.h"

namespace arfc::storage {
namespace {

constexpr std::size_t kBlockCacheBytes = std::size_t{64} << 20U;
constexpr std::size_t kWriteBufferBytes = std::size_t{16} << 20U;    // Of one family, before it is
                                                                     // flushed.
constexpr std::size_t kAllWriteBufferBytes = std::size_t{64} << 20U; // Of all families together.
constexpr std::uint64_t kWalBytes = std::uint64_t{128} << 20U; // Bounds the replay at opening.
constexpr int kOpenFiles = 512;
constexpr double kBloomBitsPerPoint = 10; // 1 % false hits; a bulk load asks for points that mostly
                                          // do not exist.
constexpr std::size_t kPointBlockBytes = std::size_t{4} << 10U;    // Families read key by key.
constexpr std::size_t kScannedBlockBytes = std::size_t{32} << 10U; // Families read from end to end.

bool has_lz4() {
    const std::vector<rocksdb::CompressionType> supported = rocksdb::GetSupportedCompressions();
    return std::find(supported.begin(), supported.end(), rocksdb::kLZ4Compression) !=
           supported.end();
}

} // namespace

rocksdb::Options database_options(const std::filesystem::path& log_directory) {
    rocksdb::Options options;
    options.paranoid_checks = true;
    // A mutation that was acknowledged and then damaged in the log must be reported, not dropped
    // with all that follows it; what a crash tore off at the log's end was never acknowledged.
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
    options.track_and_verify_wals_in_manifest = true;
    // Readers beside the writer may find a log already gone: what is flushed then still belongs
    // together.
    options.atomic_flush = true;
    options.db_write_buffer_size = kAllWriteBufferBytes;
    options.max_total_wal_size = kWalBytes;
    options.max_open_files = kOpenFiles;
    options.max_background_jobs = 2;
    options.bytes_per_sync = std::uint64_t{1} << 20U; // Writes back steadily instead of in one
                                                      // stall.
    options.info_log = std::make_shared<InfoLog>(log_directory);
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    return options;
}

rocksdb::ColumnFamilyOptions family_options(
    std::string_view name, const std::shared_ptr<rocksdb::Cache>& cache) {
    const bool is_scanned = name == "head" || name == "raw";
    const bool is_text = name == "payload";
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.format_version = 5;
    table.checksum = rocksdb::kXXH3;
    table.block_size = is_scanned || is_text ? kScannedBlockBytes : kPointBlockBytes;
    if (name == "ids") {
        table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerPoint));
    }
    rocksdb::ColumnFamilyOptions options;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.write_buffer_size = kWriteBufferBytes;
    options.level_compaction_dynamic_level_bytes = true; // At most about 10 % of a family is dead
                                                         // versions.
    // Codes and floats are noise to a general compressor: LZ4 would cost time and save nothing.
    const bool compresses = is_text || name == "ids";
    options.compression =
        compresses && has_lz4() ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
    return options;
}

std::shared_ptr<rocksdb::Cache> make_block_cache() {
    return rocksdb::NewLRUCache(kBlockCacheBytes);
}

} // namespace arfc::storage
