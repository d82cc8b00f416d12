"""Every row of the table of baselines keeps the same promises; each keeps its own as well."""

from __future__ import annotations

import arfc
import numpy as np
import pytest
from arfc.baselines import BASELINES, Autoencoder, Baseline, Pca, QFormer, Quantization, kept_dims
from arfc.baselines.baseline import Neighbourhood, explained, nearest_others
from conftest import DIM, clustered_rows

BUDGET = 0.6  # seconds of a fit; enough for some steps of each trial


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    # Off the origin, as features of real encoders are.
    return clustered_rows(900) + np.float32(0.05)


@pytest.fixture(scope="module")
def others() -> np.ndarray:
    return clustered_rows(200, seed=3) + np.float32(0.05)


@pytest.fixture(scope="module")
def fitted(train) -> dict[str, Baseline]:
    return {
        name: kind.fit(train, ratio=0.75, time_budget_s=BUDGET) for name, kind in BASELINES.items()
    }


@pytest.fixture(params=list(BASELINES))
def name(request) -> str:
    return request.param


def test_the_table_names_each_class_as_it_names_itself():
    assert {name: kind.name for name, kind in BASELINES.items()} == {n: n for n in BASELINES}


def test_rows_go_in_and_compressed_rows_come_out(name, fitted, others):
    model = fitted[name]
    rows = model.transform(others)
    assert rows.dtype == np.float32 and rows.shape == (200, model.width)
    assert np.isfinite(rows).all()
    assert model.dim == DIM and model.dims == DIM // 4
    assert 0 < model.bytes_per_row <= 4 * model.dims
    assert model.model_bytes > 0
    assert model.transform(others[:0]).shape == (0, model.width)


def test_a_compressed_row_depends_on_its_row_alone(name, fitted, others):
    model = fitted[name]
    whole = model.transform(others)
    np.testing.assert_allclose(model.transform(others[7:9]), whole[7:9], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        model.transform(others[::-1].astype(np.float64)), whole[::-1], rtol=1e-3, atol=1e-4
    )


def test_a_report_tells_what_was_tried_and_that_nothing_got_worse(name, fitted):
    report = fitted[name].report
    assert report.measure == BASELINES[name].measure
    assert (report.rows, report.held_out_rows) == (810, 90)
    assert len(report.trials) >= 2
    assert report.held_out == report.trials[report.kept].held_out
    assert report.held_out == max(trial.held_out for trial in report.trials) >= report.start
    assert 0 < report.seconds < 20 * BUDGET


def test_equal_seeds_give_equal_models_where_no_clock_decides(train, others):
    for kind in (Pca, Quantization):
        first, again = (kind.fit(train, 8, seed=5).transform(others) for _ in range(2))
        np.testing.assert_array_equal(first, again)


def test_a_learned_baseline_is_ahead_of_pca_at_its_own_task(fitted, train, others):
    axes, mean = fitted["pca"], train.mean(axis=0)
    codes = fitted["autoencoder"]
    by_pca = explained(others, axes.reconstruct(axes.transform(others)), mean)
    by_network = explained(others, codes.reconstruct(codes.transform(others)), mean)
    assert by_network > by_pca + 0.01
    former = QFormer.fit(train, ratio=0.75, time_budget_s=3)
    assert former.report.start == pytest.approx(axes.report.held_out, abs=0.01)
    assert former.report.held_out > former.report.start


def test_pca_keeps_the_directions_of_the_largest_variance(train):
    model = Pca.fit(train, 8)
    assert model.axes.shape == (DIM, 8)
    np.testing.assert_allclose(model.axes.T @ model.axes, np.eye(8), atol=1e-5)
    assert {trial.settings["centred"] for trial in model.report.trials} == {True, False}
    whole = Pca.fit(train, DIM)
    np.testing.assert_allclose(whole.reconstruct(whole.transform(train)), train, atol=1e-5)


def test_quantization_spends_no_more_than_the_budget(train, others):
    for ratio, bits in ((0.5, 16), (0.75, 8)):
        model = Quantization.fit(train, ratio=ratio)
        assert (model.bits, len(model.kept)) == (bits, DIM), ratio
        assert model.bytes_per_row == round(4 * DIM * (1 - ratio))
    tight = Quantization.fit(train, ratio=0.9)  # 3 of 32 floats: 12 bytes
    assert tight.dims == 3
    assert [(t.settings["bits"], t.settings["kept_dims"]) for t in tight.report.trials] == [
        (1, 32),
        (2, 32),
        (3, 32),
        (4, 24),
        (5, 19),
        (6, 16),
        (7, 13),
        (8, 12),
        (16, 6),
    ]
    assert (tight.bits, tight.bytes_per_row) == (3, 12)


def test_quantised_rows_are_what_their_packed_bytes_say(fitted, train, others):
    for ratio in (0.5, 0.75, 0.9, 0.96):
        model = Quantization.fit(train, ratio=ratio)
        codes = model.pack(others)
        assert codes.shape == (len(others), model.bytes_per_row) and codes.dtype == np.uint8
        np.testing.assert_array_equal(model.unpack(codes), model.transform(others))
    error = np.abs(fitted["quantization"].transform(train) - train).mean(axis=0)
    assert (error < np.ptp(train, axis=0) / 255 / 3).all()  # a quarter of a step, and some clipping


