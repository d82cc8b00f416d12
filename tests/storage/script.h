#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "arfc/storage/store.h"

namespace arfc::storage::test {

/// A mutation together with the bytes that it refers to. Every byte follows from the shape, the id
/// and a version, so that a test can say what a store must hold without having kept it.
struct Batch {
    std::vector<PointId> ids;
    std::vector<std::byte> heads;
    std::vector<std::byte> tails;
    std::vector<float> raw;
    std::vector<std::string> payloads;
    std::vector<PointId> removals;

    /// Returns a view of it for a store of this shape.
    [[nodiscard]] Mutation mutation(const Shape& shape) const {
        const std::size_t n = ids.size();
        const auto rows_of = [n](std::size_t width) { return width == 0 ? 0 : n; };
        return {
            .ids = ids,
            .heads = {heads.data(), rows_of(shape.head_bytes), shape.head_bytes},
            .tails = {tails.data(), rows_of(shape.tail_bytes), shape.tail_bytes},
            .raw = {raw.data(), raw.empty() ? 0 : n, shape.dim},
            .payloads = payloads,
            .removals = removals};
    }
};

/// Mixes numbers into one that looks random (the finisher of splitmix64).
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0) {
    std::uint64_t x = a + 0x9E3779B97F4A7C15U * (b + 1) + 0xD1B54A32D192ED03U * (c + 1);
    x = (x ^ x >> 30U) * 0xBF58476D1CE4E5B9U;
    x = (x ^ x >> 27U) * 0x94D049BB133111EBU;
    return x ^ x >> 31U;
}

inline std::vector<std::byte> code_of(
    PointId id, std::uint64_t version, std::size_t width, std::uint64_t part) {
    std::vector<std::byte> bytes(width);
    for (std::size_t i = 0; i < width; ++i) {
        bytes[i] = static_cast<std::byte>(mix(id, version, part * 1000 + i));
    }
    return bytes;
}
inline std::vector<std::byte> head_of(PointId id, std::uint64_t version, const Shape& shape) {
    return code_of(id, version, shape.head_bytes, 1);
}
inline std::vector<std::byte> tail_of(PointId id, std::uint64_t version, const Shape& shape) {
    return code_of(id, version, shape.tail_bytes, 2);
}
inline std::vector<float> raw_of(PointId id, std::uint64_t version, const Shape& shape) {
    std::vector<float> row(shape.dim);
    for (std::size_t i = 0; i < shape.dim; ++i) {
        row[i] = static_cast<float>(mix(id, version, i + 5000) % 2001) / 1000.0F - 1.0F;
    }
    return row;
}
/// Every third one is empty.
inline std::string payload_of(PointId id, std::uint64_t version) {
    const std::uint64_t number = mix(id, version, 9000);
    return number % 3 == 0 ? "" : R"({"number": )" + std::to_string(number) + "}";
}

/// Makes the rows that version `version` of these points has.
inline Batch make_batch(
    const Shape& shape, std::vector<PointId> ids, std::uint64_t version, bool with_raw) {
    Batch batch{
        .ids = std::move(ids), .heads = {}, .tails = {}, .raw = {}, .payloads = {}, .removals = {}};
    const auto append = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
    };
    for (const PointId id : batch.ids) {
        append(batch.heads, head_of(id, version, shape));
        append(batch.tails, tail_of(id, version, shape));
        if (with_raw) {
            append(batch.raw, raw_of(id, version, shape));
        }
        batch.payloads.push_back(payload_of(id, version));
    }
    return batch;
}

/// Live points and the version of each.
using Expected = std::map<PointId, std::uint64_t>;

/// What writers do at step `step`, counted from 1 as epochs are: up to 90 rows over 400 ids, so
/// that most steps replace, some repeat an id, and up to five removals.
inline Batch scripted_batch(const Shape& shape, std::uint64_t step, bool with_raw) {
    std::vector<PointId> ids(1 + mix(step) % 90);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i] = mix(step, i) % 400;
    }
    Batch batch = make_batch(shape, std::move(ids), step, with_raw);
    batch.removals.resize(mix(step, 77) % 6);
    for (std::size_t i = 0; i < batch.removals.size(); ++i) {
        batch.removals[i] = mix(step, i, 78) % 400;
    }
    return batch;
}

/// Applies step `step` to what is expected; removals come before rows.
inline void apply_step(Expected& expected, std::uint64_t step) {
    const Batch batch =
        scripted_batch({.dim = 1, .head_bytes = 0, .tail_bytes = 0, .model_id = ""}, step, false);
    for (const PointId id : batch.removals) {
        expected.erase(id);
    }
    for (const PointId id : batch.ids) {
        expected[id] = step;
    }
}

} // namespace arfc::storage::test
