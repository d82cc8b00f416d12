#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "arfc/base/progress.h"
#include "terminal/json.h"

namespace arfc::tools {

/// Writes one line of progress, at most `columns` wide, cut at the right where it must be:
/// "ingest [######......]  50 % 1,024 of 2,048 rows".
/// @param fraction  Work done, in [0, 1]; nothing where unknown: no bar.
[[nodiscard]] std::string progress_line(
    std::string_view label, std::optional<double> fraction, std::string_view detail,
    std::size_t columns);

/// Says what a training reports: "12 of 96, error 0.123, held-out recall 0.945, 12 s left".
[[nodiscard]] std::string training_detail(const Progress& progress);

/// Decides when progress is worth showing: on a terminal ten times a second, elsewhere after 0, 1,
/// 3, 7, ... seconds, at last every minute, so that a log of a long load stays short.
class ProgressPace {
  public:
    explicit ProgressPace(bool is_terminal) : is_terminal_(is_terminal) {}

    /// @param elapsed  Since the work began. @returns whether to show it now; then it counts as
    /// shown.
    [[nodiscard]] bool due(std::chrono::duration<double> elapsed);

  private:
    bool is_terminal_;
    double next_s_ = 0;
    double interval_s_ = 1;
};

/// How a program run talks.
struct TerminalOptions {
    bool json = false;  ///< Results as JSON.
    bool quiet = false; ///< No progress and no notes; errors and results only.
};

/// The two streams of the program: results go to standard output, everything else to standard
/// error. Not thread-safe.
class Terminal {
  public:
    explicit Terminal(const TerminalOptions& options);
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;
    ~Terminal(); ///< Ends a progress line that was left open.

    /// Says something about the run, on standard error: "arfc: <sentence>".
    void note(const std::string& sentence);

    /// Shows how far `label` has come, where it is time to.
    void progress(std::string_view label, std::optional<double> fraction, std::string_view detail);

    /// Shows the last state of `label`, and leaves it standing.
    void finish_progress(std::string_view label, std::string_view detail);

    /// Returns a function that shows the progress of a training and ends it when a StopSignal came.
    /// It refers to this object.
    [[nodiscard]] ProgressFunction training_progress(std::string label);

    /// Writes the result: the JSON on one line where --json asks for it, else the text.
    /// @throws Error  kIo: standard output refuses it.
    void result(const Json& json, const std::string& text);

  private:
    void draw(const std::string& line);
    void end_line();

    TerminalOptions options_;
    bool is_terminal_;
    bool line_open_ = false;
    std::string label_; // Of the work that is under way.
    std::chrono::steady_clock::time_point started_;
    ProgressPace pace_;
};

} // namespace arfc::tools
