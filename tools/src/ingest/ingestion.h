#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/point_id.h"
#include "ingest/reject_log.h"
#include "readers/row_reader.h"

namespace arfc::tools {

/// Stores points durably, all of them or none.
/// @param payloads  [n], or empty where none has one.
/// @throws Error    kInvalidArgument: a row is refused; the call stored nothing.
using StorePoints = std::function<void(
    std::span<const PointId> ids, MatrixView<const float> rows,
    std::span<const std::string> payloads)>;

struct IngestionOptions {
    Metric metric = Metric::kCosine;
    std::size_t batch_rows = 1024; ///< Rows a durable write; at least 1.
    PointId start_id = 0; ///< A row that no file names is start_id + its number in the file.
    std::optional<std::uint64_t> max_memory; ///< Most resident bytes of this process.
};

/// Moves rows from a reader to a store, and loses none on the way: rows_in() is always
/// rows_stored() + rows rejected, and a rejected row takes no good one with it.
class Ingestion {
  public:
    /// The references are kept.
    /// @throws Error  kInvalidArgument: an option.
    Ingestion(RowReader& reader, RejectLog& rejects, IngestionOptions options, StorePoints store);

    /// Moves one batch. After it, its rows are durable and its rejects are with the system.
    /// @returns whether there was one.
    /// @throws Error  kResourceExhausted: the next batch would pass max_memory. Any kind of the
    ///                reader, of the log, and of the store but kInvalidArgument.
    [[nodiscard]] bool step();

    [[nodiscard]] std::uint64_t rows_in() const noexcept { return rows_in_; }
    [[nodiscard]] std::uint64_t rows_stored() const noexcept { return rows_stored_; }

  private:
    void require_memory() const;
    void name_rows();
    void store_batch();
    void store_range(
        std::size_t first, std::size_t count, std::vector<std::optional<std::string>>& reasons);

    RowReader& reader_;
    RejectLog& rejects_;
    IngestionOptions options_;
    StorePoints store_;
    std::uint64_t batch_bytes_ = 0; // What a batch takes at most, payloads aside.
    RowBatch batch_;
    std::vector<PointId> ids_;
    std::uint64_t rows_in_ = 0;
    std::uint64_t rows_stored_ = 0;
};

/// Returns the memory of this process that is resident, in bytes.
/// @throws Error  kIo: the system does not tell.
[[nodiscard]] std::uint64_t resident_bytes();

} // namespace arfc::tools
