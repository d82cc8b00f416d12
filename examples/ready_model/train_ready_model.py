#!/usr/bin/env python3
"""Trains the model for all-MiniLM-L6-v2 that comes with arfc, and writes its model card.

    .venv/bin/python examples/ready_model/collect_text.py rows.npy
    .venv/bin/python examples/ready_model/train_ready_model.py rows.npy [--out DIR]

The rows are those of collect_text.py, which says in `rows.npy.json` what they are. They are the
texts of one machine, so another machine's model differs a little; on the same rows, with the same
seed and number of threads, it is the same model.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import sys

import arfc
import numpy as np

PROJECT = pathlib.Path(__file__).resolve().parents[2]
NAME = "all-MiniLM-L6-v2"
CODE_BYTES = 96  # What the default factory string asks for.
MOST_BYTES = 6_000_000  # The repository and the package carry it.

CARD = pathlib.Path(__file__).with_name("card.md")


def table(rows: list[tuple[str, str]]) -> str:
    """Returns the lines of a table of two columns."""
    return "\n".join(f"| {left} | {right} |" for left, right in rows)


def card(model: arfc.Compressor, out: pathlib.Path, about: dict, rows: int, seed: int) -> str:
    """Returns the model card."""
    report = model.report
    return CARD.read_text("utf-8").format(
        name=NAME,
        rows=rows,
        available=sum(about["by_source"].values()),
        seed=seed,
        trained=report.trained_rows,
        held_out=report.held_out_rows,
        code_bytes=model.code_bytes,
        megabytes=(out / "model.safetensors").stat().st_size / 1e6,
        resident=model.model_bytes / 1e6,
        id=model.id,
        texts=about["texts_sha256"],
        threads=arfc.num_threads(),
        seconds=report.seconds,
        python=platform.python_version(),
        sources=table([(f"{count:,}", name) for name, count in about["by_source"].items()]),
        recall=table([(str(size), f"{value:.3f}") for size, value in report.recall.items()]),
        residuals=table([(str(size), f"{value:.4f}") for size, value in report.residuals.items()]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=pathlib.Path, help="what collect_text.py wrote")
    parser.add_argument(
        "--out", type=pathlib.Path, default=PROJECT / "python" / "arfc" / "models" / NAME
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: one a core")
    parser.add_argument(
        "--checkpoint",
        type=pathlib.Path,
        help="directory to keep a checkpoint in, and to resume from",
    )
    args = parser.parse_args()
    if args.threads:
        arfc.set_num_threads(args.threads)
    rows = np.load(args.rows, mmap_mode="r")
    about = json.loads(pathlib.Path(f"{args.rows}.json").read_text("utf-8"))

    def show(step: arfc.Progress) -> None:
        recall = "" if step.held_out_recall is None else f", recall@10 {step.held_out_recall:.3f}"
        error = "" if step.error is None else f", error {step.error:.4f}"
        print(f"\r{step.done}/{step.total} {step.stage}{error}{recall}   ", end="", file=sys.stderr)

    resume = args.checkpoint is not None and any(args.checkpoint.glob("*"))
    model = arfc.Compressor.train(
        rows,
        CODE_BYTES,
        "cosine",
        seed=args.seed,
        compact=True,
        progress=show,
        checkpoint=args.checkpoint,
        resume=resume,
    )
    print(file=sys.stderr)
    model.save(args.out)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    if size > MOST_BYTES:
        sys.exit(f"The model is too large to be carried along: {size:,} bytes of {MOST_BYTES:,}")
    (args.out / "README.md").write_text(
        card(model, args.out, about, len(rows), args.seed), encoding="utf-8"
    )
    print(f"{args.out}: {size:,} bytes, id {model.id[:12]}, recall@10 {model.report.recall}")


if __name__ == "__main__":
    main()
