// What each format says in its own way.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <limits>
#include <thread>

#include "expect_error.h"
#include "readers/line_reader.h"
#include "readers/npy_array.h"
#include "row_files.h"
#include "temporary_directory.h"

namespace arfc::tools {
namespace {

using test::as_bytes;
using test::npy_bytes;
using test::npy_header;
using test::npy_of;
using test::read_all;
using test::write_bytes;

class ReaderFilesTest : public ::testing::Test {
  protected:
    std::filesystem::path write(const std::string& name, const std::string& bytes) const {
        write_bytes(directory_ / name, bytes);
        return directory_ / name;
    }
    RowBatch read(
        const std::string& name, const std::string& bytes,
        std::optional<std::size_t> dim = {}) const {
        const auto reader = open_rows(write(name, bytes), "auto", dim);
        return read_all(*reader);
    }
    void expect_npy_fails(const std::string& bytes, ErrorKind kind, const std::string& text) const {
        ARFC_EXPECT_ERROR((void)open_rows(write("a.npy", bytes)), kind, text);
    }

    arfc::test::TemporaryDirectory directory_;
};

using NpyTest = ReaderFilesTest;

TEST_F(NpyTest, ReadsEveryVersionOfTheHeader) {
    const std::string data = as_bytes<float>({1, 2, 3, 4});
    for (const char version : {'\1', '\2', '\3'}) {
        const RowBatch all = read("a.npy", npy_bytes(npy_header("<f4", "(2, 2)"), data, version));
        EXPECT_EQ(all.embeddings, (std::vector<float>{1, 2, 3, 4})) << int{version};
    }
    std::string newer = npy_of({1, 2}, 2);
    newer[6] = 4;
    expect_npy_fails(newer, ErrorKind::kUnsupported, "1.0, 2.0, 3.0: 4.0");
}

TEST_F(NpyTest, ConvertsEveryHalf) {
    // All 65,536 bit patterns, against the definition of binary16.
    std::vector<std::uint16_t> halves(65536);
    for (std::size_t i = 0; i < halves.size(); ++i) {
        halves[i] = static_cast<std::uint16_t>(i);
    }
    const RowBatch all =
        read("a.npy", npy_bytes(npy_header("<f2", "(256, 256)"), as_bytes(halves)));
    ASSERT_EQ(all.embeddings.size(), halves.size());
    for (std::size_t i = 0; i < halves.size(); ++i) {
        const int exponent = static_cast<int>(i >> 10U & 31U);
        const auto fraction = static_cast<double>(i & 1023U);
        const double sign = i >> 15U != 0 ? -1 : 1;
        const double expected = exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                              : exponent == 0  ? std::ldexp(fraction, -24)
                                               : std::ldexp(1024 + fraction, exponent - 25);
        const float found = all.embeddings[i];
        if (std::isnan(expected)) {
            ASSERT_TRUE(std::isnan(found)) << i;
        } else {
            ASSERT_EQ(found, static_cast<float>(sign * expected)) << i;
            ASSERT_EQ(std::signbit(found), sign < 0) << i;
        }
    }
}

TEST_F(NpyTest, ConvertsDoubles) {
    const std::vector<double> values = {
        0.1, -1e300, 1e-320, std::numeric_limits<double>::quiet_NaN()};
    const RowBatch all = read("a.npy", npy_bytes(npy_header("<f8", "(1, 4)"), as_bytes(values)));
    ASSERT_EQ(all.embeddings.size(), 4U);
    EXPECT_EQ(all.embeddings[0], 0.1F);
    EXPECT_EQ(all.embeddings[1], -INFINITY);
    EXPECT_EQ(all.embeddings[2], 0.0F);
    EXPECT_TRUE(std::isnan(all.embeddings[3]));
}

TEST_F(NpyTest, NoRowsAreRows) {
    const RowBatch all = read("a.npy", npy_bytes(npy_header("<f4", "(0, 5)"), ""));
    EXPECT_EQ(all.dim, 5U);
    EXPECT_EQ(all.size(), 0U);
}

TEST_F(NpyTest, RefusesOtherArrays) {
    const std::string four = as_bytes<float>({1, 2, 3, 4});
    const auto array = [&](const char* descr, const char* shape, const char* order = "False") {
        return npy_bytes(npy_header(descr, shape, order), four);
    };
    expect_npy_fails(array("<f4", "(2, 2)", "True"), ErrorKind::kUnsupported, "Fortran order");
    EXPECT_EQ(read("a.npy", array("<f4", "(1, 4)", "True")).size(), 1U) << "both orders are one";
    expect_npy_fails(array(">f4", "(2, 2)"), ErrorKind::kUnsupported, "big-endian");
    expect_npy_fails(array("<i4", "(2, 2)"), ErrorKind::kUnsupported, "\"<i4\"");
    expect_npy_fails(array("|O", "(2, 2)"), ErrorKind::kUnsupported, "\"|O\"");
    expect_npy_fails(
        array("<f4", "(4,)"), ErrorKind::kInvalidArgument, "dimensions: 1, expected 2");
    expect_npy_fails(array("<f4", "(2, 2, 1)"), ErrorKind::kInvalidArgument, "dimensions: 3");
    expect_npy_fails(
        npy_bytes(npy_header("<f4", "(4, 0)"), ""), ErrorKind::kInvalidArgument, "out of range: 0");
    expect_npy_fails(
        npy_bytes(npy_header("<f4", "(0, 70000)"), ""), ErrorKind::kInvalidArgument,
        "out of range: 70000, expected 1 to 65536");
    expect_npy_fails(
        npy_bytes("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2, 2)}", four),
        ErrorKind::kUnsupported, "structured");
}

TEST_F(NpyTest, SizesMustAgree) {
    const std::string four = as_bytes<float>({1, 2, 3, 4});
    const auto claims = [&](const char* shape) {
        return npy_bytes(npy_header("<f4", shape), four);
    };
    expect_npy_fails(claims("(2, 3)"), ErrorKind::kCorruption, "has 144 bytes, expected 152");
    expect_npy_fails(claims("(1, 2)"), ErrorKind::kCorruption, "has 144 bytes, expected 136");
    expect_npy_fails(claims("(4611686018427387904, 4)"), ErrorKind::kCorruption, "more than 2^64");
    expect_npy_fails(
        claims("(18446744073709551615, 18446744073709551615)"), ErrorKind::kCorruption,
        "more than 2^64");
    expect_npy_fails(
        claims("(18446744073709551616, 1)"), ErrorKind::kCorruption, "18446744073709551616");
    expect_npy_fails(claims("(-1, 2)"), ErrorKind::kCorruption, "-1");
}

TEST_F(NpyTest, HeadersThatNumPyDoesNotWriteAreCorrupt) {
    const auto parse = [](std::string_view text) { return parse_npy_header(text); };
    const NpyHeader header = parse("{\"shape\":(3L,),'fortran_order':True,'descr':\"<u8\"}  \n");
    EXPECT_EQ(header.descr, "<u8");
    EXPECT_TRUE(header.fortran_order);
    EXPECT_EQ(header.shape, (std::vector<std::uint64_t>{3}));
    for (const char* const text :
         {"", "{", "{}", "[]", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False}",
          "{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 1)}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': [1, 1]}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), 'more': 1}",
          "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)} more",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
          "{'descr': '<f4, 'fortran_order': False, 'shape': (1, 1)}",
          "{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (1, 1)}"}) {
        ARFC_EXPECT_ERROR((void)parse(text), ErrorKind::kCorruption, "Header of the .npy file");
    }
}

TEST_F(NpyTest, WrongMagicIsCorrupt) {
    std::string bytes = npy_of({1, 2}, 2);
    bytes[0] = 'x';
    expect_npy_fails(bytes, ErrorKind::kCorruption, "does not start as .npy files do");
    expect_npy_fails(
        "PK\x03\x04 is what .npz files start with", ErrorKind::kCorruption, "does not start");
    bytes = npy_of({1, 2}, 2);
    bytes[6] = 2; // Then the length has four bytes, of which two are text.
    expect_npy_fails(bytes, ErrorKind::kCorruption, "too long");
}

TEST_F(NpyTest, APipeIsRefused) {
    const auto path = directory_ / "pipe.npy";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    std::thread writer([&] { write_bytes(path, npy_of({1, 2}, 2)); });
    ARFC_EXPECT_ERROR((void)open_rows(path), ErrorKind::kUnsupported, "pipe.npy");
    writer.join();
}

TEST_F(NpyTest, AFileThatShrinksMeanwhileIsCorrupt) {
    const auto path = write("a.npy", npy_of({1, 2, 3, 4}, 2));
    const auto reader = open_rows(path);
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
    RowBatch batch;
    ARFC_EXPECT_ERROR(
        (void)reader->next(9, batch), ErrorKind::kCorruption, "File ends inside its array");
}

using FvecsTest = ReaderFilesTest;

TEST_F(FvecsTest, WidthsMustBeTheFirstOnes) {
    std::string bytes = test::fvecs_of({1, 2, 3, 4, 5, 6}, 2);
    bytes[2 * 12] = 3;
    const auto reader = open_rows(write("a.fvecs", bytes));
    RowBatch batch;
    ASSERT_TRUE(reader->next(2, batch)) << "rows before the damage are good";
    EXPECT_EQ(batch.embeddings, (std::vector<float>{1, 2, 3, 4}));
    ARFC_EXPECT_ERROR((void)reader->next(2, batch), ErrorKind::kCorruption, "3, expected 2, row 2");
}

TEST_F(FvecsTest, ImpossibleWidthsAreCorrupt) {
    for (const std::int32_t width : {0, -1, 65537, 2'000'000'000}) {
        const auto path = write("a.fvecs", as_bytes<std::int32_t>({width, 0}));
        ARFC_EXPECT_ERROR((void)open_rows(path), ErrorKind::kCorruption, std::to_string(width));
    }
    ARFC_EXPECT_ERROR(
        (void)open_rows(write("a.fvecs", as_bytes<std::int32_t>({65536, 0}))),
        ErrorKind::kCorruption, "8 bytes, 262148 a row");
}

using JsonlTest = ReaderFilesTest;

TEST_F(JsonlTest, ReadsIdsVectorsAndPayloads) {
    const RowBatch all = read(
        "a.jsonl",
        "\xEF\xBB\xBF{\"id\": 18446744073709551615, \"vector\": [1, -2.5], \"payload\": {\"a\": "
        "[1, {\"b\": \"ü\"}]}}\r\n"
        "\n   \n"
        "{\"vector\": [1e-3, 4]}\n"
        "{\"payload\": null, \"vector\": [0, 18446744073709551615], \"id\": 0}");
    EXPECT_EQ(all.embeddings, (std::vector<float>{1, -2.5F, 1e-3F, 4, 0, 18446744073709551615.0F}));
    EXPECT_EQ(all.ids, (std::vector<std::optional<PointId>>{18446744073709551615U, {}, 0}));
    EXPECT_EQ(all.payloads, (std::vector<std::string>{R"({"a":[1,{"b":"ü"}]})", "", ""}));
    EXPECT_EQ(all.rows, (std::vector<std::uint64_t>{0, 1, 2})) << "blank lines are no rows";
    EXPECT_EQ(all.lines, (std::vector<std::uint64_t>{1, 4, 5}));
}

TEST_F(JsonlTest, EveryBadLineIsRejectedWithItsReason) {
    const std::vector<std::pair<std::string, std::string>> bad = {
        {"{\"vector\": [1, 2]", "Line is not valid JSON"},
        {"{\"vector\": [1, NaN]}", "Line is not valid JSON"},
        {"{\"vector\": [1, 2]} {}", "Line is not valid JSON"},
        {"\xFF\xFE", "Line is not valid JSON"},
        {std::string("\0\0", 2), "Line is not valid JSON"},
        {std::string(5000, '['), "Line is not valid JSON"},
        {"[1, 2]", "Line is not a JSON object: \"[1, 2]\""},
        {"{\"id\": 1}", "Row has no \"vector\", or an empty one"},
        {"{\"vector\": []}", "Row has no \"vector\", or an empty one"},
        {"{\"vector\": [1, 2, 3]}", "differs from the one wanted: 3, expected 2"},
        {"{\"vector\": \"1, 2\"}", "Field \"vector\" is not an array"},
        {"{\"vector\": [1, \"2\"]}", "not a number, at position: 1"},
        {"{\"vector\": [[1], 2]}", "not a number, at position: 0"},
        {"{\"vector\": [1, 2], \"id\": -1}", "Id is not an integer of 0 to 2^64 - 1: \"-1\""},
        {"{\"vector\": [1, 2], \"id\": 1.5}", "Id is not an integer of 0 to 2^64 - 1: \"1.5\""},
        {"{\"vector\": [1, 2], \"id\": \"7\"}", "Id is not an integer"},
        {"{\"vector\": [1, 2], \"payload\": 7}", "Payload is not a JSON object: \"7\""},
        {"{\"vector\": [1, 2], \"paylaod\": {}}",
         "Field is not one of id, vector, payload: \"paylaod\""},
        {"{\"vector\": [1, 2], \"vector\": [1, 2]}", "Field occurs twice: \"vector\""},
        {"{\"vector\": [1, 2], \"payload\": {\"text\": \"" + std::string(kMaxPayloadBytes, 'x') +
             "\"}}",
         "Payload is longer than bytes: 1048576"},
        {"{\"vector\": [1, 2], \"text\": \"" + std::string(kMaxLineBytes, 'x') + "\"}",
         "Line is longer than bytes: 4194304"},
    };
    std::string bytes = "{\"vector\": [1, 2]}\n";
    for (const auto& [line, reason] : bad) {
        bytes += line + "\n{\"vector\": [3, 4]}\n";
    }
    const RowBatch all = read("a.jsonl", bytes);
    EXPECT_EQ(all.size(), bad.size() + 1) << "good rows between bad ones are kept";
    ASSERT_EQ(all.rejected.size(), bad.size());
    for (std::size_t i = 0; i < bad.size(); ++i) {
        EXPECT_EQ(all.rejected[i].row, 2 * i + 1);
        EXPECT_EQ(all.rejected[i].line, 2 * i + 2);
        EXPECT_THAT(all.rejected[i].reason, ::testing::HasSubstr(bad[i].second));
    }
}

TEST_F(JsonlTest, RejectedRowsBeforeTheFirstGoodOneAreDeliveredToo) {
    const std::string bytes = "no\nno\nno\n{\"vector\": [1, 2]}\nno\n";
    for (std::size_t max_rows = 1; max_rows < 7; ++max_rows) {
        const auto reader = open_rows(write("a.jsonl", bytes));
        EXPECT_EQ(reader->dim(), 2U);
        RowBatch batch;
        std::size_t good = 0;
        std::vector<std::uint64_t> rejected;
        while (reader->next(max_rows, batch)) {
            EXPECT_LE(batch.size() + batch.rejected.size(), max_rows);
            good += batch.size();
            for (const RejectedRow& row : batch.rejected) {
                rejected.push_back(row.row);
            }
        }
        EXPECT_EQ(good, 1U) << max_rows;
        EXPECT_EQ(rejected, (std::vector<std::uint64_t>{0, 1, 2, 4})) << max_rows;
    }
}

TEST_F(JsonlTest, AFileWithoutAGoodRowHasNoWidth) {
    const auto path = write("a.jsonl", "{\"id\": 1}\nno\n");
    ARFC_EXPECT_ERROR(
        (void)open_rows(path), ErrorKind::kInvalidArgument,
        "rows refused: 2, the first: Row has no \"vector\"");
    EXPECT_EQ(read("a.jsonl", "{\"id\": 1}\nno\n", 2).rejected.size(), 2U);
    std::string many;
    for (int i = 0; i < 5000; ++i) {
        many += "no\n";
    }
    ARFC_EXPECT_ERROR(
        (void)open_rows(write("a.jsonl", many)), ErrorKind::kInvalidArgument, "rows refused: 1000");
}

TEST_F(JsonlTest, APipeWorks) {
    const auto path = directory_ / "pipe.jsonl";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    std::thread writer([&] { write_bytes(path, "{\"vector\": [1]}\n{\"vector\": [2]}\n"); });
    const auto reader = open_rows(path);
    EXPECT_EQ(read_all(*reader).embeddings, (std::vector<float>{1, 2}));
    EXPECT_EQ(reader->fraction_read(), std::nullopt);
    writer.join();
}

TEST_F(ReaderFilesTest, LinesOfEveryLengthAreReadWhole) {
    std::string bytes;
    std::vector<std::string> lines;
    for (const std::size_t length :
         {0UL, 1UL, 100UL, (1UL << 20U) - 1, 1UL << 20U, (1UL << 20U) + 1, 3UL << 20U}) {
        lines.emplace_back(length, static_cast<char>('a' + lines.size()));
        bytes += lines.back() + "\n";
    }
    LineReader reader(write("lines", bytes));
    for (const std::string& line : lines) {
        const auto found = reader.next();
        ASSERT_TRUE(found);
        EXPECT_EQ(found->text, line);
    }
    EXPECT_FALSE(reader.next());
    EXPECT_EQ(reader.bytes(), bytes.size());
}

TEST_F(ReaderFilesTest, ALineThatIsTooLongIsSkippedAlone) {
    const std::size_t limit = 2UL << 20U;
    const std::string at_limit(limit, 'a');
    const std::string longer(limit + 1, 'b');
    const std::string much_longer(3 * limit, 'c');
    LineReader reader(
        write("lines", at_limit + "\n" + longer + "\n" + much_longer + "\nd\n" + longer), limit);
    EXPECT_EQ(reader.next()->text.size(), limit);
    EXPECT_TRUE(reader.next()->too_long);
    EXPECT_TRUE(reader.next()->too_long);
    EXPECT_EQ(reader.next()->text, "d");
    EXPECT_TRUE(reader.next()->too_long);
    EXPECT_FALSE(reader.next());
    EXPECT_EQ(reader.lines(), 5U);
}

class ColumnsTest : public ReaderFilesTest {
  protected:
    std::unique_ptr<RowReader> rows(std::size_t count = 4) const {
        return open_rows(write("rows.npy", npy_of(std::vector<float>(count * 2, 1.0F), 2)));
    }
    std::filesystem::path ids(const char* descr, const char* shape, const std::string& data) const {
        return write("ids.npy", npy_bytes(npy_header(descr, shape), data));
    }
};

TEST_F(ColumnsTest, IdsOfEveryIntegerTypeAreTaken) {
    const auto expect_ids = [&](const char* descr, const std::string& data,
                                const std::vector<std::optional<PointId>>& expected) {
        const auto reader = attach_ids(rows(), ids(descr, "(4,)", data));
        EXPECT_EQ(read_all(*reader).ids, expected) << descr;
    };
    expect_ids("<u8", as_bytes<std::uint64_t>({0, 1, ~0ULL, 7}), {0, 1, ~0ULL, 7});
    expect_ids("<i8", as_bytes<std::int64_t>({0, 1, 5, 7}), {0, 1, 5, 7});
    expect_ids("<u4", as_bytes<std::uint32_t>({0, 1, ~0U, 7}), {0, 1, ~0U, 7});
    expect_ids("|u1", as_bytes<std::uint8_t>({0, 1, 255, 7}), {0, 1, 255, 7});
    expect_ids("<i2", as_bytes<std::int16_t>({0, 1, 32767, 7}), {0, 1, 32767, 7});
}

TEST_F(ColumnsTest, NegativeIdsAreRejectedAlone) {
    const auto reader =
        attach_ids(rows(), ids("<i4", "(4,)", as_bytes<std::int32_t>({3, -1, 5, -2})));
    const RowBatch all = read_all(*reader);
    EXPECT_EQ(all.ids, (std::vector<std::optional<PointId>>{3, 5}));
    EXPECT_EQ(all.rows, (std::vector<std::uint64_t>{0, 2}));
    ASSERT_EQ(all.rejected.size(), 2U);
    EXPECT_EQ(all.rejected[1].row, 3U);
    EXPECT_EQ(all.rejected[1].reason, "Id is negative");
}

TEST_F(ColumnsTest, IdsMustMatchTheRows) {
    const std::string three = as_bytes<std::int64_t>({1, 2, 3});
    ARFC_EXPECT_ERROR(
        (void)attach_ids(rows(), ids("<i8", "(3,)", three)), ErrorKind::kInvalidArgument,
        "of length 3, expected 1 of length 4");
    ARFC_EXPECT_ERROR(
        (void)attach_ids(rows(), ids("<i8", "(3, 1)", three)), ErrorKind::kInvalidArgument,
        "has 2 dimensions");
    ARFC_EXPECT_ERROR(
        (void)attach_ids(rows(), ids("<f8", "(3,)", three)), ErrorKind::kUnsupported, "\"<f8\"");
    ARFC_EXPECT_ERROR(
        (void)attach_ids(
            open_rows(write("a.jsonl", "{\"vector\": [1]}")), ids("<i8", "(3,)", three)),
        ErrorKind::kInvalidArgument, "file of ids");
}

TEST_F(ColumnsTest, PayloadsGoToTheirRows) {
    const auto path = write("p.jsonl", "{\"n\": 0}\n\nnull\n{\"n\": [3, {}]}\n");
    const auto reader = attach_payloads(rows(), path);
    EXPECT_EQ(
        read_all(*reader).payloads,
        (std::vector<std::string>{R"({"n":0})", "", "", R"({"n":[3,{}]})"}));
}

TEST_F(ColumnsTest, PayloadsStayWithTheirRowsWhenIdsAreRejected) {
    const auto path = write("p.jsonl", "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}");
    const auto reader = attach_payloads(
        attach_ids(rows(), ids("<i4", "(4,)", as_bytes<std::int32_t>({-1, 11, -1, 13}))), path);
    const RowBatch all = read_all(*reader, 2);
    EXPECT_EQ(all.payloads, (std::vector<std::string>{R"({"n":1})", R"({"n":3})"}));
    EXPECT_EQ(all.ids, (std::vector<std::optional<PointId>>{11, 13}));
}

TEST_F(ColumnsTest, BadPayloadsRejectTheirRowsAlone) {
    const auto path = write("p.jsonl", "{\"n\": 0}\n{\"n\": \n7\n{}\n");
    const auto reader = attach_payloads(rows(), path);
    const RowBatch all = read_all(*reader);
    EXPECT_EQ(all.payloads, (std::vector<std::string>{R"({"n":0})", "{}"}));
    ASSERT_EQ(all.rejected.size(), 2U);
    EXPECT_THAT(all.rejected[0].reason, ::testing::HasSubstr("Payload is not valid JSON"));
    EXPECT_EQ(all.rejected[1].reason, "Payload is not a JSON object: \"7\"");
}

TEST_F(ColumnsTest, PayloadsMustMatchTheRows) {
    for (const char* const text : {"{}\n{}\n{}\n", "{}\n{}\n{}\n{}\n{}"}) {
        ARFC_EXPECT_ERROR(
            (void)attach_payloads(rows(), write("p.jsonl", text)), ErrorKind::kInvalidArgument,
            "lines, expected 4");
    }
}

} // namespace
} // namespace arfc::tools
