// The bytes of docs/storage_format.md, one by one.

#include <string>

#include "byte_order.h"
#include "crc32c.h"
#include "expect_error.h"
#include "head_blocks.h"
#include "state_record.h"

namespace arfc::storage::test {
namespace {

// clang-tidy 14 does not see that literals are uses of these.
using std::string_literals::operator""s;       // NOLINT(misc-unused-using-decls)
using std::string_view_literals::operator""sv; // NOLINT(misc-unused-using-decls)

State example() {
    State state;
    state.shape = {.dim = 384, .head_bytes = 16, .tail_bytes = 80, .model_id = "abc"};
    state.head_block_rows = 128;
    state.epoch = 0x0102030405060708U;
    state.sequence = 9;
    state.next_row = 10;
    state.points = 7;
    state.may_have_payloads = true;
    return state;
}

TEST(Crc32c, AgreesWithThePublishedVectors) {
    // RFC 3720, B.4, and the check value of the CRC catalogue.
    EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
    EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
    std::string ascending;
    for (char byte = 0; byte < 32; ++byte) {
        ascending += byte;
    }
    EXPECT_EQ(crc32c(ascending), 0x46DD794EU);
    EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
    EXPECT_EQ(crc32c(""), 0U);
}

TEST(Crc32c, IsTheSameInPieces) {
    std::string bytes;
    for (int i = 0; i < 100; ++i) {
        bytes += static_cast<char>(i * 37);
    }
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        const std::string_view all = bytes;
        ASSERT_EQ(crc32c(all.substr(cut), crc32c(all.substr(0, cut))), crc32c(all)) << cut;
    }
}

TEST(Keys, SortAsTheirNumbers) {
    EXPECT_EQ(Key::of_row(0x0102030405060708U).view(), "\x01\x02\x03\x04\x05\x06\x07\x08"sv);
    EXPECT_EQ(Key::of_point(1).view(), "\0\0\0\0\0\0\0\0\1"sv);
    const std::uint64_t numbers[] = {0, 1, 255, 256, 65535, 1ULL << 32U, ~0ULL - 1, ~0ULL};
    for (std::size_t i = 1; i < std::size(numbers); ++i) {
        EXPECT_LT(Key::of_row(numbers[i - 1]).view(), Key::of_row(numbers[i]).view());
        EXPECT_LT(Key::of_point(numbers[i - 1]).view(), Key::of_point(numbers[i]).view());
        EXPECT_EQ(number_of_key(Key::of_row(numbers[i]).view()), numbers[i]);
        EXPECT_EQ(number_of_key(Key::of_point(numbers[i]).view()), numbers[i]);
    }
}

TEST(StateRecord, HasTheBytesThatTheFormatDescribes) {
    const std::string fields =
        "\x04\0\0\0"s
        "\x80\x01\0\0"s
        "\x10\0\0\0"s
        "\x50\0\0\0"s
        "\x80\0\0\0"s
        "\x08\x07\x06\x05\x04\x03\x02\x01"s
        "\x09\0\0\0\0\0\0\0"s
        "\x0A\0\0\0\0\0\0\0"s
        "\x07\0\0\0\0\0\0\0"s
        "\x03\0"s
        "abc"s;
    std::string record;
    append_little_endian(record, crc32c(fields));
    EXPECT_EQ(encode_state(example()), record + fields);
}

TEST(StateRecord, ComesBackAsItWasWritten) {
    for (int flags = 0; flags < 8; ++flags) {
        State state = example();
        state.has_unpublished_codes = (flags & 1) != 0;
        state.may_have_raw = (flags & 2) != 0;
        state.may_have_payloads = (flags & 4) != 0;
        const State read = decode_state(encode_state(state), "here");
        EXPECT_EQ(read.shape.dim, state.shape.dim);
        EXPECT_EQ(read.shape.head_bytes, state.shape.head_bytes);
        EXPECT_EQ(read.shape.tail_bytes, state.shape.tail_bytes);
        EXPECT_EQ(read.shape.model_id, state.shape.model_id);
        EXPECT_EQ(read.head_block_rows, state.head_block_rows);
        EXPECT_EQ(read.epoch, state.epoch);
        EXPECT_EQ(read.sequence, state.sequence);
        EXPECT_EQ(read.next_row, state.next_row);
        EXPECT_EQ(read.points, state.points);
        EXPECT_EQ(read.has_unpublished_codes, state.has_unpublished_codes);
        EXPECT_EQ(read.may_have_raw, state.may_have_raw);
        EXPECT_EQ(read.may_have_payloads, state.may_have_payloads);
    }
}

TEST(StateRecord, DamageIsCorruption) {
    const std::string record = encode_state(example());
    for (std::size_t length = 0; length < record.size(); ++length) {
        ARFC_EXPECT_ERROR(
            static_cast<void>(decode_state(record.substr(0, length), "here")),
            ErrorKind::kCorruption, "here");
    }
    for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
        std::string damaged = record;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
        ARFC_EXPECT_ERROR(
            static_cast<void>(decode_state(damaged, "here")), ErrorKind::kCorruption, "Checksum");
    }
    State impossible = example();
    impossible.points = impossible.next_row + 1;
    ARFC_EXPECT_ERROR(
        static_cast<void>(decode_state(encode_state(impossible), "here")), ErrorKind::kCorruption,
        "contradict each other: here");
}

