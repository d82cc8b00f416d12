"""Draws recall against bytes a row."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Sequence

from measure import CurvePoint, Way


def draw(
    path: pathlib.Path,
    title: str,
    rows: int,
    dim: int,
    curve: Sequence[CurvePoint],
    ways: Sequence[Way],
) -> None:
    """Writes a PNG: exhaustive search by prefix length as a line, the served collections as points.

    ways  Those of the table; the first is the uncompressed one.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    figure, axes = plt.subplots(figsize=(8.5, 5.2), dpi=150, layout="constrained")
    lengths = [point.bytes for point in curve]
    axes.plot(
        lengths,
        [point.quality.recall_at_10 for point in curve],
        "-o",
        color="#1f5fa8",
        markersize=4,
        label="recall@10 against exact float32 search, by exhaustive scan",
    )
    if curve[0].quality.ndcg_at_10 is not None:
        relative = [point.quality.ndcg_at_10 / ways[0].quality.ndcg_at_10 for point in curve]
        axes.plot(
            lengths,
            relative,
            "--s",
            color="#c26a1b",
            markersize=4,
            label="nDCG@10 as a share of float32's, by exhaustive scan",
        )
    axes.scatter(
        [way.code_bytes for way in ways],
        [way.quality.recall_at_10 for way in ways],
        marker="D",
        s=60,
        facecolor="none",
        edgecolor="#111111",
        linewidth=1.4,
        zorder=3,
        label="recall@10 over REST, by IVF and stages",
    )
    for way in ways:
        axes.annotate(
            way.name,
            (way.code_bytes, way.quality.recall_at_10),
            xytext=(0, -15),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    axes.axhline(1.0, color="#999999", linewidth=0.8)
    axes.set_xscale("log", base=2)
    ticks = [tick for tick in (4, 8, 16, 32, 48, 96) if tick in lengths] + [4 * dim]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick}\n{4 * dim / tick:.0f}x" for tick in ticks], fontsize=8.5)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(top=1.03)
    axes.set_xlabel("code bytes a row, log scale; below: how many times smaller than float32")
    axes.set_ylabel("recall@10, nDCG@10 relative to float32")
    today = datetime.date.today().isoformat()
    axes.set_title(
        f"arfc: quality against size\n{title}; {rows:,} rows x {dim} floats, {today}", fontsize=10
    )
    axes.grid(True, color="#e4e4e4")
    axes.legend(loc="lower right", frameon=True, fontsize=8.5)
    figure.savefig(path)
    plt.close(figure)
