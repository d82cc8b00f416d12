"""Features of two sides, such as pictures and captions, and which belongs to which."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arfc.datasets.reading import Source, in_range, same_width
from arfc.errors import InvalidArgumentError, NotFoundError

_SIDES = (("images", "captions"), ("queries", "documents"))


@dataclass(frozen=True)
class TwoSided:
    """Rows of each side ask for their partners on the other one."""

    name: str
    train: NDArray[np.float32]
    """[n, dim]: both sides' training rows, the left ones first, or the test's own."""
    trained_on_test: bool
    """Whether the files bring no training rows, so that `train` is made of the test's."""
    left: NDArray[np.float32]
    """[l, dim]: images, or queries."""
    right: NDArray[np.float32]
    """[r, dim]: captions, or documents."""
    pairs: NDArray[np.int64]
    """[p, 2]: places on the left and on the right that belong together."""
    sides: tuple[str, str]
    """What the sides are called, in the files and in the tables."""


def read_two_sided(path: str | os.PathLike[str], name: str, classes: int | None) -> TwoSided:
    """Reads images [l, dim], captions [r, dim] and pairs.

    path     A folder of .npy files or one .npz with these keys; `queries` and `documents` are other
             names of the sides. `pairs` is [p, 2], (left, right), or [r]: each right row's partner.
             `train_images` and `train_captions` (or `train_queries` and `train_documents`), [n,
             dim], are both there or both absent; then the test's rows train, without their pairs.
    classes  Unused: there are none.

    Raises NotFoundError, CorruptionError, StorageIoError, InvalidArgumentError (a shape, a type, a
    pair out of range, a value that is not finite, one side's training rows alone).
    """
    source = Source(path)
    sides = next((sides for sides in _SIDES if sides[0] in source or sides[1] in source), None)
    if sides is None:
        raise NotFoundError(
            f"Neither images and captions nor queries and documents are there: {source.path}"
        )
    left, right = (source.features(side) for side in sides)
    same_width(left, sides[0], right, sides[1])
    pairs = source.integers("pairs")
    if pairs.shape == (len(right),):
        pairs = np.stack([pairs, np.arange(len(right))], axis=1)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0:
        raise InvalidArgumentError(
            f"Pairs must be [pairs, 2] or one left place for each of {len(right)} {sides[1]} in"
            f" {path}: shape {pairs.shape}"
        )
    for column, rows in enumerate((left, right)):
        in_range(pairs[:, column], 0, len(rows) - 1, f"Place in {sides[column]} of pairs in {path}")
    names = [f"train_{side}" for side in sides]
    given = [name in source for name in names]
    if any(given) and not all(given):
        raise InvalidArgumentError(
            f"Training rows of one side alone are there in {path}: {names[given.index(True)]}"
        )
    parts = [source.features(name) for name in names] if all(given) else [left, right]
    for part, rows in zip(names, parts, strict=True):
        same_width(left, sides[0], rows, part)
    return TwoSided(name, np.concatenate(parts), not all(given), left, right, pairs, sides)
