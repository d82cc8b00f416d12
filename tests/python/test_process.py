"""What holds for a whole process: libraries beside each other, threads, Ctrl-C, the program."""

from __future__ import annotations

import itertools
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import arfc
import numpy as np
import pytest
from conftest import DIM, clustered_rows

PROGRAMS = str(pathlib.Path(sys.executable).parent)
TOGETHER = """
import sys
for name in sys.argv[1].split(","):
    __import__(name)
import arfc, faiss, numpy as np, torch

random = np.random.default_rng(0)
x = random.normal(size=(1000, 32)).astype(np.float32)
x /= np.linalg.norm(x, axis=1, keepdims=True)

theirs = faiss.index_factory(32, "IVF4,SQ8", faiss.METRIC_INNER_PRODUCT)
theirs.train(x)
theirs.add(x)
theirs.search(x[:50], 5)
ours = arfc.index_factory(32, "ARFC8/4,IVF4", arfc.METRIC_INNER_PRODUCT)
ours.train(x, device="cpu")
ours.add(x)
_, found = ours.search(x[:50], 1)
assert (found[:, 0] == np.arange(50)).mean() > .6, found
brute = faiss.IndexFlatIP(32)
brute.add(x)
flat = arfc.index_factory(32, "Flat", arfc.METRIC_INNER_PRODUCT)
flat.add(x)
scores = torch.from_numpy(x[:50]) @ torch.from_numpy(x).T
top = torch.topk(scores, 5)
for D, I in (brute.search(x[:50], 5), flat.search(x[:50], 5)):
    assert (I == top.indices.numpy()).all()
    assert np.allclose(D, top.values.numpy(), atol=1e-5)
layer = torch.nn.Linear(32, 4)
layer(torch.from_numpy(x)).square().mean().backward()
assert layer.weight.grad.isfinite().all()
try:
    arfc.index_factory(32, "Nonsense")
except arfc.InvalidArgumentError:
    pass
try:
    faiss.index_factory(32, "Nonsense")
except RuntimeError:
    pass
print("together")
"""


@pytest.mark.parametrize(
    "order", list(itertools.permutations(("arfc", "faiss", "torch"))), ids=",".join
)
def test_arfc_faiss_and_torch_share_a_process(order):
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, ",".join(order)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "together\n"), done.stderr[-2000:]


def test_the_module_exports_one_name():
    shown = subprocess.run(
        ["nm", "-D", "--defined-only", arfc._arfc.__file__],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[-1] for line in shown.stdout.splitlines()] == ["PyInit__arfc"]


@pytest.mark.parametrize("door", ["module", "program"])
def test_libtorch_multiplies_with_what_it_brings(door):
    """FAISS's BLAS is loaded, too; the loader takes a function from the first that has it."""
    file = arfc._arfc.__file__ if door == "module" else shutil.which("arfc", path=PROGRAMS)
    shown = subprocess.run(["ldd", file], capture_output=True, text=True, check=True)
    places = {
        name: next(i for i, line in enumerate(shown.stdout.splitlines()) if name in line)
        for name in ("libtorch_cpu", "blas")
    }
    assert places["libtorch_cpu"] < places["blas"], shown.stdout


def test_long_calls_let_other_threads_run(model):
    many = clustered_rows(60_000)
    encoder = threading.Thread(target=model.encode, args=(many,))
    turns, started = 0, time.perf_counter()
    encoder.start()
    while encoder.is_alive():
        time.sleep(0.001)
        turns += 1
    seconds = time.perf_counter() - started
    assert seconds > 0.05, "the call is too short to tell"
    assert turns > 10


def test_threads_may_share_a_model(model, rows):
    expected = model.encode(rows)
    codes: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: codes.append(model.encode(rows))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == 8
    for code in codes:
        np.testing.assert_array_equal(code, expected)


def test_threads_may_share_an_index(rows, queries):
    index = arfc.index_factory(DIM, "ARFC8", arfc.METRIC_INNER_PRODUCT)
    index.train(rows, device="cpu")
    failures: list[BaseException] = []

    def guarded(task) -> None:
        try:
            for _ in range(20):
                task()
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=guarded, args=(lambda: index.add(rows[:100]),)) for _ in range(2)
    ]
    threads += [
        threading.Thread(target=guarded, args=(lambda: index.search(queries, 3),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert index.ntotal == 2 * 20 * 100


TRAIN = """
import sys, pathlib, arfc, numpy as np
x = np.random.default_rng(0).normal(size=(60000, 128)).astype(np.float32)
out = pathlib.Path(sys.argv[1])
kind = sys.argv[2]
report = (lambda step: None) if kind == "callback" else None
try:
    if kind == "collection":
        collection = arfc.Collection.create(out, 128, "cosine", "ARFC64/16")
        collection.upsert(np.arange(len(x)), x)
        print("started", flush=True)
        collection.train(device="cpu")
    else:
        print("started", flush=True)
        arfc.Compressor.train(x, 64, device="cpu", progress=report).save(out)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    if kind == "collection":
        info = collection.info()
        assert info.model_id == "" and info.points == len(x) and info.has_raw
        collection.close()
"""


@pytest.mark.parametrize("kind", ["plain", "callback", "collection"])
def test_ctrl_c_ends_training_promptly_and_leaves_nothing(tmp_path, kind):
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(out), kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert child.stdout.readline() == "started\n"
        time.sleep(1.0)
        sent = time.perf_counter()
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
        seconds = time.perf_counter() - sent
    finally:
        child.kill()
    assert (child.returncode, rest) == (0, "interrupted\n"), errors[-2000:]
    assert seconds < 20
    if kind == "collection":
        with arfc.Collection.open(out) as collection:
            assert collection.info().points == 60_000 and collection.info().model_id == ""
    else:
        assert not out.exists()


def test_the_program_is_beside_the_interpreter(tmp_path):
    path = pathlib.Path(sys.executable).parent / "arfc"
    assert path.read_bytes().startswith(b"\x7fELF")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # Without the environment and away from the source tree: it must stand alone.
        return subprocess.run(
            [str(path), *arguments],
            cwd=tmp_path,
            env={},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run("--version").stdout == f"arfc {arfc.__version__}\n"
    assert "ingest" in run("--help").stdout
    refused = run("inspect", "/nowhere/collection")
    assert refused.returncode == 3 and "/nowhere/collection" in refused.stderr
