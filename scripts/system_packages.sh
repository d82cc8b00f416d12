# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by setup.sh and uninstall.sh: the distribution's packages.

# What builds arfc; names for Debian 12 and Ubuntu 24.04.
build_packages=(
    g++ cmake make ninja-build dpkg-dev
    librocksdb-dev libssl-dev libsimdjson-dev libspdlog-dev libcli11-dev libroaring-dev
    nlohmann-json3-dev libopenblas-openmp-dev libgtest-dev libgmock-dev libbenchmark-dev
)
# What `make lint` needs more. The version is named because formatters differ between versions.
lint_packages=(clang-format-14 clang-tidy-14 shellcheck)

# Prints the distribution as "debian 12", or nothing where there is no apt.
distribution() {
    if command -v apt-get >/dev/null && [ -r /etc/os-release ]; then
        (. /etc/os-release && echo "$ID ${VERSION_ID:-}")
    fi
}

# Prints the packages that this distribution should have, one a line.
wanted_packages() { # wanted_packages WITH_LINT(0|1)
    printf '%s\n' "${build_packages[@]}"
    case "$(distribution)" in
        "debian 12") echo libboost1.81-dev ;; # The default, 1.74, lacks Boost.JSON.
        "ubuntu 24.04") echo libboost1.83-dev ;;
        *) echo libboost-dev ;;
    esac
    # An interpreter of one's own, such as pyenv's, brings its headers and venv.
    if ! python_is_complete; then
        printf '%s\n' python3 python3-dev python3-venv
    fi
    if [ "$1" = 1 ]; then
        printf '%s\n' "${lint_packages[@]}"
    fi
}

# Whether $python is there with its headers and able to make virtual environments.
python_is_complete() {
    "$python" - >/dev/null 2>&1 <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PYTHON
}

# Prints those of the packages given on standard input that are not installed.
missing_packages() {
    local package status
    while read -r package; do
        status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
        [ "$status" = "install ok installed" ] || echo "$package"
    done
}

# Prints the megabytes that installing the packages downloads, or nothing where apt does not know
# them.
download_megabytes() { # download_megabytes PACKAGE...
    local uris
    uris=$(apt-get install --no-install-recommends --print-uris -qq "$@" 2>/dev/null) || return 0
    awk "/^'/ {bytes += \$3} END {printf \"%.0f\", bytes / 1e6}" <<<"$uris"
}
