"""REST as its users meet it: the program `arfc serve` in a process of its own, and plain HTTP."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import qdrant_client as qdrant

START_TIMEOUT_S = 60
DIM = 32


class Service:
    """A running `arfc serve`."""

    def __init__(self, program: pathlib.Path, folder: pathlib.Path, errors: pathlib.Path) -> None:
        self.errors = errors
        with errors.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "serve", folder, "--port", "0"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()  # The program says when it listens, or ends.
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, f"{line!r}: {errors.read_text()}"
        self.url, self.port = found.group(), int(found.group(1))

    def ask(self, method: str, path: str, body: Any = None, expected: int = 200) -> Any:
        """Returns "result" of an answer of the expected status, of a refusal its "status"."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, content = answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            status, content = refusal.code, json.loads(refusal.read())
        assert status == expected, content
        assert isinstance(content["time"], float)
        if status != 200:
            return content["status"]
        assert content["status"] == "ok"
        return content["result"]

    def query(self, collection: str, vector: np.ndarray, **options: Any) -> list[dict[str, Any]]:
        body = {"query": vector.tolist(), **options}
        return self.ask("POST", f"/collections/{collection}/points/query", body)["points"]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.errors.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def served_program(request: pytest.FixtureRequest) -> pathlib.Path:
    named = os.environ.get("ARFC_PROGRAM")
    return pathlib.Path(named) if named else request.getfixturevalue("program")


@pytest.fixture
def serve(served_program: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Callable[[], Service]]:
    """A function that starts the service over the test's one data directory."""
    with contextlib.ExitStack() as stack:

        def start() -> Service:
            service = Service(served_program, tmp_path / "data", tmp_path / "errors.txt")
            stack.callback(service.kill)
            return service

        yield start


def create(
    service: Service, name: str, distance: str = "Cosine", factory: str = "ARFC16/8"
) -> None:
    body = {"vectors": {"size": DIM, "distance": distance}, "arfc": {"factory": factory}}
    assert service.ask("PUT", f"/collections/{name}", body) is True


def points(rows: np.ndarray, first: int = 0) -> dict[str, Any]:
    return {
        "points": [
            {"id": first + i, "vector": row.tolist(), "payload": {"number": first + i}}
            for i, row in enumerate(rows)
        ]
    }


def test_a_collections_life(serve, clustered_rows):
    rows = clustered_rows(600, DIM, 1)
    queries = clustered_rows(20, DIM, 2)
    service = serve()
    with urllib.request.urlopen(service.url + "/") as answer:
        assert set(json.loads(answer.read())) == {"title", "version"}
    with urllib.request.urlopen(service.url + "/healthz") as answer:
        assert answer.read() == b"healthz check passed"
    create(service, "texts")
    done = service.ask("PUT", "/collections/texts/points?wait=true", points(rows))
    assert done == {"status": "completed"}

    # Without a model: exact, as numpy computes it.
    expected = np.argsort(-(queries @ rows.T), axis=1, kind="stable")[:, :10]
    for query, best in zip(queries, expected, strict=True):
        hits = service.query("texts", query, with_payload=True, with_vector=True)
        assert [hit["id"] for hit in hits] == best.tolist()
        np.testing.assert_allclose([hit["score"] for hit in hits], rows[best] @ query, atol=2e-6)
        assert [hit["payload"]["number"] for hit in hits] == best.tolist()
        np.testing.assert_allclose([hit["vector"] for hit in hits], rows[best], atol=1e-6)

    # Trained: codes; answers survive another process, bit for bit.
    report = service.ask("POST", "/collections/texts/train", {"seed": 1, "keep_raw": True})
    assert report["rows"] == 600
    info = service.ask("GET", "/collections/texts")
    assert info["points_count"] == 600
    assert info["arfc"]["code_bytes"] == 16
    assert info["arfc"]["stage_bytes"] == [8, 16]
    before = [service.query("texts", query) for query in queries]
    found = [[hit["id"] for hit in hits] for hits in before]
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(found, expected, strict=True)])
    assert recall > 0.5, recall
    service.stop()
    service = serve()
    assert [service.query("texts", query) for query in queries] == before

    assert service.ask("DELETE", "/collections/texts") is True
    assert service.ask("GET", "/collections") == {"collections": []}
    service.stop()


