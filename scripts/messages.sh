# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the other scripts: how they speak, and where things are. Needs bash.

# The project's root, and arfc's folder in the user's cache directory.
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/arfc

say() {
    printf 'arfc: %s\n' "$*"
}

# Ends the script with one sentence.
fail() {
    printf 'arfc: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in a log; on failure shows the log's end and where the rest is.
quietly() { # quietly LOG COMMAND...
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        fail "Command failed, its whole output is in $log: $*"
    fi
}

# Waits for, then holds a lock until the script ends, so that two runs do not build the same thing
# twice.
hold_lock() { # hold_lock FILE WHAT
    mkdir -p "$(dirname "$1")"
    exec {lock}>"$1"
    if ! flock --nonblock "$lock"; then
        say "Another run makes $2; waiting for it"
        flock "$lock"
    fi
}

# Prints how many files to compile at a time: one a core, as far as there are 2 GiB of memory for
# each (LibTorch's headers are large).
parallel_jobs() {
    local room cores
    cores=$(nproc)
    room=$(awk '/^MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo)
    echo $((room < 1 ? 1 : room < cores ? room : cores))
}
