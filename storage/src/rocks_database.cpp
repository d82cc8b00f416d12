#include "rocks_database.h"

#include <rocksdb/convenience.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "arfc/base/error.h"
#include "arfc/storage/manifest.h"
#include "head_blocks.h"
#include "rocks_options.h"
#include "rocks_status.h"

namespace arfc::storage {
namespace {

constexpr std::array<std::string_view, kFamilies> kFamilyNames{"head",    "tail", "raw",
                                                               "payload", "ids",  "meta"};
constexpr std::string_view kMagic = "arfc store\n";

// A secondary may open while the writer replaces files under it; it sees them whole after a few
// tries.
constexpr int kCatchUpTries = 200;
constexpr std::chrono::milliseconds kCatchUpPause{5};

std::string format_record() {
    std::string record(kMagic);
    append_little_endian(record, kFormat);
    return record;
}

/// Makes the store's directory, or takes an empty one.
void make_directory(const std::filesystem::path& directory) {
    std::error_code error;
    if (std::filesystem::create_directory(directory, error)) {
        return;
    }
    if (error) {
        const bool is_missing = error == std::errc::no_such_file_or_directory;
        const bool is_full = error == std::errc::no_space_on_device;
        fail(
            is_missing ? ErrorKind::kNotFound
            : is_full  ? ErrorKind::kResourceExhausted
                       : ErrorKind::kIo,
            "Directory cannot be created: ", directory.string(), " (", error.message(), ")");
    }
    const bool is_empty = std::filesystem::is_empty(directory, error);
    if (error) {
        fail(
            ErrorKind::kIo, "Directory cannot be read: ", directory.string(), " (", error.message(),
            ")");
    }
    if (!is_empty) {
        fail(
            ErrorKind::kAlreadyExists,
            "Directory of a new store holds something: ", directory.string());
    }
}

/// Takes back what a creation that failed has left in a directory that was empty.
void clear_directory(const std::filesystem::path& directory) {
    std::error_code error; // The failure itself is being reported.
    std::filesystem::directory_iterator entry(directory, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
        std::error_code ignored;
        std::filesystem::remove_all(entry->path(), ignored);
    }
}

/// RocksDB would call a missing directory an invalid argument.
void require_database(const std::filesystem::path& directory) {
    std::error_code error;
    const std::filesystem::file_status found = std::filesystem::status(directory, error);
    if (found.type() == std::filesystem::file_type::not_found) {
        fail(ErrorKind::kNotFound, "Store does not exist: ", directory.string());
    }
    if (error) {
        fail(
            ErrorKind::kIo, "Store cannot be reached: ", directory.string(), " (", error.message(),
            ")");
    }
    if (!std::filesystem::is_directory(found)) {
        fail(ErrorKind::kIo, "Store is not a directory: ", directory.string());
    }
    if (!std::filesystem::exists(directory / "CURRENT", error)) {
        const bool is_empty = std::filesystem::is_empty(directory, error);
        if (error) {
            fail(
                ErrorKind::kIo, "Directory cannot be read: ", directory.string(), " (",
                error.message(), ")");
        }
        fail(
            is_empty ? ErrorKind::kNotFound : ErrorKind::kCorruption,
            "Directory holds no store, it has no file CURRENT: ", directory.string());
    }
}

std::filesystem::path make_private_directory() {
    std::error_code error;
    const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
    std::string name = ((error ? "/tmp" : parent) / "arfc-reader-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
        fail(
            ErrorKind::kIo, "Directory for a reader's log cannot be created: ", name, " (",
            std::strerror(errno), ")");
    }
    return name;
}

std::vector<rocksdb::ColumnFamilyDescriptor> describe(const std::vector<std::string>& names) {
    const std::shared_ptr<rocksdb::Cache> cache = make_block_cache();
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    families.reserve(names.size());
    for (const std::string& name : names) {
        families.emplace_back(name, family_options(name, cache));
    }
    return families;
}

} // namespace

std::shared_ptr<RocksDatabase> RocksDatabase::create(
    const std::filesystem::path& directory, const State& state) {
    make_directory(directory);
    try {
        std::shared_ptr<RocksDatabase> database(new RocksDatabase(directory));
        database->open_new(state);
        return database;
    } catch (...) { // The database is closed by now.
        clear_directory(directory);
        throw;
    }
}

std::shared_ptr<RocksDatabase> RocksDatabase::open(const std::filesystem::path& directory) {
    require_database(directory);
    std::shared_ptr<RocksDatabase> database(new RocksDatabase(directory));
    database->open_families(database->options());
    database->check_format();
    return database;
}

std::shared_ptr<RocksDatabase> RocksDatabase::open_read_only(
    const std::filesystem::path& directory) {
    require_database(directory);
    std::shared_ptr<RocksDatabase> database(new RocksDatabase(directory));
    database->secondary_directory_ = make_private_directory();
    rocksdb::Options options = database->options();
    options.max_open_files = -1; // The writer deletes files; a reader keeps those of its state
                                 // open.
    database->open_families(options);
    database->catch_up();
    return database;
}

RocksDatabase::~RocksDatabase() {
    for (rocksdb::ColumnFamilyHandle* handle : handles_) {
        if (handle != nullptr) {
            db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
        }
    }
    for (rocksdb::ColumnFamilyHandle* handle : other_handles_) {
        db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
    }
    db_.reset();
    if (!secondary_directory_.empty()) {
        std::error_code ignored; // A log left behind in the temporary directory harms nobody.
        std::filesystem::remove_all(secondary_directory_, ignored);
    }
}

void RocksDatabase::open_new(const State& state) {
    constexpr std::string_view kWhat = "Store cannot be created";
    rocksdb::Options options = this->options();
    options.create_if_missing = true;
    options.create_missing_column_families = true;
    std::vector<std::string> names(kFamilyNames.begin(), kFamilyNames.end());
    names.push_back(rocksdb::kDefaultColumnFamilyName);
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    throw_if(
        rocksdb::DB::Open(options, directory_, describe(names), &handles, &db), kWhat, directory_);
    db_.reset(db);
    take_handles(handles);
    rocksdb::WriteBatch batch;
    throw_if(batch.Put(handle(Family::kMeta), kFormatKey, format_record()), kWhat, directory_);
    throw_if(batch.Put(handle(Family::kMeta), kStateKey, encode_state(state)), kWhat, directory_);
    rocksdb::WriteOptions write_options;
    write_options.sync = true;
    throw_if(db_->Write(write_options, &batch), kWhat, directory_);
}

rocksdb::Options RocksDatabase::options() const {
    rocksdb::Options options =
        database_options(is_secondary() ? secondary_directory_ : std::filesystem::path(directory_));
    options.listeners.push_back(errors_);
    return options;
}

void RocksDatabase::open_families(const rocksdb::Options& options) {
    std::vector<std::string> names;
    throw_if(
        rocksdb::DB::ListColumnFamilies(options, directory_, &names), "Store cannot be opened",
        directory_);
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    const std::vector<rocksdb::ColumnFamilyDescriptor> families = describe(names);
    const rocksdb::Status status =
        is_secondary()
            ? rocksdb::DB::OpenAsSecondary(
                  options, directory_, secondary_directory_.string(), families, &handles, &db)
            : rocksdb::DB::Open(options, directory_, families, &handles, &db);
    throw_if(status, "Store cannot be opened", directory_);
    db_.reset(db);
    take_handles(handles);
}

void RocksDatabase::take_handles(const std::vector<rocksdb::ColumnFamilyHandle*>& handles) {
    for (rocksdb::ColumnFamilyHandle* handle : handles) {
        const auto name = std::find(kFamilyNames.begin(), kFamilyNames.end(), handle->GetName());
        if (name == kFamilyNames.end()) {
            other_handles_.push_back(handle);
        } else {
            handles_[static_cast<std::size_t>(name - kFamilyNames.begin())] = handle;
        }
    }
    for (std::size_t i = 0; i < kFamilies; ++i) {
        if (handles_[i] == nullptr) {
            fail(
                ErrorKind::kCorruption,
                "Directory holds a database that is not a store, a column family is missing: ",
                directory_, ", family ", kFamilyNames[i]);
        }
    }
}

void RocksDatabase::check_format() const {
    const std::optional<std::string> record = get({}, Family::kMeta, kFormatKey);
    if (!record || record->size() != format_record().size() || !record->starts_with(kMagic)) {
        fail(
            ErrorKind::kCorruption,
            "Directory holds a database that is not a store, its format record is missing: ",
            directory_);
    }
    const auto format =
        load_little_endian<std::uint32_t>(std::string_view(*record).substr(kMagic.size()));
    if (format > kFormat) {
        fail(
            ErrorKind::kUnsupported, "Store has a newer format than this build reads: ", directory_,
            ", format ", format, ", expected at most ", kFormat);
    }
}

void RocksDatabase::catch_up() {
    for (int attempt = 1;; ++attempt) {
        throw_if(
            db_->TryCatchUpWithPrimary(), "Store cannot be read beside its writer", directory_);
        try {
            check_format();
            static_cast<void>(partial_head_block(state()));
            return;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kCorruption || attempt == kCatchUpTries) {
                throw;
            }
        }
        std::this_thread::sleep_for(kCatchUpPause);
    }
}

