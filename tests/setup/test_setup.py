"""The setup says what is missing, does nothing twice, and touches nothing that is not its own."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import sys
import tempfile
import time

import pytest

BASE_PYTHON = os.path.realpath(sys.executable)


def test_a_second_run_changes_nothing_and_takes_seconds(project, run):
    packages = next((project / ".venv" / "lib").glob("python3*/site-packages"), None)
    if packages is None or not (project / ".venv" / "faiss").exists():
        pytest.skip("the project is not set up")

    def state():
        return sorted((path.name, path.stat().st_mtime_ns) for path in packages.iterdir())

    before = state()
    started = time.monotonic()
    done = run("scripts/setup.sh", "--no-system", "--dependencies-only")
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert state() == before
    assert seconds < 20
    assert "Python packages        present in .venv" in done.stdout
    assert "FAISS                  present" in done.stdout
    assert "to install" not in done.stdout
    assert "to build from source" not in done.stdout


@pytest.mark.parametrize(
    ("tool", "package"),
    [("c++", "g++"), ("cmake", "cmake"), ("make", "make"), ("ninja", "ninja-build")],
)
def test_a_missing_tool_is_named_with_the_command_that_installs_it(
    run, tools, tmp_path, tool, package
):
    done = run(
        "scripts/setup.sh",
        "--no-system",
        path=tools(without=[tool]),
        environment={"PYTHON": BASE_PYTHON},
    )
    assert done.returncode == 1
    assert done.stderr == f"arfc: {tool} is missing, install it with: apt-get install {package}\n"
    assert not (tmp_path / "cache").exists()


def test_a_missing_python_is_named(run):
    done = run("scripts/setup.sh", "--no-system", environment={"PYTHON": "python3.99"})
    assert done.returncode == 1
    assert "python3.99 is missing, install it with: apt-get install python3\n" in done.stderr


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ("version_info", "Python is too old, name one of 3.11 or newer in PYTHON: Python 3."),
        ("import ensurepip, venv", "cannot make virtual environments, install: apt-get install"),
    ],
)
def test_an_unfit_python_is_refused(run, tmp_path, refused, sentence):
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *"{refused}"*) exit 1 ;; esac\nexec {BASE_PYTHON} "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    done = run("scripts/setup.sh", "--no-system", environment={"PYTHON": str(python)})
    assert done.returncode == 1
    assert sentence in done.stderr


def test_an_old_cmake_is_refused_with_its_version(run, tools):
    path = tools(scripts={"cmake": "#!/bin/sh\necho cmake version 3.22.1\n"})
    done = run("scripts/setup.sh", "--no-system", path=path, environment={"PYTHON": BASE_PYTHON})
    assert done.returncode == 1
    assert done.stderr == "arfc: CMake is too old, install 3.25 or newer: 3.22.1\n"


@pytest.fixture
def open_copy(project):
    """A copy of the scripts that every user may read, where not only root may enter."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="arfc-setup-"))
    folder.chmod(0o755)
    shutil.copytree(project / "scripts", folder / "scripts")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="needs a distribution with dpkg")
def test_without_root_the_line_to_run_is_printed_and_nothing_is_installed(run, tools, open_copy):
    lacks_roaring = """#!/bin/sh
case "$*" in
    *libroaring-dev*) exit 1 ;;
    *) echo "install ok installed" ;;
esac
"""
    forbidden = '#!/bin/sh\ncase "$*" in *--print-uris*) exit 1 ;; esac\ntouch "$0.called"\n'
    path = tools(without=["sudo"], scripts={"dpkg-query": lacks_roaring, "apt-get": forbidden})
    as_nobody = []
    if os.getuid() == 0:
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for folder in [path, *path.parents]:  # pytest's own folders are closed to others
            if folder.is_relative_to(tempfile.gettempdir()) and folder != pathlib.Path("/tmp"):
                folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    done = run(*as_nobody, open_copy / "scripts" / "setup.sh", cwd=open_copy, path=path)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert "this user may not install them. Run this line, then setup again:" in lines[-2]
    assert lines[-1].startswith("arfc:     sudo apt-get install -y --no-install-recommends ")
    assert lines[-1].endswith("libroaring-dev") or " libroaring-dev " in lines[-1]
    assert not (path / "apt-get.called").exists()
    assert sorted(path.name for path in open_copy.iterdir()) == ["scripts"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--wheelhouse", "/nonexistent"], "The wheelhouse is not a folder: /nonexistent"),
        (["--wheelhouse"], "--wheelhouse needs a folder"),
        (["--fast"], "Option is not known, see scripts/setup.sh --help: --fast"),
    ],
)
def test_a_wrong_option_is_refused(run, arguments, sentence):
    done = run("scripts/setup.sh", *arguments)
    assert done.returncode == 1
    assert done.stderr == f"arfc: {sentence}\n"


