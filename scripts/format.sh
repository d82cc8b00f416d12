#!/usr/bin/env bash
# Rewrites C++ and Python sources in the project's format.
set -euo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"
cd "$project"
# shellcheck source=sources.sh
. scripts/sources.sh

"$(versioned_tool clang-format)" -i "${cpp_files[@]}"
.venv/bin/ruff format "${python_files[@]}"
.venv/bin/ruff check --fix "${python_files[@]}"
