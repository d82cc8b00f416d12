#include "program.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <vector>

#include "arfc/base/error.h"
#include "subcommand.h"
#include "terminal/exit_code.h"

namespace arfc::tools {
namespace {

/// Sends what any room logs to standard error, as sentences of this program.
void set_up_log() {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto logger = std::make_shared<spdlog::logger>("arfc", std::move(sink));
    logger->set_pattern("arfc: %v");
    spdlog::set_default_logger(std::move(logger));
}

/// Reads the arguments and runs what they ask for.
/// @throws CLI::ParseError  They are wrong, or ask for help or the version.
void parse_and_run(int argc, const char* const* argv) {
    CLI::App app("One code, every length: compressed embeddings with nested prefixes.", "arfc");
    TerminalOptions options;
    app.set_version_flag("--version", "arfc " ARFC_VERSION);
    app.add_flag(
        "--json", options.json, "Write the result as JSON; nothing else on standard output");
    app.add_flag("--quiet", options.quiet, "Write no progress and no notes");
    app.require_subcommand(1);
    app.fallthrough(); // The flags above may follow the sub-command too.
    app.footer("Exit codes: 0 success, 2 wrong arguments; docs/cli.md lists the others.");
    std::vector<std::pair<CLI::App*, Run>> commands;
    for (const Subcommand& row : subcommands()) {
        CLI::App* const command =
            app.add_subcommand(std::string(row.name), std::string(row.summary));
        command->footer(
            "--json and --quiet go with every sub-command; see arfc --help.\nExample:\n  " +
            std::string(row.example));
        commands.emplace_back(command, row.declare(*command));
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        const std::vector<CLI::App*> asked = app.get_subcommands();
        std::cout << (asked.empty() ? app.help() : asked.front()->help("arfc"));
        return;
    } catch (const CLI::CallForVersion& version) {
        std::cout << version.what() << '\n';
        return;
    }
    spdlog::set_level(options.quiet ? spdlog::level::err : spdlog::level::info);
    Terminal terminal(options);
    for (const auto& [command, run] : commands) {
        if (command->parsed()) {
            run(terminal);
        }
    }
}

} // namespace

int run_program(int argc, const char* const* argv) noexcept {
    try {
        set_up_log();
        parse_and_run(argc, argv);
        return 0;
    } catch (const Error& error) {
        spdlog::error("{}", error.what());
        return exit_code(error.kind());
    } catch (const CLI::ParseError& error) {
        spdlog::error("{}; see arfc --help", error.what());
        return exit_code(ErrorKind::kInvalidArgument);
    } catch (const std::bad_alloc&) {
        spdlog::error("Memory ran out");
        return exit_code(ErrorKind::kResourceExhausted);
    } catch (const std::exception& error) {
        spdlog::error("This is a bug of arfc: {}", error.what());
        return exit_code(ErrorKind::kInternal);
    }
}

} // namespace arfc::tools
