#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/files.h"
#include "arfc/base/sha256.h"
#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "random_rows.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

constexpr std::size_t kDim = 24;
constexpr std::size_t kRows = 1100;     // Some are held out.
constexpr std::size_t kManyRows = 2200; // Enough for the fine-tuning, which takes seconds.
constexpr std::string_view kWholeSpace = "whole-space codebook";
constexpr std::string_view kRelations = "relations";
constexpr std::string_view kSubSpace = "sub-space codebook";

/// A checkpoint's parts, to be looked at and tampered with.
struct Parts {
    nlohmann::json header;
    std::string tensors;

    explicit Parts(const std::filesystem::path& file) {
        const std::string bytes = read_file(file);
        const std::size_t start = bytes.find('\n', bytes.find('\n') + 1) + 1;
        const std::size_t end = bytes.find('\n', start);
        header = nlohmann::json::parse(bytes.substr(start, end - start));
        tensors = bytes.substr(end + 1);
    }
    void write(const std::filesystem::path& file) const {
        const std::string text = header.dump() + "\n" + tensors;
        write_file_atomically(file, "arfc training checkpoint\n" + sha256_hex(text) + "\n" + text);
    }
};

class TrainingCheckpointTest : public ::testing::Test {
  public:
    // So few rows gain nothing by a second thread, and lose much where the machine is busy.
    TrainingCheckpointTest() { set_num_threads(1); }
    TrainingCheckpointTest(const TrainingCheckpointTest&) = delete;
    TrainingCheckpointTest& operator=(const TrainingCheckpointTest&) = delete;
    ~TrainingCheckpointTest() override { set_num_threads(threads_); }

  protected:
    [[nodiscard]] TrainOptions options() const {
        TrainOptions options;
        options.code_bytes = 24;
        options.relations = rows_.size() == kManyRows * kDim;
        options.checkpoint = directory_ / "checkpoint";
        options.checkpoint_every_s = 0.02;
        return options;
    }
    [[nodiscard]] TrainOptions resuming() const {
        TrainOptions resumed = options();
        resumed.resume = true;
        return resumed;
    }
    [[nodiscard]] std::filesystem::path file() const {
        return directory_ / "checkpoint" / "training.checkpoint";
    }
    std::unique_ptr<Compressor> train(const TrainOptions& options) const {
        return Compressor::train(test::view(rows_, kDim), options);
    }
    /// Returns the identity of the model that no interruption touches.
    [[nodiscard]] std::string expected(TrainOptions options) const {
        options.checkpoint.clear();
        options.resume = false;
        return train(options)->id();
    }
    /// Trains until the stage is seen for the `calls`-th time, then cancels.
    void interrupt(TrainOptions options, std::string_view stage, int calls) const {
        int seen = 0;
        options.progress = [&](const Progress& progress) {
            seen += progress.stage == stage ? 1 : 0;
            return seen < calls;
        };
        ARFC_EXPECT_ERROR(train(options), ErrorKind::kCancelled, "cancelled at step");
    }

    /// Trains until a checkpoint was written on the way of the fine-tuning, then cancels.
    void interrupt_fine_tuning(TrainOptions options) const {
        options.progress = [&](const Progress& progress) {
            return progress.stage != kRelations ||
                   !Compressor::has_checkpoint(options.checkpoint) ||
                   !Parts(file()).header.contains("unfinished");
        };
        ARFC_EXPECT_ERROR(train(options), ErrorKind::kCancelled, "cancelled at step");
    }
    void use_many_rows() { rows_ = test::random_rows(kManyRows, kDim); }

    std::size_t threads_ = num_threads();
    test::TemporaryDirectory directory_;
    std::vector<float> rows_ = test::random_rows(kRows, kDim);
};

TEST_F(TrainingCheckpointTest, ResumesToTheSameModelFromEveryStage) {
    const std::string id = expected(options());
    const std::vector<std::pair<std::string_view, int>> places = {
        {kWholeSpace, 9}, {"encoding rows", 1}, {kSubSpace, 5}, {"done", 1}};
    for (const auto& [stage, calls] : places) {
        interrupt(options(), stage, calls);
        ASSERT_TRUE(Compressor::has_checkpoint(directory_ / "checkpoint")) << stage;
        EXPECT_EQ(train(resuming())->id(), id) << stage;
        Compressor::remove_checkpoint(directory_ / "checkpoint");
    }
}

TEST_F(TrainingCheckpointTest, ManyInterruptionsInARowChangeNothing) {
    TrainOptions repeated = options();
    for (std::size_t place = 2; place < 24; place += 5) {
        repeated.progress = [place](const Progress& progress) {
            return progress.done < place || progress.done == progress.total;
        };
        ARFC_EXPECT_ERROR(train(repeated), ErrorKind::kCancelled, "cancelled at step");
        repeated = resuming();
    }
    EXPECT_EQ(train(resuming())->id(), expected(options()));
}

