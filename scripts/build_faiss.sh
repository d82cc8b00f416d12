#!/usr/bin/env bash
# Builds FAISS, with AVX2 kernels where the processor has them, into a prefix of its own.
#
#   scripts/build_faiss.sh PREFIX [SOURCES]
#
# The source is, in this order: a Debian source package (faiss_*.dsc) or an archive (faiss*.tar.gz)
# in the folder SOURCES; the distribution's source package, fetched through a private apt state so
# that the system's package sources stay as they are; the release's tag in FAISS's own repository
# (Ubuntu 24.04 has no FAISS). A finished PREFIX is left alone, an interrupted build starts over,
# and of two runs one waits.
set -euo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"

prefix=${1:?usage: scripts/build_faiss.sh PREFIX [SOURCES]}
sources=${2:-}
upstream=https://github.com/facebookresearch/faiss.git
version=1.7.3
work=$prefix.build

# Puts the tree into $work/tree from a folder of sources; fails where it has none.
unpack() { # unpack FOLDER
    local found
    found=$(find "$1" -maxdepth 1 -name 'faiss_*.dsc' | sort | tail -n 1)
    if [ -n "$found" ]; then
        command -v dpkg-source >/dev/null ||
            fail "dpkg-source is missing, install it with: apt-get install dpkg-dev"
        quietly "$work/unpack.log" dpkg-source --no-check -x "$found" "$work/tree"
        return 0
    fi
    found=$(find "$1" -maxdepth 1 -name 'faiss*.tar.gz' | sort | tail -n 1)
    [ -n "$found" ] || return 1
    mkdir -p "$work/tree"
    tar -xzf "$found" -C "$work/tree" --strip-components 1
}

# Fetches the distribution's source package into $work/source; fails where the distribution has
# none.
fetch_source_package() {
    command -v apt-get >/dev/null && command -v dpkg-source >/dev/null || return 1
    local list
    mkdir -p "$work/sources.d" "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
    # The machine's own package sources, asked for source packages instead of binary ones.
    for list in /etc/apt/sources.list.d/*.sources; do
        [ -e "$list" ] || continue
        sed 's/^Types:.*/Types: deb-src/' "$list" >"$work/sources.d/$(basename "$list")"
    done
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$list" ] || continue
        sed -n 's/^deb /deb-src /p' "$list" >"$work/sources.d/$(basename "$list" .list)-src.list"
    done
    local options=(
        -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/sources.d"
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
        -o "APT::Sandbox::User=$(id -un)" -o "Acquire::Languages=none"
    )
    # Foreign package sources without source packages make the update fail in part; what counts is
    # the fetch.
    apt-get -qq "${options[@]}" update >"$work/update.log" 2>&1 </dev/null || true
    (cd "$work/source" && apt-get -qq "${options[@]}" source --download-only faiss) \
        >"$work/fetch.log" 2>&1 </dev/null
}

fetch_release() {
    command -v git >/dev/null || fail "git is missing, install it with: apt-get install git"
    git -c advice.detachedHead=false clone --quiet --depth 1 --branch "v$version" \
        "$upstream" "$work/tree" </dev/null
}

compile() {
    local level=generic targets=(faiss) launcher=() generator=()
    if grep -qw avx2 /proc/cpuinfo; then
        level=avx2
        targets+=(faiss_avx2)
    fi
    command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    command -v ninja >/dev/null && generator=(-G Ninja)
    # Releases of before GCC 13 rely on headers that include <cstdint> for them.
    quietly "$work/configure.log" cmake -S "$work/tree" -B "$work/build" \
        "${generator[@]}" "${launcher[@]}" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_CXX_FLAGS="-include cstdint" -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
        -DFAISS_OPT_LEVEL="$level" -DFAISS_ENABLE_GPU=OFF -DFAISS_ENABLE_PYTHON=OFF \
        -DBUILD_TESTING=OFF -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_PREFIX="$prefix"
    quietly "$work/build.log" cmake --build "$work/build" --target "${targets[@]}" -j "$(nproc)"
    quietly "$work/install.log" cmake --install "$work/build"
}

hold_lock "$prefix.lock" FAISS
if [ -f "$prefix/.complete" ]; then
    say "FAISS is built already: $prefix"
    exit 0
fi
for tool in cmake c++; do
    command -v "$tool" >/dev/null ||
        fail "$tool is missing, install it with: apt-get install cmake g++"
done
rm -rf "$work" "$prefix"
mkdir -p "$work"

if [ -n "$sources" ] && unpack "$sources"; then
    say "FAISS: source found in $sources"
elif [ -n "$sources" ]; then
    fail "FAISS is not built yet and its source is not in the given folder" \
        "(faiss_*.dsc with its archives, or faiss-$version.tar.gz): $sources"
elif say "FAISS: fetching the distribution's source package" && fetch_source_package; then
    unpack "$work/source"
elif say "FAISS: the distribution has no source package, fetching release $version" &&
    fetch_release; then
    :
else
    fail "FAISS cannot be fetched from here; build FAISS >= $version elsewhere and set faiss_ROOT" \
        "to its prefix, or put faiss-$version.tar.gz into a folder and pass --wheelhouse." \
        "Logs: $work"
fi
say "FAISS: compiling, about a minute on two cores"
compile
touch "$prefix/.complete"
rm -rf "$work"
say "FAISS is installed: $prefix"
