#pragma once

#include <functional>
#include <memory>
#include <span>

#include "arfc/storage/store.h"
#include "rocks_database.h"

namespace arfc::storage {

/// Takes one found value: its place among the numbers asked for, and its bytes, valid during the
/// call.
using TakeValue = std::function<void(std::size_t, std::string_view)>;

/// Looks up rows (or, in `ids`, points) in ascending order, a batch at a time; absent ones are
/// passed over.
/// @throws Error  kCorruption, kIo.
void look_up(
    const RocksDatabase& database, const rocksdb::ReadOptions& options, Family family,
    std::span<const std::uint64_t> numbers, const TakeValue& take);

/// Finds the rows that points name.
void find_points(
    const RocksDatabase& database, const rocksdb::ReadOptions& options,
    std::span<const PointId> ids, std::span<std::optional<Row>> rows);

/// Visits the points of `ids` in order.
void visit_points(
    const RocksDatabase& database, const rocksdb::ReadOptions& options,
    const std::function<void(PointId, Row)>& visit);

/// A RocksDB snapshot and the state record read through it. A secondary has no snapshots: its state
/// never moves.
class RocksSnapshot final : public Snapshot {
  public:
    explicit RocksSnapshot(std::shared_ptr<const RocksDatabase> database);
    RocksSnapshot(const RocksSnapshot&) = delete;
    RocksSnapshot& operator=(const RocksSnapshot&) = delete;
    ~RocksSnapshot() override;

    [[nodiscard]] const State& state() const noexcept { return state_; }

    [[nodiscard]] std::uint64_t epoch() const noexcept override { return state_.epoch; }
    [[nodiscard]] std::uint64_t sequence() const noexcept override { return state_.sequence; }
    [[nodiscard]] Row next_row() const noexcept override { return state_.next_row; }
    void read_tails(
        std::span<const Row> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override;
    void read_payloads(std::span<const Row> rows, std::span<std::string> payloads) const override;
    void read_raw(std::span<const Row> rows, MatrixView<float> raw) const override;
    void find(std::span<const PointId> ids, std::span<std::optional<Row>> rows) const override;
    void for_each_point(const std::function<void(PointId, Row)>& visit) const override;
    void for_each_head(
        Row first,
        const std::function<void(Row, MatrixView<const std::byte>)>& visit) const override;
    void for_each_raw(
        Row first, const std::function<void(Row, MatrixView<const float>)>& visit) const override;

  private:
    std::shared_ptr<const RocksDatabase> database_;
    const rocksdb::Snapshot* snapshot_ = nullptr;
    rocksdb::ReadOptions options_;
    State state_;
};

} // namespace arfc::storage
