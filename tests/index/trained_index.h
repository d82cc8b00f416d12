#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arfc/index/arfc_index.h"
#include "arfc/index/index_io.h"
#include "random_rows.h"
#include "temporary_directory.h"
#include "trained_model.h"

namespace arfc::test {

/// Rows of kDim floats and the arithmetic that answers are compared with.
struct Rows {
    Rows(std::size_t count, std::uint32_t seed) : values(random_rows(count, kDim, seed)) {}
    std::vector<float> values;

    [[nodiscard]] std::size_t count() const { return values.size() / kDim; }
    [[nodiscard]] std::int64_t signed_count() const { return static_cast<std::int64_t>(count()); }
    [[nodiscard]] const float* data() const { return values.data(); }
    [[nodiscard]] double product(std::size_t i, const Rows& other, std::size_t j) const {
        double sum = 0;
        for (std::size_t c = 0; c < kDim; ++c) {
            sum += double{values[i * kDim + c]} * double{other.values[j * kDim + c]};
        }
        return sum;
    }
    [[nodiscard]] double length(std::size_t i) const { return std::sqrt(product(i, *this, i)); }
    [[nodiscard]] double distance(std::size_t i, const Rows& other, std::size_t j) const {
        return product(i, *this, i) + other.product(j, other, j) - 2 * product(i, other, j);
    }
};

inline Rows unit_rows(std::size_t count, std::uint32_t seed) {
    Rows rows(count, seed);
    for (std::size_t i = 0; i < count; ++i) {
        const double length = rows.length(i);
        for (std::size_t c = 0; c < kDim; ++c) {
            rows.values[i * kDim + c] = static_cast<float>(rows.values[i * kDim + c] / length);
        }
    }
    return rows;
}

/// What a search answered.
struct Answer {
    std::vector<float> distances;
    std::vector<std::int64_t> labels;
    bool operator==(const Answer&) const = default;
};

inline Answer search(
    const faiss::Index& index, const Rows& queries, std::int64_t k,
    const faiss::SearchParameters* params = nullptr) {
    Answer answer;
    const std::size_t size = k < 1 ? 1 : queries.count() * static_cast<std::size_t>(k);
    answer.distances.resize(size);
    answer.labels.resize(size);
    index.search(
        queries.signed_count(), queries.data(), k, answer.distances.data(), answer.labels.data(),
        params);
    return answer;
}

/// An empty trained index. Training happens once a process for each kind of index; copies come from
/// a file of it.
inline std::unique_ptr<ArfcIndex> trained_index(
    const std::string& factory, faiss::MetricType metric, const Rows& rows) {
    static const TemporaryDirectory kDirectory;
    static std::map<std::string, bool> written;
    const std::string name = std::to_string(std::hash<std::string>{}(factory)) + "-" +
                             std::to_string(metric) + "-" + std::to_string(rows.count()) + "-" +
                             std::to_string(std::lround(rows.length(0) * 1e5));
    if (!written[name]) {
        ArfcIndex index(static_cast<int>(kDim), factory, metric);
        index.train(rows.signed_count(), rows.data());
        write_index(index, kDirectory / name);
        written[name] = true;
    }
    std::unique_ptr<faiss::Index> index = read_index(kDirectory / name);
    return std::unique_ptr<ArfcIndex>(dynamic_cast<ArfcIndex*>(index.release()));
}

} // namespace arfc::test
