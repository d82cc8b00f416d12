#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/progress.h"
#include "arfc/index/certainty.h"
#include "arfc/index/stage.h"

namespace arfc {

/// How an index is trained. FAISS indexes take none of these.
struct VectorTrainOptions {
    std::optional<double> time_budget_s; ///< Wall seconds for the model; nothing: until converged.
    std::uint64_t seed = 0;
    std::string device = "auto"; ///< As in Compressor::open.
    ProgressFunction progress;
    std::filesystem::path model;   ///< As in ArfcTrainOptions, and
    std::size_t lists_per_row = 0; ///< so is this.
};

/// How a search runs; nothing set: what was measured best at train time.
struct VectorSearchParameters {
    std::vector<Stage> stages;            ///< ARFC only: docs/factory_strings.md.
    std::optional<std::size_t> nprobe;    ///< Inverted lists to scan.
    std::optional<std::size_t> ef_search; ///< Rows that a walk through a graph keeps in view.
    std::optional<std::vector<std::int64_t>> allowed_ids; ///< Only these ids; an empty list allows
                                                          ///< none.
    std::optional<Until> until; ///< ARFC only; no stages, nprobe or ef_search beside it:
                                ///< docs/certainty.md.
    std::vector<Certainty>* certainty = nullptr; ///< Out, where set: how sure each answer of a
                                                 ///< search() is, [m].
};

/// An index in memory made from a factory string: index_factory() for callers that know no FAISS.
///
/// Const members may be called from many threads; the others need the index alone. An exception
/// leaves it as it was.
class VectorIndex {
  public:
    /// Makes an empty index.
    /// @param dim      Embedding width, in [1, 65536].
    /// @param factory  docs/factory_strings.md: an ARFC string, or any of FAISS's.
    /// @param metric   kInnerProduct or kL2; cosine is kInnerProduct over rows of unit length.
    /// @throws Error   kInvalidArgument: the string, the width or the metric. kUnsupported: a part
    ///                 of the string.
    static std::unique_ptr<VectorIndex> create(
        std::size_t dim, std::string_view factory, Metric metric);

    /// Opens a file that write() or faiss::write_index made.
    /// @throws Error  kNotFound. kCorruption: truncated or altered. kUnsupported: a newer format.
    ///                kIo.
    static std::unique_ptr<VectorIndex> read(const std::filesystem::path& path);

    virtual ~VectorIndex() = default;

    /// Writes a self-contained file, model included; after a crash the old file or the new one is
    /// there.
    /// @throws Error  kIo, kResourceExhausted.
    virtual void write(const std::filesystem::path& path) const = 0;

    /// Learns from rows; the index must hold none.
    /// @param rows    [n, dim()] float32, finite. Under kInnerProduct, rows that all have unit
    ///                length (within 1e-3) make an ARFC index a cosine one: add() then takes unit
    ///                rows only.
    /// @throws Error  kInvalidArgument: a shape or value, or a model that does not fit.
    ///                kFailedPrecondition: there are rows. kCancelled. kUnsupported: a model, and
    ///                no ARFC index to take it. kNotFound, kCorruption: the model's directory.
    virtual void train(MatrixView<const float> rows, const VectorTrainOptions& options = {}) = 0;

    /// Appends rows; their ids continue from ntotal().
    /// @throws Error  kInvalidArgument: a shape or value; the index wants ids ("IDMap").
    ///                kFailedPrecondition: not trained.
    virtual void add(MatrixView<const float> rows) = 0;

    /// Appends rows under ids of the caller's.
    /// @param ids     [n].
    /// @throws Error  as add(). kUnsupported: this kind keeps no ids; put "IDMap2," before the
    ///                string.
    virtual void add_with_ids(MatrixView<const float> rows, std::span<const std::int64_t> ids) = 0;

    /// Finds the k best rows of each query.
    /// @param queries    [m, dim()] float32, finite.
    /// @param distances  Out, [m, k]: inner products, descending, or squared distances, ascending.
    /// @param labels     Out, [m, k]: ids; -1 where there were fewer.
    /// @throws Error     kInvalidArgument. kFailedPrecondition: not trained. kUnsupported: a
    ///                   parameter that this kind does not have.
    virtual void search(
        MatrixView<const float> queries, std::size_t k, const VectorSearchParameters& parameters,
        MatrixView<float> distances, MatrixView<std::int64_t> labels) const = 0;

