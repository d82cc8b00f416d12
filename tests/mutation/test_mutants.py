"""Drawing and mutating, and what a test program's end is taken for."""

from __future__ import annotations

import itertools
import json
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import run
from mutants import (
    Draw,
    Mutant,
    apply,
    begins_a_statement,
    changes_of,
    code_only,
    executable_lines,
    replace_line,
)
from reach import Probes, Reach

NO_REACH = Reach({}, {})


def changed(line: str) -> dict[str, list[str]]:
    """Returns every mutant of a line, by operator."""
    return {
        name: [apply(line, change) for change in changes]
        for name, changes in changes_of(code_only(line)).items()
    }


@pytest.mark.parametrize(
    ("line", "operator", "mutants"),
    [
        ("if (a < b) {", "comparison", ["if (a >= b) {"]),
        ("if (a < b) {", "condition", ["if (!(a < b)) {"]),
        ('if (starts_with("a b")) {  // c', "condition", ['if (!(starts_with("a b"))) {  // c']),
        ("while (at(i) == x) {", "condition", ["while (!(at(i) == x)) {"]),
        ("bool x = a == b && c != d;", "comparison",
         ["bool x = a != b && c != d;", "bool x = a == b && c == d;"]),
        ("bool x = a == b && c != d;", "logic", ["bool x = a == b || c != d;"]),
        ("           !b || c) {", "logic", ["           !b && c) {"]),
        ("x = a + b * c;", "arithmetic", ["x = a - b * c;", "x = a + b / c;"]),
        ("x += 3;", "assignment", ["x -= 3;"]),
        ("x += 3;", "constant", ["x += (3 + 1);"]),
        ("x = 1.5e-3F * 0x1fU + 10'000;", "constant",
         ["x = (1.5e-3F + 1) * 0x1fU + 10'000;", "x = 1.5e-3F * (0x1fU + 1) + 10'000;",
          "x = 1.5e-3F * 0x1fU + (10'000 + 1);"]),
        ("for (int i = n; i > m; --i) {", "count", ["for (int i = n; i > m; ++i) {"]),
        ("return true;", "truth", ["return false;"]),
        ("return size_ - first;", "return", ["return {};"]),
        ("    file.close();", "statement", ["    ;"]),
        ("    total_ = a;", "statement", ["    ;"]),
        ("    values[i] += a;", "statement", ["    ;"]),
        ("    ++count;", "statement", ["    ;"]),
        ("    break;", "statement", ["    ;"]),
        ("    throw;", "statement", ["    ;"]),
    ],
)  # fmt: skip
def test_an_operator_makes_one_small_change(line, operator, mutants):
    assert changed(line)[operator] == mutants


@pytest.mark.parametrize(
    "line",
    [
        "",
        "}",
        "    // a < b, 3 + 4",
        "#include <vector>",
        'say("a == b && 3 + 4"',
        "std::vector<std::vector<float>> rows",
        "void take(std::string&& text, const T* x, float16 y2",
        "const Reader reader(file);",  # A declaration; without it nothing would compile.
        "return {};",
        "return std::nullopt;",
        "return nullptr;",
        "fail(",
    ],
)
def test_a_line_may_offer_nothing(line):
    assert changed(line) == {}


def test_a_condition_over_several_lines_or_with_a_declaration_is_left_alone():
    assert "condition" not in changed("if (a &&")
    assert "condition" not in changed("if (const auto x = f(); x) {")


def test_what_is_no_code_is_blanked_in_place():
    source = 'a; // b\n/* c\n d */ e("f\\"g", \'h\', 1\'000);\n#define I \\\n  J\nR"(k\n"l)" m\n'
    code = code_only(source)
    assert len(code) == len(source)
    assert code.split() == ["a;", "e(", ",", ",", "1'000);", "m"]
    assert [i for i, c in enumerate(code) if c == "\n"] == [
        i for i, c in enumerate(source) if c == "\n"
    ]


def test_a_statement_begins_after_another_has_ended():
    lines = ["f(", "    g();", "", "    h();", "for (i = 0;", "    ++i;"]
    assert begins_a_statement(lines, 1)
    assert not begins_a_statement(lines, 2)
    assert begins_a_statement(lines, 4)
    assert not begins_a_statement(lines, 6)


