#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/progress.h"
#include "arfc/compressor/compressor.h"
#include "arfc/index/certainty.h"
#include "arfc/index/stage.h"
#include "calibration.h"
#include "coarse_quantizer.h"
#include "coarse_structure.h"
#include "error_radii.h"
#include "score_bounds.h"

namespace arfc {

class ByteReader;

/// Fills the places of an answer that no row took.
inline constexpr std::uint64_t kNoRow = std::numeric_limits<std::uint64_t>::max();

/// Where the tokens that follow a row's head are kept: memory, or a store.
class TailSource {
  public:
    virtual ~TailSource() = default;

    /// Reads tails. Called from many threads at once; what it throws passes through the search.
    /// @param rows     [n], any order, all of them live.
    /// @param tails    Out, [n, width]: the first `width` bytes that follow each row's head.
    /// @param lengths  Out, [n]: bytes there were, at most `width`. A row with fewer keeps the
    ///                 longest prefix it has: its sum stops there and its row term is that
    ///                 prefix's.
    virtual void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const = 0;

    /// Says whether reading costs no more than a copy, so that rows which several queries of a
    /// batch ask for need not be read once for all of them.
    [[nodiscard]] virtual bool is_resident() const noexcept { return false; }
};

/// What a staged index looks like; fixed for its life.
struct StagedShape {
    std::vector<std::size_t> stage_bytes; ///< Prefix lengths, ascending, in [1, code_bytes()]. The
                                          ///< first is the head; the last is what rows are ranked
                                          ///< by.
    std::size_t nlist = 0;                ///< Inverted lists once trained; 0: none.
    std::string coarse;       ///< Coarse structure instead of lists, such as "HNSW32", as its kind
                              ///< writes it; empty: none.
    bool error_radii = false; ///< Keep what proofs need: two bytes a row and stage.
};

/// Lists that a row is put into at most.
inline constexpr std::size_t kMostListsPerRow = 3;

/// How StagedIndex::train works.
struct StagedTrainOptions {
    std::uint64_t seed = 0;
    std::size_t lists_per_row = 0; ///< In [1, kMostListsPerRow], at most nlist; 0: as many as
                                   ///< recall asks for.
    bool measures_defaults = true; ///< Else each row is in one list, and limits and nprobe are for
                                   ///< each search to say: 200 rows, one list by default.
    ProgressFunction progress;     ///< Stages "lists" and "defaults".
};

/// One search.
struct StagedRequest {
    std::size_t k = 10;                ///< Answers per query, >= 1.
    std::vector<Stage> stages;         ///< Empty: the shape's, with default limits. The first must
                                       ///< be the head; later ones may be any longer length.
    std::optional<std::size_t> nprobe; ///< Lists to scan, in [1, coarse_traits().lists]; nothing:
                                       ///< the default.
    std::optional<std::size_t> ef_search; ///< Rows that a walk through a coarse structure keeps in
                                          ///< view, in [1, kMostEfSearch]; nothing: the default.
    bool exhaustive = false; ///< Scan every head, whatever lists or structure there are.
    std::function<bool(std::uint64_t)> accepts; ///< Where set, only rows that it accepts are
                                                ///< scored. Called from many threads.
    std::optional<Until> until; ///< Where set it decides what is scanned and kept: no stages,
                                ///< nprobe, ef_search or exhaustive beside it.
};

/// @throws Error  kInvalidArgument: a confidence outside (0, 1), or a budget of no bytes.
void check_until(const Until& until);

/// Best rows of each query, best first; equal scores: smaller row first.
struct StagedAnswer {
    std::vector<std::uint64_t> rows;  ///< [m, k]; kNoRow where there were fewer.
    std::vector<float> scores;        ///< [m, k]; larger = closer, -infinity beside kNoRow.
    std::vector<StageUsage> stages;   ///< One for each stage that ran.
    std::vector<Certainty> certainty; ///< [m] where `until` was asked, else empty.
};

/// Says whether a row of this score answers query `query` of a range search; larger = closer.
using RangeTest = std::function<bool(std::size_t query, float score)>;

/// Every row that a range search found: query q's are [offsets[q], offsets[q + 1]).
struct StagedRangeAnswer {
    std::vector<std::size_t> offsets; ///< [m + 1].
    std::vector<std::uint64_t> rows;  ///< Ascending within a query.
    std::vector<float> scores;        ///< Of each row; larger = closer.
};

/// Resident bytes in use, by kind; the model is not among them, nor the spare room (at most half as
/// much again) that arrays keep for rows to come until compact().
struct StagedBytes {
    std::size_t heads = 0;       ///< Head tokens.
    std::size_t scan_terms = 0;  ///< Row terms of the head: one byte each, four in a single-stage
                                 ///< index.
    std::size_t rank_terms = 0;  ///< Cached row terms of later stages: four bytes a row and stage.
    std::size_t error_radii = 0; ///< Two bytes a row and stage, where they are kept.
    std::size_t calibration = 0; ///< Margins of the questions asked in training.
    std::size_t lists = 0;       ///< Row numbers in lists, tombstone bits, centroids.
    std::size_t structure = 0;   ///< Links of a graph, or whatever else the coarse structure keeps.
    [[nodiscard]] std::size_t total() const noexcept {
        return heads + scan_terms + rank_terms + error_radii + calibration + lists + structure;
    }
};

inline constexpr std::size_t kDefaultEfSearch = 128; ///< Finds .99 of what a scan does on real
                                                     ///< rows; docs/factory_strings.md.
inline constexpr std::size_t kMostEfSearch = 1'000'000;

/// Finds rows by their shortest prefix and ranks them by longer ones: the engine of ArfcIndex and
/// Collection.
///
/// Rows are numbered 0, 1, 2, ... in the order they are added. Their heads (the shortest prefix)
/// lie contiguously, one run per inverted list; their tails lie wherever a TailSource says. A
/// search
///  1. scans the heads of the probed lists (of all lists where there are none): sum = bias + t0 +
///     t1 + ..., float, in token order, then Compressor::combine with the row's scan term; keeps
///     the best `limit`;
///  2. for each later stage continues the *same* sums with the tokens that follow, applies the row
///     term of that prefix, keeps `limit`;
///  3. answers the k best of the last stage.
///
/// The scores of an answer equal Compressor::score of the prefix, bit for bit, wherever a row lies
/// and however many threads run.
///
/// Row terms: a one-stage index keeps the head's float term for each row. An index with later
/// stages keeps one byte of it (a linear scale over the range that train() saw, clamped), uses it
/// to choose candidates only, and ranks by float terms; those of `stage_bytes[1..]` are cached per
/// row, others are computed when needed. Where the only stage asked for is the head of such an
/// index, candidates are ranked by the head's float term. Until train() was called there is one
/// list, and scan terms are floats.
///
/// Lists: a row belongs to the list whose centroid is nearest to the reconstruction of its head
/// (CoarseQuantizer), so its list is a function of its head alone. Where train() finds that 32
/// lists do not reach the recall it wants, a row is in a second and then a third list too, chosen
/// so that queries which miss the first one meet it: a copy of the heads more for fewer lists to
/// probe.
///
/// Until: a search may be told to refine until its answer is proved or likely enough instead of by
/// limits (Refinement). A proof is about every accepted row, so every head is scanned, whatever
/// lists or structure there are; a confidence probes as many lists as calibration asks for, and
/// scans every head where there is a structure. train() calibrates on up to 600 of its rows. An
/// index with error radii keeps, for each row, how far the longest prefix lies from each shorter
/// one and the original from that (error_radii.h), which spares a proof most of the tails and makes
/// one against the originals possible.
///
/// Coarse structures: instead of lists a CoarseStructure may propose the rows that the first stage
/// looks at; it then keeps them by the same scores as a scan. Every head is scanned all the same
/// where that costs no more: among few rows, or where few are accepted; where a structure cannot
/// tell accepted rows from others and a filter is asked; and where a walk comes back with fewer
/// than k rows.
///
/// Const members may be called from many threads. Members that change the index need it alone: hold
/// a shared_mutex around them. An exception leaves it as it was.
class StagedIndex {
  public:
    /// Makes an empty, untrained index.
    /// @throws Error  kInvalidArgument: the stages are not ascending or exceed the compressor's
    ///                code.
    StagedIndex(std::shared_ptr<const Compressor> compressor, StagedShape shape);
    StagedIndex(const StagedIndex&) = delete;
    StagedIndex& operator=(const StagedIndex&) = delete;
    StagedIndex(StagedIndex&&) noexcept;
    StagedIndex& operator=(StagedIndex&&) noexcept;
    ~StagedIndex();

