#include "training_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/files.h"
#include "arfc/base/sha256.h"
#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "kmeans.h"
#include "paired_rows.h"
#include "random_rows.h"
#include "residual_model.h"
#include "safetensors.h"
#include "temporary_directory.h"
#include "thread_count.h"
#include "training_supervisor.h"

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

    // So few rows gain nothing by a second thread, and lose much where the machine is busy.
    test::ThreadCount threads_{1};
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

/// What comes before relations serves them all; what began by one schedule does not go on by
/// another.
TEST_F(TrainingCheckpointTest, SchedulesShareWhatComesBeforeRelations) {
    use_many_rows();
    TrainOptions usual = options();
    usual.code_bytes = 6;
    TrainOptions other = usual;
    other.prefix_schedule = {.first_mean = 0.3, .last_mean = 0.6, .concentration = 9.0};
    const std::string id = expected(other);
    EXPECT_NE(id, expected(usual));

    interrupt(usual, kWholeSpace, 4);
    other.resume = true;
    EXPECT_EQ(train(other)->id(), id);

    for (const auto& interrupted :
         {std::function([&] { interrupt_fine_tuning(usual); }),
          std::function([&] { interrupt(usual, "encoding rows", 1); })}) {
        interrupted();
        ARFC_EXPECT_ERROR(
            train(other), ErrorKind::kFailedPrecondition,
            "in prefix_schedule: [0.75,0.25,4.0], now [0.3,0.6,9.0]");
    }
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
    EXPECT_THAT(
        refused([](auto& other) { other.features = true; }),
        HasSubstr("in features: false, now true"));
    EXPECT_THAT(
        refused([](auto& other) { other.compact = true; }),
        HasSubstr("in compact: false, now true"));
    EXPECT_THAT(
        refused(
            [&](auto& other) { other.pair_queries = other.pair_rows = test::view(rows_, kDim); }),
        HasSubstr("in pairs: null, now "));
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
    // What the first step left, as [1, n] instead of [n].
    changed([](Parts& parts) {
        std::uint64_t size = 0;
        std::memcpy(&size, parts.tensors.data(), sizeof size);
        auto shapes = nlohmann::json::parse(parts.tensors.substr(sizeof size, size));
        for (auto& tensor : shapes) {
            if (tensor.contains("shape") && tensor["shape"].size() == 1) {
                tensor["shape"].insert(tensor["shape"].begin(), 1);
            }
        }
        std::string text = shapes.dump();
        text.resize((text.size() + 7) / 8 * 8, ' ');
        const std::uint64_t now = text.size();
        std::string start(sizeof now, '\0');
        std::memcpy(start.data(), &now, sizeof now);
        parts.tensors = start + text + parts.tensors.substr(sizeof size + size);
    });
    ARFC_EXPECT_ERROR(
        train(resuming()), ErrorKind::kCorruption, "its arrays do not fit the step \"axes\"");
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

/// Until its deadline, a share of the budget, a step is learned to its end; then it is cut short.
TEST_F(TrainingCheckpointTest, EveryStepHasItsShareOfABudget) {
    rows_.resize(100 * kDim);
    interrupt(options(), "done", 1);
    const Parts whole(file());
    constexpr double kBudget = 1e6; // Beside which no time passes.
    /// Learns the step behind so many, at a time. @returns whether the budget cut it short.
    const auto is_cut = [&](std::size_t known, double share, bool features) {
        Parts parts = whole;
        nlohmann::json& steps = parts.header["steps"];
        steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(known), steps.end());
        parts.header["seconds"] = share * kBudget;
        parts.header["options"]["features"] = features;
        parts.write(file());
        TrainOptions resumed = resuming();
        resumed.time_budget_s = kBudget;
        resumed.features = features;
        resumed.checkpoint_every_s = 0.0;
        resumed.progress = [&](const Progress&) {
            return Parts(file()).header.at("steps").size() <= known;
        };
        ARFC_EXPECT_ERROR(train(resumed), ErrorKind::kCancelled, "cancelled at step");
        return Parts(file()).header.at("steps").at(known).at("stopped_by_budget").get<bool>();
    };
    const struct {
        std::string step;
        double deadline;
        bool features = false;
    } cases[] = {
        {"whole-space 0", 0.58 / 16},
        {"whole-space 15", 0.58},
        {"sub-space 7, 0", 0.86},
        {"", 0.86 + 0.07 * 7 / 8}, // Of the sub-space that took the last token but one.
        {"whole-space 7", 0.58 * 8 / 16 * 0.5, true}, // Features have the other half.
    };
    for (const auto& c : cases) {
        const nlohmann::json& steps = whole.header.at("steps");
        std::size_t known = c.step.empty() ? steps.size() - 1 : 0;
        while (!c.step.empty() && steps.at(known).at("name") != c.step) {
            ++known;
        }
        EXPECT_FALSE(is_cut(known, c.deadline - 1e-3, c.features)) << known;
        EXPECT_TRUE(is_cut(known, c.deadline + 1e-3, c.features)) << known;
    }
    EXPECT_EQ(whole.header.at("steps").size(), 1U + 16 + 1 + 8 + 7);
}

