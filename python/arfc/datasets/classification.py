"""Features with class labels: one of several classes a row, or any number of them."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arfc.datasets.reading import Source, as_features, in_range, read_idx, same_width
from arfc.errors import InvalidArgumentError

_IDX_FILES = {
    "train": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class Classification:
    """Rows of one class each."""

    name: str
    train: NDArray[np.float32]
    """[n, dim]."""
    train_labels: NDArray[np.int64]
    """[n] in [0, classes)."""
    test: NDArray[np.float32]
    """[m, dim]."""
    test_labels: NDArray[np.int64]
    """[m] in [0, classes)."""
    classes: int


@dataclass(frozen=True)
class MultiLabel:
    """Rows of any number of classes each."""

    name: str
    train: NDArray[np.float32]
    """[n, dim]."""
    train_labels: NDArray[np.int64]
    """[n, classes]: 1 present, 0 absent, -1 not judged ("difficult" objects of VOC)."""
    test: NDArray[np.float32]
    """[m, dim]."""
    test_labels: NDArray[np.int64]
    """[m, classes], likewise."""
    classes: int


def read_classification(
    path: str | os.PathLike[str], name: str, classes: int | None
) -> Classification:
    """Reads train [n, dim], train_labels [n], test [m, dim] and test_labels [m].

    path     A folder of .npy files, one .npz with these keys, or a folder of MNIST's four idx files
             (plain or .gz), whose pixels become features in [0, 1].
    classes  Number of classes; None: the largest label and one.

    Raises NotFoundError, CorruptionError, StorageIoError, InvalidArgumentError (a shape, a type, a
    label out of range, a value that is not finite).
    """
    parts = _idx_parts(pathlib.Path(path))
    if parts is None:
        source = Source(path)
        train, test = source.features("train"), source.features("test")
        train_labels = source.integers("train_labels", len(train))
        test_labels = source.integers("test_labels", len(test))
    else:
        train, train_labels, test, test_labels = parts
    same_width(train, "train", test, "test")
    for labels, part in ((train_labels, "train_labels"), (test_labels, "test_labels")):
        if labels.ndim != 1:
            raise InvalidArgumentError(
                f"Labels must be one a row in {path}: {part}, shape {labels.shape}"
            )
    count = classes or int(max(train_labels.max(), test_labels.max())) + 1
    in_range(train_labels, 0, count - 1, f"Label of train_labels in {path}")
    in_range(test_labels, 0, count - 1, f"Label of test_labels in {path}")
    return Classification(name, train, train_labels, test, test_labels, count)


def read_multi_label(path: str | os.PathLike[str], name: str, classes: int | None) -> MultiLabel:
    """Reads train [n, dim], train_labels [n, classes], test [m, dim] and test_labels [m, classes].

    path     A folder of .npy files or one .npz with these keys. Labels are 1, 0 or -1.
    classes  Number of classes; None: the labels' columns.

    Raises what `read_classification` raises.
    """
    source = Source(path)
    train, test = source.features("train"), source.features("test")
    same_width(train, "train", test, "test")
    train_labels = source.integers("train_labels", len(train))
    test_labels = source.integers("test_labels", len(test))
    for labels, part in ((train_labels, "train_labels"), (test_labels, "test_labels")):
        columns = labels.shape[1] if labels.ndim == 2 else None
        if columns is None or columns != (classes or train_labels.shape[-1]):
            raise InvalidArgumentError(
                f"Labels must be [rows, {classes or 'classes'}] in {path}: {part},"
                f" shape {labels.shape}"
            )
        in_range(labels, -1, 1, f"Label of {part} in {path}")
    return MultiLabel(name, train, train_labels, test, test_labels, test_labels.shape[1])


def _idx_parts(folder: pathlib.Path) -> tuple[NDArray[Any], ...] | None:
    """Returns train, its labels, test, its labels; None where no idx file is there."""
    found = {
        part: next((file for file in (folder / stem, folder / f"{stem}.gz") if file.exists()), None)
        for part, stem in _IDX_FILES.items()
    }
    if not any(found.values()):
        return None
    read = {part: read_idx(file or folder / _IDX_FILES[part]) for part, file in found.items()}
    for part in ("train", "test"):
        labels = read[f"{part}_labels"]
        if read[part].ndim < 2 or labels.ndim != 1 or len(labels) != len(read[part]):
            raise InvalidArgumentError(
                f"Labels and pictures differ in number in {folder}: {part} {read[part].shape},"
                f" labels {labels.shape}"
            )
    return (
        as_features(read["train"], str(folder / _IDX_FILES["train"])),
        read["train_labels"].astype(np.int64),
        as_features(read["test"], str(folder / _IDX_FILES["test"])),
        read["test_labels"].astype(np.int64),
    )