    [[nodiscard]] const Compressor& compressor() const noexcept { return *compressor_; }
    [[nodiscard]] const StagedShape& shape() const noexcept { return shape_; }
    [[nodiscard]] std::size_t head_bytes() const noexcept { return shape_.stage_bytes.front(); }
    [[nodiscard]] std::size_t code_bytes() const noexcept { return shape_.stage_bytes.back(); }

    /// Learns the scale of scan terms, the lists, the default limits and nprobe, and calibrates
    /// confidences; rows that are there already are put into the new lists.
    ///
    /// Defaults are the smallest of a grid whose recall@10 against exhaustive ranking by
    /// `code_bytes()`, over up to 200 of the rows as queries, is at least 0.995. They stay within
    /// 200 rows and 32 lists where that gives 0.99.
    /// @param codes      [n, code_bytes()], n >= 1: rows that stand for the index's.
    /// @param originals  [n, dim] what the codes were made from, asked as queries when defaults are
    ///                   measured (a row is no answer to itself); or no rows: reconstructions
    ///                   serve.
    /// @throws Error     kInvalidArgument: a shape; fewer rows than coarse_traits() asks for.
    ///                   kCancelled.
    void train(
        MatrixView<const std::byte> codes, MatrixView<const float> originals,
        const StagedTrainOptions& options = {});

