#include <c10/util/Exception.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <future>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "expect_error.h"
#include "random_rows.h"
#include "relation_trainer.h"
#include "residual_model.h"
#include "safetensors.h"
#include "temporary_directory.h"
#include "thread_count.h"

namespace arfc {
namespace {

TrainOptions small(std::size_t bytes = 20) {
    TrainOptions options;
    options.code_bytes = bytes;
    return options;
}

TEST(TrainingTest, LandmarksComeWithRelationsWhereTheyGain) {
    const std::vector<float> rows = test::random_rows(4000, 16);
    TrainOptions options;
    options.code_bytes = 8;
    const auto with = Compressor::train(test::view(rows, 16), options);
    const auto config = nlohmann::json::parse(with->files().config);
    EXPECT_EQ(config.at("landmarks"), 3800 / 5);
    EXPECT_EQ(config.at("landmarks_asked"), 8);
    EXPECT_NEAR(config.at("landmark_error_weight").get<double>(), 0.15, 1e-9);
    const auto tensors = read_safetensors(with->files().weights);
    EXPECT_TRUE(tensors.at("landmarks").as_half) << "they need no more";
    EXPECT_FALSE(tensors.at("early").as_half);
    // As many products as landmarks' floats are what encoding has beyond scoring.
    EXPECT_EQ(
        config.at("flop_per_encoded_row").get<double>(),
        config.at("flop_per_query").get<double>() + 2.0 * (3800 / 5 * 16));
    const std::vector<PartReport>& parts = with->report().parts;
    ASSERT_EQ(parts.size(), 3U);
    EXPECT_EQ(parts[0].part, "codebooks");
    EXPECT_EQ(parts[1].part, "landmarks");
    EXPECT_EQ(parts[2].part, "relations");
    for (const PartReport& part : parts) {
        EXPECT_TRUE(part.is_kept) << part.part;
        ASSERT_EQ(part.recall.size(), 3U) << part.part; // 2, 4 and 8 bytes.
        EXPECT_EQ(part.recall.back().bytes, 8U) << part.part;
    }
    EXPECT_GT(mean_recall(parts[1].recall), mean_recall(parts[0].recall));
    EXPECT_GT(mean_recall(parts[2].recall), mean_recall(parts[1].recall)) << "with landmarks";
    options.relations = false;
    const auto without = Compressor::train(test::view(rows, 16), options);
    EXPECT_TRUE(without->report().parts.empty());
    EXPECT_FALSE(nlohmann::json::parse(without->files().config).contains("landmarks"));
    EXPECT_GT(
        with->report().recall.back().recall_at_10, without->report().recall.back().recall_at_10);
}

TEST(TrainingTest, SameSeedSameModelWhateverTheThreads) {
    const std::vector<float> rows = test::random_rows(1500, 24);
    const std::string first = Compressor::train(test::view(rows, 24), small())->id();
    EXPECT_EQ(Compressor::train(test::view(rows, 24), small())->id(), first);
    TrainOptions other = small();
    other.seed = 1;
    EXPECT_NE(Compressor::train(test::view(rows, 24), other)->id(), first);
}

TEST(TrainingTest, ReportsProgressInOrder) {
    std::size_t before = 0;
    double last_error = 2.0;
    std::vector<std::string> stages;
    bool saw_recall = false;
    bool saw_time_left = false;
    TrainOptions options = small();
    options.progress = [&](const Progress& progress) {
        EXPECT_GE(progress.done, before);
        EXPECT_EQ(progress.total, 20U);
        if (progress.stage == "relations" || progress.stage == "rotation") {
            EXPECT_EQ(progress.done, 16U);
        }
        // Of steps that take otherwise than the others, too.
        EXPECT_TRUE(progress.stage != "relations" || !progress.seconds_left);
        before = progress.done;
        if (stages.empty() || stages.back() != progress.stage) {
            stages.emplace_back(progress.stage);
        }
        if (progress.error) {
            EXPECT_LE(*progress.error, last_error + 0.05);
            last_error = *progress.error;
        }
        saw_recall = saw_recall || progress.held_out_recall.has_value();
        saw_time_left = saw_time_left || progress.seconds_left.has_value();
        return true;
    };
    const auto model = Compressor::train(test::view(test::random_rows(2000, 24), 24), options);
    EXPECT_EQ(
        stages, (std::vector<std::string>{
                    "preparing rows", "whole-space codebook", "relations", "encoding rows",
                    "rotation", "sub-space codebook", "measuring recall", "done"}));
    EXPECT_EQ(before, 20U);
    EXPECT_LT(last_error, 0.2);
    EXPECT_TRUE(saw_recall);
    EXPECT_TRUE(saw_time_left);
    EXPECT_EQ(model->report().held_out_rows, 100U);
    ASSERT_EQ(model->report().recall.size(), 4U); // 4, 8, 16, 20 bytes.
    EXPECT_EQ(model->report().recall.back().bytes, 20U);
    EXPECT_GT(
        model->report().recall.back().recall_at_10, model->report().recall.front().recall_at_10);
    EXPECT_GT(model->report().recall.back().recall_at_10, 0.6);
}

TEST(TrainingTest, CanBeCancelled) {
    TrainOptions options = small();
    int calls = 0;
    options.progress = [&](const Progress&) { return ++calls < 5; };
    ARFC_EXPECT_ERROR(
        Compressor::train(test::view(test::random_rows(2000, 24), 24), options),
        ErrorKind::kCancelled, "cancelled at step");
    EXPECT_EQ(calls, 5);
}

TEST(TrainingTest, TheCallersOwnExceptionPassesThrough) {
    TrainOptions options = small();
    options.progress = [](const Progress&) -> bool { throw std::logic_error("mine"); };
    EXPECT_THROW(
        (void)Compressor::train(test::view(test::random_rows(500, 8), 8), options),
        std::logic_error);
}

TEST(TrainingTest, ObeysATimeBudget) {
    const std::vector<float> rows = test::random_rows(1500, 48);
    TrainOptions options = small(40);
    options.time_budget_s = 0.2;
    const auto model = Compressor::train(test::view(rows, 48), options);
    EXPECT_TRUE(model->report().stopped_by_budget);
    // A machine's noise aside: unlimited training of these rows takes several times as long.
    const auto free = Compressor::train(test::view(rows, 48), small(40));
    EXPECT_FALSE(free->report().stopped_by_budget);
    EXPECT_LT(model->report().seconds, free->report().seconds);
    EXPECT_GE(
        free->report().recall.back().recall_at_10 + 0.02,
        model->report().recall.back().recall_at_10);
}

TEST(TrainingTest, BadInputIsRefusedByName) {
    const std::vector<float> good = test::random_rows(300, 8);
    const auto train = [](const std::vector<float>& rows, const TrainOptions& options) {
        (void)Compressor::train(test::view(rows, 8), options);
    };
    std::vector<float> bad = good;
    bad[17 * 8 + 3] = std::nanf("");
    ARFC_EXPECT_ERROR(train(bad, small()), ErrorKind::kInvalidArgument, "row: 17");
    bad = good;
    bad[5] = std::numeric_limits<float>::infinity();
    ARFC_EXPECT_ERROR(train(bad, small()), ErrorKind::kInvalidArgument, "row: 0");
    bad = good;
    std::fill_n(bad.begin() + 8 * 40, 8, 0.0F);
    ARFC_EXPECT_ERROR(train(bad, small()), ErrorKind::kInvalidArgument, "zero row");
    TrainOptions l2 = small();
    l2.metric = Metric::kL2;
    EXPECT_NO_THROW(train(bad, l2)); // A zero row is a place like any other under L2.
    ARFC_EXPECT_ERROR(train({}, small()), ErrorKind::kInvalidArgument, "at least one row");
    ARFC_EXPECT_ERROR(train(good, small(0)), ErrorKind::kInvalidArgument, "bytes: 0");
    ARFC_EXPECT_ERROR(train(good, small(1025)), ErrorKind::kInvalidArgument, "bytes: 1025");
    TrainOptions options = small();
    options.kind = "quantum";
    ARFC_EXPECT_ERROR(train(good, options), ErrorKind::kInvalidArgument, "quantum");
    for (const double seconds : {-1.0, 0.0, static_cast<double>(NAN)}) {
        options = small();
        options.time_budget_s = seconds;
        ARFC_EXPECT_ERROR(
            train(good, options), ErrorKind::kInvalidArgument,
            "Time budget is not a positive number of seconds");
    }
    for (const double mean : {0.0, 1.0, -0.5, static_cast<double>(NAN)}) {
        for (double PrefixSchedule::*const end :
             {&PrefixSchedule::first_mean, &PrefixSchedule::last_mean}) {
            options = small();
            options.prefix_schedule.*end = mean;
            ARFC_EXPECT_ERROR(
                train(good, options), ErrorKind::kInvalidArgument,
                "Mean of the prefixes' lengths is outside (0, 1): ");
        }
    }
    for (const double concentration :
         {0.0, -4.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
        options = small();
        options.prefix_schedule.concentration = concentration;
        ARFC_EXPECT_ERROR(
            train(good, options), ErrorKind::kInvalidArgument,
            "Concentration of the prefixes' lengths is not a positive number: ");
    }
    const std::vector<float> wide(65537, 1.0F);
    ARFC_EXPECT_ERROR(
        (void)Compressor::train({wide.data(), 1, 65537}, small()), ErrorKind::kInvalidArgument,
        "width is outside [1, 65536]: 65537");
    ARFC_EXPECT_ERROR(
        (void)Compressor::train({wide.data(), 1, 0}, small()), ErrorKind::kInvalidArgument,
        "width is outside [1, 65536]: 0");
    EXPECT_NO_THROW(train(good, small(1)));
    options = small();
    options.device = "cuda:7";
    ARFC_EXPECT_ERROR(train(good, options), ErrorKind::kUnsupported, "cuda:7");
}

/// Returns what each of these lengths leaves of the energy of rows, of which 0 is none.
/// @param origin  From where energy counts, in every coordinate.
std::vector<double> errors_of(
    const Compressor& model, const std::vector<float>& rows,
    const std::vector<std::size_t>& lengths, double origin = 0.0) {
    const std::size_t n = rows.size() / model.dim();
    std::vector<double> errors;
    for (const std::size_t bytes : lengths) {
        std::vector<std::byte> codes(n * bytes);
        model.encode(test::view(rows, model.dim()), bytes, {codes.data(), n, bytes});
        std::vector<float> decoded(rows.size());
        model.decode({codes.data(), n, bytes}, {decoded.data(), n, model.dim()});
        double error = 0.0;
        double energy = 0.0;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const double difference = double{rows[i]} - double{decoded[i]};
            error += difference * difference;
            energy += std::pow(double{rows[i]} - origin, 2.0);
        }
        errors.push_back(error / energy);
    }
    return errors;
}

/// Centroids follow the few rows that they average, so codebooks learned from what these leave are
/// too short for others: late tokens then hardly help new rows.
TEST(TrainingTest, LateTokensServeRowsThatComeAfterFewThatTrained) {
    constexpr std::size_t kDim = 64;
    constexpr std::size_t kBytes = 48;
    const std::vector<float> rows = test::random_rows(1200, kDim, 1);
    const std::vector<float> fresh = test::random_rows(500, kDim, 2);
    TrainOptions options = small(kBytes);
    options.metric = Metric::kL2;
    options.relations = false;
    const auto model = Compressor::train(test::view(rows, kDim), options);
    // .0004; .0024 where late ones learn from what is left alone.
    EXPECT_LT(errors_of(*model, fresh, {kBytes})[0], 0.001);
}

TEST(TrainingTest, ManyRowsHaveMoreTokensOverTheWholeSpace) {
    constexpr std::size_t kDim = 4;
    const std::vector<float> rows = test::random_rows(34000, kDim);
    const test::TemporaryDirectory directory;
    TrainOptions options = small(36);
    options.relations = false; // They take longer than all the rest.
    for (const std::size_t count : {std::size_t{34000}, std::size_t{3000}}) {
        options.time_budget_s = count == 34000 ? 4.5 : 1.0; // One thread bears as many rows.
        const auto model = Compressor::train(test::view(rows, kDim).slice(0, count), options);
        model->save(directory / std::to_string(count));
        std::ifstream file(directory / std::to_string(count) / "config.json");
        const nlohmann::json config = nlohmann::json::parse(file);
        const std::vector<std::size_t> expected =
            count == 34000 ? std::vector<std::size_t>{8, 32} : std::vector<std::size_t>{8, 16};
        EXPECT_EQ(config.at("commit_points"), expected);
        EXPECT_EQ(config.at("late_subspaces").size(), 36 - expected.back());

        std::vector<std::byte> whole(50 * 36);
        model->encode(test::view(rows, kDim).slice(0, 50), 36, {whole.data(), 50, 36});
        for (const std::size_t bytes : {1U, 8U, 17U, 24U, 31U, 32U, 33U}) {
            std::vector<std::byte> prefix(50 * bytes);
            model->encode(test::view(rows, kDim).slice(0, 50), bytes, {prefix.data(), 50, bytes});
            for (std::size_t i = 0; i < 50; ++i) {
                EXPECT_TRUE(std::equal(
                    prefix.begin() + static_cast<std::ptrdiff_t>(i * bytes),
                    prefix.begin() + static_cast<std::ptrdiff_t>((i + 1) * bytes),
                    whole.begin() + static_cast<std::ptrdiff_t>(i * 36)))
                    << bytes << " bytes of row " << i;
            }
        }
    }
}

TEST(TrainingTest, OneHypothesisIsKeptAfterTheEighthTokenAndAtTheEnd) {
    const std::vector<float> rows = test::random_rows(600, 8);
    const std::pair<std::size_t, std::vector<std::size_t>> expected[] = {
        {1, {1}}, {5, {5}}, {8, {8}}, {9, {8, 9}}, {20, {8, 16}}};
    for (const auto& [bytes, commit_points] : expected) {
        const auto model = Compressor::train(test::view(rows, 8), small(bytes));
        EXPECT_EQ(read_residual_model(model->files()).model.commit_points, commit_points) << bytes;
    }
}

/// A length, what it leaves of the energy of rows that trained and of others, and how far, as a
/// share, other seeds and machines may be from that.
struct Left {
    std::size_t bytes;
    double trained;
    double fresh;
    double tolerance;
};

TEST(TrainingTest, EveryLengthIsAsCloseAsItWas) {
    constexpr std::size_t kDim = 24;
    // Far from the origin: what is left of them is counted from there.
    constexpr float kFar = 2.0F;
    std::vector<float> rows = test::random_rows(1600, kDim, 1);
    std::vector<float> fresh = test::random_rows(400, kDim, 2);
    for (std::vector<float>* const points : {&rows, &fresh}) {
        std::ranges::transform(*points, points->begin(), [](float value) { return value + kFar; });
    }
    TrainOptions options = small(24);
    options.metric = Metric::kL2;
    options.relations = false;
    // Means of 18 trainings: six seeds under each of three instruction sets of LibTorch's MKL,
    // whose axes differ in their last bits and clusters then in more.
    const Left expected[] = {{1, 0.268, 0.360, 0.04},     {2, 0.136, 0.160, 0.04},
                             {4, 0.0468, 0.0584, 0.04},   {8, 0.0071, 0.0100, 0.05},
                             {16, 2.56e-4, 4.05e-4, 0.1}, {18, 1.95e-4, 3.09e-4, 0.1},
                             {24, 1.1e-5, 2.65e-5, 0.45}};
    std::vector<std::size_t> lengths;
    for (const Left& left : expected) {
        lengths.push_back(left.bytes);
    }
    const auto model = Compressor::train(test::view(rows, kDim), options);
    const std::vector<double> of_trained = errors_of(*model, rows, lengths, double{kFar});
    const std::vector<double> of_fresh = errors_of(*model, fresh, lengths, double{kFar});
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        const Left& left = expected[i];
        EXPECT_NEAR(of_trained[i], left.trained, left.tolerance * left.trained) << left.bytes;
        EXPECT_NEAR(of_fresh[i], left.fresh, left.tolerance * left.fresh) << left.bytes;
    }
    const std::vector<HeldOutRecall>& recall = model->report().recall;
    ASSERT_EQ(recall.size(), 4U); // 4, 8, 16, 24 bytes, by distance.
    EXPECT_GT(recall[0].recall_at_10, 0.2);
    EXPECT_LT(recall[0].recall_at_10, 0.8);
    EXPECT_GT(recall[3].recall_at_10, 0.95);
    const ResidualModel made = read_residual_model(model->files()).model;
    EXPECT_EQ(made.beam_width, 16U);
    EXPECT_EQ(made.late_beam_width, 5U);
    EXPECT_EQ(made.commit_points, (std::vector<std::size_t>{8, 16}));
    EXPECT_EQ(made.late_commit_points, (std::vector<std::size_t>{2, 6, 10}));
    EXPECT_EQ(made.subspace_bounds, (std::vector<std::size_t>{0, 3, 6, 9, 12, 15, 18, 21, 24}));
    EXPECT_EQ(made.norm_shrinkage, 0.0);
}

/// The first rows of a collection may be of one kind.
TEST(TrainingTest, DrawsWhatItHoldsOut) {
    std::vector<float> rows = test::random_rows(1000, 4);
    std::fill_n(rows.begin(), 4 * 100, 0.0F);
    TrainOptions options = small(1);
    options.metric = Metric::kL2;
    const auto model = Compressor::train(test::view(rows, 4), options);
    ASSERT_EQ(model->report().held_out_rows, 50U);
    EXPECT_GT(model->report().residuals.front().share, 0.0); // Of zeros it would be none.
}

TEST(TrainingTest, RunningOutOfMemoryHasAKindOfItsOwn) {
    TrainOptions options = small();
    options.progress = [](const Progress&) -> bool { throw std::bad_alloc(); };
    ARFC_EXPECT_ERROR(
        (void)Compressor::train(test::view(test::random_rows(50, 8), 8), options),
        ErrorKind::kResourceExhausted, "Memory ran out in the compressor; use fewer rows");
}

TEST(TrainingTest, ErrorsOfLibTorchAreErrorsOfTheLibrary) {
    const std::vector<float> rows = test::random_rows(50, 8);
    TrainOptions options = small();
    options.progress = [](const Progress& progress) {
        TORCH_CHECK(progress.total == 0, "no such thing");
        return true;
    };
    ARFC_EXPECT_ERROR(
        (void)Compressor::train(test::view(rows, 8), options), ErrorKind::kInternal,
        "LibTorch failed: no such thing");
    options.progress = [](const Progress& progress) {
        TORCH_CHECK_WITH(OutOfMemoryError, progress.total == 0, "all is full");
        return true;
    };
    ARFC_EXPECT_ERROR(
        (void)Compressor::train(test::view(rows, 8), options), ErrorKind::kResourceExhausted,
        "Device memory ran out: all is full");
}

/// OpenMP, and so LibTorch, has a count of threads for each thread that calls it.
TEST(TrainingTest, LibTorchHasTheThreadsThatTheLibraryHas) {
    const test::ThreadCount threads(2);
    std::future<int> seen = std::async(std::launch::async, [] {
        omp_set_num_threads(1);
        int most = 0;
        TrainOptions options = small(1);
        options.progress = [&](const Progress&) {
            most = std::max(most, omp_get_max_threads());
            return true;
        };
        (void)Compressor::train(test::view(test::random_rows(50, 4), 4), options);
        return most;
    });
    EXPECT_EQ(seen.get(), 2);
}

TEST(TrainingTest, ThreadCountsHaveLimits) {
    const std::size_t before = num_threads();
    for (const std::size_t wrong : {std::size_t{0}, std::size_t{1025}}) {
        ARFC_EXPECT_ERROR(
            set_num_threads(wrong), ErrorKind::kInvalidArgument,
            "Thread count is outside [1, 1024]: " + std::to_string(wrong));
    }
    EXPECT_EQ(num_threads(), before);
    set_num_threads(1024);
    EXPECT_EQ(num_threads(), 1024U);
    set_num_threads(before);
    EXPECT_EQ(num_threads(), before);
}

TEST(TrainingTest, SparesSomeRowsForMeasuring) {
    const struct {
        std::size_t rows;
        std::size_t held_out;
    } cases[] = {{999, 0}, {1000, 50}, {1999, 99}, {21000, 1000}};
    for (const auto& c : cases) {
        TrainOptions options = small(1);
        options.relations = false;
        options.metric = Metric::kL2;
        options.time_budget_s = 3600.0;
        const auto model = Compressor::train(test::view(test::random_rows(c.rows, 2), 2), options);
        EXPECT_EQ(model->report().held_out_rows, c.held_out) << c.rows;
        EXPECT_EQ(model->report().trained_rows, c.rows - c.held_out);
        EXPECT_EQ(model->report().recall.empty(), c.held_out == 0);
    }
}

TEST(TrainingTest, ABudgetDrawsFewerRows) {
    TrainOptions options = small(1);
    options.relations = false;
    options.metric = Metric::kL2;
    options.time_budget_s = 1e-9;
    const auto model = Compressor::train(test::view(test::random_rows(6000, 8), 8), options);
    EXPECT_EQ(model->report().trained_rows, 4096U); // The fewest.
    EXPECT_EQ(model->report().held_out_rows, 300U);
    EXPECT_TRUE(model->report().stopped_by_budget);
}

TEST(TrainingTest, RowsOfAnyWidthAreCodedToTheirEnd) {
    for (const std::size_t dim : {1, 2, 7, 9}) {
        const std::vector<float> rows = test::random_rows(300, dim);
        TrainOptions options = small(20);
        options.metric = Metric::kL2;
        const auto model = Compressor::train(test::view(rows, dim), options);
        const std::vector<double> errors = errors_of(*model, rows, {1, 16, 20});
        EXPECT_LT(errors[1], errors[0]) << dim;
        EXPECT_LE(errors[2], errors[1]) << dim;
        EXPECT_LT(errors[2], 1e-3) << dim;
    }
}

TEST(TrainingTest, RowsOfTwoNumbersAreTurned) {
    for (const std::size_t dim : {1, 2}) {
        std::vector<std::string> stages;
        TrainOptions options = small(18);
        options.metric = Metric::kL2;
        options.progress = [&](const Progress& progress) {
            stages.emplace_back(progress.stage);
            return true;
        };
        const auto tensors = read_safetensors(
            Compressor::train(test::view(test::random_rows(300, dim), dim), options)
                ->files()
                .weights);
        EXPECT_EQ(tensors.contains("rotation"), dim == 2);
        EXPECT_EQ(std::ranges::count(stages, "rotation"), dim == 2 ? 1 : 0);
    }
}

/// Rows in two places: how many there are in all, given and drawn, shows in their mean.
TEST(TrainingTest, TwiceAsManyRowsAreDrawnBesideFew) {
    constexpr std::size_t kGiven = 101;
    std::vector<float> rows(kGiven);
    for (std::size_t i = 0; i < kGiven; ++i) {
        rows[i] = i < 50 ? 0.0F : 1.0F;
    }
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
        TrainOptions options = small(1);
        options.metric = Metric::kL2;
        options.seed = seed;
        const auto model = Compressor::train(test::view(rows, 1), options);
        const double mean = double{read_residual_model(model->files()).model.mean.at(0)};
        EXPECT_NEAR(mean * (3 * kGiven), std::round(mean * (3 * kGiven)), 1e-3);
    }
}

