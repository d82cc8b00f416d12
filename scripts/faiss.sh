# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by setup.sh: which FAISS is used. CMake finds it as .venv/faiss: a link to an installed
# one, or a copy (hard links where it can be) of the one in the cache, so that the project does not
# depend on the cache once it is set up. Needs messages.sh and environment.sh.

# Prints where the cache keeps FAISS for this distribution, compiler and processor.
faiss_prefix() {
    local system compiler level=generic
    system=$( (. /etc/os-release 2>/dev/null && echo "$ID${VERSION_ID:-}") || echo linux)
    if grep -qw avx2 /proc/cpuinfo; then
        level=avx2
    fi
    compiler=$(basename "$(readlink -f "$(command -v c++ || echo c++)")")
    echo "$cache/faiss-$system-$compiler-$(uname -m)-$level"
}

# Prints the prefix of an installed FAISS that serves: the one that faiss_ROOT names, or one in
# /usr/local or /usr.
installed_faiss() {
    local named=${faiss_ROOT:-${FAISS_ROOT:-}} root
    if [ -n "$named" ]; then
        faiss_serves "$named" ||
            fail "faiss_ROOT is no prefix of a FAISS >= 1.7.3 with AVX2 and CMake files: $named"
        echo "$named"
        return
    fi
    for root in /usr/local /usr; do
        if faiss_serves "$root"; then
            echo "$root"
            return
        fi
    done
}

faiss_serves() { # faiss_serves PREFIX
    local file version
    file=$(find "$1"/lib*/cmake/faiss "$1"/lib/*/cmake/faiss "$1/share/faiss" \
        -name 'faiss-config-version.cmake' 2>/dev/null | head -n 1)
    [ -n "$file" ] || return 1
    version=$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")/\1/p' "$file" | head -n 1)
    [ "$(printf '%s\n' 1.7.3 "$version" | sort -V | head -n 1)" = 1.7.3 ] || return 1
    [ "$(uname -m)" != x86_64 ] ||
        [ -n "$(find "$1"/lib*/ -maxdepth 2 -name 'libfaiss_avx2.*' 2>/dev/null)" ]
}

make_faiss() {
    local root
    root=$(installed_faiss)
    if [ -n "$root" ]; then
        if [ "$(readlink "$venv/faiss" || true)" != "$root" ]; then
            rm -rf "$venv/faiss"
            ln -s "$root" "$venv/faiss"
        fi
        return
    fi
    [ ! -f "$venv/faiss/.complete" ] || return 0
    root=$(faiss_prefix)
    if [ ! -f "$root/.complete" ]; then
        "$project/scripts/build_faiss.sh" "$root" ${wheelhouse:+"$wheelhouse"}
    fi
    rm -rf "$venv/faiss"
    rm -rf "$venv/faiss.partial"
    if ! cp -al "$root" "$venv/faiss.partial" 2>/dev/null; then
        rm -rf "$venv/faiss.partial"
        cp -a "$root" "$venv/faiss.partial"
    fi
    mv "$venv/faiss.partial" "$venv/faiss"
}
