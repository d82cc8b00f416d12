#!/usr/bin/env bash
# Builds and runs the benchmarks of the release build, one after the other. Arguments go to each.
set -euo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"
cd "$project"

cmake --build --preset release --target benchmarks -j "$(parallel_jobs)"
for program in build/release/benchmarks/bin/*; do
    [ -x "$program" ] || fail "There are no benchmarks in build/release/benchmarks/bin"
    say "$(basename "$program")"
    "$program" "$@"
done
