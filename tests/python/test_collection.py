"""Collection: the directory that every door opens, from Python."""

from __future__ import annotations

import subprocess
import sys

import arfc
import numpy as np
import pytest
from arfc import evaluate
from conftest import CODE_BYTES, DIM

FACTORY = f"ARFC{CODE_BYTES}/8,IVF16"


@pytest.fixture
def raw(tmp_path):
    """A collection without a model."""
    with arfc.Collection.create(tmp_path / "raw", DIM, "cosine", FACTORY) as collection:
        yield collection


@pytest.fixture
def coded(tmp_path, model, rows):
    """A collection of every row, with a payload each, under a model."""
    with arfc.Collection.create(tmp_path / "coded", DIM, "cosine", FACTORY, model) as collection:
        collection.upsert(np.arange(len(rows)), rows, [{"row": i} for i in range(len(rows))])
        yield collection


def test_raw_rows_are_searched_exactly(raw, rows, queries):
    raw.upsert(np.arange(len(rows)), rows)
    answer = raw.search(queries, 10)
    truth = evaluate.exact(queries, rows, 10)
    np.testing.assert_array_equal(np.stack(answer.ids).astype(np.int64), truth)
    scores = np.take_along_axis(queries @ rows.T, truth, 1)
    np.testing.assert_allclose(np.stack(answer.scores), scores, atol=1e-5)
    assert raw.info().model_id == "" and raw.info().has_raw


def test_a_model_may_be_a_compressor_or_a_folder(tmp_path, model, model_folder, rows, queries):
    answers = []
    for name, origin in (("a", model), ("b", model_folder), ("c", str(model_folder))):
        with arfc.Collection.create(tmp_path / name, DIM, "cosine", FACTORY, origin) as collection:
            collection.upsert(np.arange(len(rows)), rows)
            assert collection.info().model_id == model.id
            answers.append(np.stack(collection.search(queries, 5, exact=True).ids))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_exact_answers_are_the_compressors_scores(coded, model, rows, queries):
    scores = model.score(queries, model.encode(rows))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    answer = coded.search(queries, 10, exact=True)
    np.testing.assert_array_equal(np.stack(answer.ids).astype(np.int64), order)
    np.testing.assert_array_equal(np.stack(answer.scores), np.take_along_axis(scores, order, 1))


def test_a_proof_is_the_exact_answer_and_says_so(tmp_path, model, rows, queries):
    exact = None
    for factory in (FACTORY, f"ARFC{CODE_BYTES}/8_R,IVF16"):
        folder = tmp_path / ("radii" if "_R" in factory else "plain")
        with arfc.Collection.create(folder, DIM, "cosine", factory, model) as made:
            made.upsert(np.arange(len(rows)), rows)
            assert made.info().resident_radius_bytes == (4 * len(rows) if "_R" in factory else 0)
            exact = np.stack(made.search(queries, 5, exact=True).ids)
            answer = made.search(queries, 5, until="certain")
            np.testing.assert_array_equal(np.stack(answer.ids), exact)
            assert answer.certain == [True] * len(queries)
            assert set(answer.certainty) <= {"codes", "originals"}
            short = made.search(queries, 5, until="certain", max_bytes=100)
            assert short.certain == [False] * len(queries)
            assert sum(stage.bytes_read for stage in short.stages) <= 100 * len(queries)
            likely = made.search(queries, 5, until={"confidence": 0.9})
            assert set(likely.certainty) <= {"confident", "codes"}
            same = [np.array_equal(*pair) for pair in zip(likely.ids, exact, strict=True)]
            assert np.mean(same) > 0.7
            assert made.search(queries, 5).certain is None


