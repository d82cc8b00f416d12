"""The scripts parse, the Makefile explains itself, and every preset can be listed."""

from __future__ import annotations

import re
import shutil

import pytest


def shell_scripts(project):
    return [*sorted((project / "scripts").glob("*.sh")), project / ".ci" / "run"]


def test_every_script_parses(project, run):
    scripts = shell_scripts(project)
    assert len(scripts) > 5
    for script in scripts:
        assert run("bash", "-n", script).returncode == 0, script


def test_shellcheck_finds_nothing(project, run):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = run("shellcheck", "-x", *shell_scripts(project))
    assert done.returncode == 0, done.stdout


def test_make_help_lists_every_target(project, run):
    text = (project / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()
    done = run("make", "help")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^  make (\S+) ", done.stdout, re.MULTILINE) == targets
    assert {"setup", "demo", "test", "bench", "lint", "asan", "tsan", "clean"} <= set(targets)
    assert run("make").stdout == done.stdout


def test_the_presets_are_those_that_are_promised(run):
    done = run("cmake", "--list-presets")
    assert done.returncode == 0, done.stderr
    assert re.findall(r'"(\w+)"', done.stdout) == ["release", "dev", "asan", "tsan", "coverage"]
