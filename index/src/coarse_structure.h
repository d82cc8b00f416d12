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
    std::size_t beam = 1; ///< Rows to keep in view, and to propose at most.
    const std::function<bool(std::uint32_t)>* accepts = nullptr; ///< Null: every row will do.
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

    /// Learns from rows that stand for all. A structure that learns nothing keeps its rows.
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
    std::string_view prefix;   ///< What its strings begin with, such as "HNSW".
    std::string_view expected; ///< For messages: "HNSW<m>, m in [2, 256]".
    /// Returns the canonical string, or "" where the text is not one of this kind's.
    std::string (*canonical)(std::size_t dim, std::string_view text);
    std::unique_ptr<CoarseStructure> (*make)(const Compressor& compressor, std::string_view text);
};

/// Returns every kind; contract tests run over it.
[[nodiscard]] std::span<const CoarseKind> coarse_kinds() noexcept;

/// Returns the kind whose strings begin as `text` does, or null.
[[nodiscard]] const CoarseKind* find_coarse_kind(std::string_view text) noexcept;

} // namespace arfc