TEST(TrainingTest, RecallIsAShareOfTenNeighboursAQuery) {
    TrainOptions options = small(6);
    options.relations = false;
    const auto model = Compressor::train(test::view(test::random_rows(1200, 8), 8), options);
    ASSERT_EQ(model->report().held_out_rows, 60U);
    ASSERT_EQ(model->report().recall.size(), 2U);
    for (const HeldOutRecall& recall : model->report().recall) {
        const double found = recall.recall_at_10 * 10 * 60;
        EXPECT_NEAR(found, std::round(found), 1e-6) << recall.bytes;
    }
}

TEST(TrainingTest, OneRowIsAModel) {
    const std::vector<float> row = test::random_rows(1, 12);
    const auto model = Compressor::train({row.data(), 1, 12}, small());
    std::vector<std::byte> code(20);
    model->encode({row.data(), 1, 12}, 20, {code.data(), 1, 20});
    std::vector<float> back(12);
    model->decode({code.data(), 1, 20}, {back.data(), 1, 12});
    float norm = 0.0F;
    for (const float value : row) {
        norm += value * value;
    }
    for (std::size_t j = 0; j < 12; ++j) {
        EXPECT_NEAR(back[j], row[j] / std::sqrt(norm), 1e-5);
    }
    EXPECT_EQ(model->report().held_out_rows, 0U);
}

