#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "arfc/base/half.h"
#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/narrow.h"
#include "arfc/base/sha256.h"
#include "expect_error.h"
#include "open_descriptors.h"
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

TEST(ErrorTest, NamesAreThoseOfLogsAndWires) {
    const std::string_view names[] = {
        "invalid_argument", "not_found",          "already_exists",    "failed_precondition",
        "unsupported",      "resource_exhausted", "corruption",        "io",
        "internal",         "unauthenticated",    "permission_denied", "deadline_exceeded",
        "cancelled"};
    for (std::size_t kind = 0; kind < std::size(names); ++kind) {
        EXPECT_EQ(to_string(static_cast<ErrorKind>(kind)), names[kind]);
    }
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
    EXPECT_EQ(to_string(Metric::kInnerProduct), "ip");
    EXPECT_EQ(to_string(Metric::kL2), "l2");
    EXPECT_EQ(to_string(Metric::kCosine), "cosine");
    ARFC_EXPECT_ERROR((void)metric_from_string(""), ErrorKind::kInvalidArgument, "\"\"");
    ARFC_EXPECT_ERROR(
        (void)metric_from_string("Cosine"), ErrorKind::kInvalidArgument, "\"Cosine\"");
}

TEST(NarrowTest, RefusesWhatDoesNotFit) {
    EXPECT_EQ(narrow<std::uint8_t>(255), 255);
    EXPECT_EQ(narrow<std::int8_t>(-128L), -128);
    ARFC_EXPECT_ERROR((void)narrow<std::uint8_t>(256), ErrorKind::kInvalidArgument, "256");
    ARFC_EXPECT_ERROR((void)narrow<std::size_t>(-1), ErrorKind::kInvalidArgument, "-1");
}

TEST(MatrixViewTest, SlicesRows) {
    int values[6] = {0, 1, 2, 3, 4, 5};
    const MatrixView<int> view(values, 3, 2);
    EXPECT_EQ(view.row(2)[1], 5);
    EXPECT_EQ(view.slice(1, 2).row(0)[0], 2);
    EXPECT_EQ(view.slice(1, 2).rows(), 2U);
    EXPECT_EQ(view.slice(1, 2).cols(), 2U);
    const MatrixView<const int> read_only = view;
    EXPECT_EQ(read_only.size(), 6U);
}

