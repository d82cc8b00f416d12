"""Compressor.train(pairs=...): what a user's own task calls close."""

from __future__ import annotations

import arfc
import numpy as np
import pytest

CLASSES = 20
PAIRED = 12
WIDTH = 16


def two_factors(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and classes; a class speaks softly in half of the coordinates, what nobody asks
    for loudly in the others."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(CLASSES, WIDTH // 2))
    classes = random.integers(CLASSES, size=count)
    asked = 0.4 * centres[classes] + 0.15 * random.normal(size=(count, WIDTH // 2))
    rows = np.hstack([asked, random.normal(size=(count, WIDTH // 2))])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), classes


@pytest.fixture(scope="module")
def task():
    """Rows, classes, and pairs of one class out of PAIRED."""
    rows, classes = two_factors(1600, 0)
    random = np.random.default_rng(1)
    left = random.choice(np.flatnonzero(classes < PAIRED), 1500)
    right = [random.choice(np.flatnonzero(classes == classes[place])) for place in left]
    return rows, classes, (rows[left], rows[right])


@pytest.fixture(scope="module")
def taught(task):
    rows, _, pairs = task
    return arfc.Compressor.train(rows, 8, pairs=pairs, relations=False, device="cpu")


def accuracy(scores, classes, asked) -> float:
    """Share of queries whose nearest row is of their class."""
    return float(np.mean(classes[scores.argmax(axis=1)] == asked))


def test_a_short_code_beats_uncompressed_rows_at_the_task(task, taught):
    rows, classes, _ = task
    queries, asked = two_factors(400, 2)
    scores = taught.score(queries, taught.encode(rows))
    for kinds, gain in ((asked < PAIRED, 0.15), (asked >= PAIRED, 0.0)):
        before = accuracy(queries[kinds] @ rows.T, classes, asked[kinds])
        assert accuracy(scores[kinds], classes, asked[kinds]) > before + gain


def test_the_report_tells_what_pairs_gave(task, taught, tmp_path):
    report = taught.report.pairs
    assert report.is_kept and report.pairs == 1500
    assert report.seen.queries > 100 and report.unseen.queries > 50
    assert 0 < report.seen.before < report.seen.after <= 1
    taught.save(tmp_path / "model")
    loaded = arfc.Compressor.load(tmp_path / "model")
    assert loaded.report == taught.report
    assert loaded.id == taught.id
    rows = task[0]
    np.testing.assert_array_equal(loaded.encode(rows), taught.encode(rows))


def test_decoded_rows_are_rows_again(task, taught):
    rows = task[0]
    codes = taught.encode(rows)
    errors = [((taught.decode(codes[:, :b]) - rows) ** 2).sum(axis=1).mean() for b in (1, 4, 8)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.25, "of rows of length 1"


def test_a_collection_and_an_index_search_with_such_a_model(task, taught, tmp_path):
    rows = task[0]
    queries, _ = two_factors(100, 3)
    expected = np.argsort(-taught.score(queries, taught.encode(rows)), axis=1)[:, 0]
    with arfc.Collection.create(tmp_path / "c", WIDTH, "cosine", "ARFC8", taught) as collection:
        collection.upsert(np.arange(len(rows)), rows)
        found = [hits[0].id for hits in collection.search(queries, 1)]
    assert np.mean(np.array(found) == expected) > 0.95, "but for ties"


def test_noise_changes_nothing(task):
    rows = task[0]
    random = np.random.default_rng(4)
    pairs = (rows[random.integers(1600, size=1500)], rows[random.integers(1600, size=1500)])
    noisy = arfc.Compressor.train(rows, 4, pairs=pairs, relations=False)
    plain = arfc.Compressor.train(rows, 4, relations=False)
    assert noisy.id == plain.id
    assert not noisy.report.pairs.is_kept
    assert noisy.report.pairs.seen.after == noisy.report.pairs.seen.before
    assert plain.report.pairs is None


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], r"\(queries, relevant rows\), two matrices: list of 0"),
        (np.zeros((2, WIDTH), np.float32), r"two matrices: ndarray"),
        ((np.zeros(WIDTH), np.zeros(WIDTH)), r"Queries of pairs must be a matrix"),
        ((np.ones((3, WIDTH)), np.ones((2, WIDTH))), r"3 queries, 2 relevant rows"),
        ((np.ones((0, WIDTH)), np.ones((0, WIDTH))), r"at least one: 0 queries"),
        ((np.ones((3, WIDTH)), np.ones((3, 5))), r"width from the training matrix: 5, expected 16"),
        ((np.ones((3, WIDTH)), np.zeros((3, WIDTH))), r"relevant rows holds a zero row"),
        ((np.full((3, WIDTH), np.nan), np.ones((3, WIDTH))), r"queries holds a value that is not"),
        ((np.ones((3, WIDTH), int), np.ones((3, WIDTH))), r"must be float32, float64 or float16"),
    ],
)
def test_wrong_pairs_are_refused(task, pairs, message):
    with pytest.raises(arfc.InvalidArgumentError, match=message):
        arfc.Compressor.train(task[0][:300], 2, pairs=pairs)