void RocksDatabase::resume() {
    if (!errors_->take()) {
        return;
    }
    const rocksdb::Status status = db_->Resume();
    if (!status.ok()) {
        errors_->put_back();
    }
    throw_if(status, "Store cannot go on after a failed write", directory_);
}

rocksdb::Status RocksDatabase::reclaim_if_empty(Family family) {
    {
        const std::unique_ptr<rocksdb::Iterator> entries(db_->NewIterator({}, handle(family)));
        entries->SeekToFirst();
        if (entries->Valid() || !entries->status().ok()) {
            return entries->status();
        }
    } // The iterator would keep the files.
    // Drops whole files at once; the compaction is for the newest level, whose files that leaves.
    rocksdb::Status status =
        rocksdb::DeleteFilesInRange(db_.get(), handle(family), nullptr, nullptr);
    if (!status.ok()) {
        return status;
    }
    rocksdb::CompactRangeOptions options;
    options.exclusive_manual_compaction = false;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    return db_->CompactRange(options, handle(family), nullptr, nullptr);
}

std::optional<std::string> RocksDatabase::get(
    const rocksdb::ReadOptions& options, Family family, std::string_view key) const {
    std::string value;
    const rocksdb::Status status = db_->Get(options, handle(family), key, &value);
    if (status.IsNotFound()) {
        return std::nullopt;
    }
    throw_if(status, "Store cannot be read", directory_);
    return value;
}

