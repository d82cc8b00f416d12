"""Features from files of every kind, and what is said of files that do not fit."""

from __future__ import annotations

import gzip
import pathlib
import struct

import arfc
import numpy as np
import pytest
from arfc import datasets
from conftest import clustered_rows

DIM = 6


def rows(count: int, seed: int = 0) -> np.ndarray:
    return clustered_rows(count, DIM, seed)


def write(folder: pathlib.Path, **arrays: np.ndarray) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def labelled(**changes: np.ndarray) -> dict[str, np.ndarray]:
    parts = {
        "train": rows(30),
        "train_labels": np.arange(30) % 4,
        "test": rows(12, 1),
        "test_labels": np.arange(12) % 4,
    }
    return {**parts, **changes}


def idx(array: np.ndarray, code: int) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder: pathlib.Path, zipped: bool = False) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 2), dtype=np.uint8)
    digits = np.arange(9, dtype=np.uint8)
    for part in ("train", "t10k"):
        for name, data in (("images-idx3", idx(pixels, 8)), ("labels-idx1", idx(digits, 8))):
            if zipped:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(data))
            else:
                (folder / f"{part}-{name}-ubyte").write_bytes(data)
    return pixels, digits


def test_every_set_of_the_paper_has_a_row_of_a_known_kind():
    assert len(datasets.DATASETS) == 15
    for name, row in datasets.DATASETS.items():
        assert row.name == name and row.kind in datasets.KINDS
        assert (row.classes is None) == (row.kind in ("two_sided", "judged"))
    assert [datasets.DATASETS[name].classes for name in ("cifar100", "imagenet", "voc")] == [
        100,
        1000,
        20,
    ]


@pytest.mark.parametrize("layout", ["folder", "npz"])
def test_labelled_features_are_read(layout, tmp_path):
    parts = labelled()
    if layout == "folder":
        path = write(tmp_path / "set", **parts)
    else:
        path = tmp_path / "set.npz"
        np.savez(path, **parts)
    data = datasets.load("kitti", path)
    assert isinstance(data, datasets.Classification) and data.classes == 4
    np.testing.assert_array_equal(data.train, parts["train"])
    np.testing.assert_array_equal(data.test_labels, parts["test_labels"])
    assert data.train_labels.dtype == np.int64
    assert datasets.load("classification", path).classes == 4


def test_float16_features_and_small_labels_are_widened(tmp_path):
    parts = labelled(
        train=rows(30).astype(np.float16), train_labels=(np.arange(30) % 4).astype(np.uint8)
    )
    data = datasets.load("kitti", write(tmp_path, **parts))
    assert data.train.dtype == np.float32 and data.train_labels.dtype == np.int64
    np.testing.assert_allclose(data.train, parts["train"], atol=1e-6)


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_pictures_in_idx_files_become_rows_of_pixels(zipped, tmp_path):
    pixels, digits = write_mnist(tmp_path, zipped)
    data = datasets.load("mnist", tmp_path)
    np.testing.assert_allclose(data.train, pixels.reshape(9, 6) / 255, atol=1e-7)
    np.testing.assert_array_equal(data.test_labels, digits)
    assert data.classes == 10


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("u1", 8), ("i1", 9), ("i2", 11), ("i4", 12), ("f4", 13), ("f8", 14)],
)
def test_every_type_of_idx_is_read(dtype, code, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "array").write_bytes(idx(array, code))
    read = datasets.read_idx(tmp_path / "array")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.dtype(dtype)


def test_multi_labels_are_a_column_a_class(tmp_path):
    labels = np.random.default_rng(0).integers(-1, 2, (42, 20))
    parts = labelled(train_labels=labels[:30], test_labels=labels[30:])
    data = datasets.load("voc", write(tmp_path, **parts))
    assert isinstance(data, datasets.MultiLabel) and data.classes == 20
    np.testing.assert_array_equal(data.test_labels, labels[30:])


