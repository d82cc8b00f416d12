"""The arrows between rooms hold.

A header from above does not compile, and a system header of another room's library is found.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess

import pytest
from check_arrows import INCLUDE, OWNERS, arrows, violations
from tidy import compiler_call

PROJECT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = arrows(PROJECT)
BUILDS = [PROJECT / "build" / preset for preset in ("release", "dev")]


def public_header(room: str) -> str:
    """Returns a public header of a room that names no library, as it is included."""
    folder = PROJECT / room / "include"
    for path in sorted(folder.glob(f"arfc/{room}/*.h")):
        lines = path.read_text(encoding="utf-8").splitlines()
        included = [found.group(1) for found in map(INCLUDE.match, lines) if found]
        if not any(name.split("/")[0] in OWNERS for name in included):
            return str(path.relative_to(folder))
    return ""


def compile_command(room: str) -> tuple[list[str], str]:
    """Returns how a source of the room is compiled, without the source, and in which folder."""
    for build in BUILDS:
        if not (build / "compile_commands.json").exists():
            continue
        for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
            arguments = compiler_call(entry)
            output = arguments.index("-o")
            # The room's own library: beside it a room may keep others, which stand lower.
            if f"CMakeFiles/arfc_{room}.dir/" in arguments[output + 1]:
                return arguments[:output], entry["directory"]
    pytest.skip("the project is not configured")


def compiles(room: str, included: str) -> subprocess.CompletedProcess:
    """Compiles one include as if it stood in a source of the room."""
    arguments, folder = compile_command(room)
    return subprocess.run(
        [*arguments, "-fsyntax-only", "-x", "c++", "-"],
        cwd=folder,
        input=f'#include "{included}"\n',
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("room", "other"), [(room, other) for room in ROOMS for other in ROOMS if public_header(other)]
)
def test_a_room_compiles_against_the_rooms_below_it_and_no_other(room, other):
    done = compiles(room, public_header(other))
    if other in ROOMS[room]:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0
        assert f"{public_header(other)}: No such file or directory" in done.stderr


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize(
    ("header", "owner"), [("torch/torch.h", "compressor"), ("faiss/Index.h", "index")]
)
def test_a_library_that_the_system_has_not_is_seen_by_its_room_alone(room, header, owner):
    prefix = (PROJECT / ".venv" / "faiss").resolve()
    if header.startswith("faiss") and prefix in (pathlib.Path("/usr"), pathlib.Path("/usr/local")):
        pytest.skip("FAISS lies where every compiler looks")
    if room == owner == "compressor":
        pytest.skip("its own sources show that, and LibTorch takes long to parse")
    done = compiles(room, header)
    assert (done.returncode == 0) == (room == owner), done.stderr
    if room != owner:
        assert f"{header}: No such file or directory" in done.stderr


def test_every_include_follows_the_arrows():
    assert violations(PROJECT) == []


@pytest.fixture
def copy(tmp_path):
    """A project with a room's worth of files, into which violations are planted."""
    shutil.copytree(PROJECT / "cmake", tmp_path / "cmake")
    for room in ROOMS:
        (tmp_path / room / "src").mkdir(parents=True)
        (tmp_path / "tests" / room).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "sentence"),
    [
        (
            "compressor/src/a.cpp",
            "#include <rocksdb/db.h>",
            "The room compressor may not use the library of storage: rocksdb/db.h",
        ),
        (
            "storage/src/a.cpp",
            "#include <torch/torch.h>",
            "The room storage may not use the library of compressor: torch/torch.h",
        ),
        (
            "server/src/a.h",
            '#  include "faiss/Index.h"',
            "The room server may not use the library of index: faiss/Index.h",
        ),
        (
            "python/src/a.cpp",
            "#include <boost/asio.hpp>",
            "The room python may not use the library of server: boost/asio.hpp",
        ),
        (
            "tests/storage/a.cpp",
            "#include <faiss/IndexFlat.h>",
            "The room storage may not use the library of index: faiss/IndexFlat.h",
        ),
        (
            "storage/src/a.cpp",
            '#include "arfc/compressor/compressor.h"',
            "The room storage may not see the room compressor: arfc/compressor/compressor.h",
        ),
        (
            "python/src/a.cpp",
            '#include "arfc/server/server.h"',
            "The room python may not see the room server: arfc/server/server.h",
        ),
        (
            "index/src/a.cpp",
            '#include "../../storage/src/crc32c.h"',
            "An include climbs out of its folder: ../../storage/src/crc32c.h",
        ),
        (
            "index/src/a.cpp",
            '#include "storage/src/crc32c.h"',
            "An include names a room's folder instead of its headers: storage/src/crc32c.h",
        ),
        (
            "index/CMakeLists.txt",
            "arfc_find_torch()",
            "The room index may not link the library of compressor: arfc_find_torch",
        ),
        (
            "base/CMakeLists.txt",
            "find_package(RocksDB REQUIRED)",
            "A find_package stands outside cmake/dependencies.cmake",
        ),
    ],
)
def test_a_planted_violation_is_found(copy, run, file, line, sentence):
    assert violations(copy) == []
    (copy / file).write_text(f"// first line\n{line}\n", encoding="utf-8")
    assert violations(copy) == [f"{file}:2: {sentence}"]
    done = run("python3", PROJECT / "scripts" / "check_arrows.py", copy)
    assert done.returncode == 1
    assert sentence in done.stdout


def test_what_is_allowed_is_not_found(copy):
    (copy / "index" / "src" / "a.cpp").write_text(
        '#include <faiss/Index.h>\n#include "arfc/storage/store.h"\n#include "a.h"\n'
        "// #include <torch/torch.h>\n",
        encoding="utf-8",
    )
    assert violations(copy) == []


def test_an_arrow_that_points_up_is_refused(copy):
    rooms = copy / "cmake" / "rooms.cmake"
    text = rooms.read_text(encoding="utf-8")
    rooms.write_text(
        text.replace("set(ARFC_ARROWS_storage base)", "set(ARFC_ARROWS_storage base index)"),
        encoding="utf-8",
    )
    with pytest.raises(
        SystemExit, match="An arrow of the room storage does not point down: to index"
    ):
        arrows(copy)
