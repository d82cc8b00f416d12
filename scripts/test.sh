#!/usr/bin/env bash
# Runs every test of a build that setup.sh made, and sums up. Arguments go to pytest.
#
# The exit code is 0 only if every suite passed. Reports are left in build/test-results.
set -uo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"
cd "$project" || exit 1

results=$project/build/test-results
rm -rf "$results"
mkdir -p "$results/gtest"

failed=0
summary=()

# Notes a suite's outcome. `TOTALS` is a sentence about what it counted.
note() { # note NAME STATUS SECONDS TOTALS
    local outcome=passed
    if [ "$2" != 0 ]; then
        outcome=FAILED
        failed=1
    fi
    summary+=("$(printf '%-18s %-7s %4d s   %s' "$1" "$outcome" "$3" "$4")")
}

# Adds up an attribute over test reports: sum tests FILE...
sum() {
    local name=$1
    shift
    cat "$@" 2>/dev/null | sed -n "s/.*<testsuites.* $name=\"\([0-9]*\)\".*/\1/p" |
        awk '{n += $1} END {print n + 0}'
}

started=$SECONDS
GTEST_OUTPUT="xml:$results/gtest/" ctest --preset release -j 2 </dev/null
status=$?
note "C++ (ctest)" $status $((SECONDS - started)) \
    "$(sum tests "$results"/gtest/*.xml) tests, $(sum failures "$results"/gtest/*.xml) failures"

# Runs suites one after the other; what they say goes to their logs.
lane() { # lane SUITE...
    local suite started
    for suite in "$@"; do
        [ -d "tests/$suite" ] || continue
        started=$SECONDS
        .venv/bin/python -m pytest -q -ra --junitxml "$results/$suite.xml" "tests/$suite" \
            "${arguments[@]}" </dev/null >"$results/$suite.log" 2>&1
        echo "$? $((SECONDS - started))" >"$results/$suite.status"
    done
}

say "Suites of pytest, two at a time; as they go on they are in build/test-results"
# Two lanes of about the same length: most of what the longest suite does is waiting.
arguments=("$@")
set -m # Process groups of their own, so that they can be ended with all that they started.
lane end_to_end &
first=$!
lane python setup mutation &
second=$!
set +m
trap 'kill -INT -- "-$first" "-$second" 2>/dev/null; exit 130' INT TERM
wait "$first" "$second"
trap - INT TERM
for suite in python end_to_end setup mutation; do
    [ -d "tests/$suite" ] || continue
    cat "$results/$suite.log"
    status=1 seconds=0 # Of a suite whose lane was killed.
    [ ! -f "$results/$suite.status" ] || read -r status seconds <"$results/$suite.status"
    note "pytest $suite" "$status" "$seconds" "$(tail -n 1 "$results/$suite.log" | tr -d '=')"
done

echo
say "Tests, $SECONDS s in all"
printf '    %s\n' "${summary[@]}"
if [ $failed = 0 ]; then
    say "Every suite passed"
else
    say "At least one suite FAILED; reports are in build/test-results" >&2
fi
exit $failed