TEST_F(TrainingCheckpointTest, ABudgetBearsSoManyRowsAThread) {
    const auto most_rows = [&](std::optional<double> budget, bool features, std::size_t threads) {
        set_num_threads(threads);
        TrainOptions limited = options();
        limited.time_budget_s = budget;
        limited.features = features;
        interrupt(limited, kWholeSpace, 2);
        return Parts(file()).header.at("most_rows").get<std::size_t>();
    };
    // 16 tokens, 2 passes over 6 residuals, a multiply and an add for each of 256 symbols.
    constexpr double kFlop = 16.0 * 2.0 * 6.0 * 2.0 * 256.0 * kDim;
    EXPECT_EQ(most_rows(6.0, false, 1), static_cast<std::size_t>(6.0 / 3.0 * 1e10 / kFlop));
    EXPECT_EQ(most_rows(6.0, false, 2), static_cast<std::size_t>(6.0 / 3.0 * 2e10 / kFlop));
    EXPECT_EQ(most_rows(6.0, true, 1), static_cast<std::size_t>(6.0 / 6.0 * 1e10 / kFlop));
    EXPECT_EQ(most_rows(1e9, false, 1), kMaxTrainingRows - 1000);
    EXPECT_EQ(most_rows(std::nullopt, false, 1), kMaxTrainingRows - 1000);
}

