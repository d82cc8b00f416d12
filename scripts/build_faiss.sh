#!/usr/bin/env bash
# Builds FAISS with AVX2 kernels from the distribution's source package, into a prefix of its own.
#
#   scripts/build_faiss.sh PREFIX
#
# The distribution's binary package lacks the AVX2 build. The source package is fetched through a
# private apt state (lists and sources below PREFIX), so the system's package sources stay as they are.
# A finished PREFIX is left alone; an interrupted build starts over.
set -euo pipefail

prefix=${1:?usage: scripts/build_faiss.sh PREFIX}
if [ -f "$prefix/.complete" ]; then
    echo "FAISS: already built in $prefix"
    exit 0
fi
for tool in apt-get dpkg-source cmake c++; do
    if ! command -v "$tool" >/dev/null; then
        echo "FAISS: $tool is missing; install it with: apt-get install dpkg-dev cmake g++" >&2
        exit 1
    fi
done

work=$prefix.build
rm -rf "$work" "$prefix"
mkdir -p "$work/sources.d" "$work/lists/partial" "$work/source"

# The machine's own sources, asked for source packages instead of binary ones.
for list in /etc/apt/sources.list.d/*.sources; do
    [ -e "$list" ] && sed 's/^Types:.*/Types: deb-src/' "$list" > "$work/sources.d/$(basename "$list")"
done
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -e "$list" ] && sed -n 's/^deb /deb-src /p' "$list" > "$work/sources.d/$(basename "$list" .list)-src.list"
done
apt_options=(-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/sources.d"
    -o "Dir::State::lists=$work/lists" -o "APT::Sandbox::User=root")
echo "FAISS: fetching the source package"
apt-get -qq "${apt_options[@]}" update
(cd "$work/source" && apt-get -qq "${apt_options[@]}" source --download-only faiss && dpkg-source -x ./faiss_*.dsc tree >/dev/null)

launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
echo "FAISS: compiling (about a minute on two cores)"
cmake -S "$work/source/tree" -B "$work/build" "${generator[@]}" "${launcher[@]}" -DCMAKE_BUILD_TYPE=Release \
    -DFAISS_OPT_LEVEL=avx2 -DFAISS_ENABLE_GPU=OFF -DFAISS_ENABLE_PYTHON=OFF -DBUILD_TESTING=OFF \
    -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_INSTALL_PREFIX="$prefix" > "$work/configure.log"
cmake --build "$work/build" --target faiss_avx2 faiss -j "$(nproc)" > "$work/build.log" 2>&1 ||
    { tail -40 "$work/build.log" >&2; exit 1; }
cmake --install "$work/build" > "$work/install.log"
touch "$prefix/.complete"
rm -rf "$work"
echo "FAISS: installed in $prefix"
