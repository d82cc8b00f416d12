#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "random_rows.h"

namespace arfc::test {

/// Pairs of rows that share their weaker coordinates alone: what decides is not what is strong.
/// @returns queries and relevant rows, [rows, dim] each.
inline std::pair<std::vector<float>, std::vector<float>> paired_rows(
    std::size_t rows, std::size_t dim) {
    std::vector<float> queries = random_rows(rows, dim, 21);
    std::vector<float> relevant = random_rows(rows, dim, 22);
    for (std::size_t i = 0; i < queries.size(); ++i) {
        if (i % dim >= dim / 2) {
            relevant[i] = queries[i];
        }
    }
    return {std::move(queries), std::move(relevant)};
}

} // namespace arfc::test
