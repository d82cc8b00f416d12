#include "ingest/ingestion.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "arfc/base/error.h"
#include "ingest/row_check.h"
#include "terminal/numbers.h"
#include "terminal/text.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kMaxBatchRows = std::size_t{1} << 20U;

/// Floats that are in memory for each one of a batch: as read, as stored, and in a write buffer.
constexpr std::size_t kCopies = 3;

/// A batch takes at most this share of max_memory: the rest is the collection's.
constexpr std::uint64_t kBatchShare = 8;

} // namespace

Ingestion::Ingestion(
    RowReader& reader, RejectLog& rejects, IngestionOptions options, StorePoints store)
    : reader_(reader), rejects_(rejects), options_(options), store_(std::move(store)) {
    if (options_.batch_rows == 0 || options_.batch_rows > kMaxBatchRows) {
        fail(
            ErrorKind::kInvalidArgument, "Rows a batch are out of range: ", options_.batch_rows,
            ", expected 1 to ", kMaxBatchRows);
    }
    const std::size_t row_bytes = reader_.dim() * sizeof(float) * kCopies;
    if (options_.max_memory) {
        const std::uint64_t most = *options_.max_memory / kBatchShare / row_bytes;
        options_.batch_rows =
            static_cast<std::size_t>(std::clamp<std::uint64_t>(most, 1, options_.batch_rows));
    }
    batch_bytes_ = options_.batch_rows * row_bytes;
}

bool Ingestion::step() {
    require_memory();
    if (!reader_.next(options_.batch_rows, batch_)) {
        return false;
    }
    const std::size_t rows = batch_.size() + batch_.rejected.size();
    reject_unusable(batch_, options_.metric);
    name_rows();
    store_batch();
    rejects_.add(batch_.rejected);
    rejects_.flush();
    rows_in_ += rows;
    return true;
}

void Ingestion::require_memory() const {
    if (!options_.max_memory || resident_bytes() + batch_bytes_ <= *options_.max_memory) {
        return;
    }
    ::malloc_trim(0); // What was freed and is still held does not count.
    const std::uint64_t resident = resident_bytes();
    if (resident + batch_bytes_ > *options_.max_memory) {
        fail(
            ErrorKind::kResourceExhausted,
            "Resident memory would pass --max-memory: ", readable_bytes(resident), " now, ",
            readable_bytes(batch_bytes_), " for the next batch, at most ",
            readable_bytes(*options_.max_memory));
    }
}

/// Gives a number to each row that the file does not name.
void Ingestion::name_rows() {
    std::vector<std::optional<std::string>> reasons(batch_.size());
    bool refused = false;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
        PointId id = 0;
        if (batch_.ids[i]) {
            continue;
        }
        if (__builtin_add_overflow(options_.start_id, batch_.rows[i], &id)) {
            reasons[i] = text_of(
                "Id would be larger than 2^64 - 1: start ", options_.start_id, " + row ",
                batch_.rows[i]);
            refused = true;
        }
        batch_.ids[i] = id;
    }
    if (refused) {
        batch_.reject(reasons);
    }
}

void Ingestion::store_batch() {
    ids_.clear();
    for (const std::optional<PointId>& id : batch_.ids) {
        ids_.push_back(*id);
    }
    const std::size_t count = batch_.size();
    std::vector<std::optional<std::string>> reasons(count);
    if (count > 0) {
        store_range(0, count, reasons);
    }
    batch_.reject(reasons);
}

/// Stores rows [first, first + count); halves what is refused until the bad rows are alone, from
/// the left to the right, so that of two rows with one id the later one stays the last.
void Ingestion::store_range(
    std::size_t first, std::size_t count, std::vector<std::optional<std::string>>& reasons) {
    const auto payloads = std::span<const std::string>(batch_.payloads).subspan(first, count);
    const bool none = std::ranges::all_of(payloads, [](const auto& text) { return text.empty(); });
    try {
        store_(
            std::span(ids_).subspan(first, count), batch_.view().slice(first, count),
            none ? std::span<const std::string>() : payloads);
        rows_stored_ += count;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kInvalidArgument) {
            throw;
        }
        if (count == 1) {
            reasons[first] = error.what();
            return;
        }
        store_range(first, count / 2, reasons);
        store_range(first + count / 2, count - count / 2, reasons);
    }
}

std::uint64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::uint64_t total_pages = 0;
    std::uint64_t resident_pages = 0;
    if (!(file >> total_pages >> resident_pages)) {
        fail(ErrorKind::kIo, "Resident memory cannot be read: /proc/self/statm");
    }
    return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

} // namespace arfc::tools
