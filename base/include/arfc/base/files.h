#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace arfc {

/// Returns the whole file.
/// @throws Error  kNotFound: no such file. kIo: it cannot be read.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

/// Replaces the file so that after a crash it holds either the old bytes or the new ones, whole:
/// writes a neighbour, syncs it, renames it over `path` and syncs the directory.
/// @throws Error  kIo: the directory is missing or refuses the write; `path` is then as it was.
///                kResourceExhausted: the disk is full.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// Makes the names in `directory` durable (fsync of the directory itself).
/// @throws Error  kIo.
void sync_directory(const std::filesystem::path& directory);

} // namespace arfc