def test_dropped_dimensions_are_those_of_least_variance_and_read_as_their_mean(train):
    scaled = train * np.linspace(0.01, 1, DIM, dtype=np.float32)
    model = Quantization.fit(scaled, 1)
    dropped = np.setdiff1d(np.arange(DIM), model.kept)
    assert len(dropped) and dropped.max() < model.kept.min() + len(dropped)
    assert np.ptp(model.transform(scaled)[:, dropped], axis=0).max() == 0


def test_constant_dimensions_stay_constant(train, others):
    flat = train.copy()
    flat[:, :5] = 3
    for kind in BASELINES.values():
        assert np.isfinite(kind.fit(flat, 8, time_budget_s=0.2).transform(others)).all()
    np.testing.assert_array_equal(Quantization.fit(flat, 8).transform(flat)[:, :5], 3)


@pytest.mark.parametrize("dims", [1, DIM])
def test_the_smallest_and_the_largest_size(name, dims, train, others):
    model = BASELINES[name].fit(train[:20], dims, time_budget_s=0.1)
    assert model.transform(others).shape == (200, model.width)


def test_a_width_that_no_chunk_divides(others):
    rows = clustered_rows(100, dim=37)
    model = QFormer.fit(rows, 11, time_budget_s=0.1)
    assert model.transform(rows).shape == (100, 11)


def test_without_a_budget_steps_are_counted_and_seeds_repeat(train, monkeypatch):
    from arfc.baselines import tuning

    monkeypatch.setattr(tuning, "_TRIAL_STEPS", 2)
    monkeypatch.setattr(tuning, "_FINAL_STEPS", 8)
    for kind in (Autoencoder, QFormer):
        first, again, other = (kind.fit(train[:200], 8, seed=seed) for seed in (2, 2, 3))
        assert sorted(trial.steps for trial in first.report.trials) == [2, 2, 2, 10]
        np.testing.assert_array_equal(first.transform(train), again.transform(train))
        assert not np.array_equal(first.transform(train), other.transform(train))


def test_sizes_from_ratios():
    assert [kept_dims(384, ratio) for ratio in (0, 0.5, 0.75, 0.9, 0.95)] == [384, 192, 96, 38, 19]
    assert kept_dims(10, 0.9) == 1  # 1 - .9 is a little less than a tenth
    assert kept_dims(4, 0.99) == 1
    for ratio in (1, -0.1, float("nan"), "0.5", True):
        with pytest.raises(arfc.InvalidArgumentError, match=r"share of bytes removed in \[0, 1\)"):
            kept_dims(384, ratio)


def test_wrong_fits_are_refused(name, train):
    kind = BASELINES[name]
    bad = train.copy()
    bad[41, 3] = np.nan
    with pytest.raises(arfc.InvalidArgumentError, match=r"finite: row 41 is not"):
        kind.fit(bad, 8)
    with pytest.raises(arfc.InvalidArgumentError, match=r"Too few rows .*\(19, 32\)"):
        kind.fit(train[:19], 8)
    with pytest.raises(arfc.InvalidArgumentError, match=r"either .*dims None, ratio None"):
        kind.fit(train)
    with pytest.raises(arfc.InvalidArgumentError, match=r"either .*dims 8, ratio 0.5"):
        kind.fit(train, 8, ratio=0.5)
    with pytest.raises(arfc.InvalidArgumentError, match=r"dims is out of range: 33"):
        kind.fit(train, 33)
    with pytest.raises(arfc.InvalidArgumentError, match=r"Time budget .*: -1"):
        kind.fit(train, 8, time_budget_s=-1)
    with pytest.raises(arfc.InvalidArgumentError, match=r"seed is out of range: -1"):
        kind.fit(train, 8, seed=-1)


def test_wrong_rows_are_refused(name, fitted, others):
    model = fitted[name]
    with pytest.raises(arfc.InvalidArgumentError, match=r"width differs .*: 31, expected 32"):
        model.transform(others[:, :31])
    bad = others.copy()
    bad[5, 0] = np.inf
    with pytest.raises(arfc.InvalidArgumentError, match=r"must be finite: row 5 is not"):
        model.transform(bad)
    with pytest.raises(arfc.InvalidArgumentError, match=r"Compressed rows' width differs .*: 99"):
        model.reconstruct(np.zeros((1, 99), np.float32))


def test_a_q_former_has_no_decoder(fitted, others):
    model = fitted["q_former"]
    with pytest.raises(arfc.UnsupportedError, match=r"no decoder .*: q_former"):
        model.reconstruct(model.transform(others))


def test_codes_of_another_length_are_refused(fitted):
    model = fitted["quantization"]
    with pytest.raises(arfc.InvalidArgumentError, match=r"length differs .*: 3, expected 32"):
        model.unpack(np.zeros((2, 3), np.uint8))


def test_nearest_others_leave_the_row_itself_out():
    rows = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    np.testing.assert_array_equal(nearest_others(rows, 1), [[1], [0], [3], [2]])
    equal = np.ones((5, 3), np.float32)
    found = nearest_others(equal, 2)
    assert found.shape == (5, 2) and not (found == np.arange(5)[:, None]).any()


def test_kept_neighbours_are_counted():
    rows = clustered_rows(60)
    neighbourhood = Neighbourhood(rows, 5)
    np.testing.assert_array_equal(neighbourhood.kept(3 * rows), np.ones(60))
    assert neighbourhood.kept(rows[::-1].copy()).mean() < 0.5
    assert explained(rows, rows, rows.mean(axis=0)) == 1
    means = np.repeat(rows.mean(axis=0)[None], 60, axis=0)
    assert explained(rows, means, rows.mean(axis=0)) == pytest.approx(0, abs=1e-6)
