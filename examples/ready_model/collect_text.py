#!/usr/bin/env python3
"""Collects English sentences from this machine and embeds them with all-MiniLM-L6-v2.

    .venv/bin/python examples/ready_model/collect_text.py rows.npy [--rows 130000] [--seed 0]

Writes float32 [rows, 384] of unit length, in an order that `seed` draws: the first n rows of a
longer run are those of a run with `--rows n`. Beside it, `rows.npy.json` says how many sentences
each source gave and the digest of those embedded. Embeddings are cached as the demo's are, so an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import sys
import time

import numpy as np
import texts  # Also makes the demo's modules importable.

import embedding  # isort: skip

BLOCK = 10_000  # texts of an Embedder.embed(), which sorts them by length


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=pathlib.Path, help="file of rows to write, .npy")
    parser.add_argument("--rows", type=int, default=130_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--texts", type=pathlib.Path, help="file of the texts; read if it is there, else written"
    )
    parser.add_argument("--threads", type=int, help="of the embedding model; default: all cores")
    args = parser.parse_args()
    if args.rows < 1:
        parser.error(f"--rows must be 1 or more: {args.rows}")

    started = time.perf_counter()
    if args.texts and args.texts.exists():
        collected = texts.Collected.load(args.texts)
    else:
        collected = texts.collect()
        if args.texts:
            collected.save(args.texts)
    for source, count in collected.by_source.items():
        print(f"  {count:8,} {source}")
    print(
        f"{len(collected.texts):,} distinct texts in {time.perf_counter() - started:.0f} s, digest"
        f" {collected.digest()[:12]}",
        flush=True,
    )
    if args.rows > len(collected.texts):
        parser.error(f"this machine has fewer texts than --rows: {len(collected.texts):,}")
    order = np.random.default_rng(args.seed).permutation(len(collected.texts))[: args.rows]
    chosen = [collected.texts[i] for i in order]
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    embedder = embedding.Embedder(
        lambda name, done, total: print(
            f"\r{name}: {done:,} of {total:,}", end="", file=sys.stderr, flush=True
        )
    )
    rows = np.concatenate(
        [
            embedder.embed(f"Embedding from {first:,}", chosen[first : first + BLOCK])
            for first in range(0, len(chosen), BLOCK)
        ]
    )
    print(file=sys.stderr)
    # Whoever waits for the file never sees a part of it.
    partial = args.out.with_suffix(".part.npy")
    np.save(partial, rows)
    partial.replace(args.out)
    about = {
        "model": embedding.MODEL,
        "rows": len(rows),
        "seed": args.seed,
        "by_source": collected.by_source,
        "texts_sha256": hashlib.sha256(
            b"".join(text.encode("utf-8", "replace") + b"\0" for text in chosen)
        ).hexdigest(),
    }
    pathlib.Path(f"{args.out}.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    print(
        f"{len(rows):,} rows in {args.out}; {embedder.embedded:,} texts embedded in"
        f" {embedder.seconds:.0f} s, the others were known"
    )


if __name__ == "__main__":
    main()
