#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/progress.h"
#include "arfc/index/certainty.h"
#include "arfc/index/stage.h"

namespace arfc {

class Compressor;
class ByteReader;
class ByteWriter;
struct StagedAnswer;
struct StagedRequest;

/// How ArfcIndex::train works.
struct ArfcTrainOptions {
    std::optional<double> time_budget_s; ///< Wall seconds for the model; nothing: until converged.
    std::uint64_t seed = 0;
    std::string device = "auto"; ///< As in Compressor::open.
    ProgressFunction progress;
    std::filesystem::path model; ///< A model directory to use instead of training one, of the rows'
                                 ///< width, the metric that rows would be trained for, and codes at
                                 ///< least as long as the factory string's; empty: train one.
    std::size_t lists_per_row = 0; ///< With IVF: lists that each row is put into, in [1, 3]; each
                                   ///< further one costs its head, term and number again. 0: as
                                   ///< many as recall by few probed lists asks for.
};

/// What a search of an ArfcIndex may be told, beside `sel`. Nothing set: what was measured best at
/// train time.
struct SearchParametersARFC : faiss::SearchParameters {
    std::vector<Stage> stages; ///< The first must be the index's shortest prefix; empty: the
                               ///< factory string's.
    std::optional<std::size_t> nprobe; ///< Inverted lists to scan, in [1, nlist].
    /// Rows that a walk through a graph keeps in view, >= 1; named as FAISS's.
    std::optional<std::size_t> efSearch; // NOLINT(readability-identifier-naming)
    std::optional<Until> until; ///< Where set it decides what is scanned and kept: no stages,
                                ///< nprobe or efSearch beside it. docs/certainty.md.
    /// Out, where set: how sure each answer is, [n]; kNone where `until` was not. FAISS's interface
    /// has no other place for it, so parameters with it serve one search at a time.
    std::vector<Certainty>* certainty = nullptr;
};

/// What searches of one index do where their parameters do not say: FAISS's habit of settings on
/// the index, and what arfc::ParameterSpace sets. Not written to files.
struct ArfcSearchDefaults {
    std::optional<std::size_t> nprobe;         ///< In [1, nlist]; nothing: what train() measured.
    std::optional<std::size_t> ef_search;      ///< In [1, 10^6], of a graph; nothing: 128.
    std::map<std::size_t, std::size_t> limits; ///< Rows kept by the stage of so many bytes; one
                                               ///< that is asked for more answers keeps as many.
                                               ///< Absent: what train() measured.
};

/// A FAISS index that keeps rows as nested codes: found by their first bytes, ranked by more of
/// them.
///
/// Metric and answers are FAISS's: METRIC_L2 gives squared distances, ascending;
/// METRIC_INNER_PRODUCT inner products, descending; rows that tie come in the order they were
/// added; -1 fills places that no row took. Where every training row has unit length (within 1e-3)
/// under METRIC_INNER_PRODUCT, the model is a cosine one, which recalls 3 to 9 points more since it
/// knows the length of the reconstruction: add() then refuses rows of other lengths, and scores are
/// cosine times the query's length.
///
/// Ids are positions, as IndexFlat's, until add_with_ids() is called; they then are the caller's,
/// as IndexIVF's. Codes, ids and row terms live in memory. Const members may be called from many
/// threads, the others need the index alone. Throws arfc::Error, and nothing else.
class ArfcIndex : public faiss::Index {
  public:
    /// Makes an empty, untrained index.
    /// @param width        Embedding width, in [1, 65536].
    /// @param description  ARFC<size>[/<prefix>...][,<coarse>], without IDMap.
    /// @param metric       METRIC_INNER_PRODUCT or METRIC_L2.
    /// @throws Error       kInvalidArgument, kUnsupported.
    ArfcIndex(int width, std::string_view description, faiss::MetricType metric);
    ArfcIndex(const ArfcIndex&) = delete;
    ArfcIndex& operator=(const ArfcIndex&) = delete;
    ~ArfcIndex() override;

    ArfcTrainOptions train_options;     ///< Read by train(), which FAISS gives no room for them.
    ArfcSearchDefaults search_defaults; ///< Read by every search; set it while none runs.

    /// Learns the model, unless `train_options` give one, the lists and the search defaults.
    /// @param x       [n, d] float32, finite, n >= 1 and >= nlist.
    /// @throws Error  kInvalidArgument: a value, too few rows, or a model that does not fit.
    ///                kFailedPrecondition: there are rows. kCancelled. kNotFound, kCorruption: the
    ///                model's directory.
    void train(std::int64_t n, const float* x) override;

    /// Appends rows under ids ntotal, ntotal + 1, ...
    /// @throws Error  kFailedPrecondition: not trained. kInvalidArgument: a value is not finite, or
    ///                a row of a cosine index has not unit length.
    void add(std::int64_t n, const float* x) override;

    /// Appends rows under the caller's ids; ids may repeat.
    /// @param xids  [n].
    void add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) override;

    /// Finds the k best rows of each query.
    /// @param params  Null, SearchParametersARFC, SearchParametersIVF (its nprobe),
    ///                SearchParametersHNSW (its efSearch), or plain SearchParameters; `sel` is
    ///                asked before a row is scored, in a graph before it is kept.
    /// @throws Error  kFailedPrecondition: not trained, or a confidence of an index that was read
    ///                from a file without calibration. kInvalidArgument: a value or parameter.
    ///                kUnsupported: other parameters, or max_codes.
    void search(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        const faiss::SearchParameters* params = nullptr) const override;

