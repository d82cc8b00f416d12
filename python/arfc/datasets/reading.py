"""Arrays from local files: .npy, .npz and idx, checked as they come in."""

from __future__ import annotations

import gzip
import os
import pathlib
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arfc._arrays import as_matrix
from arfc.errors import CorruptionError, InvalidArgumentError, NotFoundError, StorageIoError

_BLOCK_ROWS = 65_536
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class Source:
    """Named arrays of a folder (`<name>.npy`) or of one .npz file (its keys)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises NotFoundError (nothing there), CorruptionError (not an .npz file)."""
        self.path = pathlib.Path(path)
        self._archive: dict[str, NDArray[Any]] | None = None
        if self.path.is_dir():
            return
        if not self.path.exists():
            raise NotFoundError(f"No features at this path: {self.path}")
        if self.path.suffix != ".npz":
            raise InvalidArgumentError(
                f"Features are a folder of .npy files or one .npz file: {self.path}"
            )
        self._archive = _load_archive(self.path)

    def __contains__(self, name: str) -> bool:
        if self._archive is not None:
            return name in self._archive
        return (self.path / f"{name}.npy").is_file()

    def array(self, name: str) -> NDArray[Any]:
        """Returns an array as it is stored, mapped into memory where it lies in a file of its own.

        Raises NotFoundError (no such array), CorruptionError (unreadable), StorageIoError.
        """
        if self._archive is not None:
            if name not in self._archive:
                raise NotFoundError(
                    f"An array is missing in {self.path}: {name}, it has {sorted(self._archive)}"
                )
            return self._archive[name]
        return _load_array(self.path / f"{name}.npy")

    def features(self, name: str) -> NDArray[np.float32]:
        """Returns an array as [n, dim] float32 with n, dim >= 1; pixels (uint8) become [0, 1].

        Raises what `array` raises, and InvalidArgumentError (a shape, a type, a NaN or infinity).
        """
        return as_features(self.array(name), self.label(name))

    def integers(self, name: str, rows: int | None = None) -> NDArray[np.int64]:
        """Returns an array as int64 of its own shape; `rows` checks its first extent.

        Raises what `array` raises, and InvalidArgumentError (a type or the number of rows).
        """
        array = self.array(name)
        if array.dtype.kind not in "iub" or array.ndim < 1:
            raise InvalidArgumentError(
                f"Integers are wanted in {self.label(name)}: {array.dtype}, shape {array.shape}"
            )
        if rows is not None and len(array) != rows:
            raise InvalidArgumentError(
                f"Labels and features differ in number in {self.label(name)}: {len(array)} labels,"
                f" {rows} rows"
            )
        return np.asarray(array, np.int64)

    def text(self, name: str) -> str:
        """Returns a text file of a folder. Raises NotFoundError, CorruptionError (not UTF-8)."""
        path = self.path / name
        try:
            return path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"A file is missing: {path}") from None
        except UnicodeDecodeError as error:
            raise CorruptionError(f"Text is not UTF-8 ({error}): {path}") from None
        except OSError as error:
            raise StorageIoError(f"Text cannot be read ({error}): {path}") from error

    def label(self, name: str) -> str:
        """Returns how messages call an array."""
        return (
            f"{self.path}:{name}" if self._archive is not None else str(self.path / f"{name}.npy")
        )


def as_features(array: NDArray[Any], what: str) -> NDArray[np.float32]:
    """Returns finite float32 features [n, dim] of floats [n, dim] or pixels [n, ...] uint8.

    what  Where they come from, for messages. Raises InvalidArgumentError.
    """
    if array.dtype == np.uint8 and array.ndim >= 2:
        array = array.reshape(len(array), -1) / np.float32(255)
    rows = as_matrix(array, f"Features of {what}")
    if rows.size == 0:
        raise InvalidArgumentError(f"There are no features in {what}: shape {rows.shape}")
    for first in range(0, len(rows), _BLOCK_ROWS):
        good = np.isfinite(rows[first : first + _BLOCK_ROWS]).all(axis=1)
        if not good.all():
            raise InvalidArgumentError(
                f"Features of {what} are not finite: row {first + int(np.argmin(good))}"
            )
    return rows


def same_width(left: NDArray[Any], left_name: str, right: NDArray[Any], right_name: str) -> None:
    """Raises InvalidArgumentError where two feature matrices differ in width."""
    if left.shape[1] != right.shape[1]:
        raise InvalidArgumentError(
            f"Features differ in width: {left_name} {left.shape[1]}, {right_name} {right.shape[1]}"
        )


def in_range(values: NDArray[np.int64], low: int, high: int, what: str) -> NDArray[np.int64]:
    """Returns values, all of which lie in [low, high]. Raises InvalidArgumentError."""
    if values.size and (values.min() < low or values.max() > high):
        worst = int(values.min() if values.min() < low else values.max())
        raise InvalidArgumentError(f"{what} is out of range: {worst}, expected [{low}, {high}]")
    return values


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Reads a file in the idx format of MNIST, plain or gzipped (name ends in .gz).

    Returns the array in its stored shape, native byte order. Raises NotFoundError, CorruptionError
    (not idx, or shorter or longer than its header says), StorageIoError.
    """
    file = pathlib.Path(path)
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"A file is missing: {file}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorruptionError(f"File is not gzip ({error}): {file}") from None
    except OSError as error:
        raise StorageIoError(f"File cannot be read ({error}): {file}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise CorruptionError(f"File is not idx: {file}, begins with {data[:4].hex()}")
    extents = data[3]
    start = 4 + 4 * extents
    if len(data) < start:
        raise CorruptionError(f"File ends within its header: {file}, {len(data)} bytes")
    shape = struct.unpack(f">{extents}I", data[4:start])
    dtype = np.dtype(_IDX_TYPES[data[2]])
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise CorruptionError(
            f"File's length differs from its header's: {file}, {len(data)} bytes,"
            f" expected {expected}"
        )
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _load_array(path: pathlib.Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise NotFoundError(f"A file is missing: {path}") from None
    except (ValueError, EOFError) as error:
        raise CorruptionError(f"File is not a readable .npy ({error}): {path}") from None
    except OSError as error:
        raise StorageIoError(f"File cannot be read ({error}): {path}") from error


def _load_archive(path: pathlib.Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptionError(f"File is not a readable .npz ({error}): {path}") from None
    except OSError as error:
        raise StorageIoError(f"File cannot be read ({error}): {path}") from error