def test_help_names_every_option(project, run):
    done = run("scripts/setup.sh", "--help")
    assert done.returncode == 0
    text = (project / "scripts" / "setup.sh").read_text(encoding="utf-8")
    for option in ("--wheelhouse", "--no-system", "--lint", "--dependencies-only"):
        assert f"        {option})" in text
        assert option in done.stdout


def test_a_named_faiss_that_does_not_serve_is_refused(run, tmp_path):
    done = run("scripts/setup.sh", "--no-system", environment={"faiss_ROOT": str(tmp_path)})
    assert done.returncode == 1
    assert f"faiss_ROOT is no prefix of a FAISS >= 1.7.3 with AVX2 and CMake files: {tmp_path}" in (
        done.stderr
    )


def fake_faiss(prefix: pathlib.Path, version: str) -> pathlib.Path:
    """Lays the files of an installed FAISS that setup looks at."""
    config = prefix / "lib" / "cmake" / "faiss"
    config.mkdir(parents=True)
    (config / "faiss-config-version.cmake").write_text(
        f'set(PACKAGE_VERSION "{version}")\n', encoding="utf-8"
    )
    (prefix / "lib" / "libfaiss_avx2.a").touch()
    return prefix


@pytest.mark.parametrize(
    ("version", "serves"), [("1.7.2", False), ("1.7.3", True), ("1.15.0", True)]
)
def test_an_installed_faiss_is_used_from_1_7_3_on(project, run, tmp_path, version, serves):
    prefix = fake_faiss(tmp_path / "faiss", version)
    script = "cd $1; . scripts/messages.sh; venv=; . scripts/faiss.sh; installed_faiss"
    done = run("bash", "-euc", script, "bash", project, environment={"faiss_ROOT": str(prefix)})
    assert (done.returncode == 0) == serves
    assert done.stdout == (f"{prefix}\n" if serves else "")


def test_faiss_without_its_source_in_the_wheelhouse_is_refused(run, tmp_path):
    (tmp_path / "wheels").mkdir()
    done = run("scripts/build_faiss.sh", tmp_path / "prefix", tmp_path / "wheels")
    assert done.returncode == 1
    assert "its source is not in the given folder" in done.stderr
    assert done.stderr.endswith(f": {tmp_path / 'wheels'}\n")
    assert not (tmp_path / "prefix").exists()


def test_a_built_faiss_is_left_alone(run, tmp_path):
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    (prefix / ".complete").touch()
    done = run("scripts/build_faiss.sh", prefix)
    assert done.returncode == 0
    assert done.stdout == f"arfc: FAISS is built already: {prefix}\n"
    assert [path.name for path in prefix.iterdir()] == [".complete"]


def test_uninstall_removes_what_setup_made_and_nothing_else(run, open_copy, tmp_path):
    cache = tmp_path / "cache" / "arfc"
    made = [open_copy / "build" / "release", open_copy / ".venv" / "bin", cache / "venv-0"]
    kept = [open_copy / "demo-output", open_copy / "base", tmp_path / "cache" / "other"]
    for folder in made + kept:
        folder.mkdir(parents=True)
    (cache / "installed-packages").write_text("libssl-dev\ng++\nlibssl-dev\n", encoding="utf-8")
    done = run(open_copy / "scripts" / "uninstall.sh", cwd=open_copy)
    assert done.returncode == 0, done.stderr
    assert not any(folder.exists() for folder in made)
    assert not cache.exists()
    assert all(folder.exists() for folder in kept)
    assert "sudo apt-get remove --autoremove g++ libssl-dev" in done.stdout
    assert run(open_copy / "scripts" / "uninstall.sh", cwd=open_copy).stdout.count("Removing") == 0
