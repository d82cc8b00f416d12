#include "rocks_store.h"

#include <algorithm>
#include <cstring>

#include "arfc/base/error.h"
#include "checks.h"
#include "head_blocks.h"
#include "rocks_snapshot.h"
#include "rocks_status.h"

namespace arfc::storage {
namespace {

std::string_view bytes_of(std::span<const std::byte> row) {
    return {reinterpret_cast<const char*>(row.data()), row.size()};
}

std::string_view bytes_of(std::span<const float> row) {
    return {reinterpret_cast<const char*>(row.data()), row.size_bytes()};
}

/// Sorts after every key of every family, whose keys are shorter.
constexpr std::string_view kAfterAllKeys = "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";

} // namespace

std::unique_ptr<Store> RocksStore::open(const OpenOptions& options) {
    if (!options.create) {
        auto database = options.read_only ? RocksDatabase::open_read_only(options.directory)
                                          : RocksDatabase::open(options.directory);
        return std::make_unique<RocksStore>(std::move(database), options.read_only);
    }
    State state;
    state.shape = options.shape;
    state.head_block_rows = kHeadBlockRows;
    return std::make_unique<RocksStore>(RocksDatabase::create(options.directory, state), false);
}

RocksStore::RocksStore(std::shared_ptr<RocksDatabase> database, bool read_only)
    : read_only_(read_only), directory_(database->directory()), database_(std::move(database)),
      state_(database_->state()), last_heads_(database_->partial_head_block(state_)) {
    shapes_[0] = state_.shape;
    sequence_ = state_.sequence;
    if (!read_only_) {
        find_erased();
        reclaim();
    }
}

Published RocksStore::write(const Mutation& mutation, Durability durability) {
    require_writable();
    check_mutation(mutation, state_.shape);
    const std::vector<PointId> touched = touched_points(mutation);
    std::vector<std::optional<Row>> current(touched.size());
    find_points(*database_, {}, touched, current);
    MutationPlan plan = plan_mutation(mutation, touched, current, state_.next_row, state_.points);
    if (plan.changes.empty()) { // Nothing to write; the caller may still ask for what came before
                                // to be durable.
        if (durability == Durability::kSynced) {
            sync();
        }
        return {
            .epoch = state_.epoch,
            .first_row = state_.next_row,
            .tombstones = {},
            .removed_points = 0};
    }
    rocksdb::WriteBatch batch;
    put_points(batch, plan);
    put_rows(batch, mutation, plan);
    std::string last_heads = put_heads(batch, mutation.heads);
    State next = state_;
    next.epoch += 1;
    next.next_row += mutation.ids.size();
    next.points = plan.points;
    next.may_have_raw |= mutation.raw.rows() > 0;
    next.may_have_payloads |= !mutation.payloads.empty();
    const Row first_row = state_.next_row;
    commit(batch, std::move(next), durability);
    last_heads_ = std::move(last_heads);
    reclaim();
    return {
        .epoch = state_.epoch,
        .first_row = first_row,
        .tombstones = std::move(plan.tombstones),
        .removed_points = plan.removed_points};
}

void RocksStore::write_codes(
    Row first, MatrixView<const std::byte> heads, MatrixView<const std::byte> tails) {
    require_writable();
    if (state_.shape.head_bytes > 0) {
        fail(
            ErrorKind::kFailedPrecondition, "Store has codes already: ", directory_, ", model ",
            state_.shape.model_id);
    }
    check_codes(first, heads, tails, state_.next_row);
    begin_pending(heads.cols(), tails.cols());
    if (heads.rows() == 0) {
        return;
    }
    rocksdb::WriteBatch batch;
    put_pending_heads(batch, first, heads);
    put_pending_tails(batch, first, tails);
    State next = state_;
    next.has_unpublished_codes = true;
    commit(batch, std::move(next), Durability::kBuffered);
    pending_->covered.resize(
        std::max<std::size_t>(pending_->covered.size(), first + heads.rows()), false);
    std::fill_n(pending_->covered.begin() + static_cast<std::ptrdiff_t>(first), heads.rows(), true);
}

void RocksStore::publish_codes(
    std::size_t head_bytes, std::size_t tail_bytes, std::string_view model_id) {
    require_writable();
    Shape shape{
        .dim = state_.shape.dim,
        .head_bytes = head_bytes,
        .tail_bytes = tail_bytes,
        .model_id = std::string(model_id)};
    if (state_.shape.head_bytes > 0) {
        check_published_again(state_.shape, shape, directory_);
        return;
    }
    check_shape(shape);
    begin_pending(head_bytes, tail_bytes);
    require_codes_for_every_point();
    rocksdb::WriteBatch batch;
    std::string last_heads = pad_pending_heads(batch, head_bytes);
    State next = state_;
    next.shape = shape;
    next.has_unpublished_codes = false;
    commit(batch, std::move(next), Durability::kSynced);
    last_heads_ = std::move(last_heads);
    pending_.reset();
    shapes_[1] = std::move(shape);
    shape_ = &shapes_[1];
}

void RocksStore::discard_unpublished_codes() {
    require_writable();
    pending_.reset();
    if (!state_.has_unpublished_codes) {
        return;
    }
    rocksdb::WriteBatch batch;
    erase_all(batch, Family::kHead);
    erase_all(batch, Family::kTail);
    State next = state_;
    next.has_unpublished_codes = false;
    commit(batch, std::move(next), Durability::kSynced);
    const std::uint64_t sequence = database_->db().GetLatestSequenceNumber();
    erased_.push_back({.family = Family::kHead, .sequence = sequence});
    erased_.push_back({.family = Family::kTail, .sequence = sequence});
    reclaim();
}

void RocksStore::drop_raw() {
    require_writable();
    if (state_.shape.head_bytes == 0) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Raw rows are all that a store without codes has: ", directory_);
    }
    if (!state_.may_have_raw) {
        reclaim();
        return;
    }
    rocksdb::WriteBatch batch;
    erase_all(batch, Family::kRaw);
    State next = state_;
    next.may_have_raw = false;
    commit(batch, std::move(next), Durability::kSynced);
    erased_.push_back(
        {.family = Family::kRaw, .sequence = database_->db().GetLatestSequenceNumber()});
    reclaim();
}

