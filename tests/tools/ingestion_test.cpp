#include "ingest/ingestion.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "arfc/base/files.h"
#include "expect_error.h"
#include "ingest/row_check.h"
#include "row_files.h"
#include "temporary_directory.h"

namespace arfc::tools {
namespace {

using test::npy_of;
using test::write_bytes;

/// Takes points as a collection does: all of a call or none, and says no to the rows it is told to.
class Shelf {
  public:
    struct Point {
        std::vector<float> row;
        std::string payload;
        bool operator==(const Point&) const = default;
    };

    StorePoints store() {
        return [this](auto ids, auto rows, auto payloads) {
            ++calls;
            for (std::size_t i = 0; i < ids.size(); ++i) {
                if (std::fabs(rows.row(i)[0] - refused_value) < 0.5F) {
                    fail(refusal, "Shelf refuses: ", rows.row(i)[0]);
                }
            }
            for (std::size_t i = 0; i < ids.size(); ++i) {
                points[ids[i]] = {
                    {rows.row(i).begin(), rows.row(i).end()}, payloads.empty() ? "" : payloads[i]};
            }
        };
    }

    std::map<PointId, Point> points;
    float refused_value = -1;
    ErrorKind refusal = ErrorKind::kInvalidArgument;
    std::size_t calls = 0;
};

class IngestionTest : public ::testing::Test {
  protected:
    std::unique_ptr<RowReader> rows_of(const std::vector<float>& values, std::size_t dim) const {
        write_bytes(directory_ / "rows.npy", npy_of(values, dim));
        return open_rows(directory_ / "rows.npy");
    }
    static void run(Ingestion& ingestion) {
        while (ingestion.step()) {
        }
    }

