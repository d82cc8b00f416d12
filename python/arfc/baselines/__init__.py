"""Compressors to compare with: PCA, an autoencoder, a Q-Former and post-training quantization.

    from arfc.baselines import BASELINES
    model = BASELINES["autoencoder"].fit(x, ratio=0.75, time_budget_s=60)   # x [n, dim]
    rows = model.transform(x)                                  # [n, model.width] float32

Every one removes the same share of the 4 * dim bytes of a float32 row (`Baseline.bytes_per_row` is
what it keeps), learns from rows alone, and makes its choices on rows held out of those. To add one,
write one file with a subclass of `Baseline` and one row of `BASELINES`. docs/paper_protocol.md
tells how they were tuned.
"""

from __future__ import annotations

from arfc.baselines.autoencoder import Autoencoder
from arfc.baselines.baseline import Baseline, FitReport, Trial, kept_dims
from arfc.baselines.pca import Pca
from arfc.baselines.q_former import QFormer
from arfc.baselines.quantization import Quantization

BASELINES: dict[str, type[Baseline]] = {
    "pca": Pca,
    "autoencoder": Autoencoder,
    "q_former": QFormer,
    "quantization": Quantization,
}

__all__ = [
    "BASELINES",
    "Autoencoder",
    "Baseline",
    "FitReport",
    "Pca",
    "QFormer",
    "Quantization",
    "Trial",
    "kept_dims",
]
