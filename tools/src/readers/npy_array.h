#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "readers/input_file.h"

namespace arfc::tools {

/// What the header of a .npy file says.
struct NpyHeader {
    std::string descr;                ///< Element type as NumPy writes it, such as "<f4".
    bool fortran_order = false;       ///< Columns are adjacent, not rows.
    std::vector<std::uint64_t> shape; ///< Length of each dimension.
};

/// Reads the dictionary of a header: a Python literal of exactly descr, fortran_order and shape.
/// @throws Error  kCorruption: not such a literal. kUnsupported: a structured type.
[[nodiscard]] NpyHeader parse_npy_header(std::string_view text);

/// A .npy file, of which elements are read in their order on disk.
///
/// Source: NumPy Enhancement Proposal 1, versions 1.0, 2.0 and 3.0 of the format.
class NpyArray {
  public:
    /// @throws Error  kNotFound, kIo. kCorruption: wrong magic, or the header's shape and type do
    ///                not make the file's size. kUnsupported: a newer version, a pipe, a structured
    ///                or big-endian type.
    explicit NpyArray(const std::filesystem::path& path);

    [[nodiscard]] const NpyHeader& header() const noexcept { return header_; }
    [[nodiscard]] const std::filesystem::path& path() const noexcept { return file_.path(); }
    [[nodiscard]] char kind() const noexcept { return header_.descr[1]; } ///< 'f', 'i', 'u', ...
    [[nodiscard]] std::size_t item_bytes() const noexcept { return item_bytes_; }

    /// Reads the next elements, as they lie on disk. @throws Error  kCorruption, kIo.
    void read(std::span<std::byte> bytes) { file_.read_exactly(bytes, "array"); }

    /// Returns the share of the file that has been read, in [0, 1].
    [[nodiscard]] double fraction_read() const noexcept;

  private:
    InputFile file_;
    NpyHeader header_;
    std::size_t item_bytes_ = 0;
};

} // namespace arfc::tools
