"""Compressor: the promises of its docstrings, through the package."""

from __future__ import annotations

import subprocess
import sys

import arfc
import numpy as np
import pytest
from conftest import CODE_BYTES, DIM, clustered_rows


def test_it_tells_what_it_is(model):
    assert (model.dim, model.code_bytes, model.metric) == (DIM, CODE_BYTES, "cosine")
    assert len(model.id) == 64 and set(model.id) <= set("0123456789abcdef")
    assert model.model_bytes > 0
    assert model.report.trained_rows > 1000
    assert model.report.recall[CODE_BYTES] > model.report.recall[4]
    assert repr(model).startswith("arfc.Compressor(dim=32, code_bytes=16, metric='cosine', id='")


def test_every_prefix_is_the_shorter_code(model, rows):
    codes = model.encode(rows)
    assert codes.dtype == np.uint8 and codes.shape == (len(rows), CODE_BYTES)
    for length in range(1, CODE_BYTES + 1):
        np.testing.assert_array_equal(model.encode(rows[:200], length), codes[:200, :length])


def test_longer_codes_reconstruct_better(model, rows):
    codes = model.encode(rows)
    errors = []
    for length in (1, 4, CODE_BYTES):
        decoded = model.decode(codes[:, :length])
        assert decoded.dtype == np.float32 and decoded.shape == rows.shape
        errors.append(float(((decoded - rows) ** 2).sum(axis=1).mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1


def test_scores_are_cosines_of_the_decoded_rows_that_favour_longer_ones(model, rows, queries):
    codes = model.encode(rows)
    scores = model.score(queries, codes)
    assert scores.dtype == np.float32 and scores.shape == (len(queries), len(rows))
    decoded = model.decode(codes)
    norms = np.linalg.norm(decoded, axis=1, keepdims=True)
    decoded *= np.minimum(norms, 1) ** 0.1 / norms
    np.testing.assert_allclose(scores, queries @ decoded.T, atol=2e-5)


def test_decoded_rows_score_as_tables_do(model, rows, queries):
    codes = model.encode(rows)[:, :8]
    by_rows = model.score(queries, codes, neural=True)
    assert by_rows.shape == (len(queries), len(rows))
    np.testing.assert_allclose(by_rows, model.score(queries, codes), atol=2e-5)


def test_scores_find_the_neighbours(model, rows, queries):
    found = np.argsort(-model.score(queries, model.encode(rows)), axis=1)[:, :10]
    truth = arfc.evaluate.exact(queries, rows, 10)
    assert arfc.evaluate.recall_at_k(found, truth) > 0.7


def test_no_rows_give_no_codes(model, rows):
    none = np.empty((0, DIM), np.float32)
    assert model.encode(none).shape == (0, CODE_BYTES)
    assert model.decode(np.empty((0, 3), np.uint8)).shape == (0, DIM)
    assert model.score(none, model.encode(rows)).shape == (0, len(rows))


def test_a_saved_model_is_the_same_model(model, model_folder, rows, queries):
    loaded = arfc.Compressor.load(model_folder, device="cpu")
    assert loaded.id == model.id
    assert loaded.report == model.report
    codes = model.encode(rows)
    np.testing.assert_array_equal(loaded.encode(rows), codes)
    np.testing.assert_array_equal(loaded.score(queries, codes), model.score(queries, codes))


def test_drift_tells_rows_of_the_same_kind_from_others(model):
    alike = model.drift(clustered_rows(800, seed=5))
    assert isinstance(alike, arfc.Drift) and alike.rows == 800
    assert list(alike.points) == list(model.report.residuals) == [8, CODE_BYTES]
    assert not alike.is_beyond_threshold
    for size, point in alike.points.items():
        assert point.held_out_residual == model.report.residuals[size]
        assert point.ratio == pytest.approx(point.residual / point.held_out_residual)
        assert 0.7 < point.ratio < point.threshold
    unlike = np.random.default_rng(0).normal(size=(800, DIM))
    assert model.drift(unlike).is_beyond_threshold
    assert model.drift(unlike).points[CODE_BYTES].ratio > 1.5


def test_drift_is_what_codes_leave(model, rows):
    point = model.drift(rows).points[8]
    left = model.decode(model.encode(rows, 8)).astype(np.float64) - rows
    assert point.residual == pytest.approx((left**2).sum() / len(rows), rel=1e-5)


def test_drift_refuses_what_it_cannot_tell(model, rows):
    few = arfc.Compressor.train(rows[:300], 4, device="cpu")
    assert few.report.residuals == {}
    with pytest.raises(arfc.FailedPreconditionError, match="held-out rows: 0"):
        few.drift(rows)
    with pytest.raises(arfc.InvalidArgumentError, match="at least one row: 0"):
        model.drift(rows[:0])
    with pytest.raises(arfc.InvalidArgumentError, match=f"expected {DIM}"):
        model.drift(rows[:, :5])
    with pytest.raises(arfc.InvalidArgumentError, match="not finite"):
        model.drift(np.full((2, DIM), np.nan, np.float32))


def test_a_compact_model_is_half_as_large_and_the_same_when_loaded(rows, tmp_path):
    large, small = (
        arfc.Compressor.train(rows, 8, relations=False, compact=compact, device="cpu")
        for compact in (False, True)
    )
    large.save(tmp_path / "large")
    small.save(tmp_path / "small")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("large", "small")]
    assert sizes[1] < 0.52 * sizes[0]
    loaded = arfc.Compressor.load(tmp_path / "small")
    assert loaded.id == small.id != large.id
    np.testing.assert_array_equal(loaded.encode(rows), small.encode(rows))
    assert np.mean(small.encode(rows) == large.encode(rows)) > 0.9


class TestReadyModels:
    NAME = "all-MiniLM-L6-v2"

    def test_there_is_one_and_it_is_complete(self):
        assert arfc.ready_models.names() == [self.NAME]
        model = arfc.Compressor.ready(self.NAME)
        assert (model.dim, model.code_bytes, model.metric) == (384, 96, "cosine")
        assert model.report.trained_rows > 50_000
        assert list(model.report.residuals) == [8, 16, 32, 96]
        assert model.report.recall[96] > 0.8
        folder = arfc.ready_models.directory(self.NAME)
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 6_000_000

    def test_its_card_tells_of_this_model(self):
        card = (arfc.ready_models.directory(self.NAME) / "README.md").read_text(encoding="utf-8")
        model = arfc.Compressor.ready(self.NAME)
        assert model.id in card
        for size, recall in model.report.recall.items():
            assert f"| {size} | {recall:.3f} |" in card
        assert f"{model.report.trained_rows:,} train" in card
        assert "Licence" in card

    def test_it_encodes_and_finds(self):
        """Rows near to what codes stand for: there is no embedding model here."""
        model = arfc.Compressor.ready(self.NAME)
        random = np.random.default_rng(0)
        rows = model.decode(random.integers(0, 256, (50, 96), dtype=np.uint8))
        scores = model.score(rows, model.encode(rows))
        assert (scores.argmax(axis=1) == np.arange(50)).all()

    def test_gaussian_rows_are_unlike_its_own(self):
        rows = np.random.default_rng(0).normal(size=(300, 384))
        drift = arfc.Compressor.ready(self.NAME).drift(rows)
        assert drift.is_beyond_threshold and drift.points[96].ratio > 2

    @pytest.mark.parametrize("name", ["", "word2vec", "..", "../models", "all-MiniLM-L6-v2/"])
    def test_other_names_are_told_which_there_are(self, name):
        with pytest.raises(arfc.NotFoundError) as caught:
            arfc.Compressor.ready(name)
        assert str(caught.value) == (
            f"No ready model of this name comes with arfc: {name!r}, there is: {self.NAME}"
        )


def test_the_same_seed_gives_the_same_model(rows):
    few = rows[:400]
    first, second, other = (
        arfc.Compressor.train(few, 4, "ip", seed=seed, device="cpu") for seed in (5, 5, 6)
    )
    assert first.id == second.id != other.id


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_every_metric_ranks_a_row_first_for_itself(rows, metric):
    few = rows[:300] * (1 if metric == "cosine" else 3)
    model = arfc.Compressor.train(few, 16, metric, device="cpu")
    scores = model.score(few, model.encode(few))
    assert np.mean(scores.argmax(axis=1) == np.arange(300)) > 0.8
    if metric == "l2":
        assert scores.max() < 1.0


def test_progress_is_told_and_may_cancel(rows):
    seen: list[arfc.Progress] = []
    arfc.Compressor.train(rows[:300], 4, device="cpu", progress=seen.append)
    assert seen and all(isinstance(step.stage, str) and step.done <= step.total for step in seen)
    assert seen[-1].done == seen[-1].total
    with pytest.raises(arfc.CancelledError, match="cancelled"):
        arfc.Compressor.train(rows[:300], 4, device="cpu", progress=lambda step: False)


def test_an_exception_of_the_callback_passes_through(rows):
    def fail(step: arfc.Progress) -> None:
        raise KeyError(step.stage)

    with pytest.raises(KeyError):
        arfc.Compressor.train(rows[:300], 4, device="cpu", progress=fail)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"code_bytes": 0}, arfc.InvalidArgumentError, r"code_bytes is out of range: 0"),
        ({"code_bytes": 5000}, arfc.InvalidArgumentError, r"5000"),
        ({"code_bytes": 2.5}, arfc.InvalidArgumentError, r"code_bytes must be an integer: 2.5"),
        ({"code_bytes": True}, arfc.InvalidArgumentError, r"must be an integer: True"),
        ({"metric": "hamming"}, arfc.InvalidArgumentError, r"hamming"),
        ({"pairs": []}, arfc.InvalidArgumentError, r"Pairs must be .*: list of 0"),
        ({"queries": np.zeros((0, DIM))}, arfc.InvalidArgumentError, r"must be rows, at least 100"),
        ({"queries": np.ones(DIM)}, arfc.InvalidArgumentError, r"Queries must be a matrix"),
        ({"queries": np.ones((99, DIM))}, arfc.InvalidArgumentError, r"too few .*: 99, at least"),
        ({"prefix_schedule": (0.5, 0.5)}, arfc.InvalidArgumentError, r"last mean.*\(0.5, 0.5\)"),
        ({"prefix_schedule": "long"}, arfc.InvalidArgumentError, r"concentration\): 'long'"),
        ({"prefix_schedule": (1, 0.5, 4)}, arfc.InvalidArgumentError, r"outside \(0, 1\): 1"),
        ({"time_budget_s": 0}, arfc.InvalidArgumentError, r"positive number of seconds: 0"),
        ({"time_budget_s": float("nan")}, arfc.InvalidArgumentError, r"positive number .*: nan"),
        ({"seed": -1}, arfc.InvalidArgumentError, r"seed is out of range: -1"),
        ({"device": "cuda:99"}, arfc.UnsupportedError, r"cuda:99"),
        ({"device": "abacus"}, arfc.ArfcError, r"abacus"),
    ],
)
def test_wrong_options_are_refused(rows, options, kind, message):
    with pytest.raises(kind, match=message):
        arfc.Compressor.train(rows[:300], **options)


