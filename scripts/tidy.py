"""Runs clang-tidy over the project's translation units, some at a time, and skips what was clean
and has not changed.

    python tidy.py --tidy clang-tidy-14 --build build/dev --jobs 2

A file counts as unchanged while it, the headers of ours that it includes (as the compiler's own
dependency listing says) and .clang-tidy are older than the stamp of its last clean run.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
# What GCC is told and Clang does not know; nothing that changes meaning.
GCC_ONLY = (
    "-mprefer-vector-width",
    "-fno-canonical-system-headers",
    "-Werror",
    "-flto",
    "-fno-fat-lto",
    "-mtls-dialect",
)
# A header that includes GCC's own omp.h with GCC's `malloc (free)` attribute, which Clang does not
# know, taken away; the plain attribute next to it stays.
OMP_HEADER = """\
#pragma once
#define __malloc__(...)
#include "{}"
#undef __malloc__
"""


def translation_units(build: pathlib.Path) -> dict[pathlib.Path, dict]:
    """Returns the compile commands of our own sources, those that Git does not ignore, by file."""
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    own = {PROJECT / name for name in listing.stdout.split("\0") if name}
    units = {}
    for command in commands:
        file = pathlib.Path(command["directory"], command["file"]).resolve()
        if file in own:
            units.setdefault(file, command)
    return units


def compiler_call(command: dict) -> list[str]:
    """Returns the compiler's command line, without what launches it, such as a compiler cache."""
    arguments = shlex.split(command["command"])
    if "ccache" in map(os.path.basename, arguments):
        del arguments[: [os.path.basename(a) for a in arguments].index("ccache") + 1]
    return arguments


def own_dependencies(command: dict) -> list[pathlib.Path]:
    """Returns our files that the unit consists of, itself among them."""
    arguments = compiler_call(command)
    output = arguments.index("-o")
    arguments = [a for a in arguments[:output] + arguments[output + 2 :] if a != "-c"]
    listing = subprocess.run(
        [*arguments, "-MM"], cwd=command["directory"], capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        return []
    names = listing.stdout.replace("\\\n", " ").partition(":")[2].split()
    paths = [pathlib.Path(command["directory"], name).resolve() for name in names]
    return [path for path in paths if path.is_relative_to(PROJECT)]


def digest(paths: list[pathlib.Path]) -> str:
    """Returns one hash over the names and contents of files."""
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        total.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def replace(file: pathlib.Path, text: str) -> None:
    """Writes a file whole: another run beside this one reads the old text or the new."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def simplified_database(units: dict[pathlib.Path, dict], folder: pathlib.Path) -> None:
    """Writes the compile commands as Clang can read them."""
    # Clang brings no omp.h of its own unless its OpenMP library is installed.
    include = folder / "include"
    include.mkdir(parents=True, exist_ok=True)
    found = subprocess.run(
        ["c++", "-print-file-name=include/omp.h"], capture_output=True, text=True, check=True
    ).stdout.strip()
    replace(include / "omp.h", OMP_HEADER.format(found))
    extra = ["-Wno-unknown-warning-option", "-isystem", str(include.resolve())]
    entries = []
    for file, command in units.items():
        arguments = [a for a in compiler_call(command) if not a.startswith(GCC_ONLY)]
        entries.append(
            {
                "directory": command["directory"],
                "file": str(file),
                "arguments": [*arguments, *extra],
            }
        )
    replace(folder / "compile_commands.json", json.dumps(entries))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tidy", default="clang-tidy", help="the program")
    parser.add_argument(
        "--build", type=pathlib.Path, required=True, help="a configured build folder"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many files at a time")
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="look at these alone")
    options = parser.parse_args()

    units = translation_units(options.build)
    folder = options.build / "tidy"
    simplified_database(units, folder)
    if options.files:
        wanted = {file.resolve() for file in options.files}
        units = {file: command for file, command in units.items() if file in wanted}
    rules = digest([PROJECT / ".clang-tidy", pathlib.Path(__file__).resolve()])

    def examine(file: pathlib.Path) -> tuple[pathlib.Path, str, float]:
        started = time.monotonic()
        state = rules + digest([file, *own_dependencies(units[file])])
        stamp = folder / (hashlib.sha256(str(file).encode()).hexdigest()[:16] + ".clean")
        if stamp.exists() and stamp.read_text(encoding="ascii") == state:
            return file, "", 0.0
        run = subprocess.run(
            [options.tidy, "--quiet", "-p", str(folder), str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode == 0:
            stamp.write_text(state, encoding="ascii")
            return file, "", time.monotonic() - started
        return file, run.stdout + run.stderr, time.monotonic() - started

    dirty = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for done, (file, complaints, seconds) in enumerate(pool.map(examine, sorted(units)), 1):
            if seconds or complaints:
                print(
                    f"[{done}/{len(units)}] {file.relative_to(PROJECT)} {seconds:.0f} s", flush=True
                )
            if complaints:
                dirty += 1
                print(complaints, flush=True)
    print(f"clang-tidy: {len(units)} files, {dirty} with findings")
    return 1 if dirty else 0


if __name__ == "__main__":
    sys.exit(main())
