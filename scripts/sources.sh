# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by lint.sh and format.sh: the files they look at. Needs messages.sh and the project as
# working folder.

# The project's files of some kinds, tracked or new, without those that Git ignores: files
# PATTERN...
files() {
    git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done
}
mapfile -t cpp_files < <(files '*.cpp' '*.h' '*.inc')
mapfile -t python_files < <(files '*.py' '*.pyi')
mapfile -t shell_files < <(files '*.sh' .ci/run)

# Prints the tool of the version that formats are settled with, or whichever there is.
versioned_tool() { # versioned_tool NAME
    command -v "$1-14" || command -v "$1" ||
        fail "$1 is missing, install it with: apt-get install $1-14"
}
