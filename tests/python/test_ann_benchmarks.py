"""The adapter of ann-benchmarks: as its runner calls it, over every setting of its config."""

from __future__ import annotations

import importlib
import itertools
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml

ADAPTER = pathlib.Path(__file__).parents[2] / "benchmarks" / "ann_benchmarks" / "arfc"
ROWS = np.random.default_rng(0).standard_normal((1500, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module where the framework would have it: beside its base class, which has a name."""
    root = tmp_path_factory.mktemp("framework")
    algorithms = root / "ann_benchmarks" / "algorithms"
    shutil.copytree(ADAPTER, algorithms / "arfc")
    (algorithms / "base").mkdir()
    (algorithms / "base" / "module.py").write_text("class BaseANN:\n    pass\n")
    sys.path.insert(0, str(root))
    try:
        yield importlib.import_module("ann_benchmarks.algorithms.arfc.module")
    finally:
        sys.path.remove(str(root))
        for name in [n for n in sys.modules if n.split(".")[0] == "ann_benchmarks"]:
            del sys.modules[name]


def definition() -> dict[str, Any]:
    config = yaml.safe_load((ADAPTER / "config.yml").read_text())
    (found,) = config["float"]["any"]
    return found


def exact(queries: np.ndarray, metric: str, n: int) -> np.ndarray:
    if metric == "angular":
        rows = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
        return np.argsort(-(queries @ rows.T), axis=1)[:, :n]
    distances = ((queries[:, None] - ROWS[None]) ** 2).sum(axis=2)
    return np.argsort(distances, axis=1)[:, :n]


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
@pytest.mark.parametrize("factory", ["ARFC24/8", "ARFC24/8,IVF16", "ARFC24/8,HNSW8"])
def test_finds_neighbours(module: Any, metric: str, factory: str) -> None:
    algorithm = module.Arfc(metric, factory)
    algorithm.fit(ROWS.astype(np.float64))
    queries = ROWS[:40] + np.float32(0.01)
    truth = exact(queries, metric, 5)
    algorithm.set_query_arguments(16, 400)
    assert str(algorithm.name) == f"arfc({factory}, 16, 400)"
    algorithm.batch_query(queries, 5)
    found = algorithm.get_batch_results()
    assert found.shape == (40, 5)
    assert np.mean([np.isin(found[i], truth[i]).mean() for i in range(40)]) > 0.8
    for i in range(3):
        np.testing.assert_array_equal(algorithm.query(queries[i], 5), found[i])
    algorithm.set_query_arguments(0, 0)
    assert len(algorithm.query(queries[0], 5)) == 5


def test_every_setting_of_the_config_is_taken(module: Any) -> None:
    algorithm = definition()
    assert algorithm["constructor"] == "Arfc"
    settings = 0
    for group in algorithm["run_groups"].values():
        for (factory,) in itertools.product(*group["args"]):
            made = module.Arfc("angular", factory)
            for breadth, shortlist in itertools.product(*group["query_args"]):
                made.set_query_arguments(breadth, shortlist)
                assert str(breadth) in made.name
                settings += 1
    assert settings >= 20


def test_rows_of_zeros_are_taken_where_angles_count(module: Any) -> None:
    algorithm = module.Arfc("angular", "ARFC8")
    algorithm.fit(np.vstack([ROWS[:300], np.zeros((1, 24))]))
    assert len(algorithm.query(ROWS[0], 10)) == 10


def test_refuses_other_metrics_and_searches_before_fit(module: Any) -> None:
    with pytest.raises(ValueError, match="no such metric: hamming"):
        module.Arfc("hamming", "ARFC8")
    with pytest.raises(RuntimeError, match="before fit"):
        module.Arfc("angular", "ARFC8").query(ROWS[0], 1)
    with pytest.raises(RuntimeError, match="no batch"):
        module.Arfc("angular", "ARFC8").get_batch_results()
