"""Changes the C++ sources a little, many times over, and asks whether a test notices.

    python tests/mutation/run.py [--count 30] [--needed 27] [--only 3,7]

Draws mutants uniformly over the executable lines of base, compressor, storage and index, seeded
with the commit. All tests run once in a copy of the project under build/mutation, with a probe at
each line that will be changed. Then each mutant is built there and judged by those tests of its
room and of index that reached its line; the test that failed is printed. Exits with 1 when fewer
than --needed were killed. The project's own files are only read. Mutants that do not compile are
drawn again. Several are judged at a time, each in a copy of its own: most tests keep one core busy.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import math
import os
import pathlib
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from mutants import ROOMS, Draw, Line, Mutant, executable_lines, replace_line
from reach import DEFINITION, HOME, Probes, Reach, add_probes

PROJECT = pathlib.Path(__file__).resolve().parents[2]
WORK = PROJECT / "build" / "mutation"
MEMORY_BYTES = 12 << 30  # What a mutant that allocates without end may take.
SLOWER = 5  # A program that takes so many times its usual time has been stopped by the mutant.
SHORTEST_LIMIT_S = 60.0
BUSY = 6  # Other load makes tests wait so many times as long as they compute.
SLOW_SHARE = 0.8  # Of a program's time: the tests that take it run after the others.
SPARE = 30  # Mutants beyond --count that get a probe: for those that do not compile.


class SetupError(Exception):
    """Something that the run needs is not there."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    status: str
    """"killed", "survived", with a reason where there is one, or "not compiled"."""
    by: str = ""
    """The test that failed first, or how its program ended."""