TEST(TrainingTest, EqualRowsAreAModel) {
    std::vector<float> rows;
    for (int i = 0; i < 400; ++i) {
        rows.insert(rows.end(), {1.0F, 2.0F, 3.0F, 4.0F});
    }
    TrainOptions options = small();
    options.metric = Metric::kL2;
    const auto model = Compressor::train({rows.data(), 400, 4}, options);
    std::vector<std::byte> code(20);
    model->encode({rows.data(), 1, 4}, 20, {code.data(), 1, 20});
    std::vector<float> back(4);
    model->decode({code.data(), 1, 20}, {back.data(), 1, 4});
    EXPECT_NEAR(back[3], 4.0F, 1e-5);
}

/// Spread of the sub-spaces' log-variances, an axis on the average, along the axes of a rotation.
double spread_of_subspaces(
    const std::vector<float>& rows, const std::vector<float>& rotation,
    const std::vector<std::size_t>& bounds) {
    const std::size_t d = bounds.back();
    std::vector<double> variance(d, 0.0);
    for (std::size_t first = 0; first < rows.size(); first += d) {
        for (std::size_t j = 0; j < d; ++j) {
            double along = 0.0;
            for (std::size_t c = 0; c < d; ++c) {
                along += double{rotation[j * d + c]} * double{rows[first + c]};
            }
            variance[j] += along * along;
        }
    }
    std::vector<double> means;
    for (std::size_t s = 0; s + 1 < bounds.size(); ++s) {
        double sum = 0.0;
        for (std::size_t j = bounds[s]; j < bounds[s + 1]; ++j) {
            sum += std::log(variance[j]);
        }
        means.push_back(sum / static_cast<double>(bounds[s + 1] - bounds[s]));
    }
    const auto [least, most] = std::minmax_element(means.begin(), means.end());
    return *most - *least;
}

