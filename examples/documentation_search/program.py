"""Runs the program `arfc`: its sub-commands, and its server as a client sees it."""

from __future__ import annotations

import http.client
import json
import pathlib
import re
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


class ProgramError(Exception):
    """The program refused or failed; the message is what it said."""


def find_program() -> pathlib.Path:
    """Returns the program that was installed with the package, beside the interpreter."""
    path = pathlib.Path(sys.executable).parent / "arfc"
    if not path.exists():
        raise ProgramError(f"The program arfc is not installed, run `make setup`: {path}")
    return path


def run(program: pathlib.Path, *arguments: str | pathlib.Path, quiet: bool = False) -> str:
    """Runs a sub-command, its progress on our terminal; returns its standard output."""
    command = [str(program), *map(str, arguments)]
    if not quiet:
        print("$ arfc " + " ".join(command[1:]), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=None, text=True, check=False)
    if done.returncode != 0:
        raise ProgramError(f"arfc {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


class Server:
    """`arfc serve` on a free port of the loopback, from `with` to its end."""

    def __init__(self, program: pathlib.Path, folder: pathlib.Path) -> None:
        """folder: holds the collections, each a directory."""
        self._command = [str(program), "serve", str(folder), "--port", "0"]
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self.url = ""

    def __enter__(self) -> Server:
        print("$ arfc " + " ".join(self._command[1:]), flush=True)
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.url:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise ProgramError("arfc serve did not start: " + " | ".join(self._lines[-5:]))
            time.sleep(0.02)
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout:
            self._lines.append(line.rstrip())
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                self.url = found.group()

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print("arfc serve did not stop in time and is killed", file=sys.stderr)
            self._process.kill()
            self._process.wait()


class Client:
    """Speaks REST over one kept-alive connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Returns the answer's "result"; raises ProgramError with the server's sentence."""
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise ProgramError(f"{method} {path}: {answer.status}: {content['status']['error']}")
        return content["result"]

    def query(
        self,
        collection: str,
        vector: NDArray[np.float32],
        limit: int = 10,
        with_payload: bool = False,
        parameters: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Returns the best points of one query, best first: {"id", "score", "payload"}."""
        body: dict[str, Any] = {
            "query": vector.tolist(),
            "limit": limit,
            "with_payload": with_payload,
        }
        if parameters:
            body["params"] = parameters
        return self.request("POST", f"/collections/{collection}/points/query", body)["points"]

    def close(self) -> None:
        self._connection.close()
