"""An installed arfc serves a project elsewhere, and says in a sentence why it cannot."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
CONSUMER = PROJECT / "tests" / "consumer"
BUILD = PROJECT / "build" / "release"
FAISS = PROJECT / ".venv" / "faiss"
TORCH = next((PROJECT / ".venv" / "lib").glob("python3*/site-packages/torch"), PROJECT)
ROOMS = ["base", "compressor", "storage", "index", "server"]
# One thread, because OpenMP's threads wait for each other on a machine that tests share.
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
for name in ("faiss_ROOT", "faiss_DIR", "Torch_ROOT", "Torch_DIR", "CMAKE_PREFIX_PATH"):
    QUIET.pop(name, None)

pytestmark = pytest.mark.skipif(
    not (BUILD / "bin" / "arfc").exists(), reason="the release preset is not built"
)


def call(*command: object, cwd: pathlib.Path = PROJECT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=QUIET,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def install(prefix: pathlib.Path, *options: str) -> list[str]:
    """Installs into a prefix; returns the files there, relative to it."""
    done = call("cmake", "--install", BUILD, "--prefix", prefix, *options)
    assert done.returncode == 0, done.stderr
    return sorted(str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file())


def configure(source: pathlib.Path, build: pathlib.Path, prefix: pathlib.Path, *options: str):
    """Configures a project against an installation; returns the process, its words on one line."""
    done = call(
        "cmake", "-S", source, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_CXX_COMPILER_WORKS=ON", *options,
    )  # fmt: skip
    done.stderr = " ".join(done.stderr.split())
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> pathlib.Path:
    """A whole installation, which tests leave as it is."""
    prefix = tmp_path_factory.mktemp("prefix")
    install(prefix)
    return prefix


@pytest.fixture
def asking(tmp_path):
    """Makes a project that asks for the package in some words and links what it is told."""

    def make(words: str, linked: str = "arfc::arfc") -> pathlib.Path:
        folder = tmp_path / "asking"
        folder.mkdir(exist_ok=True)
        (folder / "main.cpp").write_text("int main() {}\n", encoding="utf-8")
        (folder / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(asking LANGUAGES CXX)\n"
            f"find_package(arfc {words})\nadd_executable(asking main.cpp)\n"
            f"target_link_libraries(asking PRIVATE {linked})\n",
            encoding="utf-8",
        )
        return folder

    return make


@pytest.fixture
def orphan(installed, tmp_path) -> pathlib.Path:
    """An installation whose build's LibTorch and FAISS are not where they were."""
    prefix = tmp_path / "orphan"
    shutil.copytree(installed, prefix, symlinks=True)
    config = prefix / "lib" / "cmake" / "arfc" / "arfcConfig.cmake"
    text = config.read_text(encoding="utf-8")
    text, times = re.subn(
        r'^(set\(_arfc_(?:torch|faiss)) ".*"\)$', r'\1 "/gone")', text, flags=re.MULTILINE
    )
    assert times == 2
    config.write_text(text, encoding="utf-8")
    return prefix


