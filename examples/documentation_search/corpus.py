"""Collects the documentation of the Python that is installed: docstrings, each split into a query
and a document.

A docstring's first line is what somebody would ask ("Return the cumulative sum of the elements
along a given axis."); the rest is the document that answers it. Sources are read with `ast` and
never imported. Compiled modules have no sources, so they are imported by a child process that has
no display and whose output and crashes stay with it.
"""

from __future__ import annotations

import ast
import concurrent.futures
import dataclasses
import hashlib
import importlib
import inspect
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import types
import warnings
from collections.abc import Iterable, Iterator

# Compiled modules worth asking; the child process skips those that are absent or fail.
INTROSPECTED = (
    "builtins",
    "math",
    "cmath",
    "itertools",
    "functools",
    "collections",
    "datetime",
    "decimal",
    "time",
    "os",
    "posix",
    "sys",
    "io",
    "re",
    "struct",
    "array",
    "bisect",
    "heapq",
    "operator",
    "random",
    "select",
    "signal",
    "socket",
    "ssl",
    "sqlite3",
    "zlib",
    "bz2",
    "lzma",
    "hashlib",
    "mmap",
    "pickle",
    "unicodedata",
    "gc",
    "numpy",
    "numpy.linalg",
    "numpy.random",
    "numpy.fft",
    "torch",
    "torch.Tensor",
    "torch.nn.functional",
    "torch.linalg",
    "torch.special",
    "torch.fft",
    "scipy.special",
    "PIL.Image",
)
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "_vendor", "idlelib", "lib2to3", "site-packages", "dist-packages"}
)
SIGNATURE = re.compile(r"^[\w.]+\s*\(.*\)(\s*->.*)?:?$")
INTROSPECTION_TIMEOUT_S = 180


@dataclasses.dataclass(frozen=True)
class Entry:
    """One docstring. `name` is where it was found, such as "numpy.linalg.norm"."""

    name: str
    question: str
    document: str


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Entries with distinct questions and distinct documents, and what names them for caching."""

    entries: list[Entry]
    found: int  # docstrings with a first line and a rest, before deduplication
    deduplicated: int  # after deduplication, before `limit` was applied

    def digest(self) -> str:
        """Returns the SHA-256 of every text, as hexadecimal digits: equal corpora, equal digest."""
        state = hashlib.sha256()
        for entry in self.entries:
            for text in (entry.name, entry.question, entry.document):
                state.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return state.hexdigest()


def split_docstring(text: str) -> tuple[str, str] | None:
    """Returns (first line, rest) of a cleaned docstring, or None where either says too little.

    The first line must be a summary by itself, with an empty line behind it (PEP 257): one that
    goes on in the next line is half a sentence. A leading signature, which compiled functions have
    ("dot(a, b, out=None)"), is not the first line.
    """
    lines = [line.rstrip() for line in text.strip().splitlines()]
    while lines and (SIGNATURE.match(lines[0]) or not lines[0].strip()):
        lines.pop(0)
    if len(lines) < 2 or lines[1].strip():
        return None
    question, document = " ".join(lines[0].split()), "\n".join(lines[1:]).strip()
    words = re.findall(r"[A-Za-z]{2,}", question)
    if len(words) < 3 or len(question) > 300 or len(re.findall(r"[A-Za-z]{2,}", document)) < 8:
        return None
    return question, document


def docstrings_of_file(path: pathlib.Path, module: str) -> list[Entry]:
    """Returns the usable docstrings of one source file; a file that does not parse has none."""
    try:
        source = path.read_bytes()
        if b'"""' not in source and b"'''" not in source:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: list[Entry] = []
    pending: list[tuple[ast.AST, str]] = [(tree, module)]
    while pending:
        node, name = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            parts = split_docstring(ast.get_docstring(node) or "")
            private = name.rpartition(".")[2].startswith("_") and not name.endswith("__")
            if parts and not private:
                found.append(Entry(name, *parts))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                pending.append((child, f"{name}.{child.name}"))
            elif isinstance(child, ast.If | ast.Try | ast.With):
                pending.append((child, name))
    return sorted(found, key=lambda entry: entry.name)