std::shared_ptr<const Snapshot> RocksStore::snapshot() const {
    return std::make_shared<RocksSnapshot>(database());
}

Statistics RocksStore::statistics() const {
    const std::shared_ptr<RocksDatabase> open = database();
    const RocksSnapshot now(open);
    Statistics statistics{.points = now.state().points, .rows = now.next_row()};
    std::error_code error; // Files come and go meanwhile: what vanishes is not counted.
    std::filesystem::directory_iterator file(directory_, error);
    for (; !error && file != std::filesystem::directory_iterator(); file.increment(error)) {
        std::error_code vanished;
        const std::uintmax_t size = file->file_size(vanished);
        statistics.disk_bytes += vanished ? 0 : size;
    }
    for (rocksdb::ColumnFamilyHandle* handle : open->handles()) {
        std::uint64_t tables = 0;
        std::uint64_t buffers = 0;
        open->db().GetIntProperty(
            handle, rocksdb::DB::Properties::kEstimateTableReadersMem, &tables);
        open->db().GetIntProperty(handle, rocksdb::DB::Properties::kSizeAllMemTables, &buffers);
        statistics.memory_bytes += tables + buffers;
    }
    std::uint64_t cached = 0; // One cache serves all families: any of them tells its use.
    open->db().GetIntProperty(
        open->handle(Family::kHead), rocksdb::DB::Properties::kBlockCacheUsage, &cached);
    statistics.memory_bytes += cached;
    return statistics;
}

void RocksStore::close() {
    const std::shared_ptr<RocksDatabase> open = database(); // Ends with this call, or with the last
                                                            // snapshot.
    const auto release = [this] {
        const std::lock_guard lock(mutex_);
        database_.reset();
    };
    try {
        if (!read_only_) {
            sync();
            // The next opening then replays no log.
            throw_if(open->db().Flush({}, open->handles()), "Store cannot be closed", directory_);
        }
    } catch (...) {
        release();
        throw;
    }
    release();
}

std::shared_ptr<RocksDatabase> RocksStore::database() const {
    const std::lock_guard lock(mutex_);
    if (database_ == nullptr) {
        fail(ErrorKind::kFailedPrecondition, "Store is closed: ", directory_);
    }
    return database_;
}

void RocksStore::require_writable() const {
    static_cast<void>(database());
    if (read_only_) {
        fail(ErrorKind::kFailedPrecondition, "Store is open read-only: ", directory_);
    }
}

void RocksStore::commit(rocksdb::WriteBatch& batch, State next, Durability durability) {
    database_->resume();
    next.sequence += 1;
    put(batch, Family::kMeta, kStateKey, encode_state(next));
    rocksdb::WriteOptions options;
    options.sync = durability == Durability::kSynced;
    throw_if(database_->db().Write(options, &batch), "Store cannot be written", directory_);
    state_ = std::move(next);
    sequence_ = state_.sequence;
}

