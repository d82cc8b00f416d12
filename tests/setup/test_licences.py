"""LICENSES/README.md names everything that arfc links, compiles in, tests with or downloads."""

from __future__ import annotations

import pathlib
import re

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
LICENCES = PROJECT / "LICENSES"
TEXT = (LICENCES / "README.md").read_text(encoding="utf-8")


def rows(table: int) -> list[list[str]]:
    """Returns the cells of a table of the page, without its head."""
    blocks = re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)
    return [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in blocks[table].splitlines()[2:]
    ]


COMPONENTS = rows(0)
NAMES = {name for row in COMPONENTS for name in re.findall(r"`([^`]+)`", row[4])}


def requirements(file: str) -> dict[str, str]:
    """Returns the pinned packages of a file of scripts/, with their versions."""
    lines = (PROJECT / "scripts" / file).read_text(encoding="utf-8").splitlines()
    pins = (line.partition("#")[0].strip().partition("==") for line in lines)
    return {name: version for name, _, version in pins if name}


def cmake_files() -> list[pathlib.Path]:
    folders = ("base", "compressor", "storage", "index", "server", "tools", "python")
    return [
        *(PROJECT / folder / "CMakeLists.txt" for folder in (*folders, "benchmarks")),
        *(PROJECT / "tests").glob("*/CMakeLists.txt"),
        *(PROJECT / "cmake").rglob("*.cmake"),
    ]


def linked_packages() -> set[str]:
    """Returns the packages whose targets our CMake files name or that they look for."""
    found = set()
    for file in cmake_files():
        text = re.sub(r"#.*", "", file.read_text(encoding="utf-8"))
        found |= set(re.findall(r"\b(\w+)::\w", text))
        found |= set(re.findall(r"find_package\((\w+)", text))
    ours = {name for name in found if name.lower().startswith("arfc")}
    return found - ours


@pytest.mark.parametrize("row", COMPONENTS, ids=lambda row: row[0])
def test_a_component_has_a_licence_and_its_text(row):
    name, version, licence, use, _, texts = row
    assert name
    assert version
    assert licence
    assert use
    files = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", texts)
    assert files
    for shown, file in files:
        assert shown == file
        assert len((LICENCES / file).read_text(encoding="utf-8")) > 300


def test_every_text_belongs_to_a_component():
    named = {file for row in COMPONENTS for file in re.findall(r"\(([^)]+)\)", row[5])}
    assert named | {"README.md"} == {path.name for path in LICENCES.iterdir()}


def test_every_linked_library_is_in_the_table():
    packages = linked_packages()
    assert {"RocksDB", "OpenSSL", "faiss", "BLAS", "nanobind", "GTest", "Boost"} <= packages
    assert packages - NAMES == set()


def test_every_package_of_the_distribution_is_in_the_table():
    text = (PROJECT / "scripts" / "system_packages.sh").read_text(encoding="utf-8")
    packages = set(re.findall(r"\b(lib[\w.+-]+-dev|[\w-]+3-dev)\b", text))
    assert "librocksdb-dev" in packages
    assert packages - NAMES == set()


def test_every_python_package_is_in_a_table_with_its_version():
    versions = {name: row[1] for row in COMPONENTS for name in re.findall(r"`([^`]+)`", row[4])}
    for name, version in requirements("requirements.txt").items():
        assert versions.get(name) == version
    further = {name: version for name, version, licence in rows(1) if licence}
    assert further == requirements("constraints.txt")
