#include "ingest/drift_watch.h"

#include <utility>

#include "subcommands/drift_report.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kSampleRows = 1000; // As many as training holds out: more would tell little.
constexpr std::uint64_t kEarlyRows = 4096;

} // namespace

DriftWatch::DriftWatch(std::shared_ptr<const Compressor> model, Warn warn)
    : model_(std::move(model)), warn_(std::move(warn)) {
    if (model_ != nullptr && !model_->report().residuals.empty()) {
        sample_.emplace(model_->dim(), kSampleRows, 0);
    }
}

void DriftWatch::add(MatrixView<const float> rows) {
    if (!sample_) {
        return;
    }
    sample_->add(rows);
    if (!looked_early_ && sample_->rows_offered() >= kEarlyRows) {
        looked_early_ = true;
        measure();
    }
}

std::optional<Drift> DriftWatch::finish() {
    if (!sample_ || sample_->rows_offered() == 0) {
        return std::nullopt;
    }
    return measure();
}

Drift DriftWatch::measure() {
    Drift drift = model_->drift(sample_->rows());
    if (drift.is_beyond_threshold() && !warned_) {
        warned_ = true;
        warn_(drift_warning(drift));
    }
    return drift;
}

} // namespace arfc::tools
