"""The program `arfc` as its users meet it: files in, exit codes, one result, and what survives."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import arfc
import numpy as np
import pytest

DIM = 32
NOBODY = 65534

Completed = subprocess.CompletedProcess[str]

# The exit codes of docs/cli.md.
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, UNSUPPORTED = 2, 3, 4, 5, 6
RESOURCE_EXHAUSTED, CORRUPTION, IO, CANCELLED = 7, 8, 9, 13


class Cli:
    """Runs the program; what it says is kept for the assertions."""

    def __init__(self, program: pathlib.Path) -> None:
        self.program = program

    def run(self, *arguments: Any, expected: int = 0, **options: Any) -> Completed:
        done = subprocess.run(
            [self.program, *map(str, arguments)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False,
            **options,
        )  # fmt: skip
        assert done.returncode == expected, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: Any) -> Any:
        """Returns the result of a run, which is all that is on standard output."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def refused(self, code: int, *arguments: Any, **options: Any) -> str:
        """Returns the sentence of a run that is refused, the only line on standard error."""
        done = self.run(*arguments, "--quiet", expected=code, **options)
        assert done.stdout == ""
        assert done.stderr.startswith("arfc: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.removeprefix("arfc: ").strip()


@pytest.fixture(scope="session")
def cli(program: pathlib.Path) -> Cli:
    return Cli(program)


@pytest.fixture(scope="session")
def rows(clustered_rows) -> np.ndarray:
    return clustered_rows(2000, DIM)


@pytest.fixture(scope="session")
def files(rows: np.ndarray, clustered_rows, tmp_path_factory) -> pathlib.Path:
    """Rows as rows.npy, rows.fvecs and rows.jsonl, payloads, and queries.npy."""
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "rows.npy", rows)
    np.save(folder / "queries.npy", clustered_rows(20, DIM, seed=1))
    widths = np.full((len(rows), 1), DIM, dtype="<i4").view("<f4")
    np.hstack([widths, rows]).tofile(folder / "rows.fvecs")
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps({"vector": row.tolist()}) + "\n")
    with open(folder / "payloads.jsonl", "w", encoding="utf-8") as lines:
        for i in range(len(rows)):
            lines.write(json.dumps({"text": f"row ü {i}", "odd": i % 2 == 1}) + "\n")
    return folder