def test_radii_of_a_collection_outlive_it(tmp_path, rows, queries):
    place = tmp_path / "kept"
    with arfc.Collection.create(place, DIM, "cosine", f"ARFC{CODE_BYTES}/8_R,IVF16") as made:
        made.upsert(np.arange(len(rows)), rows)
        made.train()
        before = made.search(queries, 5, until="certain")
    with arfc.Collection.open(place) as again:
        after = again.search(queries, 5, until="certain")
        tails = [answer.stages[1].bytes_read for answer in (before, after)]
        assert tails[1] < len(rows) * len(queries) * (CODE_BYTES - 8) / 2
        assert before.certainty == after.certainty
        np.testing.assert_array_equal(np.stack(before.ids), np.stack(after.ids))


def test_stages_and_lists_trade_quality(coded, rows, queries):
    def found(asking, **options):
        answer = coded.search(asking, 10, **options)
        return np.stack(
            [
                np.pad(ids.astype(np.int64), (0, 10 - len(ids)), constant_values=-1)
                for ids in answer.ids
            ]
        )

    truth = evaluate.exact(queries, rows, 10)
    full = evaluate.recall_at_k(found(queries, exact=True), truth)
    assert evaluate.recall_at_k(found(queries, stages=[8], nprobe=16), truth) < full
    both = [8, {"bytes": CODE_BYTES, "limit": 200}]
    assert evaluate.recall_at_k(found(queries, stages=both, nprobe=16), truth) > full - 0.02
    # Between two rows the nearest are of several lists, however well these fit the clusters.
    between = rows[:50] + rows[50:100]
    scan = found(between, exact=True)
    wide = found(between, stages=both, nprobe=16)
    one = found(between, stages=both, nprobe=1)
    assert evaluate.recall_at_k(one, scan) < evaluate.recall_at_k(wide, scan) - 0.05


def test_answers_tell_what_they_cost(coded, queries):
    answer = coded.search(queries, 10)
    assert [stage.bytes for stage in answer.stages] == [8, CODE_BYTES]
    assert all(stage.candidates > 0 and stage.bytes_read > 0 for stage in answer.stages)
    assert answer.stages[1].candidates < answer.stages[0].candidates


def test_hits_carry_payloads_when_asked(coded, queries):
    answer = coded.search(queries[:3], 4, with_payload=True)
    assert len(answer) == 3 and [len(hits) for hits in answer] == [4, 4, 4]
    assert all(hit.payload == {"row": hit.id} for hits in answer for hit in hits)
    assert [hits[0].id for hits in answer[:2]] == [answer[0][0].id, answer[1][0].id]
    assert coded.search(queries[:1], 1)[0][0].payload is None


def test_payloads_are_dictionaries_text_or_nothing(raw, rows):
    raw.upsert([1, 2, 3], rows[:3], [{"a": "Grüße \U0001f600", "b": [1, None]}, '{"c": 1.5}', None])
    payloads = {point.id: point.payload for point in raw.get([1, 2, 3])}
    assert payloads == {1: {"a": "Grüße \U0001f600", "b": [1, None]}, 2: {"c": 1.5}, 3: None}


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ([{"a": 1}], r"1 payloads, 2 rows"),
        ({"a": 1}, r"sequence, one a row: dict"),
        ("{}", r"sequence, one a row: str"),
        ([{}, 7], r"int, row 1"),
        ([{}, {"a": float("nan")}], r"JSON .*row 1"),
        ([{}, {"a": object()}], r"JSON .*row 1"),
        ([{}, {"a": "\ud800"}], r"JSON .*row 1"),
        ([{}, "[1]"], r"not a JSON object in row: 1"),
        ([{}, "{"], r"not a JSON object in row: 1"),
    ],
)
def test_wrong_payloads_are_refused_and_nothing_is_stored(raw, rows, payloads, message):
    with pytest.raises(arfc.InvalidArgumentError, match=message):
        raw.upsert([1, 2], rows[:2], payloads)
    assert raw.info().points == 0


def test_points_are_replaced_read_and_deleted(coded, model, rows):
    coded.upsert([5], rows[6:7], [{"new": True}])
    point = coded.get([5, 99_999], with_vector=True)
    assert len(point) == 1 and point[0].payload == {"new": True}
    np.testing.assert_array_equal(point[0].vector, model.decode(model.encode(rows[6:7]))[0])
    assert coded.get([5])[0].vector is None
    assert coded.delete([5, 6, 99_999]) == 2
    assert coded.get([5, 6]) == []
    assert coded.info().points == len(rows) - 2
    assert not {5, 6} & set(np.concatenate(coded.search(rows[5:7], 20, exact=True).ids).tolist())