def output_of(*command: str | pathlib.Path) -> str:
    return subprocess.run(
        list(map(str, command)), cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout


def commit_hash() -> str:
    """Returns the commit, which the sources must be: it stands for the mutants drawn from them."""
    changed = output_of("git", "status", "--porcelain", "--", *ROOMS)
    if changed:
        raise SetupError(f"Sources differ from the commit; commit them first:\n{changed}")
    return output_of("git", "rev-parse", "HEAD").strip()


def run_logged(log: pathlib.Path, *command: str | pathlib.Path) -> bool:
    """Runs a command, its output in a file; returns whether it succeeded."""
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    return done.returncode == 0


def require(log: pathlib.Path, *command: str | pathlib.Path) -> None:
    if not run_logged(log, *command):
        raise SetupError(f"Command failed: {' '.join(map(str, command))}; see {log}")


# Which lines there are.


def make_coverage_build(folder: pathlib.Path, jobs: int) -> None:
    """Compiles the rooms for gcov; their tests need not run."""
    if not (folder / "build.ninja").exists():
        folder.mkdir(parents=True, exist_ok=True)
        require(
            folder / "configure.log", "cmake", "-S", PROJECT, "-B", folder, "-G", "Ninja",
            "-DARFC_ROOMS=index", "-DARFC_BUILD_TESTS=OFF", "-DCMAKE_BUILD_TYPE=Debug",
            # Ours alone: to count lines of LibTorch's headers takes minutes a file.
            f"-DCMAKE_CXX_FLAGS_DEBUG=-O0 --coverage -fprofile-filter-files={PROJECT}/[bcis].*",
        )  # fmt: skip
    targets = [f"arfc_{room}" for room in ROOMS]
    require(folder / "build.log", "cmake", "--build", folder, "-j", str(jobs), "--target", *targets)


def lines_of_build(folder: pathlib.Path) -> list[Line]:
    """Returns the executable lines of a build made with --coverage."""
    notes = [note for room in ROOMS for note in sorted((folder / room).rglob("*.gcno"))]
    if not notes:
        raise SetupError(f"Build has no gcov notes; was it made with --coverage? {folder}")
    with tempfile.TemporaryDirectory() as alone:  # Without counts, which may be of older notes.
        copy = pathlib.Path(alone, "notes.gcno")

        def report_of(note: pathlib.Path) -> str:
            shutil.copyfile(note, copy)
            return output_of("gcov", "--json-format", "--stdout", copy)

        reports = map(report_of, notes)
        return executable_lines(
            (line for report in reports for line in report.splitlines() if line), PROJECT
        )


class Tree:
    """A copy of the project with a build of its own, in which one file at a time is changed."""

    def __init__(self, folder: pathlib.Path, jobs: int) -> None:
        self.root, self._jobs = folder, jobs
        self.build_log = WORK / f"{folder.name}-build.log"
        self.tests_log = WORK / f"{folder.name}-tests.log"
        self._originals: dict[str, str] = {}
        self._probes = Probes()
        self._build = folder / "build" / "release"  # As in the project: what its cache has, fits.
        self._sync()
        if not (self._build / "build.ninja").exists():
            self._build.mkdir(parents=True, exist_ok=True)
            require(
                self.build_log, "cmake", "-S", folder, "--preset", "release",
                "-DARFC_ROOMS=index", "-DARFC_BUILD_BENCHMARKS=OFF",
            )  # fmt: skip

    def _sync(self) -> None:
        """Makes the copy what the project is; what is the same keeps its time."""
        listed = output_of("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        wanted = {name for name in listed.split("\0") if name and (PROJECT / name).is_file()}
        for name in wanted:
            copy, content = self.root / name, (PROJECT / name).read_bytes()
            if not copy.exists() or copy.read_bytes() != content:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)
        for folder in (*ROOMS, "tests", "cmake"):
            for path in (self.root / folder).rglob("*"):
                if path.is_file() and path.relative_to(self.root).as_posix() not in wanted:
                    path.unlink()
        if not (self.root / ".venv").exists():
            (self.root / ".venv").symlink_to(PROJECT / ".venv")

    def read(self, file: str) -> str:
        return (self.root / file).read_text(encoding="utf-8")

    def _original(self, file: str) -> str:
        """Returns a file's text without probes and mutants."""
        return self._originals.setdefault(file, self.read(file))

    def _write(self, file: str, mutant: Mutant | None = None) -> None:
        """Writes a file of the copy as it was, but for probes and a mutant."""
        source = self._original(file)
        if mutant is not None:
            source = replace_line(source, mutant)
        if self._probes.lines.get(file):
            source = add_probes(source, self._probes.lines[file])
        if file == HOME and self._probes.lines:
            source += DEFINITION
        if self.read(file) != source:
            (self.root / file).write_text(source, encoding="utf-8")

    def probe(self, mutants: Sequence[Mutant]) -> set[int]:
        """Puts probes at the lines of mutants and builds every room's tests.

        Returns the numbers of those whose probe the compiler takes.
        """
        files = {mutant.file for mutant in mutants} | {HOME}
        self._probes = Probes.of(mutants, {file: self._original(file) for file in files})
        while True:
            for file in files:
                self._write(file)
            if all(self.build(room, keep_going=True) for room in ROOMS):
                return self._probes.numbers()
            if not self._probes.drop_refused(self.build_log.read_text(encoding="utf-8")):
                raise SetupError(f"Commit does not build; see {self.build_log}")

    @contextlib.contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        try:
            self._write(mutant.file, mutant)
            yield
        finally:
            self._write(mutant.file)

    def build(self, room: str, keep_going: bool = False) -> bool:
        """Builds a room's tests; returns whether all compiled.

        keep_going  Whether to compile the other files, too, once one was refused.
        """
        return run_logged(
            self.build_log, "cmake", "--build", self._build, "-j", str(self._jobs),
            "--target", f"arfc_{room}_tests", *(("--", "-k", "0") if keep_going else ()),
        )  # fmt: skip

    def program(self, room: str) -> pathlib.Path:
        return self._build / "tests" / room / f"arfc_{room}_tests"


def test_rooms(room: str) -> list[str]:
    """Returns the rooms whose tests have to notice a change in a room."""
    return list(dict.fromkeys((room, "index")))


def set_limits(seconds: float) -> None:
    """Limits this process, before it becomes the program."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES,) * 2)
    processor_s = math.ceil(seconds * (os.cpu_count() or 1))
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s + 5))


def unmount_below(folder: str) -> None:
    """Takes away what is mounted in a folder: a test that dies leaves its small disk there."""
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    for place in (line.split()[1] for line in mounts):
        if place.startswith(folder + "/"):
            subprocess.run(["umount", "--lazy", place], check=False)


class Running:
    """The programs that run now, which an end of this one stops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @contextlib.contextmanager
    def added(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Stops the process, and what it started, at the end of the context or when all stop."""
        with self._lock:
            self._processes.add(process)
            if self._stopped:
                self._kill(process)
        try:
            yield
        finally:
            with self._lock:
                self._processes.discard(process)
                self._kill(process)
            process.wait()

    def stop(self) -> None:
        """Stops them all, and those that begin later."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                self._kill(process)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


RUNNING = Running()


def run_tests(log: pathlib.Path, program: pathlib.Path, limit_s: float, names: str = "*") -> str:
    """Runs a test program until its first failure.

    log      Where its output goes.
    limit_s  Seconds on a quiet machine. What is limited is the processor time of as many cores, so
             that other load kills no mutant, and the clock's to BUSY times as long.
    names    A filter of tests, as --gtest_filter takes it.

    Returns the failed test, or how the program ended; "" where every test passed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="arfc-mutants-") as scratch,
        log.open("w+", encoding="utf-8", errors="replace") as output,
    ):
        os.chmod(scratch, 0o1777)  # Some tests go on as a user without rights.
        process = subprocess.Popen(
            [program, "--gtest_fail_fast", "--gtest_color=no", f"--gtest_filter={names}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "TMPDIR": scratch},
            preexec_fn=lambda: set_limits(limit_s),
        )  # fmt: skip
        try:
            with RUNNING.added(process):
                code = process.wait(BUSY * limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            unmount_below(scratch)
        output.seek(0)
        return verdict(code, output.read(), limit_s)


def verdict(code: int | None, log: str, limit_s: float) -> str:
    """Says which test failed, from a program's exit code (None: stopped) and its output."""
    if code == 0:
        return ""
    failed = re.findall(r"^\[  FAILED  \] ([\w/.]+)", log, re.MULTILINE)
    running = re.findall(r"^\[ RUN      \] ([\w/.]+)", log, re.MULTILINE)
    if code is None or code == -signal.SIGXCPU:
        where = f" in {running[-1]}" if running else ""
        return f"stopped after {limit_s:.0f} s{where}"
    if failed:
        return failed[0]
    return f"ended with {code}" + (f" in {running[-1]}" if running else "")


@dataclass(frozen=True)
class Usual:
    """How a room's tests run without a mutant."""

    seconds: float
    slow: list[str]
    """The slowest tests, which together take SLOW_SHARE of the time."""
    reach: Reach

    @property
    def limit_s(self) -> float:
        return max(SHORTEST_LIMIT_S, SLOWER * self.seconds)

    def filters(self, near: Sequence[str] = ()) -> list[str]:
        """Returns runs that together are every test once: of the quick ones those near the change,
        then the others, then the slow ones. Most mutants need no more than the first.

        near  Names of tests, which may hold a *.
        """
        slow = ":".join(self.slow)
        runs = [":".join(near) + (f"-{slow}" if slow else "")] if near else []
        others = ":".join([*near, *self.slow])
        runs.append(f"-{others}" if others else "*")
        return [*runs, slow] if slow else runs


def near_tests(tests: pathlib.Path, file: str) -> list[str]:
    """Returns the tests of the sources that are named as the file is or include its header.

    tests  The folder of a room's tests.
    """
    stem = pathlib.PurePath(file).stem
    include = re.compile(rf'#include "(?:[\w/]*/)?{re.escape(stem)}\.h"')
    suites: list[str] = []
    for path in sorted(tests.glob("*_test.cpp")):
        source = path.read_text(encoding="utf-8")
        if path.stem.startswith(stem) or include.search(source):
            suites += re.findall(r"^TEST(?:_[FP])?\((\w+),", source, re.MULTILINE)
    return [f"*{suite}.*" for suite in dict.fromkeys(suites)]


def slow_tests(log: str) -> list[str]:
    """Returns the slowest tests of a program's output."""
    times = re.findall(r"^\[       OK \] ([\w/.]+).*\((\d+) ms\)", log, re.MULTILINE)
    left = SLOW_SHARE * sum(int(ms) for _, ms in times)
    slow = []
    for name, ms in sorted(times, key=lambda time: -int(time[1])):
        if left <= 0:
            break
        slow.append(name)
        left -= int(ms)
    return slow


def run_usual(tree: Tree, room: str) -> Usual:
    """Runs a room's tests of the commit itself, which are built; they must pass."""
    log = WORK / f"{room}-tests.log"
    started = time.monotonic()
    failed = run_tests(log, tree.program(room), 3600)
    if failed:
        raise SetupError(f"Commit fails its tests: {failed}; see {log}")
    seconds = time.monotonic() - started
    text = log.read_text(encoding="utf-8", errors="replace")
    print(f"Without a mutant the tests of {room} take {seconds:.0f} s", flush=True)
    return Usual(seconds, slow_tests(text), Reach.of(text))


def runs_for(usual: Usual, mutant: Mutant, tests: pathlib.Path | None) -> list[tuple[str, float]]:
    """Returns (a filter of tests, seconds after which their run is stopped), in order.

    tests  The folder of the room's tests where the mutant has no probe: then every test is asked,
           those near the change first.
    """
    if tests is not None:
        near = near_tests(tests, mutant.file)
        return [(names, usual.limit_s) for names in usual.filters(near)]
    return [
        (":".join(names), max(SHORTEST_LIMIT_S, SLOWER * seconds))
        for names, seconds in usual.reach.runs(mutant.number)
    ]


def judge(tree: Tree, mutant: Mutant, usual: dict[str, Usual], has_probe: bool) -> Outcome:
    """Builds a mutant and runs the tests that should notice it; the copy is then as before."""
    asked = 0
    with tree.changed(mutant):
        for room in test_rooms(mutant.room):
            if not tree.build(room):
                return Outcome("not compiled")
            tests = None if has_probe else tree.root / "tests" / room
            for names, limit_s in runs_for(usual[room], mutant, tests):
                asked += 1
                failed = run_tests(tree.tests_log, tree.program(room), limit_s, names)
                if failed:
                    return Outcome("killed", f"{room}: {failed}")
    return Outcome("survived" if asked else "survived, as no test reaches it")


def judged(mutants: Sequence[Mutant], together: int, jobs: int) -> Iterator[tuple[Mutant, Outcome]]:
    """Judges mutants, several at a time, in a copy of the project each; yields them in order."""
    trees: queue.SimpleQueue[Tree] = queue.SimpleQueue()
    for place in range(together):  # One after the other: the next takes from the compiler's cache.
        tree = Tree(WORK / ("tree" if place == 0 else f"tree-{place + 1}"), jobs)
        probed = tree.probe(mutants)
        trees.put(tree)

    def judge_one(mutant: Mutant) -> Outcome:
        free = trees.get()
        try:
            return judge(free, mutant, usual, mutant.number in probed)
        finally:
            trees.put(free)

    pool = ThreadPoolExecutor(together)
    try:
        usual = dict(zip(ROOMS, pool.map(functools.partial(run_usual, tree), ROOMS), strict=True))
        yield from zip(mutants, pool.map(judge_one, mutants), strict=True)
    finally:
        RUNNING.stop()
        pool.shutdown(cancel_futures=True)


def row_of(mutant: Mutant, outcome: Outcome) -> str:
    by = f" by {outcome.by}" if outcome.by else ""
    return (
        f"{mutant.number:4d}  {mutant.file}:{mutant.line}  {mutant.name}: {outcome.status}{by}\n"
        f"      - {mutant.before.strip()}\n      + {mutant.after.strip()}"
    )


def run(options: argparse.Namespace) -> int:
    commit = options.seed or commit_hash()
    WORK.mkdir(parents=True, exist_ok=True)
    coverage = options.lines
    if coverage is None:
        coverage = WORK / "lines"
        make_coverage_build(coverage, options.jobs)
    lines = lines_of_build(coverage)
    draw = Draw(lines, lambda file: (PROJECT / file).read_text(encoding="utf-8"), commit)
    print(f"Commit {commit}, executable lines: {len(lines)}", flush=True)
    if options.list:
        for mutant in itertools.islice(draw, options.count):
            print(row_of(mutant, Outcome("drawn")))
        return 0

    expected = list(itertools.islice(draw, max([options.count + SPARE, *(options.only or ())])))
    chosen = [m for m in expected if not options.only or m.number in options.only]
    outcomes: list[Outcome] = []
    not_compiled = 0
    for mutant, outcome in judged(chosen, options.together, options.jobs):
        print(row_of(mutant, outcome), flush=True)
        if outcome.status == "not compiled":
            not_compiled += 1
            continue
        outcomes.append(outcome)
        if len(outcomes) == options.count:
            break
    killed = sum(outcome.status == "killed" for outcome in outcomes)
    print(
        f"Killed {killed} of {len(outcomes)}, needed {options.needed}; drawn again: {not_compiled}"
        f" that do not compile, and lines that offer no change"
    )
    return 0 if options.only or killed >= options.needed else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=30, help="mutants that compile")
    parser.add_argument("--needed", type=int, default=27, help="of which so many must be killed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilers at a time")
    parser.add_argument(
        "--together", type=int, default=2 if shutil.which("ccache") else 1,
        help="mutants that are judged at a time",
    )  # fmt: skip
    parser.add_argument("--lines", type=pathlib.Path, help="a build of this commit for gcov")
    parser.add_argument("--seed", help="in place of the commit's hash")
    parser.add_argument("--list", action="store_true", help="draw and print, build nothing")
    parser.add_argument(
        "--only", type=lambda text: {int(number) for number in text.split(",")},
        help="the mutants of these numbers alone",
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # By way of finally.
    try:
        return run(parser.parse_args())
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
