#include "ingest/row_sample.h"

#include <algorithm>

#include "arfc/base/error.h"

namespace arfc::tools {
namespace {

/// Returns numbers of its own for a seed: training draws from the seed, too, and must not repeat
/// the choices that made the sample.
std::mt19937_64 generator_of(std::uint64_t seed) {
    constexpr std::uint32_t kPurpose = 0x524F5753; // "ROWS"
    std::seed_seq sequence{
        static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U), kPurpose};
    return std::mt19937_64(sequence);
}

} // namespace

RowSample::RowSample(
    std::size_t dim, std::size_t capacity, std::uint64_t seed, std::uint64_t expected)
    : dim_(dim), capacity_(capacity), random_(generator_of(seed)) {
    if (dim == 0 || capacity == 0) {
        fail(
            ErrorKind::kInvalidArgument, "A sample needs a row of at least one float: ", capacity,
            " rows of ", dim);
    }
    values_.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(expected, capacity)) * dim);
}

void RowSample::add(MatrixView<const float> rows) {
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        const std::uint64_t before = offered_++;
        if (before < capacity_) {
            append(rows.row(i));
            continue;
        }
        // The remainder favours small numbers by less than rows / 2^64.
        const std::uint64_t place = random_() % offered_;
        if (place < capacity_) {
            std::ranges::copy(
                rows.row(i), values_.begin() + static_cast<std::ptrdiff_t>(place * dim_));
        }
    }
}

/// Grows in steps that end at the capacity, so that no more is ever reserved than the sample takes.
void RowSample::append(std::span<const float> row) {
    if (values_.size() == values_.capacity()) {
        const std::size_t held = values_.size() / dim_;
        values_.reserve(std::min(capacity_, std::max<std::size_t>(2 * held, 1024)) * dim_);
    }
    values_.insert(values_.end(), row.begin(), row.end());
}

} // namespace arfc::tools
