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

for suite in python end_to_end setup mutation; do
    [ -d "tests/$suite" ] || continue
    started=$SECONDS
    .venv/bin/python -m pytest -q -ra --junitxml "$results/$suite.xml" "tests/$suite" "$@" \
        </dev/null | tee "$results/$suite.log"
    status=${PIPESTATUS[0]}
    note "pytest $suite" "$status" $((SECONDS - started)) \
        "$(tail -n 1 "$results/$suite.log" | tr -d '=')"
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
