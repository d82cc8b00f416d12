#!/usr/bin/env python3
"""Searches the documentation of the Python that is installed, by meaning, and measures what short codes cost.

    make demo                                           24,000 docstrings
    make demo ARGS=--quick                              3,000
    make demo ARGS="--input my.npy --texts my.jsonl"    your own embeddings [rows, dim], and a text for each

Everything printed is measured in this run; only embeddings are kept between runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import pathlib
import platform
import random
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import arfc
import data as data_module
import measure
import numpy as np
import picture
import program as program_module
from data import Data
from measure import Quality, Way

FULL_LIMIT, QUICK_LIMIT = 24_000, 3_000
QUESTIONS_SHOWN, ANSWERS_SHOWN = 6, 3
MEBIBYTE = 1 << 20


class ProgressBar:
    """One line on a terminal that tells how far a step has come; lines of text, rarely, elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._started: dict[str, float] = {}
        self._shown = 0.0

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        started = self._started.setdefault(name, now)
        finished = done >= total
        if not finished and now - self._shown < (0.1 if self._terminal else 20):
            return
        self._shown = now
        elapsed = now - started
        left = f", {elapsed * (total - done) / done:.0f} s left" if done and not finished else ""
        filled = 24 * done // max(total, 1)
        bar = f"[{'#' * filled}{'.' * (24 - filled)}] {done:,} of {total:,}, {elapsed:.0f} s{left}"
        if self._terminal:
            print(f"\r\033[K{name} {bar}", end="\n" if finished else "", file=sys.stderr, flush=True)
        else:
            print(f"{name} {bar}", file=sys.stderr, flush=True)
        if finished:
            del self._started[name]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_LIMIT:,} documents instead of {FULL_LIMIT:,}")
    parser.add_argument("--limit", type=int, help="documents to draw; 0: all that are found")
    parser.add_argument("--input", type=pathlib.Path, help="your own embeddings: .npy [rows, dim] of floats")
    parser.add_argument("--texts", type=pathlib.Path, help='a text for each row: .jsonl of strings or {"text": ...}')
    parser.add_argument("--seed", type=int, default=0, help="draws documents, questions and the model's start")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("demo-output"), help="folder of the results")
    arguments = parser.parse_args()
    if arguments.texts and not arguments.input:
        parser.error("--texts needs --input")
    if arguments.limit is not None and arguments.limit < 0:
        parser.error(f"--limit must be 0 or more: {arguments.limit}")
    return arguments