/// Of rows that are all given and all train, what is told while learning is what codes leave.
TEST_F(TrainingCheckpointTest, TheErrorToldIsThatOfTheRows) {
    constexpr std::size_t kFew = 900;
    rows_.resize(kFew * kDim);
    TrainOptions l2 = options();
    l2.metric = Metric::kL2;
    interrupt(l2, kWholeSpace, 2);
    Parts parts(file());
    parts.header["most_rows"] = kFew; // So none are drawn beside them.
    parts.header["steps"] = nlohmann::json::array();
    parts.write(file());
    l2.resume = true;
    std::map<std::string, double> told; // When a stage began, or last in it.
    double first = 0.0;                 // Behind the first codebook.
    l2.progress = [&](const Progress& progress) {
        if (progress.error) {
            first = progress.stage == kWholeSpace && progress.done == 1 ? *progress.error : first;
            told[std::string(progress.stage)] = *progress.error;
        }
        return true;
    };
    const auto model = train(l2);
    EXPECT_EQ(model->report().trained_rows, kFew);
    EXPECT_EQ(model->report().held_out_rows, 0U);
    std::vector<double> mean(kDim, 0.0);
    for (std::size_t i = 0; i < rows_.size(); ++i) {
        mean[i % kDim] += double{rows_[i]} / kFew;
    }
    double energy = 0.0;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
        energy += std::pow(double{rows_[i]} - mean[i % kDim], 2.0);
    }
    const auto left_by = [&](std::size_t bytes) {
        std::vector<std::byte> codes(kFew * bytes);
        model->encode(test::view(rows_, kDim), bytes, {codes.data(), kFew, bytes});
        std::vector<float> decoded(rows_.size());
        model->decode({codes.data(), kFew, bytes}, {decoded.data(), kFew, kDim});
        double left = 0.0;
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            left += std::pow(double{rows_[i]} - double{decoded[i]}, 2.0);
        }
        return left / energy;
    };
    EXPECT_LT(told.at("rotation"), left_by(16)); // Training keeps its hypotheses to the end.
    EXPECT_GT(told.at("rotation"), 0.3 * left_by(16));
    EXPECT_NEAR(told.at("done"), left_by(24), 0.02 * left_by(24));
    EXPECT_LT(told.at("done"), 0.3 * told.at("rotation"));
    // Symbols of the first codebook are the means of their rows, neither too long nor too short.
    const ResidualModel made = read_residual_model(model->files()).model;
    std::vector<float> turned(rows_.size());
    turn_points(test::view(rows_, kDim), made.rotation, turned.data());
    for (std::size_t i = 0; i < turned.size(); ++i) {
        turned[i] -= made.mean[i % kDim];
    }
    std::vector<std::uint8_t> symbols(kFew);
    const double by_first =
        assign(test::view(turned, kDim), {made.early.data(), kSymbols, kDim}, symbols);
    EXPECT_NEAR(first, by_first / energy, 1e-3 * first);
    double along = 0.0;
    for (std::size_t i = 0; i < turned.size(); ++i) {
        const double symbol = double{made.early[symbols[i / kDim] * kDim + i % kDim]};
        along += (double{turned[i]} - symbol) * symbol;
    }
    EXPECT_NEAR(along / energy, 0.0, 0.005);
}

