#pragma once

namespace arfc::tools {

/// Runs `arfc` as its arguments say. Throws nothing.
/// @returns the process's exit code: 0, or the error's as docs/cli.md lists them.
[[nodiscard]] int run_program(int argc, const char* const* argv) noexcept;

} // namespace arfc::tools
