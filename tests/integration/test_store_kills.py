"""A store, a NATS server and senders as real processes, killed under load again and again: whatever was
acknowledged is there after each restart, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import nats.errors
import nats.js.errors
import pytest
from tests.faults.model import CLUSTER, STEPS, Oracle, Sender, Slot
from tests.nats_server import NatsServer

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("CC_STORE_KILLS", "32"))
RETENTION = 48 * 3600
SUBJECT = "hpc.metrics"
START_SECONDS = 60
BETWEEN_BATCHES = 0.01  # the store is under load, the oracle need not be
# How a round ends: most often the store is killed
ENDS = ("store", "store", "both", "server", "store", "stop", "store", "cut")


class Store:
    def __init__(self, folder: Path, nats_url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        config = {
            "metric-store": {
                "retention-in-memory": "48h", "memory-cap": 2, "checkpoint-interval": "700ms",
                "nats-subscriptions": [{"subscribe-to": SUBJECT, "cluster-tag": CLUSTER}],
            },
            "metrics": {name: {"frequency": step, "aggregation": None} for name, step in STEPS.items()},
            "nats": {"address": nats_url},
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        rooms = ("layers/clustercockpit/python", "containers/metric-store")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CC_"))},
            "PYTHONPATH": os.pathsep.join(str(ROOT / room) for room in rooms),
            "CC_METRIC_STORE_ADDRESS": self.address,
            "CC_CONFIG_FILE": str(folder / "config.json"),
            "CC_DATA_BUCKET": f"{folder}/data/",
        }
        self.log = folder / "store.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cc_metric_store", "--without-authentication"],
                env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(40)

    def state(self) -> dict[str, Any]:
        """What `/readyz` says once the store is ready."""
        assert self.process is not None
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.get(f"http://{self.address}/readyz", timeout=5)
                if answer.status_code == 200:
                    return dict(answer.json())
            time.sleep(0.03)
        raise AssertionError("the store did not come back:\n" + self.log.read_text()[-3000:])


class Load:
    """Senders over both doors; every one has its own order, and tells the oracle under a lock."""

    def __init__(self, store: Store, server: NatsServer, seed: int) -> None:
        self.store, self.server = store, server
        # No series of the node itself: a question for one is answered from its threads where there is none
        self.sender = Sender(seed, ("hwthread0", "hwthread1", "hwthread2"))
        self.oracle = Oracle(RETENTION)
        self.number = 0
        self.published = 0  # messages whose place in the stream is known
        self.lock = threading.Lock()
        self.running = threading.Event()
        self.ended = threading.Event()
        self.counts = {"http": 0, "nats": 0, "unanswered": 0}
        self.threads = [threading.Thread(target=self._http), threading.Thread(target=self._nats)]
        self.idle = [threading.Event(), threading.Event()]
        for thread in self.threads:
            thread.start()

    def pause(self) -> None:
        """Return when no request is under way."""
        self.running.clear()
        for event in self.idle:
            assert event.wait(30)

    def go_on(self) -> None:
        for event in self.idle:
            event.clear()
        self.running.set()

    def stop(self) -> None:
        self.ended.set()
        self.running.set()
        for thread in self.threads:
            thread.join(30)

    def _next(self, *, streamed: bool) -> tuple[int, bytes]:
        with self.lock:
            self.number += 1
            now = int(time.time())
            batch = self.sender.batch(self.number, now, streamed=streamed)
            self.oracle.tried(self.number, batch.samples, now)
            return self.number, batch.payload

    def _acknowledged(self, number: int, door: str) -> None:
        with self.lock:
            self.counts[door] += 1
            self.oracle.was_acknowledged(number)

    def _wait(self, which: int) -> bool:
        if not self.running.is_set():
            self.idle[which].set()
            self.running.wait()
        return not self.ended.is_set()

    def _http(self) -> None:
        with httpx.Client(timeout=6) as client:
            while self._wait(0):
                number, payload = self._next(streamed=False)
                try:
                    answer = client.post(f"http://{self.store.address}/api/write", content=payload)
                except httpx.TransportError:
                    self.counts["unanswered"] += 1
                    time.sleep(0.02)
                    continue
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    self._acknowledged(number, "http")
                time.sleep(BETWEEN_BATCHES)

    def _nats(self) -> None:
        asyncio.run(self._publish())

    async def _publish(self) -> None:
        async def quiet(*_: object) -> None:
            return

        client, number = None, 0
        while await asyncio.to_thread(self._wait, 1):
            try:
                if client is None:
                    client = await nats.connect(
                        self.server.url, allow_reconnect=False, connect_timeout=1, error_cb=quiet
                    )
                number, payload = self._next(streamed=True)
                acknowledgement = await client.jetstream().publish(SUBJECT, payload, timeout=1)
            except (nats.errors.Error, OSError, TimeoutError):
                self.counts["unanswered"] += 1
                with self.lock:
                    self.oracle.was_left(number)
                if client is not None:
                    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                        await client.close()
                client = None
                await asyncio.sleep(0.02)
                continue
            self._acknowledged(number, "nats")
            self.published = acknowledgement.seq
            await asyncio.sleep(BETWEEN_BATCHES)
        if client is not None:
            await client.close()


def found(store: Store, sender: Sender) -> dict[Slot, float]:
    """All slots of all series that anybody may have written."""
    now = int(time.time())
    asked = [
        (host, metric, component)
        for host, metric, component, _ in sender.series
        for host in (host, "s" + host[1:])
    ]
    queries = [{"metric": m, "host": h, "type": "hwthread", "type-ids": [c[-1]]} for h, m, c in asked]
    body = {"cluster": CLUSTER, "from": now - 90_000, "to": now + 600, "queries": queries}
    answer = httpx.post(f"http://{store.address}/api/query?version=v2", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    slots: dict[Slot, float] = {}
    for (host, metric, component), results in zip(asked, answer.json()["results"], strict=True):
        for result in results:
            step = STEPS[metric]
            first = (result.get("from", 0) + step // 2) // step
            for index, value in enumerate(result.get("data") or []):
                if value is not None:
                    slots[host, metric, component, first + index] = value
    return slots


def caught_up(store: Store, load: Load) -> None:
    limit = time.monotonic() + 40
    while True:
        state = store.state()["nats"]["subjects"][SUBJECT]
        if state["mode"] == "jetstream" and state["sequence"] >= load.published and state["lag"] == 0:
            return
        assert time.monotonic() < limit, f"the stream is at {load.published}, the store at {state}"
        time.sleep(0.03)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[Store, NatsServer]]:
    server = NatsServer(tmp_path)
    server.start()
    store = Store(tmp_path, server.url)
    (tmp_path / "data").mkdir()
    yield store, server
    if store.process is not None and store.process.poll() is None:
        store.process.kill()
        store.process.wait()
    server.stop()


@pytest.mark.slow
def test_kills_of_real_processes(processes: tuple[Store, NatsServer], capsys: Any) -> None:
    store, server = processes
    rng = random.Random(4711)
    store.start()
    store.state()
    load = Load(store, server, seed=1)
    wrong: list[str] = []
    ends: dict[str, int] = {}
    began = time.monotonic()
    try:
        for number in range(ROUNDS):
            end = ENDS[number % len(ENDS)]
            ends[end] = ends.get(end, 0) + 1
            load.go_on()
            # Every third time in the middle of the start, while it restores
            time.sleep(rng.uniform(0.15, 0.7))
            if end in ("server", "both"):
                server.kill()
            if end == "cut":
                server.freeze(0.8)
            if end in ("store", "both"):
                assert store.end(signal.SIGKILL) == -signal.SIGKILL
                store.start()
                if number % 3 == 0:
                    time.sleep(rng.uniform(0.2, 2.0))
                    store.end(signal.SIGKILL)
                    store.start()
            if end == "stop":
                assert store.end(signal.SIGTERM) == 0
                store.start()
            if end in ("server", "both"):
                time.sleep(rng.uniform(0, 0.3))
                server.start()
            store.state()
            load.pause()
            caught_up(store, load)
            with load.lock:
                slots = found(store, load.sender)
                wrong = load.oracle.judge(slots, int(time.time()))
            assert not wrong, f"round {number}, {end}: {wrong[:5]} (of {len(wrong)})"
    finally:
        load.running.set()
        load.stop()
    metrics = httpx.get(f"http://{store.address}/metrics").text
    shown = [
        line
        for line in metrics.splitlines()
        if line.startswith(("cc_store_log_events", "cc_store_nats_gaps"))
    ]
    assert f'cc_store_nats_gaps_total{{subject="{SUBJECT}"}} 0.0' in shown
    with capsys.disabled():
        print(
            f"\nreal processes: {ROUNDS} trials {ends}, {load.counts} batches, "
            f"{load.oracle.acknowledged} acknowledged samples, {len(slots)} slots judged each time, "
            f"{time.monotonic() - began:.0f} s, nothing lost"
        )