void RocksStore::sync() {
    database_->resume();
    throw_if(database_->db().FlushWAL(/*sync=*/true), "Store cannot be made durable", directory_);
}

void RocksStore::put_rows(
    rocksdb::WriteBatch& batch, const Mutation& mutation, const MutationPlan& plan) const {
    for (std::size_t i = 0; i < mutation.ids.size(); ++i) {
        if (!plan.live[i]) {
            continue; // Its id came again later in the same mutation.
        }
        const Key key = Key::of_row(state_.next_row + i);
        if (mutation.tails.rows() > 0) {
            put(batch, Family::kTail, key.view(), bytes_of(mutation.tails.row(i)));
        }
        if (mutation.raw.rows() > 0) {
            put(batch, Family::kRaw, key.view(), bytes_of(mutation.raw.row(i)));
        }
        if (!mutation.payloads.empty() && !mutation.payloads[i].empty()) {
            put(batch, Family::kPayload, key.view(), mutation.payloads[i]);
        }
    }
}

void RocksStore::put_points(rocksdb::WriteBatch& batch, const MutationPlan& plan) const {
    for (const PointChange& change : plan.changes) {
        const Key point = Key::of_point(change.id);
        if (change.new_row) {
            std::string row;
            append_little_endian(row, *change.new_row);
            put(batch, Family::kIds, point.view(), row);
        } else {
            erase(batch, Family::kIds, point.view());
        }
        if (!change.old_row) {
            continue;
        }
        const Key old = Key::of_row(*change.old_row);
        if (state_.shape.tail_bytes > 0 || state_.has_unpublished_codes) {
            erase(batch, Family::kTail, old.view());
        }
        if (state_.may_have_raw) {
            erase(batch, Family::kRaw, old.view());
        }
        if (state_.may_have_payloads) {
            erase(batch, Family::kPayload, old.view());
        }
    }
}

/// Appends heads behind the last row: rewrites the partly filled block, adds new ones.
/// @returns the heads of the block that is then partly filled.
std::string RocksStore::put_heads(
    rocksdb::WriteBatch& batch, MatrixView<const std::byte> heads) const {
    std::string block_heads = last_heads_;
    const std::size_t full = state_.head_block_rows * state_.shape.head_bytes;
    std::uint64_t block = state_.next_row / state_.head_block_rows;
    std::string_view rest(reinterpret_cast<const char*>(heads.data()), heads.size());
    while (!rest.empty()) {
        const std::string_view part = rest.substr(0, full - block_heads.size());
        rest.remove_prefix(part.size());
        block_heads += part;
        put(batch, Family::kHead, Key::of_row(block).view(), encode_head_block(block, block_heads));
        if (block_heads.size() == full) {
            block_heads.clear();
            ++block;
        }
    }
    return block_heads;
}

void RocksStore::put(
    rocksdb::WriteBatch& batch, Family family, std::string_view key, std::string_view value) const {
    throw_if(batch.Put(database_->handle(family), key, value), "Batch cannot be built", directory_);
}

void RocksStore::erase(rocksdb::WriteBatch& batch, Family family, std::string_view key) const {
    throw_if(batch.Delete(database_->handle(family), key), "Batch cannot be built", directory_);
}

void RocksStore::erase_all(rocksdb::WriteBatch& batch, Family family) const {
    throw_if(
        batch.DeleteRange(database_->handle(family), std::string_view(), kAfterAllKeys),
        "Batch cannot be built", directory_);
}

/// Gives the disk back what erased families took, as far as no older snapshot reads it: rewriting
/// it for that snapshot would take space and give none. What is left is tried again with the next
/// mutation and at the next opening. Failures here are not the mutation's, and are in the log.
void RocksStore::reclaim() {
    if (erased_.empty()) {
        return;
    }
    rocksdb::DB& db = database_->db();
    std::uint64_t snapshots = 0;
    std::uint64_t oldest = 0;
    if (!db.GetIntProperty(rocksdb::DB::Properties::kNumSnapshots, &snapshots) ||
        !db.GetIntProperty(rocksdb::DB::Properties::kOldestSnapshotSequence, &oldest)) {
        return;
    }
    std::erase_if(erased_, [&](const ErasedFamily& erased) {
        const bool is_read = snapshots > 0 && oldest < erased.sequence;
        return !is_read && database_->reclaim_if_empty(erased.family).ok();
    });
}

