#include "arfc/index/collection.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <set>
#include <string_view>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "collection_impl.h"

namespace arfc {
namespace {

constexpr const char* kCreator = "arfc " ARFC_VERSION;
constexpr std::size_t kMaxDim = 65536;

bool is_zero(std::span<const float> row) {
    return std::all_of(row.begin(), row.end(), [](float value) { return value == 0.0F; });
}

FactorySpec checked_spec(std::size_t dim, const std::string& factory) {
    if (dim < 1 || dim > kMaxDim) {
        fail(ErrorKind::kInvalidArgument, "Embedding width is outside [1, ", kMaxDim, "]: ", dim);
    }
    if (!names_arfc(factory)) {
        fail(
            ErrorKind::kInvalidArgument, "A collection's factory string must be an ARFC one: \"",
            factory, "\"");
    }
    FactorySpec spec = parse_factory(dim, factory);
    if (spec.id_map != IdMap::kNone) {
        fail(
            ErrorKind::kInvalidArgument, "A collection keeps ids itself; leave IDMap out of: \"",
            factory, "\"");
    }
    return spec;
}

/// Removes what an interrupted create() left: known names, and no manifest.
void clear_remains(const std::filesystem::path& directory) {
    static const std::set<std::string> kNames = {"LOCK",           kStoreDirectory,
                                                 kModelDirectory,  kCoarseFile,
                                                 kCalibrationFile, "manifest.json.tmp"};
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        if (!kNames.contains(entry.path().filename().string())) {
            fail(ErrorKind::kAlreadyExists, "Directory is not empty: ", directory.string());
        }
    }
    for (const std::string& name : kNames) {
        std::filesystem::remove_all(directory / name);
    }
}

void make_directory(const std::filesystem::path& directory) {
    std::error_code code;
    if (std::filesystem::exists(directory / "manifest.json", code)) {
        fail(ErrorKind::kAlreadyExists, "Collection exists: ", directory.string());
    }
    if (std::filesystem::is_directory(directory, code)) {
        clear_remains(directory);
        return;
    }
    if (!std::filesystem::create_directory(directory, code)) {
        const bool taken = std::filesystem::exists(directory);
        fail(
            taken ? ErrorKind::kAlreadyExists : ErrorKind::kIo,
            "Collection directory cannot be created: ", directory.string(), " (",
            taken ? "something else is there" : code.message(), ")");
    }
}

/// Copies a model in, after checking that it is the right one.
std::string adopt_model(
    const std::filesystem::path& directory, const CollectionOptions& options,
    const FactorySpec& spec) {
    const std::unique_ptr<Compressor> model = Compressor::open(options.model);
    if (model->dim() != options.dim) {
        fail(
            ErrorKind::kInvalidArgument,
            "Model's width differs from the collection's: ", model->dim(), ", expected ",
            options.dim);
    }
    if (model->metric() != options.metric) {
        fail(
            ErrorKind::kInvalidArgument,
            "Model's metric differs from the collection's: ", to_string(model->metric()),
            ", expected ", to_string(options.metric));
    }
    if (model->code_bytes() < spec.code_bytes()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Model's codes are shorter than the factory string asks for: ", model->code_bytes(),
            " bytes, expected at least ", spec.code_bytes());
    }
    model->save(directory / kModelDirectory);
    return model->id();
}

} // namespace

