#include <CLI/CLI.hpp>
#include <csignal>
#include <memory>

#include "arfc/base/error.h"
#include "arfc/server/server.h"
#include "count_option.h"
#include "subcommand.h"

namespace arfc::tools {
namespace {

/// Keeps SIGINT and SIGTERM from ending the process, in this thread and in those that it starts
/// from now on, until wait() takes one.
class AwaitedSignals {
  public:
    AwaitedSignals() {
        ::sigemptyset(&signals_);
        ::sigaddset(&signals_, SIGINT);
        ::sigaddset(&signals_, SIGTERM);
        ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    }
    AwaitedSignals(const AwaitedSignals&) = delete;
    AwaitedSignals& operator=(const AwaitedSignals&) = delete;
    ~AwaitedSignals() { ::pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr); }

    /// Returns when the first one comes; a second one ends the process as usual.
    void wait() {
        int number = 0;
        if (::sigwait(&signals_, &number) != 0) {
            fail(ErrorKind::kInternal, "Signals cannot be waited for");
        }
        ::pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
    }

  private:
    sigset_t signals_{};
};

void serve(const ServerOptions& options, Terminal& terminal) {
    AwaitedSignals signals; // Before the server's threads start, so that they inherit it.
    const auto server = Server::start(options);
    terminal.result({{"url", server->url()}}, "listening on " + server->url() + "\n");
    signals.wait();
    terminal.note("Stopping after the requests that are running");
    server->stop();
}

} // namespace

Run declare_serve(CLI::App& command) {
    const auto options = std::make_shared<ServerOptions>();
    command
        .add_option("data,--data", options->data_directory, "Directory that holds the collections")
        ->required();
    command.add_option("--address", options->address, "Loopback address to listen on")
        ->capture_default_str();
    add_count(
        command, "--port", options->port, "Port; 0: any free one, see the line that is printed")
        ->capture_default_str();
    add_count(
        command, "--threads", options->threads,
        "Requests that are worked on at once; default: one a core, at least 4");
    return [options](Terminal& terminal) { serve(*options, terminal); };
}

} // namespace arfc::tools
