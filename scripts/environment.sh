# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by setup.sh: the project's virtual environment, .venv, and the one in the cache that it
# shares files with. Needs messages.sh, and in $python the interpreter.

venv=$project/.venv
requirements=$project/scripts/requirements.txt
constraints=$project/scripts/constraints.txt
torch_version=$(sed -n 's/^torch==//p' "$requirements")

# Prints "cuda" where an NVIDIA GPU is visible, else "cpu".
torch_flavour() {
    if [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1; then
        echo cuda
    else
        echo cpu
    fi
}

# Prints the requirements that an environment lacks; all of them where it does not run.
missing_requirements() { # missing_requirements ENVIRONMENT
    "$1/bin/python" "$project/scripts/missing_requirements.py" "$requirements" 2>/dev/null ||
        sed 's/ *#.*//; /./!d' "$requirements"
}

# Prints where the cache keeps the environment of these requirements, this Python and this build of
# torch.
base_environment() {
    local key
    key=$({
        sed 's/ *#.*//; /./!d' "$requirements" "$constraints"
        "$python" -c 'import platform, sys; print(sys.version, sys.base_prefix, platform.machine())'
        torch_flavour
    } | sha256sum | cut -c 1-12)
    echo "$cache/venv-$key"
}

# Installs LibTorch: the flavour that this machine can use, from whichever configured source has it.
# As with all packages, byte code is made when a module is first imported, which saves minutes here.
install_torch() { # install_torch ENVIRONMENT
    local pip=("$1/bin/python" -m pip install --no-compile -c "$constraints" "${pip_source[@]}")
    local index=()
    [ -z "${ARFC_TORCH_INDEX:-}" ] || index=(--index-url "$ARFC_TORCH_INDEX")
    if [ "$(torch_flavour)" = cuda ]; then
        # Three equal signs: the plain build, not the "+cpu" one that a local folder may have as
        # well.
        if [ ${#index[@]} -gt 0 ]; then
            "${pip[@]}" "${index[@]}" "torch==$torch_version"
        else
            "${pip[@]}" "torch===$torch_version" || "${pip[@]}" "torch==$torch_version"
        fi
        return
    fi
    say "LibTorch: asking for the CPU build, torch $torch_version+cpu (about 190 MB)"
    if "${pip[@]}" "${index[@]}" "torch==$torch_version+cpu"; then
        return
    fi
    [ ${#index[@]} -eq 0 ] ||
        fail "ARFC_TORCH_INDEX has no torch $torch_version+cpu: $ARFC_TORCH_INDEX"
    say "LibTorch: no configured source has the CPU build; taking plain torch $torch_version, on" \
        "x86-64 with CUDA libraries (about 3,000 MB). To avoid them, set ARFC_TORCH_INDEX to an" \
        "index that has the CPU build."
    "${pip[@]}" "torch==$torch_version"
}

# Installs what is missing into an environment.
install_requirements() { # install_requirements ENVIRONMENT
    if missing_requirements "$1" | grep -q '^torch=='; then
        install_torch "$1"
    fi
    "$1/bin/python" -m pip install --no-compile -c "$constraints" "${pip_source[@]}" \
        -r "$requirements"
}

# Makes the cache's environment; a finished one is left alone, an interrupted one starts over.
make_base_environment() { # make_base_environment BASE
    [ ! -f "$1/.complete" ] || return 0
    rm -rf "$1"
    "$python" -m venv "$1"
    install_requirements "$1"
    touch "$1/.complete"
    # The newest two stay: checkouts do not depend on them, and each is 1.6 GB.
    local old
    find "$cache" -maxdepth 2 -path '*/venv-*/.complete' -printf '%T@ %h\n' | sort -rn | tail -n +3 |
        while read -r _ old; do
            rm -rf "$old" "$old.lock"
        done
}

# Makes .venv ready. One that exists is completed in place, never replaced, unless its own making
# was interrupted.
make_environment() {
    if [ -e "$venv/.incomplete" ]; then
        rm -rf "$venv"
    fi
    if [ -x "$venv/bin/python" ]; then
        if ! "$venv/bin/python" -c '' 2>/dev/null; then
            fail "The Python of .venv does not run any more, remove it and run again: $venv"
        fi
        [ -z "$(missing_requirements "$venv")" ] || install_requirements "$venv"
        return
    fi
    local base
    base=$(base_environment)
    hold_lock "$base.lock" "the virtual environment"
    make_base_environment "$base"
    mkdir -p "$venv"
    touch "$venv/.incomplete"
    "$python" "$project/scripts/copy_environment.py" "$base" "$venv"
    rm "$venv/.incomplete"
}
