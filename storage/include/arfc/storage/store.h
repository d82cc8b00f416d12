#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/point_id.h"

namespace arfc::storage {

/// Numbers a row for its whole life, in order of arrival, from 0. Rows are immutable: a changed
/// point is a new row.
using Row = std::uint64_t;

/// What a store holds a row of. A store has raw rows, codes, or both; widths never change after
/// creation, except that code widths are set once, by publish_codes().
struct Shape {
    std::size_t dim = 0;        ///< Floats of a raw row.
    std::size_t head_bytes = 0; ///< Hot prefix, packed in blocks; 0 while there is no model.
    std::size_t tail_bytes = 0; ///< The rest of the code; may be 0 while head_bytes is not.
    std::string model_id;       ///< Of the model that wrote the codes; empty while there is none.
};

/// When a write is durable.
enum class Durability : std::uint8_t {
    kSynced,   ///< On return: survives kill -9 and power loss (the WAL was synced).
    kBuffered, ///< On return: survives kill -9; power loss may take the newest, never tear one.
};

/// New rows for points, and points to drop; applied whole or not at all.
struct Mutation {
    std::span<const PointId> ids;          ///< [n]; where an id repeats, its last row wins.
    MatrixView<const std::byte> heads;     ///< [n, head_bytes]; no rows where there are no codes.
    MatrixView<const std::byte> tails;     ///< [n, tail_bytes]; no rows where tail_bytes is 0.
    MatrixView<const float> raw;           ///< [n, dim]; once there is a model, no rows will do.
    std::span<const std::string> payloads; ///< [n] JSON texts, "" = none; or empty: none has one.
    std::span<const PointId> removals; ///< Points to drop before rows are written, if they exist.
};

/// What a mutation changed.
struct Published {
    std::uint64_t epoch = 0;     ///< Version of the store that shows it; grows by one a mutation.
    Row first_row = 0;           ///< Row of ids[0]; the others follow.
    std::vector<Row> tombstones; ///< Rows that lost their point, also to a repeated id; ascending.
    std::size_t removed_points = 0; ///< Points that `removals` named and that existed.
};

/// Bytes by kind, as far as the backend knows them.
struct Statistics {
    std::uint64_t points = 0;       ///< Live points.
    std::uint64_t rows = 0;         ///< Rows ever written, tombstones included.
    std::uint64_t disk_bytes = 0;   ///< Files of the store, WAL included; 0 for the memory backend.
    std::uint64_t memory_bytes = 0; ///< Write buffers and caches (RocksDB) or everything (memory).
};

/// A state of the store that does not change while it is held. Thread-safe.
class Snapshot {
  public:
    virtual ~Snapshot() = default;
    [[nodiscard]] virtual std::uint64_t epoch() const noexcept = 0;
    [[nodiscard]] virtual std::uint64_t sequence() const noexcept = 0; ///< As Store::sequence.
    [[nodiscard]] virtual Row next_row() const noexcept = 0;           ///< Rows written so far.

    /// Reads the tails of rows.
    /// @param rows     [n], any order.
    /// @param tails    Out, [n, width], width <= tail_bytes: the first `width` bytes of each.
    /// @param lengths  Out, [n]: bytes there were, at most `width`; 0 for a row without a tail
    ///                 (tombstone, truncated).
    /// @throws Error   kCorruption: a checksum failed. kIo.
    virtual void read_tails(
        std::span<const Row> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const = 0;

    /// Reads payloads. @param payloads  Out, [n]; "" where there is none.
    virtual void read_payloads(
        std::span<const Row> rows, std::span<std::string> payloads) const = 0;

    /// Reads raw rows. @param raw  Out, [n, dim]. @throws Error  kNotFound: a row has no raw form.
    virtual void read_raw(std::span<const Row> rows, MatrixView<float> raw) const = 0;

    /// Finds the rows that points name. @param rows  Out, [n]; nothing for a point that is absent.
    virtual void find(std::span<const PointId> ids, std::span<std::optional<Row>> rows) const = 0;

    /// Visits every live point, in id order.
    virtual void for_each_point(const std::function<void(PointId, Row)>& visit) const = 0;

    /// Visits heads from `first` on in row order, in runs: the first row of the run and its heads
    /// [rows, head_bytes]. Tombstones are visited too.
    virtual void for_each_head(
        Row first, const std::function<void(Row, MatrixView<const std::byte>)>& visit) const = 0;

    /// Visits raw rows from `first` on in row order, in runs [rows, dim]; rows without raw form are
    /// passed over.
    virtual void for_each_raw(
        Row first, const std::function<void(Row, MatrixView<const float>)>& visit) const = 0;
};

/// Keeps codes, raw rows, payloads and ids of a collection; knows no model and computes no score.
///
/// Writes come from one thread at a time (the caller serialises them); snapshots may be taken and
/// read from many threads meanwhile. docs/storage_format.md gives every byte.
class Store {
  public:
    virtual ~Store() = default;