/// Finds erased families whose space an earlier process did not give back.
void RocksStore::find_erased() {
    const auto note = [this](Family family) {
        std::uint64_t bytes = 0;
        rocksdb::ColumnFamilyHandle* handle = database_->handle(family);
        database_->db().GetIntProperty(handle, rocksdb::DB::Properties::kTotalSstFilesSize, &bytes);
        if (bytes > 0) {
            erased_.push_back({.family = family, .sequence = 0});
        }
    };
    if (!state_.may_have_raw) {
        note(Family::kRaw);
    }
    if (state_.shape.head_bytes == 0 && !state_.has_unpublished_codes) {
        note(Family::kHead);
        note(Family::kTail);
    }
}

/// Starts a training's codes, or goes on with them; what an earlier process left behind goes first.
void RocksStore::begin_pending(std::size_t head_bytes, std::size_t tail_bytes) {
    if (!pending_ || pending_->covered.empty()) {
        discard_unpublished_codes();
        pending_ = PendingCodes{.head_bytes = head_bytes, .tail_bytes = tail_bytes, .covered = {}};
    }
    if (pending_->head_bytes != head_bytes || pending_->tail_bytes != tail_bytes) {
        fail(
            ErrorKind::kInvalidArgument,
            "Widths of codes differ from those written before: ", head_bytes, " and ", tail_bytes,
            ", expected ", pending_->head_bytes, " and ", pending_->tail_bytes);
    }
}

void RocksStore::put_pending_heads(
    rocksdb::WriteBatch& batch, Row first, MatrixView<const std::byte> heads) const {
    const std::size_t width = heads.cols();
    for (std::size_t done = 0; done < heads.rows();) {
        const std::uint64_t block = (first + done) / state_.head_block_rows;
        const std::size_t offset = (first + done) % state_.head_block_rows;
        const std::size_t count =
            std::min<std::size_t>(state_.head_block_rows - offset, heads.rows() - done);
        // A block that these rows fill as a whole need not be read.
        std::string block_heads =
            count == state_.head_block_rows ? std::string() : pending_head_block(block, width);
        block_heads.resize(std::max(block_heads.size(), (offset + count) * width), '\0');
        std::memcpy(block_heads.data() + offset * width, heads.row(done).data(), count * width);
        put(batch, Family::kHead, Key::of_row(block).view(), encode_head_block(block, block_heads));
        done += count;
    }
}

/// Rows that died since the training read them have no raw form any more, and get no tail.
void RocksStore::put_pending_tails(
    rocksdb::WriteBatch& batch, Row first, MatrixView<const std::byte> tails) const {
    std::vector<Row> rows(tails.rows());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] = first + i;
    }
    look_up(*database_, {}, Family::kRaw, rows, [&](std::size_t i, std::string_view) {
        put(batch, Family::kTail, Key::of_row(rows[i]).view(), bytes_of(tails.row(i)));
    });
}

void RocksStore::require_codes_for_every_point() const {
    std::uint64_t bare = 0;
    Row example = 0;
    visit_points(*database_, {}, [&](PointId, Row row) {
        if (row >= pending_->covered.size() || !pending_->covered[row]) {
            example = row;
            ++bare;
        }
    });
    if (bare > 0) {
        fail(
            ErrorKind::kFailedPrecondition, "Rows have no codes yet: ", directory_, ", ", bare,
            " rows, such as row ", example);
    }
}

/// Completes blocks that end with dead rows, which no training reads, so that every row has its
/// place.
/// @returns the heads of the last block where it is partly filled.
std::string RocksStore::pad_pending_heads(
    rocksdb::WriteBatch& batch, std::size_t head_bytes) const {
    const std::vector<bool>& covered = pending_->covered;
    const std::uint64_t blocks =
        (state_.next_row + state_.head_block_rows - 1) / state_.head_block_rows;
    std::string last;
    for (std::uint64_t block = 0; block < blocks; ++block) {
        const Row end = std::min<Row>((block + 1) * state_.head_block_rows, state_.next_row);
        const bool is_last = block + 1 == blocks;
        const bool is_complete = end <= covered.size() && covered[end - 1];
        if (is_complete && !is_last) {
            continue;
        }
        std::string heads = pending_head_block(block, head_bytes);
        heads.resize((end - block * state_.head_block_rows) * head_bytes, '\0');
        put(batch, Family::kHead, Key::of_row(block).view(), encode_head_block(block, heads));
        if (is_last && end % state_.head_block_rows != 0) {
            last = std::move(heads);
        }
    }
    return last;
}

std::string RocksStore::pending_head_block(std::uint64_t block, std::size_t head_bytes) const {
    const std::optional<std::string> value =
        database_->get({}, Family::kHead, Key::of_row(block).view());
    return value ? std::string(decode_head_block(
                       block, *value, head_bytes, state_.head_block_rows, directory_))
                 : std::string();
}

} // namespace arfc::storage
