#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace arfc::storage {

/// Rows in a full block of `head`, for new stores; docs/storage_format.md gives the measurement.
inline constexpr std::size_t kHeadBlockRows = 128;

/// Returns the value of a block: a checksum, then its heads, [rows, head_bytes].
[[nodiscard]] std::string encode_head_block(std::uint64_t block, std::string_view heads);

/// Checks a block and returns its heads, a part of `value`.
/// @param where   Names the store in messages.
/// @throws Error  kCorruption: the checksum differs, or the heads are not whole rows, or more than
/// `block_rows`.
[[nodiscard]] std::string_view decode_head_block(
    std::uint64_t block, std::string_view value, std::size_t head_bytes, std::size_t block_rows,
    std::string_view where);

} // namespace arfc::storage
