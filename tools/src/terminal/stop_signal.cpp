#include "terminal/stop_signal.h"

#include <array>
#include <atomic>
#include <csignal>

#include "arfc/base/error.h"

namespace arfc::tools {
namespace {

constexpr std::array<int, 2> kSignals = {SIGINT, SIGTERM};

// Signal handlers reach nothing but globals.
std::atomic<bool> signal_came = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void remember_signal(int /*number*/) {
    signal_came.store(true, std::memory_order_relaxed);
}

} // namespace

StopSignal::StopSignal() {
    struct sigaction action {};
    action.sa_handler = remember_signal;
    action.sa_flags = SA_RESETHAND | SA_RESTART;
    for (const int number : kSignals) {
        ::sigaction(number, &action, nullptr);
    }
}

StopSignal::~StopSignal() {
    for (const int number : kSignals) {
        std::signal(number, SIG_DFL);
    }
    signal_came = false;
}

bool StopSignal::came() noexcept {
    return signal_came.load(std::memory_order_relaxed);
}

void StopSignal::throw_if_came() {
    if (came()) {
        fail(ErrorKind::kCancelled, "Stopped by a signal");
    }
}

} // namespace arfc::tools