    arfc::test::TemporaryDirectory directory_;
    Shelf shelf_;
    RejectLog rejects_{std::nullopt};
};

/// [rows, 1]: 1, 2, 3, ...
std::vector<float> counting(std::size_t rows) {
    std::vector<float> values(rows);
    for (std::size_t i = 0; i < rows; ++i) {
        values[i] = static_cast<float>(i + 1);
    }
    return values;
}

TEST_F(IngestionTest, StoresEveryRowOnceAtEveryBatchSize) {
    for (const std::size_t batch_rows : {1U, 2U, 7U, 20U, 1000U}) {
        Shelf shelf;
        const auto reader = rows_of(counting(20), 1);
        Ingestion ingestion(
            *reader, rejects_, {.batch_rows = batch_rows, .start_id = 100}, shelf.store());
        run(ingestion);
        EXPECT_EQ(ingestion.rows_in(), 20U);
        EXPECT_EQ(ingestion.rows_stored(), 20U);
        ASSERT_EQ(shelf.points.size(), 20U);
        EXPECT_EQ(shelf.points.at(119).row, (std::vector<float>{20}));
        EXPECT_EQ(shelf.calls, (20 + batch_rows - 1) / batch_rows);
    }
    EXPECT_EQ(rejects_.count(), 0U);
}

TEST_F(IngestionTest, BadValuesAreRejectedAlone) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> values = {1, 1, nan, 1, 2, 2, 0, 0, 3, -infinity, 0, -0.0F, 1e-45F, 0};
    const auto reader = rows_of(values, 2);
    Ingestion ingestion(*reader, rejects_, {.metric = Metric::kCosine}, shelf_.store());
    run(ingestion);
    EXPECT_EQ(ingestion.rows_in(), 7U);
    EXPECT_EQ(ingestion.rows_stored(), 3U);
    EXPECT_EQ(rejects_.count(), 4U);
    EXPECT_EQ(shelf_.points.size(), 3U);
    EXPECT_TRUE(
        shelf_.points.contains(0) && shelf_.points.contains(2) && shelf_.points.contains(6));
    EXPECT_EQ(rejects_.first()[0].reason, "Embedding holds NaN, at position: 0");
    EXPECT_EQ(
        rejects_.first()[1].reason, "Embedding is all zero, which has no direction under cosine");
    EXPECT_EQ(rejects_.first()[2].reason, "Embedding holds an infinity, at position: 1");
    EXPECT_EQ(shelf_.calls, 1U) << "what can be known before is not left to the store";
}

TEST_F(IngestionTest, ZeroRowsAreRowsUnlessCosineForbidsThem) {
    const std::vector<float> zero = {0, 0};
    EXPECT_FALSE(reason_to_refuse(zero, Metric::kL2));
    EXPECT_FALSE(reason_to_refuse(zero, Metric::kInnerProduct));
    EXPECT_TRUE(reason_to_refuse(zero, Metric::kCosine));
}

TEST_F(IngestionTest, WhatTheStoreRefusesTakesNoGoodRowWithIt) {
    shelf_.refused_value = 13;
    const auto reader = rows_of(counting(64), 1);
    Ingestion ingestion(*reader, rejects_, {.batch_rows = 64}, shelf_.store());
    run(ingestion);
    EXPECT_EQ(ingestion.rows_stored(), 63U);
    EXPECT_EQ(ingestion.rows_in(), 64U);
    ASSERT_EQ(rejects_.count(), 1U);
    EXPECT_EQ(rejects_.first()[0].row, 12U);
    EXPECT_EQ(rejects_.first()[0].reason, "Shelf refuses: 13");
    EXPECT_FALSE(shelf_.points.contains(12));
    EXPECT_EQ(shelf_.calls, 13U) << "halving: 1 + 2 * log2(64)";
}

TEST_F(IngestionTest, OtherErrorsEndTheLoadAndKeepTheCount) {
    shelf_.refused_value = 5;
    shelf_.refusal = ErrorKind::kResourceExhausted;
    const auto reader = rows_of(counting(8), 1);
    Ingestion ingestion(*reader, rejects_, {.batch_rows = 2}, shelf_.store());
    ARFC_EXPECT_ERROR(run(ingestion), ErrorKind::kResourceExhausted, "Shelf refuses: 5");
    EXPECT_EQ(ingestion.rows_stored(), 4U);
    EXPECT_EQ(shelf_.points.size(), 4U);
}

TEST_F(IngestionTest, PayloadsAndIdsTravelWithTheirRows) {
    write_bytes(
        directory_ / "rows.jsonl",
        "{\"id\": 50, \"vector\": [1], \"payload\": {\"n\": 1}}\n"
        "no\n"
        "{\"vector\": [2]}\n"
        "{\"id\": 50, \"vector\": [3], \"payload\": {\"n\": 3}}\n");
    const auto reader = open_rows(directory_ / "rows.jsonl");
    Ingestion ingestion(*reader, rejects_, {.start_id = 10}, shelf_.store());
    run(ingestion);
    EXPECT_EQ(ingestion.rows_in(), 4U);
    EXPECT_EQ(ingestion.rows_stored(), 3U);
    EXPECT_EQ(rejects_.count(), 1U);
    const std::map<PointId, Shelf::Point> expected = {{12, {{2}, ""}}, {50, {{3}, "{\"n\":3}"}}};
    EXPECT_EQ(shelf_.points, expected) << "the later row of an id stays";
}

TEST_F(IngestionTest, IdsPastTheLastOneAreRejected) {
    const auto reader = rows_of(counting(3), 1);
    Ingestion ingestion(*reader, rejects_, {.start_id = ~PointId{0} - 1}, shelf_.store());
    run(ingestion);
    EXPECT_EQ(ingestion.rows_stored(), 2U);
    EXPECT_TRUE(shelf_.points.contains(~PointId{0}));
    ASSERT_EQ(rejects_.count(), 1U);
    EXPECT_EQ(
        rejects_.first()[0].reason,
        "Id would be larger than 2^64 - 1: start 18446744073709551614 + row 2");
}

TEST_F(IngestionTest, RejectsAreWrittenAsJsonLines) {
    RejectLog log(directory_ / "rejects.jsonl");
    write_bytes(
        directory_ / "rows.jsonl",
        "{\"vector\": [1]}\n\nno \xFF\n{\"vector\": [0], \"\\u00e9\\n\": 1}\n");
    const auto reader = open_rows(directory_ / "rows.jsonl");
    Ingestion ingestion(*reader, log, {}, shelf_.store());
    run(ingestion);
    std::istringstream lines(read_file(directory_ / "rejects.jsonl"));
    std::vector<nlohmann::json> found;
    for (std::string line; std::getline(lines, line);) {
        found.push_back(nlohmann::json::parse(line));
    }
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0]["row"], 1);
    EXPECT_EQ(found[0]["line"], 3);
    EXPECT_EQ(found[1]["row"], 2);
    EXPECT_EQ(found[1]["reason"], "Field is not one of id, vector, payload: \"é\n\"");
}