State RocksDatabase::state(const rocksdb::ReadOptions& options) const {
    const std::optional<std::string> record = get(options, Family::kMeta, kStateKey);
    if (!record) {
        fail(ErrorKind::kCorruption, "State record of a store is missing: ", directory_);
    }
    return decode_state(*record, directory_);
}

std::string RocksDatabase::partial_head_block(const State& state) const {
    const std::size_t head_bytes = state.shape.head_bytes;
    if (head_bytes == 0 || state.next_row == 0) {
        return {};
    }
    const std::uint64_t block = (state.next_row - 1) / state.head_block_rows;
    const std::size_t rows = state.next_row - block * state.head_block_rows;
    const std::optional<std::string> value = get({}, Family::kHead, Key::of_row(block).view());
    if (!value) {
        fail(
            ErrorKind::kCorruption, "Last block of heads is missing: ", directory_, ", block ",
            block);
    }
    const std::string_view heads =
        decode_head_block(block, *value, head_bytes, state.head_block_rows, directory_);
    if (heads.size() != rows * head_bytes) {
        fail(
            ErrorKind::kCorruption,
            "Last block of heads does not end with the last row: ", directory_, ", ",
            heads.size() / head_bytes, " rows, expected ", rows);
    }
    return rows == state.head_block_rows ? std::string() : std::string(heads);
}

} // namespace arfc::storage