    [[nodiscard]] virtual const Shape& shape() const noexcept = 0;

    /// Applies a mutation atomically: after a crash either all of it is there or nothing of it. One
    /// that changes nothing leaves epoch and sequence; with kSynced it makes earlier ones durable.
    /// @throws Error  kInvalidArgument: a width or a count differs from the shape. kIo.
    ///                kResourceExhausted: the disk is full; passes once there is room.
    ///                kCorruption. kFailedPrecondition: opened read-only, or closed.
    virtual Published write(const Mutation& mutation, Durability durability) = 0;

    /// Gives existing rows their codes (after training); not visible as a model until
    /// publish_codes(). Runs may come in any order; rows that died meanwhile are left out. What an
    /// earlier process left unpublished is discarded first.
    /// @param first   Row of heads.row(0); the others follow.
    /// @throws Error  kInvalidArgument: no such rows, or the widths differ from earlier calls'.
    ///                kFailedPrecondition: the store has codes already. Else as write().
    virtual void write_codes(
        Row first, MatrixView<const std::byte> heads, MatrixView<const std::byte> tails) = 0;

    /// Makes the codes written by write_codes() the store's codes, durably, and sets the shape.
    /// Idempotent.
    /// @throws Error  kFailedPrecondition: the store has another model, or a live row no codes.
    ///                kInvalidArgument: the widths are not write_codes()'s. Else as write().
    virtual void publish_codes(
        std::size_t head_bytes, std::size_t tail_bytes, std::string_view model_id) = 0;

    /// Drops codes that were written and never published (a training that a crash ended).
    virtual void discard_unpublished_codes() = 0;

    /// Drops every raw row, durably; later mutations may bring new ones.
    /// @throws Error  kFailedPrecondition: there are no codes, raw rows are all there is.
    virtual void drop_raw() = 0;

    [[nodiscard]] virtual std::shared_ptr<const Snapshot> snapshot() const = 0;

    /// Returns the sequence number of the newest write: what a coarse file records to know what it
    /// covers.
    [[nodiscard]] virtual std::uint64_t sequence() const noexcept = 0;

    [[nodiscard]] virtual Statistics statistics() const = 0;

    /// Makes every acknowledged write durable and releases the directory, at the latest when the
    /// last snapshot goes. Later calls throw kFailedPrecondition. Destroying an open store makes
    /// nothing durable that was not.
    virtual void close() = 0;
};

/// How a store is opened.
struct OpenOptions {
    std::filesystem::path directory; ///< Ignored by the memory backend.
    bool create = false;             ///< Create it, instead of opening what is there.
    bool read_only = false; ///< A RocksDB secondary instance: reads while another process writes.
    Shape shape;            ///< Read when creating. When opening, a non-empty model_id must match.
};

/// A backend: one row of the table in storage/src/backends.cpp. Contract tests run over it.
struct Backend {
    std::string_view name;    ///< "rocksdb" or "memory".
    std::string_view summary; ///< One sentence.
    std::unique_ptr<Store> (*open)(const OpenOptions&);
};
[[nodiscard]] std::span<const Backend> backends() noexcept;

/// Opens or creates a store.
/// @throws Error  kInvalidArgument: no such backend, or a shape that no store has. kNotFound: none
///                there to open. kAlreadyExists: the directory of a new one holds something.
///                kFailedPrecondition: it is being written elsewhere, or has another model.
///                kUnsupported: a newer format. kCorruption: not a store, or damaged.
///                kIo, kResourceExhausted: the system refused.
std::unique_ptr<Store> open_store(std::string_view backend, const OpenOptions& options);

} // namespace arfc::storage
