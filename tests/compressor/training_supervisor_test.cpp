#include "training_supervisor.h"

#include <chrono>
#include <thread>
#include <vector>

#include "expect_error.h"

namespace arfc {
namespace {

/// What a caller was told; stage names are copied, as they end with the call.
struct Told {
    std::string stage;
    Progress progress;
};

class TrainingSupervisorTest : public ::testing::Test {
  protected:
    [[nodiscard]] TrainOptions options() {
        TrainOptions options;
        options.progress = [this](const Progress& progress) {
            told_.push_back({std::string(progress.stage), progress});
            return goes_on_;
        };
        return options;
    }

    std::vector<Told> told_;
    bool goes_on_ = true;
};

TEST_F(TrainingSupervisorTest, TellsWhereItStandsWhenAStageBegins) {
    const TrainOptions options = this->options();
    TrainingSupervisor supervisor(options);
    supervisor.begin("first", 0, 4);
    supervisor.set_error(0.25);
    supervisor.begin("second", 1, 4);
    supervisor.set_recall(0.5);
    supervisor.begin("third", 4, 4);
    ASSERT_EQ(told_.size(), 3U);
    EXPECT_EQ(told_[0].stage, "first");
    EXPECT_EQ(told_[0].progress.done, 0U);
    EXPECT_EQ(told_[0].progress.total, 4U);
    EXPECT_FALSE(told_[0].progress.error);
    EXPECT_EQ(told_[1].stage, "second");
    EXPECT_EQ(told_[1].progress.done, 1U);
    EXPECT_EQ(told_[1].progress.error, 0.25);
    EXPECT_FALSE(told_[1].progress.held_out_recall);
    EXPECT_EQ(told_[2].progress.error, 0.25);
    EXPECT_EQ(told_[2].progress.held_out_recall, 0.5);
}

TEST_F(TrainingSupervisorTest, TimeLeftFollowsFromEvenSteps) {
    const TrainOptions options = this->options();
    TrainingSupervisor supervisor(options);
    supervisor.add_seconds(60.0);
    supervisor.add_seconds(40.0); // Of two runs before.
    supervisor.begin("nothing done", 0, 4);
    supervisor.begin("a quarter", 1, 4);
    supervisor.begin("of another length", 1, 4, /*even=*/false);
    supervisor.begin("all", 4, 4);
    supervisor.begin("of nothing", 0, 0);
    ASSERT_EQ(told_.size(), 5U);
    EXPECT_FALSE(told_[0].progress.seconds_left);
    ASSERT_TRUE(told_[1].progress.seconds_left);
    EXPECT_NEAR(*told_[1].progress.seconds_left, 300.0, 30.0);
    EXPECT_FALSE(told_[2].progress.seconds_left);
    ASSERT_TRUE(told_[3].progress.seconds_left);
    EXPECT_EQ(*told_[3].progress.seconds_left, 0.0);
    EXPECT_FALSE(told_[4].progress.seconds_left);
    EXPECT_NEAR(supervisor.seconds(), 100.0, 10.0);
}

TEST_F(TrainingSupervisorTest, StopsAtItsShareOfTheBudget) {
    TrainOptions options;
    options.time_budget_s = 1000.0;
    TrainingSupervisor supervisor(options);
    supervisor.add_seconds(400.0);
    EXPECT_TRUE(supervisor.go_on()); // All of it may be spent where nothing else is said.
    supervisor.set_deadline(0.5);
    EXPECT_TRUE(supervisor.go_on());
    EXPECT_FALSE(supervisor.stopped_by_budget());
    supervisor.set_deadline(0.3);
    EXPECT_FALSE(supervisor.go_on());
    EXPECT_TRUE(supervisor.stopped_by_budget());
    supervisor.set_deadline(0.9);
    EXPECT_TRUE(supervisor.go_on());
    EXPECT_TRUE(supervisor.stopped_by_budget()) << "it was, once";
}

TEST_F(TrainingSupervisorTest, WithoutABudgetOnlyARunBeforeStoppedByOne) {
    const TrainOptions options;
    TrainingSupervisor supervisor(options);
    supervisor.add_seconds(1e9);
    supervisor.set_deadline(0.0);
    EXPECT_TRUE(supervisor.go_on());
    EXPECT_FALSE(supervisor.stopped_by_budget());
    supervisor.set_stopped_by_budget();
    EXPECT_TRUE(supervisor.stopped_by_budget());
}

TEST_F(TrainingSupervisorTest, ReportsBetweenStagesOnlyOnceItHasBeenSilent) {
    const TrainOptions options = this->options();
    TrainingSupervisor supervisor(options);
    supervisor.begin("long", 1, 2);
    EXPECT_TRUE(supervisor.go_on());
    EXPECT_EQ(told_.size(), 1U);
    std::this_thread::sleep_for(std::chrono::milliseconds(210));
    EXPECT_TRUE(supervisor.go_on());
    ASSERT_EQ(told_.size(), 2U);
    EXPECT_EQ(told_[1].stage, "long");
    EXPECT_TRUE(supervisor.go_on());
    EXPECT_EQ(told_.size(), 2U);
}

TEST_F(TrainingSupervisorTest, ACallersNoEndsIt) {
    const TrainOptions options = this->options();
    TrainingSupervisor supervisor(options);
    goes_on_ = false;
    ARFC_EXPECT_ERROR(
        supervisor.begin("any", 2, 5), ErrorKind::kCancelled,
        "Training was cancelled at step 2 of 5");
}

TEST_F(TrainingSupervisorTest, TellsWhichShareOfAStagesTimeHasGone) {
    TrainOptions options = this->options();
    const TrainingSupervisor free(options);
    EXPECT_EQ(free.spent(), 0.0); // Without a budget none goes.

    options.time_budget_s = 1000.0;
    TrainingSupervisor supervisor(options);
    supervisor.add_seconds(100.0);
    supervisor.set_deadline(0.3); // From 100 s to 300 s.
    EXPECT_NEAR(supervisor.spent(), 0.0, 0.01);
    supervisor.add_seconds(50.0);
    EXPECT_NEAR(supervisor.spent(), 0.25, 0.01);
    supervisor.add_seconds(500.0);
    EXPECT_EQ(supervisor.spent(), 1.0);
    supervisor.set_deadline(0.6); // Which is over already.
    EXPECT_EQ(supervisor.spent(), 1.0);
}

} // namespace
} // namespace arfc
