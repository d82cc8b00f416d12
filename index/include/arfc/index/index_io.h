#pragma once

#include <faiss/Index.h>

#include <filesystem>
#include <memory>

namespace arfc {

/// Writes an index to a file, atomically: after a crash the old file or the new one is there.
///
/// An ArfcIndex, alone or behind IDMap or IDMap2, becomes one self-contained file, model included;
/// any other index becomes what faiss::write_index writes. The file is put together in memory
/// first.
/// @throws Error  kUnsupported: FAISS cannot write this index. kIo, kResourceExhausted.
void write_index(const faiss::Index& index, const std::filesystem::path& path);

/// Reads what write_index() or faiss::write_index wrote. Of ARFC files every size is checked before
/// it is believed; FAISS's own format has no such protection.
/// @throws Error  kNotFound. kCorruption: truncated, altered, or no index. kUnsupported: a newer
///                format. kIo.
[[nodiscard]] std::unique_ptr<faiss::Index> read_index(const std::filesystem::path& path);

} // namespace arfc