TEST_F(IngestionTest, TheRejectFileMustBeWritable) {
    ARFC_EXPECT_ERROR(RejectLog(directory_ / "no/such/file"), ErrorKind::kIo, "no/such/file");
    if (!std::filesystem::exists("/dev/full")) {
        GTEST_SKIP() << "/dev/full is not on this system";
    }
    RejectLog full("/dev/full");
    full.add(std::vector<RejectedRow>{{.row = 1, .reason = "because"}});
    ARFC_EXPECT_ERROR(full.flush(), ErrorKind::kIo, "/dev/full");
}

TEST_F(IngestionTest, OnlyTheFirstRejectsAreKeptInMemory) {
    for (std::uint64_t row = 0; row < 100; ++row) {
        rejects_.add(std::vector<RejectedRow>{{.row = row, .reason = "because"}});
    }
    EXPECT_EQ(rejects_.count(), 100U);
    ASSERT_EQ(rejects_.first().size(), RejectLog::kShown);
    EXPECT_EQ(rejects_.first().back().row, RejectLog::kShown - 1);
}

TEST_F(IngestionTest, MemoryLimitEndsTheLoadBeforeItIsPassed) {
    const auto reader = rows_of(counting(10), 1);
    Ingestion small(*reader, rejects_, {.max_memory = 1U << 20U}, shelf_.store());
    ARFC_EXPECT_ERROR((void)small.step(), ErrorKind::kResourceExhausted, "at most 1.0 MiB");
    EXPECT_EQ(small.rows_in(), 0U);
    Ingestion large(*reader, rejects_, {.max_memory = std::uint64_t{1} << 40U}, shelf_.store());
    run(large);
    EXPECT_EQ(large.rows_stored(), 10U);
}

TEST_F(IngestionTest, MemoryLimitMakesBatchesSmaller) {
    const std::uint64_t limit = resident_bytes() + (std::uint64_t{64} << 20U);
    const std::size_t dim = 65536; // A row takes 256 KiB.
    std::vector<float> values(40 * dim, 1.0F);
    const auto reader = rows_of(values, dim);
    values = {};
    std::size_t largest = 0;
    Ingestion ingestion(*reader, rejects_, {.max_memory = limit}, [&](auto ids, auto, auto) {
        largest = std::max(largest, ids.size());
    });
    EXPECT_TRUE(ingestion.step());
    EXPECT_LE(largest * dim * sizeof(float), limit / 8);
}

TEST_F(IngestionTest, BatchSizesAreChecked) {
    const auto reader = rows_of(counting(1), 1);
    ARFC_EXPECT_ERROR(
        Ingestion(*reader, rejects_, {.batch_rows = 0}, shelf_.store()),
        ErrorKind::kInvalidArgument, "out of range: 0");
}

TEST(ResidentMemoryTest, GrowsWithWhatIsTouched) {
    const std::uint64_t before = resident_bytes();
    constexpr std::size_t kBytes = std::size_t{32} << 20U;
    std::vector<char> touched(kBytes, 'x');
    EXPECT_GE(resident_bytes(), before + kBytes / 2) << touched[kBytes / 3];
}

} // namespace
} // namespace arfc::tools
