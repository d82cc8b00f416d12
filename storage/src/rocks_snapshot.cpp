#include "rocks_snapshot.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "arfc/base/error.h"
#include "checks.h"
#include "head_blocks.h"
#include "rocks_status.h"

namespace arfc::storage {
namespace {

constexpr std::size_t kLookUpBatch = 128;                   // Keys a MultiGet; more gains nothing.
constexpr std::size_t kRawRunBytes = std::size_t{1} << 20U; // Of raw rows handed to a visitor at
                                                            // once.
constexpr std::size_t kScanReadaheadBytes = std::size_t{2} << 20U; // Of files read from end to end.

Key key_of(Family family, std::uint64_t number) {
    return family == Family::kIds ? Key::of_point(number) : Key::of_row(number);
}

/// A family from one key on, in key order; scans leave the block cache to look-ups.
class Scan {
  public:
    Scan(
        const RocksDatabase& database, rocksdb::ReadOptions options, Family family,
        const Key& first)
        : database_(database) {
        options.fill_cache = false;
        options.readahead_size = kScanReadaheadBytes;
        iterator_.reset(database.db().NewIterator(options, database.handle(family)));
        iterator_->Seek(first.view());
    }

    /// Says whether there is an entry; checks, where there is none, that nothing else ended the
    /// scan.
    [[nodiscard]] bool valid() const {
        if (iterator_->Valid()) {
            return true;
        }
        throw_if(iterator_->status(), "Store cannot be scanned", database_.directory());
        return false;
    }
    void next() { iterator_->Next(); }
    [[nodiscard]] std::string_view value() const { return iterator_->value().ToStringView(); }

    /// Returns the number in the key. @throws Error  kCorruption: the key has another length.
    [[nodiscard]] std::uint64_t number(std::size_t key_bytes) const {
        const std::string_view key = iterator_->key().ToStringView();
        if (key.size() != key_bytes) {
            fail(
                ErrorKind::kCorruption, "Length of a key does not fit: ", database_.directory(),
                ", ", key.size(), " bytes, expected ", key_bytes);
        }
        return number_of_key(key);
    }

  private:
    const RocksDatabase& database_;
    std::unique_ptr<rocksdb::Iterator> iterator_;
};

Row row_of_value(std::string_view value, const RocksDatabase& database) {
    if (value.size() != sizeof(Row)) {
        fail(
            ErrorKind::kCorruption,
            "Length of a point's row number does not fit: ", database.directory(), ", ",
            value.size(), " bytes, expected ", sizeof(Row));
    }
    return load_little_endian<Row>(value);
}

void check_raw_length(
    std::string_view value, std::size_t dim, Row row, const RocksDatabase& database) {
    if (value.size() != dim * sizeof(float)) {
        fail(
            ErrorKind::kCorruption, "Length of a raw row does not fit: ", database.directory(),
            ", row ", row, ", ", value.size(), " bytes, expected ", dim * sizeof(float));
    }
}

} // namespace

void look_up(
    const RocksDatabase& database, const rocksdb::ReadOptions& options, Family family,
    std::span<const std::uint64_t> numbers, const TakeValue& take) {
    std::vector<std::size_t> order(numbers.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (!std::is_sorted(numbers.begin(), numbers.end())) {
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return numbers[a] < numbers[b];
        });
    }
    const std::size_t most = std::min(kLookUpBatch, numbers.size());
    std::vector<Key> keys(most);
    std::vector<rocksdb::Slice> slices(most);
    std::vector<rocksdb::PinnableSlice> values(most);
    std::vector<rocksdb::Status> statuses(most);
    for (std::size_t begin = 0; begin < numbers.size(); begin += most) {
        const std::size_t count = std::min(most, numbers.size() - begin);
        for (std::size_t i = 0; i < count; ++i) {
            keys[i] = key_of(family, numbers[order[begin + i]]);
            slices[i] = keys[i].view();
            values[i].Reset();
        }
        database.db().MultiGet(
            options, database.handle(family), count, slices.data(), values.data(), statuses.data(),
            /*sorted_input=*/true);
        for (std::size_t i = 0; i < count; ++i) {
            if (statuses[i].IsNotFound()) {
                continue;
            }
            throw_if(statuses[i], "Store cannot be read", database.directory());
            take(order[begin + i], values[i].ToStringView());
        }
    }
}

void find_points(
    const RocksDatabase& database, const rocksdb::ReadOptions& options,
    std::span<const PointId> ids, std::span<std::optional<Row>> rows) {
    std::fill(rows.begin(), rows.end(), std::nullopt);
    look_up(database, options, Family::kIds, ids, [&](std::size_t i, std::string_view value) {
        rows[i] = row_of_value(value, database);
    });
}

void visit_points(
    const RocksDatabase& database, const rocksdb::ReadOptions& options,
    const std::function<void(PointId, Row)>& visit) {
    for (Scan scan(database, options, Family::kIds, Key::of_point(0)); scan.valid(); scan.next()) {
        visit(scan.number(kPointKeyBytes), row_of_value(scan.value(), database));
    }
}

RocksSnapshot::RocksSnapshot(std::shared_ptr<const RocksDatabase> database)
    : database_(std::move(database)) {
    if (!database_->is_secondary()) {
        snapshot_ = database_->db().GetSnapshot();
        options_.snapshot = snapshot_;
    }
    try {
        state_ = database_->state(options_);
    } catch (...) {
        if (snapshot_ != nullptr) {
            database_->db().ReleaseSnapshot(snapshot_);
        }
        throw;
    }
}

