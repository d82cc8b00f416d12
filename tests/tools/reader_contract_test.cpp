// What every row of the table of formats owes, whatever its bytes.

#include <gtest/gtest.h>

#include <fstream>

#include "expect_error.h"
#include "row_files.h"
#include "temporary_directory.h"

namespace arfc::tools {
namespace {

using test::file_of;
using test::read_all;
using test::write_bytes;

constexpr std::size_t kDim = 3;
const std::vector<float> kValues = {1, 2, 3, -4, 5.5, 6, 7, 8, 0, 0, 0,
                                    1, 9, 9, 9,  2,   2, 2, 1, 0, 1};
constexpr std::size_t kRows = 7;

class ReaderContractTest : public ::testing::TestWithParam<RowFormat> {
  protected:
    std::filesystem::path write(const std::string& bytes) const {
        auto path = directory_ / ("rows" + std::string(GetParam().extension));
        write_bytes(path, bytes);
        return path;
    }
    std::filesystem::path write_good() const {
        return write(file_of(GetParam().name, kValues, kDim));
    }

    arfc::test::TemporaryDirectory directory_;
};

TEST_P(ReaderContractTest, DeliversEveryRowInOrderAtEveryBatchSize) {
    const auto path = write_good();
    for (std::size_t max_rows = 1; max_rows <= kRows + 1; ++max_rows) {
        const auto reader = open_rows(path);
        EXPECT_EQ(reader->dim(), kDim);
        RowBatch batch;
        std::vector<float> values;
        std::vector<std::uint64_t> rows;
        while (reader->next(max_rows, batch)) {
            EXPECT_LE(batch.size(), max_rows);
            EXPECT_EQ(batch.embeddings.size(), batch.size() * kDim);
            EXPECT_EQ(batch.ids.size(), batch.size());
            EXPECT_EQ(batch.payloads.size(), batch.size());
            EXPECT_TRUE(batch.rejected.empty());
            values.insert(values.end(), batch.embeddings.begin(), batch.embeddings.end());
            rows.insert(rows.end(), batch.rows.begin(), batch.rows.end());
        }
        EXPECT_EQ(values, kValues);
        EXPECT_EQ(rows, (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6}));
        EXPECT_FALSE(reader->next(max_rows, batch)) << "the end is not the end";
    }
}

TEST_P(ReaderContractTest, KnowsHowFarItIs) {
    const auto path = write_good();
    const auto reader = open_rows(path);
    EXPECT_LE(reader->fraction_read().value(), 1.0);
    if (reader->rows()) {
        EXPECT_EQ(*reader->rows(), kRows);
    }
    read_all(*reader);
    EXPECT_EQ(reader->fraction_read(), 1.0);
}

TEST_P(ReaderContractTest, IsFoundByNameAndByExtension) {
    const auto path = write_good();
    EXPECT_EQ(open_rows(path, GetParam().name)->dim(), kDim);
    const auto other = directory_ / "rows.other";
    std::filesystem::copy_file(path, other);
    EXPECT_EQ(open_rows(other, GetParam().name)->dim(), kDim);
    ARFC_EXPECT_ERROR((void)open_rows(other), ErrorKind::kInvalidArgument, "rows.other");
    ARFC_EXPECT_ERROR(
        (void)open_rows(path, "parquet"), ErrorKind::kInvalidArgument,
        "auto, npy, fvecs, jsonl: \"parquet\"");
}

TEST_P(ReaderContractTest, AnotherWidthIsRefusedOrRejected) {
    const auto path = write_good();
    EXPECT_EQ(open_rows(path, "auto", kDim)->dim(), kDim);
    try {
        const auto reader = open_rows(path, "auto", 4);
        const RowBatch all = read_all(*reader);
        ASSERT_EQ(all.rejected.size(), kRows);
        EXPECT_EQ(all.size(), 0U);
        EXPECT_EQ(
            all.rejected[0].reason, "Embedding width differs from the one wanted: 3, expected 4");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
        EXPECT_THAT(
            error.what(), ::testing::HasSubstr("differs from the one wanted: 3, expected 4"));
    }
}

TEST_P(ReaderContractTest, ACutFileIsNeverTakenForAWholeOne) {
    const std::string whole = file_of(GetParam().name, kValues, kDim);
    for (std::size_t length = 0; length + 1 < whole.size(); ++length) {
        SCOPED_TRACE(length);
        const auto path = write(whole.substr(0, length));
        std::size_t rows = 0;
        try {
            const auto reader = open_rows(path);
            const RowBatch all = read_all(*reader);
            rows = all.size();
            ASSERT_TRUE(std::equal(all.embeddings.begin(), all.embeddings.end(), kValues.begin()));
            ASSERT_LE(all.rejected.size(), 1U);
        } catch (const Error& error) {
            ASSERT_TRUE(
                error.kind() == ErrorKind::kCorruption ||
                error.kind() == ErrorKind::kInvalidArgument)
                << error.what();
        }
        ASSERT_LT(rows, kRows);
    }
}

TEST_P(ReaderContractTest, MissingAndUnreadableFilesAreNamed) {
    const auto name = "absent" + std::string(GetParam().extension);
    ARFC_EXPECT_ERROR((void)open_rows(directory_ / name), ErrorKind::kNotFound, name);
    ARFC_EXPECT_ERROR(
        (void)open_rows(directory_.path(), GetParam().name), ErrorKind::kIo, "directory");
}

TEST_P(ReaderContractTest, AnEmptyFileIsAnError) {
    const auto path = write("");
    try {
        (void)open_rows(path);
        ADD_FAILURE() << "no exception";
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), ::testing::HasSubstr(path.string()));
    }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, ReaderContractTest, ::testing::ValuesIn(row_formats()),
    [](const auto& format) { return std::string(format.param.name); });

} // namespace
} // namespace arfc::tools
