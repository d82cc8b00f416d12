#include "memory_store.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>

#include "arfc/base/error.h"
#include "checks.h"
#include "mutation_plan.h"

namespace arfc::storage {
namespace {

constexpr std::size_t kBlockRows = 64;
constexpr std::size_t kBuckets = 1024;
constexpr std::string_view kWhere = "(memory)"; // Stands in messages where the directory of a store
                                                // would.

/// Rows [block * kBlockRows, ...), column by column.
struct Block {
    std::uint64_t version = 0; ///< Sequence of the contents that own it, which alone may change it.
    std::vector<std::byte> heads;
    std::vector<std::byte> tails;
    std::vector<float> raw;
    std::vector<std::string> payloads;
    std::array<bool, kBlockRows> has_tail{};
    std::array<bool, kBlockRows> has_raw{};
};

/// Points whose ids share their lowest bits, ascending by id.
struct Bucket {
    std::uint64_t version = 0;
    std::vector<std::pair<PointId, Row>> points;
};

/// One state of the store. Published ones never change: a writer copies the two tables of pointers,
/// then each block and bucket that it touches, once, and publishes the copy; readers go on with
/// what they hold.
struct Contents {
    Shape shape;
    std::uint64_t epoch = 0;
    std::uint64_t sequence = 0;
    Row next_row = 0;
    std::uint64_t points = 0;
    std::vector<std::shared_ptr<const Block>> blocks;
    std::array<std::shared_ptr<const Bucket>, kBuckets> buckets;
};

std::size_t bucket_of(PointId id) {
    return id % kBuckets;
}

auto place_in(const Bucket& bucket, PointId id) {
    return std::lower_bound(
        bucket.points.begin(), bucket.points.end(), id,
        [](const auto& point, PointId wanted) { return point.first < wanted; });
}

std::optional<Row> row_of(const Contents& contents, PointId id) {
    const Bucket* bucket = contents.buckets[bucket_of(id)].get();
    if (bucket == nullptr) {
        return std::nullopt;
    }
    const auto point = place_in(*bucket, id);
    return point != bucket->points.end() && point->first == id ? std::optional(point->second)
                                                               : std::nullopt;
}

/// Returns what `shared` points at as something to change: itself where these contents own it, else
/// a copy.
template <class T>
T& own(std::shared_ptr<const T>& shared, std::uint64_t version) {
    if (shared == nullptr || shared->version != version) {
        auto copy = shared == nullptr ? std::make_shared<T>() : std::make_shared<T>(*shared);
        copy->version = version;
        shared = std::move(copy);
    }
    return const_cast<T&>(*shared); // Made as a mutable object above, and seen by this writer alone
                                    // so far.
}

Block& own_block(Contents& contents, Row row) {
    const std::size_t block = row / kBlockRows;
    if (block >= contents.blocks.size()) {
        contents.blocks.resize(block + 1);
    }
    return own(contents.blocks[block], contents.sequence);
}

template <class T>
void store_row(std::vector<T>& column, std::size_t place, std::span<const T> row) {
    column.resize(std::max(column.size(), (place + 1) * row.size()));
    std::copy(
        row.begin(), row.end(), column.begin() + static_cast<std::ptrdiff_t>(place * row.size()));
}

void add_row(Contents& contents, const Mutation& mutation, std::size_t i, bool is_live) {
    const Row row = contents.next_row + i;
    const std::size_t place = row % kBlockRows;
    Block& block = own_block(contents, row);
    if (mutation.heads.rows() > 0) {
        store_row(block.heads, place, mutation.heads.row(i));
    }
    block.payloads.resize(std::max(block.payloads.size(), place + 1));
    if (!is_live) {
        return;
    }
    if (mutation.tails.rows() > 0) {
        store_row(block.tails, place, mutation.tails.row(i));
        block.has_tail[place] = true;
    }
    if (mutation.raw.rows() > 0) {
        store_row(block.raw, place, mutation.raw.row(i));
        block.has_raw[place] = true;
    }
    if (!mutation.payloads.empty()) {
        block.payloads[place] = mutation.payloads[i];
    }
}

void change_point(Contents& contents, const PointChange& change) {
    if (change.old_row) {
        Block& block = own_block(contents, *change.old_row);
        const std::size_t place = *change.old_row % kBlockRows;
        block.has_tail[place] = false;
        block.has_raw[place] = false;
        block.payloads[place].clear();
    }
    Bucket& bucket = own(contents.buckets[bucket_of(change.id)], contents.sequence);
    const auto found = place_in(bucket, change.id) - bucket.points.begin();
    const auto point = bucket.points.begin() + found;
    if (!change.new_row) {
        bucket.points.erase(point);
    } else if (change.old_row) {
        point->second = *change.new_row;
    } else {
        bucket.points.insert(point, {change.id, *change.new_row});
    }
}

std::uint64_t memory_of(const Contents& contents) {
    std::uint64_t bytes =
        sizeof(Contents) + contents.blocks.size() * sizeof(std::shared_ptr<const Block>);
    for (const auto& block : contents.blocks) {
        bytes += sizeof(Block) + block->heads.capacity() + block->tails.capacity() +
                 block->raw.capacity() * sizeof(float) +
                 block->payloads.capacity() * sizeof(std::string);
        for (const std::string& payload : block->payloads) {
            bytes += payload.size();
        }
    }
    for (const auto& bucket : contents.buckets) {
        bytes += bucket == nullptr
                   ? 0
                   : sizeof(Bucket) + bucket->points.capacity() * sizeof(bucket->points[0]);
    }
    return bytes;
}

class MemorySnapshot final : public Snapshot {
  public:
    explicit MemorySnapshot(std::shared_ptr<const Contents> contents)
        : contents_(std::move(contents)) {}

