"""What the end-to-end tests share: the installed program and rows that look like embeddings."""

from __future__ import annotations

import os
import pathlib
import sys

# As in tests/python: waiting threads that spin make everything slow on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def project() -> pathlib.Path:
    """The root of the source tree."""
    return PROJECT


@pytest.fixture(scope="session")
def program() -> pathlib.Path:
    """The program that ARFC_PROGRAM names, else the one installed beside the interpreter."""
    installed = pathlib.Path(sys.executable).parent / "arfc"
    path = pathlib.Path(os.environ.get("ARFC_PROGRAM", installed)).absolute()
    assert os.access(path, os.X_OK), f"not installed: {path}"
    return path


@pytest.fixture(scope="session")
def clustered_rows():
    """A function (count, dim, seed) -> [count, dim] float32 unit rows around 40 centres."""

    def make(count: int, dim: int, seed: int = 0) -> np.ndarray:
        random = np.random.default_rng(seed)
        centres = np.random.default_rng(7).normal(size=(40, dim))
        rows = centres[random.integers(40, size=count)] + 0.5 * random.normal(size=(count, dim))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return make