def source_files() -> list[tuple[pathlib.Path, str]]:
    """Returns (file, dotted module name) of the standard library, then of the packages."""
    paths = sysconfig.get_paths()
    files: list[tuple[pathlib.Path, str]] = []
    for root in dict.fromkeys(pathlib.Path(paths[key]) for key in ("stdlib", "purelib", "platlib")):
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(
                name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith(".")
            )
            for name in sorted(names):
                if name.endswith(".py") and not name.startswith("test_"):
                    path = pathlib.Path(folder, name)
                    module = ".".join(path.relative_to(root).with_suffix("").parts)
                    files.append((path, module.removesuffix(".__init__")))
    return files


def introspect(names: Iterable[str]) -> Iterator[Entry]:
    """Yields the docstrings of the compiled functions and types that the named modules hold."""
    for name in names:
        try:
            owner_name, _, attribute = name.rpartition(".")
            try:
                owner = importlib.import_module(name)
            except ImportError:
                owner = getattr(importlib.import_module(owner_name), attribute)
            members = sorted(vars(owner))
        except BaseException:
            continue
        for member in members:
            try:
                value = getattr(owner, member)
                compiled = not isinstance(value, types.FunctionType | types.ModuleType)
                text = (
                    inspect.getdoc(value)
                    if compiled and (callable(value) or inspect.isdatadescriptor(value))
                    else None
                )
                parts = split_docstring(text or "")
            except BaseException:
                continue
            if parts:
                yield Entry(f"{name}.{member}", *parts)


def introspect_in_child() -> list[Entry]:
    """Runs introspect() in a process of its own; what fails there yields nothing."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")
    }
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "entries.jsonl")
        command = [sys.executable, "-W", "ignore", __file__, str(out)]
        try:
            subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=INTROSPECTION_TIMEOUT_S,
                check=True,
            )
        except (subprocess.SubprocessError, OSError):
            return []
        return [Entry(*json.loads(line)) for line in out.read_text(encoding="utf-8").splitlines()]


def _docstrings_of_files(files: list[tuple[pathlib.Path, str]]) -> list[Entry]:
    return [entry for path, module in files for entry in docstrings_of_file(path, module)]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def deduplicate(entries: Iterable[Entry]) -> list[Entry]:
    """Keeps the first entry of each question and of each document, whatever their case and white
    space.

    So every question has one right answer.
    """
    questions: set[str] = set()
    documents: set[str] = set()
    kept = []
    for entry in entries:
        question, document = _folded(entry.question), _folded(entry.document)
        if question not in questions and document not in documents:
            questions.add(question)
            documents.add(document)
            kept.append(entry)
    return kept


def collect(limit: int | None, seed: int, report=lambda done, total: None) -> Corpus:
    """Collects the corpus of this interpreter.

    limit   most entries kept, drawn by `seed`; None: all.
    report  called with (files done, files in all).
    """
    files = source_files()
    batches = [files[first : first + 200] for first in range(0, len(files), 200)]
    entries: list[Entry] = []
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, batch in enumerate(pool.map(_docstrings_of_files, batches), start=1):
            entries += batch
            report(min(done * 200, len(files)), len(files))
    entries += introspect_in_child()
    unique = deduplicate(entries)
    kept = unique
    if limit is not None and limit < len(unique):
        chosen = random.Random(seed).sample(range(len(unique)), limit)
        kept = [unique[i] for i in sorted(chosen)]
    return Corpus(kept, len(entries), len(unique))


def _main() -> None:
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        for entry in introspect(INTROSPECTED):
            out.write(json.dumps(dataclasses.astuple(entry)) + "\n")


if __name__ == "__main__":
    _main()
