"""Which data sets and which kinds of them are known."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from arfc.datasets.classification import (
    Classification,
    MultiLabel,
    read_classification,
    read_multi_label,
)
from arfc.datasets.image_retrieval import ImageRetrieval, read_image_retrieval
from arfc.datasets.judged import Judged, read_judged
from arfc.datasets.two_sided import TwoSided, read_two_sided
from arfc.errors import InvalidArgumentError

Features = Classification | MultiLabel | ImageRetrieval | TwoSided | Judged

KINDS: dict[str, Callable[[str | os.PathLike[str], str, int | None], Features]] = {
    "classification": read_classification,
    "multi_label": read_multi_label,
    "image_retrieval": read_image_retrieval,
    "two_sided": read_two_sided,
    "judged": read_judged,
}
"""Kind -> its reader, called with the path, the set's name and its number of classes."""


@dataclass(frozen=True)
class DatasetRow:
    """What is known of a data set before its files are read."""

    name: str
    title: str
    kind: str
    """A key of `KINDS`."""
    classes: int | None
    """How many the labels may have; None: no classes."""
    measure: str
    """The first measure of its table."""


DATASETS: dict[str, DatasetRow] = {
    row.name: row
    for row in (
        DatasetRow("flickr30k", "Flickr30K", "two_sided", None, "recall@1"),
        DatasetRow("flickr30k_cn", "Flickr30K-CN", "two_sided", None, "recall@1"),
        DatasetRow("cifar10", "CIFAR-10", "classification", 10, "accuracy"),
        DatasetRow("cifar100", "CIFAR-100", "classification", 100, "accuracy"),
        DatasetRow("imagenet", "ImageNet", "classification", 1000, "accuracy"),
        DatasetRow("cub200", "CUB-200-2011", "image_retrieval", 200, "recall@1"),
        DatasetRow("cars196", "Cars-196", "image_retrieval", 196, "recall@1"),
        DatasetRow("dtd", "DTD", "classification", 47, "accuracy"),
        DatasetRow("eurosat", "EuroSAT", "classification", 10, "accuracy"),
        DatasetRow("fer", "FER-2013", "classification", 7, "accuracy"),
        DatasetRow("fgvc", "FGVC-Aircraft (variants)", "classification", 100, "accuracy"),
        DatasetRow("kitti", "KITTI (distance)", "classification", 4, "accuracy"),
        DatasetRow("mnist", "MNIST", "classification", 10, "accuracy"),
        DatasetRow("pcam", "PatchCamelyon", "classification", 2, "accuracy"),
        DatasetRow("voc", "PASCAL VOC 2007", "multi_label", 20, "mAP"),
    )
}
"""The data sets of the protocol by their names."""


def load(name: str, path: str | os.PathLike[str]) -> Features:
    """Reads a data set's features from local files.

    name  A key of `DATASETS`, or of `KINDS` for a set that has no row.
    path  A folder or an .npz file, laid out as the kind's reader says.

    Raises InvalidArgumentError (an unknown name; a shape, type or value that does not fit),
    NotFoundError (a file or array is missing), CorruptionError (unreadable), StorageIoError.
    """
    row = DATASETS.get(name)
    kind = row.kind if row is not None else name
    if kind not in KINDS:
        raise InvalidArgumentError(
            f"Data set is not known: {name!r}, expected one of {', '.join((*DATASETS, *KINDS))}"
        )
    return KINDS[kind](path, name, None if row is None else row.classes)
