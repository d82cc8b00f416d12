"""The protocol's measures against values worked out otherwise, and the program that runs it."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import sys

import arfc
import numpy as np
import pytest
from arfc import datasets, protocol
from arfc.protocol import methods
from arfc.protocol.probes import PROBES
from conftest import clustered_rows

PROGRAM = pathlib.Path(__file__).parents[2] / "benchmarks" / "paper_protocol.py"
DIM = 16


def load_program():
    sys.path.append(str(PROGRAM.parent))  # As where it is run: it imports what lies beside it.
    spec = importlib.util.spec_from_file_location("paper_protocol", PROGRAM)
    module = sys.modules["paper_protocol"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = load_program()


def three_classes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=count)
    centres = np.random.default_rng(9).normal(size=(3, DIM))
    rows = centres[labels] + random.normal(size=(count, DIM))
    return rows.astype(np.float32), labels


def classification(**changes) -> datasets.Classification:
    train, train_labels = three_classes(300, 0)
    test, test_labels = three_classes(80, 1)
    parts = {
        "name": "made",
        "train": train,
        "train_labels": train_labels,
        "test": test,
        "test_labels": test_labels,
        "classes": 3,
    }
    return datasets.Classification(**{**parts, **changes})


def unchanged(rows: np.ndarray) -> methods.Compressed:
    return methods.Compressed(lambda x: x, lambda x: x, 4 * rows.shape[1], 0, 0.0)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.where(np.arange(classes) == labels[:, None], 1, -1).astype(np.int8)


def by_argmax(scores, targets) -> float:
    return float((scores.argmax(axis=1) == targets.argmax(axis=1)).mean())


@pytest.mark.parametrize("probe", list(PROBES))
def test_a_probe_separates_what_a_line_separates(probe):
    data = classification()
    outcome = protocol.outcomes(data, unchanged(data.train), probe)["accuracy"]
    assert outcome.shape == (80,) and set(outcome) <= {0.0, 1.0}
    assert outcome.mean() > 0.9
    mixed = np.random.default_rng(5).permutation(data.train_labels)
    shuffled = classification(train_labels=mixed)
    assert protocol.outcomes(shuffled, unchanged(data.train), probe)["accuracy"].mean() < 0.6


@pytest.mark.parametrize("probe", list(PROBES))
def test_a_probe_does_not_mind_scales_and_constant_columns(probe):
    data = classification()
    factors = np.geomspace(1e-3, 1e3, DIM).astype(np.float32)

    def scaled(x):
        return np.concatenate([x * factors + 5 * factors, np.full((len(x), 2), 7.7)], axis=1)

    plain = protocol.outcomes(data, unchanged(data.train), probe)["accuracy"]
    changed = methods.Compressed(lambda x: scaled(x).astype(np.float32), None, 4, 0, 0.0)
    assert np.mean(plain == protocol.outcomes(data, changed, probe)["accuracy"]) > 0.97


def test_ridge_agrees_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    data = classification()
    targets = one_hot(data.train_labels, 3)
    strengths: list[float] = []

    def measure(scores, wanted) -> float:
        strengths.append(by_argmax(scores, wanted))
        return -len(strengths)  # the first of the grid, 1e-5, is taken

    found = PROBES["ridge"](data.train, targets, data.test, measure, 0)
    mean, deviation = data.train.mean(axis=0), data.train.std(axis=0)
    model = linear.Ridge(alpha=1e-5 * 300).fit((data.train - mean) / deviation, targets)
    np.testing.assert_allclose(found, model.predict((data.test - mean) / deviation), atol=1e-4)
    assert len(strengths) == 6


def test_ridge_masks_classes_where_logistic_regression_does_not():
    # Three classes on a line: the middle one is never the largest linear score.
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    line = (3.0 * labels + 0.3 * random.normal(size=300)).astype(np.float32)[:, None]
    accuracy = {
        name: by_argmax(scores(line, one_hot(labels, 3), line, by_argmax, 0), one_hot(labels, 3))
        for name, scores in PROBES.items()
    }
    assert accuracy["logistic"] > 0.97 > 0.8 > accuracy["ridge"]


def test_a_class_without_training_rows_is_never_answered():
    data = classification(classes=5)
    for probe in PROBES:
        assert protocol.outcomes(data, unchanged(data.train), probe)["accuracy"].mean() > 0.9
    two = classification(train_labels=classification().train_labels % 2)
    assert protocol.outcomes(two, unchanged(two.train))["accuracy"][two.test_labels == 2].max() == 0


def test_average_precision_counts_precision_at_each_positive():
    assert protocol.average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert protocol.average_precision([0.9, 0.8, 0.7], [-1, 0, 1]) == 0.5
    assert np.isnan(protocol.average_precision([0.9, 0.8], [0, -1]))


def test_average_precision_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    scores, labels = random.normal(size=200), random.integers(2, size=200)
    assert protocol.average_precision(scores, labels) == pytest.approx(
        metrics.average_precision_score(labels, scores)
    )


@pytest.mark.parametrize("probe", list(PROBES))
def test_rows_of_several_classes_are_judged_by_mean_average_precision(probe):
    rows = clustered_rows(400, DIM)
    labels = (rows @ np.random.default_rng(2).normal(size=(DIM, 4)) > 0.1).astype(np.int64)
    labels[:20, 0] = -1
    data = datasets.MultiLabel("made", rows[:300], labels[:300], rows[300:], labels[300:], 4)
    outcome = protocol.outcomes(data, unchanged(rows), probe)["mAP"]
    assert outcome.shape == (4,) and (outcome > 0.85).all()


def test_pictures_ask_for_others_of_their_class():
    test = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 1]], np.float32)
    labels = np.array([0, 0, 1, 0, 2])
    data = datasets.ImageRetrieval("made", test, test, labels, 3)
    found = protocol.outcomes(data, unchanged(test))
    # Row 3 has row 2 nearest, then row 4; rows 2 and 4 are alone in their classes.
    np.testing.assert_array_equal(found["recall@1"], [1, 1, np.nan, 0, np.nan])
    np.testing.assert_array_equal(found["recall@5"], [1, 1, np.nan, 1, np.nan])


def test_each_side_asks_for_its_partners():
    left = np.eye(3, dtype=np.float32)
    right = left[[0, 0, 2, 1]] + np.float32(0.01)
    pairs = np.array([[0, 0], [0, 1], [1, 2], [2, 3]])
    train = np.concatenate([left, right])
    data = datasets.TwoSided("made", train, True, left, right, pairs, ("images", "captions"))
    found = protocol.outcomes(data, unchanged(train))
    assert next(iter(found)) == "recall@1 images to captions"
    np.testing.assert_array_equal(found["recall@1 images to captions"], [1, 0, 0])
    np.testing.assert_array_equal(found["recall@1 captions to images"], [1, 1, 0, 0])
    np.testing.assert_array_equal(found["recall@10 captions to images"], [1, 1, 1, 1])


def test_a_row_without_a_partner_has_no_outcome():
    left = np.eye(3, dtype=np.float32)
    data = datasets.TwoSided("made", left, True, left, left, np.array([[0, 0]]), ("a", "b"))
    found = protocol.outcomes(data, unchanged(left))
    np.testing.assert_array_equal(found["recall@1 a to b"], [1, np.nan, np.nan])


def test_judged_documents_count_by_gain_and_rank():
    documents = np.eye(4, dtype=np.float32)
    queries = np.array([[4, 3, 2, 1], [1, 2, 3, 4]], np.float32)
    data = datasets.Judged("made", documents, True, queries, documents, [{1: 1.0}, {3: 2.0, 0: 1}])
    found = protocol.outcomes(data, unchanged(documents))
    second = 2 + 1 / np.log2(5)
    np.testing.assert_allclose(
        found["nDCG@10"], [1 / np.log2(3), second / (2 + 1 / np.log2(3))], rtol=1e-6
    )
    np.testing.assert_array_equal(found["recall@10"], [1, 1])


def test_own_tasks_are_perfect_for_unchanged_rows_and_not_for_others():
    data = classification()
    found = protocol.outcomes(data, unchanged(data.train))
    assert found["neighbours@10"].mean() == 1 and found["explained"].mean() == pytest.approx(1)
    half = methods.Compressed(lambda x: x[:, : DIM // 2], None, 4, 0, 0.0)
    found = protocol.outcomes(data, half)
    assert found["neighbours@10"].mean() < 0.9 and "explained" not in found


def test_an_unknown_probe_is_refused():
    data = classification()
    with pytest.raises(arfc.InvalidArgumentError, match=r"'svm', expected one of logistic, ridge"):
        protocol.outcomes(data, unchanged(data.train), "svm")


def test_intervals_hold_the_mean_and_narrow_with_items():
    random = np.random.default_rng(0)
    theirs = random.normal(size=4000)
    ours = theirs + 0.2 + random.normal(size=4000)
    wide = protocol.paired_interval(ours[:100], theirs[:100])
    narrow = protocol.paired_interval(ours, theirs)
    assert narrow.low < narrow.mean < narrow.high and narrow.verdict == "ahead"
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 / 4000**0.5, rel=0.15)
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)
    assert protocol.paired_interval(theirs, ours).verdict == "behind"
    assert protocol.paired_interval(theirs, theirs).verdict == "level"
    holed = ours.copy()
    holed[3] = np.nan
    assert protocol.paired_interval(holed, theirs).mean == pytest.approx(narrow.mean, abs=0.01)


def test_outcomes_of_different_items_are_not_compared():
    with pytest.raises(arfc.InvalidArgumentError, match=r"same items: \(3,\), \(4,\)"):
        protocol.paired_interval(np.ones(3), np.ones(4))
    with pytest.raises(arfc.InvalidArgumentError, match=r"no item to compare by: \(2,\)"):
        protocol.paired_interval([np.nan, 1], [1, np.nan])


@pytest.mark.parametrize("name", list(protocol.METHODS))
def test_every_method_compresses(name):
    method = protocol.METHODS[name]()
    assert method.left_out() is None
    rows = clustered_rows(300, DIM)
    method.prepare(rows, ratios=2, seconds=0.3, seed=0)
    compressed = method.at(4)
    assert compressed.bytes_per_row <= (16 if name != "uncompressed" else 64)
    assert compressed.transform(rows).shape[0] == 300
    if compressed.reconstruct is not None:
        assert compressed.reconstruct(compressed.transform(rows)).shape == rows.shape


class _Nested:
    """Counts trainings; its features are the leading columns of the rows."""

    id, model_bytes = "nested", 5
    trained = 0

    @classmethod
    def train(cls, x, **options):
        cls.trained += 1
        cls.options = options
        return cls()

    def features(self, x, dims):
        return np.ascontiguousarray(x[:, :dims])


def test_arfc_trains_once_for_all_sizes(monkeypatch):
    monkeypatch.setattr(methods.arfc, "Compressor", _Nested)
    method = protocol.METHODS["arfc"]()
    assert method.left_out() is None
    rows = clustered_rows(50, DIM)
    method.prepare(rows, ratios=4, seconds=2.0, seed=3)
    for dims in (8, 4):
        compressed = method.at(dims)
        np.testing.assert_array_equal(compressed.transform(rows), rows[:, :dims])
        assert (compressed.bytes_per_row, compressed.model_id) == (4 * dims, "nested")
    assert _Nested.trained == 1
    assert _Nested.options["time_budget_s"] == 8 and _Nested.options["seed"] == 3
    assert _Nested.options["features"] is True


def test_arfc_features_are_those_of_its_model_at_every_size():
    rows = clustered_rows(300, DIM)
    method = protocol.METHODS["arfc"]()
    method.prepare(rows, ratios=2, seconds=None, seed=0)
    longer, shorter = method.at(8), method.at(4)
    assert (longer.bytes_per_row, shorter.bytes_per_row) == (32, 16)
    assert longer.model_id == shorter.model_id and longer.model_bytes == shorter.model_bytes > 0
    assert longer.transform(rows).shape == (300, 8) and longer.reconstruct is None
    np.testing.assert_array_equal(shorter.transform(rows), longer.transform(rows)[:, :4])
    # Leading axes keep more than any four columns of these rows do.
    kept = protocol.outcomes(classification(train=rows, test=rows[:80]), shorter)
    columns = methods.Compressed(lambda x: x[:, :4], None, 16, 0, 0.0)
    plain = protocol.outcomes(classification(train=rows, test=rows[:80]), columns)
    assert kept["neighbours@10"].mean() > plain["neighbours@10"].mean() + 0.05


def test_codes_longer_than_offered_are_the_longest():
    method = protocol.METHODS["arfc_codes"]()
    method.prepare(clustered_rows(30, 300), 1, 1.0, 0)
    for dims, expected in ((300, 1024), (256, 1024), (255, 1020)):
        assert method.at(dims).bytes_per_row == expected


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    data = classification()
    for name in ("train", "train_labels", "test", "test_labels"):
        np.save(tmp_path / f"{name}.npy", getattr(data, name))
    return tmp_path


def run(folder: pathlib.Path, *more: str, methods: str = "uncompressed,pca,quantization") -> int:
    return program.main(
        [
            f"--data=classification:Made={folder}",
            f"--results={folder / 'results.jsonl'}",
            f"--methods={methods}",
            "--seconds=0.2",
            *more,
        ]
    )


def test_the_program_sets_a_method_beside_the_best_of_the_others(folder, capsys):
    assert run(folder, "--ratios=0.5,0.75", "--summary=quantization") == 0
    lines = capsys.readouterr().out.split("## quantization beside the best of the others")[1]
    rows = [line.split(" | ") for line in lines.splitlines() if line.startswith("| Made")]
    assert [row[2] for row in rows] == ["50 %", "75 %"]
    for row in rows:
        assert row[1] == "accuracy" and row[5].startswith("pca ")
        ahead = float(row[4]) - float(row[5].removeprefix("pca "))
        assert float(row[6].split()[0]) == pytest.approx(ahead, abs=0.11)


def test_a_summary_of_what_is_not_measured_is_refused(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(folder, "--summary=arfc")
    assert "method of the summary is not measured: 'arfc'" in capsys.readouterr().err


def test_the_program_prints_tables_and_goes_on_where_it_stopped(folder, capsys, monkeypatch):
    assert run(folder, "--ratios=0.5,0.75", "--tuning-log") == 0
    first = capsys.readouterr().out
    assert "## Made" in first and "300 rows of 16 floats" in first
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert len(lines) == 5
    found = re.findall(
        r"\| (\d+ %) \| (\w+) \| ([\d,]+) \| \**([\d.]+)\** \| (.*) \| (.*) \|", first
    )
    accuracy = found[:5]
    assert [row[:3] for row in accuracy] == [
        ("0 %", "uncompressed", "64"),
        ("50 %", "pca", "32"),
        ("50 %", "quantization", "32"),
        ("75 %", "pca", "16"),
        ("75 %", "quantization", "16"),
    ]
    assert [row[5] for row in accuracy].count("best") == 2
    interval = r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]"
    assert all(re.fullmatch(interval, row[4]) for row in accuracy[1:])
    assert "bits 8, kept_dims 16" in first and "centred True" in first

    def no_fit(*_args, **_options):
        raise AssertionError("a finished cell was measured again")

    # What is there is not measured again, a cut line is, and a new ratio is added.
    with monkeypatch.context() as patched:
        patched.setattr(
            program,
            "measure",
            lambda data, cells, results, args: all(cell in results for cell in cells) or no_fit(),
        )
        assert run(folder, "--ratios=0.5,0.75", "--tuning-log") == 0
    assert capsys.readouterr().out == first
    (folder / "results.jsonl").write_text("\n".join(lines)[:-40])
    assert run(folder, "--ratios=0.5,0.75,0.9") == 0
    told = capsys.readouterr()
    assert "last line was cut off" in told.err
    assert told.err.count("75 % removed") == 1 and told.err.count("90 % removed") == 2
    assert len((folder / "results.jsonl").read_text().splitlines()) == 7


def test_other_conditions_are_other_cells(folder, capsys):
    assert run(folder, "--ratios=0.5", methods="uncompressed,pca") == 0
    assert run(folder, "--ratios=0.5", "--probe=ridge", methods="uncompressed,pca") == 0
    assert run(folder, "--ratios=0.5", "--train-rows=200", methods="uncompressed,pca") == 0
    assert "200 rows of 16 floats" in capsys.readouterr().out
    cells = [
        json.loads(line)["cell"] for line in (folder / "results.jsonl").read_text().splitlines()
    ]
    assert len(cells) == 6 and len({cell["digest"] for cell in cells}) == 2
    assert {cell["probe"] for cell in cells} == {"logistic", "ridge"}


def write_every_kind(folder: pathlib.Path) -> list[str]:
    rows, labels = three_classes(120, 2)
    several = np.stack([labels == c for c in range(3)], axis=1).astype(np.int64)
    kinds = {
        "multi_label": {
            "train": rows[:60],
            "train_labels": several[:60],
            "test": rows[60:],
            "test_labels": several[60:],
        },
        "image_retrieval": {"train": rows[:60], "test": rows[60:], "test_labels": labels[60:]},
        "two_sided": {"images": rows[:40], "captions": rows[:80], "pairs": np.arange(80) % 40},
        "judged": {"docs": rows[:60], "queries": rows[60:70]},
    }
    for kind, arrays in kinds.items():
        (folder / kind).mkdir()
        for name, array in arrays.items():
            np.save(folder / kind / f"{name}.npy", array)
    (folder / "judged" / "qrels.tsv").write_text("".join(f"{q}\t{q + 1}\n" for q in range(10)))
    return [f"--data={kind}={folder / kind}" for kind in kinds]


def test_every_kind_has_its_tables(folder, capsys):
    more = write_every_kind(folder)
    assert run(folder, *more, "--ratios=0.75", methods="uncompressed,pca,quantization") == 0
    sections = capsys.readouterr().out.split("\n## ")[1:]
    first = {section.split("\n")[0]: re.findall("### (.*)", section) for section in sections}
    own = ["neighbours@10", "explained"]
    recalls = [f"recall@{k}" for k in (1, 5, 10)]
    assert first == {
        "Made": ["accuracy", *own],
        "multi_label": ["mAP", *own],
        "image_retrieval": [*recalls, *own],
        "two_sided": [
            *(f"{recall} images to captions" for recall in recalls),
            *(f"{recall} captions to images" for recall in recalls),
            *own,
        ],
        "judged": ["nDCG@10", "recall@10", *own],
    }
    assert ["(those that are searched)" in section for section in sections] == [0, 0, 0, 1, 1]


def test_seeds_are_averaged(folder, capsys):
    assert run(folder, "--ratios=0.75", "--seeds=0,1", methods="uncompressed,quantization") == 0
    assert "seed 0, 1" in capsys.readouterr().out
    assert len((folder / "results.jsonl").read_text().splitlines()) == 4


def test_a_method_that_is_not_there_is_named_with_the_reason(folder, capsys, monkeypatch):
    monkeypatch.setattr(methods.Arfc, "left_out", classmethod(lambda cls: "it is not there"))
    assert run(folder, "--ratios=0.5", methods="uncompressed,arfc") == 0
    out = capsys.readouterr().out
    assert "arfc is left out: it is not there" in out and "| arfc |" not in out


def test_a_single_model_is_measured_at_every_ratio_or_anew(folder, capsys, monkeypatch):
    monkeypatch.setattr(methods.arfc, "Compressor", _Nested)
    _Nested.trained = 0
    assert run(folder, "--ratios=0.5,0.75", methods="arfc") == 0
    lines = (folder / "results.jsonl").read_text().splitlines()
    (folder / "results.jsonl").write_text(lines[0] + "\n")
    assert run(folder, "--ratios=0.5,0.75", methods="arfc") == 0
    assert _Nested.trained == 2
    assert capsys.readouterr().err.count("50 % removed") == 2


def test_results_that_are_none_are_refused(folder, capsys):
    (folder / "results.jsonl").write_text('{"cell": 3}\n')
    assert run(folder) == 1
    assert re.search(r"no result: .*results.jsonl, line 1", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods=pca,lda"], r"method is not known: 'lda', expected uncompressed, pca"),
        (["--ratios=0.5,1"], r"bytes removed in \(0, 1\): \[0.5, 1.0\]"),
        (["--ratios=half"], r"numbers between commas: .*'half'"),
        (["--seconds=-1"], r"at least 0: -1.0"),
        (["--train-rows=5"], r"at least 20 training rows are needed: 5"),
        (["--probe=svm"], r"invalid choice: 'svm'"),
    ],
)
def test_wrong_options_end_with_2(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["--data=mnist=x", f"--results={tmp_path / 'r'}", *arguments])
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("mnist", r"given as NAME=PATH: 'mnist'"),
        ("mnits=here", r"Data set is not known: 'mnits'"),
        ("mnist=/no/such/folder", r"No features at this path: /no/such/folder"),
    ],
)
def test_data_that_cannot_be_read_end_with_1(data, message, tmp_path, capsys):
    assert program.main([f"--data={data}", f"--results={tmp_path / 'r'}"]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_outcomes_survive_being_written():
    values = np.array([0.0, 1.0, np.nan, 1 / 3])
    np.testing.assert_allclose(program.unpacked(program.packed(values)), values, rtol=1e-7)