std::unique_ptr<Collection> Collection::create(
    const std::filesystem::path& directory, const CollectionOptions& options) {
    const FactorySpec spec = checked_spec(options.dim, options.factory);
    if (!spec.coarse.empty()) { // Not every coarse part ranks by every metric.
        (void)make_coarse(options.dim, options.metric, spec.coarse);
    }
    make_directory(directory);
    storage::Manifest manifest{
        .creator = kCreator,
        .dim = options.dim,
        .metric = options.metric,
        .factory = options.factory};
    try {
        const storage::WriterLock lock(directory);
        storage::Shape shape{.dim = options.dim};
        if (!options.model.empty()) {
            manifest.model_id = adopt_model(directory, options, spec);
            shape.model_id = manifest.model_id;
            shape.head_bytes = spec.stage_bytes.front();
            shape.tail_bytes = spec.code_bytes() - spec.stage_bytes.front();
        }
        storage::open_store(
            "rocksdb", {.directory = directory / kStoreDirectory, .create = true, .shape = shape})
            ->close();
        if (options.calibration) {
            write_file_atomically(
                directory / kCalibrationFile, CalibrationSample(options.dim).save());
        }
        storage::write_manifest(directory, manifest); // Last: a directory with a manifest is a
                                                      // whole collection.
    } catch (...) {
        std::error_code ignored;
        std::filesystem::remove_all(directory, ignored);
        throw;
    }
    return open(directory);
}

std::unique_ptr<Collection> Collection::open(
    const std::filesystem::path& directory, const CollectionOpenOptions& options) {
    if (!std::filesystem::is_directory(directory)) {
        fail(ErrorKind::kNotFound, "Collection does not exist: ", directory.string());
    }
    const storage::Manifest manifest = storage::read_manifest(directory);
    FactorySpec spec;
    try {
        spec = checked_spec(manifest.dim, manifest.factory);
    } catch (const Error& error) {
        fail(
            ErrorKind::kCorruption,
            "Manifest names a collection that cannot be: ", directory.string(), " (", error.what(),
            ")");
    }
    auto collection =
        std::make_unique<CollectionImpl>(directory, manifest, spec, options.read_only);
    collection->load(options.device);
    return collection;
}

CollectionImpl::CollectionImpl(
    std::filesystem::path directory, storage::Manifest manifest, FactorySpec spec, bool read_only)
    : directory_(std::move(directory)), manifest_(std::move(manifest)), spec_(std::move(spec)),
      read_only_(read_only) {}

CollectionImpl::~CollectionImpl() {
    try {
        close();
    } catch (const std::exception&) { // NOLINT(bugprone-empty-catch)
        // Acknowledged writes are durable without a clean close; callers who want to know call
        // close().
    }
}

void CollectionImpl::load(const std::string& device) {
    if (!read_only_) {
        lock_ = std::make_unique<storage::WriterLock>(directory_);
    }
    store_ = storage::open_store(
        "rocksdb", {.directory = directory_ / kStoreDirectory, .read_only = read_only_});
    if (store_->shape().dim != manifest_.dim) {
        fail(
            ErrorKind::kCorruption,
            "Store's width differs from the manifest's: ", store_->shape().dim, ", expected ",
            manifest_.dim);
    }
    open_model(device);
    if (!read_only_) {
        finish_interrupted_training();
    }
    picture_ = load_picture();
    load_calibration();
    if (!read_only_) {
        learn_lists_when_due();
    }
}

void CollectionImpl::open_model(const std::string& device) {
    const std::string& id = store_->shape().model_id;
    if (id.empty() && manifest_.model_id.empty()) {
        return;
    }
    // Publishing codes in the store is what makes a training count; the manifest may be one step
    // behind.
    if (id.empty() || (!manifest_.model_id.empty() && manifest_.model_id != id)) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Codes were written with another model than the manifest names: \"", id,
            "\", expected \"", manifest_.model_id, "\"");
    }
    compressor_ = Compressor::open(directory_ / kModelDirectory, device);
    if (compressor_->id() != id) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Model in the directory is not the one that wrote the codes: ", compressor_->id(),
            ", expected ", id);
    }
    const bool fits = compressor_->dim() == manifest_.dim &&
                      compressor_->metric() == manifest_.metric &&
                      compressor_->code_bytes() >= spec_.code_bytes() &&
                      store_->shape().head_bytes == spec_.stage_bytes.front() &&
                      store_->shape().head_bytes + store_->shape().tail_bytes == spec_.code_bytes();
    if (!fits) {
        fail(
            ErrorKind::kCorruption,
            "Model, store and manifest disagree about the code in: ", directory_.string());
    }
}

