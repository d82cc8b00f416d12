#pragma once

#include <faiss/impl/AuxIndexStructures.h>

#include <cstddef>
#include <cstdint>

#include "arfc/base/error.h"
#include "faiss_errors.h"

// What indexes of FAISS's shape check alike before they work.
namespace arfc {

[[nodiscard]] inline std::size_t checked_count(std::int64_t n) {
    if (n < 0) {
        fail(ErrorKind::kInvalidArgument, "Number of rows is negative: ", n);
    }
    return static_cast<std::size_t>(n);
}

inline void require_trained(bool is_trained) {
    if (!is_trained) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Index is not trained; call train() with rows like those to be added");
    }
}

inline void require_result(const faiss::RangeSearchResult* result, std::size_t queries) {
    if (result == nullptr || result->nq != queries) {
        fail(
            ErrorKind::kInvalidArgument,
            "Range search was given a result for another number of queries: ",
            result == nullptr ? 0 : result->nq, ", expected ", queries);
    }
}

/// Turns counts into limits, and makes room for as many answers.
inline void allocate(faiss::RangeSearchResult& result) {
    translate_faiss(ErrorKind::kInvalidArgument, "Result of a range search cannot be filled", [&] {
        result.do_allocation();
    });
}

} // namespace arfc
