#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "terminal/terminal.h"

namespace CLI {
class App;
} // namespace CLI

namespace arfc::tools {

/// Does a sub-command's work after its arguments were read. May throw.
using Run = std::function<void(Terminal&)>;

/// A sub-command: one row of the table in subcommands.cpp and one source file.
struct Subcommand {
    std::string_view name;    ///< As typed.
    std::string_view summary; ///< One sentence.
    std::string_view example; ///< A command line that works, for `--help`.

    /// Declares the options on `command`. @returns what runs with their values.
    Run (*declare)(CLI::App& command);
};

/// Returns every sub-command.
[[nodiscard]] std::span<const Subcommand> subcommands() noexcept;

// One function a sub-command, each in the file of its name.
Run declare_train(CLI::App& command);
Run declare_ingest(CLI::App& command);
Run declare_search(CLI::App& command);
Run declare_serve(CLI::App& command);
Run declare_inspect(CLI::App& command);
Run declare_drift(CLI::App& command);
Run declare_plan(CLI::App& command);

} // namespace arfc::tools
