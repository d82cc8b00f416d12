#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/point_id.h"

namespace arfc::tools {

/// Widest embedding that a reader accepts, in floats: a collection's own limit.
inline constexpr std::size_t kMaxDim = 65536;

/// A row that was read and will not be stored. Data, not an exception: a load goes on.
struct RejectedRow {
    std::uint64_t row = 0;             ///< Number in the file, from 0.
    std::optional<std::uint64_t> line; ///< Line in a text file, from 1.
    std::string reason;                ///< A sentence with the values at its end.
};

/// Rows that came together, in the order of the file.
struct RowBatch {
    std::size_t dim = 0;                     ///< Width of every row, in floats.
    std::vector<float> embeddings;           ///< [size(), dim], row-major.
    std::vector<std::uint64_t> rows;         ///< [size()]: number in the file, from 0.
    std::vector<std::uint64_t> lines;        ///< [size()]: line in a text file, from 1; else empty.
    std::vector<std::optional<PointId>> ids; ///< [size()]: what the file names the row.
    std::vector<std::string> payloads;       ///< [size()]: a JSON object as text, "" = none.
    std::vector<RejectedRow> rejected;       ///< Rows read with these and left out above.

    [[nodiscard]] std::size_t size() const noexcept { return rows.size(); }
    [[nodiscard]] MatrixView<const float> view() const noexcept {
        return {embeddings.data(), size(), dim};
    }

    /// Empties the batch and keeps its memory.
    void clear();

    /// Moves to `rejected` every row that has a reason.
    /// @param reasons  [size()]; nothing: the row stays.
    void reject(std::span<const std::optional<std::string>> reasons);
};

/// Reads embeddings from a file in bounded memory: one batch at a time, never the file.
///
/// What is wrong with one row makes a RejectedRow; what is wrong with the file is an Error.
/// Not thread-safe.
class RowReader {
  public:
    virtual ~RowReader() = default;

    /// Returns the width of the rows, in floats, in [1, kMaxDim].
    [[nodiscard]] virtual std::size_t dim() const noexcept = 0;

    /// Returns the number of rows in the file; nothing where only reading it all would tell.
    [[nodiscard]] virtual std::optional<std::uint64_t> rows() const noexcept = 0;

    /// Returns the share of the file that has been read, in [0, 1]; nothing for a pipe.
    [[nodiscard]] virtual std::optional<double> fraction_read() const noexcept = 0;

    /// Reads the next rows.
    /// @param max_rows  At least 1: most rows, rejected ones included.
    /// @param batch     Out: what was in it is dropped, its memory is used again.
    /// @returns whether there was a row, good or rejected.
    /// @throws Error    kCorruption: the file is cut short or damaged. kIo.
    [[nodiscard]] virtual bool next(std::size_t max_rows, RowBatch& batch) = 0;
};

/// A file format of rows: one row of the table in formats.cpp and one source file.
struct RowFormat {
    std::string_view name;      ///< What `--format` takes.
    std::string_view summary;   ///< One sentence for `--help`.
    std::string_view extension; ///< Which files `auto` takes for it, such as ".npy".

    /// Opens a file. @param dim  The width that rows must have; nothing: the first good row's.
    std::unique_ptr<RowReader> (*open)(
        const std::filesystem::path& path, std::optional<std::size_t> dim);
};

/// Returns every format; contract tests run over it.
[[nodiscard]] std::span<const RowFormat> row_formats() noexcept;

/// Returns the names of the formats and "auto", for `--help`: "auto, npy, fvecs, jsonl".
[[nodiscard]] std::string row_format_names();

/// Opens a file of rows.
/// @param format  A name of row_formats(), or "auto": by the file's extension.
/// @param dim     The width that is wanted. A format of fixed width refuses a file of another one;
///                a text format rejects its rows of another one.
/// @throws Error  kInvalidArgument: no such format, an extension that tells nothing, or another
///                width. kNotFound, kIo. kCorruption: not of this format, or its sizes contradict
///                the file's. kUnsupported: of this format, in a variant that is not read.
[[nodiscard]] std::unique_ptr<RowReader> open_rows(
    const std::filesystem::path& path, std::string_view format = "auto",
    std::optional<std::size_t> dim = {});

/// Names rows by a one-dimensional .npy array of integers, row by row.
/// @param reader  Must know its rows(). @throws Error  kInvalidArgument: it does not, or the array
///                has another length. Further kinds as open_rows.
[[nodiscard]] std::unique_ptr<RowReader> attach_ids(
    std::unique_ptr<RowReader> reader, const std::filesystem::path& path);

/// Gives rows payloads: line i is the JSON object of row i; an empty line or `null` is none.
/// @param reader  Must know its rows(). @throws Error  kInvalidArgument: it does not, or the file
///                has another number of lines. Further kinds as open_rows.
[[nodiscard]] std::unique_ptr<RowReader> attach_payloads(
    std::unique_ptr<RowReader> reader, const std::filesystem::path& path);

namespace readers {

// One function a format, each in the file of its name.
std::unique_ptr<RowReader> open_npy(
    const std::filesystem::path& path, std::optional<std::size_t> dim);
std::unique_ptr<RowReader> open_fvecs(
    const std::filesystem::path& path, std::optional<std::size_t> dim);
std::unique_ptr<RowReader> open_jsonl(
    const std::filesystem::path& path, std::optional<std::size_t> dim);

/// @throws Error  kInvalidArgument: `found` is not the width that is wanted, or out of range.
void require_dim(
    std::uint64_t found, std::optional<std::size_t> wanted, const std::filesystem::path& path);

} // namespace readers
} // namespace arfc::tools
