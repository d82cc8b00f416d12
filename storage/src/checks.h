#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/storage/store.h"

namespace arfc::storage {

// What every backend refuses alike. Each throws Error kInvalidArgument where it does not say
// otherwise.

/// Refuses a shape that no store can have.
void check_shape(const Shape& shape);

/// Refuses a mutation whose counts or widths differ from the shape.
void check_mutation(const Mutation& mutation, const Shape& shape);

/// Refuses codes that do not fit the rows [0, next_row).
void check_codes(
    Row first, MatrixView<const std::byte> heads, MatrixView<const std::byte> tails, Row next_row);

/// Refuses to publish other codes over those that count already.
/// @throws Error  kFailedPrecondition.
void check_published_again(const Shape& published, const Shape& wanted, std::string_view where);

/// Refuse rooms for answers that differ from what is asked for.
void check_tails_out(
    std::span<const Row> rows, MatrixView<std::byte> tails, std::span<std::size_t> lengths,
    const Shape& shape);
void check_payloads_out(std::span<const Row> rows, std::span<std::string> payloads);
void check_raw_out(std::span<const Row> rows, MatrixView<float> raw, const Shape& shape);
void check_found_out(std::span<const PointId> ids, std::span<std::optional<Row>> rows);

/// Refuses to answer where a row has no raw form.
/// @param found   [rows.size()]: whether it has one.
/// @throws Error  kNotFound.
void check_raw_found(std::span<const Row> rows, const std::vector<bool>& found);

} // namespace arfc::storage
