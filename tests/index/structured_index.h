#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "memory_tails.h"
#include "staged_index.h"
#include "trained_model.h"

namespace arfc::test {

inline constexpr std::size_t kHead = 8;
inline constexpr std::size_t kMany = 9000;

/// Many rows' codes by the model that tests share, encoded once a process and metric.
inline const std::vector<std::byte>& many_codes(Metric metric) {
    static std::map<Metric, std::vector<std::byte>> codes;
    std::vector<std::byte>& found = codes[metric];
    if (found.empty()) {
        const std::vector<float> rows = random_rows(kMany, kDim, 7);
        found.resize(kMany * kCodeBytes);
        trained_model(metric).compressor->encode(
            view(rows, kDim), kCodeBytes, {found.data(), kMany, kCodeBytes});
    }
    return found;
}

/// The heads of rows [first, first + count) of codes.
inline std::vector<std::byte> heads_of(
    const std::vector<std::byte>& codes, std::size_t first, std::size_t count) {
    std::vector<std::byte> heads;
    for (std::size_t row = first; row < first + count; ++row) {
        const auto head = codes.begin() + static_cast<std::ptrdiff_t>(row * kCodeBytes);
        heads.insert(heads.end(), head, head + kHead);
    }
    return heads;
}

/// @returns the share of the rows of one answer that another finds too, query by query.
inline double share_found(const StagedAnswer& found, const StagedAnswer& truth, std::size_t k) {
    std::size_t hits = 0;
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < truth.rows.size(); ++i) {
        const auto begin = found.rows.begin() + static_cast<std::ptrdiff_t>(i / k * k);
        const auto end = begin + static_cast<std::ptrdiff_t>(k);
        wanted += truth.rows[i] != kNoRow ? 1 : 0;
        hits += truth.rows[i] != kNoRow && std::find(begin, end, truth.rows[i]) != end ? 1 : 0;
    }
    return wanted == 0 ? 1.0 : static_cast<double>(hits) / static_cast<double>(wanted);
}

/// An index with a coarse structure, and where its tails lie.
struct Structured {
    explicit Structured(
        const std::string& coarse, Metric metric = Metric::kCosine, std::size_t count = kMany)
        : model(trained_model(metric)), codes(many_codes(metric)),
          index(model.compressor, {.stage_bytes = {kHead, kCodeBytes}, .coarse = coarse}) {
        index.train(model.code_view(), {});
        add(0, count);
    }

    void add(std::size_t first, std::size_t count) {
        const std::vector<std::byte> heads = heads_of(codes, first, count);
        index.add({heads.data(), count, kHead});
    }

    [[nodiscard]] StagedAnswer search(const StagedRequest& request) const {
        const MemoryTails tails(codes.data() + kHead, kCodeBytes, kCodeBytes - kHead);
        return index.search(model.query_view(), request, &tails);
    }

    [[nodiscard]] StagedAnswer scan(StagedRequest request) const {
        request.exhaustive = true;
        return search(request);
    }

    /// @returns the share of the scan's rows that the structure's search finds too.
    [[nodiscard]] double recall(const StagedRequest& request) const {
        return share_found(search(request), scan(request), request.k);
    }

    const TrainedModel& model;
    const std::vector<std::byte>& codes;
    StagedIndex index;
};

/// The candidates of a search that only the first stage decides.
inline StagedRequest heads_only(std::size_t k) {
    return {.k = k, .stages = {{kHead, 0}}};
}

inline bool is_walk(const StagedAnswer& answer, std::size_t rows) {
    return answer.stages.front().candidates < kQueries * rows;
}

inline void expect_right_scores(
    const Structured& fixture, const StagedAnswer& answer, std::size_t k) {
    for (std::size_t q = 0; q < kQueries; ++q) {
        std::vector<float> scores(k);
        for (std::size_t i = q * k; i < (q + 1) * k; ++i) {
            if (answer.rows[i] == kNoRow) {
                continue;
            }
            float score = 0.0F;
            fixture.model.compressor->score(
                fixture.model.query_view().slice(q, 1),
                {fixture.codes.data() + answer.rows[i] * kCodeBytes, 1, kCodeBytes}, false,
                {&score, 1, 1});
            EXPECT_EQ(score, answer.scores[i]);
            EXPECT_TRUE(i == q * k || answer.scores[i] <= answer.scores[i - 1]);
        }
    }
}

} // namespace arfc::test
