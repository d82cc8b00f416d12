#pragma once

#include <rocksdb/db.h>

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "byte_order.h"
#include "rocks_error_listener.h"
#include "state_record.h"

namespace arfc::storage {

/// The column families of a store; docs/storage_format.md gives their keys and values.
enum class Family : std::uint8_t { kHead, kTail, kRaw, kPayload, kIds, kMeta };
inline constexpr std::size_t kFamilies = 6;

/// Keys of the `meta` family.
inline constexpr std::string_view kFormatKey = "format";
inline constexpr std::string_view kStateKey = "state";

/// An open RocksDB directory with the families of a store; closed when destroyed.
///
/// Thread-safe as rocksdb::DB is. Who reads holds a shared_ptr to it, so that it outlives its
/// readers.
class RocksDatabase {
  public:
    /// Creates the directory (its parent must exist), the database in it, and its first records.
    /// @throws Error  kAlreadyExists, kNotFound: no parent. kIo, kResourceExhausted.
    static std::shared_ptr<RocksDatabase> create(
        const std::filesystem::path& directory, const State& state);

    /// Opens for writing. @throws Error  kNotFound, kFailedPrecondition, kUnsupported, kCorruption,
    /// kIo.
    static std::shared_ptr<RocksDatabase> open(const std::filesystem::path& directory);

    /// Opens a secondary instance beside a writer, in the state of now, which stays.
    static std::shared_ptr<RocksDatabase> open_read_only(const std::filesystem::path& directory);

    RocksDatabase(const RocksDatabase&) = delete;
    RocksDatabase& operator=(const RocksDatabase&) = delete;
    ~RocksDatabase();

    [[nodiscard]] rocksdb::DB& db() const noexcept { return *db_; }
    [[nodiscard]] rocksdb::ColumnFamilyHandle* handle(Family family) const noexcept {
        return handles_[static_cast<std::size_t>(family)];
    }
    [[nodiscard]] std::vector<rocksdb::ColumnFamilyHandle*> handles() const {
        return {handles_.begin(), handles_.end()};
    }
    [[nodiscard]] bool is_secondary() const noexcept { return !secondary_directory_.empty(); }
    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }

    /// Lets RocksDB go on where a failure had stopped it; does nothing where none had.
    /// @throws Error  kResourceExhausted: the disk is still full. kIo: it cannot go on.
    void resume();

    /// Gives the disk back what a family takes that was erased. The caller knows that no snapshot
    /// reads it, and does not write meanwhile. Does nothing where the family has entries again:
    /// RocksDB then compacts it in time.
    rocksdb::Status reclaim_if_empty(Family family);

    /// Returns a value, or nothing where the key is absent. @throws Error  kCorruption, kIo.
    [[nodiscard]] std::optional<std::string> get(
        const rocksdb::ReadOptions& options, Family family, std::string_view key) const;

    /// Reads the state record. @throws Error  kCorruption: absent or damaged. kIo.
    [[nodiscard]] State state(const rocksdb::ReadOptions& options = {}) const;

    /// Reads the heads of the last block, where it is partly filled, and checks that it ends with
    /// the last row.
    /// @returns [rows in it, head_bytes]; empty where the last block is full or there are no codes.
    /// @throws Error  kCorruption: the families disagree.
    [[nodiscard]] std::string partial_head_block(const State& state) const;

  private:
    explicit RocksDatabase(const std::filesystem::path& directory)
        : directory_(directory.string()) {}

    void open_new(const State& state);
    [[nodiscard]] rocksdb::Options options() const;
    void open_families(const rocksdb::Options& options);
    void take_handles(const std::vector<rocksdb::ColumnFamilyHandle*>& handles);
    void check_format() const;
    void catch_up();

    std::string directory_;
    std::filesystem::path secondary_directory_; ///< Log of a secondary; empty: primary.
    std::shared_ptr<ErrorListener> errors_ = std::make_shared<ErrorListener>();
    std::unique_ptr<rocksdb::DB> db_;
    std::array<rocksdb::ColumnFamilyHandle*, kFamilies> handles_{};
    std::vector<rocksdb::ColumnFamilyHandle*> other_handles_; ///< "default", and families that a
                                                              ///< newer build added.
};

} // namespace arfc::storage