@pytest.fixture(scope="session")
def model(cli: Cli, files: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    cli.run("train", "--input", files / "rows.npy", "--output", folder, "--bytes", 24)
    return folder


@pytest.fixture(scope="session")
def collection(cli: Cli, files: pathlib.Path, model: pathlib.Path, tmp_path_factory):
    """A collection of every row with its payload; tests only read it."""
    folder = tmp_path_factory.mktemp("collection") / "rows"
    cli.run(
        "ingest", "--collection", folder, "--input", files / "rows.npy", "--create",
        "--factory", "ARFC24/8", "--model", model, "--payloads", files / "payloads.jsonl",
    )  # fmt: skip
    return folder


def found_ids(cli: Cli, collection: pathlib.Path, query: np.ndarray, k: int, *more: str) -> list:
    """Returns the ids of a search's answer, best first."""
    text = json.dumps(query.tolist())
    answer = cli.json("search", "--collection", collection, "--query", text, "-k", k, *more)
    return [hit["id"] for hit in answer["results"][0]["hits"]]


def json_lines(path: pathlib.Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make_raw(cli: Cli, folder: pathlib.Path, source: pathlib.Path, *more: Any) -> Any:
    """Creates a collection of float32 rows; returns the result."""
    return cli.json("ingest", "--collection", folder, "--input", source, "--create", *more)


class TestTrain:
    def test_prints_held_out_recall_a_prefix(self, cli, files, tmp_path):
        done = cli.run(
            "train", "--input", files / "rows.npy", "--output", tmp_path / "m", "--bytes", 24
        )
        assert re.search(r"^ +24 bytes  0\.\d{3}$", done.stdout, re.MULTILINE), done.stdout
        assert "arfc: train" in done.stderr
        assert "held-out recall" in done.stderr or "error" in done.stderr
        assert {p.name for p in (tmp_path / "m").iterdir()} >= {"config.json", "model.safetensors"}

    def test_recall_grows_with_the_prefix(self, cli, model):
        report = cli.json("inspect", model)
        assert report["kind"] == "model"
        assert (report["dim"], report["code_bytes"], report["metric"]) == (DIM, 24, "cosine")
        recall = [point["recall_at_10"] for point in report["held_out_recall"]]
        sizes = [point["bytes"] for point in report["held_out_recall"]]
        assert sizes == sorted(sizes)
        assert sizes[-1] == 24
        assert recall[-1] > recall[0]
        assert recall[-1] > 0.8

    def test_says_what_parts_of_the_training_add(self, cli, clustered_rows, tmp_path):
        np.save(tmp_path / "rows.npy", clustered_rows(2600, 8))
        done = cli.run("train", tmp_path / "rows.npy", "--output", tmp_path / "m", "--bytes", 4)
        said = re.findall(
            r"^  (\w+) +(?:0\.\d{3} at 1, 0\.\d{3} at 2, 0\.\d{3} at 4, )?"
            r"(kept|no gain, left out)$",
            done.stdout,
            re.MULTILINE,
        )
        assert [part for part, _ in said] == ["codebooks", "landmarks", "relations"], done.stdout
        parts = cli.json("inspect", tmp_path / "m")["parts"]
        assert [part["part"] for part in parts] == ["codebooks", "landmarks", "relations"]
        assert parts[0]["is_kept"]
        for part, (_, verdict) in zip(parts, said, strict=True):
            assert part["is_kept"] == (verdict == "kept")
            sizes = [point["bytes"] for point in part["held_out_recall"]]
            assert sizes == ([1, 2, 4] if part["part"] != "relations" or part["is_kept"] else [])
        model = arfc.Compressor.load(tmp_path / "m")
        for part, listed in zip(model.report.parts, parts, strict=True):
            assert (part.part, part.is_kept) == (listed["part"], listed["is_kept"])
            points = {p["bytes"]: p["recall_at_10"] for p in listed["held_out_recall"]}
            assert part.recall == points

    def test_same_seed_same_model(self, cli, files, model, tmp_path):
        def identity(seed: int) -> str:
            return cli.json(
                "train", files / "rows.npy", "--output", tmp_path / str(seed), "--bytes", 24,
                "--seed", seed,
            )["id"]  # fmt: skip

        assert identity(0) == cli.json("inspect", model)["id"]
        assert identity(1) != identity(0)

    def test_every_format_gives_the_same_model(self, cli, files, tmp_path):
        def identity(form: str) -> str:
            output = tmp_path / form
            return cli.json("train", files / f"rows.{form}", "--output", output, "--bytes", 4)["id"]

        assert identity("npy") == identity("fvecs")

    def test_a_compact_model_is_smaller_and_serves(self, cli, files, model, tmp_path):
        result = cli.json(
            "train", files / "rows.npy", "--output", tmp_path / "m", "--bytes", 24, "--compact"
        )
        small, large = (
            (path / "model.safetensors").stat().st_size for path in (tmp_path / "m", model)
        )
        assert small < 0.52 * large
        assert cli.json("inspect", tmp_path / "m")["id"] == result["id"]
        recall = result["held_out_recall"][-1]["recall_at_10"]
        assert recall > cli.json("inspect", model)["held_out_recall"][-1]["recall_at_10"] - 0.02

    def test_unusable_rows_are_left_out_and_said(self, cli, rows, tmp_path):
        bad = rows[:1000].copy()
        bad[3], bad[7, 5] = 0, np.nan
        np.save(tmp_path / "bad.npy", bad)
        done = cli.run(
            "train", tmp_path / "bad.npy", "--output", tmp_path / "m", "--bytes", 4, "--json"
        )
        report = json.loads(done.stdout)
        assert report["rows_rejected"] == 2
        assert report["trained_rows"] + report["held_out_rows"] == 998
        assert "the first is row 3: Embedding is all zero" in done.stderr

    def test_ends_within_its_time_budget(self, cli, clustered_rows, tmp_path):
        np.save(tmp_path / "many.npy", clustered_rows(20_000, 128))
        report = cli.json(
            "train", tmp_path / "many.npy", "--output", tmp_path / "m", "--time-budget", 1
        )
        assert report["stopped_by_budget"]
        assert cli.json("inspect", tmp_path / "m")["stopped_by_budget"]

    def test_ctrl_c_leaves_what_can_be_gone_on_with_or_nothing(self, cli, clustered_rows, tmp_path):
        np.save(tmp_path / "many.npy", clustered_rows(50_000, 256))
        process = subprocess.Popen(
            [cli.program, "train", tmp_path / "many.npy", "--output", tmp_path / "m"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in process.stderr:
            if line.startswith("arfc: train"):
                process.send_signal(signal.SIGINT)
                break
        out, errors = process.communicate(timeout=120)
        assert process.returncode == CANCELLED
        assert out == ""
        if (tmp_path / "m").exists():  # Something was learned before the signal came.
            assert [path.name for path in (tmp_path / "m").iterdir()] == ["checkpoint"]
            assert "--resume goes on from" in errors

    def test_learns_what_queries_of_another_kind_need(self, cli, clustered_rows, tmp_path):
        rows = clustered_rows(2600, DIM)
        np.save(tmp_path / "rows.npy", rows)
        random = np.random.default_rng(6)
        np.save(tmp_path / "queries.npy", random.standard_normal((300, DIM)).astype(np.float32))
        train = (
            "train", tmp_path / "rows.npy", "--output", tmp_path / "m", "--bytes", 4, "--queries",
        )  # fmt: skip
        result = cli.json(*train, tmp_path / "queries.npy")
        assert "landmarks of queries" in [part["part"] for part in result["parts"]]
        assert result["id"] == cli.json("inspect", tmp_path / "m")["id"]
        plain = cli.json(*train[:2], "--output", tmp_path / "plain", "--bytes", 4)
        # The same rows measure without queries; those lie in all directions and are hard to serve.
        longest = [found["held_out_recall"][-1]["recall_at_10"] for found in (result, plain)]
        assert longest[0] < longest[1]

        np.save(tmp_path / "few.npy", rows[:99])
        message = cli.refused(INVALID_ARGUMENT, *train, tmp_path / "few.npy")
        assert "Queries are too few" in message and ": 99, at least 100" in message
        np.save(tmp_path / "none.npy", rows[:0])
        message = cli.refused(INVALID_ARGUMENT, *train, tmp_path / "none.npy")
        assert "File of queries has no rows" in message
        bad = rows[:200].copy()
        bad[7] = 0
        np.save(tmp_path / "bad.npy", bad)
        message = cli.refused(INVALID_ARGUMENT, *train, tmp_path / "bad.npy")
        assert "File of queries has a row that cannot be used" in message and "row 7 of" in message
        message = cli.refused(INVALID_ARGUMENT, *train, tmp_path / "queries.npy", "--no-relations")
        assert "Queries serve relations, which are left out" in message

    def test_learns_from_pairs_and_says_what_they_gave(self, cli, files, tmp_path):
        random = np.random.default_rng(5)  # Pairs share what is weak, and nothing else.
        queries = np.load(files / "rows.npy")[:1500] * np.linspace(3, 0.5, DIM, dtype=np.float32)
        relevant = queries[random.permutation(1500)]
        relevant[:, DIM // 2 :] = queries[:, DIM // 2 :]
        for name, values in (("queries", queries), ("relevant", relevant)):
            np.save(tmp_path / f"{name}.npy", values)
        train = ("train", files / "rows.npy", "--output", tmp_path / "m", "--bytes", 4)
        sides = ("--pair-queries", tmp_path / "queries.npy", "--pair-rows")
        pairs = cli.json(*train, *sides, tmp_path / "relevant.npy")["pairs"]
        assert pairs["is_kept"] and pairs["pairs"] == 1500
        assert pairs["unseen"]["after"] > pairs["unseen"]["before"] + 0.1
        assert cli.json("inspect", tmp_path / "m")["pairs"] == pairs
        text = cli.run("inspect", tmp_path / "m").stdout
        assert "1,500, rows are mapped as they taught" in text
        assert "held-out queries answered rightly before" in text

        assert "--pair-rows" in cli.refused(INVALID_ARGUMENT, *train, *sides[:2])
        assert "1500, 20" in cli.refused(INVALID_ARGUMENT, *train, *sides, files / "queries.npy")
        relevant[7] = 0
        np.save(tmp_path / "zero.npy", relevant)
        message = cli.refused(INVALID_ARGUMENT, *train, *sides, tmp_path / "zero.npy")
        assert "Pair has a row that cannot be used" in message and "row 7 of" in message

    def test_holds_a_sample_of_a_file(self, cli, files, model, tmp_path):
        def train(form: str, sample: int, *more: Any) -> Any:
            return cli.json(
                "train", files / f"rows.{form}", "--output", tmp_path / f"{form}{sample}",
                "--bytes", 4, "--sample", sample, *more,
            )  # fmt: skip

        fewer = train("npy", 1500)
        assert (fewer["rows_read"], fewer["rows_sampled"], fewer["rows_rejected"]) == (
            2000,
            1500,
            0,
        )
        assert fewer["trained_rows"] + fewer["held_out_rows"] == 1500
        assert train("fvecs", 1500)["id"] == fewer["id"], "whatever the format"
        whole = train("npy", 2000)
        assert (whole["rows_read"], whole["rows_sampled"]) == (2000, 2000)
        assert whole["id"] == train("npy", 2001)["id"] != fewer["id"]
        assert train("npy", 1500, "--seed", 1)["id"] != fewer["id"]
        message = cli.refused(
            INVALID_ARGUMENT, "train", files / "rows.npy", "--output", tmp_path / "m", "--sample", 0
        )
        assert "0 rows of 32" in message
        assert not (tmp_path / "m").exists()

    def test_memory_bounds_the_sample(self, cli, files, tmp_path):
        train = ("train", files / "rows.npy", "--output", tmp_path / "m", "--bytes", 4)
        message = cli.refused(RESOURCE_EXHAUSTED, *train, "--max-memory", "20M")
        assert "at most 20.0 MiB" in message
        assert cli.json(*train, "--max-memory", "4G")["rows_sampled"] == 2000
        assert "100Q" in cli.refused(INVALID_ARGUMENT, *train, "--max-memory", "100Q")

    def test_refuses_an_output_that_is_something_else(self, cli, files, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        message = cli.refused(ALREADY_EXISTS, "train", files / "rows.npy", "--output", tmp_path)
        assert str(tmp_path) in message
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_takes_what_a_kill_in_the_first_checkpoint_left(self, cli, files, tmp_path):
        (tmp_path / "m" / "checkpoint").mkdir(parents=True)
        (tmp_path / "m" / "checkpoint" / "training.checkpoint.tmp").write_text("half")
        cli.run("train", files / "rows.npy", "--output", tmp_path / "m", "--bytes", 4)
        assert not (tmp_path / "m" / "checkpoint").exists()


def checkpoint_steps(output: pathlib.Path) -> list[str]:
    """Returns the names of the steps in the checkpoint of a training, the one on its way last."""
    try:
        with open(output / "checkpoint" / "training.checkpoint", "rb") as file:
            assert file.readline() == b"arfc training checkpoint\n"
            assert re.fullmatch(rb"[0-9a-f]{64}\n", file.readline())
            header = json.loads(file.readline())
    except FileNotFoundError:
        return []
    unfinished = [header["unfinished"]] if "unfinished" in header else []
    return [step["name"] for step in header["steps"] + unfinished]


@pytest.fixture(scope="module")
def training(clustered_rows, tmp_path_factory) -> list[Any]:
    """A training of a few seconds, without its output."""
    path = tmp_path_factory.mktemp("resume") / "rows.npy"
    np.save(path, clustered_rows(3000, DIM))
    return ["train", path, "--bytes", 20, "--threads", 1, "--sample", 2400]


@pytest.fixture(scope="module")
def identity(cli, training, tmp_path_factory) -> str:
    """Of the model that nothing interrupted."""
    return cli.json(*training, "--output", tmp_path_factory.mktemp("whole") / "m")["id"]


class TestResume:
    def kill(self, cli, training, output, step: str, *more: str) -> None:
        """Kills a training when its checkpoint has come to a step."""
        process = subprocess.Popen(
            [cli.program, *map(str, training), "--output", output, "--checkpoint-every=0", *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        while step not in checkpoint_steps(output):
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.005)
        process.kill()
        process.communicate()

    @pytest.mark.parametrize("step", ["whole-space 5", "relations", "axes of the residual"])
    def test_after_kill_9_the_model_is_the_same(self, cli, training, identity, tmp_path, step):
        output = tmp_path / "m"
        self.kill(cli, training, output, step)
        before = len(checkpoint_steps(output))
        result = cli.json(*training, "--output", output, "--resume")
        assert before > 5
        assert result["id"] == identity
        assert {path.name for path in output.iterdir()} == {
            "config.json", "model.safetensors", "manifest.json",
        }  # fmt: skip
        assert cli.json("inspect", output)["id"] == identity

    def test_killed_again_and_again(self, cli, training, identity, tmp_path):
        self.kill(cli, training, tmp_path / "m", "whole-space 2")
        self.kill(cli, training, tmp_path / "m", "whole-space 9", "--resume")
        self.kill(cli, training, tmp_path / "m", "relations", "--resume")
        assert cli.json(*training, "--output", tmp_path / "m", "--resume")["id"] == identity

    def test_without_resume_it_starts_anew(self, cli, training, identity, tmp_path):
        self.kill(cli, training, tmp_path / "m", "whole-space 2")
        done = cli.run(*training, "--output", tmp_path / "m", "--json")
        assert json.loads(done.stdout)["id"] == identity
        assert "--resume goes on from it" in done.stderr
        assert not (tmp_path / "m" / "checkpoint").exists()

    def test_refuses_what_does_not_fit(self, cli, training, clustered_rows, tmp_path):
        output = tmp_path / "m"
        resume = [*training, "--output", output, "--resume"]
        assert "leave out --resume" in cli.refused(NOT_FOUND, *resume)
        assert not output.exists()
        self.kill(cli, training, output, "whole-space 2")
        assert "in metric" in cli.refused(FAILED_PRECONDITION, *resume, "--metric", "ip")
        assert "in rows: 2400, now 2300" in cli.refused(
            FAILED_PRECONDITION, *resume[:-4], 2300, *resume[-3:]
        )
        np.save(tmp_path / "others.npy", clustered_rows(3000, DIM, seed=9))
        assert "other rows" in cli.refused(
            FAILED_PRECONDITION, "train", tmp_path / "others.npy", *resume[2:]
        )
        file = output / "checkpoint" / "training.checkpoint"
        file.write_bytes(file.read_bytes()[:-100])
        assert "damaged" in cli.refused(CORRUPTION, *resume)


class TestIngest:
    def test_reconciles(self, cli, files, collection):
        info = cli.json("inspect", collection)
        assert (info["kind"], info["points"], info["dim"]) == ("collection", 2000, DIM)
        assert (info["code_bytes"], info["stage_bytes"]) == (24, [8, 24])
        assert info["factory"] == "ARFC24/8"

    def test_every_format_stores_the_same_rows(self, cli, files, tmp_path, rows):
        answers = []
        for form in ("npy", "fvecs", "jsonl"):
            result = make_raw(cli, tmp_path / form, files / f"rows.{form}", "--batch", 300)
            assert (result["rows_in"], result["rows_stored"], result["points"]) == (2000,) * 3
            answers.append(
                cli.json(
                    "search", "--collection", tmp_path / form, "--queries", files / "queries.npy"
                )["results"]
            )
        assert answers[0] == answers[1] == answers[2]
        queries = np.load(files / "queries.npy")
        expected = np.argsort(-(queries @ rows.T), axis=1)[:, :10]
        found = [[hit["id"] for hit in query["hits"]] for query in answers[0]]
        assert found == expected.tolist()

    @pytest.mark.parametrize("dtype", ["<f2", "<f8"])
    def test_other_widths_of_floats(self, cli, rows, tmp_path, dtype):
        np.save(tmp_path / "rows.npy", rows[:50].astype(dtype))
        make_raw(cli, tmp_path / "c", tmp_path / "rows.npy")
        assert found_ids(cli, tmp_path / "c", rows[7], 1) == [7]

    def test_train_after_loading(self, cli, files, tmp_path, rows):
        result = make_raw(
            cli, tmp_path / "c", files / "rows.npy", "--factory", "ARFC32/8,IVF16", "--train"
        )
        assert result["training"]["rows"] == 2000
        assert result["training"]["held_out_recall"] > 0.5
        info = cli.json("inspect", tmp_path / "c")
        assert info["model_id"] == result["training"]["model_id"]
        assert (info["nlist"], info["points"], info["code_bytes"]) == (16, 2000, 32)
        assert info["has_raw"] is not result["training"]["raw_dropped"]
        assert found_ids(cli, tmp_path / "c", rows[7], 1, "--exact") == [7]
        message = cli.refused(
            FAILED_PRECONDITION,
            "ingest", "--collection", tmp_path / "c", "--input", files / "rows.npy", "--train",
        )  # fmt: skip
        assert "has a model already" in message

    def test_rejected_rows_reconcile(self, cli, rows, tmp_path):
        bad = rows[:500].copy()
        bad[[3, 77]], bad[5, 0], bad[499, DIM - 1] = 0, np.nan, np.inf
        np.save(tmp_path / "bad.npy", bad)
        result = make_raw(
            cli, tmp_path / "c", tmp_path / "bad.npy",
            "--batch", 64, "--rejects", tmp_path / "rejects.jsonl", "--start-id", 1000,
        )  # fmt: skip
        assert (result["rows_in"], result["rows_stored"], result["rows_rejected"]) == (500, 496, 4)
        assert result["points"] == 496
        rejects = json_lines(tmp_path / "rejects.jsonl")
        assert {reject["row"] for reject in rejects} == {3, 5, 77, 499}
        assert rejects[:2] == result["first_rejected"][:2]
        reasons = {reject["row"]: reject["reason"] for reject in rejects}
        assert reasons[5] == "Embedding holds NaN, at position: 0"
        assert reasons[499] == f"Embedding holds an infinity, at position: {DIM - 1}"
        stored = set(found_ids(cli, tmp_path / "c", rows[0], 500))
        assert stored == {1000 + i for i in range(500)} - {1003, 1005, 1077, 1499}

    def test_bad_lines_are_rejected_with_their_numbers(self, cli, rows, tmp_path):
        good = {"id": 7, "vector": rows[7].tolist(), "payload": {"text": "seven"}}
        lines = [
            json.dumps(good), "", "{", json.dumps({"vector": [1.0, 2.0]}),
            json.dumps({"id": -3, "vector": rows[1].tolist()}),
            json.dumps({"vector": rows[2].tolist()}),
        ]  # fmt: skip
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        result = make_raw(
            cli, tmp_path / "c", tmp_path / "rows.jsonl", "--rejects", tmp_path / "rejects.jsonl"
        )
        assert (result["rows_in"], result["rows_stored"], result["rows_rejected"]) == (5, 2, 3)
        rejects = json_lines(tmp_path / "rejects.jsonl")
        assert [(reject["row"], reject["line"]) for reject in rejects] == [(1, 3), (2, 4), (3, 5)]
        assert rejects[1]["reason"].endswith(f": 2, expected {DIM}")
        assert sorted(found_ids(cli, tmp_path / "c", rows[2], 9)) == [4, 7]

    def test_ids_and_payloads_come_back(self, cli, rows, tmp_path):
        np.save(tmp_path / "rows.npy", rows[:3])
        np.save(tmp_path / "ids.npy", np.array([5, 2**64 - 1, 9], dtype=np.uint64))
        (tmp_path / "p.jsonl").write_text('{"a": {"b": [1, "ü"]}}\n\n{"c": null}\n')
        make_raw(
            cli, tmp_path / "c", tmp_path / "rows.npy",
            "--ids", tmp_path / "ids.npy", "--payloads", tmp_path / "p.jsonl",
        )  # fmt: skip
        answer = cli.json(
            "search", "--collection", tmp_path / "c", "--queries", tmp_path / "rows.npy",
            "-k", 1, "--with-payload",
        )  # fmt: skip
        hits = [query["hits"][0] for query in answer["results"]]
        assert [hit["id"] for hit in hits] == [5, 2**64 - 1, 9]
        assert [hit["payload"] for hit in hits] == [{"a": {"b": [1, "ü"]}}, None, {"c": None}]

    def test_a_second_load_replaces_points(self, cli, rows, files, tmp_path):
        make_raw(cli, tmp_path / "c", files / "rows.npy")
        np.save(tmp_path / "one.npy", -rows[7:8])
        result = cli.json(
            "ingest", "--collection", tmp_path / "c", "--input", tmp_path / "one.npy",
            "--start-id", 7,
        )  # fmt: skip
        assert (result["rows_stored"], result["points"]) == (1, 2000)
        assert found_ids(cli, tmp_path / "c", -rows[7], 1) == [7]

    def test_when_every_row_is_rejected_it_fails(self, cli, tmp_path):
        np.save(tmp_path / "zero.npy", np.zeros((5, DIM), np.float32))
        done = cli.run(
            "ingest", "--collection", tmp_path / "c", "--input", tmp_path / "zero.npy", "--create",
            "--json", "--quiet", expected=INVALID_ARGUMENT,
        )  # fmt: skip
        assert json.loads(done.stdout)["rows_rejected"] == 5
        assert "Every row was rejected, rows: 5" in done.stderr

    def test_memory_stays_bounded(self, cli, tmp_path):
        # 1 GiB of zero rows, a hole on the disk: all are rejected under cosine, none is kept.
        count, dim = 1 << 20, 256
        np.lib.format.open_memmap(tmp_path / "zero.npy", "w+", np.float32, (count, dim))
        process = subprocess.Popen(
            [cli.program, "ingest", "--collection", tmp_path / "c", "--create", "--json",
             "--input", tmp_path / "zero.npy", "--max-memory", "800M"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        result = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == INVALID_ARGUMENT
        assert result["rows_in"] == result["rows_rejected"] == count
        assert usage.ru_maxrss * 1024 < 800e6

    def test_memory_limit_ends_it(self, cli, files, tmp_path):
        message = cli.refused(
            RESOURCE_EXHAUSTED, "ingest", "--collection", tmp_path / "c", "--create",
            "--input", files / "rows.npy", "--max-memory", "1M",
        )  # fmt: skip
        assert "at most 1.0 MiB; rows stored and durable: 0, rejected: 0" in message

    def test_rejects_never_replace_an_input(self, cli, rows, tmp_path):
        np.save(tmp_path / "rows.npy", rows[:5])
        (tmp_path / "same.npy").hardlink_to(tmp_path / "rows.npy")
        message = cli.refused(
            INVALID_ARGUMENT, "ingest", tmp_path / "rows.npy", "--collection", tmp_path / "c",
            "--create", "--rejects", tmp_path / "same.npy",
        )  # fmt: skip
        assert "would replace an input" in message
        assert np.array_equal(np.load(tmp_path / "rows.npy"), rows[:5])

    def test_a_training_that_is_stopped_keeps_the_rows(self, cli, clustered_rows, tmp_path):
        np.save(tmp_path / "rows.npy", clustered_rows(20_000, 64))
        process = subprocess.Popen(
            [cli.program, "ingest", tmp_path / "rows.npy", "--collection", tmp_path / "c",
             "--create", "--factory", "ARFC32/8", "--train"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in process.stderr:
            if line.startswith("arfc: train"):
                process.send_signal(signal.SIGTERM)
                break
        out, error = process.communicate(timeout=120)
        assert process.returncode == CANCELLED
        assert out == ""
        assert "keeps its rows as float32, points: 20000" in error
        info = cli.json("inspect", tmp_path / "c")
        assert (info["points"], info["model_id"], info["has_raw"]) == (20_000, None, True)

    def test_a_wrong_file_leaves_no_collection(self, cli, files, tmp_path):
        for bad, code in (("absent.npy", NOT_FOUND), ("cut.npy", CORRUPTION)):
            (tmp_path / "cut.npy").write_bytes((files / "rows.npy").read_bytes()[:-1])
            new = ("--collection", tmp_path / "c", "--create")
            cli.refused(code, "ingest", *new, "--input", tmp_path / bad)
            assert not (tmp_path / "c").exists()


class TestSearch:
    def test_finds_what_exact_search_finds(self, cli, collection, files, rows):
        queries = np.load(files / "queries.npy")
        truth = np.argsort(-(queries @ rows.T), axis=1)[:, :10]
        answer = cli.json("search", "--collection", collection, "--queries", files / "queries.npy")
        found = [{hit["id"] for hit in query["hits"]} for query in answer["results"]]
        recall = np.mean([len(f & set(t)) / 10 for f, t in zip(found, truth.tolist(), strict=True)])
        assert recall > 0.8
        assert [stage["bytes"] for stage in answer["stages"]] == [8, 24]
        assert answer["stages"][0]["candidates"] == 20 * 2000
        scores = [[hit["score"] for hit in query["hits"]] for query in answer["results"]]
        assert all(s == sorted(s, reverse=True) for s in scores)

    def test_answers_are_the_same_in_every_process(self, cli, collection, files):
        search = ("search", "--collection", collection, "--queries", files / "queries.npy")
        assert cli.json(*search)["results"] == cli.json(*search)["results"]

    def test_stages_are_obeyed(self, cli, collection, rows):
        answer = cli.json(
            "search", "--collection", collection, "--query", json.dumps(rows[3].tolist()),
            "--stages", "8:50,24", "-k", 5,
        )  # fmt: skip
        assert [stage["candidates"] for stage in answer["stages"]] == [2000, 50]
        assert len(answer["results"][0]["hits"]) == 5
        assert answer["results"][0]["hits"][0]["id"] == 3

    def test_text_shows_scores_ids_and_payloads(self, cli, collection, rows):
        done = cli.run(
            "search", "--collection", collection, "--query", json.dumps(rows[3].tolist()),
            "--with-payload", "-k", 2,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        assert lines[0] == "query 0"
        assert re.fullmatch(r'  0\.\d{6}  id 3  \{"text":"row ü 3","odd":true\}', lines[1])

    def test_works_beside_a_writer(self, cli, rows, files, tmp_path):
        make_raw(cli, tmp_path / "c", files / "rows.npy")
        with piped_ingest(cli, tmp_path / "c", tmp_path) as (_, pipe):
            pipe.write(json.dumps({"vector": rows[0].tolist()}) + "\n")
            pipe.flush()
            assert found_ids(cli, tmp_path / "c", rows[7], 1) == [7]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["--query", "[1, 2]"], f"differs from the collection's: 2, expected {DIM}"),
            (["--query", "[1, x]"], "not a JSON array"),
            (["--query", json.dumps([0.0] * DIM)], "zero"),
            (["--query", json.dumps([1.0] * DIM), "-k", "0"], "0"),
            (["--query", json.dumps([1.0] * DIM), "--stages", "16"], "16"),
            (["--query", json.dumps([1.0] * DIM), "--stages", "24,8"], "do not ascend"),
            (["--query", json.dumps([1.0] * DIM), "--nprobe", "-1"], "nprobe: not a whole number"),
            ([], "one of --query and --queries"),
        ],
    )
    def test_refuses_what_it_cannot_mean(self, cli, collection, arguments, text):
        message = cli.refused(INVALID_ARGUMENT, "search", "--collection", collection, *arguments)
        assert text in message


class TestInspect:
    def test_says_where_the_bytes_go(self, cli, collection):
        info = cli.json("inspect", collection)
        share = info["bytes_per_point"]
        assert share["code"] == 24
        assert share["resident_head"] >= 8
        assert share["resident_id"] == 8
        assert share["resident"] * info["points"] == pytest.approx(info["resident_bytes"])
        assert share["disk"] * info["points"] == pytest.approx(info["disk_bytes"])
        assert info["held_out_recall"][-1]["bytes"] == 24
        text = cli.run("inspect", collection).stdout
        assert "2,000" in text
        assert "resident_head" in text

    def test_damaged_models_are_told(self, cli, model, tmp_path):
        shutil.copytree(model, tmp_path / "m")
        weights = tmp_path / "m" / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        assert "SHA-256" in cli.refused(CORRUPTION, "inspect", tmp_path / "m")

    def test_other_directories_are_no_collections(self, cli, tmp_path):
        cli.refused(NOT_FOUND, "inspect", tmp_path / "absent")
        cli.refused(NOT_FOUND, "inspect", tmp_path)


@pytest.fixture(scope="module")
def unlike(tmp_path_factory) -> pathlib.Path:
    """Rows without any structure."""
    path = tmp_path_factory.mktemp("unlike") / "unlike.npy"
    rows = np.random.default_rng(0).normal(size=(1500, DIM)).astype(np.float32)
    np.save(path, rows)
    return path


class TestDrift:
    def test_tells_rows_of_the_same_kind_from_others(
        self, cli, model, unlike, clustered_rows, tmp_path
    ):
        np.save(tmp_path / "alike.npy", clustered_rows(1500, DIM, seed=5))
        alike = cli.json("drift", "--model", model, "--input", tmp_path / "alike.npy")
        assert alike["beyond_threshold"] is False
        assert alike["rows"] == alike["rows_read"] == 1500
        assert alike["model_id"] == cli.json("inspect", model)["id"]
        assert [point["bytes"] for point in alike["points"]] == [8, 16, 24]
        other = cli.json("drift", "--model", model, "--input", unlike)
        assert other["beyond_threshold"] is True
        for point, same in zip(other["points"], alike["points"], strict=True):
            assert point["held_out_residual"] == same["held_out_residual"]
            assert point["ratio"] > point["threshold"] > same["ratio"] > 0.7

    def test_text_is_a_table_and_a_sentence(self, cli, model, unlike, files):
        text = cli.run("drift", "--model", model, unlike).stdout
        assert re.search(r"^ +24( +\d\.\d{4}){2}( +\d+\.\d\d){2}$", text, re.MULTILINE), text
        assert "Rows are unlike those that the model was trained on" in text
        assert text.endswith("rows: 1,500\n")
        text = cli.run("drift", "--model", model, files / "rows.jsonl").stdout
        assert "Rows are like those that the model was trained on, rows: 2,000" in text

    def test_measures_a_sample(self, cli, model, files):
        first, second, other = (
            cli.json("drift", "--model", model, files / "rows.npy", "--sample", 300, "--seed", seed)
            for seed in (1, 1, 2)
        )
        assert first == second
        assert (first["rows"], first["rows_read"]) == (300, 2000)
        assert first["points"] != other["points"]

    def test_unusable_rows_are_left_out(self, cli, model, rows, tmp_path):
        bad = rows[:50].copy()
        bad[3] = np.nan
        np.save(tmp_path / "bad.npy", bad)
        result = cli.json("drift", "--model", model, tmp_path / "bad.npy")
        assert (result["rows"], result["rows_read"], result["rows_rejected"]) == (49, 50, 1)
        np.save(tmp_path / "bad.npy", bad[3:4])
        assert "no row that the model can encode" in cli.refused(
            INVALID_ARGUMENT, "drift", "--model", model, tmp_path / "bad.npy"
        )

    def test_refuses_what_it_cannot_tell(self, cli, model, rows, files, tmp_path):
        np.save(tmp_path / "few.npy", rows[:500])
        cli.run("train", tmp_path / "few.npy", "--output", tmp_path / "m", "--bytes", 8)
        assert "does not know how well it codes rows" in cli.refused(
            FAILED_PRECONDITION, "drift", "--model", tmp_path / "m", files / "rows.npy"
        )
        np.save(tmp_path / "wide.npy", np.ones((5, DIM + 1), np.float32))
        assert "expected 32" in cli.refused(
            INVALID_ARGUMENT, "drift", "--model", model, tmp_path / "wide.npy"
        )
        cli.refused(NOT_FOUND, "drift", "--model", tmp_path / "absent", files / "rows.npy")
        cli.refused(INVALID_ARGUMENT, "drift", "--model", model, files / "rows.npy", "--sample", 0)

    def test_ingest_warns_once(self, cli, model, unlike, files, tmp_path):
        arguments = ("ingest", "--create", "--model", model, "--factory", "ARFC24/8")
        done = cli.run(*arguments, "--collection", tmp_path / "a", "--input", unlike)
        assert done.stderr.count("Rows are unlike those that the model was trained on") == 1
        said = re.search(
            r"^arfc: Rows are unlike .* leave (\d+\.\d\d) times .*, expected at most (\d+\.\d\d)$",
            done.stderr,
            re.MULTILINE,
        )
        assert said, done.stderr
        assert float(said[1]) > float(said[2]) > 1.0
        done = cli.run(*arguments, "--collection", tmp_path / "b", "--input", files / "rows.npy")
        assert "Rows are unlike" not in done.stderr
        more = ("ingest", "--collection", tmp_path / "b", "--input", unlike)
        result = cli.json(*more, "--start-id", 5000)
        assert result["drift"]["beyond_threshold"] is True
        assert result["drift"]["rows"] == 1000
        assert result["rows_stored"] == 1500
        raw = make_raw(cli, tmp_path / "c", unlike, "--factory", "ARFC24/8")
        assert "drift" not in raw  # There is no model yet.

    def test_a_long_load_warns_early_and_once(self, cli, model, tmp_path, rows):
        random = np.random.default_rng(1)
        np.save(tmp_path / "long.npy", random.normal(size=(6000, DIM)).astype(np.float32))
        done = cli.run(
            "ingest", "--create", "--model", model, "--factory", "ARFC24/8",
            "--collection", tmp_path / "c", "--input", tmp_path / "long.npy",
        )  # fmt: skip
        assert done.stderr.count("Rows are unlike") == 1

    def test_inspect_shows_what_codes_leave(self, cli, model, collection):
        for path in (model, collection):
            points = cli.json("inspect", path)["held_out_residual"]
            assert [point["bytes"] for point in points] == [8, 16, 24]
            assert 0 < points[-1]["share"] < points[0]["share"] < 1
            text = cli.run("inspect", path).stdout
            assert "share of their squared length that codes leave" in text
            assert f"    24 bytes  {points[-1]['share']:.4f}" in text


class TestReadyModel:
    NAME = "ready:all-MiniLM-L6-v2"

    def test_serves_rows_without_a_training(self, cli, tmp_path):
        """Rows are drawn from the codes themselves: there is no embedding model here."""
        report = cli.json("inspect", self.NAME)
        assert (report["kind"], report["dim"], report["code_bytes"]) == ("model", 384, 96)
        rows = np.random.default_rng(0).normal(size=(40, 384)).astype(np.float32)
        np.save(tmp_path / "rows.npy", rows)
        result = cli.json(
            "ingest", "--collection", tmp_path / "c", "--input", tmp_path / "rows.npy", "--create",
            "--model", self.NAME,
        )  # fmt: skip
        assert result["rows_stored"] == 40
        assert result["drift"]["beyond_threshold"] is True
        assert cli.json("inspect", tmp_path / "c")["model_id"] == report["id"]
        assert found_ids(cli, tmp_path / "c", rows[7], 1, "--exact") == [7]

    def test_other_names_are_told_which_there_are(self, cli, files, tmp_path):
        message = cli.refused(
            NOT_FOUND, "ingest", "--collection", tmp_path / "c", "--input", files / "rows.npy",
            "--create", "--model", "ready:word2vec",
        )  # fmt: skip
        assert message == (
            'No ready model of this name comes with arfc: "word2vec", there is: all-MiniLM-L6-v2'
        )
        assert not (tmp_path / "c").exists()
        message = cli.refused(
            INVALID_ARGUMENT, "ingest", "--collection", tmp_path / "c",
            "--input", files / "rows.npy", "--create", "--model", self.NAME,
        )  # fmt: skip
        assert message.endswith("384, expected 32")


class TestServe:
    def test_says_where_and_stops_when_asked(self, cli, collection, tmp_path):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen(
                [cli.program, "serve", "--data", collection.parent, "--port", "0"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            line = process.stdout.readline()
            assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+\n", line)
            process.send_signal(number)
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            assert out == ""

    def test_refuses_other_addresses_and_taken_ports(self, cli, tmp_path):
        cli.refused(UNSUPPORTED, "serve", tmp_path, "--address", "0.0.0.0")
        process = subprocess.Popen(
            [cli.program, "serve", tmp_path, "--port", "0", "--json"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            port = json.loads(process.stdout.readline())["url"].rsplit(":", 1)[1]
            assert port in cli.refused(IO, "serve", tmp_path, "--port", port)
        finally:
            process.terminate()
            process.wait(60)
        cli.refused(INVALID_ARGUMENT, "serve", tmp_path, "--port", "65536")


class TestManners:
    def test_version(self, cli):
        assert re.fullmatch(r"arfc \d+\.\d+\.\d+\n", cli.run("--version").stdout)

    def test_help_has_an_example_each(self, cli):
        listing = cli.run("--help").stdout
        for name in ("train", "ingest", "search", "serve", "inspect"):
            assert re.search(rf"^  {name} +[A-Z].*\.$", listing, re.MULTILINE), listing
            text = cli.run(name, "--help").stdout
            assert f"Usage: arfc {name} " in text
            assert f"Example:\n  arfc {name} " in text

    @pytest.mark.parametrize(
        "arguments",
        [
            [], ["paint"], ["train"], ["train", "--colour", "red"],
            ["train", "--input", "x.npy", "--output", "m", "--bytes", "many"],
            ["train", "--input", "x.npy", "--output", "m", "--bytes", "-1"],
            ["train", "--input", "x.npy", "--output", "m", "--metric", "hamming"],
            ["ingest", "x.npy", "--collection", "c", "--factory", "ARFC8"],
            ["ingest", "x.npy", "--collection", "c", "--create", "--model", "m", "--train"],
            ["ingest", "x.npy", "--collection", "c", "--time-budget", "3"],
            ["ingest", "x.npy", "--collection", "c", "--start-id", "1", "--ids", "i.npy"],
            ["ingest", "x.npy", "--collection", "c", "--max-memory", "much"],
            ["ingest", "x.npy", "--collection", "c", "--max-memory", "-1"],
            ["ingest", "x.npy", "--collection", "c", "--start-id", "-1"],
            ["ingest", "x.npy", "--collection", "c", "--batch", "18446744073709551616"],
            ["train", "x.npy", "--output", "m", "--time-budget", "-1"],
        ],
    )  # fmt: skip
    def test_wrong_arguments_are_exit_code_2(self, cli, arguments, tmp_path):
        cli.refused(INVALID_ARGUMENT, *arguments, cwd=tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_each_kind_of_error_has_its_code(self, cli, files, collection, tmp_path, rows):
        def ingest(source: str | pathlib.Path, *more: Any, into: Any = collection) -> tuple:
            return ("ingest", "--collection", into, "--input", files / source, *more)

        np.save(tmp_path / "fortran.npy", np.asfortranarray(rows[:5]))
        np.save(tmp_path / "wide.npy", np.zeros((2, DIM + 1), np.float32))
        (tmp_path / "magic.npy").write_bytes(b"not an array")
        cases = [
            (INVALID_ARGUMENT, f": {DIM + 1}, expected {DIM}", ingest(tmp_path / "wide.npy")),
            (INVALID_ARGUMENT, "extension", ingest("rows.npy/../x.bin")),
            (NOT_FOUND, "absent", ingest("rows.npy", into=tmp_path / "absent")),
            (NOT_FOUND, "absent.npy", ingest("absent.npy")),
            (NOT_FOUND, "absent", ("search", "--collection", tmp_path / "absent", "--query", "[]")),
            (NOT_FOUND, "absent", ingest("rows.npy", "--create", "--model", tmp_path / "absent",
                                         into=tmp_path / "new")),
            (ALREADY_EXISTS, str(collection), ingest("rows.npy", "--create")),
            (UNSUPPORTED, "Fortran order", ingest(tmp_path / "fortran.npy")),
            (CORRUPTION, "magic.npy", ingest(tmp_path / "magic.npy")),
            (IO, "/proc/nowhere", ("train", files / "rows.npy", "--output", "/proc/nowhere")),
            (IO, "no/such", ingest("rows.npy", "--rejects", tmp_path / "no/such/file")),
        ]  # fmt: skip
        for code, text, arguments in cases:
            assert text in cli.refused(code, *arguments)
        assert not (tmp_path / "new").exists()
        assert cli.json("inspect", collection)["points"] == 2000

    def test_quiet_and_json_leave_only_the_result(self, cli, collection):
        for arguments in (("--json", "--quiet", "inspect"), ("inspect", "--json", "--quiet")):
            done = cli.run(*arguments, collection)
            assert done.stderr == ""
            assert done.stdout.count("\n") == 1
            assert json.loads(done.stdout)["points"] == 2000

    def test_a_terminal_gets_a_bar_and_a_log_gets_lines(self, cli, files, tmp_path):
        arguments = [cli.program, "ingest", files / "rows.npy", "--create", "--collection"]
        reading, writing = pty.openpty()
        subprocess.run(
            [*arguments, tmp_path / "a"], stdout=subprocess.DEVNULL, stderr=writing, check=True
        )
        os.close(writing)
        shown = os.read(reading, 1 << 16).decode()
        os.close(reading)
        assert "\r\x1b[Kingest [" in shown
        assert shown.endswith("\r\n")
        assert "100 % 2,000 rows stored of 2,000" in shown
        log = cli.run(*arguments[1:], tmp_path / "b").stderr
        assert "\x1b" not in log
        assert all(line.startswith("arfc: ingest [") for line in log.splitlines())

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not on this system")
    def test_a_result_that_cannot_be_written_is_an_error(self, cli, collection):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [cli.program, "inspect", collection], stdout=full, stderr=subprocess.PIPE,
                text=True, check=False,
            )  # fmt: skip
        assert done.returncode == IO
        assert "standard output" in done.stderr


def open_when_read(path: pathlib.Path, process: subprocess.Popen) -> int:
    """Opens a pipe for writing as soon as the process reads it."""
    while process.poll() is None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(0.02)
        else:
            os.set_blocking(descriptor, True)
            return descriptor
    raise AssertionError(f"the load ended before it read: {process.stderr.read()}")


@contextlib.contextmanager
def piped_ingest(cli: Cli, collection: pathlib.Path, folder: pathlib.Path, *more: Any) -> Iterator:
    """A load whose rows come through a pipe, so that a test decides when it is where."""
    path = folder / "pipe.jsonl"
    os.mkfifo(path)
    process = subprocess.Popen(
        [cli.program, "ingest", "--collection", collection, "--input", path, *map(str, more)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pipe = os.fdopen(open_when_read(path, process), "w", encoding="utf-8")
    try:
        yield process, pipe
    finally:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        process.communicate(timeout=120)
        path.unlink()


class Drip:
    """Feeds a piped load with the rows, over and over, until it ends."""

    def __init__(self, pipe, rows: np.ndarray) -> None:
        self._pipe, self._rows = pipe, rows
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            for i in range(1_000_000):
                row = self._rows[i % len(self._rows)].tolist()
                self._pipe.write(json.dumps({"id": i, "vector": row}) + "\n")
                if i % 10 == 9:
                    self._pipe.flush()
                    time.sleep(0.005)

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def acknowledged(process: subprocess.Popen, lines: int) -> int:
    """Returns how many rows the progress says are stored, after so many lines of it."""
    stored = 0
    for line in process.stderr:
        found = re.search(r"([\d,]+) rows stored", line)
        if found:
            stored = int(found.group(1).replace(",", ""))
            lines -= 1
        if lines == 0:
            return stored
    raise AssertionError(f"the load ended at {stored} rows")


class TestInterrupted:
    @pytest.fixture(params=["codes", "raw"])
    def empty(self, request, cli, model, rows, tmp_path) -> pathlib.Path:
        """A collection of one point, whose id the loads below replace."""
        np.save(tmp_path / "one.npy", rows[:1])
        more = ["--model", model, "--factory", "ARFC24/8"] if request.param == "codes" else []
        make_raw(cli, tmp_path / "c", tmp_path / "one.npy", *more)
        return tmp_path / "c"

    @pytest.mark.parametrize("lines", [1, 3])
    def test_kill_9_loses_no_acknowledged_row(self, cli, empty, rows, tmp_path, lines):
        with piped_ingest(cli, empty, tmp_path, "--batch", 10) as (process, pipe):
            drip = Drip(pipe, rows)
            stored = acknowledged(process, lines)
            process.kill()
            drip.join()
        assert process.returncode == -signal.SIGKILL
        assert stored >= 10 * lines
        info = cli.json("inspect", empty)
        assert info["points"] >= stored
        found = found_ids(cli, empty, rows[0], info["points"], "--exact")
        assert set(range(stored)) <= set(found)
        assert len(found) == len(set(found)) == info["points"]
        # And the next load goes on where this one ended.
        np.save(tmp_path / "more.npy", rows[:5])
        result = cli.json(
            "ingest", "--collection", empty, "--input", tmp_path / "more.npy",
            "--start-id", 10_000_000,
        )  # fmt: skip
        assert result["points"] == info["points"] + 5

    def test_sigterm_finishes_the_batch_and_says_what_is_stored(self, cli, empty, rows, tmp_path):
        with piped_ingest(cli, empty, tmp_path, "--batch", 10) as (process, pipe):
            drip = Drip(pipe, rows)
            shown = acknowledged(process, 1)
            process.terminate()
            rest = process.stderr.read()
            drip.join()
        assert process.returncode == CANCELLED
        found = re.search(r"Stopped by a signal; rows stored and durable: (\d+), rejected: 0", rest)
        assert found, rest
        assert int(found.group(1)) >= shown
        assert cli.json("inspect", empty)["points"] == int(found.group(1))

    def test_a_second_writer_is_refused(self, cli, empty, rows, files, tmp_path):
        with piped_ingest(cli, empty, tmp_path, "--batch", 1) as (process, pipe):
            pipe.write(json.dumps({"id": 5, "vector": rows[5].tolist()}) + "\n")
            pipe.flush()
            acknowledged(process, 1)
            message = cli.refused(
                FAILED_PRECONDITION,
                "ingest", "--collection", empty, "--input", files / "rows.npy",
            )  # fmt: skip
            assert str(empty) in message
            pipe.write(json.dumps({"id": 6, "vector": rows[6].tolist()}) + "\n")
            pipe.close()
            process.communicate(timeout=60)
            assert process.returncode == 0
        assert sorted(found_ids(cli, empty, rows[5], 9)) == [0, 5, 6]


class TestReadOnlyDirectory:
    @pytest.fixture
    def unprivileged(self, cli, tmp_path) -> dict[str, Any]:
        """Options that run the program as a user whom permissions bind."""
        if os.geteuid() != 0:
            return {}
        options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
            folder.chmod(folder.stat().st_mode | 0o055)
        try:
            subprocess.run([cli.program, "--version"], check=True, capture_output=True, **options)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"an unprivileged user cannot run the program here: {error}")
        return options

    def test_is_an_error_that_changes_nothing(self, cli, files, rows, tmp_path, unprivileged):
        np.save(tmp_path / "rows.npy", rows[:100])
        make_raw(cli, tmp_path / "c", tmp_path / "rows.npy")
        before = sorted((p, p.stat().st_size) for p in (tmp_path / "c").rglob("*"))
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            for arguments in (
                ("ingest", tmp_path / "rows.npy", "--collection", tmp_path / "c"),
                ("ingest", tmp_path / "rows.npy", "--collection", tmp_path / "d", "--create"),
                ("train", tmp_path / "rows.npy", "--output", tmp_path / "m"),
            ):
                message = cli.refused(IO, *arguments, **unprivileged)
                assert str(tmp_path) in message
        finally:
            for path in (tmp_path, *tmp_path.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
        assert sorted((p, p.stat().st_size) for p in (tmp_path / "c").rglob("*")) == before
        assert cli.json("inspect", tmp_path / "c")["points"] == 100


def test_plan_of_a_file(cli: Cli, files: pathlib.Path, model: pathlib.Path) -> None:
    plan = cli.json("plan", files / "rows.npy", "--model", model, "--recall", 0.6)
    chosen = plan["chosen"]
    assert plan["reaches_target"] and chosen["predicted_recall"] >= 0.6
    assert plan["reference"] == "originals"
    assert plan["rows"] == plan["sample_rows"] == plan["queries"] + plan["test_queries"] == 2000
    low, high = chosen["recall_interval"]
    assert low <= chosen["predicted_recall"] <= high
    assert chosen["bytes_per_row"] == pytest.approx(
        chosen["resident_bytes_per_row"] + chosen["disk_bytes_per_row"]
    )
    recalls = [point["predicted_recall"] for point in plan["curve"]]
    assert recalls == sorted(recalls) and plan["curve"][-1]["stages"][-1]["bytes"] == 24
    text = cli.run("plan", files / "rows.npy", "--model", model, "--recall", 0.6).stdout
    assert text.startswith("Reaches recall@10 of 0.6 with ")
    assert "exact neighbours" in text and "took no part" in text


def test_plan_that_no_code_fulfils_is_no_failure(
    cli: Cli, files: pathlib.Path, model: pathlib.Path
) -> None:
    asked = ("plan", files / "rows.npy", "--model", model, "--recall", 1, "--rows", 1000000)
    plan = cli.json(*asked, "--bytes", 50)
    assert not plan["reaches_target"] and plan["chosen"]["bytes_per_row"] <= 50
    assert plan["rows"] == 1000000
    text = cli.run(*asked, "--bytes", 50).stdout
    assert text.startswith("No code within the budget reaches recall@10 of 1; ")
    assert "scaled by the rows scanned" in text
    assert "Budget is below what the shortest code takes" in cli.refused(
        INVALID_ARGUMENT, *asked, "--bytes", 5
    )


def test_plan_of_a_collection(
    cli: Cli, files: pathlib.Path, model: pathlib.Path, collection: pathlib.Path, tmp_path
) -> None:
    plan = cli.json("plan", collection, "--recall", 0.6)
    assert plan["reference"] == "originals" and plan["reaches_target"]
    assert cli.json("inspect", collection)["calibration_rows"] == 2000
    cli.run(
        "ingest", "--collection", tmp_path / "codes", "--input", files / "rows.npy", "--create",
        "--factory", "ARFC24/8", "--model", model, "--no-calibration",
    )  # fmt: skip
    assert cli.json("inspect", tmp_path / "codes")["calibration_rows"] == 0
    text = cli.run("plan", tmp_path / "codes", "--recall", 0.6).stdout
    assert "against the longest prefix" in text


def test_plan_refuses_what_it_cannot_plan(
    cli: Cli, files: pathlib.Path, model: pathlib.Path, collection: pathlib.Path, tmp_path
) -> None:
    rows = files / "rows.npy"
    assert "give --model DIR" in cli.refused(INVALID_ARGUMENT, "plan", rows)
    assert "leave --model out" in cli.refused(
        INVALID_ARGUMENT, "plan", collection, "--model", model
    )
    assert "outside (0, 1]: 1.5" in cli.refused(
        INVALID_ARGUMENT, "plan", rows, "--model", model, "--recall", 1.5
    )
    assert "less than one: 0" in cli.refused(
        INVALID_ARGUMENT, "plan", rows, "--model", model, "-k", 0
    )
    assert "expected at least 500" in cli.refused(
        INVALID_ARGUMENT, "plan", files / "queries.npy", "--model", model
    )
    make_raw(cli, tmp_path / "raw", rows)
    assert "no model" in cli.refused(FAILED_PRECONDITION, "plan", tmp_path / "raw")
    cli.refused(NOT_FOUND, "plan", tmp_path / "absent.npy", "--model", model)