/// Under L2, because similarities are scaled there.
TEST_F(TrainingCheckpointTest, ResumesInTheMiddleOfTheFineTuning) {
    use_many_rows();
    TrainOptions few_tokens = options();
    few_tokens.code_bytes = 6;
    few_tokens.metric = Metric::kL2;
    interrupt_fine_tuning(few_tokens);
    const nlohmann::json unfinished = Parts(file()).header.at("unfinished");
    EXPECT_EQ(unfinished.at("name"), "relations");
    EXPECT_GT(unfinished.at("numbers").at("step").get<double>(), 0.0);
    TrainOptions resumed = few_tokens;
    resumed.resume = true;
    EXPECT_EQ(train(resumed)->id(), expected(few_tokens));
}

TEST_F(TrainingCheckpointTest, WhatItHoldsIsNotLearnedAgain) {
    interrupt(options(), kWholeSpace, 6);
    Parts parts(file());
    // Of the last tensor; a float's lowest byte, so that it stays an ordinary number.
    parts.tensors[parts.tensors.size() - 4] ^= 1;
    parts.write(file());
    EXPECT_NE(train(resuming())->id(), expected(options()));
}

TEST_F(TrainingCheckpointTest, NothingIsWrittenWithoutADirectoryOrBeforeItIsTime) {
    TrainOptions none = options();
    none.checkpoint.clear();
    interrupt(none, kWholeSpace, 3);
    TrainOptions seldom = options();
    seldom.code_bytes = 4;
    seldom.checkpoint_every_s = 3600;
    (void)train(seldom);
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(TrainingCheckpointTest, AnErrorOfTheCallersLeavesOneToo) {
    TrainOptions failing = options();
    failing.checkpoint_every_s = 3600;
    failing.progress = [](const Progress& progress) -> bool {
        if (progress.stage == kWholeSpace && progress.done == 5) {
            throw std::logic_error("mine");
        }
        return true;
    };
    EXPECT_THROW((void)train(failing), std::logic_error);
    EXPECT_EQ(Parts(file()).header.at("steps").size(), 1U + 5U); // Axes and codebooks.
}

TEST_F(TrainingCheckpointTest, OtherOptionsAreRefusedByName) {
    interrupt(options(), kWholeSpace, 3);
    const auto refused = [&](const std::function<void(TrainOptions&)>& change) -> std::string {
        TrainOptions other = resuming();
        change(other);
        try {
            (void)train(other);
        } catch (const Error& error) {
            EXPECT_EQ(to_string(error.kind()), to_string(ErrorKind::kFailedPrecondition));
            return error.what();
        }
        return "no exception";
    };
    using ::testing::HasSubstr;
    EXPECT_THAT(refused([](auto& other) { other.seed = 7; }), HasSubstr("in seed: 0, now 7"));
    EXPECT_THAT(
        refused([](auto& other) { other.code_bytes = 25; }),
        HasSubstr("in code_bytes: 24, now 25"));
    EXPECT_THAT(
        refused([](auto& other) { other.metric = Metric::kL2; }),
        HasSubstr("in metric: \"cosine\", now \"l2\""));
    EXPECT_THAT(
        refused([](auto& other) { other.relations = true; }),
        HasSubstr("in relations: false, now true"));
    EXPECT_TRUE(Compressor::has_checkpoint(directory_ / "checkpoint")) << "none harms it";
}

TEST_F(TrainingCheckpointTest, OtherRowsAreRefused) {
    interrupt(options(), kWholeSpace, 3);
    rows_[17] += 0.25F;
    ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kFailedPrecondition, "on other rows");
    rows_.resize(rows_.size() - kDim);
    ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kFailedPrecondition, "in rows: 1100, now 1099");
}

TEST_F(TrainingCheckpointTest, NothingToResumeFromIsSaid) {
    ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kNotFound, "train without resume");
    TrainOptions nowhere = resuming();
    nowhere.checkpoint.clear();
    ARFC_EXPECT_ERROR(train(nowhere), ErrorKind::kInvalidArgument, "needs the directory");
    for (const double seconds : {-1.0, std::nan("")}) {
        TrainOptions wrong = options();
        wrong.checkpoint_every_s = seconds;
        ARFC_EXPECT_ERROR(train(wrong), ErrorKind::kInvalidArgument, "number of seconds");
    }
    TrainOptions blocked = options();
    std::ofstream(directory_ / "file") << "mine";
    blocked.checkpoint = directory_ / "file" / "checkpoint";
    blocked.checkpoint_every_s = 0;
    ARFC_EXPECT_ERROR(train(blocked), ErrorKind::kIo, "cannot be created");
}

TEST_F(TrainingCheckpointTest, DamageIsFound) {
    interrupt(options(), kWholeSpace, 3);
    const std::string whole = read_file(file());
    for (const std::size_t place :
         {std::size_t{0}, std::size_t{30}, whole.size() / 2, whole.size() - 1}) {
        std::string damaged = whole;
        damaged[place] ^= 0x10;
        write_file_atomically(file(), damaged);
        ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kCorruption, "damaged");
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{50}, whole.size() - 1}) {
        write_file_atomically(file(), whole.substr(0, size));
        ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kCorruption, "damaged");
    }
}

