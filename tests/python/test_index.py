"""Index: FAISS's habits, answers against a brute-force reference."""

from __future__ import annotations

import arfc
import numpy as np
import pytest
from arfc import evaluate
from conftest import DIM, clustered_rows

FACTORIES = [
    "ARFC16",
    "ARFC16/8",
    "ARFC16/8,IVF16",
    "ARFC16/8,HNSW8",
    "ARFC16/8,NSG8",
    "ARFC16/8,IVF16,SQ8",
    "IDMap2,ARFC16/8,IVF16",
]


@pytest.fixture(scope="module")
def trained(rows):
    """Returns a maker of filled indexes; each factory is trained once and copied by its file."""
    made = {}

    def make(factory: str, folder) -> arfc.Index:
        if factory not in made:
            index = arfc.index_factory(DIM, factory, arfc.METRIC_INNER_PRODUCT)
            assert not index.is_trained and index.ntotal == 0
            index.train(rows, device="cpu")
            assert index.is_trained and index.ntotal == 0
            if factory.startswith("IDMap"):
                index.add_with_ids(rows, np.arange(len(rows)) + 1000)
            else:
                index.add(rows)
            made[factory] = index
        path = folder / "copy.index"
        arfc.write_index(made[factory], path)
        return arfc.read_index(path)

    return make


@pytest.mark.parametrize("factory", FACTORIES)
def test_answers_have_the_shape_of_faiss(trained, tmp_path, queries, factory):
    index = trained(factory, tmp_path)
    distances, labels = index.search(queries, 10)
    assert distances.dtype == np.float32 and labels.dtype == np.int64
    assert distances.shape == labels.shape == (len(queries), 10)
    assert (np.diff(distances, axis=1) <= 0).all()
    assert (index.d, index.metric_type) == (DIM, arfc.METRIC_INNER_PRODUCT)
    assert index.factory == factory
    assert "ntotal=1500" in repr(index)


@pytest.mark.parametrize("factory", FACTORIES)
def test_answers_are_near_the_exact_ones(trained, tmp_path, rows, queries, factory):
    index = trained(factory, tmp_path)
    _, labels = index.search(queries, 10)
    shift = 1000 if factory.startswith("IDMap") else 0
    truth = evaluate.exact(queries, rows, 10) + shift
    assert evaluate.recall_at_k(labels, truth) > 0.6


def test_an_exhaustive_search_equals_a_sort_of_the_compressors_scores(trained, tmp_path, queries):
    index = trained("ARFC16", tmp_path)
    distances, labels = index.search(queries, 10)
    decoded = np.stack([index.reconstruct(i) for i in range(index.ntotal)])
    norms = np.linalg.norm(decoded, axis=1, keepdims=True)
    decoded *= np.minimum(norms, 1) ** 0.1 / norms
    scores = queries @ decoded.T
    np.testing.assert_allclose(distances, -np.sort(-scores, axis=1)[:, :10], atol=2e-5)
    np.testing.assert_allclose(np.take_along_axis(scores, labels, 1), distances, atol=2e-5)


def test_parameters_reach_the_index(trained, tmp_path, queries):
    index = trained("ARFC16/8,IVF16", tmp_path)
    one, _ = index.search(queries, 5, arfc.SearchParametersARFC(nprobe=1))
    every, _ = index.search(queries, 5, arfc.SearchParametersARFC(nprobe=16))
    assert every[:, 0].sum() >= one[:, 0].sum()
    allowed = np.array([3, 5, 8, 13])
    _, labels = index.search(queries, 5, arfc.SearchParametersARFC(nprobe=16, sel=allowed))
    assert set(labels.ravel()) <= {3, 5, 8, 13, -1}
    _, short = index.search(queries, 5, arfc.SearchParametersARFC(nprobe=16, stages=[8]))
    staged = [8, {"bytes": 16, "limit": 5}]
    _, full = index.search(queries, 5, arfc.SearchParametersARFC(nprobe=16, stages=staged))
    assert (short != full).any()
    with pytest.raises(arfc.InvalidArgumentError, match=r"SearchParametersARFC: dict"):
        index.search(queries, 5, {"nprobe": 3})
    with pytest.raises(arfc.InvalidArgumentError, match=r"nprobe is out of range: 0"):
        index.search(queries, 5, arfc.SearchParametersARFC(nprobe=0))


