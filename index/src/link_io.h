#pragma once

#include "byte_io.h"
#include "code_graph.h"

namespace arfc {

/// Writes how many links each node has (u16), then all links (u32).
void write_links(ByteWriter& out, const LinkTable& links);

/// Reads what write_links() wrote.
/// @param rows    Links must be smaller.
/// @throws Error  kCorruption: too many links, or a link to no row.
[[nodiscard]] LinkTable read_links(
    ByteReader& in, std::size_t nodes, std::size_t width, std::size_t rows);

/// Writes the number of duplicates (u64), then each (u32) and its node (u32), ascending.
void write_duplicates(ByteWriter& out, const Duplicates& duplicates);

/// @throws Error  kCorruption: a row that does not exist, or that stands for itself.
[[nodiscard]] Duplicates read_duplicates(ByteReader& in, std::size_t rows);

} // namespace arfc