def test_wrong_values_are_refused(model, rows):
    bad = rows[:5].copy()
    bad[3, 2] = np.nan
    with pytest.raises(arfc.InvalidArgumentError, match=r"not finite.*3"):
        model.encode(bad)
    with pytest.raises(arfc.InvalidArgumentError, match=r"zero"):
        model.encode(np.zeros((1, DIM), np.float32))
    with pytest.raises(arfc.InvalidArgumentError, match=r"num_bytes is out of range: 17"):
        model.encode(rows, 17)
    with pytest.raises(arfc.InvalidArgumentError):
        arfc.Compressor.train(rows[:0])
    with pytest.raises(arfc.InvalidArgumentError, match=r"not finite"):
        model.score(bad, model.encode(rows), neural=True)


@pytest.fixture(scope="module")
def model_with_features(rows):
    # So few that features are principal axes: what is learned of more is tested in C++.
    return arfc.Compressor.train(rows[:800], 4, relations=False, features=True, device="cpu")


def test_shorter_features_are_the_first_columns(model_with_features, rows):
    full = model_with_features.features(rows)
    assert full.dtype == np.float32 and full.shape == (len(rows), DIM)
    for dims in range(1, DIM + 1):
        short = model_with_features.features(rows[:200], dims)
        np.testing.assert_array_equal(short, full[:200, :dims])
    backwards = model_with_features.features(rows[::-1].astype(np.float64), 3)
    np.testing.assert_array_equal(backwards[::-1], full[:, :3])
    assert model_with_features.features(rows[:0], 5).shape == (0, 5)