/// A checkpoint that says that relations moved the codebooks makes a model of what it says.
TEST_F(TrainingCheckpointTest, TunedCodebooksDecodeThroughTheirMap) {
    TrainOptions tuned = options();
    tuned.metric = Metric::kL2;
    tuned.relations = true;
    tuned.time_budget_s = 1e-9; // Of any codebooks.
    interrupt(tuned, "encoding rows", 1);
    tuned.time_budget_s.reset();
    Parts parts(file());
    ASSERT_EQ(parts.header["steps"].size(), 18U); // Axes, codebooks, and no gain.
    ASSERT_EQ(parts.header["steps"][17]["name"], "relations");
    auto tensors = read_safetensors(parts.tensors);
    const std::vector<float> axes = tensors.at("0/values").values;
    std::vector<float> codebooks;
    for (std::size_t t = 0; t < 16; ++t) {
        const std::vector<float>& values = tensors.at(std::to_string(t + 1) + "/values").values;
        codebooks.insert(codebooks.end(), values.begin(), values.end());
    }
    std::vector<float> mean(kDim, 0.0F); // Of turned rows, and what the first codebook takes on.
    std::vector<float> map(kDim * kDim);
    for (std::size_t j = 0; j < kDim; ++j) {
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            mean[j] += axes[j * kDim + i % kDim] * rows_[i] / float{kRows};
        }
        const float moved = j % 2 == 0 ? 0.5F : -0.25F;
        mean[j] += moved;
        for (std::size_t k = 0; k < 256; ++k) {
            codebooks[k * kDim + j] -= moved;
        }
        map[j * kDim + j] = 0.95F;
        map[j * kDim + (j + 1) % kDim] = 0.08F; // Not symmetric.
    }
    tensors["17/codebooks"] = {{codebooks.size()}, codebooks};
    tensors["17/mean"] = {{kDim}, mean};
    tensors["17/decode_map"] = {{kDim * kDim}, map};
    parts.header["steps"][17]["numbers"] = {{"recall_before", 0.25}, {"recall_after", 0.5}};
    parts.tensors = write_safetensors(tensors);
    parts.header["most_rows"] = kRows / 20 * 19; // So none are drawn beside them.
    parts.write(file());
    tuned.resume = true;
    double told = 0.0;
    tuned.progress = [&](const Progress& progress) {
        told = progress.error.value_or(told);
        return true;
    };
    const auto model = train(tuned);
    std::vector<std::byte> codes(kRows * 24);
    model->encode(test::view(rows_, kDim), 24, {codes.data(), kRows, 24});
    std::vector<float> whole(rows_.size());
    model->decode({codes.data(), kRows, 24}, {whole.data(), kRows, kDim});
    std::vector<std::byte> early(kRows * 16);
    model->encode(test::view(rows_, kDim), 16, {early.data(), kRows, 16});
    std::vector<float> decoded(rows_.size());
    model->decode({early.data(), kRows, 16}, {decoded.data(), kRows, kDim});
    double early_left = 0.0;
    double left = 0.0;
    double unmapped_left = 0.0;
    double energy = 0.0; // Of rows less the mean that moved.
    for (std::size_t i = 0; i < kRows; ++i) {
        std::vector<double> sum(mean.begin(), mean.end());
        for (std::size_t t = 0; t < 16; ++t) {
            const auto symbol = std::to_integer<std::size_t>(early[i * 16 + t]);
            for (std::size_t j = 0; j < kDim; ++j) {
                sum[j] += double{codebooks[(t * 256 + symbol) * kDim + j]};
            }
        }
        for (std::size_t j = 0; j < kDim; ++j) {
            double expected = 0.0; // axes^T * map * sum.
            double turned = 0.0;
            for (std::size_t a = 0; a < kDim; ++a) {
                const double image = double{0.95F} * sum[a] + double{0.08F} * sum[(a + 1) % kDim];
                expected += double{axes[a * kDim + j]} * image;
                turned += double{axes[j * kDim + a]} * double{rows_[i * kDim + a]};
            }
            ASSERT_NEAR(decoded[i * kDim + j], expected, 1e-4);
            early_left += std::pow(double{rows_[i * kDim + j]} - expected, 2.0);
            left += std::pow(double{rows_[i * kDim + j]} - double{whole[i * kDim + j]}, 2.0);
            unmapped_left += std::pow(turned - sum[j], 2.0);
            energy += std::pow(turned - double{mean[j]}, 2.0);
        }
    }
    EXPECT_LT(unmapped_left, 0.7 * early_left) << "symbols are those nearest to centred rows";
    EXPECT_LT(left, 0.2 * early_left) << "later tokens see what earlier ones leave";
    // What is told is of rows that trained, which are most and are left with less.
    EXPECT_LT(told, 1.15 * left / energy);
    EXPECT_GT(told, 0.5 * left / energy);
}

TEST_F(TrainingCheckpointTest, CheckpointsOfBeforeThereWereFeaturesAndPairsAreGood) {
    interrupt(options(), kWholeSpace, 3);
    Parts parts(file());
    parts.header["options"].erase("features");
    parts.header["options"].erase("pairs");
    parts.write(file());
    TrainOptions stopped = resuming();
    stopped.progress = [](const Progress& progress) { return progress.stage != kWholeSpace; };
    ARFC_EXPECT_ERROR(train(stopped), ErrorKind::kCancelled, "cancelled at step");
    parts.header["options"].erase("seed");
    parts.write(file());
    ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kFailedPrecondition, "in seed: null, now 0");
}

/// Learns a step of one number.
LearningState one_number() {
    LearningState state;
    state.numbers["one"] = 1.0;
    return state;
}

