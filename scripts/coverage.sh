#!/usr/bin/env bash
# Builds the preset `coverage`, runs the C++ tests of base, compressor, storage and index in it, and
# says which share of each room's lines ran. Fails below 85 % of a room.
#
#   scripts/coverage.sh [--missing]      also prints the lines that never ran
set -euo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"
cd "$project"

build=build/coverage
[ -f "$build/build.ninja" ] || quietly "$build-configure.log" cmake --preset coverage
cmake --build --preset coverage -j "$(parallel_jobs)"
# Counts of earlier runs would be added to, and do not fit objects that were compiled anew.
find "$build" -name '*.gcda' -delete
status=0
ctest --preset coverage -j 2 </dev/null || status=$?
# The gcov beside the compiler reads what it wrote; another version's does not.
gcov=gcov-$(c++ -dumpversion)
command -v "$gcov" >/dev/null || gcov=gcov
.venv/bin/python scripts/coverage.py --build "$build" --at-least 85 --gcov "$gcov" "$@" || status=1
exit "$status"