def test_features_keep_neighbours_better_than_as_many_columns(model_with_features, rows, queries):
    truth = arfc.evaluate.exact(queries, rows, 10)

    def recall(left, right) -> float:
        return arfc.evaluate.recall_at_k(arfc.evaluate.exact(left, right, 10), truth)

    short = [model_with_features.features(x, 8) for x in (queries, rows)]
    assert recall(*short) > recall(queries[:, :8], rows[:, :8]) + 0.05
    full = [model_with_features.features(x) for x in (queries, rows)]
    assert recall(*full) > 0.8


def test_features_outlive_the_process(model_with_features, rows, tmp_path):
    model_with_features.save(tmp_path / "model")
    loaded = arfc.Compressor.load(tmp_path / "model")
    assert loaded.has_features and loaded.id == model_with_features.id
    np.testing.assert_array_equal(loaded.features(rows, 7), model_with_features.features(rows, 7))


def test_a_model_without_features_says_how_to_get_them(model, model_with_features, rows):
    assert model_with_features.has_features and not model.has_features
    with pytest.raises(arfc.FailedPreconditionError, match=rf"features=True.*: {model.id}"):
        model.features(rows)


def test_wrong_questions_for_features_are_refused(model_with_features, rows):
    def refuses(message, *asked):
        with pytest.raises(arfc.InvalidArgumentError, match=message):
            model_with_features.features(*asked)

    refuses(rf"dims is out of range: {DIM + 1}, expected \[1, {DIM}\]", rows, DIM + 1)
    refuses(r"dims is out of range: 0", rows, 0)
    refuses(r"dims must be an integer: 2.5", rows, 2.5)
    refuses(r"dims must be an integer: True", rows, True)
    refuses(rf"differs from the model's: 5, expected {DIM}", rows[:, :5])
    refuses(r"zero", np.zeros((1, DIM), np.float32))
    bad = rows[:5].copy()
    bad[3, 2] = np.nan
    refuses(r"not finite.*3", bad)