TEST_F(TrainingCheckpointTest, AStepOnItsWayIsWrittenWhenItIsTime) {
    TrainOptions seldom = options();
    seldom.checkpoint_every_s = 3600;
    TrainingSupervisor supervisor(seldom);
    TrainingCheckpoint waiting(test::view(rows_, kDim), seldom, supervisor);
    bool asked = false;
    waiting.offer("long", [&] {
        asked = true;
        return LearningState();
    });
    EXPECT_FALSE(asked);
    EXPECT_FALSE(Compressor::has_checkpoint(seldom.checkpoint));

    TrainOptions always = options();
    always.checkpoint_every_s = 0;
    TrainingCheckpoint checkpoint(test::view(rows_, kDim), always, supervisor);
    supervisor.set_stopped_by_budget();
    checkpoint.offer("long", one_number);
    const nlohmann::json header = Parts(file()).header;
    EXPECT_EQ(header.at("most_rows"), 0) << "nobody asked how many";
    EXPECT_TRUE(header.at("steps").empty());
    EXPECT_EQ(header.at("unfinished").at("name"), "long");
    EXPECT_EQ(header.at("unfinished").at("numbers").at("one"), 1.0);
    EXPECT_EQ(header.at("unfinished").at("stopped_by_budget"), true);

    EXPECT_EQ(checkpoint.most_rows(7), 7U);
    EXPECT_EQ(checkpoint.learned("long", one_number).numbers.at("one"), 1.0);
    const nlohmann::json learned = Parts(file()).header;
    EXPECT_EQ(learned.at("most_rows"), 7);
    EXPECT_FALSE(learned.contains("unfinished"));
    ASSERT_EQ(learned.at("steps").size(), 1U);
    EXPECT_EQ(learned.at("steps")[0].at("name"), "long");
    EXPECT_EQ(learned.at("steps")[0].at("stopped_by_budget"), true);
}

TEST_F(TrainingCheckpointTest, NothingNewIsNotWrittenAgain) {
    TrainOptions seldom = options();
    seldom.checkpoint_every_s = 3600;
    TrainingSupervisor supervisor(seldom);
    TrainingCheckpoint checkpoint(test::view(rows_, kDim), seldom, supervisor);
    checkpoint.write();
    EXPECT_FALSE(Compressor::has_checkpoint(seldom.checkpoint)) << "nothing was learned";
    (void)checkpoint.learned("first", one_number);
    EXPECT_FALSE(Compressor::has_checkpoint(seldom.checkpoint)) << "it is not time";
    checkpoint.write();
    EXPECT_TRUE(Compressor::has_checkpoint(seldom.checkpoint));
    Compressor::remove_checkpoint(seldom.checkpoint);
    checkpoint.write();
    EXPECT_FALSE(Compressor::has_checkpoint(seldom.checkpoint));
    (void)checkpoint.learned("second", one_number);
    checkpoint.write();
    EXPECT_EQ(Parts(file()).header.at("steps").size(), 2U);
}

TEST_F(TrainingCheckpointTest, WhatIsReadIsNoNews) {
    TrainOptions always = options();
    always.checkpoint_every_s = 0;
    TrainingSupervisor supervisor(always);
    {
        TrainingCheckpoint checkpoint(test::view(rows_, kDim), always, supervisor);
        (void)checkpoint.learned("first", one_number);
        checkpoint.offer("second", one_number);
    }
    always.resume = true;
    TrainingCheckpoint resumed(test::view(rows_, kDim), always, supervisor);
    Compressor::remove_checkpoint(always.checkpoint);
    EXPECT_FALSE(resumed.unfinished("second")) << "the first comes before it";
    const auto unexpected = []() -> LearningState { throw std::logic_error("learned again"); };
    EXPECT_EQ(resumed.learned("first", unexpected).numbers.at("one"), 1.0);
    resumed.write();
    EXPECT_FALSE(Compressor::has_checkpoint(always.checkpoint));
    EXPECT_FALSE(resumed.unfinished("third"));
    ASSERT_TRUE(resumed.unfinished("second"));
    EXPECT_EQ(resumed.unfinished("second")->numbers.at("one"), 1.0);
}