    /// Learns as train() does, into an index of the same rows: this one serves searches meanwhile.
    [[nodiscard]] StagedIndex trained_anew(
        MatrixView<const std::byte> codes, MatrixView<const float> originals,
        const StagedTrainOptions& options = {}) const;

    [[nodiscard]] bool is_trained() const noexcept { return learned_rows_ > 0; }

    /// Returns how many rows train() was given, 0 before: where there are many more now, lists and
    /// defaults may have become poor ones.
    [[nodiscard]] std::uint64_t learned_rows() const noexcept { return learned_rows_; }

    /// Appends rows: the first gets number rows().
    /// @param heads       [n, head_bytes()].
    /// @param rank_terms  [n, stages - 1] from rank_terms(), so that no search need compute them;
    ///                    or no rows.
    /// @param radii       [n, stages] from error_radii(); or no rows: not known, so that proofs
    /// read
    ///                    these rows whole. Without effect where the shape keeps none.
    ///                    Rows that come with terms or radii have tails of the whole length.
    /// @throws Error      kInvalidArgument: a shape. kResourceExhausted: more than 2^32 - 1 rows,
    ///                    or memory.
    void add(
        MatrixView<const std::byte> heads, MatrixView<const float> rank_terms = {},
        MatrixView<const ErrorRadius> radii = {});

    /// Computes what add() takes where the shape keeps error radii, else nothing.
    /// @param codes      [n, code_bytes()].
    /// @param originals  [n, dim] what the codes were made from; no rows: not known.
    /// @returns [n, stages], or empty.
    [[nodiscard]] std::vector<ErrorRadius> error_radii(
        MatrixView<const std::byte> codes, MatrixView<const float> originals) const;

    /// Copies error radii as add() takes them. @returns [rows(), stages], or empty.
    [[nodiscard]] std::span<const ErrorRadius> all_error_radii() const noexcept { return radii_; }

    /// Computes what add() takes: the row terms of every later stage.
    /// @param codes  [n, code_bytes()].
    /// @returns [n, stages - 1].
    [[nodiscard]] std::vector<float> rank_terms(MatrixView<const std::byte> codes) const;

    /// Takes rows out of every later answer; rows that are out already are passed over. Their
    /// numbers stay taken and their bytes allocated until compact().
    /// @throws Error  kInvalidArgument: a row >= rows().
    void erase(std::span<const std::uint64_t> rows_to_erase);

    /// Drops erased rows and numbers the others 0, 1, 2, ... in their old order.
    void compact();

    /// Drops every row; training stays.
    void clear();

    [[nodiscard]] std::size_t rows() const noexcept {
        return live_.size();
    } ///< Erased ones included.
    [[nodiscard]] std::size_t live_rows() const noexcept { return rows() - erased_; }
    [[nodiscard]] bool is_live(std::uint64_t row) const noexcept {
        return row < rows() && live_[row];
    }

