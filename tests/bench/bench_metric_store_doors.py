"""`python tests/bench/bench_metric_store_doors.py [part …]`: from sockets into blocks, acknowledged.

Parts: http, nats. The store, the NATS server and the senders share the machine's cores; processor time is the
store's alone. "Plain path" is the same store without its compiled code, fed a smaller part of the same lines.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nats
import orjson
from nats.js.api import StreamConfig

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "layers/clustercockpit/python"), str(ROOT / "containers/metric-store"), str(ROOT)]

from tests.bench import collector_load as load  # noqa: E402
from tests.bench.store_process import Process, post, processor_seconds, victoria_metrics  # noqa: E402
from tests.bench.table import Taken, heading, note, row, taken  # noqa: E402
from tests.nats_server import NatsServer  # noqa: E402

NODES, DAY = 1000, 24 * 60
SUBJECT = "hpc-nats"


def minutes_of(nodes: int, minutes: int, until: int) -> list[list[bytes]]:
    """Per minute the batches of all nodes; the first minute's lines with later times."""
    start = until // 60 * 60 - 60 * minutes
    made = [load.Node(n) for n in range(nodes)]
    first = [(b" %d\n" % (start + node.phase), node.phase, node.minute(start)) for node in made]
    return [
        [text.replace(stamp, b" %d\n" % (start + 60 * m + phase)) for stamp, phase, text in first]
        for m in range(minutes)
    ]


def bench_http() -> None:
    """Each batch is acknowledged after the commit of the log to disk."""
    minutes = minutes_of(100, 13, int(time.time()) - 120)
    whole = load.LINES * 100
    for name, size in (("0.13 MB (a node's minute)", 1), ("1 MB", 8)):
        batches = [[b"".join(m[i : i + size]) for i in range(0, len(m), size)] for m in minutes]
        later = [batch for minute in batches[1:] for batch in minute]
        fast = _posted(batches[0], later, compiled=True)
        slow = _posted(batches[0], batches[1], compiled=False)
        count = whole * (len(minutes) - 1)
        row(f"HTTP end to end, batches of {name}", fast.rates(count), "1 M", "3 M",
            f"plain path {slow.rates(whole)[0]}")  # fmt: skip
    program = shutil.which("victoria-metrics")
    if program is None:
        note("Debian's victoria-metrics is not installed: no comparison with it")
        return
    with (
        tempfile.TemporaryDirectory(prefix="cc-store-bench-") as folder,
        victoria_metrics(program, Path(folder)) as (pid, port),
    ):
        post(port, batches[0], "/write?precision=s")
        before = processor_seconds(pid)
        sent = taken(post, port, later[: len(later) // 2], "/write?precision=s")
        figure = Taken(sent.wall, processor_seconds(pid) - before)
    row("victoria-metrics, the same lines in batches of 1 MB", figure.rates(whole * (len(minutes) - 1) // 2),
        beside="keeps all lines, also of metrics nobody configured; answers before it syncs")  # fmt: skip


def _posted(first: list[bytes], later: list[bytes], *, compiled: bool) -> Taken:
    with tempfile.TemporaryDirectory(prefix="cc-store-bench-") as folder:
        store = Process(Path(folder), compiled=compiled)
        try:
            post(store.port, first)
            before = store.processor_seconds()
            sent = taken(post, store.port, later)
            return Taken(sent.wall, store.processor_seconds() - before)
        finally:
            store.stop()


def bench_nats() -> None:
    """A backlog in a stream on file, read by a store that starts, while somebody asks it questions.

    1,000 nodes; the minutes are few and the day is extrapolated from them.
    """
    minutes = minutes_of(NODES, 4, int(time.time()) - 120)
    fast, latencies = _replayed(minutes, compiled=True)
    slow, _ = _replayed([minute[:60] for minute in minutes[:3]], compiled=False)
    count = load.LINES * NODES * (len(minutes) - 1)
    row("NATS end to end, durable, a stream on file", fast.rates(count), "0.5 M", "1.5 M",
        f"plain path {slow.rates(load.LINES * 60 * 2)[0]}")  # fmt: skip
    day = load.LINES * NODES * DAY / (count / fast.wall)
    latencies.sort()
    middle, late = latencies[len(latencies) // 2] * 1e3, latencies[len(latencies) * 99 // 100] * 1e3
    row(f"a day's backlog of {NODES} nodes, extrapolated from {len(minutes) - 1} minutes",
        (f"{day / 60:.1f} min", "-"), beside=f"4 nodes, 9 metrics meanwhile: median {middle:.0f} ms, p99 "
        f"{late:.0f} ms of {len(latencies)}")  # fmt: skip


def _replayed(minutes: list[list[bytes]], *, compiled: bool) -> tuple[Taken, list[float]]:
    """The first minute makes the series; the time is that from the restarted store's readiness to the
    stream's end, all but the first minute being new to it."""
    with tempfile.TemporaryDirectory(prefix="cc-store-bench-") as name:
        folder = Path(name)
        server = NatsServer(folder)
        server.start()
        try:
            asyncio.run(_publish(server.url, minutes[0], stream=True))
            store = Process(folder, server.url, compiled=compiled)
            store.until("cc_store_nats_sequence", len(minutes[0]))
            store.stop()
            for minute in minutes[1:]:
                asyncio.run(_publish(server.url, minute))
            store = Process(folder, server.url, compiled=compiled)
            try:
                return _watched(store, sum(map(len, minutes)), int(time.time()))
            finally:
                store.stop()
        finally:
            server.stop()


def _watched(store: Process, sequences: int, now: int) -> tuple[Taken, list[float]]:
    began, before = time.perf_counter(), store.processor_seconds()
    latencies: list[float] = []
    done = threading.Event()

    def ask() -> None:
        hosts = [f"f{n:04d}" for n in range(4)]
        queries = [
            {"metric": metric, "host": host, "resolution": 60}
            for metric in load.NODE_METRICS
            for host in hosts
        ]
        body = orjson.dumps({"cluster": "fritz", "from": now - 3600, "to": now, "queries": queries})
        connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=60)
        while not done.wait(0.1):
            asked = time.perf_counter()
            connection.request("POST", "/api/query", body)
            connection.getresponse().read()
            latencies.append(time.perf_counter() - asked)
        connection.close()

    reader = threading.Thread(target=ask)
    reader.start()
    try:
        store.until("cc_store_nats_sequence", sequences)
    finally:
        done.set()
        reader.join()
    return Taken(time.perf_counter() - began, store.processor_seconds() - before), latencies or [0.0]


async def _publish(url: str, batches: list[bytes], *, stream: bool = False) -> None:
    client = await nats.connect(url)
    js = client.jetstream(timeout=60)
    if stream:
        await js.add_stream(StreamConfig(name="METRICS", subjects=[SUBJECT], max_age=7 * 86400.0))
    for begin in range(0, len(batches), 50):
        await asyncio.gather(*(js.publish(SUBJECT, batch) for batch in batches[begin : begin + 50]))
    await client.close()


PARTS: dict[str, Callable[[], None]] = {"http": bench_http, "nats": bench_nats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    heading("Metric store, through its doors")
    for part in chosen:
        PARTS[part]()


if __name__ == "__main__":
    main()
