#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/compressor/compressor.h"
#include "learning_state.h"
#include "training_supervisor.h"

namespace arfc {

/// Raised where a training learns other things from the same rows and options, so that no model is
/// made half by one build and half by another.
inline constexpr int kCheckpointFormat = 5;

/// Keeps what a training has learned on disk, step by step, so that it can go on after a crash.
///
/// A step is whatever costs time and gives few numbers: principal axes, a codebook, the
/// fine-tuning. Everything between steps (turning rows, choosing symbols) follows from them and is
/// done again. So a training that resumes runs through the same code, and takes from the checkpoint
/// the steps that are there; what it learns then is, bit for bit, what it would have learned
/// without the interruption, as long as no time budget cuts in.
///
/// The file `training.checkpoint` is replaced whole or not at all:
///
///     arfc training checkpoint\n
///     SHA-256 of all that follows, 64 hexadecimal digits\n
///     {"format", "options", "most_rows", "rows", "seconds", "steps", "unfinished"}\n
///     safetensors: "<number of the step>/<name>"
///
/// Without a directory nothing is kept and every step is learned.
class TrainingCheckpoint {
  public:
    /// Reads the checkpoint where `options.resume` asks for it. The references are kept.
    /// @param embeddings  What the training was given; its shape must be the checkpoint's.
    /// @throws Error  kInvalidArgument: resume without a directory, or not a period in seconds.
    ///                kNotFound: no checkpoint there. kFailedPrecondition: of other options, or of
    ///                another schedule of prefixes after relations have begun.
    ///                kCorruption. kUnsupported: of another format. kIo.
    TrainingCheckpoint(
        MatrixView<const float> embeddings, const TrainOptions& options,
        TrainingSupervisor& supervisor);

    /// Returns how many rows training may draw: as many as when it began.
    [[nodiscard]] std::size_t most_rows(std::size_t affordable);

    /// Takes the digest of the rows that were drawn.
    /// @throws Error  kFailedPrecondition: the checkpoint is of other rows.
    void expect_rows(std::span<const float> trained, std::span<const float> held_out);

    /// Returns what a step gave, from the checkpoint or by learning it now, and keeps it; writes
    /// the checkpoint when it is time to. Steps come in the same order in every run.
    /// @throws Error  kCorruption: the checkpoint holds other steps. Kinds of `learn` and write().
    LearningState learned(const std::string& step, const std::function<LearningState()>& learn);

    /// The same for a step that gives `count` floats.
    std::vector<float> learned(
        const std::string& step, std::size_t count,
        const std::function<std::vector<float>()>& learn);

    /// Returns where a step stood that the checkpoint caught on its way.
    [[nodiscard]] std::optional<LearningState> unfinished(const std::string& step) const;

    /// Writes the checkpoint with a step on its way, if it is time to.
    void offer(const std::string& step, const std::function<LearningState()>& state);

    /// Writes what was learned since the last time, if anything was.
    /// @throws Error  kIo, kResourceExhausted; the checkpoint before it is then still there.
    void write();

  private:
    struct Step {
        std::string name;
        LearningState state;
        bool stopped_by_budget = false; ///< As it stood after the step.
    };
    [[nodiscard]] bool kept() const noexcept { return !options_.checkpoint.empty(); }
    [[nodiscard]] bool due() const;
    void read();
    void read_header(const nlohmann::json& header);
    void require_options(const nlohmann::json& stored) const;
    [[nodiscard]] std::string contents() const;

    const TrainOptions& options_;
    TrainingSupervisor& supervisor_;
    std::filesystem::path file_;
    nlohmann::ordered_json shape_; ///< Options and sizes that the model depends on.
    std::optional<std::size_t> most_rows_;
    std::string rows_; ///< Digest of the rows; empty until they are drawn.
    std::vector<Step> steps_;
    std::size_t replayed_ = 0; ///< Of steps_, those that this run has come by.
    std::optional<Step> unfinished_;
    bool changed_ = false; ///< Since the file was read or written.
    std::chrono::steady_clock::time_point written_ = std::chrono::steady_clock::now();
};

} // namespace arfc
