#include "state_record.h"

#include "arfc/base/error.h"
#include "arfc/base/narrow.h"
#include "byte_order.h"
#include "crc32c.h"

namespace arfc::storage {
namespace {

// docs/storage_format.md, "meta": the checksum, then fields at fixed places, then the model id.
constexpr std::size_t kChecksumBytes = 4;
constexpr std::size_t kFixedBytes = kChecksumBytes + 5 * 4 + 4 * 8 + 2;

constexpr std::uint32_t kUnpublishedCodes = 1U << 0U;
constexpr std::uint32_t kMayHaveRaw = 1U << 1U;
constexpr std::uint32_t kMayHavePayloads = 1U << 2U;
constexpr std::uint32_t kKnownFlags = kUnpublishedCodes | kMayHaveRaw | kMayHavePayloads;

/// Takes numbers from the front of a record whose length was checked before.
class Reader {
  public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}

    template <std::unsigned_integral T>
    T take() {
        const T number = load_little_endian<T>(bytes_);
        bytes_.remove_prefix(sizeof(T));
        return number;
    }
    [[nodiscard]] std::string_view rest() const { return bytes_; }

  private:
    std::string_view bytes_;
};

std::uint32_t flags_of(const State& state) {
    return (state.has_unpublished_codes ? kUnpublishedCodes : 0U) |
           (state.may_have_raw ? kMayHaveRaw : 0U) |
           (state.may_have_payloads ? kMayHavePayloads : 0U);
}

} // namespace

std::string encode_state(const State& state) {
    std::string fields;
    append_little_endian(fields, flags_of(state));
    append_little_endian(fields, narrow<std::uint32_t>(state.shape.dim));
    append_little_endian(fields, narrow<std::uint32_t>(state.shape.head_bytes));
    append_little_endian(fields, narrow<std::uint32_t>(state.shape.tail_bytes));
    append_little_endian(fields, state.head_block_rows);
    append_little_endian(fields, state.epoch);
    append_little_endian(fields, state.sequence);
    append_little_endian(fields, state.next_row);
    append_little_endian(fields, state.points);
    append_little_endian(fields, narrow<std::uint16_t>(state.shape.model_id.size()));
    fields += state.shape.model_id;
    std::string record;
    append_little_endian(record, crc32c(fields));
    return record + fields;
}

State decode_state(std::string_view bytes, std::string_view where) {
    if (bytes.size() < kFixedBytes) {
        fail(
            ErrorKind::kCorruption, "State record of a store is too short: ", where, ", ",
            bytes.size(), " bytes, expected at least ", kFixedBytes);
    }
    if (load_little_endian<std::uint32_t>(bytes) != crc32c(bytes.substr(kChecksumBytes))) {
        fail(ErrorKind::kCorruption, "Checksum of a store's state record differs: ", where);
    }
    Reader reader(bytes.substr(kChecksumBytes));
    State state;
    const auto flags = reader.take<std::uint32_t>();
    state.has_unpublished_codes = (flags & kUnpublishedCodes) != 0;
    state.may_have_raw = (flags & kMayHaveRaw) != 0;
    state.may_have_payloads = (flags & kMayHavePayloads) != 0;
    state.shape.dim = reader.take<std::uint32_t>();
    state.shape.head_bytes = reader.take<std::uint32_t>();
    state.shape.tail_bytes = reader.take<std::uint32_t>();
    state.head_block_rows = reader.take<std::uint32_t>();
    state.epoch = reader.take<std::uint64_t>();
    state.sequence = reader.take<std::uint64_t>();
    state.next_row = reader.take<std::uint64_t>();
    state.points = reader.take<std::uint64_t>();
    const auto id_bytes = reader.take<std::uint16_t>();
    state.shape.model_id = reader.rest();
    const bool fits = (flags & ~kKnownFlags) == 0 && reader.rest().size() == id_bytes &&
                      state.shape.dim > 0 && state.head_block_rows > 0 &&
                      state.points <= state.next_row;
    if (!fits) {
        fail(
            ErrorKind::kCorruption,
            "Fields of a store's state record contradict each other: ", where);
    }
    return state;
}

} // namespace arfc::storage