/// Stages of many steps: until their deadline they make more of them, then the next one begins.
TEST_F(TrainingCheckpointTest, LongStagesHaveTheirSharesOfABudget) {
    constexpr double kBudget = 1e6; // Beside which no time passes.
    const auto [queries, relevant] = test::paired_rows(600, kDim);
    const auto expect_share = [&](std::string_view stage, double deadline) {
        TrainOptions begun = options();
        begun.code_bytes = 2;
        begun.features = stage == "features";
        if (stage == "pairs") {
            begun.pair_queries = test::view(queries, kDim);
            begun.pair_rows = test::view(relevant, kDim);
        }
        begun.progress = [&](const Progress& progress) {
            return progress.stage != stage || !Compressor::has_checkpoint(begun.checkpoint);
        };
        ARFC_EXPECT_ERROR(train(begun), ErrorKind::kCancelled, "cancelled at step");
        Parts parts(file());
        parts.header["most_rows"] = rows_.size() / kDim / 20 * 19; // So none are drawn beside them.
        const auto step_of = [](const nlohmann::json& header) {
            return header.contains("unfinished")
                     ? header.at("unfinished").at("numbers").at("step").get<double>()
                     : 0.0;
        };
        for (const double late : {-1e-3, 1e-3}) {
            parts.header["seconds"] = (deadline + late) * kBudget;
            parts.write(file());
            TrainOptions resumed = begun;
            resumed.resume = true;
            resumed.time_budget_s = kBudget;
            resumed.checkpoint_every_s = 0.0;
            bool is_there = false;
            std::string next;
            resumed.progress = [&](const Progress& progress) {
                is_there = is_there || progress.stage == stage;
                next = is_there && progress.stage != stage ? progress.stage : "";
                return next.empty() && step_of(Parts(file()).header) <= step_of(parts.header);
            };
            ARFC_EXPECT_ERROR(train(resumed), ErrorKind::kCancelled, "cancelled at step");
            EXPECT_EQ(next.empty(), late < 0.0) << stage << ", then " << next;
        }
        Compressor::remove_checkpoint(directory_ / "checkpoint");
    };
    expect_share("pairs", 0.20);
    expect_share("features", 0.95);
    use_many_rows();
    expect_share(kRelations, 0.86);
}

/// Landmarks are compared with rows as they are, not centred.
TEST_F(TrainingCheckpointTest, LandmarksLieWhereRowsLie) {
    use_many_rows();
    double squared = 0.0; // Of the mean row.
    std::vector<double> mean(kDim, 0.0);
    for (std::size_t i = 0; i < rows_.size(); ++i) {
        rows_[i] += i % kDim == 3 ? 6.0F : 1.0F;
        mean[i % kDim] += double{rows_[i]} / kManyRows;
    }
    for (const double value : mean) {
        squared += value * value;
    }
    TrainOptions hurried = options();
    hurried.code_bytes = 2;
    hurried.metric = Metric::kL2;
    hurried.time_budget_s = 1e-9; // Landmarks are found all the same.
    interrupt(hurried, "encoding rows", 1);
    const Parts parts(file());
    const nlohmann::json& steps = parts.header.at("steps");
    ASSERT_EQ(steps.at(3).at("name"), "landmarks");
    const StoredTensor points = read_safetensors(parts.tensors).at("3/points");
    constexpr std::size_t kCount = kManyRows / 20 * 19 / 5;
    ASSERT_EQ(points.shape, (std::vector<std::size_t>{kCount, kDim}));
    std::vector<double> middle(kDim, 0.0); // Turned, which changes no length.
    for (std::size_t i = 0; i < points.values.size(); ++i) {
        middle[i % kDim] += double{points.values[i]} / kCount;
    }
    double middle_squared = 0.0;
    for (const double value : middle) {
        middle_squared += value * value;
    }
    EXPECT_NEAR(std::sqrt(middle_squared), std::sqrt(squared), 0.05 * std::sqrt(squared));
}

TEST_F(TrainingCheckpointTest, WhatIsNoFileIsAnIoError) {
    std::filesystem::create_directories(file() / "inside");
    EXPECT_FALSE(Compressor::has_checkpoint(directory_ / "checkpoint"));
    ARFC_EXPECT_ERROR(train(resuming()), ErrorKind::kIo, file().string());
    ARFC_EXPECT_ERROR(
        Compressor::remove_checkpoint(directory_ / "checkpoint"), ErrorKind::kIo,
        "Checkpoint cannot be removed: " + file().string());
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
