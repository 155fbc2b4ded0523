"""The store as a process: lines over HTTP in, questions answered, back after a stop."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clustercockpit.metrics import frame

ROOT = Path(__file__).parents[2]
KEY = Ed25519PrivateKey.generate()
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
START_SECONDS = 30


def token(roles: list[str]) -> dict[str, str]:
    text = jwt.encode({"sub": "cc-functions", "roles": roles}, KEY, algorithm="EdDSA")
    return {"Authorization": f"Bearer {text}"}


class Store:
    """A store process of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        config = {
            "metric-store": {"retention-in-memory": "48h", "memory-cap": 1},
            "metrics": {
                "cpu_load": {"frequency": 60, "aggregation": None},
                "flops": {"frequency": 60, "aggregation": "sum"},
            },
        }
        (folder / "config.json").write_text(json.dumps(config))
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=f"http://{self.address}", headers=token(["api"]), timeout=10)

    def start(self) -> httpx.Client:
        rooms = ["layers/clustercockpit/python", "containers/metric-store"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / room) for room in rooms),
            "CC_METRIC_STORE_ADDRESS": self.address,
            "CC_CONFIG_FILE": str(self.folder / "config.json"),
            "CC_DATA_BUCKET": str(self.folder / "data"),
            "JWT_PUBLIC_KEY": PUBLIC,
        }
        self.process = subprocess.Popen([sys.executable, "-m", "cc_metric_store"], env=environment)
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            assert self.process.poll() is None, "the store ended"
            try:
                if self.client.get("/readyz").status_code == 200:
                    return self.client
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError("the store did not become ready")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.client.close()
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_lines_in_questions_answered_and_back_after_a_stop(store: Store) -> None:
    client = store.start()
    now = int(time.time())
    times = [now - 240 + 60 * i for i in range(5)]
    lines = [f"cpu_load,cluster=c,hostname=n1,type=node value={i}.5 {t}" for i, t in enumerate(times)]
    written = client.post("/api/write?cluster=c", content="\n".join(lines))
    assert (written.status_code, written.content) == (200, b"")
    threads = "\n".join(
        f"flops,hostname=n1,type=hwthread,type-id={k} value={k + 1} {t}" for t in times for k in range(4)
    ).encode()
    for content, encoding in ((gzip.compress(threads), "gzip"), (zstandard.compress(threads), "zstd")):
        sent = client.post("/api/write/?cluster=c", content=content, headers={"Content-Encoding": encoding})
        assert (sent.status_code, sent.content) == (200, b"")
    partly = client.post("/api/write", content=lines[0] + "\ncpu_load,cluster=c value=1 1\nother x=1 1\n")
    assert partly.status_code == 200
    assert {k: partly.json()[k] for k in ("accepted", "unknown", "rejected")} == {
        "accepted": 1, "unknown": 1, "rejected": 1,
    }  # fmt: skip
    assert client.post("/api/write", content="cpu_load,hostname=n1 value=1").status_code == 400
    torn = client.post(
        "/api/write", content=gzip.compress(threads)[:-20], headers={"Content-Encoding": "gzip"}
    )
    assert torn.status_code == 400

    question = {
        "cluster": "c", "from": times[0] - 5, "to": now + 60,
        "queries": [
            {"metric": "cpu_load", "host": "n1"},
            {"metric": "flops", "host": "n1", "type": "hwthread", "type-ids": list("0123"), "aggreg": True},
        ],
    }  # fmt: skip

    def check(client: httpx.Client) -> None:
        for method, path in (("GET", "/api/query"), ("POST", "/api/query/")):
            answer = client.request(method, path, json=question, params={"version": "v2"})
            assert answer.status_code == 200, answer.text
            (load,), (flops,) = answer.json()["results"]
            assert load["data"] == [0.5, 1.5, 2.5, 3.5, 4.5]
            assert flops["data"] == [10, 10, 10, 10, 10]
            assert load["from"] == times[0]
        groups = [{"id": "0", "ids": ["0", "1"]}, {"id": "1", "ids": ["2", "3"]}]
        query = {"metric": "flops", "scope": "socket", "hosts": ["n1"], "type": "hwthread", "groups": groups}
        sent = {"cluster": "c", "from": times[0], "to": now + 1, "queries": [query]}
        answer = client.post("/api/frame", json=sent)
        assert answer.headers["content-type"] == frame.CONTENT_TYPE
        series = frame.decode(answer.content).metrics[0].series
        assert [s.mean.tolist() for s in series] == [[3.0] * 5, [7.0] * 5]

    check(client)
    asked = {"cluster": "c", "nodes": ["n1", "n2"], "metric-names": ["cpu_load", "other"]}
    healthy = client.request("GET", "/api/healthcheck", json=asked).json()
    assert (healthy["n1"]["State"], healthy["n2"]["State"]) == ("partial", "failed")
    assert b"cc_store_lines_total" in client.get("/metrics").content
    assert client.get("/api/debug?selector=c:n1").json()["host"] == "n1"

    for headers, status in (({}, 401), ({"Authorization": "Bearer x.y.z"}, 401), (token(["user"]), 403)):
        assert (
            httpx.post(f"http://{store.address}/api/query", json=question, headers=headers).status_code
            == status
        )
    assert client.get("/api/write").status_code == 405
    assert client.get("/nothing").status_code == 404

    assert store.stop() == 0
    client = store.start()
    check(client)
    freed = client.post(f"/api/free?to={now + 7200}", json=[["c", "n1"]])
    assert freed.text.startswith("buffers freed: ")
    assert store.stop() == 0


def test_it_does_not_start_without_a_key(tmp_path: Path) -> None:
    store = Store(tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}/layers/clustercockpit/python:{ROOT}/containers/metric-store",
    }
    environment |= {
        "CC_CONFIG_FILE": str(tmp_path / "config.json"),
        "CC_DATA_BUCKET": str(store.folder / "data"),
    }
    environment.pop("JWT_PUBLIC_KEY", None)
    ended = subprocess.run(
        [sys.executable, "-m", "cc_metric_store"],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert b"JWT_PUBLIC_KEY" in ended.stderr
