"""What every engine of the comparison offers."""

from __future__ import annotations

import abc
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Built:
    """What building took, in seconds of the processor's time, on one thread."""

    train: float
    """Of what the rows share: codebooks, lists; an arfc model's training apart."""
    add: float
    encode: float = 0.0
    """The share of both that encoding takes, where that can be told."""
    fixed_bytes: int = 0
    """What the index holds without a row: codebooks, centroids, a model."""


@dataclass(frozen=True)
class Data:
    """What an index is made of."""

    rows: Rows
    """[n, d], perhaps memory-mapped."""
    train: Rows
    """[m, d], a sample of the rows in any order."""
    models: pathlib.Path
    """Folder of what engines share between builds."""
    model_seconds: float
    """Budget of training a model."""


class Engine(abc.ABC):
    """An index over unit rows that answers with the rows of largest cosine.

    It is built in one process and opened in another, so that what it holds is not mixed up with
    what building left behind.
    """

    @classmethod
    @abc.abstractmethod
    def build(cls, settings: str, data: Data, folder: pathlib.Path) -> Built:
        """Makes an index in the empty `folder`.

        settings  One of the engine's builds.
        """

    @abc.abstractmethod
    def __init__(self, settings: str, folder: pathlib.Path) -> None:
        """Opens what `build` made."""

    @abc.abstractmethod
    def search(self, queries: Rows, k: int, setting: str) -> NDArray[np.int64]:
        """Returns the places of rows [m, k], best first; where there are fewer, -1.

        setting  One of the searches of this build, such as "nprobe=16,k_factor=4".
        """

    @classmethod
    @abc.abstractmethod
    def use_threads(cls, count: int) -> None:
        """Sets how many threads all searches and builds of this process use."""

    @classmethod
    @abc.abstractmethod
    def warm_up(cls, dim: int) -> None:
        """Lets libraries take what they take once in a process, whatever the index."""

    @property
    @abc.abstractmethod
    def memory_bytes(self) -> int:
        """What the index holds by its own account, or by its file where it gives none."""

    @property
    def disk_bytes(self) -> int:
        """What must lie on disk to answer, 0 where everything is in memory."""
        return sum(path.stat().st_size for path in self.disk_files)

    @property
    def disk_files(self) -> list[pathlib.Path]:
        """The files of `disk_bytes`, whose cached pages are memory, too."""
        return []


@dataclass(frozen=True)
class Rival:
    """A row of the table of engines."""

    load: Callable[[], type[Engine]]
    """Imports the engine, so that no process holds the library of another."""
    builds: Callable[[int, str], list[str]]
    """Lists the settings to build for a number of inverted lists and a model of arfc's, the most
    telling first."""
    searches: Callable[[str], list[str]]
    """The search settings of a build."""


def numbers(setting: str) -> dict[str, int]:
    """Reads "nprobe=16,k_factor=4"."""
    pairs = (part.split("=") for part in setting.split(",") if part)
    return {name: int(value) for name, value in pairs}


def grid(**values: list[int]) -> list[str]:
    """Returns settings of every combination, in the form that `numbers` reads."""
    settings = [""]
    for name, choices in values.items():
        settings = [
            f"{setting},{name}={choice}".lstrip(",") for setting in settings for choice in choices
        ]
    return settings


def list_count(rows: int) -> int:
    """Returns the usual number of inverted lists: the power of two around 4 sqrt(rows)."""
    return max(16, 2 ** round(np.log2(4 * np.sqrt(rows))))
