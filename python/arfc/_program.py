"""The command `arfc`: replaces this process by the native program that the package carries."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import NoReturn


def program() -> pathlib.Path:
    """Returns the path of the native program."""
    return pathlib.Path(__file__).parent / "bin" / "arfc"


def main() -> NoReturn:
    """Runs the program with this process's arguments, in its place."""
    path = program()
    try:
        os.execv(path, [str(path), *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"arfc: This installation has no program ({error.strerror}): {path}")