def test_fewer_rows_than_k_leave_minus_one(trained, tmp_path, rows):
    index = trained("ARFC16", tmp_path)
    index.reset()
    assert index.ntotal == 0 and index.is_trained
    index.add(rows[:3])
    _, labels = index.search(rows[:2], 5)
    assert (labels[:, 3:] == -1).all() and (labels[:, :3] != -1).all()


def test_ids_are_removed(trained, tmp_path, rows, queries):
    index = trained("IDMap2,ARFC16/8,IVF16", tmp_path)
    assert index.remove_ids([1000, 1001, 5]) == 2
    assert index.ntotal == len(rows) - 2
    _, labels = index.search(rows[:2], 20)
    assert not {1000, 1001} & set(labels.ravel())
    assert index.reconstruct(1002).shape == (DIM,)
    with pytest.raises(arfc.NotFoundError, match=r"1000"):
        index.reconstruct(1000)


def test_a_read_index_answers_bit_for_bit(trained, tmp_path, queries):
    index = trained("ARFC16/8,IVF16", tmp_path)
    arfc.write_index(index, tmp_path / "again.index")
    again = arfc.read_index(tmp_path / "again.index")
    for left, right in zip(index.search(queries, 10), again.search(queries, 10), strict=True):
        np.testing.assert_array_equal(left, right)


def test_l2_gives_squared_distances_ascending(rows, queries):
    index = arfc.index_factory(DIM, "ARFC16")
    assert index.metric_type == arfc.METRIC_L2
    index.train(rows * 3, device="cpu")
    index.add(rows * 3)
    distances, labels = index.search(queries * 3, 5)
    assert (np.diff(distances, axis=1) >= 0).all() and (labels >= 0).all()
    # Of the codes: within their error of the true distances.
    exact = ((queries[:, None] * 3 - rows[labels] * 3) ** 2).sum(axis=2)
    assert np.abs(distances - exact).mean() < 0.2 * exact.mean()


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "SQ8", "IDMap2,Flat", "HNSW16"])
def test_strings_of_faiss_go_through(rows, queries, factory):
    index = arfc.index_factory(DIM, factory, arfc.METRIC_L2)
    index.train(rows)
    if factory.startswith("IDMap"):
        index.add_with_ids(rows, np.arange(len(rows)))
    else:
        index.add(rows)
    _, labels = index.search(queries, 5)
    assert labels.min() >= -1 and labels.max() < len(rows)
    if factory == "Flat":
        np.testing.assert_array_equal(labels, evaluate.exact(queries, rows, 5, "l2"))
        np.testing.assert_array_equal(index.reconstruct(7), rows[7])


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: arfc.index_factory(DIM, "Nonsense7"), arfc.InvalidArgumentError, r"Nonsense7"),
        (lambda: arfc.index_factory(DIM, "ARFC0"), arfc.InvalidArgumentError, r"ARFC0|0"),
        (lambda: arfc.index_factory(DIM, "ARFC8/16"), arfc.InvalidArgumentError, r"16"),
        (
            lambda: arfc.index_factory(0, "ARFC8"),
            arfc.InvalidArgumentError,
            r"d is out of range: 0",
        ),
        (lambda: arfc.index_factory(DIM, "ARFC8", 7), arfc.InvalidArgumentError, r"Metric.*7"),
        (
            lambda: arfc.index_factory(DIM, 96),
            arfc.InvalidArgumentError,
            r"Factory must be text: 96",
        ),
        (lambda: arfc.read_index("/nowhere/x.index"), arfc.NotFoundError, r"/nowhere/x.index"),
        (lambda: arfc.Index(), arfc.UnsupportedError, r"index_factory"),
    ],
)
def test_what_cannot_be_made_is_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_an_untrained_index_refuses_rows_and_queries(rows):
    index = arfc.index_factory(DIM, "ARFC16/8", arfc.METRIC_INNER_PRODUCT)
    with pytest.raises(arfc.FailedPreconditionError, match=r"train"):
        index.add(rows)
    with pytest.raises(arfc.FailedPreconditionError, match=r"train"):
        index.search(rows[:1], 3)
    with pytest.raises(arfc.InvalidArgumentError, match=rf"5, expected {DIM}"):
        index.train(rows[:, :5])


