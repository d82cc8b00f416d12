"""Finished cells of a long measurement, kept so that it goes on where it was ended."""

from __future__ import annotations

import json
import os
import pathlib
import sys
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from arfc.errors import CorruptionError

CellT = TypeVar("CellT")


class Results(Generic[CellT]):
    """A file of finished cells, one JSON line each; only ever added to.

    A cell is a frozen dataclass of what a line is about: equal cells have equal conditions.
    """

    def __init__(self, path: pathlib.Path, cell: type[CellT]) -> None:
        """Reads what is there; a last line that was cut off is dropped.

        Raises CorruptionError: another line is no result.
        """
        self._path = path
        self._values: dict[CellT, dict[str, Any]] = {}
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            print(f"{path}: the last line was cut off and is measured again", file=sys.stderr)
            os.truncate(path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                self._values[cell(**entry["cell"])] = entry["value"]
            except (ValueError, KeyError, TypeError) as error:
                raise CorruptionError(
                    f"Line is no result: {path}, line {number}: {error}"
                ) from None

    def __contains__(self, cell: CellT) -> bool:
        return cell in self._values

    def __getitem__(self, cell: CellT) -> dict[str, Any]:
        return self._values[cell]

    def add(self, cell: CellT, value: dict[str, Any]) -> None:
        """Writes a cell so that it outlives the process."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cell": asdict(cell), "value": value}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._values[cell] = value
