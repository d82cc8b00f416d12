"""Models that come with the package, for collections that are too small to train on."""

from __future__ import annotations

import pathlib

from arfc.errors import NotFoundError

_FOLDER = pathlib.Path(__file__).parent / "models"


def names() -> list[str]:
    """Returns the names of the models, sorted: those of the embedding models they are for."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.json"))


def directory(name: str) -> pathlib.Path:
    """Returns a model's directory, which `Compressor.load` and `arfc --model` take.

    Raises NotFoundError (no model of that name).
    """
    known = names()
    if name not in known:
        raise NotFoundError(
            f"No ready model of this name comes with arfc: {name!r}, there is:"
            f" {', '.join(known) or 'none'}"
        )
    return _FOLDER / name
