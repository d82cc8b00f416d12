#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "arfc/base/matrix_view.h"

namespace arfc::test {

/// Rows with structure, as embeddings have: Gaussian clusters whose coordinates fade in strength.
/// @returns [rows, dim] float32, the same for the same arguments.
inline std::vector<float> random_rows(std::size_t rows, std::size_t dim, std::uint32_t seed = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    // Centres depend on the width alone, so that different seeds share them.
    std::mt19937 shared(dim);
    constexpr std::size_t kClusters = 40;
    std::vector<float> centres(kClusters * dim);
    for (float& value : centres) {
        value = normal(shared);
    }
    std::vector<float> out(rows * dim);
    for (std::size_t i = 0; i < rows; ++i) {
        const std::size_t cluster = random() % kClusters;
        for (std::size_t j = 0; j < dim; ++j) {
            const float strength =
                1.0F / (1.0F + 8.0F * static_cast<float>(j) / static_cast<float>(dim));
            out[i * dim + j] = strength * (centres[cluster * dim + j] + 0.7F * normal(random));
        }
    }
    return out;
}

/// Returns independent numbers of a standard normal distribution, the same for the same arguments.
inline std::vector<float> random_floats(std::size_t count, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) {
        value = normal(random);
    }
    return values;
}

inline MatrixView<const float> view(const std::vector<float>& values, std::size_t dim) {
    return {values.data(), values.size() / dim, dim};
}

} // namespace arfc::test
