"""Rows and models that the tests of the package share."""

from __future__ import annotations

import os

# Before any OpenMP runtime is loaded, here and in the processes that tests start: on a busy machine
# threads that spin while they wait for each other make training ten times as slow.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import arfc
import numpy as np
import pytest

DIM = 32
CODE_BYTES = 16


def clustered_rows(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """Returns [count, dim] float32 unit rows around 40 centres, as embeddings of texts are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(40, dim))
    rows = centres[random.integers(40, size=count)] + 0.5 * random.normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    return clustered_rows(1500)


@pytest.fixture(scope="session")
def queries() -> np.ndarray:
    return clustered_rows(50, seed=1)


@pytest.fixture(scope="session")
def model(rows: np.ndarray) -> arfc.Compressor:
    return arfc.Compressor.train(rows, code_bytes=CODE_BYTES, device="cpu")


@pytest.fixture(scope="session")
def model_folder(model: arfc.Compressor, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("model") / "model"
    model.save(folder)
    return folder