/// Sub-spaces share what the first tokens leave: none has all of the strong axes.
TEST(TrainingTest, SubspacesGetEqualShares) {
    constexpr std::size_t kDim = 32;
    constexpr std::size_t kCount = 600;
    std::vector<float> rows = test::random_rows(kCount, kDim);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] *= std::pow(0.85F, static_cast<float>(i % kDim));
    }
    TrainOptions options = small(18);
    options.metric = Metric::kL2;
    options.relations = false;
    const auto trained = Compressor::train(test::view(rows, kDim), options);
    const ResidualModel model = read_residual_model(trained->files()).model;
    ASSERT_EQ(model.rotation.size(), kDim * kDim);
    std::vector<std::byte> codes(kCount * 16);
    trained->encode(test::view(rows, kDim), 16, {codes.data(), kCount, 16});
    std::vector<float> left(rows.size());
    trained->decode({codes.data(), kCount, 16}, {left.data(), kCount, kDim});
    for (std::size_t i = 0; i < rows.size(); ++i) {
        left[i] = rows[i] - left[i];
    }
    std::vector<float> natural(kDim * kDim, 0.0F);
    for (std::size_t j = 0; j < kDim; ++j) {
        natural[j * kDim + j] = 1.0F;
    }
    EXPECT_GT(spread_of_subspaces(left, natural, model.subspace_bounds), 0.8);
    EXPECT_LT(spread_of_subspaces(left, model.rotation, model.subspace_bounds), 0.4);
}

TEST(TrainingTest, VeryWideRowsTrainAndEncode) {
    const std::size_t dim = 4128; // Beyond what is turned to principal axes.
    const std::vector<float> rows = test::random_rows(60, dim);
    TrainOptions options = small(18);
    options.time_budget_s = 1.0; // How well they are learned is another matter.
    const auto model = Compressor::train(test::view(rows, dim), options);
    std::vector<std::byte> full(60 * 18);
    model->encode(test::view(rows, dim), 18, {full.data(), 60, 18});
    std::vector<std::byte> one(17);
    model->encode({rows.data() + dim, 1, dim}, 17, {one.data(), 1, 17});
    EXPECT_TRUE(std::equal(one.begin(), one.end(), full.begin() + 18));
    EXPECT_GT(std::set<std::byte>(full.begin(), full.end()).size(), 50U);
}

} // namespace
} // namespace arfc