    /// Copies heads.
    /// @param wanted  [n] rows, each < rows(), any order.
    /// @param heads   Out, [n, head_bytes()].
    void read_heads(std::span<const std::uint64_t> wanted, MatrixView<std::byte> heads) const;

    /// Copies every head, erased rows' too. @returns [rows(), head_bytes()].
    [[nodiscard]] std::vector<std::byte> all_heads() const;

    /// Finds the best rows for each query, on num_threads() threads.
    /// @param queries  [m, dim] float32, finite; not zero under cosine.
    /// @param tails    Where tokens beyond the head are; may be null where no stage needs them.
    /// @throws Error   kInvalidArgument: a shape, value or option. kFailedPrecondition: a
    /// confidence
    ///                 of an index that is not calibrated. What `tails` throws.
    [[nodiscard]] StagedAnswer search(
        MatrixView<const float> queries, const StagedRequest& request,
        const TailSource* tails) const;

    /// Finds every row of the probed lists whose score by the longest stage passes `is_in`, on
    /// num_threads() threads; of every row, where there is a coarse structure. Nothing is left out
    /// by a shorter prefix: a head's sum bounds no row's score closely enough to spare the tail.
    /// @param request  `nprobe` and `accepts` as in search(); of `stages` the last one's length is
    ///                 what rows are scored by, and limits must be 0; `k` and `ef_search` have
    ///                 no effect.
    /// @param is_in    Called from many threads.
    /// @throws Error   as search(). kInvalidArgument: a stage has a limit.
    [[nodiscard]] StagedRangeAnswer range_search(
        MatrixView<const float> queries, const StagedRequest& request, const RangeTest& is_in,
        const TailSource* tails) const;

    /// Returns the stages and nprobe that search() uses where a request names none: limits are
    /// measured at k = 10 and grow in proportion above.
    [[nodiscard]] std::vector<Stage> default_stages(std::size_t k = 10) const;
    [[nodiscard]] std::size_t default_nprobe() const { return coarse_traits().nprobe; }

    /// Returns how many questions confidences were calibrated by; 0: none can be asked.
    [[nodiscard]] std::size_t calibrated_by() const noexcept { return calibration_.questions(); }

    /// Returns what lists or structure take of a search, and how many rows train() asks for.
    [[nodiscard]] CoarseTraits coarse_traits() const;

    [[nodiscard]] StagedBytes resident_bytes() const noexcept;

    /// Writes what cannot be recomputed cheaply: training, and list and scan term of every row.
    /// Heads are not in it: after restore(), add() is fed the same heads in the same order.
    /// @param sequence  The caller's mark of what is covered; handed back by restore().
    /// @returns little-endian bytes that end with their SHA-256; docs/index_format.md gives every
    ///          one.
    [[nodiscard]] std::string save(std::uint64_t sequence = 0) const;

    /// What restore() read.
    struct Restored {
        std::uint64_t sequence = 0; ///< As given to save().
        std::size_t rows = 0; ///< The next so many rows added take list and scan term from the
                              ///< file.
    };

    /// Takes over what save() wrote; the index must be empty. Rows beyond those covered get their
    /// list by computation, to the same effect.
    /// @throws Error  kCorruption: truncated, altered, or sizes that contradict each other.
    ///                kUnsupported: a newer format. kFailedPrecondition: another model's or another
    ///                shape's, or the index has rows.
    Restored restore(std::string_view bytes);

  private:
    /// Rows of one inverted list, in ascending row order.
    struct List {
        std::vector<std::byte> heads;     ///< [n, head_bytes()].
        std::vector<std::uint32_t> rows;  ///< [n]; empty where the only list holds every row in
                                          ///< order.
        std::vector<std::uint8_t> levels; ///< [n] scan terms in steps of scale_; empty: floats, or
                                          ///< none needed.
        std::vector<float> terms;         ///< [n] scan terms; empty: levels, or none needed.
    };
    /// The range of scan terms that 256 levels divide evenly.
    struct TermScale {
        float low = 0;
        float high = 0;
        [[nodiscard]] std::uint8_t level(float term) const noexcept;
        [[nodiscard]] float term(std::uint8_t level) const noexcept;
    };
    /// What restore() read of rows that add() has yet to bring.
    struct Covered {
        std::vector<std::uint32_t> lists;
        std::vector<std::uint8_t> levels;
        std::vector<float> terms;
        std::vector<ErrorRadius> radii; ///< [rows, stages], where they are kept.
        std::size_t rows = 0;
    };
    enum class TermKind : std::uint8_t { kNone = 0, kFloat = 1, kLevel = 2 };
    class Search;

