#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

class ByteReader;
class ByteWriter;

/// The heads of an index's rows and what turns their sums into scores: what a coarse structure
/// reads. Refers to memory of the index's, so it is good until rows are added.
struct HeadRows {
    const Compressor* compressor = nullptr;
    MatrixView<const std::byte> heads;    ///< [n, head_bytes].
    std::span<const std::uint8_t> levels; ///< [n] steps of the scan term; or empty.
    std::span<const float> terms;         ///< [n] scan terms; or empty, as under inner product.
    std::array<float, 256> level_terms{}; ///< What a step stands for.

    [[nodiscard]] std::size_t rows() const noexcept { return heads.rows(); }
    [[nodiscard]] float term(std::uint32_t row) const noexcept {
        return !levels.empty() ? level_terms[levels[row]] : !terms.empty() ? terms[row] : 0.0F;
    }
};

/// One query's wish for rows.
struct CoarseQuery {
    std::span<const float> values; ///< [dim], as asked.
    const float* tables = nullptr; ///< [head_bytes, kSymbols].
    Compressor::QueryTerms terms{};
    std::size_t beam = 1;   ///< Rows to keep in view, and to propose at most.
    std::size_t nprobe = 1; ///< Lists to look into, where the structure has lists.
    const std::function<bool(std::uint32_t)>* accepts = nullptr; ///< Null: every row will do.
};

/// What an index must know of a structure before it asks it for rows.
struct CoarseTraits {
    bool takes_ef_search = true;   ///< A query's beam is a user's efSearch.
    bool selects = true;           ///< find() goes on until it has rows that are accepted.
    std::size_t lists = 0;         ///< That nprobe chooses among for each search; 0: none.
    std::size_t nprobe = 1;        ///< Unless told.
    std::size_t training_rows = 1; ///< train() takes no fewer.
};

/// Rows that a coarse structure proposes, in no order, and how many it scored to find them.
struct Proposals {
    std::vector<std::uint32_t> rows; ///< All different; accepted where the structure asks.
    std::size_t scored = 0;
};

/// Finds the rows whose heads score best, without scoring every one: what stands after the comma
/// of a factory string and is not IVF.
///
/// A structure covers rows [0, rows()); the index scans those that come after and ranks what is
/// proposed by the same sums, so a structure decides which rows are looked at and never how they
/// score. It keeps no heads: they are handed in. Const members may be called from many threads.
class CoarseStructure {
  public:
    CoarseStructure() = default;
    virtual ~CoarseStructure() = default;

    /// What it says is the same for its life.
    [[nodiscard]] virtual CoarseTraits traits() const { return {}; }

    /// Learns from rows that stand for all. A structure that learns nothing keeps its rows.
    /// @throws Error  kInvalidArgument: too few rows.
    virtual void train(const HeadRows& sample, std::uint64_t seed) = 0;

    /// Says whether rows that it covers stay well covered when train() is called with other rows.
    [[nodiscard]] virtual bool outlives_training() const noexcept = 0;

    /// Covers rows [rows(), all.rows()), or leaves them to be scanned until there are more.
    /// @param all  The index's rows, those covered already included. An exception leaves some of
    ///             the new rows covered.
    virtual void add(const HeadRows& all) = 0;

    /// Proposes rows for a query: about its `beam` best.
    [[nodiscard]] virtual Proposals find(const HeadRows& all, const CoarseQuery& query) const = 0;

    /// Follows the index in dropping rows.
    /// @param all      The rows that are left, under their new numbers.
    /// @param numbers  [rows before] new number of each row, or kDropped.
    virtual void compact(const HeadRows& all, std::span<const std::uint32_t> numbers) = 0;
    static constexpr std::uint32_t kDropped = 0xFFFFFFFF;

    virtual void clear() = 0; ///< Covers no row any more; training stays.

    [[nodiscard]] virtual std::size_t rows() const noexcept = 0;
    [[nodiscard]] virtual std::size_t bytes() const noexcept = 0; ///< Resident, in use.

    /// Returns about how many rows find() scores: where the index has fewer, scanning them all is
    /// cheaper, and exact.
    [[nodiscard]] virtual std::size_t expected_scored(std::size_t beam) const noexcept = 0;

    /// Writes what cannot be recomputed cheaply; docs/index_format.md.
    virtual void save(ByteWriter& out) const = 0;

    /// Takes over what save() wrote of a structure of the same kind.
    /// @param rows    The index's, when it was saved.
    /// @throws Error  kCorruption.
    virtual void restore(ByteReader& in, std::size_t rows) = 0;

    [[nodiscard]] virtual std::unique_ptr<CoarseStructure> clone() const = 0;

  protected:
    CoarseStructure(const CoarseStructure&) = default;
    CoarseStructure& operator=(const CoarseStructure&) = default;
};

/// A kind of structure: one row of the table in coarse_structures.cpp.
struct CoarseKind {
    std::string_view prefix;   ///< What its strings begin with, such as "HNSW"; "": any string
                               ///< of several parts, and whatever no other kind begins.
    std::string_view expected; ///< For messages: "HNSW<m>, m in [2, 256]".
    /// Returns the canonical string, or "" where the text is not one of this kind's.
    std::string (*canonical)(std::size_t dim, std::string_view text);
    /// @param text    Canonical.
    /// @throws Error  kUnsupported: it cannot rank by this metric.
    std::unique_ptr<CoarseStructure> (*make)(std::size_t dim, Metric metric, std::string_view text);
};

/// Returns every kind; contract tests run over it.
[[nodiscard]] std::span<const CoarseKind> coarse_kinds() noexcept;

/// Says whether FAISS's grammar would take the text apart: "HNSW32,PQ8", "IVF64(PQ8),Flat".
[[nodiscard]] inline bool has_several_parts(std::string_view text) noexcept {
    return text.find_first_of(",_(") != std::string_view::npos;
}

/// Returns the kind whose business strings such as `text` are.
[[nodiscard]] const CoarseKind& find_coarse_kind(std::string_view text) noexcept;

/// Makes a structure.
/// @throws Error  kInvalidArgument: the text is no canonical one. kUnsupported: it cannot rank by
///                this metric.
[[nodiscard]] std::unique_ptr<CoarseStructure> make_coarse(
    std::size_t dim, Metric metric, std::string_view text);

} // namespace arfc
