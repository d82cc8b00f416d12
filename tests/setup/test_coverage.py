"""The shares of lines that ran are those of a program of which every line is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

SOURCE = """\
#include "base.h"
int main(int argc, char**) {
    if (argc > 1) {
        return twice(argc);
    }
    return 0;
}
"""
HEADER = """\
#pragma once
inline int twice(int x) {
    int y = x;
    return y + x;
}
"""


@pytest.fixture
def rooms(tmp_path, run):
    """Compiles a project of one program with coverage; returns how to run and to judge it."""
    for folder in ("base/include", "storage/src", "tests", "build"):
        (tmp_path / "tree" / folder).mkdir(parents=True)
    tree = tmp_path / "tree"
    (tree / "base" / "include" / "base.h").write_text(HEADER, encoding="utf-8")
    (tree / "storage" / "src" / "main.cpp").write_text(SOURCE, encoding="utf-8")
    for command in (["-c", "../storage/src/main.cpp"], ["main.o", "-o", "program"]):
        done = run("c++", "--coverage", "-O0", "-I../base/include", *command, cwd=tree / "build")
        assert done.returncode == 0, done.stderr

    def judge(project, *options):
        script = project / "scripts" / "coverage.py"
        return run(
            sys.executable, script, "--build", tree / "build", "--source", tree, *options
        )  # fmt: skip

    return tree / "build" / "program", judge


def test_lines_that_ran_are_counted_a_room(project, rooms):
    program, judge = rooms
    subprocess.run([program], check=True)
    done = judge(project, "--missing", "--at-least", "50")
    assert done.returncode == 1
    assert "storage/src/main.cpp: 4\n" in done.stdout
    assert "base/include/base.h: 2-4\n" in done.stdout
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[-4:]}
    assert rows["base"] == ["1", "3", "0", "0.0"]
    assert rows["storage"] == ["1", "4", "3", "75.0"]
    assert rows["index"] == ["0", "0", "0", "0.0"]
    assert "Rooms are covered below 50 %: base 0.0, compressor 0.0, index 0.0\n" in done.stderr


def test_runs_add_up_and_a_reached_limit_passes(project, rooms):
    program, judge = rooms
    subprocess.run([program], check=True)
    assert subprocess.run([program, "1"], check=False).returncode == 4
    done = judge(project, "--missing")
    assert done.returncode == 0, done.stderr
    assert "main.cpp:" not in done.stdout
    assert done.stdout.splitlines()[1].split() == ["base", "1", "3", "3", "100.0"]


def test_a_build_that_never_ran_is_refused(project, rooms):
    _, judge = rooms
    done = judge(project)
    assert done.returncode == 1
    assert "No program of this build has run with coverage: " in done.stderr