def test_retrieval_of_pictures_needs_no_training_labels(tmp_path):
    parts = {"train": rows(30), "test": rows(12, 1), "test_labels": 100 + np.arange(12) // 3}
    data = datasets.load("cub200", write(tmp_path, **parts))
    assert isinstance(data, datasets.ImageRetrieval) and data.classes == 200
    assert data.test_labels[0] == 100


def test_two_sides_are_read_with_their_pairs(tmp_path):
    images, captions = rows(4), rows(8, 1)
    belongs = np.repeat(np.arange(4), 2)
    path = write(tmp_path / "one", images=images, captions=captions, pairs=belongs)
    data = datasets.load("flickr30k", path)
    assert data.sides == ("images", "captions") and data.trained_on_test
    np.testing.assert_array_equal(data.pairs, np.stack([belongs, np.arange(8)], axis=1))
    assert data.train.shape == (12, DIM)
    write(path, train_images=rows(5, 2), train_captions=rows(6, 3))
    data = datasets.load("flickr30k_cn", path)
    assert not data.trained_on_test and data.train.shape == (11, DIM)
    np.testing.assert_array_equal(data.train[5:], rows(6, 3))


def test_pairs_may_be_any_number_on_either_side(tmp_path):
    pairs = np.array([[0, 1], [0, 2], [2, 1]])
    path = write(tmp_path, queries=rows(3), documents=rows(5, 1), pairs=pairs)
    data = datasets.load("two_sided", path)
    assert data.sides == ("queries", "documents")
    np.testing.assert_array_equal(data.pairs, pairs)


def write_judged(folder: pathlib.Path, judgements: str, ids: bool = True) -> pathlib.Path:
    write(folder, docs=rows(5), queries=rows(3, 1))
    (folder / "qrels.tsv").write_text(judgements)
    if ids:
        (folder / "doc_ids.txt").write_text("a\nb\nc\nd\ne\n")
        (folder / "query_ids.txt").write_text("q\nr\ns\n")
    return folder


def test_judgements_name_rows_by_their_ids(tmp_path):
    text = "query-id\tcorpus-id\tscore\nq\tb\t2\nq\tc\t1\ns\te\t1\nr\ta\t0\n"
    data = datasets.load("judged", write_judged(tmp_path, text))
    assert data.relevant == [{1: 2.0, 2: 1.0}, {4: 1.0}]
    np.testing.assert_array_equal(data.queries, rows(3, 1)[[0, 2]])
    assert data.trained_on_test and data.train is data.documents


def test_judgements_without_ids_or_gains_name_places(tmp_path):
    data = datasets.load("judged", write_judged(tmp_path, "0\t4\n2\t0\n\n", ids=False))
    assert data.relevant == [{4: 1.0}, {0: 1.0}]
    write(tmp_path, train=rows(7, 4))
    data = datasets.load("judged", tmp_path)
    assert not data.trained_on_test and data.train.shape == (7, DIM)


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ("q\tb\t1\nq\tx\t1\n", r"names a document that is not there: .*line 2: 'x'"),
        ("y\tb\t1\n", r"names a query that is not there: .*line 1: 'y'"),
        ("q\tb\t1\nq\tb\tmuch\n", r"between tabs: .*line 2: 'q\\tb\\tmuch'"),
        ("q\tb\t1\nq b 1\n", r"between tabs: .*line 2: 'q b 1'"),
        ("q\tb\tnan\nq\tb\tinf\n", r"between tabs: .*line 2"),
        ("q\tb\t0\n", r"No query has a relevant document"),
        ("", r"No query has a relevant document"),
    ],
)
def test_wrong_judgements_are_refused(judgements, message, tmp_path):
    with pytest.raises(arfc.InvalidArgumentError, match=message):
        datasets.load("judged", write_judged(tmp_path, judgements))


def test_wrong_ids_are_refused(tmp_path):
    path = write_judged(tmp_path, "q\tb\t1\n")
    (path / "doc_ids.txt").write_text("a\nb\nb\nd\ne\n")
    with pytest.raises(arfc.InvalidArgumentError, match=r"doc_ids.txt, 5 ids, 4 of them different"):
        datasets.load("judged", path)
    (path / "doc_ids.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(arfc.CorruptionError, match=r"not UTF-8 .*doc_ids.txt"):
        datasets.load("judged", path)


def nan_at(row: int) -> np.ndarray:
    bad = rows(30)
    bad[row, 2] = np.nan
    return bad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": nan_at(17)}, r"train.npy are not finite: row 17"),
        ({"train": rows(30)[:, :5]}, r"differ in width: train 5, test 6"),
        ({"train": rows(30)[0]}, r"train.npy must be a matrix .*shape \(6,\)"),
        ({"train": np.ones((30, 6), np.int32)}, r"must be float32, float64 or float16: int32"),
        ({"test": np.ones((0, 6), np.float32)}, r"no features in .*test.npy: shape \(0, 6\)"),
        ({"train_labels": np.arange(29) % 4}, r"differ in number in .*: 29 labels, 30 rows"),
        ({"train_labels": np.arange(30) % 5}, r"Label of train_labels .*range: 4, expected \[0, 3"),
        ({"test_labels": np.arange(12) % 4 - 1}, r"Label of test_labels .* out of range: -1"),
        ({"test_labels": np.ones(12)}, r"Integers are wanted in .*test_labels.npy: float64"),
        ({"test_labels": np.ones((12, 4), int)}, r"one a row .*: test_labels, shape \(12, 4\)"),
    ],
)
def test_wrong_labelled_features_are_refused(changes, message, tmp_path):
    with pytest.raises(arfc.InvalidArgumentError, match=message):
        datasets.load("kitti", write(tmp_path, **labelled(**changes)))


def test_labels_of_several_classes_must_fit_the_table(tmp_path):
    labels = np.ones((42, 19), int)
    path = write(tmp_path, **labelled(train_labels=labels[:30], test_labels=labels[30:]))
    with pytest.raises(arfc.InvalidArgumentError, match=r"\[rows, 20\] .*shape \(30, 19\)"):
        datasets.load("voc", path)
    assert datasets.load("multi_label", path).classes == 19
    write(path, test_labels=2 * labels[30:])
    with pytest.raises(
        arfc.InvalidArgumentError, match=r"test_labels .*range: 2, expected \[-1, 1"
    ):
        datasets.load("multi_label", path)
    write(path, test_labels=np.arange(12))
    with pytest.raises(arfc.InvalidArgumentError, match=r"test_labels, shape \(12,\)"):
        datasets.load("multi_label", path)


