"""Which small changes a line of C++ offers, and which lines are drawn.

Everything here is text in, text out, and the same for the same seed.
"""

from __future__ import annotations

import json
import pathlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

ROOMS = ("base", "compressor", "storage", "index")

Line = tuple[str, int]
"""A file below the project's root, with slashes, and a line's number from 1."""


@dataclass(frozen=True)
class Mutant:
    """One changed line."""

    number: int
    """Its place in the stream of draws, from 1: the same for the same commit."""
    file: str
    line: int
    name: str
    """Name of the operator."""
    before: str
    after: str

    @property
    def room(self) -> str:
        return self.file.split("/", 1)[0]


def executable_lines(
    reports: Iterable[str], root: pathlib.Path, rooms: Sequence[str] = ROOMS
) -> list[Line]:
    """Returns the lines of the rooms' own sources that gcov calls executable, sorted.

    reports  What `gcov --json-format` wrote, a JSON text an object file.
    """
    lines: set[Line] = set()
    for text in reports:
        report = json.loads(text)
        folder = pathlib.Path(report["current_working_directory"])
        for source in report["files"]:
            path = pathlib.Path(folder, source["file"]).resolve()
            if not path.is_relative_to(root):
                continue
            name = path.relative_to(root).as_posix()
            if re.match(rf"({'|'.join(rooms)})/(src|include)/", name):
                lines.update((name, line["line_number"]) for line in source["lines"])
    return sorted(lines)


_NOT_CODE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | R"(?P<mark>[^()\\\s]*)\(.*?\)(?P=mark)"
      | "(?:[^"\\\n]|\\.)*" | (?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)+' """,
    re.VERBOSE | re.DOTALL,
)


