#pragma once

#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "arfc/storage/store.h"
#include "mutation_plan.h"
#include "rocks_database.h"

namespace arfc::storage {

/// The durable backend: every mutation is one RocksDB write batch over all families.
///
/// Private members that write use `database_` unguarded: close() comes from the writer too.
class RocksStore final : public Store {
  public:
    static std::unique_ptr<Store> open(const OpenOptions& options);

    RocksStore(std::shared_ptr<RocksDatabase> database, bool read_only);

    [[nodiscard]] const Shape& shape() const noexcept override { return *shape_.load(); }
    Published write(const Mutation& mutation, Durability durability) override;
    void write_codes(
        Row first, MatrixView<const std::byte> heads, MatrixView<const std::byte> tails) override;
    void publish_codes(
        std::size_t head_bytes, std::size_t tail_bytes, std::string_view model_id) override;
    void discard_unpublished_codes() override;
    void drop_raw() override;
    [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const override;
    [[nodiscard]] std::uint64_t sequence() const noexcept override { return sequence_.load(); }
    [[nodiscard]] Statistics statistics() const override;
    void close() override;

  private:
    /// Codes of a training that goes on in this process.
    struct PendingCodes {
        std::size_t head_bytes = 0;
        std::size_t tail_bytes = 0;
        std::vector<bool> covered; ///< [highest row with codes + 1]
    };

    /// A family that was erased as a whole and may still take space.
    struct ErasedFamily {
        Family family = Family::kRaw;
        std::uint64_t sequence = 0; ///< RocksDB's: snapshots from there on do not read it.
    };

    [[nodiscard]] std::shared_ptr<RocksDatabase> database() const;
    void require_writable() const;
    void commit(rocksdb::WriteBatch& batch, State next, Durability durability);
    void sync();

    void put_rows(
        rocksdb::WriteBatch& batch, const Mutation& mutation, const MutationPlan& plan) const;
    void put_points(rocksdb::WriteBatch& batch, const MutationPlan& plan) const;
    [[nodiscard]] std::string put_heads(
        rocksdb::WriteBatch& batch, MatrixView<const std::byte> heads) const;
    void put(
        rocksdb::WriteBatch& batch, Family family, std::string_view key,
        std::string_view value) const;
    void erase(rocksdb::WriteBatch& batch, Family family, std::string_view key) const;
    void erase_all(rocksdb::WriteBatch& batch, Family family) const;
    void reclaim();
    void find_erased();

    void begin_pending(std::size_t head_bytes, std::size_t tail_bytes);
    void put_pending_heads(
        rocksdb::WriteBatch& batch, Row first, MatrixView<const std::byte> heads) const;
    void put_pending_tails(
        rocksdb::WriteBatch& batch, Row first, MatrixView<const std::byte> tails) const;
    void require_codes_for_every_point() const;
    [[nodiscard]] std::string pad_pending_heads(
        rocksdb::WriteBatch& batch, std::size_t head_bytes) const;
    [[nodiscard]] std::string pending_head_block(std::uint64_t block, std::size_t head_bytes) const;

    const bool read_only_;
    const std::string directory_;
    mutable std::mutex mutex_; ///< Guards database_, which close() takes away from readers.
    std::shared_ptr<RocksDatabase> database_; ///< Null once closed.
    std::array<Shape, 2> shapes_; ///< Before and after publish_codes(): readers keep references.
    std::atomic<const Shape*> shape_ = &shapes_[0];
    std::atomic<std::uint64_t> sequence_;

    // Of the one writer:
    State state_;            ///< As of the newest batch.
    std::string last_heads_; ///< Heads of the last block while it is partly filled.
    std::optional<PendingCodes> pending_;
    std::vector<ErasedFamily> erased_;
};

} // namespace arfc::storage
