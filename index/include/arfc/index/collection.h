#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/point_id.h"
#include "arfc/base/progress.h"
#include "arfc/compressor/compressor.h"
#include "arfc/index/certainty.h"
#include "arfc/index/plan.h"
#include "arfc/index/stage.h"

namespace arfc {

/// What a new collection is.
struct CollectionOptions {
    std::size_t dim = 0; ///< Embedding width, in [1, 65536].
    Metric metric = Metric::kCosine;
    std::string factory = "ARFC96/16"; ///< docs/factory_strings.md; the whole string must be an
                                       ///< ARFC one.
    std::filesystem::path model; ///< Model directory to copy in; empty: rows stay float32 until
                                 ///< train().
    bool calibration = true; ///< Keep up to 2,000 rows uncompressed, as float16, once codes replace
                             ///< the others: what plan() measures recall on.
};

/// How a collection is opened.
struct CollectionOpenOptions {
    bool read_only = false; ///< Beside another process that writes; sees its state as of opening.
    std::string device = "auto"; ///< As in Compressor::open.
};

/// How a search runs; nothing set: the defaults that the collection chose when it was trained.
struct SearchOptions {
    std::size_t k = 10;        ///< Answers per query, >= 1.
    std::vector<Stage> stages; ///< Empty: the factory string's prefixes. Stage 1 must be the
                               ///< index's shortest.
    std::optional<std::size_t> nprobe;    ///< IVF lists to scan, in [1, nlist].
    std::optional<std::size_t> ef_search; ///< Rows that a walk through a graph keeps in view, in
                                          ///< [1, 10^6]; without effect where there is no graph.
    bool exact = false; ///< Scan every row; rank every row by the longest prefix (or raw rows).
    std::function<bool(PointId)> filter; ///< Where set, only points that it accepts. Called from
                                         ///< many threads.
    std::optional<Until> until; ///< Where set it decides what is scanned and kept: no stages,
                                ///< nprobe, ef_search or exact beside it. docs/certainty.md.
    bool with_payload = false;
};

struct Hit {
    PointId id = 0;
    float score = 0;     ///< Larger = closer: cosine, inner product, or minus squared distance.
    std::string payload; ///< JSON text; "" where none was stored or asked for.
};

struct SearchAnswer {
    std::vector<std::vector<Hit>> hits; ///< [m], each at most k, best first; ties by smaller id.
    std::vector<StageUsage> stages;
    std::vector<Certainty> certainty; ///< [m] where `until` was asked, else empty.
};

struct CollectionTrainOptions {
    std::optional<double> time_budget_s;
    std::uint64_t seed = 0;
    bool keep_raw = false;        ///< Keep float32 rows beside the codes.
    double minimum_recall = 0.90; ///< Held-out recall@10 at full length below which raw rows are
                                  ///< kept all the same.
    std::string device = "auto";
    ProgressFunction progress;
};

struct CollectionTrainReport {
    std::string model_id;
    std::size_t rows = 0; ///< Rows encoded.
    double seconds = 0;
    std::optional<double> held_out_recall; ///< recall@10 at the longest prefix; nothing where no
                                           ///< rows could be held out.
    bool raw_dropped = false;
};

/// A collection's sizes, in bytes where not said otherwise.
struct CollectionInfo {
    std::size_t dim = 0;
    Metric metric = Metric::kCosine;
    std::string factory;
    std::string model_id; ///< Empty: rows are float32, searched exactly.
    std::size_t points = 0;
    std::size_t tombstones = 0;           ///< Dead rows not yet compacted away.
    std::size_t code_bytes = 0;           ///< Per row, longest prefix; 0 without a model.
    std::vector<std::size_t> stage_bytes; ///< Ascending prefix lengths; empty without a model.
    std::size_t nlist = 0;                ///< IVF lists; 0: exhaustive.
    std::size_t default_nprobe = 0;
    std::uint64_t resident_bytes = 0; ///< Codes, ids, norms, lists and the calibration sample held
                                      ///< in memory, model excluded.
    std::uint64_t resident_head_bytes = 0, resident_id_bytes = 0, resident_norm_bytes = 0;
    std::uint64_t resident_radius_bytes = 0; ///< Error radii ("_R").
    std::uint64_t model_bytes = 0;
    std::uint64_t disk_bytes = 0;
    std::size_t calibration_rows = 0;    ///< Kept uncompressed beside the codes.
    std::uint64_t calibration_bytes = 0; ///< Of them, in memory and once more in a file.
    bool has_raw = false;
    std::vector<HeldOutRecall> held_out_recall; ///< Of the model; empty without one, or unmeasured.
};

/// Points with embeddings and payloads, kept as codes in a directory, searchable at every prefix
/// length.
///
/// One process writes a directory at a time; others may open it read-only. All members are
/// thread-safe: searches run beside each other and beside writes, and see a mutation whole or not
/// at all; writes are serialised. After an exception the collection is as it was before the call.
class Collection {
  public:
    /// Creates the directory (its parent must exist) and opens it.
    /// @throws Error  kAlreadyExists: the directory holds something. kInvalidArgument: an option;
    /// the model's width or
    ///                metric differs. kNotFound: no such model. kUnsupported: a factory part. kIo.
    static std::unique_ptr<Collection> create(
        const std::filesystem::path& directory, const CollectionOptions& options);

