"""Which tests reach a changed line, so that a mutant asks no others.

A probe is a call before the statement that a mutant changes; it prints the mutant's number once for
every test that comes by. Probes are put on the statement's own line, so that lines keep their
numbers, and stay in the copy while mutants are judged: nothing is compiled twice for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mutants import Mutant, begins_a_statement, code_only

HOME = "base/src/error.cpp"
"""The file whose copy defines the probe: every room links it."""

DEFINITION = r"""
// Prints which mutant's line is reached, once for each test. The names are GoogleTest's, which
// programs without tests do not have.
#include <unistd.h>
#include <atomic>
#include <cstdio>
extern "C" {
__attribute__((weak)) void* arfc_all_tests() __asm__("_ZN7testing8UnitTest11GetInstanceEv");
__attribute__((weak)) void* arfc_this_test(void*)
    __asm__("_ZNK7testing8UnitTest17current_test_infoEv");
void arfc_reached(int mutant) {
    static std::atomic<void*> printed[1024];
    static char outside = 0; // Stands for what runs between two tests.
    if (arfc_all_tests == nullptr || arfc_this_test == nullptr) {
        return;
    }
    void* test = arfc_this_test(arfc_all_tests());
    test = test == nullptr ? &outside : test;
    if (printed[mutant].exchange(test) != test) {
        char line[32];
        const int size = std::snprintf(line, sizeof line, "\n@reached %d\n", mutant);
        const auto written = ::write(STDOUT_FILENO, line, static_cast<std::size_t>(size));
        static_cast<void>(written);
    }
}
}
"""
MOST = 1024  # Numbers that the probe knows.


def _opening(code: Sequence[str], number: int, depth: int) -> int | None:
    """Returns the line above `number` that opens a brace `depth` levels further out."""
    for line in range(number - 1, 0, -1):
        for character in reversed(code[line - 1]):
            depth += (character == "}") - (character == "{")
            if depth == 0:
                return line
    return None


def probe_line(code: Sequence[str], number: int) -> int | None:
    """Returns the line of the statement that line `number` is a part of, which may be itself; for a
    later branch, or a case, that of the whole; None: there is none.

    code  The file's lines, blanked as code_only() does.
    """
    line: int | None = number
    while line is not None and line > 1:
        text = code[line - 1].strip()
        if text.startswith("}") or re.match(r"(?:case\b|default:)", text):
            line = _opening(code, line, 1)
        elif text and begins_a_statement(code, line):
            return line
        else:
            line -= 1
    return None


def add_probes(source: str, probes: dict[int, Sequence[int]]) -> str:
    """Returns the source with probes; it must have a line that opens a namespace.

    probes  Line -> the mutants' numbers whose probes stand there.
    """
    lines = source.split("\n")
    for line, numbers in probes.items():
        calls = " ".join(f"arfc_reached({number});" for number in numbers)
        lines[line - 1] = f"{calls} {lines[line - 1]}"
    first = next(i for i, line in enumerate(lines) if line.startswith("namespace "))
    lines[first] = f'extern "C" void arfc_reached(int); {lines[first]}'
    return "\n".join(lines)


@dataclass
class Probes:
    """Where the probes of some mutants stand."""

    lines: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    """File -> line -> numbers of mutants."""

    @classmethod
    def of(cls, mutants: Iterable[Mutant], sources: dict[str, str]) -> Probes:
        """sources  The text of each mutant's file."""
        probes = cls()
        for mutant in mutants:
            source = sources[mutant.file]
            line = probe_line(code_only(source).split("\n"), mutant.line)
            opens = re.search(r"^namespace ", source, re.MULTILINE)
            if line is not None and opens is not None and mutant.number < MOST:
                of_file = probes.lines.setdefault(mutant.file, {})
                of_file.setdefault(line, []).append(mutant.number)
        return probes

    def numbers(self) -> set[int]:
        """Returns the mutants that have a probe."""
        return {n for lines in self.lines.values() for numbers in lines.values() for n in numbers}

    def drop_refused(self, log: str) -> bool:
        """Takes back the probes on lines that a compiler's output complains of, or else all of
        their files: not every line that begins like a statement is one. Returns whether there were
        any."""
        refused = {
            (name, int(line))
            for file, line in re.findall(r"([\w/.+-]+):(\d+):\d+: error", log)
            for name in self.lines
            if file.endswith(name)
        }
        dropped = [self.lines[name].pop(line, None) for name, line in refused]
        if any(dropped):
            return True
        files = {name for name, _ in refused}
        for name in files:
            del self.lines[name]
        return bool(files)


@dataclass(frozen=True)
class Reach:
    """What a run of a test program tells."""

    milliseconds: dict[str, int]
    """Test -> its time, in the order in which they ran."""
    reached: dict[int, list[str]]
    """Mutant's number -> the tests that came by its line."""

    @classmethod
    def of(cls, log: str) -> Reach:
        """Reads a program's output, probes' lines in it. What is reached between two tests is the
        next one's."""
        milliseconds: dict[str, int] = {}
        reached: dict[int, list[str]] = {}
        running: str | None = None
        early: list[int] = []
        for line in log.splitlines():
            if begun := re.match(r"\[ RUN      \] ([\w/.]+)", line):
                running = begun.group(1)
                for number in early:
                    reached.setdefault(number, []).append(running)
                early = []
            elif ended := re.match(r"\[       OK \] ([\w/.]+).*\((\d+) ms\)", line):
                milliseconds[ended.group(1)] = int(ended.group(2))
                running = None
            elif came := re.match(r"@reached (\d+)$", line):
                number = int(came.group(1))
                if running is None:
                    early.append(number)
                elif running not in reached.setdefault(number, []):
                    reached[number].append(running)
        return cls(milliseconds, reached)

    def tests(self, number: int) -> list[str]:
        """Returns the tests to ask about a mutant, the quickest first: those that reach its line,
        then later ones of the same suites, which may use what those made."""
        direct = self.reached.get(number, [])
        order = list(self.milliseconds)
        first = {}
        for test in sorted(direct, key=order.index):
            first.setdefault(test.rpartition(".")[0], order.index(test))
        later = [
            test
            for place, test in enumerate(order)
            if test not in direct and place > first.get(test.rpartition(".")[0], len(order))
        ]
        by_time = self.milliseconds.__getitem__
        return sorted(direct, key=by_time) + sorted(later, key=by_time)

    def runs(self, number: int, together_ms: int = 2000) -> list[tuple[list[str], float]]:
        """Returns (tests of one run, its usual seconds): quick ones together, slow ones alone."""
        runs: list[tuple[list[str], float]] = []
        for test in self.tests(number):
            seconds = self.milliseconds[test] / 1000
            if runs and 1000 * (runs[-1][1] + seconds) <= together_ms:
                runs[-1] = ([*runs[-1][0], test], runs[-1][1] + seconds)
            else:
                runs.append(([test], seconds))
        return runs