/// A digest proves who wrote nothing: what the file says is checked all the same.
TEST_F(TrainingCheckpointTest, ContradictionsUnderARightDigestAreFound) {
    use_many_rows();
    interrupt_fine_tuning(options());
    const Parts whole(file());
    const auto changed = [&](const std::function<void(Parts&)>& change) {
        Parts parts = whole;
        change(parts);
        parts.write(file());
    };
    const auto expect_corrupt = [&](const std::function<void(Parts&)>& change) {
        changed(change);
        ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kCorruption, "train without resume");
    };
    expect_corrupt([](Parts& parts) { parts.header.erase("steps"); });
    expect_corrupt([](Parts& parts) { parts.header["steps"][2]["name"] = "other"; });
    expect_corrupt([](Parts& parts) { parts.header["steps"].erase(1); });
    expect_corrupt([](Parts& parts) { parts.header["seconds"] = "long"; });
    expect_corrupt([](Parts& parts) { parts.header["unfinished"]["random"] = "dice"; });
    expect_corrupt([](Parts& parts) { parts.header["unfinished"]["numbers"]["step"] = -3; });
    expect_corrupt([](Parts& parts) { parts.header["unfinished"]["numbers"].erase("most"); });
    expect_corrupt([](Parts& parts) { parts.header["unfinished"]["numbers"]["best_step"] = 1e8; });
    changed([](Parts& parts) { parts.tensors.resize(parts.tensors.size() / 2); });
    ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kCorruption, "safetensors");
    changed([](Parts& parts) { parts.header["format"] = 1000; });
    ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kUnsupported, "format 1000");
}

TEST_F(TrainingCheckpointTest, ABudgetCountsTheTimeBefore) {
    interrupt(options(), kWholeSpace, 3);
    Parts parts(file());
    EXPECT_GT(parts.header.at("seconds").get<double>(), 0.0);
    parts.header["seconds"] = 5000.0;
    parts.write(file());
    TrainOptions spent = resuming();
    spent.time_budget_s = 4000.0;
    const auto model = train(spent);
    EXPECT_TRUE(model->report().stopped_by_budget);
    EXPECT_GT(model->report().seconds, 5000.0);
}

TEST_F(TrainingCheckpointTest, WhatABudgetCutShortStaysSo) {
    TrainOptions hurried = options();
    hurried.time_budget_s = 1e-9;
    interrupt(hurried, "done", 1);
    Parts parts(file());
    EXPECT_TRUE(parts.header.at("steps").back().at("stopped_by_budget").get<bool>());
    EXPECT_TRUE(train(resuming())->report().stopped_by_budget) << "without a budget of its own";
    for (nlohmann::json& step : parts.header["steps"]) {
        step["stopped_by_budget"] = false;
    }
    parts.write(file());
    EXPECT_FALSE(train(resuming())->report().stopped_by_budget);
}

TEST_F(TrainingCheckpointTest, AsManyRowsAreDrawnAsWhenItBegan) {
    interrupt(options(), kWholeSpace, 3);
    Parts parts(file());
    EXPECT_GE(parts.header.at("most_rows").get<std::size_t>(), kRows);
    parts.header["most_rows"] = 500;
    parts.header["rows"] = "";
    parts.header["steps"] = nlohmann::json::array();
    parts.write(file());
    EXPECT_EQ(train(resuming())->report().trained_rows, 500U);
}

TEST_F(TrainingCheckpointTest, ItIsWrittenAsOftenAsIsAsked) {
    TrainOptions always = options();
    always.checkpoint_every_s = 0.0;
    std::size_t steps = 0;
    always.progress = [&](const Progress& progress) {
        if (progress.stage == kWholeSpace && progress.done > 0) { // Axes, and a codebook a token.
            EXPECT_EQ(Parts(file()).header.at("steps").size(), 1 + progress.done);
            ++steps;
        }
        return progress.stage != kSubSpace;
    };
    ARFC_EXPECT_ERROR(train(always), ErrorKind::kCancelled, "cancelled at step");
    EXPECT_GE(steps, 15U);
}

TEST_F(TrainingCheckpointTest, IsRemovedWithItsDirectory) {
    interrupt(options(), kWholeSpace, 3);
    std::ofstream(file().string() + ".tmp") << "of a run that was killed";
    Compressor::remove_checkpoint(directory_ / "checkpoint");
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
    Compressor::remove_checkpoint(directory_ / "checkpoint"); // Nothing is no failure.
    interrupt(options(), kWholeSpace, 3);
    std::ofstream(directory_ / "checkpoint" / "notes.txt") << "mine";
    Compressor::remove_checkpoint(directory_ / "checkpoint");
    EXPECT_FALSE(Compressor::has_checkpoint(directory_ / "checkpoint"));
    EXPECT_TRUE(std::filesystem::exists(directory_ / "checkpoint" / "notes.txt"));
}

} // namespace
} // namespace arfc
