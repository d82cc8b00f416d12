#include <gmock/gmock.h>
#include <sys/stat.h>

#include <string>
#include <string_view>

#include "arfc/base/files.h"
#include "expect_error.h"
#include "open_descriptors.h"
#include "rocks_info_log.h"
#include "temporary_directory.h"

namespace arfc::storage::test {
namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20U;
constexpr std::size_t kLongestLine = 2048; // Newline included.
constexpr std::size_t kTimeLength = 21;    // "2026-01-02T03:04:05Z "

class InfoLogTest : public ::testing::Test {
  protected:
    [[nodiscard]] std::string log() const { return read_file(directory_ / "LOG"); }
    [[nodiscard]] std::string old_log() const { return read_file(directory_ / "LOG.old"); }
    [[nodiscard]] bool has_old_log() const {
        return std::filesystem::exists(directory_ / "LOG.old");
    }
    void put_log(std::size_t bytes) const {
        write_file_atomically(directory_ / "LOG", std::string(bytes, 'x'));
    }

    arfc::test::TemporaryDirectory directory_;
};

void warn(InfoLog& log, const std::string& text) {
    rocksdb::Warn(&log, "%s", text.c_str());
}

TEST_F(InfoLogTest, KeepsWarningsWithTheirTimeAndNothingLess) {
    InfoLog log(directory_.path());
    rocksdb::Info(&log, "%s", "not worth a line");
    warn(log, "a disk is slow");
    rocksdb::Error(&log, "%d files are gone", 3);
    const std::string time =
        "20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z ";
    EXPECT_THAT(
        this->log(),
        ::testing::MatchesRegex(time + ".*a disk is slow\n" + time + ".*3 files are gone\n"));
}

TEST_F(InfoLogTest, CutsALineThatIsTooLong) {
    InfoLog log(directory_.path());
    const std::string fits(kLongestLine - kTimeLength - 2, 'a');
    for (const std::size_t more : {0, 1, 5000}) {
        warn(log, fits + std::string(more, 'b'));
    }
    const std::string text = this->log();
    ASSERT_GT(text.size(), 3 * kLongestLine - 6);
    EXPECT_LE(text.size(), 3 * kLongestLine);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
    EXPECT_TRUE(text.ends_with("a\n") || text.ends_with("b\n"));
    EXPECT_EQ(text.find('\0'), std::string::npos);
}

TEST_F(InfoLogTest, GoesOnInTheFileThatIsThere) {
    put_log(100);
    {
        InfoLog log(directory_.path());
        warn(log, "first");
    }
    InfoLog log(directory_.path());
    warn(log, "second");
    const std::string text = this->log();
    EXPECT_TRUE(text.starts_with(std::string(100, 'x')));
    EXPECT_NE(text.find("first\n"), std::string::npos);
    EXPECT_TRUE(text.ends_with("second\n"));
    EXPECT_FALSE(has_old_log());
}

TEST_F(InfoLogTest, AFullFileStepsAsideWhenItIsOpened) {
    put_log(kMebibyte - kLongestLine);
    { const InfoLog log(directory_.path()); }
    EXPECT_FALSE(has_old_log());
    put_log(kMebibyte - kLongestLine + 1);
    InfoLog log(directory_.path());
    EXPECT_TRUE(has_old_log());
    warn(log, "anew");
    EXPECT_EQ(old_log().size(), kMebibyte - kLongestLine + 1);
    EXPECT_LT(this->log().size(), 100U);
}

TEST_F(InfoLogTest, TwoFilesOfAMebibyteAreTheMost) {
    InfoLog log(directory_.path());
    const std::string text(1000, 'w');
    for (int i = 0; i < 2500; ++i) { // 2.5 MB.
        warn(log, text);
        ASSERT_LE(std::filesystem::file_size(directory_ / "LOG"), kMebibyte);
    }
    EXPECT_TRUE(has_old_log());
    EXPECT_GT(old_log().size(), kMebibyte - 2 * kLongestLine);
    EXPECT_LE(old_log().size(), kMebibyte);
    EXPECT_LT(this->log().size(), kMebibyte / 2); // What the first two took from 2.5 MB.
}

TEST_F(InfoLogTest, ALineMayFillItsFileToTheLastByte) {
    put_log(kMebibyte - kLongestLine);
    InfoLog log(directory_.path());
    std::size_t left = kLongestLine;
    const auto fill = [&](std::size_t bytes) {
        // Level and thread are part of a line; how many bytes they take, the first line tells.
        const std::size_t before = std::filesystem::file_size(directory_ / "LOG");
        warn(log, std::string(bytes, 'w'));
        return std::filesystem::file_size(directory_ / "LOG") - before;
    };
    const std::size_t around = fill(100) - 100;
    left -= around + 100;
    EXPECT_EQ(fill(left - around), left);
    EXPECT_EQ(std::filesystem::file_size(directory_ / "LOG"), kMebibyte);
    EXPECT_FALSE(has_old_log());
    warn(log, "anew");
    EXPECT_EQ(old_log().size(), kMebibyte);
    EXPECT_LT(this->log().size(), 100U);
}

TEST_F(InfoLogTest, LeavesNoDescriptorOpenAndAFileThatItsOwnerWrites) {
    const auto before = arfc::test::open_descriptors();
    const ::mode_t mask = ::umask(0);
    {
        put_log(kMebibyte - kLongestLine);
        InfoLog log(directory_.path());
        for (int i = 0; i < 3; ++i) { // The second one opens a new file.
            warn(log, std::string(1500, 'w'));
        }
        EXPECT_TRUE(has_old_log());
        EXPECT_EQ(arfc::test::open_descriptors(), before + 1);
    }
    ::umask(mask);
    EXPECT_EQ(arfc::test::open_descriptors(), before);
    EXPECT_EQ(
        std::filesystem::status(directory_ / "LOG").permissions(),
        static_cast<std::filesystem::perms>(0644));
}

TEST_F(InfoLogTest, ALineThatCannotBeWrittenIsDropped) {
    InfoLog log(directory_ / "absent");
    warn(log, "nobody reads this");
    EXPECT_FALSE(std::filesystem::exists(directory_ / "absent"));
}

} // namespace
} // namespace arfc::storage::test
