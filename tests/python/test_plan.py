"""Plans: how rows should be kept and searched, from Python."""

from __future__ import annotations

import arfc
import numpy as np
import pytest
from arfc import evaluate
from conftest import CODE_BYTES, DIM, clustered_rows


@pytest.fixture(scope="module")
def others() -> np.ndarray:
    """Rows that did not train the model."""
    return clustered_rows(1500, seed=5)


def test_a_planned_collection_finds_what_was_predicted(tmp_path, others, model):
    plan = arfc.plan(others, model, target_recall=0.7)
    point = plan.chosen
    assert plan.reaches_target and point.predicted_recall >= 0.7
    assert (plan.rows, plan.sample_rows, plan.reference) == (1500, 1500, "originals")
    assert plan.queries + plan.test_queries == 1500
    low, high = point.recall_interval
    assert low <= point.predicted_recall <= high
    queries = clustered_rows(400, seed=6)
    with arfc.Collection.create(tmp_path / "rows", DIM, factory=point.factory, model=model) as made:
        made.upsert(np.arange(len(others)), others)
        answer = made.search(
            queries, 10, stages=point.stages, nprobe=point.nprobe, ef_search=point.ef_search
        )
        assert made.info().resident_bytes - made.info().calibration_bytes == pytest.approx(
            point.resident_bytes_per_row * len(others), rel=0.05
        )
    truth = evaluate.exact(queries, others, 10)
    recall = evaluate.recall_at_k(np.stack(answer.ids).astype(np.int64), truth)
    assert abs(recall - point.predicted_recall) < 0.06  # Four standard errors.


def test_more_bytes_find_more(others, model):
    plan = arfc.plan(others, model)
    recalls = [point.predicted_recall for point in plan.curve]
    assert recalls == sorted(recalls)
    assert plan.curve[-1].stages[-1] == {"bytes": CODE_BYTES, "limit": 10}
    assert plan.curve[0].bytes_per_row < plan.curve[-1].bytes_per_row
    assert plan.model_bytes == model._native.model_bytes


def test_a_budget_is_kept(others, model):
    free = arfc.plan(others, model, target_recall=1.0)
    assert not free.reaches_target
    budget = free.curve[0].bytes_per_row + 4
    plan = arfc.plan(others, model, target_recall=1.0, max_bytes_per_row=budget)
    assert not plan.reaches_target and plan.chosen.bytes_per_row <= budget
    with pytest.raises(arfc.InvalidArgumentError, match="Budget is below"):
        arfc.plan(others, model, max_bytes_per_row=5)


def test_more_rows_are_harder(others, model):
    here = arfc.plan(others, model, target_recall=0.5)
    there = arfc.plan(others, model, target_recall=0.5, ntotal=1_000_000)
    assert there.rows == 1_000_000
    assert there.curve[0].predicted_recall < here.curve[0].predicted_recall


def test_a_collection_plans_on_its_calibration_sample(tmp_path, others, model):
    with arfc.Collection.create(
        tmp_path / "rows", DIM, factory=f"ARFC{CODE_BYTES}/8", model=model
    ) as collection:
        collection.upsert(np.arange(len(others)), others)
        assert collection.info().calibration_rows == len(others)
        plan = collection.plan(target_recall=0.6)
        assert plan.reference == "originals" and plan.reaches_target
        collection.drop_calibration()
        assert collection.info().calibration_rows == collection.info().calibration_bytes == 0
        assert collection.plan(target_recall=0.6).reference == "longest prefix"
    with pytest.raises(arfc.FailedPreconditionError, match="closed"):
        collection.plan()


def test_a_collection_may_keep_no_sample(tmp_path, others, model):
    with arfc.Collection.create(
        tmp_path / "rows", DIM, factory="ARFC8", model=model, calibration=False
    ) as collection:
        collection.upsert(np.arange(len(others)), others)
        assert collection.info().calibration_rows == 0


def test_what_cannot_be_planned_is_refused(tmp_path, others, model):
    for target in (0, -1, 1.5, float("nan")):
        with pytest.raises(arfc.InvalidArgumentError, match="Target recall is outside"):
            arfc.plan(others, model, target_recall=target)
    for name, value in (("target_recall", "high"), ("max_bytes_per_row", "few")):
        with pytest.raises(arfc.InvalidArgumentError, match="is not a number"):
            arfc.plan(others, model, **{name: value})
    with pytest.raises(arfc.InvalidArgumentError, match="k is out of range: 0"):
        arfc.plan(others, model, k=0)
    with pytest.raises(arfc.InvalidArgumentError, match="ntotal is out of range: 0"):
        arfc.plan(others, model, ntotal=0)
    with pytest.raises(arfc.InvalidArgumentError, match="Rows are fewer than a plan is made from"):
        arfc.plan(others[:100], model)
    with pytest.raises(arfc.InvalidArgumentError, match="Model must be a Compressor: str"):
        arfc.plan(others, "model")
    with pytest.raises(arfc.InvalidArgumentError, match="width"):
        arfc.plan(others[:, :8], model)
    with (
        arfc.Collection.create(tmp_path / "raw", DIM) as raw,
        pytest.raises(arfc.FailedPreconditionError, match="no model"),
    ):
        raw.plan()


def test_a_plan_can_be_cancelled(others, model):
    stages = set()

    def stop(progress: arfc.Progress) -> bool:
        stages.add(progress.stage)
        return progress.stage != "searches"

    with pytest.raises(arfc.CancelledError):
        arfc.plan(others, model, progress=stop)
    assert stages == {"recall", "searches"}
