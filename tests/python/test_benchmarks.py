"""The programs that measure arfc beside other engines, small: they run, and refuse wrong usage."""

from __future__ import annotations

import importlib
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import clustered_rows

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # As where they are run: they import what lies beside them.

million_rows = importlib.import_module("million_rows")
nearest10 = importlib.import_module("nearest").nearest10
search_latency = importlib.import_module("search_latency")
engine = importlib.import_module("peers.engine")
ENGINES = importlib.import_module("peers").ENGINES

pytest.importorskip("faiss", reason="rivals need the wheel faiss-cpu")


@pytest.fixture
def rows() -> np.ndarray:
    return clustered_rows(2_200, dim=24)


def run(program: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, BENCHMARKS / program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def test_the_ten_nearest_are_those_of_a_sort(rows):
    queries, base = rows[:50], rows[50:]
    expected = np.argsort(-(queries @ base.T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(nearest10(queries, base), expected)
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    found = nearest10(rows, rows, without_themselves=True)
    assert np.mean(found == expected) > 0.999  # sums of another order may swap equals
    assert not (found == np.arange(len(rows))[:, None]).any()


def test_made_rows_follow_from_the_seed_block_by_block(rows, monkeypatch):
    monkeypatch.setattr(million_rows, "BLOCK", 64)
    source = million_rows.Source.of(rows)
    made = np.concatenate(list(source.made(200, 0)))
    assert made.shape == (200, 24) and made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate(list(source.made(100, 0))), made[:100])
    assert not np.isclose(np.concatenate(list(source.made(200, 1))), made).all(axis=1).any()


def test_made_rows_lie_among_the_real_ones_and_are_none(rows):
    made = next(million_rows.Source.of(rows).made(2_000, 0))
    nearest = (made @ rows.T).max(axis=1)
    of_real = rows @ rows.T
    np.fill_diagonal(of_real, -1)
    assert nearest.max() < 1 - 1e-5
    assert abs(np.median(nearest) - np.median(of_real.max(axis=1))) < 0.1


def test_rows_are_written_whole(rows, tmp_path):
    np.save(tmp_path / "real.npy", rows)
    done = run(
        "million_rows.py", tmp_path / "made.npy", "--rows", tmp_path / "real.npy", "--count", 17_000
    )
    assert done.returncode == 0, done.stderr
    made = np.load(tmp_path / "made.npy", mmap_mode="r")
    assert made.shape == (17_000, 24) and np.abs(made).sum(axis=1).min() > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.npy", "real.npy"]


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("million_rows.py", ["--check", "out.npy"], "either --check or the file"),
        ("million_rows.py", [], "either --check or the file"),
        ("million_rows.py", ["out.npy", "--count", "0"], "at least 1: 0"),
        ("search_latency.py", ["--work", ".", "--engines", "scann"], "no such engine: 'scann'"),
        ("search_latency.py", [], "--work"),
    ],
)
def test_wrong_usage_is_refused(program, arguments, message):
    done = run(program, *arguments)
    assert done.returncode == 2 and message in done.stderr


def test_each_engine_has_at_least_twenty_settings():
    for name, rival in ENGINES.items():
        builds = rival.builds(4096, "ready")
        assert len(set(builds)) == len(builds), name
        assert sum(len(set(rival.searches(build))) for build in builds) >= 20, name


def test_settings_are_read_as_they_are_written():
    assert [engine.numbers(setting) for setting in engine.grid(a=[1, 2], b=[3])] == [
        {"a": 1, "b": 3},
        {"a": 2, "b": 3},
    ]
    assert engine.numbers("") == {}
    assert tuple(engine.list_count(rows) for rows in (100_000, 1_000_000, 10)) == (1024, 4096, 16)


def test_a_small_comparison_finds_what_a_sort_finds_and_goes_on_where_it_was(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    arguments = ["--quick", "--engines", "arfc,faiss hnsw-flat", "--data", tmp_path / "rows.npy"]
    arguments += [
        "--model",
        "24c",
        "--builds",
        "ARFC24|HNSW16,Flat",
        "--work",
        tmp_path / "work",
        "--picture",
        tmp_path / "picture.png",
    ]
    done = run("search_latency.py", *arguments)
    assert done.returncode == 0, done.stderr
    for name in ("arfc", "faiss hnsw-flat"):
        assert f"| {name} |" in done.stdout
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")

    lines = (tmp_path / "work" / "results.jsonl").read_text().splitlines()
    measured = [json.loads(line) for line in lines]
    values = [line["value"] for line in measured if line["cell"]["step"] == 1]
    assert len(measured) == 4 and len(values) == 2
    for value in values:
        assert value["structure"] > 0 and value["disk"] == 0
        for search in value["searches"].values():
            assert 0 < search["p50"] <= search["p99"] and search["qps"] > 0
            recall = np.mean([int(digit, 16) for digit in search["hits"]]) / 10
            assert recall > 0.3
    again = run("search_latency.py", *arguments)
    assert again.stdout == done.stdout and "built" not in again.stderr


def test_intervals_hold_the_difference_and_tell_equals_from_others():
    random = np.random.default_rng(0)
    hits = random.integers(5, 10, size=1_000)
    point = search_latency.Point("arfc", "", "", 0, hits, 0, 0, 0, 0, 0, 0, 0)
    better = search_latency.Point("hnswlib", "", "", 0, hits + 1, 0, 0, 0, 0, 0, 0, 0)
    assert search_latency.interval(point, point) == (0, 0, 0)
    np.testing.assert_allclose(search_latency.interval(better, point), 0.1)
    assert re.fullmatch("arfc.*", point.engine) and search_latency.is_ours(point)
    assert not search_latency.is_ours(better)