def test_ids_of_the_callers_need_no_wrapper_around_arfc(rows):
    index = arfc.index_factory(DIM, "ARFC4", arfc.METRIC_INNER_PRODUCT)
    index.train(rows[:300], device="cpu")
    index.add_with_ids(rows[:300], np.arange(300) * 10)
    _, labels = index.search(rows[:50], 3)
    assert (labels % 10 == 0).all()
    flat = arfc.index_factory(DIM, "Flat")
    with pytest.raises(arfc.UnsupportedError, match=r"IDMap2"):
        flat.add_with_ids(rows[:2], [7, 8])
    assert flat.ntotal == 0


def test_indexes_share_a_model(model, model_folder, rows, queries):
    index = arfc.index_factory(DIM, "ARFC12/8,IVF16", arfc.METRIC_INNER_PRODUCT)
    index.train(rows, model=model)
    index.add(rows)
    np.testing.assert_array_equal(index.sa_encode(rows), model.encode(rows, 12))
    every = arfc.SearchParametersARFC(nprobe=16, stages=[{"bytes": 8, "limit": len(rows)}, 12])
    scores, _ = index.search(queries, 5, every)
    expected = model.score(queries, model.encode(rows, 12))
    np.testing.assert_array_equal(scores, -np.sort(-expected, axis=1)[:, :5])

    from_disk = arfc.index_factory(DIM, "ARFC12", arfc.METRIC_INNER_PRODUCT)
    from_disk.train(rows, model=model_folder)
    np.testing.assert_array_equal(from_disk.sa_encode(rows), index.sa_encode(rows))


def test_rows_are_put_into_as_many_lists_as_told(model, rows, tmp_path):
    sizes = []
    for lists in (1, 3):
        index = arfc.index_factory(DIM, "ARFC16/8,IVF8", arfc.METRIC_INNER_PRODUCT)
        index.train(rows, model=model, lists_per_row=lists)
        index.add(rows)
        arfc.write_index(index, tmp_path / "index")
        sizes.append((tmp_path / "index").stat().st_size)
    assert sizes[1] >= sizes[0] + 2 * 4 * len(rows)
    index = arfc.index_factory(DIM, "ARFC16/8,IVF8", arfc.METRIC_INNER_PRODUCT)
    with pytest.raises(arfc.InvalidArgumentError, match=r"lists_per_row is out of range: 0"):
        index.train(rows, model=model, lists_per_row=0)