void CollectionImpl::finish_interrupted_training() {
    if (compressor_ == nullptr) {
        store_->discard_unpublished_codes();
        return;
    }
    if (manifest_.model_id.empty()) {
        manifest_.model_id = compressor_->id();
        storage::write_manifest(directory_, manifest_);
    }
    if (!manifest_.keep_raw) {
        store_->drop_raw();
    }
}

StagedShape CollectionImpl::staged_shape() const {
    return {spec_.stage_bytes, spec_.nlist, spec_.coarse, spec_.error_radii};
}

CollectionImpl::Picture CollectionImpl::load_picture() const {
    Picture picture;
    picture.snapshot = store_->snapshot();
    const std::size_t rows = picture.snapshot->next_row();
    picture.ids.assign(rows, 0);
    std::vector<bool> live(rows, false);
    picture.snapshot->for_each_point([&](PointId id, storage::Row row) {
        if (row >= rows || live[row]) {
            fail(
                ErrorKind::kCorruption, "Point names a row that is not its own: ", id, " -> ", row);
        }
        picture.ids[row] = id;
        live[row] = true;
    });
    if (compressor_ != nullptr) {
        load_index(picture, live);
        return picture;
    }
    picture.raw.emplace(manifest_.dim, manifest_.metric);
    const std::vector<float> filler(manifest_.dim, 0.0F);
    const auto fill_up_to = [&](storage::Row row) {
        while (picture.raw->rows() < row) { // Rows that are tombstones and whose values are gone.
            if (live[picture.raw->rows()]) {
                fail(ErrorKind::kCorruption, "Row of a point is missing: ", picture.raw->rows());
            }
            picture.raw->add({filler.data(), 1, manifest_.dim});
        }
    };
    picture.snapshot->for_each_raw(0, [&](storage::Row first, MatrixView<const float> run) {
        fill_up_to(first);
        picture.raw->add(run);
    });
    fill_up_to(rows);
    std::vector<std::uint64_t> dead;
    for (std::uint64_t row = 0; row < rows; ++row) {
        if (!live[row]) {
            dead.push_back(row);
        }
    }
    picture.raw->erase(dead);
    return picture;
}

void CollectionImpl::load_index(Picture& picture, std::vector<bool>& live) const {
    picture.index.emplace(restored_index(*picture.snapshot));
    picture.snapshot->for_each_head(0, [&](storage::Row first, MatrixView<const std::byte> heads) {
        if (first != picture.index->rows()) {
            fail(
                ErrorKind::kCorruption, "Heads of rows are missing: expected row ",
                picture.index->rows(), ", found ", first);
        }
        picture.index->add(heads);
    });
    if (picture.index->rows() != live.size()) {
        fail(
            ErrorKind::kCorruption,
            "Store holds another number of heads than of rows: ", picture.index->rows(),
            ", expected ", live.size());
    }
    std::vector<std::uint64_t> dead;
    for (std::uint64_t row = 0; row < live.size(); ++row) {
        if (!live[row]) {
            dead.push_back(row);
        }
    }
    picture.index->erase(dead);
}

StagedIndex CollectionImpl::restored_index(const storage::Snapshot& snapshot) const {
    try {
        StagedIndex index(compressor_, staged_shape());
        const StagedIndex::Restored restored = index.restore(read_file(directory_ / kCoarseFile));
        if (restored.rows <= snapshot.next_row() && restored.sequence <= snapshot.sequence()) {
            return index;
        }
    } catch (const Error& error) {
        // Everything in it follows from the codes: what cannot be read is made again.
        if (error.kind() != ErrorKind::kNotFound && error.kind() != ErrorKind::kCorruption &&
            error.kind() != ErrorKind::kFailedPrecondition) {
            throw;
        }
    }
    return {compressor_, staged_shape()};
}

void CollectionImpl::save_coarse() {
    if (coarse_dirty_ && picture_.index && picture_.index->is_trained()) {
        write_file_atomically(
            directory_ / kCoarseFile, picture_.index->save(picture_.snapshot->sequence()));
        coarse_dirty_ = false;
    }
}