@pytest.mark.parametrize("distance", ["Dot", "Euclid"])
def test_scores_are_those_of_the_distance(serve, clustered_rows, distance):
    rows = 3 * clustered_rows(200, DIM, 3) * np.linspace(0.5, 2, 200, dtype=np.float32)[:, None]
    query = clustered_rows(1, DIM, 4)[0]
    service = serve()
    create(service, "c", distance)
    service.ask("PUT", "/collections/c/points?wait=true", points(rows))
    if distance == "Dot":
        scores = rows @ query
        best = np.argsort(-scores, kind="stable")
    else:
        scores = np.linalg.norm(rows - query, axis=1)
        best = np.argsort(scores, kind="stable")
    hits = service.query("c", query, limit=20)
    assert [hit["id"] for hit in hits] == best[:20].tolist()
    np.testing.assert_allclose([hit["score"] for hit in hits], scores[best[:20]], rtol=1e-5)
    threshold = float(scores[best[4]] + scores[best[5]]) / 2
    assert len(service.query("c", query, limit=20, score_threshold=threshold)) == 5


def test_acknowledged_points_survive_a_kill(serve, clustered_rows):
    rows = clustered_rows(100, DIM, 5)
    service = serve()
    create(service, "c")
    for first in range(0, 100, 10):
        batch = points(rows[first : first + 10], first)
        done = service.ask("PUT", "/collections/c/points?wait=true", batch)
        assert done["status"] == "completed"
    before = service.query("c", rows[0], limit=100, with_payload=True)
    service.kill()
    service = serve()
    assert service.ask("GET", "/collections/c")["points_count"] == 100
    assert service.query("c", rows[0], limit=100, with_payload=True) == before


def test_clients_write_and_search_at_once(serve, clustered_rows):
    rows = clustered_rows(400, DIM, 6)
    service = serve()
    create(service, "c")

    def write(first: int) -> None:
        service.ask("PUT", "/collections/c/points", points(rows[first : first + 20], first))

    def search(_: int) -> None:
        hits = service.query("c", rows[0])
        scores = [hit["score"] for hit in hits]
        assert scores == sorted(scores, reverse=True)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(write, first) for first in range(0, 400, 20)]
        jobs += [pool.submit(search, i) for i in range(40)]
        for job in jobs:
            job.result()
    assert service.ask("GET", "/collections/c")["points_count"] == 400
    removed = service.ask(
        "POST", "/collections/c/points/delete?wait=true", {"points": [0, 7, 9999]}
    )
    assert removed == {"status": "completed"}
    assert service.ask("GET", "/collections/c")["points_count"] == 398
    missing = service.ask("GET", "/collections/c/points/7", expected=404)
    assert missing["error"].endswith(": 7")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind", "message"),
    [
        ("GET", "/nowhere", None, 404, "not_found", "There is no such path: /nowhere"),
        ("PATCH", "/collections/c", None, 405, "invalid_argument", "expected GET, PUT, DELETE"),
        ("GET", "/collections/d", None, 404, "not_found", "Collection does not exist: d"),
        ("PUT", "/collections/c", {"vectors": {"size": 4, "distance": "Dot"}}, 409,
         "already_exists", "Collection exists: c"),
        ("PUT", "/collections/c/points", b'{"points": [', 400, "invalid_argument", "not valid"),
        ("PUT", "/collections/c/points", b"\xff\xfe", 400, "invalid_argument", "not valid JSON"),
        ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": [1, 2]}]}, 400,
         "invalid_argument", "2, expected 32, in points[0].vector"),
        ("PUT", "/collections/c/points", b'{"points": [{"id": 1, "vector": [NaN]}]}', 400,
         "invalid_argument", "points[0].vector[0], NaN"),
        ("PUT", "/collections/c/points", {"points": [{"id": "x", "vector": [1]}]}, 400,
         "invalid_argument", "points[0].id"),
        ("POST", "/collections/c/points/query", {"query": [0.5] * DIM, "filter": {}}, 501,
         "unsupported", "Field is not offered: filter"),
        ("POST", "/collections/c/points/query", {"query": [0.5] * DIM, "params": {"ef": 1}}, 400,
         "invalid_argument", "Field is unknown: params.ef"),
        ("POST", "/collections/c/points/query", b" " * (33 << 20), 413, "invalid_argument",
         "Body is larger than allowed, in bytes: 33554432"),
        ("POST", "/collections/c/train", None, 409, "failed_precondition", ""),
    ],
)  # fmt: skip
def test_refusals_name_what_is_wrong(refusing, method, path, body, status, kind, message):
    refusal = refusing.ask(method, path, body, status)
    assert refusal["kind"] == kind
    assert message in refusal["error"]


