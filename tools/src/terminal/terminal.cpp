#include "terminal/terminal.h"

#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "arfc/base/error.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kBarWidth = 24;
constexpr std::size_t kLogColumns = 1000; // A log has no edge.

std::size_t terminal_columns() {
    struct winsize size {};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

} // namespace

std::string progress_line(
    std::string_view label, std::optional<double> fraction, std::string_view detail,
    std::size_t columns) {
    std::string line(label);
    if (fraction && std::isfinite(*fraction)) {
        const double share = std::clamp(*fraction, 0.0, 1.0);
        const auto filled = static_cast<std::size_t>(share * kBarWidth);
        const std::string percent = with_digits(std::floor(share * 100), 0);
        line += " [" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] " +
                std::string(3 - std::min<std::size_t>(3, percent.size()), ' ') + percent + " %";
    }
    line += " ";
    line += detail;
    if (line.size() > columns) {
        line.resize(columns);
    }
    return line;
}

std::string training_detail(const Progress& progress) {
    std::string detail = progress.total > 0
                           ? grouped(progress.done) + " of " + grouped(progress.total)
                           : grouped(progress.done);
    if (progress.error) {
        detail += ", error " + with_digits(*progress.error, 3);
    }
    if (progress.held_out_recall) {
        detail += ", held-out recall " + with_digits(*progress.held_out_recall, 3);
    }
    if (progress.seconds_left) {
        detail += ", " + readable_seconds(*progress.seconds_left) + " left";
    }
    return detail;
}

bool ProgressPace::due(std::chrono::duration<double> elapsed) {
    if (elapsed.count() < next_s_) {
        return false;
    }
    constexpr double kTerminalInterval = 0.1;
    constexpr double kLongestInterval = 60;
    next_s_ = elapsed.count() + (is_terminal_ ? kTerminalInterval : interval_s_);
    interval_s_ = std::min(2 * interval_s_, kLongestInterval);
    return true;
}

Terminal::Terminal(const TerminalOptions& options)
    : options_(options), is_terminal_(::isatty(STDERR_FILENO) == 1), pace_(is_terminal_) {}

Terminal::~Terminal() {
    end_line();
}

void Terminal::note(const std::string& sentence) {
    end_line();
    spdlog::info("{}", sentence);
}

void Terminal::progress(
    std::string_view label, std::optional<double> fraction, std::string_view detail) {
    const auto now = std::chrono::steady_clock::now();
    if (label_ != label) {
        end_line();
        label_ = label;
        started_ = now;
        pace_ = ProgressPace(is_terminal_);
    }
    if (!options_.quiet && pace_.due(now - started_)) {
        draw(progress_line(
            label, fraction, detail, is_terminal_ ? terminal_columns() - 1 : kLogColumns));
    }
}

void Terminal::finish_progress(std::string_view label, std::string_view detail) {
    if (!options_.quiet) {
        draw(
            progress_line(label, 1.0, detail, is_terminal_ ? terminal_columns() - 1 : kLogColumns));
    }
    end_line();
    label_.clear();
}

ProgressFunction Terminal::training_progress(std::string label) {
    return [this, label = std::move(label)](const Progress& step) {
        std::optional<double> fraction;
        if (step.total > 0) {
            fraction = static_cast<double>(step.done) / static_cast<double>(step.total);
        }
        progress(label + " (" + std::string(step.stage) + ")", fraction, training_detail(step));
        return !StopSignal::came();
    };
}

void Terminal::result(const Json& json, const std::string& text) {
    end_line();
    const std::string line = options_.json ? to_text(json) + "\n" : text;
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() ||
        std::fflush(stdout) != 0) {
        fail(ErrorKind::kIo, "Result cannot be written to standard output, bytes: ", line.size());
    }
}

void Terminal::draw(const std::string& line) {
    if (!is_terminal_) {
        spdlog::info("{}", line);
        return;
    }
    std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
    std::fflush(stderr);
    line_open_ = true;
}

void Terminal::end_line() {
    if (line_open_) {
        std::fputc('\n', stderr);
        line_open_ = false;
    }
}

} // namespace arfc::tools
