"""How compressed features are judged: probes, retrieval, intervals, and the methods compared.

    from arfc import datasets, protocol
    data = datasets.load("cifar10", "features/cifar10")
    method = protocol.METHODS["pca"]()
    method.prepare(data.train, ratios=1, seconds=60, seed=0)
    outcomes = protocol.outcomes(data, method.at(dims=96))    # {"accuracy": [m] of 0 and 1, ...}
    protocol.paired_interval(outcomes["accuracy"], others["accuracy"])

`benchmarks/paper_protocol.py` runs all of it over several sets; docs/paper_protocol.md says what is
measured and why.
"""

from __future__ import annotations

from arfc.protocol.intervals import Interval, paired_interval
from arfc.protocol.measures import average_precision, outcomes
from arfc.protocol.methods import METHODS, Compressed, Method
from arfc.protocol.probes import PROBES

__all__ = [
    "METHODS",
    "PROBES",
    "Compressed",
    "Interval",
    "Method",
    "average_precision",
    "outcomes",
    "paired_interval",
]
