#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace arfc::tools {

/// A file that is read from its first byte to its last. Not thread-safe.
class InputFile {
  public:
    /// @throws Error  kNotFound: no such file. kIo: it is a directory, or the system refuses.
    explicit InputFile(std::filesystem::path path);
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;
    ~InputFile();

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

    /// Returns the size in bytes; nothing for a pipe.
    [[nodiscard]] std::optional<std::uint64_t> size() const noexcept { return size_; }

    /// Returns how many bytes have been read.
    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }

    /// Reads what there is, at most `bytes.size()`. @returns the count; 0 only at the end.
    /// @throws Error  kIo.
    [[nodiscard]] std::size_t read_some(std::span<std::byte> bytes);

    /// Fills `bytes`. @throws Error  kCorruption: the file ends before `what` does. kIo.
    void read_exactly(std::span<std::byte> bytes, std::string_view what);

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    std::optional<std::uint64_t> size_;
    std::uint64_t offset_ = 0;
};

/// Returns size() of a format whose sizes are checked against the file's.
/// @throws Error  kUnsupported: `file` is a pipe.
[[nodiscard]] std::uint64_t required_size(const InputFile& file, std::string_view format);

} // namespace arfc::tools