    [[nodiscard]] std::uint64_t epoch() const noexcept override { return contents_->epoch; }
    [[nodiscard]] std::uint64_t sequence() const noexcept override { return contents_->sequence; }
    [[nodiscard]] Row next_row() const noexcept override { return contents_->next_row; }
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
    [[nodiscard]] const Block* block_of(Row row) const {
        return row < contents_->next_row ? contents_->blocks[row / kBlockRows].get() : nullptr;
    }

    std::shared_ptr<const Contents> contents_;
};

void MemorySnapshot::read_tails(
    std::span<const Row> rows, MatrixView<std::byte> tails, std::span<std::size_t> lengths) const {
    check_tails_out(rows, tails, lengths, contents_->shape);
    const std::size_t stored = contents_->shape.tail_bytes;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Block* block = block_of(rows[i]);
        const std::size_t place = rows[i] % kBlockRows;
        const bool is_there = block != nullptr && block->has_tail[place];
        lengths[i] = is_there ? tails.cols() : 0;
        if (lengths[i] > 0) {
            std::memcpy(tails.row(i).data(), block->tails.data() + place * stored, lengths[i]);
        }
    }
}

void MemorySnapshot::read_payloads(
    std::span<const Row> rows, std::span<std::string> payloads) const {
    check_payloads_out(rows, payloads);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Block* block = block_of(rows[i]);
        payloads[i] = block == nullptr ? std::string() : block->payloads[rows[i] % kBlockRows];
    }
}

void MemorySnapshot::read_raw(std::span<const Row> rows, MatrixView<float> raw) const {
    check_raw_out(rows, raw, contents_->shape);
    std::vector<bool> found(rows.size(), false);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Block* block = block_of(rows[i]);
        const std::size_t place = rows[i] % kBlockRows;
        if (block != nullptr && block->has_raw[place]) {
            std::memcpy(
                raw.row(i).data(), block->raw.data() + place * raw.cols(),
                raw.cols() * sizeof(float));
            found[i] = true;
        }
    }
    check_raw_found(rows, found);
}

void MemorySnapshot::find(std::span<const PointId> ids, std::span<std::optional<Row>> rows) const {
    check_found_out(ids, rows);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        rows[i] = row_of(*contents_, ids[i]);
    }
}

void MemorySnapshot::for_each_point(const std::function<void(PointId, Row)>& visit) const {
    std::vector<std::pair<PointId, Row>> points;
    points.reserve(contents_->points);
    for (const auto& bucket : contents_->buckets) {
        if (bucket != nullptr) {
            points.insert(points.end(), bucket->points.begin(), bucket->points.end());
        }
    }
    std::sort(points.begin(), points.end());
    for (const auto& [id, row] : points) {
        visit(id, row);
    }
}

void MemorySnapshot::for_each_head(
    Row first, const std::function<void(Row, MatrixView<const std::byte>)>& visit) const {
    const std::size_t width = contents_->shape.head_bytes;
    if (width == 0) {
        return;
    }
    while (first < contents_->next_row) {
        const std::size_t place = first % kBlockRows;
        const std::size_t rows =
            std::min<std::size_t>(kBlockRows - place, contents_->next_row - first);
        visit(
            first, MatrixView<const std::byte>(
                       block_of(first)->heads.data() + place * width, rows, width));
        first += rows;
    }
}

void MemorySnapshot::for_each_raw(
    Row first, const std::function<void(Row, MatrixView<const float>)>& visit) const {
    const std::size_t dim = contents_->shape.dim;
    while (first < contents_->next_row) {
        const Block& block = *block_of(first);
        const Row block_end =
            std::min<Row>(first - first % kBlockRows + kBlockRows, contents_->next_row);
        Row end = first;
        while (end < block_end && block.has_raw[end % kBlockRows]) {
            ++end;
        }
        if (end > first) {
            visit(
                first, MatrixView<const float>(
                           block.raw.data() + first % kBlockRows * dim, end - first, dim));
        }
        first = std::max(end, first + 1);
    }
}

