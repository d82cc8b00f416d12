// Bytes that nobody meant: whatever a file holds, a reader ends with rows, rejected rows or an
// Error.

#include <gtest/gtest.h>

#include <random>

#include "arfc/base/error.h"
#include "ingest/row_check.h"
#include "row_files.h"
#include "temporary_directory.h"

namespace arfc::tools {
namespace {

using test::file_of;
using test::read_all;
using test::write_bytes;

class ReaderFuzzTest : public ::testing::TestWithParam<RowFormat> {
  protected:
    /// Reads a file of these bytes to its end. @returns rows delivered, 0 where it was refused.
    std::size_t read(const std::string& bytes) {
        write_bytes(path_, bytes);
        try {
            const auto reader = open_rows(path_, GetParam().name);
            RowBatch all = read_all(*reader, 1 + random_() % 5);
            EXPECT_EQ(all.embeddings.size(), all.size() * all.dim);
            reject_unusable(all, Metric::kCosine);
            return all.size();
        } catch (const Error& error) {
            EXPECT_TRUE(
                error.kind() == ErrorKind::kCorruption ||
                error.kind() == ErrorKind::kInvalidArgument ||
                error.kind() == ErrorKind::kUnsupported)
                << error.what();
            return 0;
        }
    }

    std::string random_bytes(std::size_t count) {
        std::string bytes(count, '\0');
        for (char& byte : bytes) {
            byte = static_cast<char>(random_());
        }
        return bytes;
    }

    std::mt19937 random_{20240217};
    arfc::test::TemporaryDirectory directory_;
    std::filesystem::path path_ = directory_ / "rows";
    const std::string good_ = file_of(GetParam().name, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 3);
};

TEST_P(ReaderFuzzTest, RandomBytesAreNoRows) {
    for (int round = 0; round < 1000; ++round) {
        EXPECT_EQ(read(random_bytes(random_() % 200)), 0U);
    }
}

TEST_P(ReaderFuzzTest, RandomBytesBehindAGoodStart) {
    for (int round = 0; round < 1000; ++round) {
        const std::size_t kept = random_() % good_.size();
        read(good_.substr(0, kept) + random_bytes(random_() % 100));
    }
}

TEST_P(ReaderFuzzTest, EveryByteChangedToManyOthers) {
    std::size_t delivered = 0;
    for (std::size_t i = 0; i < good_.size(); ++i) {
        for (const int value :
             {0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x28, 0x39, good_[i] ^ 1, good_[i] ^ 0x20}) {
            std::string bytes = good_;
            bytes[i] = static_cast<char>(value);
            delivered += read(bytes);
        }
    }
    EXPECT_GT(delivered, 0U) << "changed payload bytes still make rows";
}

TEST_P(ReaderFuzzTest, BytesMovedAround) {
    for (int round = 0; round < 2000; ++round) {
        std::string bytes = good_;
        for (std::size_t step = 0; step < 1 + random_() % 4; ++step) {
            const std::size_t at = random_() % bytes.size();
            const std::size_t count = random_() % 12;
            if (random_() % 2 == 0) {
                bytes.erase(at, count);
            } else {
                bytes.insert(at, bytes.substr(random_() % bytes.size(), count));
            }
            bytes += bytes.empty() ? "x" : "";
        }
        read(bytes);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, ReaderFuzzTest, ::testing::ValuesIn(row_formats()),
    [](const auto& format) { return std::string(format.param.name); });

} // namespace
} // namespace arfc::tools