def test_ids_are_any_uint64(raw, rows):
    ids = [0, 2**63, 2**64 - 1]
    raw.upsert(ids, rows[:3])
    assert raw.search(rows[2:3], 1)[0][0].id == 2**64 - 1
    assert raw.get([2**63])[0].id == 2**63
    assert raw.delete(np.array(ids, np.uint64)) == 3


def test_training_replaces_rows_by_codes(raw, rows, queries):
    raw.upsert(np.arange(len(rows)), rows)
    steps = []
    report = raw.train(device="cpu", minimum_recall=0.0, progress=steps.append)
    assert report.rows == len(rows) and report.raw_dropped and steps
    info = raw.info()
    assert info.model_id == report.model_id and not info.has_raw
    assert (info.code_bytes, info.stage_bytes, info.nlist) == (CODE_BYTES, [8, CODE_BYTES], 16)
    found = np.stack(raw.search(queries, 10, exact=True).ids).astype(np.int64)
    assert evaluate.recall_at_k(found, evaluate.exact(queries, rows, 10)) > 0.7
    with pytest.raises(arfc.FailedPreconditionError, match=r"model"):
        raw.train(device="cpu")


def test_a_callback_cancels_training_and_leaves_the_rows(raw, rows, queries):
    raw.upsert(np.arange(300), rows[:300])
    with pytest.raises(arfc.CancelledError):
        raw.train(device="cpu", progress=lambda step: False)
    assert raw.info().model_id == "" and raw.info().points == 300
    assert len(raw.search(queries[:1], 3)[0]) == 3


REOPEN = """
import sys, arfc, numpy as np
with arfc.Collection.open(sys.argv[1]) as collection:
    answer = collection.search(np.load(sys.argv[2]), 10)
    np.savez(sys.argv[3], ids=np.stack(answer.ids), scores=np.stack(answer.scores))
"""


def test_a_new_process_gives_bit_identical_answers(tmp_path, model, rows, queries):
    folder = tmp_path / "kept"
    with arfc.Collection.create(folder, DIM, "cosine", FACTORY, model) as collection:
        collection.upsert(np.arange(len(rows)), rows)
        before = collection.search(queries, 10)
    np.save(tmp_path / "q.npy", queries)
    arguments = [str(folder), str(tmp_path / "q.npy"), str(tmp_path / "answer.npz")]
    subprocess.run([sys.executable, "-c", REOPEN, *arguments], check=True, timeout=120)
    after = np.load(tmp_path / "answer.npz")
    np.testing.assert_array_equal(after["ids"], np.stack(before.ids))
    np.testing.assert_array_equal(after["scores"], np.stack(before.scores))


SECOND_WRITER = """
import sys, arfc
try:
    arfc.Collection.open(sys.argv[1])
except arfc.FailedPreconditionError as error:
    print(error)
"""


