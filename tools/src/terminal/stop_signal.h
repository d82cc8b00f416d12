#pragma once

namespace arfc::tools {

/// Turns the first SIGINT or SIGTERM into a question that long work asks between two steps; the
/// second one ends the process as if nobody listened. One object a process at a time.
class StopSignal {
  public:
    StopSignal();
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;
    ~StopSignal();

    /// Returns whether a signal came. Cheap; may be called from every thread.
    [[nodiscard]] static bool came() noexcept;

    /// @throws Error  kCancelled: a signal came.
    static void throw_if_came();
};

} // namespace arfc::tools
