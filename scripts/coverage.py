"""Says what share of the lines of base, compressor, storage and index ran, a room a line.

    python coverage.py --build build/coverage --at-least 85 [--missing]

Reads what gcov knows of every object of a build with --coverage, tests included, because templates
and inline functions of a header may be compiled nowhere else. A line that several objects have
counts once, as run if it ran in one of them. Exits with 1 if a room is below the limit.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
ROOMS = ("base", "compressor", "storage", "index")

Lines = dict[pathlib.PurePath, dict[int, bool]]  # file, relative -> line -> whether it ran


def counts_of_object(notes: pathlib.Path, gcov: str) -> dict:
    """Returns gcov's report of one object: its files and how often each of their lines ran."""
    done = subprocess.run(
        [gcov, "--json-format", "--stdout", str(notes.resolve())],
        cwd=notes.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout) if done.stdout else {"files": []}


def counts(build: pathlib.Path, source: pathlib.Path, gcov: str) -> Lines:
    """Returns whether each line of the rooms ran, over all objects of a build."""
    lines: Lines = collections.defaultdict(dict)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        reports = pool.map(lambda path: counts_of_object(path, gcov), sorted(build.rglob("*.gcno")))
        for report in reports:
            for file in report["files"]:
                path = pathlib.Path(report["current_working_directory"], file["file"])
                path = pathlib.Path(os.path.normpath(path))
                if not path.is_relative_to(source):
                    continue
                name = path.relative_to(source)
                if name.parts[0] not in ROOMS:
                    continue
                for line in file["lines"]:
                    number = line["line_number"]
                    # A count below zero is one that threads mixed up, not one of no runs.
                    ran = line["count"] != 0
                    lines[name][number] = lines[name].get(number, False) or ran
    return lines


def ranges(numbers: list[int]) -> str:
    """Returns "3-5, 9" of [3, 4, 5, 9]."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def percent(run: int, total: int) -> float:
    return 100.0 * run / total if total else 0.0


def print_missing(lines: Lines) -> None:
    """Prints the lines that never ran, a file a line, worst file first."""
    missing = {name: [line for line, ran in of.items() if not ran] for name, of in lines.items()}
    for name, numbers in sorted(missing.items(), key=lambda item: -len(item[1])):
        if numbers:
            print(f"{name}: {ranges(numbers)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=pathlib.Path, required=True, help="a build with --coverage")
    parser.add_argument("--source", type=pathlib.Path, default=PROJECT, help="the rooms' folder")
    parser.add_argument("--at-least", type=float, default=0.0, help="percent that a room needs")
    parser.add_argument("--missing", action="store_true", help="print the lines that never ran")
    parser.add_argument("--gcov", default="gcov", help="the program of the compiler's version")
    options = parser.parse_args()

    if not any(options.build.rglob("*.gcda")):
        sys.exit(f"No program of this build has run with coverage: {options.build}")
    lines = counts(options.build, options.source.resolve(), options.gcov)
    if options.missing:
        print_missing(lines)
    print(f"{'room':<12}{'files':>6}{'lines':>8}{'run':>8}{'percent':>9}")
    low = []
    for room in ROOMS:
        files = [of for name, of in lines.items() if name.parts[0] == room]
        total = sum(len(of) for of in files)
        run = sum(ran for of in files for ran in of.values())
        print(f"{room:<12}{len(files):>6}{total:>8,}{run:>8,}{percent(run, total):>9.1f}")
        if percent(run, total) < options.at_least:
            low.append(f"{room} {percent(run, total):.1f}")
    if low:
        print(f"Rooms are covered below {options.at_least:g} %: {', '.join(low)}", file=sys.stderr)
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
