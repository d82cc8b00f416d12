"""The demo, end to end on a small file of somebody's own, and its parts that read documentation."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "documentation_search"
sys.path.insert(0, str(FOLDER))

import corpus  # noqa: E402
import demo  # noqa: E402
import embedding  # noqa: E402
import measure  # noqa: E402


def run_demo(*arguments: object, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER / "demo.py"), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, clustered_rows):
    """A finished run on 900 rows of 48 floats with a text each: (what it printed, its folder)."""
    folder = tmp_path_factory.mktemp("demo")
    # Any scale and float64, as people have them.
    np.save(folder / "my.npy", 3.0 * clustered_rows(900, 48).astype(np.float64))
    with open(folder / "my.jsonl", "w", encoding="utf-8") as lines:
        for i in range(900):
            text = f"text number {i}"
            lines.write(json.dumps({"text": text} if i % 2 else text) + "\n")
    done = run_demo("--quick", "--compare", "--input", "my.npy", "--texts", "my.jsonl", cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout, folder / "demo-output"


def test_it_ends_with_a_table_a_picture_and_advice(finished):
    printed, folder = finished
    assert "810 rows of 48 floats, 90 queries: my.npy" in printed
    assert printed.count("  text number ") >= 6 * (1 + 3)
    assert (folder / "table.txt").read_text().strip() in printed
    assert (folder / "recall.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (folder / "recall.png").stat().st_size > 20_000
    advice = json.loads((folder / "results.json").read_text())["recommendation"]
    assert f"Recommended for this data: {advice}" in printed
    assert "recall@10" in advice


def test_it_compares_with_codebooks_that_only_clustering_made(finished):
    printed, folder = finished
    assert "train" in printed and "--no-relations" in printed
    lines = (folder / "table.txt").read_text().splitlines()
    head = next(i for i, line in enumerate(lines) if "clustering only" in line)
    assert lines[head + 1].split() == ["bytes/code", *["recall@10", "nDCG@10"] * 2]
    cells = [line.split() for line in lines[head + 2 : -1]]
    curve = json.loads((folder / "results.json").read_text())["curve"]
    assert [int(row[0]) for row in cells] == [point["bytes"] for point in curve]
    assert [row[3] for row in cells] == [f"{p['quality']['recall_at_10']:.3f}" for p in curve]
    assert all(0.0 < float(row[1]) <= 1.0 and row[2] == row[4] == "-" for row in cells)


def test_its_figures_are_those_of_one_nested_code(finished):
    _, folder = finished
    results = json.loads((folder / "results.json").read_text())
    ways = {way["name"]: way for way in results["ways"]}
    assert list(ways) == ["float32", "96/16", "48/16", "16"]
    assert [way["code_bytes"] for way in ways.values()] == [4 * 48, 96, 48, 16]
    assert ways["float32"]["quality"]["recall_at_10"] == 1.0
    recalls = [way["quality"]["recall_at_10"] for way in ways.values()]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[1] > 0.9
    assert all(way["quality"]["ndcg_at_10"] is None for way in ways.values())
    assert all(way["id_bytes"] >= 8 and way["p50_ms"] > 0 for way in ways.values())
    disks = [ways[name]["disk_bytes"] for name in ("96/16", "48/16", "16")]
    assert disks == sorted(disks, reverse=True)
    curve = [point["quality"]["recall_at_10"] for point in results["curve"]]
    assert [point["bytes"] for point in results["curve"]] == list(measure.CURVE_BYTES)
    # A code that is cut between two commit points of its beam may be level with a shorter one.
    assert all(after > before - 0.005 for before, after in itertools.pairwise(curve))
    assert curve[0] + 0.05 < curve[4] < curve[-1]
    served = ways["96/16"]["quality"]["recall_at_10"]
    assert abs(served - curve[-1]) < 0.02


def test_the_collections_that_it_leaves_are_whole(finished, program):
    _, folder = finished
    shown = subprocess.run(
        [str(program), "inspect", str(folder / "collections" / "arfc-96"), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(shown.stdout)["points"] == 810


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda p: None, [], "cannot be read"),
        (lambda p: p.write_bytes(b"not numpy"), [], "cannot be read"),
        (
            lambda p: np.save(p, np.zeros(5)),
            [],
            "must be a matrix [rows, dim] of floats: shape (5,)",
        ),
        (lambda p: np.save(p, np.ones((50, 4), np.int64)), [], "of floats: shape (50, 4)"),
        (lambda p: np.save(p, np.ones((5, 4))), [], "Too few rows to search and to ask: 5"),
        (lambda p: np.save(p, np.eye(50) * np.nan), [], "finite and not zero: row 0, 50 such rows"),
        (lambda p: np.save(p, np.eye(50)), ["--texts", "few.jsonl"], "2 texts, 50 rows"),
        (lambda p: np.save(p, np.eye(50)), ["--texts", "bad.jsonl"], "bad.jsonl, line 2"),
    ],
)
def test_input_that_cannot_be_used_ends_with_a_sentence(tmp_path, make, arguments, message):
    (tmp_path / "few.jsonl").write_text('"a"\n"b"\n')
    (tmp_path / "bad.jsonl").write_text('"a"\n{"title": "b"}\n')
    make(tmp_path / "my.npy")
    done = run_demo("--input", "my.npy", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("demo: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "demo-output").exists()


def test_wrong_options_are_refused_before_anything_is_done(tmp_path):
    assert "--texts needs --input" in run_demo("--texts", "x", cwd=tmp_path).stderr
    assert run_demo("--limit", "-1", cwd=tmp_path).returncode == 2
    assert run_demo("--qick", cwd=tmp_path).returncode == 2


def test_lists_follow_the_number_of_rows():
    assert [kept.factory for kept in demo.ways_to_keep(24_000, 384)] == [
        None, "ARFC96/16,IVF256", "ARFC48/16,IVF256", "ARFC16,IVF256",
    ]  # fmt: skip
    assert demo.ways_to_keep(3_000, 384)[1].factory == "ARFC96/16,IVF64"
    assert demo.ways_to_keep(10**7, 384)[1].factory == "ARFC96/16,IVF256"
    assert [kept.title for kept in demo.ways_to_keep(100, 4)] == ["float32", "16/8", "8"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Return the sum.\n\nOf all the elements along a given axis of the array.",
            ("Return the sum.", "Of all the elements along a given axis of the array."),
        ),
        (
            "dot(a, b, out=None)\n\nDot product of two arrays.\n\nFor two vectors it is the inner"
            " product, for matrices the product.",
            (
                "Dot product of two arrays.",
                "For two vectors it is the inner product, for matrices the product.",
            ),
        ),
        ("Return the sum of all.", None),
        ("Return the sum\nof all the elements along a given axis of the whole array.", None),
        ("Sum.\n\nOf all the elements along a given axis of the whole array there is.", None),
        ("Return the sum.\n\nToo short.", None),
        ("", None),
    ],
)
def test_a_docstring_is_split_at_its_summary(text, expected):
    assert corpus.split_docstring(text) == expected


def test_a_source_is_read_and_never_run(tmp_path):
    path = tmp_path / "module.py"
    rest = "Of all the elements along a given axis of the array."
    path.write_text(
        f'''import sys
print("imported"); sys.exit(3)
class Sum:
    """Return the first sum.\n\n    {rest}"""
    def of(self):
        """Return the second sum.\n\n        {rest}"""
    def _hidden(self):
        """Return the hidden sum.\n\n        {rest}"""
'''
    )
    found = corpus.docstrings_of_file(path, "module")
    assert [(entry.name, entry.question, entry.document) for entry in found] == [
        ("module.Sum", "Return the first sum.", rest),
        ("module.Sum.of", "Return the second sum.", rest),
    ]
    path.write_text('def broken(:\n    """Return the sum.\n\n    Of all."""')
    assert corpus.docstrings_of_file(path, "module") == []
    path.write_bytes(b'"""\x00"""')
    assert corpus.docstrings_of_file(path, "module") == []


def test_modules_that_fail_on_import_are_skipped(tmp_path, monkeypatch):
    (tmp_path / "exits.py").write_text("import sys; sys.exit(1)")
    (tmp_path / "raises.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(corpus.introspect(["exits", "raises", "no.such.module", "math", "builtins"]))
    names = {entry.name for entry in found}
    assert "builtins.str" in names or "builtins.sorted" in names
    assert not any(name.startswith(("exits", "raises", "no.")) for name in names)


def test_equal_questions_and_documents_count_once():
    entries = [
        corpus.Entry("a", "Return the sum.", "One document."),
        corpus.Entry("b", "return  the SUM.", "Another document."),
        corpus.Entry("c", "Return the product.", "one  document."),
        corpus.Entry("d", "Return the product.", "Third."),
    ]
    assert [entry.name for entry in corpus.deduplicate(entries)] == ["a", "d"]


def test_embeddings_are_kept_between_runs(tmp_path):
    rows = np.random.default_rng(0).normal(size=(1100, embedding.DIM)).astype(np.float32)
    digests = [i.to_bytes(16, "little") for i in range(1100)]
    embedding.EmbeddingCache(tmp_path / "cache" / "rows.sqlite").write(digests[:1000], rows[:1000])
    found = embedding.EmbeddingCache(tmp_path / "cache" / "rows.sqlite").read(digests)
    assert sorted(found) == sorted(digests[:1000])
    np.testing.assert_array_equal(found[digests[7]], rows[7])


def test_a_cache_that_cannot_be_used_is_only_slower(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    cache = embedding.EmbeddingCache(tmp_path / "file" / "rows.sqlite")
    cache.write([b"a"], np.zeros((1, embedding.DIM), np.float32))
    assert cache.read([b"a"]) == {}
    (tmp_path / "broken.sqlite").write_bytes(os.urandom(4096))
    broken = embedding.EmbeddingCache(tmp_path / "broken.sqlite")
    assert broken.read([b"a"]) == {}
    assert capsys.readouterr().err.count("Embeddings cannot be cached") == 2


def quality(recall: float, ndcg: float | None = None) -> measure.Quality:
    return measure.Quality(recall, ndcg, ndcg)


def test_the_shortest_length_within_the_margin_is_recommended():
    points = [
        measure.CurvePoint(16, quality(0.7, 0.395)),  # good by luck, before a worse one
        measure.CurvePoint(32, quality(0.8, 0.380)),
        measure.CurvePoint(48, quality(0.85, 0.391)),
        measure.CurvePoint(96, quality(0.93, 0.399)),
    ]
    words = measure.recommend(points, quality(1.0, 0.400), 384)
    assert words.startswith("48 bytes a row (32x smaller than float32): nDCG@10 is 0.391")
    assert "32 bytes would lose 0.020" in words


def test_without_right_answers_recall_decides():
    points = [measure.CurvePoint(b, quality(r)) for b, r in ((32, 0.8), (64, 0.955), (96, 0.97))]
    assert measure.recommend(points, quality(1.0), 384).startswith("64 bytes a row")
    none = measure.recommend(points[:1], quality(1.0), 384)
    assert none.startswith("32 bytes a row, the longest measured, beside the float32 rows")
