"""Measures against values computed by hand."""

from __future__ import annotations

import arfc
import numpy as np
import pytest
from arfc import evaluate


def test_recall_is_the_share_of_true_answers_found():
    truth = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    found = np.array([[3, 2, 9, 8], [4, 5, 6, 7]])
    assert evaluate.recall_at_k(found, truth, 4) == pytest.approx((0.5 + 1.0) / 2)
    assert evaluate.recall_at_k(found, truth, 2) == pytest.approx((0.0 + 1.0) / 2)


def test_missing_answers_count_as_misses():
    truth = np.array([[0, 1]])
    assert evaluate.recall_at_k(np.array([[0, -1]]), truth, 2) == 0.5
    assert evaluate.recall_at_k(np.array([[-1, -1]]), np.array([[-1, -1]]), 2) == 0.0


def test_ndcg_of_one_right_answer_is_its_discount():
    found = np.array([[7, 1, 2], [0, 7, 1], [0, 1, 2]])
    expected = (1 + 1 / np.log2(3) + 0) / 3
    assert evaluate.ndcg(found, [7, 7, 7], 3) == pytest.approx(expected)


def test_ndcg_of_graded_answers_is_normalised_by_the_best_order():
    found = np.array([[5, 6]])
    ideal = 3 + 1 / np.log2(3)
    assert evaluate.ndcg(found, [{6: 3.0, 5: 1.0}], 2) == pytest.approx(
        (1 + 3 / np.log2(3)) / ideal
    )
    assert evaluate.ndcg(found, [{}], 2) == 0.0


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_exact_answers_are_those_of_a_full_sort(rows, queries, metric):
    scaled = rows * np.linspace(0.5, 2, len(rows), dtype=np.float32)[:, None]
    if metric == "cosine":
        scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    elif metric == "ip":
        scores = queries.astype(np.float64) @ scaled.astype(np.float64).T
    else:
        scores = -((queries[:, None].astype(np.float64) - scaled[None]) ** 2).sum(axis=2)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(evaluate.exact(queries, scaled, 10, metric), expected)


def test_ties_take_the_lower_row():
    rows = np.tile(np.eye(1, 4, dtype=np.float32), (50, 1))
    np.testing.assert_array_equal(evaluate.exact(rows[:1], rows, 5, "ip"), [[0, 1, 2, 3, 4]])


def test_shapes_that_do_not_fit_are_refused(rows):
    with pytest.raises(arfc.InvalidArgumentError, match=r"Widths differ: queries \(1500, 32\)"):
        evaluate.exact(rows, rows[:, :8])
    with pytest.raises(arfc.InvalidArgumentError, match=r"k is out of range: 1501"):
        evaluate.exact(rows, rows, 1501)
    with pytest.raises(arfc.InvalidArgumentError, match=r"Metric .*'hamming'"):
        evaluate.exact(rows, rows, 1, "hamming")
    with pytest.raises(arfc.InvalidArgumentError, match=r"as many rows"):
        evaluate.recall_at_k(np.zeros((2, 10)), np.zeros((3, 10)))
    with pytest.raises(arfc.InvalidArgumentError, match=r"k is out of range: 11"):
        evaluate.recall_at_k(np.zeros((2, 10)), np.zeros((2, 10)), 11)
    with pytest.raises(arfc.InvalidArgumentError, match=r"differ in number"):
        evaluate.ndcg(np.zeros((2, 10)), [1])