class MemoryStore final : public Store {
  public:
    explicit MemoryStore(const Shape& shape) {
        auto contents = std::make_shared<Contents>();
        contents->shape = shape;
        contents_ = std::move(contents);
        shapes_[0] = shape;
    }

    [[nodiscard]] const Shape& shape() const noexcept override { return *shape_.load(); }
    Published write(const Mutation& mutation, Durability durability) override;
    void write_codes(
        Row first, MatrixView<const std::byte> heads, MatrixView<const std::byte> tails) override;
    void publish_codes(
        std::size_t head_bytes, std::size_t tail_bytes, std::string_view model_id) override;
    void discard_unpublished_codes() override;
    void drop_raw() override;
    [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const override {
        return std::make_shared<MemorySnapshot>(contents());
    }
    [[nodiscard]] std::uint64_t sequence() const noexcept override { return sequence_.load(); }
    [[nodiscard]] Statistics statistics() const override {
        const auto now = contents();
        return {
            .points = now->points,
            .rows = now->next_row,
            .disk_bytes = 0,
            .memory_bytes = memory_of(*now)};
    }
    void close() override {
        static_cast<void>(contents());
        const std::lock_guard lock(mutex_);
        contents_.reset();
    }

  private:
    /// Codes of a training that goes on, outside of every state.
    struct PendingCodes {
        std::size_t head_bytes = 0;
        std::size_t tail_bytes = 0;
        std::vector<std::byte> heads; ///< [covered.size(), head_bytes]
        std::vector<std::byte> tails; ///< [covered.size(), tail_bytes]
        std::vector<bool> covered;
    };

    [[nodiscard]] std::shared_ptr<const Contents> contents() const {
        const std::lock_guard lock(mutex_);
        if (contents_ == nullptr) {
            fail(ErrorKind::kFailedPrecondition, "Store is closed: ", kWhere);
        }
        return contents_;
    }

    /// Copies the newest state, as one that may be changed and then published.
    [[nodiscard]] std::shared_ptr<Contents> next_contents() const {
        auto next = std::make_shared<Contents>(*contents());
        next->sequence += 1;
        return next;
    }

    void publish(std::shared_ptr<const Contents> next) {
        const std::uint64_t sequence = next->sequence;
        const std::lock_guard lock(mutex_);
        contents_ = std::move(next);
        sequence_ = sequence;
    }

    void require_widths(std::size_t head_bytes, std::size_t tail_bytes);
    void require_codes_for_every_point(const Contents& now) const;
    void copy_pending_codes(Contents& next) const;

    mutable std::mutex mutex_; ///< Guards the pointer, never what it points at.
    std::shared_ptr<const Contents> contents_;
    std::array<Shape, 2> shapes_; ///< Before and after publish_codes(): readers keep references.
    std::atomic<const Shape*> shape_ = &shapes_[0];
    std::atomic<std::uint64_t> sequence_{0};
    std::optional<PendingCodes> pending_;
};

Published MemoryStore::write(const Mutation& mutation, Durability) {
    const auto now = contents();
    check_mutation(mutation, now->shape);
    const std::vector<PointId> touched = touched_points(mutation);
    std::vector<std::optional<Row>> current(touched.size());
    for (std::size_t i = 0; i < touched.size(); ++i) {
        current[i] = row_of(*now, touched[i]);
    }
    MutationPlan plan = plan_mutation(mutation, touched, current, now->next_row, now->points);
    Published published{
        .epoch = now->epoch,
        .first_row = now->next_row,
        .tombstones = std::move(plan.tombstones),
        .removed_points = plan.removed_points};
    if (plan.changes.empty()) {
        return published;
    }
    const auto next = next_contents();
    for (std::size_t i = 0; i < mutation.ids.size(); ++i) {
        add_row(*next, mutation, i, plan.live[i]);
    }
    for (const PointChange& change : plan.changes) {
        change_point(*next, change);
    }
    next->epoch += 1;
    next->next_row += mutation.ids.size();
    next->points = plan.points;
    publish(next);
    published.epoch = next->epoch;
    return published;
}

void MemoryStore::write_codes(
    Row first, MatrixView<const std::byte> heads, MatrixView<const std::byte> tails) {
    const auto now = contents();
    if (now->shape.head_bytes > 0) {
        fail(
            ErrorKind::kFailedPrecondition, "Store has codes already: ", kWhere, ", model ",
            now->shape.model_id);
    }
    check_codes(first, heads, tails, now->next_row);
    require_widths(heads.cols(), tails.cols());
    const std::size_t rows = std::max<std::size_t>(pending_->covered.size(), first + heads.rows());
    pending_->heads.resize(rows * heads.cols());
    pending_->tails.resize(rows * tails.cols());
    pending_->covered.resize(rows, false);
    const auto at = static_cast<std::ptrdiff_t>(first);
    std::copy_n(
        heads.data(), heads.size(),
        pending_->heads.begin() + at * static_cast<std::ptrdiff_t>(heads.cols()));
    std::copy_n(
        tails.data(), tails.size(),
        pending_->tails.begin() + at * static_cast<std::ptrdiff_t>(tails.cols()));
    std::fill_n(pending_->covered.begin() + at, heads.rows(), true);
    publish(next_contents());
}

void MemoryStore::publish_codes(
    std::size_t head_bytes, std::size_t tail_bytes, std::string_view model_id) {
    const auto next = next_contents();
    Shape shape{
        .dim = next->shape.dim,
        .head_bytes = head_bytes,
        .tail_bytes = tail_bytes,
        .model_id = std::string(model_id)};
    if (next->shape.head_bytes > 0) {
        check_published_again(next->shape, shape, kWhere);
        return;
    }
    check_shape(shape);
    require_widths(head_bytes, tail_bytes);
    require_codes_for_every_point(*next);
    next->shape = shape;
    copy_pending_codes(*next);
    publish(next);
    pending_.reset();
    shapes_[1] = std::move(shape);
    shape_ = &shapes_[1];
}

void MemoryStore::discard_unpublished_codes() {
    static_cast<void>(contents());
    pending_.reset();
}

void MemoryStore::drop_raw() {
    const auto next = next_contents();
    if (next->shape.head_bytes == 0) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Raw rows are all that a store without codes has: ", kWhere);
    }
    for (Row row = 0; row < next->next_row; row += kBlockRows) {
        Block& block = own_block(*next, row);
        block.raw = {};
        block.has_raw.fill(false);
    }
    publish(next);
}

