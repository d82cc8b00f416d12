#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "arfc/base/matrix_view.h"
#include "arfc/compressor/compressor.h"
#include "ingest/row_sample.h"

namespace arfc::tools {

/// Watches rows on their way into a collection, and warns once where they are unlike those that its
/// model was trained on.
///
/// It measures a uniform sample of a thousand rows, twice at most: once of the first four thousand,
/// so that the warning of a long load comes early, and once of them all. Not thread-safe.
class DriftWatch {
  public:
    using Warn = std::function<void(const std::string& sentence)>;

    /// @param model  Of the collection; where there is none, or it cannot tell, nothing is watched.
    DriftWatch(std::shared_ptr<const Compressor> model, Warn warn);

    /// Takes rows that were stored.
    void add(MatrixView<const float> rows);

    /// Measures what was seen. @returns nothing where nothing was watched, or seen.
    std::optional<Drift> finish();

  private:
    Drift measure();

    std::shared_ptr<const Compressor> model_;
    Warn warn_;
    std::optional<RowSample> sample_;
    bool looked_early_ = false;
    bool warned_ = false;
};

} // namespace arfc::tools