    /// What range_search() found: row i's answers are [offsets[i], offsets[i + 1]).
    struct RangeAnswer {
        std::vector<std::size_t> offsets; ///< [m + 1].
        std::vector<float> distances;
        std::vector<std::int64_t> labels;
    };

    /// Finds every row of squared distance < `radius` under kL2, of inner product > `radius` under
    /// kInnerProduct, in the lists that are probed.
    /// @param radius  Not NaN.
    /// @throws Error  kUnsupported: this kind does not offer it. Otherwise as search().
    [[nodiscard]] virtual RangeAnswer range_search(
        MatrixView<const float> queries, float radius,
        const VectorSearchParameters& parameters) const = 0;

    /// Returns the approximation of a row that the index keeps.
    /// @returns [dim()].
    /// @throws Error  kNotFound: no such id. kUnsupported: this kind cannot.
    [[nodiscard]] virtual std::vector<float> reconstruct(std::int64_t id) const = 0;

    /// Returns approximations of several rows, each found by its id.
    /// @returns [ids, dim()]. @throws Error  as reconstruct().
    [[nodiscard]] virtual std::vector<float> reconstruct(
        std::span<const std::int64_t> ids) const = 0;

    /// Returns approximations of rows [first, first + count), by position.
    /// @returns [count, dim()]. @throws Error  as reconstruct().
    [[nodiscard]] virtual std::vector<float> reconstruct_rows(
        std::size_t first, std::size_t count) const = 0;

    /// Searches, and reconstructs each answer.
    /// @param reconstructed  Out, [m, k * dim()]; NaN where there were fewer.
    /// @throws Error         as search(). kUnsupported: this kind cannot.
    virtual void search_and_reconstruct(
        MatrixView<const float> queries, std::size_t k, const VectorSearchParameters& parameters,
        MatrixView<float> distances, MatrixView<std::int64_t> labels,
        MatrixView<float> reconstructed) const = 0;

    /// Returns the length of the index's codes, in bytes.
    /// @throws Error  kUnsupported: this kind has no codec.
    [[nodiscard]] virtual std::size_t code_size() const = 0;

    /// Encodes rows without adding them.
    /// @param codes   Out, [n, code_size()].
    /// @throws Error  kInvalidArgument: a shape or value. kFailedPrecondition: not trained.
    ///                kUnsupported: this kind has no codec.
    virtual void encode(MatrixView<const float> rows, MatrixView<std::byte> codes) const = 0;

    /// Reconstructs rows from codes.
    /// @param rows    Out, [n, dim()].
    /// @throws Error  as encode().
    virtual void decode(MatrixView<const std::byte> codes, MatrixView<float> rows) const = 0;

    /// Moves the rows of another index of the same training behind this one's; it is empty then.
    /// @param add_id  Added to every id that moves.
    /// @throws Error  kInvalidArgument: another kind or training. kFailedPrecondition: not trained.
    virtual void merge_from(VectorIndex& other, std::int64_t add_id) = 0;

    /// Returns the canonical string that makes an index like this one: reverse_index_factory().
    /// @throws Error  kUnsupported: none is known.
    [[nodiscard]] virtual std::string reverse_factory() const = 0;

    /// Removes ids; absent ones are ignored. Without ids of the caller's, later rows move up to
    /// fill the gaps.
    /// @returns how many rows went.
    /// @throws Error  kUnsupported: this kind cannot.
    virtual std::size_t remove_ids(std::span<const std::int64_t> ids) = 0;

    /// Drops every row; training stays.
    virtual void reset() = 0;

    [[nodiscard]] virtual std::size_t ntotal() const noexcept = 0; ///< Rows.
    [[nodiscard]] virtual std::size_t dim() const noexcept = 0;    ///< Embedding width, in floats.
    [[nodiscard]] virtual bool is_trained() const noexcept = 0;
    [[nodiscard]] virtual Metric metric() const noexcept = 0; ///< kInnerProduct or kL2.

    /// Returns the string as given to create(); of an index that was read,
    /// reverse_index_factory()'s, and "" where none is known.
    [[nodiscard]] virtual const std::string& factory() const noexcept = 0;
};

} // namespace arfc