def gcov_report(root: pathlib.Path, **files: list[int]) -> str:
    return json.dumps(
        {
            "current_working_directory": str(root),
            "files": [
                {"file": name, "lines": [{"line_number": number} for number in numbers]}
                for name, numbers in files.items()
            ],
        }
    )


def test_lines_are_those_of_the_rooms_sources_once_each(tmp_path):
    first = gcov_report(
        tmp_path,
        **{"index/src/a.cpp": [3, 1], "base/include/arfc/base/b.h": [7], "server/src/c.cpp": [1]},
    )
    second = gcov_report(
        tmp_path,
        **{
            "base/include/arfc/base/b.h": [7, 8],
            "/usr/include/c++/12/vector": [9],
            "base/tests/d.cpp": [1],
            str(tmp_path / "storage/src/e.cpp"): [2],
        },
    )
    assert executable_lines([first, second], tmp_path) == [
        ("base/include/arfc/base/b.h", 7),
        ("base/include/arfc/base/b.h", 8),
        ("index/src/a.cpp", 1),
        ("index/src/a.cpp", 3),
        ("storage/src/e.cpp", 2),
    ]


SOURCE = "int f(int a) {\n    g();\n    return a + 1;\n}\n"
LINES = [("base/src/f.cpp", number) for number in (1, 2, 3, 4)]


def draw(seed: str, lines=LINES, source: str = SOURCE) -> Draw:
    return Draw(lines, lambda _: source, seed, longest=1000)


def test_the_same_seed_draws_the_same_mutants():
    first = list(itertools.islice(draw("a"), 4))
    assert first == list(itertools.islice(draw("a"), 4))
    assert [mutant.number for mutant in first] == [1, 2, 3, 4]
    assert any(list(itertools.islice(draw(seed), 4)) != first for seed in "bcd")


def test_every_mutant_comes_once_and_the_others_are_counted():
    drawn = draw("a")
    mutants = list(drawn)
    assert {(mutant.line, mutant.after) for mutant in mutants} == {
        (2, "    ;"),
        (3, "    return a - 1;"),
        (3, "    return a + (1 + 1);"),
        (3, "    return {};"),
    }
    assert len(mutants) == 4
    assert drawn.redrawn == 1000 - 4


def test_lines_are_drawn_uniformly():
    source = "\n".join(f"x = y{i} + z{i};" for i in range(200))
    lines = [("base/src/f.cpp", number) for number in range(1, 201)]
    numbers = [mutant.line for mutant in itertools.islice(draw("a", lines, source), 200)]
    assert 60 < sum(number <= 100 for number in numbers) < 140


def test_without_lines_nothing_is_drawn():
    assert list(draw("a", [])) == []


def test_a_line_is_replaced_and_no_other():
    mutant = next(iter(draw("a", [LINES[2]])))
    lines = replace_line(SOURCE, mutant).split("\n")
    assert lines[2] == mutant.after != mutant.before
    assert lines[:2] + lines[3:] == SOURCE.split("\n")[:2] + SOURCE.split("\n")[3:]
    assert mutant.room == "base"
    with pytest.raises(ValueError, match=r"base/src/f.cpp:3, .*expected"):
        replace_line(SOURCE.replace("return", "throw"), mutant)


def test_the_copy_is_as_before_whatever_happens(tmp_path):
    tree = object.__new__(run.Tree)  # Without a commit and a build.
    tree.root, tree._originals, tree._probes = tmp_path, {}, Probes()
    (tmp_path / "f.cpp").write_text(SOURCE)
    mutant = Mutant(1, "f.cpp", 2, "statement", "    g();", "    ;")
    with pytest.raises(KeyboardInterrupt), tree.changed(mutant):
        assert (tmp_path / "f.cpp").read_text() == SOURCE.replace("g();", ";")
        raise KeyboardInterrupt
    assert (tmp_path / "f.cpp").read_text() == SOURCE


LOG = "[ RUN      ] A.B\n[       OK ] A.B (0 ms)\n[ RUN      ] C.D/0\n"


