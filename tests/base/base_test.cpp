#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/narrow.h"
#include "arfc/base/sha256.h"
#include "expect_error.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

TEST(ErrorTest, EveryKindHasANameOfItsOwn) {
    std::set<std::string_view> names;
    for (int kind = 0; kind <= static_cast<int>(ErrorKind::kCancelled); ++kind) {
        names.insert(to_string(static_cast<ErrorKind>(kind)));
    }
    EXPECT_EQ(names.size(), 13U);
}

TEST(ErrorTest, FailStreamsItsParts) {
    ARFC_EXPECT_ERROR(
        fail(ErrorKind::kIo, "Width differs: ", 768, ", expected ", 384), ErrorKind::kIo,
        "Width differs: 768, expected 384");
}

TEST(MetricTest, RoundTripsAndRefusesOtherWords) {
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2, Metric::kCosine}) {
        EXPECT_EQ(metric_from_string(to_string(metric)), metric);
    }
    ARFC_EXPECT_ERROR(
        (void)metric_from_string("Cosine"), ErrorKind::kInvalidArgument, "\"Cosine\"");
}

TEST(NarrowTest, RefusesWhatDoesNotFit) {
    EXPECT_EQ(narrow<std::uint8_t>(255), 255);
    ARFC_EXPECT_ERROR((void)narrow<std::uint8_t>(256), ErrorKind::kInvalidArgument, "256");
    ARFC_EXPECT_ERROR((void)narrow<std::size_t>(-1), ErrorKind::kInvalidArgument, "-1");
}

TEST(MatrixViewTest, SlicesRows) {
    int values[6] = {0, 1, 2, 3, 4, 5};
    const MatrixView<int> view(values, 3, 2);
    EXPECT_EQ(view.row(2)[1], 5);
    EXPECT_EQ(view.slice(1, 2).row(0)[0], 2);
    const MatrixView<const int> read_only = view;
    EXPECT_EQ(read_only.size(), 6U);
}

TEST(Sha256Test, MatchesThePublishedVectors) {
    EXPECT_EQ(
        sha256_hex(std::string_view("")),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(
        sha256_hex(std::string_view("abc")),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(FilesTest, ReplacesAFileWhole) {
    const test::TemporaryDirectory directory;
    const auto path = directory / "file";
    write_file_atomically(path, "first");
    write_file_atomically(path, std::string("se\0cond", 7));
    EXPECT_EQ(read_file(path), std::string("se\0cond", 7));
    EXPECT_FALSE(std::filesystem::exists(path.string() + ".tmp"));
}

TEST(FilesTest, SaysWhatIsMissing) {
    const test::TemporaryDirectory directory;
    ARFC_EXPECT_ERROR((void)read_file(directory / "absent"), ErrorKind::kNotFound, "absent");
    ARFC_EXPECT_ERROR((void)read_file(directory.path()), ErrorKind::kIo, "Not a regular file");
    ARFC_EXPECT_ERROR(
        write_file_atomically(directory / "no/such/place", "x"), ErrorKind::kIo, "no/such/place");
}

TEST(FilesTest, AFullDiskLeavesTheOldFile) {
    if (!std::filesystem::exists("/dev/full")) {
        GTEST_SKIP() << "/dev/full is not on this system";
    }
    const test::TemporaryDirectory directory;
    const auto path = directory / "file";
    write_file_atomically(path, "old");
    std::filesystem::create_symlink("/dev/full", path.string() + ".tmp");
    ARFC_EXPECT_ERROR(
        write_file_atomically(path, "new"), ErrorKind::kResourceExhausted, "cannot be written");
    EXPECT_EQ(read_file(path), "old");
}

} // namespace
} // namespace arfc
