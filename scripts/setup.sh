#!/usr/bin/env bash
# Sets up everything that arfc needs, builds it and installs it into the project's .venv.
#
#   scripts/setup.sh [--wheelhouse DIR] [--no-system] [--lint] [--dependencies-only]
#
#   --wheelhouse DIR      Offline: Python packages, and FAISS's source where it is not built yet,
#                         come from DIR alone.
#   --no-system           Leave the distribution's packages alone.
#   --lint                Also what `make lint` needs: clang-format, clang-tidy and shellcheck.
#   --dependencies-only   Neither build nor install arfc itself.
#
# Says first what it will do and how large it is, skips what is there, and may be run again at any
# time. Environment: PYTHON names the interpreter (python3); faiss_ROOT the prefix of an installed
# FAISS >= 1.7.3 with AVX2; ARFC_TORCH_INDEX a package index to take torch from; XDG_CACHE_HOME
# where the cache lies.
set -euo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"

python=${PYTHON:-python3}
wheelhouse=
system=1
lint=0
dependencies_only=0
while [ $# -gt 0 ]; do
    case "$1" in
        --wheelhouse)
            [ $# -ge 2 ] || fail "--wheelhouse needs a folder"
            [ -d "$2" ] || fail "The wheelhouse is not a folder: $2"
            wheelhouse=$(cd "$2" && pwd)
            shift
            ;;
        --no-system) system=0 ;;
        --lint) lint=1 ;;
        --dependencies-only) dependencies_only=1 ;;
        -h | --help)
            sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        *) fail "Option is not known, see scripts/setup.sh --help: $1" ;;
    esac
    shift
done
# What pip is told about where packages come from.
# shellcheck disable=SC2034 # Read by environment.sh.
pip_source=()
[ -z "$wheelhouse" ] || pip_source=(--no-index --find-links "$wheelhouse")

# shellcheck source=system_packages.sh
. "$project/scripts/system_packages.sh"
# shellcheck source=environment.sh
. "$project/scripts/environment.sh"
# shellcheck source=faiss.sh
. "$project/scripts/faiss.sh"

# Where the distribution's packages are concerned: which are missing, and how they get here.
plan_packages() {
    packages=()
    if [ "$system" = 0 ]; then
        say "  distribution packages  left alone (--no-system)"
        return
    fi
    if [ -z "$(distribution)" ]; then
        say "  distribution packages  not known here (no apt); CMake will name what it misses"
        return
    fi
    mapfile -t packages < <(wanted_packages "$lint" | missing_packages)
    if [ ${#packages[@]} -eq 0 ]; then
        say "  distribution packages  present"
        return
    fi
    local megabytes
    megabytes=$(download_megabytes "${packages[@]}")
    say "  distribution packages  to install, ${megabytes:-about 200} MB to download:" \
        "${packages[*]}"
}

plan_environment() {
    local missing flavour size="about 190 MB"
    flavour=$(torch_flavour)
    [ "$flavour" = cpu ] || size="about 3,000 MB with the CUDA libraries"
    missing=
    if [ -x "$venv/bin/python" ] && [ ! -e "$venv/.incomplete" ]; then
        missing=$(missing_requirements "$venv" | tr '\n' ' ')
        if [ -z "$missing" ]; then
            say "  Python packages        present in .venv"
            return
        fi
        say "  Python packages        to install into .venv: $missing"
    elif [ -f "$(base_environment)/.complete" ]; then
        say "  Python packages        in the cache; .venv will share its files"
    else
        say "  Python packages        to install, about 230 MB to download; LibTorch, which is" \
            "torch $torch_version, $flavour build: $size more (1,600 MB on disk, kept in $cache)"
    fi
}

plan_faiss() {
    local root
    root=$(installed_faiss)
    if [ -n "$root" ]; then
        say "  FAISS                  present in $root"
    elif [ -f "$venv/faiss/.complete" ]; then
        say "  FAISS                  present in .venv/faiss"
    elif [ -f "$(faiss_prefix)/.complete" ]; then
        say "  FAISS                  in the cache"
    else
        say "  FAISS                  to build from source in a minute or two, about 60 MB of package" \
            "lists and source to download (17 MB on disk, kept in $cache)"
    fi
}

install_packages() {
    [ ${#packages[@]} -gt 0 ] || return 0
    local as_root=() line="apt-get install -y --no-install-recommends ${packages[*]}"
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
            as_root=(sudo)
        else
            say "Distribution packages are missing and this user may not install them." \
                "Run this line, then setup again:"
            say "    sudo $line"
            exit 1
        fi
    fi
    say "Installing ${#packages[@]} distribution packages"
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    "${as_root[@]}" apt-get -qq update </dev/null
    "${as_root[@]}" apt-get -q -o Dpkg::Use-Pty=0 install -y --no-install-recommends \
        "${packages[@]}" </dev/null
    mkdir -p "$cache"
    printf '%s\n' "${packages[@]}" >>"$cache/installed-packages"
}

# Ends with one sentence at the first tool that is missing or too old.
check_tools() {
    local tool
    for tool in c++:g++ cmake:cmake make:make ninja:ninja-build flock:util-linux; do
        command -v "${tool%:*}" >/dev/null ||
            fail "${tool%:*} is missing, install it with: apt-get install ${tool#*:}"
    done
    local version
    version=$(cmake --version | sed -n '1s/[^0-9]*//p')
    [ "$(printf '%s\n' 3.25 "$version" | sort -V | head -n 1)" = 3.25 ] ||
        fail "CMake is too old, install 3.25 or newer: $version"
    command -v "$python" >/dev/null ||
        fail "$python is missing, install it with: apt-get install python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python is too old, name one of 3.11 or newer in PYTHON: $("$python" --version)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments, install: apt-get install python3-venv"
    python_is_complete ||
        fail "$python has no headers to build modules with, install: apt-get install python3-dev"
}

build_arfc() {
    cd "$project"
    if [ ! -f build/release/build.ninja ]; then
        quietly build/configure.log cmake --preset release
    fi
    cmake --build --preset release -j "$(parallel_jobs)"
}

# Installs the package from the files that the release build made, where they are newer than what is
# installed.
install_arfc() {
    local stamp=$venv/.arfc-installed
    if [ -f "$stamp" ] && [ -z "$(find python build/release/python build/release/bin \
        -newer "$stamp" -type f ! -path '*/__pycache__/*' -print -quit)" ]; then
        return
    fi
    say "Installing the Python package and the program into .venv"
    # From the build folder itself, whose options stay as they are, so nothing is compiled twice.
    quietly build/install.log "$venv/bin/python" -m pip install --no-build-isolation --no-deps \
        --no-index --force-reinstall -C build-dir="$project/build/release" \
        -C cmake.define.ARFC_BUILD_TESTS=ON \
        -C cmake.define.ARFC_ROOMS="server;tools;python" ./python
    touch "$stamp"
}

interpreter=$("$python" --version 2>/dev/null || echo "no $python yet")
say "Setting up in $project ($interpreter, $(torch_flavour))"
plan_packages
plan_environment
plan_faiss
[ "$dependencies_only" = 1 ] ||
    say "  arfc                   to build in build/release and to install into .venv"

install_packages
check_tools
make_environment
make_faiss
if [ "$dependencies_only" = 0 ]; then
    build_arfc
    install_arfc
    say "Ready: .venv/bin/arfc is the program, .venv/bin/python -c 'import arfc' the package"
fi
