"""Features of known data sets from local files, for the protocol that compressors are compared by.

    from arfc.datasets import load
    data = load("cifar10", "features/cifar10")     # a folder of .npy files, or one .npz
    data.train, data.train_labels                  # [n, dim] float32, [n] int64

Nothing is downloaded: the files hold features that an encoder of the user's choice made.
`DATASETS` has a row for each known set, its kind, number of classes and measure; a kind's own name
("classification", ...) reads a set that no row names. docs/paper_protocol.md gives the files of
each kind. To add a set, add a row; to add a kind, write one file and add a row of `KINDS`.
"""

from __future__ import annotations

from arfc.datasets.classification import Classification, MultiLabel
from arfc.datasets.image_retrieval import ImageRetrieval
from arfc.datasets.judged import Judged
from arfc.datasets.reading import read_idx
from arfc.datasets.table import DATASETS, KINDS, DatasetRow, Features, load
from arfc.datasets.two_sided import TwoSided

__all__ = [
    "DATASETS",
    "KINDS",
    "Classification",
    "DatasetRow",
    "Features",
    "ImageRetrieval",
    "Judged",
    "MultiLabel",
    "TwoSided",
    "load",
    "read_idx",
]
