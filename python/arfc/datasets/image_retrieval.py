"""Features of pictures that ask for others of their class."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arfc.datasets.reading import Source, in_range, same_width
from arfc.errors import InvalidArgumentError


@dataclass(frozen=True)
class ImageRetrieval:
    """Every test row asks for the other test rows of its class."""

    name: str
    train: NDArray[np.float32]
    """[n, dim], without labels: of other classes by the usual protocol."""
    test: NDArray[np.float32]
    """[m, dim], m >= 2."""
    test_labels: NDArray[np.int64]
    """[m] in [0, classes)."""
    classes: int


def read_image_retrieval(
    path: str | os.PathLike[str], name: str, classes: int | None
) -> ImageRetrieval:
    """Reads train [n, dim], test [m, dim] and test_labels [m]; train_labels are not needed.

    path     A folder of .npy files or one .npz with these keys.
    classes  Number of classes in all; None: the largest label and one.

    Raises NotFoundError, CorruptionError, StorageIoError, InvalidArgumentError (a shape, a type, a
    label out of range, a value that is not finite, no two rows of a class).
    """
    source = Source(path)
    train, test = source.features("train"), source.features("test")
    same_width(train, "train", test, "test")
    labels = source.integers("test_labels", len(test))
    if labels.ndim != 1:
        raise InvalidArgumentError(
            f"Labels must be one a row in {path}: test_labels, shape {labels.shape}"
        )
    count = classes or int(labels.max()) + 1
    in_range(labels, 0, count - 1, f"Label of test_labels in {path}")
    if np.bincount(labels).max() < 2:
        raise InvalidArgumentError(f"No two test rows have the same label in {path}: {len(test)}")
    return ImageRetrieval(name, train, test, labels, count)
