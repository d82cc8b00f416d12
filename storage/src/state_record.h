#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "arfc/storage/store.h"

namespace arfc::storage {

/// Everything of a store that a mutation changes beside rows; `meta` key "state", written in every
/// batch.
///
/// One record, so that whoever reads it through a snapshot has numbers that belong together.
struct State {
    Shape shape;
    std::uint32_t head_block_rows = 0; ///< Rows in a full block of `head`; never changes.
    std::uint64_t epoch = 0;           ///< Mutations so far.
    std::uint64_t sequence = 0; ///< Batches so far: mutations, codes, publications, clean-ups.
    Row next_row = 0;
    std::uint64_t points = 0;
    bool has_unpublished_codes = false; ///< `head` and `tail` hold codes that do not count yet.
    bool may_have_raw = false;          ///< Some row has, or had, a raw form since drop_raw().
    bool may_have_payloads = false;     ///< Some row has, or had, a payload.
};

[[nodiscard]] std::string encode_state(const State& state);

/// @param where  Names the store in messages.
/// @throws Error  kCorruption: a checksum, a length or a field does not fit.
[[nodiscard]] State decode_state(std::string_view bytes, std::string_view where);

} // namespace arfc::storage