    /// Finds every row nearer than `radius`: of squared distance < radius under METRIC_L2, of inner
    /// product > radius under METRIC_INNER_PRODUCT, as search() would answer them.
    ///
    /// Every row of the probed lists is scored by the longest prefix (of `stages`, where given:
    /// their last; they take no limits): with as many lists probed as there are, or none, nothing
    /// is missed; nor in an index with a graph, where every row is scored. The default nprobe was
    /// measured for the nearest ten rows; a radius that holds many asks for more.
    /// @param radius  Not NaN; infinities find all rows or none.
    /// @param result  For n queries, empty; a query's rows come in the order they were added.
    /// @param params  As in search().
    /// @throws Error  as search(). kResourceExhausted: the rows found exceed memory.
    void range_search(
        std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
        const faiss::SearchParameters* params = nullptr) const override;

    /// Reconstructs a row from its whole code; under ids of the caller's, the first of that id,
    /// found in linear time.
    /// @throws Error  kNotFound.
    void reconstruct(std::int64_t key, float* recons) const override;

    /// @param keys    [n] ids, found in one pass over the caller's ids.
    /// @param recons  Out, [n, d].
    void reconstruct_batch(std::int64_t n, const std::int64_t* keys, float* recons) const override;

    /// Reconstructs rows [i0, i0 + ni) in the order they were added, whatever their ids.
    /// @param recons  Out, [ni, d].
    void reconstruct_n(std::int64_t i0, std::int64_t ni, float* recons) const override;

    /// Searches, and reconstructs each answer from its whole code.
    /// @param recons  Out, [n, k, d]; NaN where no row took the place.
    void search_and_reconstruct(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        float* recons, const faiss::SearchParameters* params = nullptr) const override;

    /// Computes x - reconstruct(key). A cosine index reconstructs rows of unit length or a little
    /// less.
    /// @param xs         [n, d].
    /// @param residuals  Out, [n, d].
    /// @param keys       [n] ids. @throws Error  kNotFound.
    void compute_residual(const float* x, float* residual, std::int64_t key) const override;
    void compute_residual_n(
        std::int64_t n, const float* xs, float* residuals, const std::int64_t* keys) const override;

    /// @throws Error  kUnsupported, always.
    [[nodiscard]] faiss::DistanceComputer* get_distance_computer() const override;

    /// Says by an exception whether merge_from() takes an index: an ARFC one of the same model (id)
    /// and code length, that is, one that was read from a file of this one or a copy. Prefixes and
    /// lists may differ.
    /// @throws Error  kInvalidArgument. kFailedPrecondition: not trained.
    void check_compatible_for_merge(const faiss::Index& other) const override;

    /// Moves the rows of another index behind the rows of this one; the other is empty then.
    /// Nothing is encoded anew.
    /// @param add_id  Added to every id that moves. Where neither index has ids of the caller's, 0
    ///                or ntotal, to the same effect: positions go on.
    /// @throws Error  as check_compatible_for_merge(). kResourceExhausted.
    void merge_from(faiss::Index& other, std::int64_t add_id = 0) override;

    /// Removes the rows whose ids are selected. Ids by position move up; ids of the caller's stay
    /// with their rows.
    /// @returns how many rows went.
    std::size_t remove_ids(const faiss::IDSelector& sel) override;

    /// Drops every row; training stays.
    void reset() override;

    /// The codec alone: codes of the whole length. @throws Error  kFailedPrecondition: not trained.
    std::size_t sa_code_size() const override;
    void sa_encode(std::int64_t n, const float* x, std::uint8_t* bytes) const override;
    void sa_decode(std::int64_t n, const std::uint8_t* bytes, float* x) const override;

    [[nodiscard]] std::string factory() const;                   ///< Canonical factory string.
    [[nodiscard]] const Compressor* compressor() const noexcept; ///< Null before training.
    [[nodiscard]] bool is_cosine() const noexcept;               ///< Trained on unit rows under
                                                                 ///< METRIC_INNER_PRODUCT.
    [[nodiscard]] std::size_t nlist() const noexcept;            ///< 0: no lists.
    [[nodiscard]] bool has_graph() const noexcept;               ///< So efSearch can be chosen.
    [[nodiscard]] std::size_t default_nprobe() const; ///< Lists that a search scans unless told
                                                      ///< otherwise.
    [[nodiscard]] std::vector<Stage> default_stages(std::size_t k = 10) const;
    [[nodiscard]] bool keeps_error_radii() const noexcept; ///< "_R", for proofs: docs/certainty.md.

    /// Resident bytes in use, by kind.
    struct Bytes {
        std::size_t codes = 0; ///< Heads and tails.
        std::size_t terms = 0; ///< Row terms.
        std::size_t radii = 0; ///< Error radii ("_R"), and what confidences were calibrated by.
        std::size_t lists = 0; ///< Row numbers in lists and centroids, or links of a graph.
        std::size_t ids = 0;   ///< The caller's ids.
        std::size_t model = 0; ///< Weights, whatever the row count.
    };
    [[nodiscard]] Bytes resident_bytes() const noexcept;

  private:
    friend class IndexFile; // Writes and reads the index as a part of a file.
    struct State;
    void write(ByteWriter& out) const;
    static std::unique_ptr<ArfcIndex> read(ByteReader& in);
    void read_trained(ByteReader& in);
    [[nodiscard]] StagedRequest request(const faiss::SearchParameters* params) const;
    void apply_default_limits(StagedRequest& request) const;
    StagedAnswer answer_search(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        const faiss::SearchParameters* params) const;

    std::unique_ptr<State> state_;
};

} // namespace arfc
