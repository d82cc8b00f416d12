"""Checks that includes follow the arrows between rooms, which cmake/rooms.cmake states, and nothing
else.

    python check_arrows.py [ROOT]

The build refuses a header of a room that is not below; it cannot refuse what the system's include
folders offer, a path that climbs out of a room, or a library looked for in the wrong room. This
reads every include of ours:

- a room includes `arfc/<room>/...` of itself and of the rooms below it, its tests those of the room
  they test;
- each heavy library belongs to one room, whose name stands beside it in OWNERS;
- no include climbs (`../`), and none names another room's `src/`.

Prints one line for each violation, "file:line: sentence", and exits with 1 if there is one.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Iterator

# The first part of an include's path -> the one room that may use that library.
OWNERS = {
    "torch": "compressor",
    "ATen": "compressor",
    "c10": "compressor",
    "rocksdb": "storage",
    "faiss": "index",
    "boost": "server",
    "CLI": "tools",
    "nanobind": "python",
    "Python.h": "python",
}
# The macro that finds a library in CMake -> its room.
FINDERS = {
    "arfc_find_torch": "compressor",
    "arfc_find_rocksdb": "storage",
    "arfc_find_faiss": "index",
    "arfc_find_boost": "server",
    "arfc_find_cli11": "tools",
    "arfc_find_python": "python",
}
SOURCES = {".h", ".hpp", ".inc", ".c", ".cc", ".cpp", ".cu"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def arrows(root: pathlib.Path) -> dict[str, set[str]]:
    """Returns for each room the rooms that it may see: itself and all below."""
    text = (root / "cmake" / "rooms.cmake").read_text(encoding="utf-8")
    rooms = re.search(r"^set\(ARFC_ALL_ROOMS ([^)]*)\)", text, re.MULTILINE)
    if rooms is None:
        sys.exit("cmake/rooms.cmake does not set ARFC_ALL_ROOMS in one line")
    seen: dict[str, set[str]] = {}
    for room in rooms.group(1).split():
        below = re.search(rf"^set\(ARFC_ARROWS_{room} ([^)]*)\)", text, re.MULTILINE)
        if below is None:
            sys.exit(f"cmake/rooms.cmake does not set ARFC_ARROWS_{room} in one line")
        names = below.group(1).replace('"', " ").split()
        unknown = [name for name in names if name not in seen]
        if unknown:
            sys.exit(f"An arrow of the room {room} does not point down: to {unknown[0]}")
        seen[room] = {room}.union(*(seen[name] for name in names))
    return seen


def room_of(path: pathlib.PurePath, rooms: dict[str, set[str]]) -> str | None:
    """Returns the room whose rules hold for a file, given relative to the root."""
    parts = path.parts
    if parts[0] == "tests" and len(parts) > 2:
        parts = parts[1:]
    return parts[0] if parts[0] in rooms else None


def violations_of_source(
    path: pathlib.PurePath, text: str, room: str, rooms: dict[str, set[str]]
) -> Iterator[tuple[int, str]]:
    """Yields line numbers and sentences."""
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if found is None:
            continue
        included = found.group(1)
        parts = included.split("/")
        owner = OWNERS.get(parts[0])
        if ".." in parts:
            yield number, f"An include climbs out of its folder: {included}"
        elif parts[0] == "arfc" and len(parts) > 2 and parts[1] in rooms:
            if parts[1] not in rooms[room]:
                yield number, f"The room {room} may not see the room {parts[1]}: {included}"
        elif len(parts) > 1 and parts[0] in rooms and parts[1] in ("src", "include"):
            yield number, f"An include names a room's folder instead of its headers: {included}"
        elif owner is not None and owner != room:
            yield number, f"The room {room} may not use the library of {owner}: {included}"


def violations_of_cmake(text: str, room: str) -> Iterator[tuple[int, str]]:
    """Yields line numbers and sentences."""
    for number, line in enumerate(text.splitlines(), 1):
        called = line.partition("#")[0].strip().partition("(")[0]
        owner = FINDERS.get(called)
        if owner is not None and owner != room:
            yield number, f"The room {room} may not link the library of {owner}: {called}"
        if called == "find_package":
            yield number, "A find_package stands outside cmake/dependencies.cmake"


def violations(root: pathlib.Path) -> list[str]:
    """Returns a line for each violation below `root`."""
    rooms = arrows(root)
    found = []
    for top in [*rooms, "tests", "benchmarks"]:
        for path in sorted((root / top).rglob("*")):
            relative = path.relative_to(root)
            room = room_of(relative, rooms)
            if room is None or not path.is_file():
                continue
            if path.suffix in SOURCES:
                lines = violations_of_source(
                    relative, path.read_text(encoding="utf-8"), room, rooms
                )
            elif path.name == "CMakeLists.txt":
                lines = violations_of_cmake(path.read_text(encoding="utf-8"), room)
            else:
                continue
            found += [f"{relative}:{number}: {sentence}" for number, sentence in lines]
    return found


if __name__ == "__main__":
    project = pathlib.Path(
        sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    )
    lines = violations(project.resolve())
    print("\n".join(lines) if lines else "check_arrows: every include follows the arrows")
    sys.exit(1 if lines else 0)
