"""What the tests of the setup share: the project's place and a way to run its scripts."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))


@pytest.fixture
def project() -> pathlib.Path:
    return PROJECT


@pytest.fixture
def run(tmp_path):
    """Runs a command with a cache of its own; returns the finished process, with its text."""

    def run_command(*command, cwd=PROJECT, path=None, environment=None, timeout=120):
        variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **(environment or {})}
        for name in ("faiss_ROOT", "FAISS_ROOT", "MAKEFLAGS"):
            if name not in (environment or {}):
                variables.pop(name, None)
        if path is not None:
            variables["PATH"] = str(path)
        return subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run_command


@pytest.fixture
def tools(tmp_path):
    """Makes a folder of programs to serve as PATH: this machine's, some left out, some replaced."""

    def make(without=(), scripts=None):
        folder = tmp_path / "bin"
        folder.mkdir()
        for source in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
            for program in pathlib.Path(source).iterdir():
                link = folder / program.name
                if program.name not in without and not link.is_symlink():
                    link.symlink_to(program)
        for name, text in (scripts or {}).items():
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)
        return folder

    return make
