"""Three doors, one answer: a bad question gets the same kind and sentence from C++, the program,
REST and Python.

Each question is put to every door about the same folder, whose state a refusal leaves as it was.
The causes are real: damaged bytes, full and read-only disks, a second writer, a withdrawn training.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import arfc
import numpy as np
import pytest
from test_rest import Service

DIM = 8
FACTORY = "ARFC4/2"
SMALL_DISK_BYTES = 4 << 20
DOORS = ("cpp", "cli", "rest", "python")


@dataclass(frozen=True)
class Row:
    """What a kind of error is at each door."""

    http: int
    exit: int
    python: type[Exception]
    builtin: type[Exception]


TABLE = {
    "invalid_argument": Row(400, 2, arfc.InvalidArgumentError, ValueError),
    "not_found": Row(404, 3, arfc.NotFoundError, LookupError),
    "already_exists": Row(409, 4, arfc.AlreadyExistsError, Exception),
    "failed_precondition": Row(409, 5, arfc.FailedPreconditionError, RuntimeError),
    "unsupported": Row(501, 6, arfc.UnsupportedError, NotImplementedError),
    "resource_exhausted": Row(503, 7, arfc.ResourceExhaustedError, MemoryError),
    "corruption": Row(500, 8, arfc.CorruptionError, Exception),
    "io": Row(500, 9, arfc.StorageIoError, OSError),
    "internal": Row(500, 1, arfc.InternalError, Exception),
    "unauthenticated": Row(401, 10, arfc.AuthenticationError, Exception),
    "permission_denied": Row(403, 11, arfc.PermissionDeniedError, PermissionError),
    "deadline_exceeded": Row(504, 12, arfc.DeadlineError, TimeoutError),
    "cancelled": Row(499, 13, arfc.CancelledError, Exception),
}

# Kinds that no door gives for any request today, and why. What each would become at the doors is
# held by tests/server/errors_test.cpp, tests/tools/exit_code_test.cpp and
# tests/python/test_errors.py.
NOT_PRODUCED = {
    "internal": "it is a bug of arfc, and a known one would be mended; the same tests hold that"
    " its message is withheld over HTTP",
    "unauthenticated": "no door asks who you are: the service binds the loopback only",
    "permission_denied": "no door asks who you are: the service binds the loopback only",
    "deadline_exceeded": "no request carries a time limit; a training's budget ends it with what"
    " it has, which is no error",
}


@dataclass(frozen=True)
class Refusal:
    """How a door refused."""

    kind: str
    message: str


@dataclass(frozen=True)
class Question:
    """One thing to ask of the collection `c` in the folder `data`, and the sentence that refuses
    it.

    Texts may name {data}, {file} (an .npy file of rows), {model_id} and {format}; a message that
    ends with an ellipsis goes on in a library's own words, the same at every door.
    """

    kind: str
    message: str
    cpp: tuple[str, ...]
    cli: tuple[str, ...]
    rest: tuple[str, str, Any]
    python: Callable[[pathlib.Path], Any]
    prepare: Callable[[pathlib.Path, pathlib.Path], contextlib.AbstractContextManager[Any]]
    differs: dict[str, str] = field(default_factory=dict)
    """The whole sentence of a door that says more, or names a thing as its users do."""


# Asking.


def create_in_python(factory: str = FACTORY, **options: Any) -> Callable[[pathlib.Path], Any]:
    return lambda data: arfc.Collection.create(data / "c", DIM, factory=factory, **options)


def search_in_python(query: list[float]) -> Callable[[pathlib.Path], Any]:
    def search(data: pathlib.Path) -> None:
        with arfc.Collection.open(data / "c", read_only=True) as collection:
            collection.search(np.array([query], np.float32))

    return search


def write_in_python(data: pathlib.Path) -> None:
    arfc.Collection.open(data / "c").close()


def train_in_python(data: pathlib.Path) -> None:
    with arfc.Collection.open(data / "c") as collection:
        collection.train()


def creating(factory: str = FACTORY, model: str = "") -> dict[str, Any]:
    """Returns the ways to create `c`."""
    extension = {"factory": factory, **({"model": model} if model else {})}
    return {
        "cpp": ("create", "{data}/c", str(DIM), factory, *([model] if model else [])),
        "cli": ("ingest", "{file}", "--collection", "{data}/c", "--create", "--factory", factory,
                *(["--model", model] if model else [])),
        "rest": ("PUT", "/collections/c",
                 {"vectors": {"size": DIM, "distance": "Cosine"}, "arfc": extension}),
        "python": create_in_python(factory, **({"model": model} if model else {})),
    }  # fmt: skip


def searching(query: list[float]) -> dict[str, Any]:
    """Returns the ways to search `c`."""
    return {
        "cpp": ("search", "{data}/c", *map(str, query)),
        "cli": ("search", "--collection", "{data}/c", "--query", json.dumps(query)),
        "rest": ("POST", "/collections/c/points/query", {"query": query}),
        "python": search_in_python(query),
    }


WRITING = {
    "cpp": ("write", "{data}/c"),
    "cli": ("ingest", "{file}", "--collection", "{data}/c"),
    "rest": ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": [1.0] * DIM}]}),
    "python": write_in_python,
}
TRAINING = {
    "cpp": ("train", "{data}/c"),
    "cli": ("ingest", "{file}", "--collection", "{data}/c", "--train"),
    "rest": ("POST", "/collections/c/train", {}),
    "python": train_in_python,
}
SEARCHING = searching([1.0] * DIM)


# Making the state that is asked about: (shelf, data) -> a context in which `data` has it.


@contextlib.contextmanager
def nothing(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    data.mkdir()
    yield


@contextlib.contextmanager
def plain(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    shutil.copytree(shelf / "plain", data / "c")
    yield


@contextlib.contextmanager
def trained(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    shutil.copytree(shelf / "trained", data / "c")
    yield


@contextlib.contextmanager
def open_elsewhere(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    with plain(shelf, data), arfc.Collection.open(data / "c"):
        yield


@contextlib.contextmanager
def other_files(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    (data / "c").mkdir(parents=True)
    (data / "c" / "notes.txt").write_text("mine")
    yield
    assert (data / "c" / "notes.txt").read_text() == "mine"


def flip_a_byte(path: pathlib.Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@contextlib.contextmanager
def damaged_manifest(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    with plain(shelf, data):
        manifest = data / "c" / "manifest.json"
        flip_a_byte(manifest, manifest.read_bytes().index(b"ARFC") + 4)  # "ARFC4" is "ARFC5".
        yield


@contextlib.contextmanager
def damaged_model(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    with trained(shelf, data):
        weights = data / "c" / "model" / "model.safetensors"
        flip_a_byte(weights, weights.stat().st_size // 2)
        yield


@contextlib.contextmanager
def newer_format(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    """A manifest as a later version would write it, its checksum right."""
    with plain(shelf, data):
        path = data / "c" / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["sha256"]
        manifest["format"] += 1
        canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
        manifest["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
        path.write_text(json.dumps(manifest))
        yield


@contextlib.contextmanager
def folder_for_a_file(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    with plain(shelf, data):
        (data / "c" / "manifest.json").unlink()
        (data / "c" / "manifest.json").mkdir()
        yield


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(data: pathlib.Path) -> Iterator[None]:
    data.mkdir()
    mount("-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "arfc-test", str(data))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)


@contextlib.contextmanager
def full_disk(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    with small_disk(data):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (data / "ballast").write_bytes(bytes(2 * SMALL_DISK_BYTES))
        yield


@contextlib.contextmanager
def read_only_disk(shelf: pathlib.Path, data: pathlib.Path) -> Iterator[None]:
    with small_disk(data):
        mount("-o", "remount,ro", str(data))
        yield


QUESTIONS = {
    # REST says where in the body the width is wrong, because a body may hold many embeddings.
    "invalid_argument, another width": Question(
        "invalid_argument", "Query width differs from the collection's: 3, expected 8",
        **searching([1.0, 2.0, 3.0]), prepare=plain,
        differs={"rest": "Query width differs from the collection's: 3, expected 8, in query"}),
    "invalid_argument, a zero query": Question(
        "invalid_argument", "Query holds a zero row, which has no direction under cosine: 0",
        **searching([0.0] * DIM), prepare=plain),
    "invalid_argument, a factory string of another kind": Question(
        "invalid_argument", 'A collection\'s factory string must be an ARFC one: "Flat"',
        **creating("Flat"), prepare=nothing),
    # REST knows collections by name, and its clients know no folders.
    "not_found, a collection": Question(
        "not_found", "Collection does not exist: {data}/c", **SEARCHING, prepare=nothing,
        differs={"rest": "Collection does not exist: c"}),
    "not_found, a model": Question(
        "not_found", "Model directory does not exist: /nowhere/model",
        **creating(model="/nowhere/model"), prepare=nothing),
    "already_exists, creating twice": Question(
        "already_exists", "Collection exists: {data}/c", **creating(), prepare=plain,
        differs={"rest": "Collection exists: c"}),
    "already_exists, a folder of something else": Question(
        "already_exists", "Directory is not empty: {data}/c", **creating(), prepare=other_files),
    # The program says which of its options to leave out.
    "failed_precondition, training twice": Question(
        "failed_precondition", "Collection has a model already: {model_id}", **TRAINING,
        prepare=trained,
        differs={"cli": "Collection has a model already: {model_id}; leave out --train"}),
    "failed_precondition, a second writer": Question(
        "failed_precondition", "Collection is open for writing elsewhere: {data}/c", **WRITING,
        prepare=open_elsewhere),
    "invalid_argument, a coarse part of nobody's": Question(
        "invalid_argument",
        "Factory string is wrong at column 9, expected IVF<n>, HNSW<m>, NSG<m>, or a FAISS string"
        ' of an index that keeps rows: "ARFC4/2,PQ3"',
        **creating("ARFC4/2,PQ3"), prepare=nothing),
    "unsupported, a transform": Question(
        "unsupported",
        "Transforms stand before ARFC in indexes only, and of wrappers IDMap and IDMap2 alone:"
        ' "PCA4" in "PCA4,ARFC4/2"',
        **creating("PCA4,ARFC4/2"), prepare=nothing),
    "unsupported, a newer format": Question(
        "unsupported", "Collection has a newer format than this build reads:"
        " {data}/c/manifest.json, format {newer_format}, expected at most {format}",
        **SEARCHING, prepare=newer_format),
    "resource_exhausted, a full disk": Question(
        "resource_exhausted", "Store cannot be created: {data}/c/rocks (IO error: No space left"
        " on device...", **creating(), prepare=full_disk),
    "corruption, the manifest": Question(
        "corruption", "Manifest is damaged, its checksum differs: {data}/c/manifest.json",
        **SEARCHING, prepare=damaged_manifest),
    "corruption, the model": Question(
        "corruption",
        "Model file's SHA-256 differs from the manifest's: {data}/c/model/model.safetensors",
        **SEARCHING, prepare=damaged_model),
    "io, a read-only disk": Question(
        "io", "Collection directory cannot be created: {data}/c (Read-only file system)",
        **creating(), prepare=read_only_disk),
    "io, a folder for a file": Question(
        "io", "Not a regular file: {data}/c/manifest.json", **SEARCHING,
        prepare=folder_for_a_file),
}  # fmt: skip


class Doors:
    """Asks a question at each door."""

    def __init__(self, asker: pathlib.Path, program: pathlib.Path, data: pathlib.Path) -> None:
        self.asker, self.program, self.data = asker, program, data

    def cpp(self, *arguments: str) -> Refusal:
        done = subprocess.run(
            [self.asker, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout, f"not refused: {arguments}"
        return Refusal(*done.stdout.rstrip("\n").split("\n"))

    def cli(self, *arguments: str) -> Refusal:
        done = subprocess.run(
            [self.program, *arguments, "--quiet"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.stdout == ""
        return refusal_of_program(done.returncode, done.stderr)

    def rest(self, method: str, path: str, body: Any) -> Refusal:
        with serving(self.program, self.data) as service:
            return refusal_over_http(service, method, path, body)

    def python(self, call: Callable[[pathlib.Path], Any]) -> Refusal:
        with pytest.raises(arfc.ArfcError) as raised:
            call(self.data)
        return refusal_in_python(raised.value)


def refusal_of_program(code: int, errors: str) -> Refusal:
    kinds = [kind for kind, row in TABLE.items() if row.exit == code]
    assert kinds, f"exit code {code}: {errors}"
    assert errors.startswith("arfc: ")
    assert errors.count("\n") == 1, errors
    return Refusal(kinds[0], errors.removeprefix("arfc: ").rstrip("\n"))


def refusal_over_http(service: Service, method: str, path: str, body: Any) -> Refusal:
    request = urllib.request.Request(
        service.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"},
        method=method,
    )  # fmt: skip
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=120)
    answer = raised.value
    status = json.loads(answer.read())["status"]
    assert answer.code == TABLE[status["kind"]].http
    assert ("Retry-After" in answer.headers) == (status["kind"] == "resource_exhausted")
    return Refusal(status["kind"], status["error"])


def refusal_in_python(error: arfc.ArfcError) -> Refusal:
    row = TABLE[error.kind]
    assert type(error) is row.python
    assert isinstance(error, row.builtin)
    return Refusal(error.kind, str(error))


@contextlib.contextmanager
def serving(program: pathlib.Path, data: pathlib.Path) -> Iterator[Service]:
    service = Service(program, data, data.parent / "errors.txt")
    try:
        yield service
        service.stop()
    finally:
        service.kill()


@pytest.fixture(scope="module")
def shelf(clustered_rows, tmp_path_factory) -> pathlib.Path:
    """Rows as rows.npy, and two closed collections of them: plain (no model) and trained."""
    folder = tmp_path_factory.mktemp("shelf")
    rows = clustered_rows(300, DIM)
    np.save(folder / "rows.npy", rows)
    with arfc.Collection.create(folder / "plain", DIM, factory=FACTORY) as collection:
        collection.upsert(range(len(rows)), rows)
    shutil.copytree(folder / "plain", folder / "trained")
    with arfc.Collection.open(folder / "trained") as collection:
        collection.train()
    return folder


@pytest.fixture(scope="module")
def asker(project: pathlib.Path) -> pathlib.Path:
    """The program that asks the C++ library; it is built with the tests."""
    path = pathlib.Path(
        os.environ.get("ARFC_ASK", project / "build" / "release" / "tests/end_to_end/arfc_ask")
    )
    assert os.access(path, os.X_OK), f"not built: {path}"
    return path


def texts(value: Any, names: dict[str, Any]) -> Any:
    """Returns the texts in a tuple with the names in braces filled in."""
    return tuple(item.format(**names) if isinstance(item, str) else item for item in value)


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_door_gives_the_kind_and_the_sentence(
    question: Question, asker, program, shelf, tmp_path
):
    data = tmp_path / "data"
    newest = json.loads((shelf / "plain" / "manifest.json").read_text())["format"]
    names = {
        "data": data,
        "file": shelf / "rows.npy",
        "format": newest,
        "newer_format": newest + 1,
        "model_id": json.loads((shelf / "trained" / "manifest.json").read_text())["model_id"],
    }
    doors = Doors(asker, program, data)
    with question.prepare(shelf, data):
        refusals = {
            "cpp": doors.cpp(*texts(question.cpp, names)),
            "cli": doors.cli(*texts(question.cli, names)),
            "rest": doors.rest(*texts(question.rest, names)),
            "python": doors.python(question.python),
        }
    sentence = question.message.format(**names)
    if sentence.endswith("..."):
        assert refusals["cpp"].message.startswith(sentence.removesuffix("..."))
        sentence = refusals["cpp"].message
    for door, refusal in refusals.items():
        expected = question.differs.get(door, sentence).format(**names)
        assert refusal == Refusal(question.kind, expected), door


# A withdrawn training: each door has its own way of withdrawing it.

CANCELLED = r"Training was cancelled at step \d+ of \d+"


@pytest.fixture
def long_training(clustered_rows, tmp_path) -> pathlib.Path:
    """A folder with a collection `c` that takes seconds to train."""
    rows = clustered_rows(20_000, 64)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "data").mkdir()
    with arfc.Collection.create(tmp_path / "data" / "c", 64, factory="ARFC64/16") as collection:
        collection.upsert(range(len(rows)), rows)
    return tmp_path / "data"


def cancel_in_the_program(program: pathlib.Path, data: pathlib.Path) -> Refusal:
    """Presses Ctrl-C when the training has begun."""
    process = subprocess.Popen(
        [program, "ingest", data.parent / "rows.npy", "--collection", data / "c", "--train"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("arfc: train"):
            process.send_signal(signal.SIGINT)
            break
    out, errors = process.communicate(timeout=120)
    assert out == ""
    return refusal_of_program(process.returncode, errors.splitlines(keepends=True)[-1])


def cancel_over_http(program: pathlib.Path, data: pathlib.Path) -> Refusal:
    """Deletes the collection that is being trained."""
    refusals: list[Refusal] = []
    with serving(program, data) as service:

        def train() -> None:
            refusals.append(refusal_over_http(service, "POST", "/collections/c/train", {}))

        training = threading.Thread(target=train)
        training.start()
        while service.ask("GET", "/collections/c")["status"] != "yellow":
            assert training.is_alive()
            time.sleep(0.01)
        assert service.ask("DELETE", "/collections/c") is True
        training.join(60)
    return refusals[0]


def test_cancelled(asker, program, long_training):
    data = long_training
    refusals = {"cpp": Doors(asker, program, data).cpp("cancel", str(data / "c"))}
    with arfc.Collection.open(data / "c") as collection:
        with pytest.raises(arfc.ArfcError) as raised:
            collection.train(progress=lambda _: False)
        refusals["python"] = refusal_in_python(raised.value)
    refusals["cli"] = cancel_in_the_program(program, data)
    with arfc.Collection.open(data / "c", read_only=True) as collection:
        assert collection.info().model_id == ""
    refusals["rest"] = cancel_over_http(program, data)
    # The program has loaded rows before it trained, and says that they are there.
    kept = "; the collection keeps its rows as float32, points: 20000"
    for door in DOORS:
        assert refusals[door].kind == "cancelled", door
        expected = CANCELLED + (kept if door == "cli" else "")
        assert re.fullmatch(expected, refusals[door].message), refusals[door]


@pytest.mark.parametrize("kind", NOT_PRODUCED)
def test_no_door_gives_this_kind_today(kind, project):
    """Whoever makes a door give it has to ask for it above."""
    name = "k" + "".join(word.capitalize() for word in kind.split("_"))
    rooms = ("base", "compressor", "storage", "index", "server", "tools", "python")
    sources = [path for room in rooms for path in (project / room).rglob("*.cpp")]
    assert len(sources) > 50
    throwing = re.compile(rf"(fail|error_response|Error)\s*\([^;]*ErrorKind::{name}\b", re.DOTALL)
    thrown = [path for path in sources if throwing.search(path.read_text(encoding="utf-8"))]
    if kind != "internal":  # What a room calls a bug stays where no request is known to lead.
        assert thrown == []
    pytest.skip(f"{kind} is not asked for: {NOT_PRODUCED[kind]}")


def test_every_kind_is_asked_for_or_accounted_for():
    known = {name for _, name in arfc._arfc.error_kinds()}
    assert set(TABLE) == known
    asked = {question.kind for question in QUESTIONS.values()} | {"cancelled"}
    assert asked | set(NOT_PRODUCED) == known
    assert not asked & set(NOT_PRODUCED)