    [[nodiscard]] TermKind scan_term_kind() const noexcept;
    void learn_scale_and_lists(
        MatrixView<const std::byte> codes, const StagedTrainOptions& options);
    void use_lists_per_row(std::size_t copies);
    void copy_rank_terms(const StagedIndex& other);
    void learn_defaults(
        MatrixView<const std::byte> codes, MatrixView<const float> originals,
        const StagedTrainOptions& options);
    void calibrate(MatrixView<const std::byte> codes, MatrixView<const float> originals);
    [[nodiscard]] std::vector<float> terms_of_stages(MatrixView<const std::byte> codes) const;
    [[nodiscard]] std::vector<std::uint32_t> lists_needed(
        std::span<const float> query, std::span<const std::uint32_t> rows,
        std::span<const std::uint32_t> lists) const;
    /// Returns the lists to probe for each query, the nearest first: [queries, count].
    [[nodiscard]] std::vector<std::uint32_t> nearest_lists(
        MatrixView<const float> queries, std::size_t count) const;
    [[nodiscard]] std::array<float, 256> level_terms() const noexcept;
    [[nodiscard]] std::array<Bounds, 256> level_lengths() const;
    [[nodiscard]] std::size_t list_count() const noexcept {
        return std::max<std::size_t>(coarse_.nlist(), 1);
    }
    /// Lists that hold a row.
    [[nodiscard]] std::size_t copies() const noexcept { return lists_.size() / list_count(); }
    [[nodiscard]] std::span<const List> own_lists() const noexcept {
        return std::span(lists_).first(list_count());
    }
    [[nodiscard]] std::size_t list_rows(const List& list) const noexcept {
        return list.heads.size() / head_bytes();
    }
    [[nodiscard]] std::uint32_t row_at(const List& list, std::size_t place) const noexcept {
        return list.rows.empty() ? static_cast<std::uint32_t>(place) : list.rows[place];
    }
    [[nodiscard]] std::vector<std::uint32_t> assign(MatrixView<const std::byte> heads) const;
    [[nodiscard]] std::vector<std::uint32_t> list_of_row() const;
    [[nodiscard]] const std::byte* head_of(std::uint32_t row) const noexcept; ///< row < rows().
    void append(
        MatrixView<const std::byte> heads, std::span<const std::uint32_t> lists,
        std::span<const float> terms, std::span<const std::uint8_t> levels);
    void read_training_and_rows(ByteReader& in, std::uint32_t format, Restored& restored);
    [[nodiscard]] HeadRows head_rows() const noexcept;
    [[nodiscard]] CoarseStructure& own_structure();
    void cover_rows();
    void adopt_structure(
        std::shared_ptr<CoarseStructure> fresh, const StagedIndex& other,
        MatrixView<const std::byte> codes, std::uint64_t seed);

    std::shared_ptr<const Compressor> compressor_;
    StagedShape shape_;
    std::uint64_t learned_rows_ = 0;
    TermScale scale_;
    CoarseQuantizer coarse_;                  ///< Of no lists while there is one list only.
    std::vector<std::size_t> default_limits_; ///< [stages - 1], at k = 10.
    std::size_t default_nprobe_ = 1;
    std::vector<List> lists_; ///< [copies * list_count()]: nearest lists, then further ones.
    std::vector<bool> live_;  ///< [rows].
    std::size_t erased_ = 0;
    mutable std::vector<std::vector<float>> rank_terms_; ///< [stages - 1][rows]; NaN: not known
                                                         ///< yet. Relaxed atomics.
    std::vector<ErrorRadius> radii_;                     ///< [rows, stages]; empty: not kept.
    Calibration calibration_;
    Covered covered_;
    std::shared_ptr<CoarseStructure> structure_; ///< Null: none. Shared with an index that learned
                                                 ///< anew, until either changes it.
};

} // namespace arfc
