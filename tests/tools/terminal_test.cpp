#include "terminal/terminal.h"

#include <gtest/gtest.h>

#include <csignal>

#include "expect_error.h"
#include "terminal/key_values.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"

namespace arfc::tools {
namespace {

TEST(StagesTest, ReadsLengthsAndLimits) {
    const auto stages = parse_stages("8:1000,16:200,96");
    ASSERT_EQ(stages.size(), 3U);
    EXPECT_EQ(stages[0].bytes, 8U);
    EXPECT_EQ(stages[0].limit, 1000U);
    EXPECT_EQ(stages[1].limit, 200U);
    EXPECT_EQ(stages[2].bytes, 96U);
    EXPECT_EQ(stages[2].limit, 0U);
    EXPECT_EQ(parse_stages("96").size(), 1U);
}

TEST(StagesTest, RefusesWhatItCannotMean) {
    for (const char* const text :
         {"", ",", "16:", "16,", ":200", "0", "16:0", "-1", "16:200;96", "16 ,96", "x", "1.5",
          "99999999999999999999999", "16:99999999999999999999999", "16:200:3"}) {
        ARFC_EXPECT_ERROR(
            (void)parse_stages(text), ErrorKind::kInvalidArgument, "\"" + std::string(text) + "\"");
    }
    ARFC_EXPECT_ERROR((void)parse_stages("96,16"), ErrorKind::kInvalidArgument, "do not ascend");
    ARFC_EXPECT_ERROR((void)parse_stages("16:9,16"), ErrorKind::kInvalidArgument, "do not ascend");
}

TEST(SizeTest, ReadsUnitsOf1024) {
    EXPECT_EQ(parse_size("1000"), 1000U);
    EXPECT_EQ(parse_size("7b"), 7U);
    EXPECT_EQ(parse_size("512M"), 512U << 20U);
    EXPECT_EQ(parse_size("2 GiB"), std::uint64_t{2} << 30U);
    EXPECT_EQ(parse_size("3kb"), 3072U);
    EXPECT_EQ(parse_size("16777215T"), std::uint64_t{16777215} << 40U);
    for (const char* const text :
         {"", "M", "0", "-1", "-1M", "1.5G", "2GiBs", "2x", "2bib", "0x10", " 1", "16777216T",
          "18446744073709551616"}) {
        ARFC_EXPECT_ERROR(
            (void)parse_size(text), ErrorKind::kInvalidArgument,
            "such as 512M or 2G: \"" + std::string(text) + "\"");
    }
}

TEST(VectorTest, ReadsAJsonArrayOfNumbers) {
    EXPECT_EQ(parse_vector("[0.5, -2, 3e-1]"), (std::vector<float>{0.5F, -2, 0.3F}));
    for (const char* const text : {"", "0.5", "[]", "[1, 2", "{}", "1, 2"}) {
        ARFC_EXPECT_ERROR(
            (void)parse_vector(text), ErrorKind::kInvalidArgument, "not a JSON array of numbers");
    }
    for (const char* const text : {"[1, \"2\"]", "[1, null]", "[1, 1e39]", "[1, [2]]"}) {
        ARFC_EXPECT_ERROR((void)parse_vector(text), ErrorKind::kInvalidArgument, "at position: 1");
    }
}

TEST(NumbersTest, AreReadable) {
    EXPECT_EQ(grouped(0), "0");
    EXPECT_EQ(grouped(999), "999");
    EXPECT_EQ(grouped(1000), "1,000");
    EXPECT_EQ(grouped(1234567), "1,234,567");
    EXPECT_EQ(grouped(18446744073709551615U), "18,446,744,073,709,551,615");
    EXPECT_EQ(readable_bytes(0), "0 B");
    EXPECT_EQ(readable_bytes(1023), "1023 B");
    EXPECT_EQ(readable_bytes(1536), "1.5 KiB");
    EXPECT_EQ(readable_bytes(~0ULL), "16.0 EiB");
    EXPECT_EQ(readable_seconds(0.04), "0.0 s");
    EXPECT_EQ(readable_seconds(9.94), "9.9 s");
    EXPECT_EQ(readable_seconds(9.96), "10 s");
    EXPECT_EQ(readable_seconds(59.6), "1 min 0 s");
    EXPECT_EQ(readable_seconds(7500), "2 h 5 min");
    EXPECT_EQ(readable_seconds(1e300), "277777 h 46 min");
    EXPECT_EQ(with_digits(1e308, 2).size(), 309U + 3U);
    EXPECT_EQ(key_values({{"a", "1"}, {"long", "2"}}), "a     1\nlong  2\n");
}

TEST(ProgressLineTest, ShowsABarWhereTheShareIsKnown) {
    EXPECT_EQ(
        progress_line("ingest", 0.5, "5 rows", 200),
        "ingest [############............]  50 % 5 rows");
    EXPECT_EQ(progress_line("ingest", {}, "5 rows", 200), "ingest 5 rows");
    EXPECT_EQ(progress_line("x", 7.0, "", 200), "x [########################] 100 % ");
    EXPECT_EQ(progress_line("x", -1.0, "", 200), "x [........................]   0 % ");
    EXPECT_EQ(progress_line("x", std::nan(""), "rows", 200), "x rows");
    EXPECT_EQ(progress_line("x", 0.999, "", 200), "x [#######################.]  99 % ")
        << "100 % is said when it is done";
    EXPECT_EQ(progress_line("ingest", 0.5, "5 rows", 10).size(), 10U);
}

TEST(ProgressLineTest, TellsOfATraining) {
    EXPECT_EQ(training_detail({.stage = "codebook", .done = 12, .total = 96}), "12 of 96");
    EXPECT_EQ(
        training_detail(
            {.stage = "codebook",
             .done = 1200,
             .total = 0,
             .error = 0.1234,
             .held_out_recall = 0.9456,
             .seconds_left = 75}),
        "1,200, error 0.123, held-out recall 0.946, 1 min 15 s left");
}

TEST(ProgressPaceTest, IsQuickOnATerminalAndRareInALog) {
    using Seconds = std::chrono::duration<double>;
    ProgressPace terminal(true);
    ProgressPace log(false);
    std::size_t shown_on_terminal = 0;
    std::vector<double> shown_in_log;
    for (int i = 0; i <= 10 * 300; ++i) {
        const double now = i / 10.0;
        shown_on_terminal += terminal.due(Seconds(now)) ? 1U : 0U;
        if (log.due(Seconds(now))) {
            shown_in_log.push_back(now);
        }
    }
    EXPECT_GT(shown_on_terminal, 1400U);
    EXPECT_EQ(shown_in_log, (std::vector<double>{0, 1, 3, 7, 15, 31, 63, 123, 183, 243}));
}

TEST(StopSignalTest, TheFirstSignalAsksAndTheNextObjectStartsAfresh) {
    for (const int number : {SIGINT, SIGTERM}) {
        const StopSignal stop;
        EXPECT_FALSE(StopSignal::came());
        EXPECT_NO_THROW(StopSignal::throw_if_came());
        std::raise(number);
        EXPECT_TRUE(StopSignal::came());
        ARFC_EXPECT_ERROR(
            StopSignal::throw_if_came(), ErrorKind::kCancelled, "Stopped by a signal");
    }
}

TEST(StopSignalTest, TheSecondSignalEndsTheProcess) {
    EXPECT_EXIT(
        {
            const StopSignal stop;
            std::raise(SIGTERM);
            std::raise(SIGTERM);
        },
        ::testing::KilledBySignal(SIGTERM), "");
}

class TerminalTest : public ::testing::Test {
  protected:
    /// What the actions write to standard output and to standard error.
    template <class Actions>
    static std::pair<std::string, std::string> run(
        const TerminalOptions& options, const Actions& actions) {
        ::testing::internal::CaptureStdout();
        ::testing::internal::CaptureStderr();
        {
            Terminal terminal(options);
            actions(terminal);
        }
        std::string error = ::testing::internal::GetCapturedStderr();
        return {::testing::internal::GetCapturedStdout(), std::move(error)};
    }
};

TEST_F(TerminalTest, ResultsAreTextOrOneLineOfJson) {
    const auto result = [](Terminal& terminal) {
        terminal.result({{"points", 3}, {"bad", "\xFF"}}, "points  3\n");
    };
    EXPECT_EQ(run({}, result).first, "points  3\n");
    EXPECT_EQ(run({.json = true}, result).first, "{\"points\":3,\"bad\":\"\xEF\xBF\xBD\"}\n");
}

TEST_F(TerminalTest, QuietSaysNothingOnTheWay) {
    const auto work = [](Terminal& terminal) {
        terminal.progress("ingest", 0.5, "5 rows");
        terminal.finish_progress("ingest", "10 rows");
        EXPECT_TRUE(
            terminal.training_progress("train")({.stage = "codebook", .done = 1, .total = 2}));
    };
    EXPECT_EQ(run({.quiet = true}, work), (std::pair<std::string, std::string>()));
}

TEST_F(TerminalTest, TrainingEndsWhenASignalCame) {
    const StopSignal stop;
    run({.quiet = true}, [](Terminal& terminal) {
        const ProgressFunction progress = terminal.training_progress("train");
        EXPECT_TRUE(progress({.stage = "codebook"}));
        std::raise(SIGINT);
        EXPECT_FALSE(progress({.stage = "codebook"}));
    });
}

} // namespace
} // namespace arfc::tools