@pytest.mark.parametrize(
    ("d", "factory", "metric", "kind", "message"),
    [
        (DIM, "ARFC17", 0, arfc.InvalidArgumentError, r"at least 17"),
        (DIM, "ARFC16", 1, arfc.InvalidArgumentError, r"cosine, 16, expected 32, l2"),
        (DIM // 2, "ARFC16", 0, arfc.InvalidArgumentError, r"32, cosine, 16, expected 16"),
        (DIM, "IVF4,Flat", 0, arfc.UnsupportedError, r"takes no model"),
    ],
)
def test_a_model_that_does_not_suit_is_refused(model, rows, d, factory, metric, kind, message):
    index = arfc.index_factory(d, factory, metric)
    halves = np.ascontiguousarray(rows[:, :d])
    halves /= np.linalg.norm(halves, axis=1, keepdims=True)
    with pytest.raises(kind, match=message):
        index.train(halves, model=model)
    assert not index.is_trained


def test_wrong_calls_change_nothing(trained, tmp_path, rows):
    index = trained("ARFC16", tmp_path)
    bad = rows[:2].copy()
    bad[1, 0] = np.inf
    with pytest.raises(arfc.InvalidArgumentError, match=r"1"):
        index.add(bad)
    with pytest.raises(arfc.InvalidArgumentError, match=r"k is out of range: 0"):
        index.search(rows[:2], 0)
    with pytest.raises(arfc.InvalidArgumentError, match=r"Radius is not a number"):
        index.range_search(rows[:2], float("nan"))
    with pytest.raises(arfc.InvalidArgumentError, match=rf"5, expected {DIM}"):
        index.range_search(rows[:2, :5], 0.5)
    assert index.ntotal == len(rows)


def test_a_truncated_or_altered_file_is_corrupt(trained, tmp_path):
    index = trained("ARFC16/8,IVF16", tmp_path)
    path = tmp_path / "copy.index"
    arfc.write_index(index, path)
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(arfc.CorruptionError):
            arfc.read_index(path)
    path.write_bytes(b"Not an index at all, but long enough to look at")
    with pytest.raises(arfc.CorruptionError):
        arfc.read_index(path)


def test_a_callback_that_uses_its_own_index_is_refused_and_does_not_hang(rows):
    index = arfc.index_factory(DIM, "ARFC8", arfc.METRIC_INNER_PRODUCT)
    with pytest.raises(arfc.FailedPreconditionError, match=r"busy"):
        index.train(rows, device="cpu", progress=lambda step: index.ntotal >= 0)
    assert not index.is_trained


def test_an_index_tells_how_sure_answers_are(trained, tmp_path, queries):
    index = trained("ARFC16/8,IVF16", tmp_path)
    every = arfc.SearchParametersARFC(nprobe=16)
    proof = arfc.SearchParametersARFC(until="certain")
    scores, labels, certainty = index.search_certified(queries, 5, proof)
    assert set(certainty) <= {"codes", "originals"}
    d, i = index.search(queries, 5, proof)
    np.testing.assert_array_equal(labels, i)
    np.testing.assert_array_equal(scores, d)
    _, _, short = index.search_certified(
        queries, 5, arfc.SearchParametersARFC(until="certain", max_bytes=50)
    )
    assert short == ["none"] * len(queries)
    _, _, likely = index.search_certified(
        queries, 5, arfc.SearchParametersARFC(until={"confidence": 0.8})
    )
    assert set(likely) <= {"confident", "codes"}
    assert index.search_certified(queries, 5, every)[2] == ["none"] * len(queries)
    for wrong in ("sure", {"confidence": 2}, {"confidence": True}, 0.9):
        with pytest.raises(arfc.InvalidArgumentError):
            index.search(queries, 5, arfc.SearchParametersARFC(until=wrong))
    flat = arfc.index_factory(index.d, "Flat", arfc.METRIC_L2)
    flat.add(queries)
    with pytest.raises(arfc.UnsupportedError, match=r"how sure"):
        flat.search_certified(queries, 5, proof)


def test_range_search_of_faiss_indexes_gives_limits(rows):
    index = arfc.index_factory(DIM, "Flat")
    index.add(rows)
    limits, distances, labels = index.range_search(rows[:3], 0.3)
    assert limits.shape == (4,) and limits[0] == 0 and limits[-1] == len(labels) == len(distances)
    exact = ((rows[:3, None] - rows[None]) ** 2).sum(axis=2)
    for i in range(3):
        found = set(labels[limits[i] : limits[i + 1]].tolist())
        assert found == set(np.flatnonzero(exact[i] < 0.3).tolist())


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_range_holds_what_a_search_for_everything_finds_within_it(
    trained, tmp_path, queries, factory
):
    index = trained(factory, tmp_path)
    every = {"nprobe": 16} if "IVF" in factory else {}
    lengths = [16] if factory == "ARFC16" else [8, {"bytes": 16, "limit": index.ntotal}]
    everything = arfc.SearchParametersARFC(stages=lengths, **every)
    distances, labels = index.search(queries, index.ntotal, everything)
    limits, found, ids = index.range_search(queries, 0.8, arfc.SearchParametersARFC(**every))
    assert len(found) == len(ids) == limits[-1] > 0
    for i in range(len(queries)):
        inside = distances[i] > 0.8
        answer = slice(int(limits[i]), int(limits[i + 1]))
        assert dict(zip(ids[answer], found[answer], strict=True)) == dict(
            zip(labels[i][inside], distances[i][inside], strict=True)
        )
    some = arfc.SearchParametersARFC(sel=labels[0, :3], **every)
    limits, _, ids = index.range_search(queries[:1], -2.0, some)
    assert set(ids) == set(labels[0, :3])


@pytest.mark.parametrize("factory", FACTORIES)
def test_codes_and_reconstructions_agree(trained, tmp_path, rows, queries, factory):
    index = trained(factory, tmp_path)
    shift = 1000 if factory.startswith("IDMap") else 0
    codes = index.sa_encode(rows[:20])
    assert codes.dtype == np.uint8 and codes.shape == (20, index.sa_code_size()) == (20, 16)
    decoded = index.sa_decode(codes)
    np.testing.assert_array_equal(index.reconstruct_batch(np.arange(20) + shift), decoded)
    np.testing.assert_array_equal(index.reconstruct(7 + shift), decoded[7])
    distances, labels, found = index.search_and_reconstruct(queries, 4)
    np.testing.assert_array_equal(distances, index.search(queries, 4)[0])
    assert found.shape == (len(queries), 4, DIM)
    np.testing.assert_array_equal(found.reshape(-1, DIM), index.reconstruct_batch(labels.ravel()))
    if "HNSW" in factory or "NSG" in factory:
        walk = arfc.SearchParametersARFC(efSearch=10, stages=[8, 16])
        walked = index.search_and_reconstruct(queries, 4, walk)[1]
        np.testing.assert_array_equal(walked, index.search(queries, 4, walk)[1])
    if shift == 0:
        np.testing.assert_array_equal(index.reconstruct_n(5, 10), decoded[5:15])
        with pytest.raises(arfc.NotFoundError, match=r"1500"):
            index.reconstruct_n(1499, 2)
    with pytest.raises(arfc.NotFoundError, match=r"no row of id: 99999"):
        index.reconstruct_batch([1200, 99999])
    with pytest.raises(arfc.InvalidArgumentError, match=r"\[20, 15\], expected \[20, 16\]"):
        index.sa_decode(codes[:, :15])
    with pytest.raises(arfc.InvalidArgumentError, match=r"uint8"):
        index.sa_decode(decoded)
    with pytest.raises(arfc.InvalidArgumentError, match=r"finite"):
        index.sa_encode(np.full((1, DIM), np.nan, np.float32))
    flat = arfc.index_factory(DIM, "ARFC8")
    with pytest.raises(arfc.FailedPreconditionError, match=r"train"):
        flat.sa_encode(rows)


def test_any_index_of_faiss_finds_candidates(rows, queries, tmp_path):
    """Its rows are reconstructions of prefixes; the scores are the codes', whatever it is."""
    index = arfc.index_factory(DIM, "ARFC16/8,PQ8x4fs", arfc.METRIC_INNER_PRODUCT)
    with pytest.raises(arfc.InvalidArgumentError, match=r"too few: 15, expected at least 16"):
        index.train(rows[:15])
    index.train(rows)
    index.add(rows)
    everything = arfc.SearchParametersARFC(stages=[8, {"bytes": 16, "limit": index.ntotal}])
    distances, labels = index.search(queries, index.ntotal, everything)
    of_row = [dict(zip(labels[i], distances[i], strict=True)) for i in range(len(queries))]
    found_distances, found = index.search(queries, 10)
    hits = 0
    for i in range(len(queries)):
        np.testing.assert_array_equal([of_row[i][row] for row in found[i]], found_distances[i])
        hits += len(set(found[i]) & set(labels[i, :10]))
    assert hits >= 0.9 * found.size
    arfc.write_index(index, tmp_path / "index")
    np.testing.assert_array_equal(arfc.read_index(tmp_path / "index").search(queries, 10)[1], found)
    for parameters, message in (({"nprobe": 2}, "PQ8x4fs"), ({"efSearch": 9}, "no graph")):
        with pytest.raises(arfc.InvalidArgumentError, match=message):
            index.search(queries, 10, arfc.SearchParametersARFC(**parameters))
    with pytest.raises(arfc.InvalidArgumentError, match=r'column 10.*"ARFC16/8,PQ7"'):
        arfc.index_factory(DIM, "ARFC16/8,PQ7")
    collection = arfc.Collection.create(tmp_path / "c", DIM, factory="ARFC16/8,PQ8x4fs")
    collection.upsert(np.arange(len(rows)), rows)
    collection.train()
    assert collection.search(rows[5:6], 1).ids[0][0] == 5


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("ARFCx8/x32,IVF4", "ARFC16/4,IVF4"),
        ("IDMap2,ARFC16/8", "IDMap2,ARFC16/8"),
        ("PCA16,L2norm,ARFC8", "PCA16,L2norm,ARFC8"),
        ("IDMap,ARFCx8/x32,HNSW8", "IDMap,ARFC16/4,HNSW8"),
        ("ARFCx8,NSG008", "ARFC16,NSG8"),
        ("IDMap2,ARFCx8/8,PQ8x4fs", "IDMap2,ARFC16/8,PQ8x4fs"),
        ("PCA16,ARFC8,OPQ4_8,IVF16_HNSW,PQ4", "PCA16,ARFC8,OPQ4_8,IVF16_HNSW,PQ4"),
        ("Flat", "Flat"),
        ("IVF16,PQ8x8", "IVF16,PQ8"),
        ("OPQ8,IVF16_HNSW,PQ8x4fsr", "OPQ8,IVF16_HNSW32,PQ8x4fsr"),
    ],
)
def test_the_factory_is_told_back(given, canonical):
    index = arfc.index_factory(DIM, given)
    assert arfc.reverse_index_factory(index) == canonical
    assert arfc.reverse_index_factory(arfc.index_factory(DIM, canonical)) == canonical
    with pytest.raises(arfc.InvalidArgumentError, match=r"Index must be an arfc.Index: str"):
        arfc.reverse_index_factory(given)


