#include <algorithm>
#include <new>
#include <random>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "collection_impl.h"
#include "planner.h"

namespace arfc {
namespace {

/// Draws at most `most` of the live rows, in an order of chance.
std::vector<std::uint64_t> draw_rows(
    const StagedIndex& index, std::size_t most, std::uint64_t seed) {
    std::vector<std::uint64_t> rows;
    for (std::uint64_t row = 0; row < index.rows(); ++row) {
        if (index.is_live(row)) {
            rows.push_back(row);
        }
    }
    std::shuffle(rows.begin(), rows.end(), std::mt19937_64(seed));
    rows.resize(std::min(rows.size(), most));
    return rows;
}

} // namespace

Plan CollectionImpl::plan(const PlanOptions& options) const {
    check_plan_options(options);
    const std::size_t bytes = spec_.code_bytes();
    const std::size_t least = least_plan_rows(options.k);
    std::shared_ptr<const Compressor> compressor;
    std::vector<float> originals;
    std::vector<std::byte> codes;
    std::size_t points = 0;
    { // Writers wait no longer than it takes to draw a sample.
        const auto lock = state_mutex_.read();
        require_open(false);
        if (!picture_.index) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Collection has no model whose codes could be planned with; train it first: ",
                directory_.string());
        }
        compressor = compressor_;
        points = picture_.index->live_rows();
        const std::size_t most =
            std::min({kMostPlanRows, points, options.rows.value_or(kMostPlanRows)});
        if (most < least) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Collection has fewer points than a plan is made from: ", most,
                ", expected at least ", least, " for this many answers: ", options.k);
        }
        if (!manifest_.keep_raw && calibration_ && calibration_->rows() >= least) {
            originals = calibration_->values();
            originals.resize(std::min(originals.size(), most * manifest_.dim));
        } else {
            const std::vector<std::uint64_t> rows = draw_rows(*picture_.index, most, options.seed);
            codes = codes_of(picture_, rows);
            if (manifest_.keep_raw) {
                originals.resize(rows.size() * manifest_.dim);
                picture_.snapshot->read_raw(rows, {originals.data(), rows.size(), manifest_.dim});
            }
        }
    }
    const MatrixView<const float> original_rows(
        originals.data(), originals.size() / manifest_.dim, manifest_.dim);
    if (codes.empty()) {
        codes.resize(original_rows.rows() * bytes);
        compressor->encode(original_rows, bytes, {codes.data(), original_rows.rows(), bytes});
    }
    const PlanSample sample{
        .compressor = compressor,
        .codes = {codes.data(), codes.size() / bytes, bytes},
        .originals = original_rows,
        .queries = plan_queries(codes.size() / bytes),
        .k = options.k};
    return make_plan(sample, options, options.rows.value_or(points));
}

void CollectionImpl::load_calibration() {
    if (!std::filesystem::exists(directory_ / kCalibrationFile)) {
        return;
    }
    try {
        calibration_ =
            CalibrationSample::restore(read_file(directory_ / kCalibrationFile), manifest_.dim);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kCorruption) {
            throw;
        }
        calibration_.emplace(manifest_.dim); // No point depends on it: rows to come fill another.
    }
    calibration_->keep([&](std::uint64_t row) { // What was deleted since it was saved.
        return picture_.index && picture_.index->is_live(row);
    });
}

void CollectionImpl::save_calibration() {
    if (calibration_ && calibration_dirty_) {
        write_file_atomically(directory_ / kCalibrationFile, calibration_->save());
        calibration_dirty_ = false;
    }
}

/// @param embeddings  Of the rows that were written; none where float32 rows are kept anyhow.
void CollectionImpl::follow_in_calibration(
    const storage::Published& published, MatrixView<const float> embeddings) {
    if (!calibration_ || !picture_.index) { // Writers alone change them, one at a time.
        return;
    }
    const auto lock = state_mutex_.write();
    const std::size_t before = calibration_->rows();
    try {
        calibration_->add(published.first_row, embeddings);
    } catch (const std::bad_alloc&) { // NOLINT(bugprone-empty-catch)
        // A sample of fewer rows will do.
    }
    calibration_->erase(published.tombstones);
    calibration_dirty_ =
        calibration_dirty_ || !embeddings.empty() || calibration_->rows() != before;
}

/// Returns the sample to keep when codes replace the float32 rows; an empty one where they stay.
std::optional<CalibrationSample> CollectionImpl::calibration_of_raw(bool keep_raw) const {
    if (!calibration_) {
        return std::nullopt;
    }
    CalibrationSample sample(manifest_.dim);
    const RawRows& raw = *picture_.raw;
    for (std::uint64_t row = 0; !keep_raw && row < raw.rows(); ++row) {
        if (raw.is_live(row)) {
            sample.add(row, {raw.row(row).data(), 1, manifest_.dim});
        }
    }
    return sample;
}

void CollectionImpl::drop_calibration() {
    const std::lock_guard writing(write_mutex_);
    require_open(true);
    const auto lock = state_mutex_.write();
    std::error_code code;
    std::filesystem::remove(directory_ / kCalibrationFile, code);
    if (code) {
        fail(
            ErrorKind::kIo,
            "Calibration sample cannot be removed: ", (directory_ / kCalibrationFile).string(),
            " (", code.message(), ")");
    }
    sync_directory(directory_);
    calibration_.reset();
}

} // namespace arfc