void MemoryStore::require_widths(std::size_t head_bytes, std::size_t tail_bytes) {
    if (!pending_ || pending_->covered.empty()) {
        pending_ = PendingCodes{
            .head_bytes = head_bytes,
            .tail_bytes = tail_bytes,
            .heads = {},
            .tails = {},
            .covered = {}};
    }
    if (pending_->head_bytes != head_bytes || pending_->tail_bytes != tail_bytes) {
        fail(
            ErrorKind::kInvalidArgument,
            "Widths of codes differ from those written before: ", head_bytes, " and ", tail_bytes,
            ", expected ", pending_->head_bytes, " and ", pending_->tail_bytes);
    }
}

void MemoryStore::require_codes_for_every_point(const Contents& now) const {
    std::uint64_t bare = 0;
    Row example = 0;
    for (const auto& bucket : now.buckets) {
        for (std::size_t i = 0; bucket != nullptr && i < bucket->points.size(); ++i) {
            const Row row = bucket->points[i].second;
            if (row >= pending_->covered.size() || !pending_->covered[row]) {
                example = row;
                ++bare;
            }
        }
    }
    if (bare > 0) {
        fail(
            ErrorKind::kFailedPrecondition, "Rows have no codes yet: ", kWhere, ", ", bare,
            " rows, such as row ", example);
    }
}

void MemoryStore::copy_pending_codes(Contents& next) const {
    const MatrixView<const std::byte> heads(
        pending_->heads.data(), pending_->covered.size(), pending_->head_bytes);
    const MatrixView<const std::byte> tails(
        pending_->tails.data(), pending_->covered.size(), pending_->tail_bytes);
    const std::vector<std::byte> none(pending_->head_bytes);
    for (Row row = 0; row < next.next_row; ++row) {
        Block& block = own_block(next, row);
        const std::size_t place = row % kBlockRows;
        const bool is_covered = row < heads.rows();
        store_row(
            block.heads, place, is_covered ? heads.row(row) : std::span<const std::byte>(none));
        // Only live rows get a tail; while there is no model, each of them, and no other, has a raw
        // form.
        if (is_covered && tails.cols() > 0 && block.has_raw[place]) {
            store_row(block.tails, place, tails.row(row));
            block.has_tail[place] = true;
        }
    }
}

} // namespace

std::unique_ptr<Store> open_memory_store(const OpenOptions& options) {
    if (!options.create) {
        fail(
            ErrorKind::kNotFound,
            "Store in memory ends with its process and is not there to be opened");
    }
    return std::make_unique<MemoryStore>(options.shape);
}

} // namespace arfc::storage