def test_transforms_go_before_arfc(rows, queries, tmp_path):
    index = arfc.index_factory(DIM, "PCA24,L2norm,ARFC16/8,IVF8", arfc.METRIC_INNER_PRODUCT)
    index.train(rows, device="cpu")
    index.add(rows)
    every = arfc.SearchParametersARFC(nprobe=8)
    _, labels = index.search(queries, 10, every)
    assert evaluate.recall_at_k(labels, evaluate.exact(queries, rows, 10)) > 0.5
    arfc.write_index(index, tmp_path / "index")
    read = arfc.read_index(tmp_path / "index")
    assert read.factory == index.factory
    np.testing.assert_array_equal(read.search(queries, 10, every)[1], labels)
    with pytest.raises(arfc.InvalidArgumentError, match=r"33"):
        arfc.index_factory(DIM, "PCA33,ARFC8")


def test_rows_of_the_same_model_are_merged(trained, tmp_path, rows, queries):
    index, other = trained("ARFC16/8", tmp_path), trained("ARFC16/8", tmp_path)
    before = index.search(queries, 3)[0]
    index.merge_from(other, index.ntotal)
    assert (index.ntotal, other.ntotal) == (2 * len(rows), 0)
    np.testing.assert_array_equal(index.search(queries, 3)[0][:, 0], before[:, 0])
    same_model = trained("ARFC16", tmp_path)  # Of the same rows and seed, with other prefixes.
    index.merge_from(same_model)
    assert (index.ntotal, same_model.ntotal) == (3 * len(rows), 0)
    stranger = arfc.index_factory(DIM, "ARFC16/8", arfc.METRIC_INNER_PRODUCT)
    stranger.train(rows[:300], device="cpu")
    for wrong in (index, stranger, arfc.index_factory(DIM, "Flat"), rows):
        with pytest.raises(arfc.ArfcError):
            index.merge_from(wrong)
    assert index.ntotal == 3 * len(rows)


def test_many_rows_by_id_in_one_call():
    many = clustered_rows(5000, seed=3)
    index = arfc.index_factory(DIM, "IDMap2,Flat", arfc.METRIC_INNER_PRODUCT)
    index.add_with_ids(many[:0], [])
    index.add_with_ids(many, np.arange(5000) * 2**40)
    _, labels = index.search(many[:20], 1)
    assert labels[:, 0].tolist() == [i * 2**40 for i in range(20)]