def test_features_of_rows_that_are_too_wide_are_refused():
    wide = np.ones((1, 4097), np.float32)
    with pytest.raises(arfc.UnsupportedError, match=r"up to 4096 floats wide: 4097"):
        arfc.Compressor.train(wide, 1, features=True)


def test_files_that_are_no_model_are_refused(model_folder, tmp_path):
    with pytest.raises(arfc.NotFoundError, match=r"nowhere"):
        arfc.Compressor.load(tmp_path / "nowhere")
    with pytest.raises(arfc.InvalidArgumentError, match=r"Path must be text or a path object: 3"):
        arfc.Compressor.load(3)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in model_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = copy / "model.safetensors"
    altered = bytearray(weights.read_bytes())
    altered[-1] ^= 1
    weights.write_bytes(altered)
    with pytest.raises(arfc.CorruptionError):
        arfc.Compressor.load(copy)


def test_there_is_no_empty_compressor():
    with pytest.raises(arfc.UnsupportedError, match=r"Compressor\.train"):
        arfc.Compressor()


def test_thread_counts_are_set_and_checked():
    before = arfc.num_threads()
    try:
        arfc.set_num_threads(1)
        assert arfc.num_threads() == 1
    finally:
        arfc.set_num_threads(before)
    with pytest.raises(arfc.InvalidArgumentError, match="0"):
        arfc.set_num_threads(0)


