#!/usr/bin/env bash
# Builds the preset `asan` or `tsan` and runs the C++ tests in it.
#
#   scripts/sanitize.sh asan|tsan
#
# Our own code is instrumented; LibTorch, RocksDB and FAISS are not. What that makes the sanitizers
# misjudge is named in cmake/sanitizers and in CMakePresets.json's test presets, and nothing else is
# suppressed.
set -euo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"
cd "$project"

preset=${1:?usage: scripts/sanitize.sh asan|tsan}
[ -f "build/$preset/build.ninja" ] ||
    quietly "build/$preset-configure.log" cmake --preset "$preset"
cmake --build --preset "$preset" -j "$(parallel_jobs)"
ctest --preset "$preset" -j 2 </dev/null
