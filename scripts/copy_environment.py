"""Makes a virtual environment that shares another one's files: same packages, own place.

    python copy_environment.py BASE TARGET

BASE is an environment made by the Python that runs this. Files become hard links where both lie on
one file system (pip replaces files and never edits them, so the two stay independent), copies
elsewhere. Programs in `bin` are rewritten to start TARGET's Python.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import venv

LONGEST_SHEBANG = 127  # bytes that every Linux kernel reads of it


def place(source: str, target: str) -> None:
    """Links or copies one file; leaves what is there."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        pass
    except OSError:  # Another file system, or one without links.
        shutil.copy2(source, target, follow_symlinks=False)


def place_folder(source: pathlib.Path, target: pathlib.Path) -> None:
    """Merges a folder into another one."""
    for folder, _, files in os.walk(source):
        into = target / pathlib.Path(folder).relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        for name in files:
            place(os.path.join(folder, name), str(into / name))


def first_lines(python: pathlib.Path) -> bytes:
    """Returns what starts a program under `python`, as pip writes it.

    That is a shebang, or a detour through the shell where the path is too long or has blanks.
    """
    path = os.fsencode(python)
    if len(path) + 3 <= LONGEST_SHEBANG and b" " not in path:
        return b"#!" + path + b"\n"
    return b"#!/bin/sh\n'''exec' \"" + path + b'" "$0" "$@"\n' + b"' '''\n"


def place_program(
    source: pathlib.Path, target: pathlib.Path, base: pathlib.Path, python: pathlib.Path
) -> None:
    """Copies a program of `bin`; one that starts the base's Python starts `python` instead."""
    content = source.read_bytes()
    ours = os.fsencode(base / "bin") + b"/python"
    if content.startswith(b"#!" + ours):
        body = content.partition(b"\n")[2]
    elif content.startswith(b"#!/bin/sh\n'''exec' ") and ours in content.split(b"\n", 2)[1]:
        body = content.split(b"\n", 3)[3]
    else:
        place(str(source), str(target))
        return
    target.write_bytes(first_lines(python) + body)
    target.chmod(source.stat().st_mode)


def copy_environment(base: pathlib.Path, target: pathlib.Path) -> None:
    """Makes `target`; an interrupted copy is to be removed by the caller."""
    venv.create(target, symlinks=True, with_pip=False)
    for name in ("lib", "include", "share", "etc"):
        if (base / name).is_dir():
            place_folder(base / name, target / name)
    made = {path.name for path in (target / "bin").iterdir()}
    for program in sorted((base / "bin").iterdir()):
        if program.name not in made and not program.is_symlink():
            place_program(program, target / "bin" / program.name, base, target / "bin" / "python")


if __name__ == "__main__":
    copy_environment(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