def test_one_writer_and_readers_beside_it(tmp_path, coded, rows, queries):
    folder = str(tmp_path / "coded")
    second = subprocess.run(
        [sys.executable, "-c", SECOND_WRITER, folder],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert folder in second.stdout
    with arfc.Collection.open(folder, read_only=True) as reader:
        np.testing.assert_array_equal(
            reader.search(queries, 5, exact=True).ids, coded.search(queries, 5, exact=True).ids
        )
        with pytest.raises(arfc.FailedPreconditionError, match=r"read"):
            reader.upsert([1], rows[:1])


def test_a_closed_collection_refuses_everything_but_closing(tmp_path, rows):
    collection = arfc.Collection.create(tmp_path / "c", DIM)
    collection.close()
    collection.close()
    assert repr(collection).endswith(", closed)")
    for call in (
        lambda: collection.search(rows[:1]),
        lambda: collection.upsert([1], rows[:1]),
        lambda: collection.delete([1]),
        lambda: collection.get([1]),
        lambda: collection.info(),
        lambda: collection.train(),
    ):
        with pytest.raises(arfc.FailedPreconditionError, match=r"Collection is closed: .*/c$"):
            call()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda c, x: c.search(x, filter={}), arfc.UnsupportedError, r"filter=None"),
        (lambda c, x: c.search(x, 0), arfc.InvalidArgumentError, r"k is out of range: 0"),
        (lambda c, x: c.search(x[:, :3]), arfc.InvalidArgumentError, rf"3.*{DIM}"),
        (lambda c, x: c.search(x * np.nan), arfc.InvalidArgumentError, r"finite"),
        (lambda c, x: c.search(x, stages=[4]), arfc.InvalidArgumentError, r"4"),
        (lambda c, x: c.search(x, nprobe=17), arfc.InvalidArgumentError, r"17"),
        (lambda c, x: c.search(x, until="sure"), arfc.InvalidArgumentError, r"'sure'"),
        (lambda c, x: c.search(x, until={"recall": 0.9}), arfc.InvalidArgumentError, r"recall"),
        (lambda c, x: c.search(x, until={"confidence": 1}), arfc.InvalidArgumentError, r": 1"),
        (lambda c, x: c.search(x, until={"confidence": "1"}), arfc.InvalidArgumentError, r"'1'"),
        (lambda c, x: c.search(x, max_bytes=5), arfc.InvalidArgumentError, r"until"),
        (lambda c, x: c.search(x, until="certain", max_bytes=0), arfc.InvalidArgumentError, r"0"),
        (lambda c, x: c.search(x, until="certain", nprobe=3), arfc.InvalidArgumentError, r"nprobe"),
        (lambda c, x: c.search(x, until="certain", exact=True), arfc.InvalidArgumentError, r"exh"),
        (lambda c, x: c.upsert([1], x), arfc.InvalidArgumentError, r"1 ids, 2 rows"),
        (lambda c, x: c.upsert([1, -2], x), arfc.InvalidArgumentError, r"-2"),
        (lambda c, x: c.upsert([1, 2], x * 0), arfc.InvalidArgumentError, r"zero"),
        (lambda c, x: c.truncate(8), arfc.UnsupportedError, r"Truncation"),
        (lambda c, x: c.snapshot("x"), arfc.UnsupportedError, r"Snapshots"),
    ],
)
def test_wrong_calls_are_refused_and_change_nothing(coded, rows, call, kind, message):
    with pytest.raises(kind, match=message):
        call(coded, rows[:2])
    assert coded.info().points == len(rows)


def test_what_cannot_be_opened_or_created_is_refused(tmp_path, model):
    with pytest.raises(arfc.NotFoundError, match=r"nowhere"):
        arfc.Collection.open(tmp_path / "nowhere")
    with pytest.raises(arfc.NotFoundError, match=r"nowhere"):
        arfc.Collection.create(tmp_path / "a", DIM, model=tmp_path / "nowhere")
    with pytest.raises(arfc.InvalidArgumentError, match=rf"{DIM}"):
        arfc.Collection.create(tmp_path / "b", DIM + 1, factory=FACTORY, model=model)
    with pytest.raises(arfc.InvalidArgumentError):
        arfc.Collection.create(tmp_path / "c", DIM, "l2", FACTORY, model)
    with pytest.raises(arfc.InvalidArgumentError, match=r"dim is out of range: 0"):
        arfc.Collection.create(tmp_path / "d", 0)
    with pytest.raises(arfc.InvalidArgumentError, match=r"hamming"):
        arfc.Collection.create(tmp_path / "e", DIM, "hamming")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("mine")
    with pytest.raises(arfc.AlreadyExistsError, match=r"full"):
        arfc.Collection.create(tmp_path / "full", DIM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
    with pytest.raises(arfc.UnsupportedError, match=r"Collection\.create"):
        arfc.Collection()