/// Seals fields with their checksum, as another build could.
std::string sealed(const std::string& fields) {
    std::string record;
    append_little_endian(record, crc32c(fields));
    return record + fields;
}

TEST(StateRecord, FieldsThatNoStoreHasAreCorruption) {
    const std::string fields = encode_state(example()).substr(4);
    EXPECT_EQ(decode_state(sealed(fields), "here").points, 7U);
    const auto refuses = [&](std::size_t place, char byte) {
        std::string changed = fields;
        changed[place] = byte;
        ARFC_EXPECT_ERROR(
            static_cast<void>(decode_state(sealed(changed), "here")), ErrorKind::kCorruption,
            "Fields of a store's state record contradict each other: here");
    };
    refuses(0, '\x0C'); // A flag that this build does not know.
    refuses(3, '\x80');
    refuses(52, '\x02'); // The model id is longer than that,
    refuses(52, '\x04'); // and shorter than this.
    refuses(44, '\x0B'); // More points than rows.
    std::string changed = fields;
    changed.replace(4, 4, 4, '\0'); // A width of nothing.
    ARFC_EXPECT_ERROR(
        static_cast<void>(decode_state(sealed(changed), "here")), ErrorKind::kCorruption,
        "contradict each other");
    refuses(16, '\0'); // Blocks of no row.
}

TEST(StateRecord, TheSmallestAndLargestFieldsAreFields) {
    State state = example();
    state.shape = {.dim = 1, .head_bytes = 1, .tail_bytes = 0, .model_id = "m"};
    state.head_block_rows = 1;
    state.points = state.next_row;
    const State small = decode_state(encode_state(state), "here");
    EXPECT_EQ(small.shape.dim, 1U);
    EXPECT_EQ(small.head_block_rows, 1U);
    EXPECT_EQ(small.points, small.next_row);
    state.shape = {
        .dim = ~std::uint32_t{0},
        .head_bytes = ~std::uint32_t{0},
        .tail_bytes = ~std::uint32_t{0},
        .model_id = std::string(65535, 'm')};
    EXPECT_EQ(decode_state(encode_state(state), "here").shape.model_id, state.shape.model_id);
    EXPECT_EQ(decode_state(encode_state(state), "here").shape.tail_bytes, state.shape.tail_bytes);
    state.shape.model_id += 'm';
    ARFC_EXPECT_ERROR(static_cast<void>(encode_state(state)), ErrorKind::kInvalidArgument, "65536");
}

TEST(HeadBlocks, HaveTheBytesThatTheFormatDescribes) {
    const std::string heads = "0123456789AB";
    const std::string value = encode_head_block(2, heads);
    std::string expected;
    append_little_endian(expected, crc32c("\0\0\0\0\0\0\0\2"s + heads));
    EXPECT_EQ(value, expected + heads);
    EXPECT_EQ(decode_head_block(2, value, 4, 3, "here"), heads);
}

TEST(HeadBlocks, DamageAndForeignPlacesAreCorruption) {
    const std::string value = encode_head_block(2, "0123456789AB");
    ARFC_EXPECT_ERROR(
        static_cast<void>(decode_head_block(3, value, 4, 3, "here")), ErrorKind::kCorruption,
        "Checksum of a block of heads differs: here, block 3");
    ARFC_EXPECT_ERROR(
        static_cast<void>(decode_head_block(2, value, 5, 3, "here")), ErrorKind::kCorruption,
        "Length of a block of heads does not fit: here, block 2, 16 bytes");
    ARFC_EXPECT_ERROR(
        static_cast<void>(decode_head_block(2, value, 4, 2, "here")), ErrorKind::kCorruption,
        "expected at most 12");
    ARFC_EXPECT_ERROR(
        static_cast<void>(decode_head_block(2, "abc", 4, 3, "here")), ErrorKind::kCorruption,
        "3 bytes");
    ARFC_EXPECT_ERROR( // Whole rows and one byte.
        static_cast<void>(decode_head_block(2, encode_head_block(2, "012345678"), 4, 3, "here")),
        ErrorKind::kCorruption, "Length of a block of heads does not fit");
    EXPECT_EQ(decode_head_block(2, encode_head_block(2, ""), 4, 3, "here"), "");
    for (std::size_t bit = 0; bit < value.size() * 8; ++bit) {
        std::string damaged = value;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
        ARFC_EXPECT_ERROR(
            static_cast<void>(decode_head_block(2, damaged, 4, 3, "here")), ErrorKind::kCorruption,
            "Checksum");
    }
}

} // namespace
} // namespace arfc::storage::test