void CollectionImpl::require_open(bool for_writing) const {
    if (closed_) {
        fail(ErrorKind::kFailedPrecondition, "Collection is closed: ", directory_.string());
    }
    if (for_writing && read_only_) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Collection was opened read-only: ", directory_.string());
    }
    if (for_writing && damaged_) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Memory ran out while a write was applied; reopen: ", directory_.string());
    }
}

void CollectionImpl::check_rows(MatrixView<const float> rows, std::string_view what) const {
    if (rows.cols() != manifest_.dim) {
        fail(
            ErrorKind::kInvalidArgument, what,
            " width differs from the collection's: ", rows.cols(), ", expected ", manifest_.dim);
    }
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        const std::span<const float> row = rows.row(i);
        if (!std::all_of(
                row.begin(), row.end(), [](float value) { return std::isfinite(value); })) {
            fail(
                ErrorKind::kInvalidArgument, what,
                " holds a value that is not finite (NaN or infinity) in row: ", i);
        }
        if (manifest_.metric == Metric::kCosine && is_zero(row)) {
            fail(
                ErrorKind::kInvalidArgument, what,
                " holds a zero row, which has no direction under cosine: ", i);
        }
    }
}

CollectionInfo CollectionImpl::info() const {
    const auto lock = state_mutex_.read();
    require_open(false);
    CollectionInfo info;
    info.dim = manifest_.dim;
    info.metric = manifest_.metric;
    info.factory = manifest_.factory;
    info.resident_id_bytes = picture_.ids.size() * sizeof(PointId);
    info.nlist = spec_.nlist;
    info.disk_bytes = store_->statistics().disk_bytes;
    if (picture_.index) {
        const StagedIndex& index = *picture_.index;
        const StagedBytes bytes = index.resident_bytes();
        info.model_id = compressor_->id();
        info.points = index.live_rows();
        info.tombstones = index.rows() - index.live_rows();
        info.code_bytes = spec_.code_bytes();
        info.stage_bytes = spec_.stage_bytes;
        info.default_nprobe = index.default_nprobe();
        info.nlist = index.coarse_traits().lists;
        info.resident_head_bytes = bytes.heads;
        info.resident_norm_bytes = bytes.scan_terms + bytes.rank_terms;
        info.resident_radius_bytes = bytes.error_radii;
        info.resident_bytes = bytes.total() + info.resident_id_bytes;
        info.model_bytes = compressor_->model_bytes();
        info.held_out_recall = compressor_->report().recall;
        info.has_raw = manifest_.keep_raw;
    } else {
        info.points = picture_.raw->live_rows();
        info.tombstones = picture_.raw->rows() - info.points;
        info.resident_bytes = picture_.raw->resident_bytes() + info.resident_id_bytes;
        info.has_raw = true;
    }
    if (calibration_) {
        info.calibration_rows = calibration_->rows();
        info.calibration_bytes = calibration_->bytes();
        info.resident_bytes += info.calibration_bytes;
    }
    return info;
}

std::shared_ptr<const Compressor> CollectionImpl::model() const {
    const auto lock = state_mutex_.read();
    require_open(false);
    return compressor_;
}

void CollectionImpl::close() {
    const std::lock_guard writing(write_mutex_);
    const auto lock = state_mutex_.write();
    if (closed_) {
        return;
    }
    closed_ = true;
    if (store_ == nullptr) {
        return;
    }
    std::exception_ptr failure;
    try {
        if (!read_only_ && !damaged_) {
            save_coarse();
            save_calibration();
        }
    } catch (const Error&) {
        failure = std::current_exception(); // The file can be made again; the store must be closed
                                            // all the same.
    }
    picture_.snapshot.reset();
    store_->close();
    lock_.reset();
    if (failure != nullptr) {
        std::rethrow_exception(failure);
    }
}

} // namespace arfc
