#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <vector>

#include "readers/row_reader.h"

namespace arfc::tools {

/// Keeps account of rejected rows: all of them in a file of JSON lines, the first few in memory.
///
/// A line is {"row": 5, "line": 6, "reason": "..."}; "line" is there for text formats only.
class RejectLog {
  public:
    /// Rejected rows that first() keeps: enough to see what is wrong with a file.
    static constexpr std::size_t kShown = 5;

    /// @param path    The file to replace; nothing: none is written.
    /// @throws Error  kIo: it cannot be created.
    explicit RejectLog(const std::optional<std::filesystem::path>& path);

    /// @throws Error  kIo: the file cannot be written.
    void add(std::span<const RejectedRow> rows);

    /// Hands what was added to the system, where it survives the end of this process.
    /// @throws Error  kIo.
    void flush();

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] const std::vector<RejectedRow>& first() const noexcept { return first_; }

  private:
    std::filesystem::path path_;
    std::ofstream file_;
    std::uint64_t count_ = 0;
    std::vector<RejectedRow> first_;
};

} // namespace arfc::tools
