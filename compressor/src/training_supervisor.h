#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"

namespace arfc {

/// Follows the clock, the budget and the caller's wish.
class TrainingSupervisor {
  public:
    explicit TrainingSupervisor(const TrainOptions& options) : options_(options) {}

    /// @param even  Whether steps take about equally long, so that time left can be told.
    void begin(std::string stage, std::size_t done, std::size_t total, bool even = true) {
        even_ = even;
        stage_ = std::move(stage);
        done_ = done;
        total_ = total;
        report();
    }
    void set_error(double error) { error_ = error; }
    void set_recall(double recall) { recall_ = recall; }

    /// Keeps a share of the budget back from the deadlines that are set from now on.
    void reserve(double share) { reserved_ = share; }

    /// Sets the share of the budget, less what is reserved, that may be spent before go_on()
    /// answers false.
    void set_deadline(double share) {
        share_ = share * (1.0 - reserved_);
        set_at_ = seconds();
    }
    /// Returns which share of the time from set_deadline() to it has gone, in [0, 1]; 0 without a
    /// budget.
    [[nodiscard]] double spent() const {
        if (!options_.time_budget_s) {
            return 0.0;
        }
        const double time = share_ * *options_.time_budget_s - set_at_;
        return time > 0.0 ? std::clamp((seconds() - set_at_) / time, 0.0, 1.0) : 1.0;
    }

    /// Returns the seconds to the deadline; infinitely many without a budget.
    [[nodiscard]] double time_left() const {
        return options_.time_budget_s ? std::max(share_ * *options_.time_budget_s - seconds(), 0.0)
                                      : std::numeric_limits<double>::infinity();
    }

    /// Reports, and answers whether time is left. @throws Error  kCancelled.
    bool go_on() {
        if (since(reported_) > 0.2) {
            report();
        }
        const bool in_time =
            !options_.time_budget_s || seconds() < share_ * *options_.time_budget_s;
        stopped_by_budget_ = stopped_by_budget_ || !in_time;
        return in_time;
    }
    void report() {
        reported_ = Clock::now();
        if (!options_.progress) {
            return;
        }
        Progress progress{stage_, done_, total_, error_, recall_, std::nullopt};
        const double share_done =
            static_cast<double>(done_) / static_cast<double>(std::max<std::size_t>(total_, 1));
        if (share_done > 0.0 && even_) {
            progress.seconds_left = seconds() * (1.0 - share_done) / share_done;
        }
        if (!options_.progress(progress)) {
            fail(ErrorKind::kCancelled, "Training was cancelled at step ", done_, " of ", total_);
        }
    }
    /// Returns the time spent, in earlier runs too.
    [[nodiscard]] double seconds() const { return before_ + since(start_); }
    /// Counts what runs spent of which this one is the continuation.
    void add_seconds(double seconds) { before_ += seconds; }
    void set_stopped_by_budget() { stopped_by_budget_ = true; }
    [[nodiscard]] bool stopped_by_budget() const noexcept { return stopped_by_budget_; }

  private:
    using Clock = std::chrono::steady_clock;

    static double since(Clock::time_point start) {
        return std::chrono::duration<double>(Clock::now() - start).count();
    }

    const TrainOptions& options_;
    Clock::time_point start_ = Clock::now();
    Clock::time_point reported_ = start_;
    double before_ = 0.0;
    std::string stage_;
    std::size_t done_ = 0;
    std::size_t total_ = 0;
    std::optional<double> error_;
    std::optional<double> recall_;
    bool even_ = true;
    double reserved_ = 0.0;
    double share_ = 1.0;
    double set_at_ = 0.0; ///< Seconds.
    bool stopped_by_budget_ = false;
};

} // namespace arfc
