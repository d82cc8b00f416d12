#pragma once

#include <rocksdb/cache.h>
#include <rocksdb/options.h>

#include <filesystem>
#include <memory>
#include <string_view>

namespace arfc::storage {

/// Returns options of the database as a whole; each says why where it differs from RocksDB's
/// default.
/// @param log_directory  Where RocksDB's warnings are kept.
[[nodiscard]] rocksdb::Options database_options(const std::filesystem::path& log_directory);

/// Returns options of one family, by its name on disk ("head", "tail", ...).
/// @param cache  Block cache that all families of a store share.
[[nodiscard]] rocksdb::ColumnFamilyOptions family_options(
    std::string_view name, const std::shared_ptr<rocksdb::Cache>& cache);

/// Returns a block cache of the size that one store gets.
[[nodiscard]] std::shared_ptr<rocksdb::Cache> make_block_cache();

} // namespace arfc::storage
