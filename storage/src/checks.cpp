#include "checks.h"

#include "arfc/base/error.h"

namespace arfc::storage {
namespace {

constexpr std::size_t kLargestDim = 65536;
constexpr std::size_t kLargestPart = 65536; // Bytes of a head or of a tail.
constexpr std::size_t kLargestModelId = 1024;

template <class T>
void check_matrix(std::string_view what, MatrixView<T> matrix, std::size_t rows, std::size_t cols) {
    if (matrix.rows() != rows || (rows > 0 && matrix.cols() != cols)) {
        fail(
            ErrorKind::kInvalidArgument, what, " of a mutation differ from the store's shape: [",
            matrix.rows(), ", ", matrix.cols(), "], expected [", rows, ", ", cols, "]");
    }
}

void check_count(std::string_view what, std::size_t count, std::size_t expected) {
    if (count != expected) {
        fail(
            ErrorKind::kInvalidArgument, "Room for ", what,
            " differs from what is asked for: ", count, ", expected ", expected);
    }
}

} // namespace

void check_shape(const Shape& shape) {
    if (shape.dim == 0 || shape.dim > kLargestDim) {
        fail(
            ErrorKind::kInvalidArgument, "Width of a store's rows is outside [1, ", kLargestDim,
            "]: ", shape.dim);
    }
    if (shape.head_bytes > kLargestPart || shape.tail_bytes > kLargestPart) {
        fail(
            ErrorKind::kInvalidArgument, "Code parts of a store exceed ", kLargestPart,
            " bytes: ", shape.head_bytes, " and ", shape.tail_bytes);
    }
    const bool has_codes = shape.head_bytes > 0;
    if (!has_codes && (shape.tail_bytes > 0 || !shape.model_id.empty())) {
        fail(
            ErrorKind::kInvalidArgument,
            "Store without heads names tails or a model: ", shape.tail_bytes, " bytes, model \"",
            shape.model_id, "\"");
    }
    if (has_codes && (shape.model_id.empty() || shape.model_id.size() > kLargestModelId)) {
        fail(
            ErrorKind::kInvalidArgument, "Model id of a store's codes is outside [1, ",
            kLargestModelId, "] characters: ", shape.model_id.size());
    }
}

void check_mutation(const Mutation& mutation, const Shape& shape) {
    const std::size_t n = mutation.ids.size();
    const bool has_codes = shape.head_bytes > 0;
    check_matrix("Heads", mutation.heads, has_codes ? n : 0, shape.head_bytes);
    check_matrix("Tails", mutation.tails, shape.tail_bytes > 0 ? n : 0, shape.tail_bytes);
    const bool raw_is_left_out = has_codes && mutation.raw.rows() == 0;
    check_matrix("Raw rows", mutation.raw, raw_is_left_out ? 0 : n, shape.dim);
    if (!mutation.payloads.empty() && mutation.payloads.size() != n) {
        fail(
            ErrorKind::kInvalidArgument,
            "Payloads of a mutation differ from its ids in number: ", mutation.payloads.size(),
            ", expected ", n);
    }
}

void check_codes(
    Row first, MatrixView<const std::byte> heads, MatrixView<const std::byte> tails, Row next_row) {
    if (heads.cols() == 0 || heads.cols() > kLargestPart || tails.cols() > kLargestPart) {
        fail(
            ErrorKind::kInvalidArgument, "Widths of codes are outside [1, ", kLargestPart,
            "] and [0, ", kLargestPart, "] bytes: ", heads.cols(), " and ", tails.cols());
    }
    const std::size_t expected_tails = tails.cols() == 0 ? 0 : heads.rows();
    if (tails.rows() != expected_tails) {
        fail(
            ErrorKind::kInvalidArgument, "Tails differ from heads in number: ", tails.rows(),
            ", expected ", expected_tails);
    }
    if (first > next_row || heads.rows() > next_row - first) {
        fail(
            ErrorKind::kInvalidArgument, "Codes are for rows that the store does not have: rows ",
            first, " to ", first + heads.rows(), ", expected below ", next_row);
    }
}

void check_published_again(const Shape& published, const Shape& wanted, std::string_view where) {
    if (published.model_id != wanted.model_id || published.head_bytes != wanted.head_bytes ||
        published.tail_bytes != wanted.tail_bytes) {
        fail(
            ErrorKind::kFailedPrecondition, "Store has codes of another model: ", where, ", model ",
            published.model_id, " with ", published.head_bytes, " and ", published.tail_bytes,
            " bytes, not model ", wanted.model_id, " with ", wanted.head_bytes, " and ",
            wanted.tail_bytes);
    }
}

void check_tails_out(
    std::span<const Row> rows, MatrixView<std::byte> tails, std::span<std::size_t> lengths,
    const Shape& shape) {
    if (tails.cols() > 0) {
        check_count("tails", tails.rows(), rows.size());
    }
    check_count("lengths of tails", lengths.size(), rows.size());
    if (tails.cols() > shape.tail_bytes) {
        fail(
            ErrorKind::kInvalidArgument, "Width asked of tails exceeds the store's: ", tails.cols(),
            ", expected at most ", shape.tail_bytes);
    }
}

void check_payloads_out(std::span<const Row> rows, std::span<std::string> payloads) {
    check_count("payloads", payloads.size(), rows.size());
}

void check_raw_out(std::span<const Row> rows, MatrixView<float> raw, const Shape& shape) {
    check_count("raw rows", raw.rows(), rows.size());
    if (!rows.empty() && raw.cols() != shape.dim) {
        fail(
            ErrorKind::kInvalidArgument,
            "Width asked of raw rows differs from the store's: ", raw.cols(), ", expected ",
            shape.dim);
    }
}

void check_found_out(std::span<const PointId> ids, std::span<std::optional<Row>> rows) {
    check_count("rows of points", rows.size(), ids.size());
}

void check_raw_found(std::span<const Row> rows, const std::vector<bool>& found) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!found[i]) {
            fail(ErrorKind::kNotFound, "Row has no raw form: ", rows[i]);
        }
    }
}

} // namespace arfc::storage
