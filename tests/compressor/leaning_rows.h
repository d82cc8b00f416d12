#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace arfc::test {

/// Which coordinates vary the most.
enum class Leaning { kToTheFirst, kToTheLast };

/// Draws unit rows whose coordinates vary less and less from one end on. @returns [count, dim].
inline std::vector<float> leaning_rows(
    std::size_t count, std::size_t dim, Leaning leaning, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> rows(count * dim);
    for (std::size_t i = 0; i < count; ++i) {
        float squared = 0.0F;
        for (std::size_t j = 0; j < dim; ++j) {
            const std::size_t place = leaning == Leaning::kToTheFirst ? j + 1 : dim - j;
            const float value = normal(random) / std::sqrt(static_cast<float>(place));
            rows[i * dim + j] = value;
            squared += value * value;
        }
        for (std::size_t j = 0; j < dim; ++j) {
            rows[i * dim + j] /= std::sqrt(squared);
        }
    }
    return rows;
}

} // namespace arfc::test
