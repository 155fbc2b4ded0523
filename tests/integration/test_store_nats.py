"""The store behind NATS: what the stream has is placed once and in order, through restarts of either side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import numpy as np
import pytest
from nats.js.api import StreamConfig
from nats.js.errors import NoStreamResponseError
from tests.nats_server import NatsServer

from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.configuration import NatsConnection, StoreConfiguration, Subscription
from cc_metric_store.engine import Engine
from cc_metric_store.nats_ingest import NatsIngest
from cc_metric_store.segment_log import SegmentLog
from cc_metric_store.segments import DirectorySegments
from cc_metric_store.service import Service
from cc_metric_store.tokens import TokenGate
from clustercockpit.storage.directory import DirectoryObjectStore

CATALOG = StaticCatalog({"*": {"m": MetricDefinition("m", 60, "sum")}})
SUBJECT = "hpc.metrics"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path)
    made.start()
    yield made
    made.stop()


def values(engine: Engine, cluster: str = "c") -> dict[str, list[float]]:
    """Host → its values of the metric, in the order of time."""
    found = {}
    for host, block in engine.blocks(cluster):
        for window in list(block.patches):
            with engine.lock:
                engine.store.merge_patches(block, window)
        windows = [
            block.open[w][: block.rows] if w in block.open else engine.store.decode(block, block.sealed[w])
            for w in block.windows()
        ]
        row = np.concatenate([w[0] for w in windows])
        found[host.name] = row[~np.isnan(row)].tolist()
    return found


class Running:
    """The parts of a store without its HTTP server, in the loop of the test."""

    def __init__(self, root: Path, url: str, *tags: str, locate: Any = None) -> None:
        subscriptions = tuple(Subscription(SUBJECT, tag) for tag in tags or ("c",))
        options = {"locate": locate} if locate else {}

        def make(service: Service) -> NatsIngest:
            return NatsIngest(
                service,
                NatsConnection(url),
                subscriptions,
                retention=48 * 3600,
                reconnect_wait=0.05,
                **options,
            )

        self.service = Service(
            StoreConfiguration(), lambda: CATALOG, DirectoryObjectStore(root), TokenGate(None),
            log=SegmentLog(DirectorySegments(root / "log")), nats=make,
        )  # fmt: skip
        self.engine = self.service.engine
        assert self.service.nats is not None
        self.nats = self.service.nats
        self.state = self.nats.subjects[SUBJECT]
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Running:
        self._task = asyncio.create_task(self.service._work())
        await until(lambda: self.service.ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        """A crash, as far as the data goes: no last checkpoint."""
        self.service._stop.set()
        assert self._task is not None
        await self._task
        await asyncio.to_thread(self.service.log.close)
        for pool in (self.service._writer, self.service._background, self.service.application.readers):
            pool.shutdown()


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to it"
        await asyncio.sleep(0.02)


def line(host: str, minute: int, value: float, tag: str = "") -> bytes:
    return f"m{tag},hostname={host} value={value} {BASE + 60 * minute}\n".encode()


BASE = int(time.time()) // 60 * 60 - 3000


async def publish(server: NatsServer, *payloads: bytes, stream: bool = True) -> None:
    client = await nats.connect(server.url)
    js = client.jetstream()
    for payload in payloads:
        while stream:
            with contextlib.suppress(NoStreamResponseError):  # a server that has just started has none yet
                await js.publish(SUBJECT, payload)
                break
            await asyncio.sleep(0.05)
        if not stream:
            await client.publish(SUBJECT, payload)
    await client.flush()
    await client.close()


def test_the_manifest_is_the_acknowledgement(server: NatsServer, tmp_path: Path) -> None:
    async def play() -> None:
        async with Running(tmp_path / "data", server.url) as first:
            await until(lambda: first.state.mode == "jetstream")
            await publish(server, *(line("a", i, i) for i in range(5)))
            await until(lambda: first.state.sequence == 5)
            await asyncio.to_thread(first.service.checkpoint)
            await publish(server, line("a", 5, 5.0), line("a", 4, 40.0))
            await until(lambda: first.state.sequence == 7)
        async with Running(tmp_path / "data", server.url) as second:
            await until(lambda: second.state.sequence == 7)
            # Read again is what came after the checkpoint, and nothing else
            assert (second.state.messages, second.state.gaps, second.state.repeated) == (2, 0, 0)
            assert values(second.engine) == {"a": [0.0, 1.0, 2.0, 3.0, 40.0, 5.0]}
            await until(lambda: second.state.lag == 0)

    asyncio.run(play())


def test_a_restarted_server_and_a_lost_consumer_are_survived(server: NatsServer, tmp_path: Path) -> None:
    async def play() -> None:
        async with Running(tmp_path / "data", server.url) as store:
            await publish(server, line("a", 0, 1.0))
            await until(lambda: store.state.sequence == 1)
            for minute in range(1, 4):
                await asyncio.to_thread(server.stop)
                await until(lambda: not store.nats.counters.connected)
                await asyncio.to_thread(server.start)
                await publish(server, line("a", minute, minute + 1.0))
                await until(lambda last=minute: store.state.sequence == last + 1)  # type: ignore[misc]
            assert values(store.engine) == {"a": [1.0, 2.0, 3.0, 4.0]}
            assert (store.state.gaps, store.state.resets) == (0, 0)
            assert store.nats.counters.reconnects == 3
            assert b"cc_store_nats_connected 1.0" in store.service.prometheus()

    asyncio.run(play())


def test_the_store_starts_before_the_server(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)

    async def play() -> None:
        async with Running(tmp_path / "data", server.url) as store:
            await asyncio.sleep(0.3)
            assert store.service.ready
            assert store.state.mode == "waiting"
            await asyncio.to_thread(server.start)
            await until(lambda: store.state.mode == "jetstream")
            await publish(server, line("a", 0, 1.0))
            await until(lambda: values(store.engine) == {"a": [1.0]})

    try:
        asyncio.run(play())
    finally:
        server.stop()


def test_lost_messages_and_a_new_stream_are_counted(
    server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        client = await nats.connect(server.url)
        js = client.jetstream()
        # A stream of the site that covers more than our subject is used as it is
        await js.add_stream(StreamConfig(name="SITE", subjects=["hpc.>"]))
        await js.publish("hpc.other", b"something else")
        async with Running(tmp_path / "data", server.url) as store:
            await publish(server, line("a", 0, 1.0))
            await until(lambda: store.state.sequence == 2)
            assert store.state.stream == "SITE"
            await asyncio.to_thread(store.service.checkpoint)
        await publish(server, *(line("a", i, i) for i in range(1, 5)))
        await js.purge_stream("SITE", seq=5)
        async with Running(tmp_path / "data", server.url) as store:
            await until(lambda: store.state.sequence == 6)
            assert store.state.gaps == 2
            assert values(store.engine) == {"a": [1.0, 3.0, 4.0]}
            await asyncio.to_thread(store.service.checkpoint)
        await js.delete_stream("SITE")
        await js.add_stream(StreamConfig(name="SITE", subjects=["hpc.>"], max_age=60))
        await publish(server, line("a", 7, 7.0))
        async with Running(tmp_path / "data", server.url) as store:
            await until(lambda: store.state.sequence == 1)
            assert (store.state.resets, store.state.short) == (1, True)
            assert values(store.engine) == {"a": [1.0, 3.0, 4.0, 7.0]}
        await client.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(play())
    assert "keeps too little" in caplog.text


def test_lines_of_two_clusters_on_one_subject(server: NatsServer, tmp_path: Path) -> None:
    def locate(host: str, clusters: Any) -> str:
        return next((c for c in clusters if host.startswith(c[0])), "")

    async def play() -> None:
        async with Running(tmp_path / "data", server.url, "fritz", "alex", locate=locate) as store:
            await publish(
                server,
                line("a1", 0, 1.0) + line("f1", 0, 2.0) + line("x1", 0, 3.0),
                line("a1", 1, 4.0, ",cluster=fritz"),
            )
            await until(lambda: store.state.sequence == 2)
            assert values(store.engine, "alex") == {"a1": [1.0]}
            assert values(store.engine, "fritz") == {"f1": [2.0], "a1": [4.0]}
            assert (store.state.untagged, store.state.messages) == (1, 2)

    asyncio.run(play())


def test_without_jetstream_messages_are_logged_and_the_cost_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer(tmp_path, jetstream=False)
    server.start()

    async def play() -> None:
        async with Running(tmp_path / "data", server.url) as store:
            await until(lambda: store.state.mode == "core")
            await publish(server, line("a", 0, 1.0), line("a", 1, 2.0), stream=False)
            await until(lambda: store.state.messages == 2)
            await store.service.log.durable(2)
        async with Running(tmp_path / "data", server.url) as store:
            assert values(store.engine) == {"a": [1.0, 2.0]}

    try:
        with caplog.at_level(logging.WARNING):
            asyncio.run(play())
    finally:
        server.stop()
    assert "This costs" in caplog.text