RocksSnapshot::~RocksSnapshot() {
    if (snapshot_ != nullptr) {
        database_->db().ReleaseSnapshot(snapshot_);
    }
}

void RocksSnapshot::read_tails(
    std::span<const Row> rows, MatrixView<std::byte> tails, std::span<std::size_t> lengths) const {
    check_tails_out(rows, tails, lengths, state_.shape);
    std::fill(lengths.begin(), lengths.end(), std::size_t{0});
    if (tails.cols() == 0) {
        return;
    }
    look_up(*database_, options_, Family::kTail, rows, [&](std::size_t i, std::string_view value) {
        if (value.size() > state_.shape.tail_bytes) {
            fail(
                ErrorKind::kCorruption, "Tail is longer than the store's: ", database_->directory(),
                ", row ", rows[i], ", ", value.size(), " bytes, expected at most ",
                state_.shape.tail_bytes);
        }
        lengths[i] = std::min(value.size(), tails.cols());
        std::memcpy(tails.row(i).data(), value.data(), lengths[i]);
    });
}

void RocksSnapshot::read_payloads(
    std::span<const Row> rows, std::span<std::string> payloads) const {
    check_payloads_out(rows, payloads);
    std::fill(payloads.begin(), payloads.end(), std::string());
    if (!state_.may_have_payloads) {
        return;
    }
    look_up(
        *database_, options_, Family::kPayload, rows,
        [&](std::size_t i, std::string_view value) { payloads[i] = value; });
}

void RocksSnapshot::read_raw(std::span<const Row> rows, MatrixView<float> raw) const {
    check_raw_out(rows, raw, state_.shape);
    std::vector<bool> found(rows.size(), false);
    look_up(*database_, options_, Family::kRaw, rows, [&](std::size_t i, std::string_view value) {
        check_raw_length(value, state_.shape.dim, rows[i], *database_);
        std::memcpy(raw.row(i).data(), value.data(), value.size());
        found[i] = true;
    });
    check_raw_found(rows, found);
}

void RocksSnapshot::find(std::span<const PointId> ids, std::span<std::optional<Row>> rows) const {
    check_found_out(ids, rows);
    find_points(*database_, options_, ids, rows);
}

void RocksSnapshot::for_each_point(const std::function<void(PointId, Row)>& visit) const {
    visit_points(*database_, options_, visit);
}

void RocksSnapshot::for_each_head(
    Row first, const std::function<void(Row, MatrixView<const std::byte>)>& visit) const {
    const std::size_t head_bytes = state_.shape.head_bytes;
    const std::size_t block_rows = state_.head_block_rows;
    if (head_bytes == 0 || first >= state_.next_row) {
        return;
    }
    std::uint64_t block = first / block_rows;
    for (Scan scan(*database_, options_, Family::kHead, Key::of_row(block)); scan.valid();
         scan.next(), ++block) {
        const Row begin = block * block_rows;
        const std::uint64_t found = scan.number(kRowKeyBytes);
        if (found != block || begin >= state_.next_row) {
            fail(
                ErrorKind::kCorruption,
                "Block of heads is missing or follows the last row: ", database_->directory(),
                ", block ", found, ", expected ", block);
        }
        const std::string_view heads =
            decode_head_block(block, scan.value(), head_bytes, block_rows, database_->directory());
        const std::size_t rows = std::min<std::size_t>(block_rows, state_.next_row - begin);
        if (heads.size() != rows * head_bytes) {
            fail(
                ErrorKind::kCorruption, "Rows of a block of heads differ: ", database_->directory(),
                ", block ", block, ", ", heads.size() / head_bytes, " rows, expected ", rows);
        }
        const std::size_t skipped = first > begin ? first - begin : 0;
        const MatrixView<const std::byte> all(
            reinterpret_cast<const std::byte*>(heads.data()), rows, head_bytes);
        visit(begin + skipped, all.slice(skipped, rows - skipped));
    }
    if (block * block_rows < state_.next_row) {
        fail(
            ErrorKind::kCorruption, "Block of heads is missing: ", database_->directory(),
            ", block ", block);
    }
}

void RocksSnapshot::for_each_raw(
    Row first, const std::function<void(Row, MatrixView<const float>)>& visit) const {
    const std::size_t dim = state_.shape.dim;
    const std::size_t most = kRawRunBytes / (dim * sizeof(float)); // Of the widest rows, four.
    std::vector<float> run; // Grows to `most` rows at the longest.
    Row run_first = first;
    std::size_t run_rows = 0;
    const auto hand_over = [&] {
        if (run_rows > 0) {
            visit(run_first, MatrixView<const float>(run.data(), run_rows, dim));
        }
        run_rows = 0;
    };
    for (Scan scan(*database_, options_, Family::kRaw, Key::of_row(first)); scan.valid();
         scan.next()) {
        const Row row = scan.number(kRowKeyBytes);
        check_raw_length(scan.value(), dim, row, *database_);
        if (run_rows == most || row != run_first + run_rows) {
            hand_over();
        }
        if (run_rows == 0) {
            run_first = row;
        }
        run.resize(std::max(run.size(), (run_rows + 1) * dim));
        std::memcpy(run.data() + run_rows * dim, scan.value().data(), dim * sizeof(float));
        ++run_rows;
    }
    hand_over();
}

} // namespace arfc::storage