TEST(MatrixViewTest, ServesWhereConstElementsAreAskedFor) {
    std::vector<float> values(6);
    const MatrixView<float> written(values.data(), 2, 3);
    const MatrixView<const float> read = written;
    EXPECT_EQ(read.data(), values.data());
    EXPECT_EQ(read.rows(), 2U);
    EXPECT_EQ(read.cols(), 3U);
    EXPECT_EQ(read.size(), values.size());
    EXPECT_FALSE(read.empty());
    written.row(1)[2] = 7.0F;
    EXPECT_EQ(read.row(1)[2], 7.0F);
    EXPECT_TRUE(read.slice(1, 0).empty());
    EXPECT_TRUE(MatrixView<const float>().empty());
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

TEST(FilesTest, ReplacesAFileOfTheWorkingDirectory) {
    const test::TemporaryDirectory directory;
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::current_path(directory.path());
    write_file_atomically("file", "bytes");
    std::filesystem::current_path(before);
    EXPECT_EQ(read_file(directory / "file"), "bytes");
}

TEST(FilesTest, LeavesNoDescriptorOpen) {
    const test::TemporaryDirectory directory;
    const auto before = test::open_descriptors();
    write_file_atomically(directory / "file", "bytes");
    (void)read_file(directory / "file");
    EXPECT_THROW((void)read_file(directory.path()), Error);
    EXPECT_EQ(test::open_descriptors(), before);
}

TEST(FilesTest, AFileShorterThanItSaysEndsWhereItEnds) {
    // The kernel gives its own files a page's size, whatever they hold.
    const std::filesystem::path path = "/sys/devices/system/cpu/online";
    std::error_code none;
    if (std::filesystem::file_size(path, none) < 100 || none) {
        GTEST_SKIP() << "Not on this system: " << path;
    }
    std::string line;
    std::getline(std::ifstream(path), line);
    EXPECT_EQ(read_file(path), line + "\n");
}

TEST(FilesTest, ItsOwnerWritesAFileAndOthersRead) {
    const test::TemporaryDirectory directory;
    const ::mode_t before = ::umask(0);
    write_file_atomically(directory / "file", "bytes");
    ::umask(before);
    EXPECT_EQ(
        std::filesystem::status(directory / "file").permissions(),
        static_cast<std::filesystem::perms>(0644));
}

TEST(FilesTest, SaysWhatIsMissing) {
    const test::TemporaryDirectory directory;
    ARFC_EXPECT_ERROR((void)read_file(directory / "absent"), ErrorKind::kNotFound, "absent");
    ARFC_EXPECT_ERROR((void)read_file(directory.path()), ErrorKind::kIo, "Not a regular file");
    ARFC_EXPECT_ERROR(
        write_file_atomically(directory / "no/such/place", "x"), ErrorKind::kIo, "no/such/place");
}

TEST(FilesTest, LeavesNothingBesideWhatCannotBeReplaced) {
    const test::TemporaryDirectory directory;
    const auto path = directory / "folder";
    std::filesystem::create_directories(path / "inside");
    ARFC_EXPECT_ERROR(
        write_file_atomically(path, "x"), ErrorKind::kIo, "File cannot be replaced: ");
    EXPECT_TRUE(std::filesystem::is_directory(path / "inside"));
    EXPECT_FALSE(std::filesystem::exists(path.string() + ".tmp"));
}

TEST(FilesTest, MakesOnlyADirectoryDurable) {
    const test::TemporaryDirectory directory;
    sync_directory(directory.path());
    ARFC_EXPECT_ERROR(
        sync_directory(directory / "absent"), ErrorKind::kIo,
        "Directory cannot be made durable: " + (directory / "absent").string());
    write_file_atomically(directory / "file", "x");
    ARFC_EXPECT_ERROR(sync_directory(directory / "file"), ErrorKind::kIo, "Not a directory");
}

TEST(FilesTest, AFileOverTheLimitIsNoFullDisk) {
    const test::TemporaryDirectory directory;
    const auto path = directory / "file";
    write_file_atomically(path, "old");
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const rlimit small{4, before.rlim_max};
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    ARFC_EXPECT_ERROR(
        write_file_atomically(path, "too long"), ErrorKind::kIo, "File cannot be written: ");
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(read_file(path), "old");
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
    EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(path.string() + ".tmp")));
}

TEST(HalfTest, EveryNumberComesBack) {
    for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const float value = from_half(half);
        if (std::isnan(value)) {
            EXPECT_TRUE(std::isnan(from_half(to_half(value)))) << bits;
        } else {
            EXPECT_EQ(to_half(value), half) << value;
        }
    }
}

TEST(HalfTest, RoundsToTheNearestAndToEvenBetweenTwo) {
    for (std::uint32_t bits = 0; bits < 0x7BFFU; ++bits) { // Positive, up to 65,504.
        const auto low = static_cast<std::uint16_t>(bits);
        const auto high = static_cast<std::uint16_t>(bits + 1);
        const float middle = (from_half(low) + from_half(high)) / 2.0F; // Exact in float.
        EXPECT_EQ(to_half(std::nextafter(middle, 0.0F)), low) << middle;
        EXPECT_EQ(to_half(std::nextafter(middle, 1e9F)), high) << middle;
        EXPECT_EQ(to_half(middle), bits % 2 == 0 ? low : high) << middle;
        EXPECT_EQ(to_half(-middle), 0x8000U + to_half(middle)) << middle;
    }
    EXPECT_EQ(from_half(to_half(std::nextafter(65520.0F, 0.0F))), 65504.0F);
    EXPECT_TRUE(std::isinf(from_half(to_half(65520.0F))));
    EXPECT_TRUE(std::isinf(from_half(to_half(-1e30F))));
    EXPECT_EQ(to_half(1e-30F), 0U);
    EXPECT_EQ(to_half(-0.0F), 0x8000U);
}

} // namespace
} // namespace arfc