@pytest.fixture(scope="module")
def refusing(served_program, tmp_path_factory) -> Iterator[Service]:
    """One service, with an empty collection "c", that every refusal leaves as it was."""
    folder = tmp_path_factory.mktemp("refusing")
    service = Service(served_program, folder / "data", folder / "errors.txt")
    create(service, "c")
    yield service
    assert service.ask("GET", "/collections/c")["points_count"] == 0
    service.stop()


def test_other_content_types_are_refused(refusing):
    request = urllib.request.Request(
        refusing.url + "/collections/c/train", b"{}", {"Content-Type": "text/plain"}
    )
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request)
    assert refusal.value.code == 415


def test_a_damaged_collection_does_not_keep_the_others_from_serving(
    serve, clustered_rows, tmp_path
):
    rows = clustered_rows(10, DIM, 7)
    service = serve()
    for name in ("good", "bad"):
        create(service, name)
        service.ask("PUT", f"/collections/{name}/points?wait=true", points(rows))
    service.stop()
    manifest = tmp_path / "data" / "bad" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    service = serve()
    assert len(service.query("good", rows[0])) == 10
    names = [item["name"] for item in service.ask("GET", "/collections")["collections"]]
    assert names == ["bad", "good"]
    assert service.ask("GET", "/collections/bad", expected=500)["kind"] == "corruption"
    assert service.ask("DELETE", "/collections/bad") is True
    create(service, "bad")


def test_a_taken_port_and_an_open_address_end_the_program(served_program, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [served_program, "serve", tmp_path, "--port", port],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 9
        assert f"127.0.0.1, {port}" in done.stderr
    done = subprocess.run(
        [served_program, "serve", tmp_path, "--address", "0.0.0.0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert "no authentication yet" in done.stderr


def test_stopping_drains_a_request_in_flight(serve, clustered_rows):
    rows = clustered_rows(2000, DIM, 8)
    service = serve()
    create(service, "c")
    body = json.dumps(points(rows)).encode()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.putrequest("PUT", "/collections/c/points?wait=true")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:-1])
    time.sleep(0.2)  # What was sent has been read by then.
    service.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    while True:  # Until it accepts no more.
        try:
            socket.create_connection(("127.0.0.1", service.port), 5).close()
        except ConnectionRefusedError:
            break
        except ConnectionResetError:
            pass  # It came while the port was being closed.
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.send(body[-1:])
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["result"] == {"status": "completed"}
    assert service.process.wait(60) == 0
    service = serve()
    assert service.ask("GET", "/collections/c")["points_count"] == 2000


def test_one_connection_carries_many_requests(serve, clustered_rows):
    rows = clustered_rows(50, DIM, 9)
    service = serve()
    create(service, "c")
    service.ask("PUT", "/collections/c/points?wait=true", points(rows))
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    for i, row in enumerate(rows):
        connection.request(
            "POST", "/collections/c/points/query", json.dumps({"query": row.tolist(), "limit": 1})
        )
        hits = json.loads(connection.getresponse().read())["result"]["points"]
        assert hits[0]["id"] == i
        assert math.isclose(hits[0]["score"], 1, abs_tol=1e-5)


def test_qdrants_own_client_works(serve, clustered_rows):
    """The official client: the supported part works unchanged."""
    rows = clustered_rows(100, DIM, 10)
    service = serve()
    client = qdrant.QdrantClient(url=service.url, check_compatibility=False)
    parameters = qdrant.models.VectorParams(size=DIM, distance=qdrant.models.Distance.COSINE)
    assert client.create_collection("c", vectors_config=parameters)
    assert [item.name for item in client.get_collections().collections] == ["c"]
    batch = [
        qdrant.models.PointStruct(id=i, vector=row.tolist(), payload={"number": i})
        for i, row in enumerate(rows)
    ]
    assert client.upsert("c", batch).status == qdrant.models.UpdateStatus.COMPLETED
    assert client.get_collection("c").points_count == 100
    answer = client.query_points("c", query=rows[3].tolist(), limit=5, with_vectors=True)
    best = np.argsort(-(rows @ rows[3]), kind="stable")[:5]
    assert [point.id for point in answer.points] == best.tolist()
    assert answer.points[0].payload == {"number": 3}
    client.delete("c", [3])
    assert client.query_points("c", query=rows[3].tolist(), limit=1).points[0].id == best[1]
    with pytest.raises(qdrant.http.exceptions.UnexpectedResponse, match="Field is not offered"):
        client.query_points("c", query=rows[3].tolist(), query_filter=qdrant.models.Filter(must=[]))
    assert client.delete_collection("c")
