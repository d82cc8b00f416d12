"""Environments that share files are independent of each other and of where they lie."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest
from copy_environment import copy_environment
from missing_requirements import missing_requirements

PROGRAM = "import greeting\nprint(greeting.TEXT)\n"


@pytest.fixture
def base(tmp_path):
    """An environment with a package, a program that starts its Python, and one that does not."""
    folder = tmp_path / "base"
    venv.create(folder, symlinks=True, with_pip=False)
    packages = next((folder / "lib").glob("python3*/site-packages"))
    (packages / "greeting").mkdir()
    (packages / "greeting" / "__init__.py").write_text('TEXT = "hello"\n', encoding="utf-8")
    python = folder / "bin" / "python"
    for name, text in {"greet": f"#!{python}\n{PROGRAM}", "tool": "#!/bin/sh\necho tool\n"}.items():
        (folder / "bin" / name).write_text(text, encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    detour = f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"
    (folder / "bin" / "detour").write_text(detour + PROGRAM, encoding="utf-8")
    (folder / "bin" / "detour").chmod(0o755)
    return folder


def output(program: pathlib.Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["copy", "copy with blanks", "long" * 50])
def test_a_copy_lives_without_its_base(base, tmp_path, name):
    target = tmp_path / name
    copy_environment(base, target)
    shared = next((target / "lib").glob("python3*/site-packages")) / "greeting" / "__init__.py"
    assert shared.stat().st_nlink == 2
    shutil.rmtree(base)
    assert output(target / "bin" / "greet") == "hello\n"
    assert output(target / "bin" / "detour") == "hello\n"
    assert output(target / "bin" / "tool") == "tool\n"


def test_two_copies_do_not_see_each_others_packages(base, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    copy_environment(base, first)
    copy_environment(base, second)
    package = next((first / "lib").glob("python3*/site-packages")) / "greeting" / "__init__.py"
    package.unlink()  # As pip does before it installs another version.
    package.write_text('TEXT = "changed"\n', encoding="utf-8")
    assert output(first / "bin" / "greet") == "changed\n"
    assert output(second / "bin" / "greet") == "hello\n"
    assert output(base / "bin" / "greet") == "hello\n"


def test_a_file_system_without_links_gets_copies(base, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    copy_environment(base, tmp_path / "copy")
    package = next((tmp_path / "copy" / "lib").glob("python3*/site-packages/greeting/__init__.py"))
    assert package.stat().st_nlink == 1
    assert output(tmp_path / "copy" / "bin" / "greet") == "hello\n"


def test_missing_requirements_are_the_absent_and_the_differing(tmp_path):
    import numpy

    file = tmp_path / "requirements.txt"
    file.write_text(
        f"# a comment\npytest=={pytest.__version__}  # why\n\n"
        f"numpy=={numpy.__version__}.1\nno-such-package==1.0\n",
        encoding="utf-8",
    )
    assert missing_requirements(file) == [f"numpy=={numpy.__version__}.1", "no-such-package==1.0"]


def test_the_build_of_an_installed_version_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0+cpu")
    file = tmp_path / "requirements.txt"
    file.write_text("torch==2.13.0\ntorch==2.14.0\n", encoding="utf-8")
    assert missing_requirements(file) == ["torch==2.14.0"]


def test_a_requirement_that_is_not_pinned_is_refused(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("numpy>=1\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="not pinned as name==version: numpy>=1"):
        missing_requirements(file)


def test_the_projects_requirements_are_pinned_and_met(project):
    assert missing_requirements(project / "scripts" / "requirements.txt") == []
    assert sys.prefix != sys.base_prefix
