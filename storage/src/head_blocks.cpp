#include "head_blocks.h"

#include "arfc/base/error.h"
#include "byte_order.h"
#include "crc32c.h"

namespace arfc::storage {
namespace {

constexpr std::size_t kChecksumBytes = 4;

/// The block's number is summed too: a block found under another one's key is damage as well.
std::uint32_t checksum(std::uint64_t block, std::string_view heads) {
    return crc32c(heads, crc32c(Key::of_row(block).view()));
}

} // namespace

std::string encode_head_block(std::uint64_t block, std::string_view heads) {
    std::string value;
    append_little_endian(value, checksum(block, heads));
    value += heads;
    return value;
}

std::string_view decode_head_block(
    std::uint64_t block, std::string_view value, std::size_t head_bytes, std::size_t block_rows,
    std::string_view where) {
    const std::size_t most = kChecksumBytes + block_rows * head_bytes;
    if (value.size() < kChecksumBytes || value.size() > most ||
        (value.size() - kChecksumBytes) % head_bytes != 0) {
        fail(
            ErrorKind::kCorruption, "Length of a block of heads does not fit: ", where, ", block ",
            block, ", ", value.size(), " bytes, expected at most ", most);
    }
    const std::string_view heads = value.substr(kChecksumBytes);
    if (load_little_endian<std::uint32_t>(value) != checksum(block, heads)) {
        fail(
            ErrorKind::kCorruption, "Checksum of a block of heads differs: ", where, ", block ",
            block);
    }
    return heads;
}

} // namespace arfc::storage