    /// @throws Error  kNotFound: no collection there. kFailedPrecondition: another process writes
    /// it; the model in the
    ///                directory is not the one that wrote the codes. kUnsupported: a newer format.
    ///                kCorruption. kIo.
    static std::unique_ptr<Collection> open(
        const std::filesystem::path& directory, const CollectionOpenOptions& options = {});

    virtual ~Collection() = default;

    /// Learns a model from the rows, encodes them, and drops the float32 rows unless they are to be
    /// kept. Searches go on meanwhile; a crash leaves the collection untrained and complete.
    /// @throws Error  kFailedPrecondition: there is a model already, or there are no rows.
    /// kCancelled.
    virtual CollectionTrainReport train(const CollectionTrainOptions& options = {}) = 0;

    /// Inserts or replaces points.
    /// @param ids        [n]; where an id repeats, its last row wins.
    /// @param embeddings [n, dim] float32, finite; not zero under cosine. One bad row refuses the
    /// whole call.
    /// @param payloads   [n] JSON objects as text, "" = none; or empty: none has one.
    /// @param wait       Return when it is durable (synced WAL); false: when it is visible.
    /// @throws Error     kInvalidArgument, kResourceExhausted, kIo, kFailedPrecondition: read-only
    /// or closed.
    virtual void upsert(
        std::span<const PointId> ids, MatrixView<const float> embeddings,
        std::span<const std::string> payloads = {}, bool wait = true) = 0;

    /// Deletes points; absent ones are ignored. @returns how many existed.
    virtual std::size_t remove(std::span<const PointId> ids, bool wait = true) = 0;

    /// Learns lists, search defaults and what confidences are kept by anew, where the rows have
    /// grown by a tenth since they were learned or an earlier version learned them. A collection
    /// does so by itself each time its rows have doubled; this is for the end of a load. Searches
    /// go on meanwhile, writes wait.
    /// @returns whether there was anything to learn.
    /// @throws Error  kFailedPrecondition: read-only or closed. kCancelled, kIo.
    virtual bool optimize(const ProgressFunction& progress = {}) = 0;

    /// Finds the best points for each query.
    /// @param queries [m, dim] float32, finite.
    /// @throws Error  kInvalidArgument: a shape, value or option. kFailedPrecondition: a confidence
    /// before there is a calibration (optimize() makes one). kCorruption, kIo: a tail cannot be
    /// read.
    [[nodiscard]] virtual SearchAnswer search(
        MatrixView<const float> queries, const SearchOptions& options = {}) const = 0;

    /// Reads points. Absent ones are left out. @param with_vector  Reconstruct (or copy the raw
    /// row).
    struct Point {
        PointId id = 0;
        std::string payload;
        std::vector<float> vector;
    };
    [[nodiscard]] virtual std::vector<Point> get(
        std::span<const PointId> ids, bool with_vector = false) const = 0;

    [[nodiscard]] virtual CollectionInfo info() const = 0;

    /// Measures how the points should be kept and searched to reach a recall, as arfc::plan() does:
    /// on float32 rows where they are kept, else on the calibration sample, both against exact
    /// neighbours; where there is neither, on codes alone, against what whole codes find. No code
    /// longer than the collection's is considered. Points may be added meanwhile.
    /// @param options  `rows`: nothing stands for the points that there are.
    /// @throws Error   as arfc::plan(). kFailedPrecondition: no model, too few points, or closed.
    [[nodiscard]] virtual Plan plan(const PlanOptions& options = {}) const = 0;

    /// Forgets the calibration sample, for good: it is data of the points. Codes and scores stay as
    /// they are.
    /// @throws Error  kFailedPrecondition: read-only or closed. kIo.
    virtual void drop_calibration() = 0;

    /// Returns the model that encodes the rows; nothing where there is none yet.
    /// @throws Error  kFailedPrecondition: closed.
    [[nodiscard]] virtual std::shared_ptr<const Compressor> model() const = 0;

    /// Makes everything durable, writes the coarse file and releases the directory; called by the
    /// destructor too.
    virtual void close() = 0;
};

} // namespace arfc