def code_only(source: str) -> str:
    """Blanks comments, texts and preprocessor lines; every other character stays where it is."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found.group())

    code = _NOT_CODE.sub(blank, source)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, code, flags=re.MULTILINE)


# Operators: a line's code -> the changes (first column, end, new text) that it offers.
Change = tuple[int, int, str]
_SAME = "\0"  # In a new text: what stood there, which may hold texts that are blanked here.


def apply(line: str, change: Change) -> str:
    """Returns the line after a change."""
    start, end, text = change
    return line[:start] + text.replace(_SAME, line[start:end]) + line[end:]


def _swapped(pairs: dict[str, str], pattern: str) -> Callable[[str], Iterator[Change]]:
    """Swaps what group 1 of the pattern finds."""

    def offer(code: str) -> Iterator[Change]:
        for found in re.finditer(pattern, code):
            yield found.start(1), found.end(1), pairs[found.group(1)]

    return offer


def _constants(code: str) -> Iterator[Change]:
    number = (
        r"(?<![\w.'])(?:0[xX][\dA-Fa-f']+|\d[\d']*(?:\.\d*)?(?:[eE][-+]?\d+)?)[uUlLfF]*(?![\w.])"
    )
    for found in re.finditer(number, code):
        yield found.start(), found.end(), f"({found.group()} + 1)"


def _closing(code: str, start: int) -> int | None:
    """Returns where the parenthesis at `start` closes on this line."""
    depth = 0
    for i in range(start, len(code)):
        depth += (code[i] == "(") - (code[i] == ")")
        if depth == 0:
            return i
    return None


def _conditions(code: str) -> Iterator[Change]:
    for found in re.finditer(r"\b(?:if|while) (?=\()", code):
        end = _closing(code, found.end())
        if end is not None and ";" not in code[found.end() : end]:
            yield found.end(), end + 1, f"(!{_SAME})"


def _statements(code: str) -> Iterator[Change]:
    """A statement that stands on the line alone, and is no declaration and no return."""
    words = r"return|const|constexpr|auto|using|static|case|default|public|private|else|do|if|for"
    statement = re.match(rf"\s*((?!(?:{words})\b)[\w:*(&+-][^;{{}}]*;)\s*$", code)
    if statement is None or code.count("(") != code.count(")"):
        return
    is_expression = re.match(
        r"(?:[\w:.>()\[\]*&-]+\s*(?:[-+*/|&^%]|<<|>>)?=[^=]"  # An assignment.
        r"|[\w:.>()\[\]*&-]+\(|\+\+|--|[\w.>\[\]-]+(?:\+\+|--);"  # A call, a count.
        r"|(?:break|continue|throw);|co_await\b)",
        statement.group(1),
    )
    if is_expression:
        yield statement.start(1), statement.end(1), ";"


def _returns(code: str) -> Iterator[Change]:
    found = re.search(r"\breturn ([^;]+);", code)
    # Of an optional and of a pointer {} is the same.
    same = ("{}", "true", "false", "std::nullopt", "nullptr")
    if found is None or found.group(1) in same:
        return
    if found.group(1).count("(") == found.group(1).count(")"):
        yield found.start(1), found.end(1), "{}"


OPERATORS: dict[str, Callable[[str], Iterator[Change]]] = {
    "comparison": _swapped(
        {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"},
        r" (==|!=|<=|>=|<|>) ",
    ),
    "arithmetic": _swapped({"+": "-", "-": "+", "*": "/", "/": "*", "%": "/"}, r" ([-+*/%]) "),
    "assignment": _swapped({"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="}, r" ([-+*/]=) "),
    "count": _swapped({"++": "--", "--": "++"}, r"(\+\+|--)"),
    "logic": _swapped({"&&": "||", "||": "&&"}, r"(?:^|\s)(&&|\|\|)(?=\s|$)"),
    "truth": _swapped({"true": "false", "false": "true"}, r"\b(true|false)\b"),
    "constant": _constants,
    "condition": _conditions,
    "statement": _statements,
    "return": _returns,
}


def changes_of(code: str) -> dict[str, list[Change]]:
    """Returns what each operator offers for a line's code; operators that offer nothing are left
    out."""
    offers = {name: list(offer(code)) for name, offer in OPERATORS.items()}
    return {name: changes for name, changes in offers.items() if changes}


def begins_a_statement(lines: Sequence[str], number: int) -> bool:
    """Says whether the code before line `number` has ended a statement or opened a block."""
    for code in reversed(lines[: number - 1]):
        if code.strip():
            return code.rstrip()[-1] in ";{}:" and not re.search(r"\bfor \([^)]*;$", code.rstrip())
    return True


class Draw:
    """Draws mutants uniformly over lines, then over the operators that the line offers.

    Lines that offer nothing, and changes that were drawn before, are drawn again and counted.
    """

    def __init__(
        self, lines: Sequence[Line], read: Callable[[str], str], seed: str, longest: int = 100_000
    ) -> None:
        """
        read     Returns a file's text.
        longest  Draws after which it gives up.
        """
        self._lines, self._read, self._longest = list(lines), read, longest
        self._random = random.Random(seed)
        self._code: dict[str, list[str]] = {}
        self.redrawn = 0

    def __iter__(self) -> Iterator[Mutant]:
        seen: set[tuple[str, int, str]] = set()
        number = 0
        for _ in range(self._longest if self._lines else 0):
            file, line = self._random.choice(self._lines)
            made = self._mutate(file, line)
            if made is None or (file, line, made[2]) in seen:
                self.redrawn += 1
                continue
            seen.add((file, line, made[2]))
            number += 1
            yield Mutant(number, file, line, *made)

    def _mutate(self, file: str, line: int) -> tuple[str, str, str] | None:
        """Returns (operator, line before, line after)."""
        if file not in self._code:
            self._code[file] = code_only(self._read(file)).split("\n")
        code = self._code[file]
        offers = changes_of(code[line - 1])
        if not begins_a_statement(code, line):
            offers.pop("statement", None)
        if not offers:
            return None
        name = self._random.choice(sorted(offers))
        before = self._read(file).split("\n")[line - 1]
        return name, before, apply(before, self._random.choice(offers[name]))


def replace_line(source: str, mutant: Mutant) -> str:
    """Returns the source with the mutant's line in place of the one that it was made from."""
    lines = source.split("\n")
    if lines[mutant.line - 1] != mutant.before:
        raise ValueError(
            f"Line is not the one that was drawn: {mutant.file}:{mutant.line},"
            f" {lines[mutant.line - 1]!r}, expected {mutant.before!r}"
        )
    lines[mutant.line - 1] = mutant.after
    return "\n".join(lines)
