"""Where probes stand, and what a run with probes tells."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import reach
import run
from mutants import Mutant, code_only

SOURCE = """\
#include "x.h"

namespace arfc {

int pick(int a,
         int b) {
    const int sum =
        a +
        b;
    if (sum > 3) {
        a = 1;
    } else if (b > 2 &&
               a > 1) {
        a = 2;
    }
    switch (a) {
        case 1: return 7;
        default: break;
    }
    for (int i = 0; i < a; ++i) {
        ++b;
    }
    return b;
}

} // namespace arfc
"""


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(SOURCE.split("\n"), 1) if text in line)


def mutant(number: int, text: str, file: str = "base/src/x.cpp") -> Mutant:
    line = SOURCE.split("\n")[line_of(text) - 1]
    return Mutant(number, file, line_of(text), "statement", line, line)


@pytest.mark.parametrize(
    ("changed", "probed"),
    [
        ("a = 1;", "a = 1;"),
        ("b;", "const int sum ="),  # Inside a statement of three lines.
        ("if (sum", "if (sum"),
        ("} else if", "if (sum"),  # A branch is reached where the first condition is asked.
        ("a > 1) {", "if (sum"),
        ("a = 2;", "a = 2;"),
        ("case 1", "switch"),
        ("default", "switch"),
        ("for (", "for ("),
        ("++b;", "++b;"),
        ("return b;", "return b;"),
    ],
)
def test_a_probe_stands_before_the_statement(changed, probed):
    code = code_only(SOURCE).split("\n")
    assert reach.probe_line(code, line_of(changed)) == line_of(probed)


def test_a_line_outside_of_statements_has_none():
    assert reach.probe_line(["x"], 1) is None


def test_probes_keep_the_numbers_of_lines_and_the_mutants_text():
    probes = reach.Probes.of(
        [mutant(4, "a = 1;"), mutant(9, "a = 1;"), mutant(5, "return b;")],
        {"base/src/x.cpp": SOURCE},
    )
    assert probes.numbers() == {4, 5, 9}
    before = SOURCE.split("\n")
    after = reach.add_probes(SOURCE, probes.lines["base/src/x.cpp"]).split("\n")
    assert len(after) == len(before)
    assert {old: new for old, new in zip(before, after, strict=True) if old != new} == {
        "namespace arfc {": 'extern "C" void arfc_reached(int); namespace arfc {',
        "        a = 1;": "arfc_reached(4); arfc_reached(9);         a = 1;",
        "    return b;": "arfc_reached(5);     return b;",
    }


def test_a_mutant_without_a_place_for_a_probe_has_none():
    no_namespace = SOURCE.replace("namespace", "NAMESPACE")
    assert not reach.Probes.of([mutant(1, "a = 1;")], {"base/src/x.cpp": no_namespace}).numbers()
    many = reach.Probes.of([mutant(reach.MOST, "a = 1;")], {"base/src/x.cpp": SOURCE})
    assert not many.numbers()


def test_what_the_compiler_refuses_is_dropped():
    probes = reach.Probes(
        {"base/src/x.cpp": {3: [1], 8: [2]}, "base/src/y.h": {5: [3]}, "base/src/z.h": {1: [4]}}
    )
    assert probes.drop_refused("/w/base/src/x.cpp:8:1: error: a\n/w/base/src/x.cpp:7:1: error: b\n")
    assert probes.numbers() == {1, 3, 4}
    # An error elsewhere in the file: which probe it is, nobody says.
    assert probes.drop_refused("/w/base/src/y.h:99:1: error: c\n")
    assert probes.numbers() == {1, 4}
    assert not probes.drop_refused("/w/base/src/other.cpp:1:1: error: d\n")
    assert not probes.drop_refused("/w/base/src/x.cpp:1:1: warning: e\n")


LOG = """\
@reached 3
[ RUN      ] A.Quick
@reached 1
@reached 1
[       OK ] A.Quick (10 ms)
[ RUN      ] A.Slow
[       OK ] A.Slow (5000 ms)
[ RUN      ] B.Other/0
some text
@reached 1
[       OK ] B.Other/0, where GetParam() = 3 (700 ms)
[ RUN      ] B.Last
[       OK ] B.Last (900 ms)
[ RUN      ] C.Far
@reached 2
[       OK ] C.Far (1 ms)
"""


def test_a_log_tells_which_tests_reach_a_line():
    reached = reach.Reach.of(LOG)
    assert reached.reached == {1: ["A.Quick", "B.Other/0"], 2: ["C.Far"], 3: ["A.Quick"]}
    assert reached.milliseconds == {
        "A.Quick": 10, "A.Slow": 5000, "B.Other/0": 700, "B.Last": 900, "C.Far": 1,
    }  # fmt: skip


def test_direct_tests_come_first_then_later_ones_of_their_suites():
    reached = reach.Reach.of(LOG)
    assert reached.tests(1) == ["A.Quick", "B.Other/0", "B.Last", "A.Slow"]
    assert reached.tests(2) == ["C.Far"]
    assert reached.tests(7) == []
    assert reached.runs(1) == [
        (["A.Quick", "B.Other/0", "B.Last"], pytest.approx(1.61)),
        (["A.Slow"], 5.0),
    ]


def test_runs_are_limited_by_what_their_tests_usually_take(tmp_path):
    usual = run.Usual(100.0, ["A.Slow"], reach.Reach.of(LOG))
    assert run.runs_for(usual, mutant(1, "a = 1;"), None) == [
        ("A.Quick:B.Other/0:B.Last", run.SHORTEST_LIMIT_S),
        ("A.Slow", run.SHORTEST_LIMIT_S),
    ]
    # Without a probe every test is asked.
    assert run.runs_for(usual, mutant(1, "a = 1;"), tmp_path) == [
        ("-A.Slow", run.SLOWER * 100.0),
        ("A.Slow", run.SLOWER * 100.0),
    ]


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_a_probe_prints_once_for_each_test_and_not_without_tests(tmp_path):
    (tmp_path / "home.cpp").write_text(reach.DEFINITION, encoding="utf-8")
    (tmp_path / "plain.cpp").write_text(
        'extern "C" void arfc_reached(int); int main() { arfc_reached(1); }', encoding="utf-8"
    )
    (tmp_path / "tests.cpp").write_text(
        """
        #include <initializer_list>
        extern "C" void arfc_reached(int);
        namespace testing {
        // What the probe asks of GoogleTest, by the same names.
        struct TestInfo {};
        TestInfo first, second;
        TestInfo* now = nullptr;
        struct UnitTest {
            static UnitTest* GetInstance();
            const TestInfo* current_test_info() const;
        };
        UnitTest unit;
        UnitTest* UnitTest::GetInstance() { return &unit; }
        const TestInfo* UnitTest::current_test_info() const { return now; }
        } // namespace testing
        int main() {
            for (auto* test : {&testing::first, &testing::second, (testing::TestInfo*)nullptr}) {
                testing::now = test;
                arfc_reached(7);
                arfc_reached(7);
                arfc_reached(8);
            }
        }
        """,
        encoding="utf-8",
    )

    def output(source: str) -> list[str]:
        program = tmp_path / "program"
        command = ["c++", "-std=c++20", str(tmp_path / source), str(tmp_path / "home.cpp")]
        subprocess.run([*command, "-o", str(program)], check=True, timeout=100)
        done = subprocess.run([program], check=True, capture_output=True, text=True, timeout=10)
        return done.stdout.split()

    assert output("plain.cpp") == []
    assert output("tests.cpp") == ["@reached", "7", "@reached", "8"] * 3