def test_a_mapped_file_is_read_where_it_lies(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert np.shares_memory(arfc._arrays.as_matrix(mapped), mapped)
    options = {"code_bytes": 4, "device": "cpu"}
    assert arfc.Compressor.train(mapped, **options).id == arfc.Compressor.train(rows, **options).id


# More than the memory that the process may have as its own; mapped files do not count.
LARGE_FILE = """
import resource, sys
import arfc, numpy as np

rows = np.load(sys.argv[1], mmap_mode="r")
arfc.Compressor.train(rows[:2000], 4, relations=False)  # What libraries take once.
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + rows.nbytes // 2,) * 2)
arfc.Compressor.train(rows, 4, relations=False, time_budget_s=0.5)
try:
    np.array(rows)
except MemoryError:
    print("a copy does not fit")
"""


def test_a_file_larger_than_memory_can_train(tmp_path):
    path = tmp_path / "large.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (300_000, 512))
    some = np.random.default_rng(0).standard_normal((10_000, 512), np.float32)
    for first in range(0, len(rows), 10_000):
        rows[first : first + 10_000] = some
    rows.flush()
    done = subprocess.run(
        [sys.executable, "-c", LARGE_FILE, path], capture_output=True, text=True, check=False
    )
    assert done.stdout == "a copy does not fit\n", done.stderr


CHECKPOINTED = {"code_bytes": 20, "device": "cpu", "checkpoint_every_s": 0}


class TestCheckpoints:
    @pytest.fixture
    def few(self, rows):
        return rows[:1200]

    def interrupt(self, few, folder, error, stage="whole-space codebook"):
        def progress(step):
            if step.stage == stage and step.done >= 7:
                raise error

        with pytest.raises(type(error)):
            arfc.Compressor.train(few, checkpoint=folder, progress=progress, **CHECKPOINTED)

    @pytest.mark.parametrize("stage", ["whole-space codebook", "sub-space codebook", "done"])
    def test_resuming_gives_the_same_model(self, few, tmp_path, stage):
        folder = tmp_path / "checkpoint"
        self.interrupt(few, folder, KeyboardInterrupt(), stage)
        assert [path.name for path in folder.iterdir()] == ["training.checkpoint"]
        model = arfc.Compressor.train(few, checkpoint=folder, resume=True, **CHECKPOINTED)
        assert model.id == arfc.Compressor.train(few, **CHECKPOINTED).id
        assert folder.exists(), "until the model is safe"
        model.save(tmp_path / "model")
        assert not folder.exists()
        model.save(tmp_path / "again")

    def test_what_does_not_fit_is_refused(self, few, tmp_path):
        folder = tmp_path / "checkpoint"
        options = {**CHECKPOINTED, "checkpoint": folder, "resume": True}
        with pytest.raises(arfc.NotFoundError, match="train without resume"):
            arfc.Compressor.train(few, **options)
        self.interrupt(few, folder, ValueError("mine"))
        with pytest.raises(arfc.FailedPreconditionError, match="in seed: 0, now 1"):
            arfc.Compressor.train(few, seed=1, **options)
        with pytest.raises(arfc.FailedPreconditionError, match="on other rows"):
            arfc.Compressor.train(few[::-1], **options)
        file = folder / "training.checkpoint"
        file.write_bytes(file.read_bytes() + b"x")
        with pytest.raises(arfc.CorruptionError, match="damaged"):
            arfc.Compressor.train(few, **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"resume": True}, "needs the directory"),
            ({"checkpoint": 3}, "Path must be"),
            ({"checkpoint": "x", "checkpoint_every_s": -1}, "number of seconds"),
            ({"checkpoint": "x", "checkpoint_every_s": float("nan")}, "number of seconds"),
            ({"checkpoint": "x", "checkpoint_every_s": "1"}, "number of seconds"),
        ],
    )
    def test_wrong_options_are_refused(self, few, options, message):
        with pytest.raises(arfc.InvalidArgumentError, match=message):
            arfc.Compressor.train(few, 4, device="cpu", **options)
