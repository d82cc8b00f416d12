#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <vector>

#include "script.h"

namespace arfc::storage::test {

/// Reads all heads, row by row.
inline std::vector<std::vector<std::byte>> heads_of(const Snapshot& snapshot, Row first = 0) {
    std::vector<std::vector<std::byte>> heads;
    snapshot.for_each_head(first, [&](Row row, MatrixView<const std::byte> run) {
        EXPECT_EQ(row, first + heads.size());
        for (std::size_t i = 0; i < run.rows(); ++i) {
            heads.emplace_back(run.row(i).begin(), run.row(i).end());
        }
    });
    return heads;
}

/// Reads every raw row there is.
inline std::map<Row, std::vector<float>> raw_rows_of(const Snapshot& snapshot, Row first = 0) {
    std::map<Row, std::vector<float>> rows;
    snapshot.for_each_raw(first, [&](Row row, MatrixView<const float> run) {
        for (std::size_t i = 0; i < run.rows(); ++i) {
            const bool is_new =
                rows.emplace(row + i, std::vector<float>(run.row(i).begin(), run.row(i).end()))
                    .second;
            EXPECT_TRUE(is_new) << "visited twice: row " << row + i;
        }
    });
    return rows;
}

inline std::map<PointId, Row> points_of(const Snapshot& snapshot) {
    std::map<PointId, Row> points;
    snapshot.for_each_point([&](PointId id, Row row) {
        EXPECT_TRUE(points.empty() || points.rbegin()->first < id) << "out of order: point " << id;
        points.emplace(id, row);
    });
    return points;
}

/// Expects a snapshot to hold these points, each with all of its parts, and nothing else.
/// @param has_raw  Whether live rows have a raw form.
inline void expect_holds(
    const Snapshot& snapshot, const Shape& shape, const Expected& expected, bool has_raw) {
    const std::map<PointId, Row> points = points_of(snapshot);
    ASSERT_EQ(points.size(), expected.size());
    std::vector<PointId> ids;
    std::vector<Row> rows;
    for (const auto& [id, row] : points) {
        ASSERT_TRUE(expected.contains(id)) << "point " << id;
        ids.push_back(id);
        rows.push_back(row);
    }
    std::vector<std::optional<Row>> found(ids.size());
    snapshot.find(ids, found);
    std::vector<std::byte> tails(rows.size() * shape.tail_bytes);
    std::vector<std::size_t> lengths(rows.size());
    snapshot.read_tails(rows, {tails.data(), rows.size(), shape.tail_bytes}, lengths);
    std::vector<std::string> payloads(rows.size());
    snapshot.read_payloads(rows, payloads);
    std::vector<float> raw(has_raw ? rows.size() * shape.dim : 0);
    if (has_raw) {
        snapshot.read_raw(rows, {raw.data(), rows.size(), shape.dim});
    }
    const auto heads = heads_of(snapshot);
    ASSERT_EQ(heads.size(), shape.head_bytes > 0 ? snapshot.next_row() : 0);
    const auto raw_rows = raw_rows_of(snapshot);
    ASSERT_EQ(raw_rows.size(), has_raw ? rows.size() : 0);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::uint64_t version = expected.at(ids[i]);
        ASSERT_EQ(found[i], rows[i]) << "point " << ids[i];
        ASSERT_LT(rows[i], snapshot.next_row());
        ASSERT_EQ(payloads[i], payload_of(ids[i], version)) << "point " << ids[i];
        ASSERT_EQ(lengths[i], shape.tail_bytes);
        const auto tail = tails.begin() + static_cast<std::ptrdiff_t>(i * shape.tail_bytes);
        ASSERT_EQ(
            std::vector<std::byte>(tail, tail + static_cast<std::ptrdiff_t>(shape.tail_bytes)),
            tail_of(ids[i], version, shape))
            << "point " << ids[i];
        if (shape.head_bytes > 0) {
            ASSERT_EQ(heads[rows[i]], head_of(ids[i], version, shape)) << "point " << ids[i];
        }
        if (has_raw) {
            const auto row = raw.begin() + static_cast<std::ptrdiff_t>(i * shape.dim);
            ASSERT_EQ(
                std::vector<float>(row, row + static_cast<std::ptrdiff_t>(shape.dim)),
                raw_of(ids[i], version, shape))
                << "point " << ids[i];
            ASSERT_EQ(raw_rows.at(rows[i]), raw_of(ids[i], version, shape)) << "point " << ids[i];
        }
    }
}

/// Expects a snapshot to hold what the script leaves after as many steps as the snapshot's epoch
/// says.
inline void expect_scripted(const Snapshot& snapshot, const Shape& shape, bool has_raw) {
    Expected expected;
    for (std::uint64_t step = 1; step <= snapshot.epoch(); ++step) {
        apply_step(expected, step);
    }
    expect_holds(snapshot, shape, expected, has_raw);
}

} // namespace arfc::storage::test