@pytest.mark.parametrize(
    ("code", "log", "by"),
    [
        (0, LOG, ""),
        (1, LOG + "[  FAILED  ] C.D/0, where GetParam() = 3 (1 ms)\n", "C.D/0"),
        (-11, LOG, "ended with -11 in C.D/0"),
        (127, "", "ended with 127"),
        (None, LOG, "stopped after 60 s in C.D/0"),
        (None, "", "stopped after 60 s"),
        (-24, LOG, "stopped after 60 s in C.D/0"),
    ],
)
def test_what_killed_a_mutant(code, log, by):
    assert run.verdict(code, log, 60) == by


def script(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "program"
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("exit 0", ""),
        ("echo '[  FAILED  ] A.B (0 ms)'; exit 1", "A.B"),
        ("echo '[ RUN      ] A.B'; kill -SEGV $$", "ended with -11 in A.B"),
        ("echo '[ RUN      ] A.B'; sleep 600 & wait", "stopped after 1 s in A.B"),
        ("echo '[ RUN      ] A.B'; while :; do :; done", "stopped after 1 s in A.B"),
    ],
)
def test_programs_that_end_as_tests_do(tmp_path, monkeypatch, text, by):
    """One waits without an end and is stopped by the clock, one computes, by its own time."""
    monkeypatch.setattr(run, "BUSY", 30 if "while" in text else 3)
    assert run.run_tests(tmp_path / "log", script(tmp_path, text), 1) == by


def test_programs_stop_with_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RUNNING", run.Running())
    program = script(tmp_path, "echo '[ RUN      ] A.B'; sleep 600 & wait")
    with ThreadPoolExecutor() as pool:
        before = pool.submit(run.run_tests, tmp_path / "before", program, 600)
        while not (tmp_path / "before").exists() or not (tmp_path / "before").stat().st_size:
            time.sleep(0.01)
        run.RUNNING.stop()
        assert before.result() == "ended with -9 in A.B"
        assert run.run_tests(tmp_path / "later", program, 600).startswith("ended with -9")


def test_a_disk_that_a_test_leaves_is_taken_away(tmp_path):
    text = 'mkdir "$TMPDIR/disk" && mount -t tmpfs arfc-test "$TMPDIR/disk" && kill -9 $$'
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    assert run.run_tests(tmp_path / "log", script(tmp_path, text), 1) == "ended with -9"
    assert "arfc-mutants-" not in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8")


def test_the_slow_tests_run_last():
    log = "".join(f"[       OK ] A.T{i} ({ms} ms)\n" for i, ms in enumerate((1, 500, 9, 400, 90)))
    assert run.slow_tests(log) == ["A.T1", "A.T3"]
    usual = run.Usual(2.0, ["A.T1", "A.T3"], NO_REACH)
    assert usual.filters() == ["-A.T1:A.T3", "A.T1:A.T3"]
    assert usual.filters(["*B.*"]) == ["*B.*-A.T1:A.T3", "-*B.*:A.T1:A.T3", "A.T1:A.T3"]
    assert usual.limit_s == 60
    assert run.Usual(20.0, [], NO_REACH).filters() == ["*"]
    assert run.Usual(20.0, [], NO_REACH).filters(["*B.*"]) == ["*B.*", "-*B.*"]
    assert run.Usual(20.0, [], NO_REACH).limit_s == 100


def test_near_are_the_tests_that_are_named_alike_or_include_the_header(tmp_path):
    sources = {
        "lists_test.cpp": "TEST(Lists, A) {\nTEST_F(ListsTest, B) {\nTEST(Lists, C) {",
        "lists_io_test.cpp": "TEST(ListsIo, A) {",
        "maps_test.cpp": '#include "arfc/index/lists.h"\nTEST_P(MapsOfAll, A) {',
        "names_test.cpp": '#include "arfc/index/lists_io.h"\nTEST(Names, A) {',
        "lists.cpp": "TEST(NoTest, A) {",
    }
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    near = ["*ListsIo.*", "*Lists.*", "*ListsTest.*", "*MapsOfAll.*"]
    assert run.near_tests(tmp_path, "index/src/lists.cpp") == near
    assert run.near_tests(tmp_path, "index/src/lists_io.cpp") == ["*ListsIo.*", "*Names.*"]
    assert run.near_tests(tmp_path, "index/src/absent.h") == []


def test_a_change_is_for_the_tests_of_its_room_and_of_index():
    assert run.test_rooms("storage") == ["storage", "index"]
    assert run.test_rooms("index") == ["index"]