def test_classes_of_one_picture_each_are_refused(tmp_path):
    path = write(tmp_path, train=rows(5), test=rows(4), test_labels=np.arange(4))
    with pytest.raises(arfc.InvalidArgumentError, match=r"No two test rows have the same label"):
        datasets.load("cars196", path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": np.arange(7)}, r"one left place for each of 8 captions .*shape \(7,\)"),
        ({"pairs": np.zeros((0, 2), int)}, r"Pairs must be \[pairs, 2\].*shape \(0, 2\)"),
        ({"pairs": np.full(8, 4)}, r"Place in images of pairs .*range: 4, expected \[0, 3\]"),
        ({"pairs": np.array([[0, 8]])}, r"Place in captions of pairs .*: 8, expected \[0, 7\]"),
        ({"captions": rows(8)[:, :4]}, r"differ in width: images 6, captions 4"),
        ({"train_images": rows(3)}, r"of one side alone are there in .*: train_images"),
    ],
)
def test_wrong_pairs_are_refused(changes, message, tmp_path):
    parts = {"images": rows(4), "captions": rows(8), "pairs": np.arange(8) // 2, **changes}
    with pytest.raises(arfc.InvalidArgumentError, match=message):
        datasets.load("flickr30k", write(tmp_path, **parts))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(arfc.NotFoundError, match=r"No features at this path: .*nowhere"):
        datasets.load("mnist", tmp_path / "nowhere")
    with pytest.raises(arfc.NotFoundError, match=r"A file is missing: .*train.npy"):
        datasets.load("mnist", tmp_path)
    with pytest.raises(arfc.NotFoundError, match=r"Neither images and captions nor queries"):
        datasets.load("flickr30k", tmp_path)
    with pytest.raises(arfc.InvalidArgumentError, match=r"'mnits', expected one of flickr30k, "):
        datasets.load("mnits", tmp_path)
    write(tmp_path, docs=rows(3), queries=rows(2))
    with pytest.raises(arfc.NotFoundError, match=r"A file is missing: .*qrels.tsv"):
        datasets.load("judged", tmp_path)
    np.savez(tmp_path / "set.npz", train=rows(3))
    with pytest.raises(arfc.NotFoundError, match=r"missing in .*set.npz: test, it has \['train'\]"):
        datasets.load("mnist", tmp_path / "set.npz")


def test_unreadable_files_are_told_from_wrong_ones(tmp_path):
    path = write(tmp_path / "set", **labelled())
    whole = (path / "train.npy").read_bytes()
    for damaged in (whole[:-8], b"no array", b"", whole.replace(b"<f4", b"|O8")):
        (path / "train.npy").write_bytes(damaged)
        with pytest.raises(arfc.CorruptionError, match=r"not a readable .npy .*train.npy"):
            datasets.load("kitti", path)
    (tmp_path / "set.npz").write_bytes(b"PK not really")
    with pytest.raises(arfc.CorruptionError, match=r"not a readable .npz .*set.npz"):
        datasets.load("kitti", tmp_path / "set.npz")
    (tmp_path / "set.csv").write_text("1,2")
    with pytest.raises(arfc.InvalidArgumentError, match=r"folder of .npy files or one .npz .*csv"):
        datasets.load("kitti", tmp_path / "set.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"length differs from its header's: .*69 bytes, expected 70"),
        (lambda data: data + b"\0", r"length differs from its header's: .*71 bytes, expected 70"),
        (lambda data: data[:9], r"ends within its header: .*9 bytes"),
        (lambda data: b"\x89PNG" + data[4:], r"is not idx: .*begins with 89504e47"),
        (lambda data: b"\0\0\x0a" + data[3:], r"is not idx: .*begins with 00000a03"),
        (lambda data: b"", r"is not idx"),
    ],
)
def test_damaged_idx_files_are_told(change, message, tmp_path):
    write_mnist(tmp_path)
    file = tmp_path / "t10k-images-idx3-ubyte"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(arfc.CorruptionError, match=message):
        datasets.load("mnist", tmp_path)


def test_idx_files_that_do_not_belong_together_are_told(tmp_path):
    write_mnist(tmp_path, zipped=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(arfc.CorruptionError, match=r"is not gzip .*t10k-labels"):
        datasets.load("mnist", tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(idx(np.arange(8, dtype=np.uint8), 8))
    )
    with pytest.raises(arfc.InvalidArgumentError, match=r"test \(9, 3, 2\), labels \(8,\)"):
        datasets.load("mnist", tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(arfc.NotFoundError, match=r"A file is missing: .*t10k-labels-idx1-ubyte"):
        datasets.load("mnist", tmp_path)