def readme_blocks(language: str) -> list[str]:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_one_changed_string_replaces_the_codes_of_a_faiss_program(installed, tmp_path):
    lines = readme_blocks("cpp")[0].splitlines(keepends=True)
    (tmp_path / "includes.inc").write_text(
        "".join(line for line in lines if line.startswith("#")), encoding="utf-8"
    )
    (tmp_path / "lines.inc").write_text(
        "".join(line for line in lines if not line.startswith("#")), encoding="utf-8"
    )
    build = tmp_path / "build"
    done = configure(CONSUMER, build, installed, f"-DREADME_LINES={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    done = call("cmake", "--build", build)
    assert done.returncode == 0, done.stdout

    strings = ["IDMap2,IVF64,PQ16", "IDMap2,ARFC16/8,IVF64"]
    done = call(build / "consumer", tmp_path, *strings)
    assert done.returncode == 0, done.stderr
    found = re.findall(
        r"^(\S+) ntotal 1900 recall@10 ([\d.]+) read_back same$", done.stdout, re.MULTILINE
    )
    assert [string for string, _ in found] == strings, done.stdout
    assert all(float(recall) > 0.5 for _, recall in found), done.stdout
    done = call(build / "consumer", tmp_path, "IDMap2,ARFC16/32")
    assert done.returncode == 1
    assert done.stderr.startswith("consumer: ")

    done = call(build / "readme", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["100", "101", "102", "103", "104"]  # Each row finds itself.
    assert (tmp_path / "docs.arfc").stat().st_size > 0

    loaded = call("ldd", build / "consumer").stdout
    assert len(re.findall(r"^\s*libgomp\S* =>", loaded, re.MULTILINE)) == 1, loaded
    # The loader takes a function from the first that has it, and LibTorch brings its own BLAS.
    assert loaded.index("libtorch_cpu") < loaded.index("blas"), loaded


def test_the_readmes_cmake_lines_are_the_consumers():
    consumer = (CONSUMER / "CMakeLists.txt").read_text(encoding="utf-8")
    lines = [line for block in readme_blocks("cmake") for line in block.splitlines()]
    assert "find_package(arfc 0.1 REQUIRED)" in lines
    for line in lines:
        assert line.replace("my_program", "consumer") in consumer


def test_the_parts_of_an_installation(tmp_path):
    development = install(tmp_path / "development", "--component", "development")
    assert "include/arfc/index/index_factory.h" in development
    assert {f"lib/libarfc_{room}.a" for room in ROOMS} == {
        file for file in development if file.endswith(".a")
    }
    assert {file.split("/")[0] for file in development} == {"include", "lib"}
    assert install(tmp_path / "program", "--component", "program") == ["bin/arfc"]
    licences = install(tmp_path / "licences", "--component", "licences")
    assert {"share/doc/arfc/LICENSE", "share/doc/arfc/LICENSES/faiss.txt"} <= set(licences)
    models = install(tmp_path / "models", "--component", "models")
    name = "all-MiniLM-L6-v2"
    expected = ("README.md", "config.json", "manifest.json", "model.safetensors")
    assert models == [f"share/arfc/models/{name}/{file}" for file in expected]
    whole = install(tmp_path / "whole")
    assert whole == sorted([*development, "bin/arfc", *licences, *models])
    done = call(tmp_path / "whole" / "bin" / "arfc", "inspect", f"ready:{name}")
    assert "384 floats" in done.stdout, done.stderr
    done = call(tmp_path / "program" / "bin" / "arfc", "--version")
    assert done.stdout.startswith("arfc "), done.stderr


def test_the_python_package_has_the_modules_files_and_the_program_alone():
    import importlib.metadata

    files = {str(file) for file in importlib.metadata.files("arfc") or []}
    assert any(file.endswith("bin/arfc") for file in files)
    assert "arfc/models/all-MiniLM-L6-v2/model.safetensors" in files
    assert any(file.endswith("licenses/LICENSES/faiss.txt") for file in files)
    assert not [file for file in files if file.endswith((".a", ".cmake", ".h"))]


def test_a_folder_of_the_build_is_named_in_one_place_alone(installed):
    naming = [
        line
        for file in sorted((installed / "lib" / "cmake").rglob("*.cmake"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if str(PROJECT) in line
    ]
    assert [line.partition(" ")[0] for line in naming] == ["set(_arfc_torch", "set(_arfc_faiss"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_had_alone_with_what_it_stands_on(installed, asking, tmp_path, room):
    source = asking(f"0.1 REQUIRED COMPONENTS {room}", f"arfc::{room} arfc::base")
    header = sorted((installed / "include" / "arfc" / room).glob("*.h"))[-1]
    (source / "main.cpp").write_text(
        f'#include "arfc/{room}/{header.name}"\nint main() {{}}\n', encoding="utf-8"
    )
    done = configure(source, tmp_path / "build", installed)
    assert done.returncode == 0, done.stderr
    done = call("cmake", "--build", tmp_path / "build")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("9 REQUIRED", 'compatible with requested version "9"'),
        ("0.2 REQUIRED", 'compatible with requested version "0.2"'),
        (
            "0.1 REQUIRED COMPONENTS index cellar",
            "arfc was installed without the room cellar; it has: "
            "base, compressor, storage, index, server",
        ),
    ],
)
def test_what_was_not_installed_is_refused(installed, asking, tmp_path, words, sentence):
    done = configure(asking(words), tmp_path / "build", installed)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_who_does_not_require_arfc_goes_on_without(installed, asking, tmp_path):
    source = asking("0.1 QUIET COMPONENTS cellar", "")
    with (source / "CMakeLists.txt").open("a", encoding="utf-8") as file:
        file.write('if(NOT arfc_FOUND)\n    message(STATUS "goes on without")\nendif()\n')
    done = configure(source, tmp_path / "build", installed)
    assert done.returncode == 0, done.stderr
    assert "-- goes on without\n" in done.stdout


def test_a_faiss_or_libtorch_that_moved_is_asked_for_and_taken(orphan, asking, tmp_path):
    source = asking("0.1 REQUIRED")
    if not any(pathlib.Path(root, "include", "faiss").exists() for root in ("/usr", "/usr/local")):
        done = configure(source, tmp_path / "faiss", orphan, f"-DTorch_ROOT={TORCH}")
        assert done.returncode != 0
        assert (
            "arfc's room index needs FAISS 1.7.3, which is not found; "
            "say in faiss_ROOT where it is installed" in done.stderr
        )
    done = configure(source, tmp_path / "torch", orphan, f"-Dfaiss_ROOT={FAISS}")
    assert done.returncode != 0
    assert re.search(
        r"arfc's room compressor needs LibTorch \d+\.\d+\.\d+, which is not found; "
        r"say in Torch_DIR where its TorchConfig.cmake is",
        done.stderr,
    )
    for hint in (f"-DTorch_DIR={TORCH}/share/cmake/Torch", f"-DTorch_ROOT={TORCH}"):
        done = configure(source, tmp_path / "both", orphan, f"-Dfaiss_ROOT={FAISS}", hint)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(tmp_path / "both")


def test_another_version_of_faiss_or_libtorch_is_refused(orphan, asking, tmp_path):
    source = asking("0.1 REQUIRED")
    faiss = tmp_path / "other" / "lib" / "cmake" / "faiss"
    faiss.mkdir(parents=True)
    (faiss / "faiss-config.cmake").write_text("add_library(faiss INTERFACE IMPORTED)\n", "utf-8")
    (faiss / "faiss-config-version.cmake").write_text(
        'set(PACKAGE_VERSION "1.9.0")\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n', "utf-8"
    )
    done = configure(
        source, tmp_path / "faiss", orphan,
        f"-DTorch_ROOT={TORCH}", f"-Dfaiss_ROOT={tmp_path / 'other'}",
    )  # fmt: skip
    assert done.returncode != 0
    assert re.search(
        r"arfc's room index was built with FAISS [\d.]+ and runs with no other; "
        r"say in faiss_ROOT where that is, found: 1\.9\.0",
        done.stderr,
    )

    headers = tmp_path / "torch" / "include" / "torch" / "csrc" / "api" / "include" / "torch"
    headers.mkdir(parents=True)
    (headers / "torch.h").touch()
    (headers / "version.h").write_text(
        "".join(f"#define TORCH_VERSION_{part} 1\n" for part in ("MAJOR", "MINOR", "PATCH")),
        encoding="utf-8",
    )
    done = configure(
        source, tmp_path / "build", orphan,
        f"-DTorch_ROOT={tmp_path / 'torch'}", f"-Dfaiss_ROOT={FAISS}",
    )  # fmt: skip
    assert done.returncode != 0
    assert "and runs with no other series" in done.stderr
    assert done.stderr.count("1.1.1") == 1
