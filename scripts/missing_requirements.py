"""Prints the requirements that the running Python lacks, one a line; nothing where it has them all.

    python missing_requirements.py requirements.txt

Compares versions as `pip install -r` would for exact pins, in a fraction of a second and without a
network. A build suffix of an installed version, such as "+cpu", is any build of that version.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import sys


def missing_requirements(path: pathlib.Path) -> list[str]:
    """Returns the lines "name==version" of the file that are not installed so."""
    missing = []
    for line in path.read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        name, equals, version = requirement.partition("==")
        if not equals:
            sys.exit(f"A requirement is not pinned as name==version: {requirement}")
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = ""
        if installed.partition("+")[0] != version:
            missing.append(requirement)
    return missing


if __name__ == "__main__":
    for requirement in missing_requirements(pathlib.Path(sys.argv[1])):
        print(requirement)
