#!/usr/bin/env bash
# Checks formats, names, headers that stand alone, arrows between rooms, and the scripts. Runs every
# check, then sums up; the exit code is 0 only if all are clean.
#
#   scripts/lint.sh [CHECK...]      by default all of: format tidy headers arrows ruff shell
set -uo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"
cd "$project" || exit 1
# shellcheck source=sources.sh
. scripts/sources.sh

configure() {
    [ -f build/dev/build.ninja ] || quietly build/dev-configure.log cmake --preset dev
}

check_format() {
    "$(versioned_tool clang-format)" --dry-run --Werror "${cpp_files[@]}"
}

# Looks at each translation unit that changed, or whose headers or rules changed, since it was last
# clean.
check_tidy() {
    configure || return
    .venv/bin/python scripts/tidy.py --tidy "$(versioned_tool clang-tidy)" --build build/dev \
        --jobs "$(parallel_jobs)"
}

check_headers() {
    configure &&
        cmake --build --preset dev -j "$(parallel_jobs)" --target all_verify_interface_header_sets
}

check_arrows() {
    .venv/bin/python scripts/check_arrows.py
}

check_ruff() {
    local status=0
    .venv/bin/ruff check "${python_files[@]}" || status=1
    .venv/bin/ruff format --check "${python_files[@]}" || status=1
    return "$status"
}

check_shell() {
    local file
    for file in "${shell_files[@]}"; do
        bash -n "$file" || return
    done
    command -v shellcheck >/dev/null ||
        fail "shellcheck is missing, install it with: apt-get install shellcheck"
    shellcheck -x "${shell_files[@]}"
}

checks=("$@")
[ $# -gt 0 ] || checks=(format arrows ruff shell headers tidy)
summary=()
failed=0
for check in "${checks[@]}"; do
    declare -F "check_$check" >/dev/null ||
        fail "Check is not known, expected one of format tidy headers arrows ruff shell: $check"
    started=$SECONDS
    outcome=clean
    ("check_$check") || { outcome=DIRTY && failed=1; }
    summary+=("$(printf '%-8s %s, %d s' "$check" "$outcome" $((SECONDS - started)))")
done
say "Lint"
printf '    %s\n' "${summary[@]}"
exit $failed
