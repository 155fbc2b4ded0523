"""`python tests/bench/bench_metric_store.py [part …]`: the metric store's figures beside the plain path's.

Parts: kernel, memory, restore, reading, health, pauses, http, nats. Without arguments all of them.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "layers/clustercockpit/python"), str(ROOT / "containers/metric-store"), str(ROOT)]

from tests.bench import collector_load as load  # noqa: E402

from cc_metric_store import health, kernels  # noqa: E402
from cc_metric_store.blocks import DIRTY, RING  # noqa: E402
from cc_metric_store.checkpoint import Checkpointer  # noqa: E402
from cc_metric_store.engine import Engine, Limits  # noqa: E402
from cc_metric_store.frames import FrameRequest, FrameService  # noqa: E402
from cc_metric_store.query import QueryRequest, QueryService  # noqa: E402
from cc_metric_store.reading import Reader  # noqa: E402
from cc_metric_store.retention import resident_bytes  # noqa: E402
from clustercockpit.storage.directory import DirectoryObjectStore  # noqa: E402

START = 1_700_000_040 // 3600 * 3600
CACHE = os.environ.get("NUMBA_CACHE_DIR") or "/tmp/cc-numba-cache"


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def engine(now: float, *, compiled: bool) -> Engine:
    store = Engine(load.catalog(), Clock(now), Limits())
    if compiled:
        kernel = kernels.Kernel(store, kernels.load(CACHE))
        kernel.warm_up()
        kernel.attach()
        kernels.accelerate_reading()
    return store


def row(what: str, figure: str, floor: str, aim: str, beside: str = "") -> None:
    print(f"| {what} | {figure} | {floor} | {aim} | {beside} |", flush=True)


def timed(work: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def bench_kernel() -> None:
    """Bytes to samples in blocks on one core, batches of one node's minute and of many nodes'."""
    nodes = [load.Node(n) for n in range(40)]
    minutes = [b"".join(n.minute(START + 60 * m) for n in nodes) for m in range(10)]
    count = load.LINES * len(nodes)
    size = sum(map(len, minutes)) / len(minutes) / count
    figures = {}
    for compiled in (False, True):
        write = engine(START + 600, compiled=compiled).write
        first = timed(write, minutes[0])
        rest = min(timed(write, minute) for minute in minutes[1:])
        report = write(minutes[0])
        assert (report.accepted, report.rejections) == (load.KNOWN * len(nodes), 0)
        figures[compiled] = (count / first / 1e6, count / rest / 1e6)
    batches = [node.minute(START + 540) for node in nodes]
    single = sum(timed(write, batch) for batch in batches)
    row("kernel, batches of one node", f"{count / single / 1e6:.2f} M lines/s", "", "", f"{size:.0f} B/line")
    (plain_first, plain), (first, known) = figures[False], figures[True]
    row(
        "kernel, all series known",
        f"{known:.2f} M lines/s",
        "5 M",
        "12 M",
        f"plain {plain:.2f} M: {known / plain:.1f} times",
    )
    row("first sight of every series", f"{first:.2f} M lines/s", "0.5 M", "2 M",
        f"plain {plain_first:.2f} M: {first / plain_first:.1f} times")  # fmt: skip


def bench_memory() -> None:
    """250 nodes and 48 h in memory, over everything, for both kinds of values, less the empty process.

    Each kind in a process of its own. Values are made as arrays (gauss around a level per thread, counters
    at node level) and placed through the engine's blocks, so that the measurement takes a minute, not hours.
    """
    for kind, floor, aim in (("decimals", "2.0", "1.4"), ("floats", "4.5", "3.6")):
        code = f"from tests.bench import bench_metric_store as b; b.fill_two_days({kind!r})"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:3])}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        figure, accounted = done.stdout.split()
        row(f"resident memory, {kind}", f"{float(figure):.2f} B/sample", floor, aim,
            f"float64: 8 B; accounted {float(accounted):.2f} B")  # fmt: skip


def fill_two_days(kind: str) -> None:
    """Every series of 250 nodes full for 48 h; prints bytes per sample, resident and accounted for."""
    empty = resident_bytes()
    store = filled(kind, 250, 48)
    samples = 250 * load.KNOWN * 48 * 60
    gc.collect()
    print((resident_bytes() - empty) / samples, store.data_bytes() / samples)


def filled(kind: str, nodes: int, hours: int) -> Engine:
    """An engine whose nodes have every series of the profile for some hours, sealed."""
    store = engine(START, compiled=True)
    clock: Clock = store.clock  # type: ignore[assignment]
    chance = np.random.default_rng(1)
    store.write(b"".join([load.Node(n).minute(START) for n in range(nodes)]))
    levels = chance.uniform(1, 100, (load.KNOWN, 1))
    for hour in range(hours):
        clock.now = START + 3600 * (hour + 1)
        for block in store.store.blocks:
            matrix = store.store.open_window(block, START // 3600 + hour)
            assert matrix is not None
            noise = np.abs(levels + chance.normal(0, 1, (load.KNOWN, block.slots)))
            values = np.round(noise, 2) if kind == "decimals" else noise
            values[:9] = np.cumsum(chance.integers(0, 1000, (9, block.slots)), axis=1)
            matrix[: load.KNOWN] = values
            store.store.table.touched[block.id, (START // 3600 + hour) % RING] = DIRTY
        store.series.last_slot[: store.series.count] = clock.now // 60 - 1
        store.seal_finished(grace=0)
        store.seal_finished(grace=0)
    return store


def bench_reading() -> None:
    """Jobs as the query application asks for them, in one frame, and as an unmodified backend does."""
    store = filled("floats", 64, 24)
    reader = Reader(store)
    window = {"cluster": "fritz", "from": START, "to": START + 24 * 3600}
    hosts = [host.name for host in store.hosts]
    threads = [str(t) for t in range(load.THREADS)]
    sockets = [str(s) for s in range(load.SOCKETS)]
    levels = [(load.NODE_METRICS, None, []), (load.SOCKET_METRICS, "socket", sockets),
              (load.THREAD_METRICS, "hwthread", threads)]  # fmt: skip

    def frame(names: list[str], count: int, start: int, points: int) -> bytes:
        queries = [
            {"metric": m, "scope": "node", "hosts": hosts[:count], "type": kind,
             "groups": [{"id": None, "ids": ids}] if kind else []}
            for metrics, kind, ids in levels for m in metrics if m in names
        ]  # fmt: skip
        return orjson.dumps({**window, "from": start, "points": points, "queries": queries})

    service = FrameService(reader)
    every = load.NODE_METRICS + load.SOCKET_METRICS + load.THREAD_METRICS
    big = FrameRequest.parse(frame(every, 64, START, 600))
    small = FrameRequest.parse(frame(every[:9] + every[12:13], 4, START + 12 * 3600, 0))
    service.answer(small)
    row(
        "64 nodes, 19 metrics, 24 h, from threads",
        f"{timed(service.answer, big):.2f} s",
        "1.0 s",
        "0.3 s",
        "frame",
    )
    quick = min(timed(service.answer, small) for _ in range(5)) * 1000
    row("4 nodes, 10 metrics, 12 h", f"{quick:.1f} ms", "30 ms", "10 ms", "frame")
    queries = []
    for metrics, kind, ids in levels:
        components = {"type": kind, "type-ids": ids, "aggreg": True} if kind else {}
        queries += [{"metric": m, "host": h, "resolution": 144, **components} for m in metrics for h in hosts]
    request = QueryRequest.parse(orjson.dumps({**window, "queries": queries}), 600)
    old = timed(QueryService(reader).answer, request)
    row("the same by /api/query, thinned by triangles", f"{old:.2f} s", "1.0 s", "0.3 s")


def bench_health() -> None:
    """10,000 nodes with all their series, asked for all metrics of the profile."""
    store = engine(START, compiled=True)
    names = [
        store.names.metric(name) for name in load.NODE_METRICS + load.SOCKET_METRICS + load.THREAD_METRICS
    ]
    counts = [1] * len(load.NODE_METRICS) + [load.SOCKETS] * 3 + [load.THREADS] * len(load.THREAD_METRICS)
    parts = [store.names.component(f"hwthread{t}", "", "hwthread") for t in range(load.THREADS)]
    for number in range(10_000):
        host = store.host("fritz", f"f{number:05d}")
        for name, count in zip(names, counts, strict=True):
            for part in parts[:count]:
                store.add_series(host, name, part, 60)
    store.series.last_slot[: store.series.count] = START // 60
    hosts, metrics = [host.name for host in store.hosts], list(load.catalog().names())
    found = health.check(store, "fritz", hosts, metrics)
    assert {node.state for node in found.values()} == {"full"}
    fast = min(timed(health.check, store, "fritz", hosts, metrics) for _ in range(3))
    health._count = health.count_plain
    plain = timed(health.check, store, "fritz", hosts, metrics)
    row("health of 10,000 nodes", f"{fast:.3f} s", "1 s", "0.1 s", f"plain {plain:.2f} s")


def bench_restore() -> None:
    """48 h of 100 nodes from a directory, to the first answer; per GB of checkpoint."""
    store = filled("floats", 100, 48)
    clock: Clock = store.clock  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(prefix="cc-store-bench-") as folder:
        objects = DirectoryObjectStore(folder)
        first = Checkpointer(store, objects)
        first.take_over()
        written = timed(first.write, dict)
        size = sum(entry.size for entry in first.manifest.objects)
        again = Engine(load.catalog(), clock, Limits())
        second = Checkpointer(again, objects)
        second.take_over()
        taken = timed(second.restore)
        selection = Reader(again).select("fritz", again.hosts[0].name, load.catalog().metrics("fritz")["ipc"])
        assert selection is not None
        taken += timed(Reader(again).read, selection, START, START + 48 * 3600, "avg")
        count = len(second.manifest.objects)
    gigabytes = size / 1e9
    row("restore, per GB of checkpoint", f"{taken / gigabytes:.1f} s", "10 s", "3 s",
        f"{size / 1e6:.0f} MB in {count} objects: {taken:.2f} s; written in {written:.2f} s")  # fmt: skip


def bench_pauses() -> None:
    """How long a node's batch waits for the engine while windows are sealed, saved and freed."""
    store = filled("floats", 250, 2)
    clock: Clock = store.clock  # type: ignore[assignment]
    batches = [load.Node(n).minute(START + 7200) for n in range(250)]
    store.write(b"".join(batches))
    clock.now = START + 7200 + 4000
    with tempfile.TemporaryDirectory(prefix="cc-store-bench-") as folder:
        checkpointer = Checkpointer(store, DirectoryObjectStore(folder))
        checkpointer.take_over()

        def housekeeping() -> None:
            store.seal_finished(grace=0)
            checkpointer.write(dict)
            store.seal_finished(grace=0)
            store.free(START + 3600)
            checkpointer.write(dict)

        quiet = sorted(timed(store.write, batch) for batch in batches)
        worker = threading.Thread(target=housekeeping)
        waits: list[float] = []
        worker.start()
        while worker.is_alive():
            batch = batches[len(waits) % len(batches)]
            waits.append(timed(store.write, batch))
            time.sleep(0.002)
        worker.join()
    waits.sort()
    row("pause of ingest, p99", f"{waits[len(waits) * 99 // 100] * 1e3:.1f} ms", "100 ms", "20 ms",
        f"worst of {len(waits)}: {waits[-1] * 1e3:.0f} ms; alone {quiet[-3] * 1e3:.1f} ms")  # fmt: skip


class Process:
    """A store process of its own, in a folder of its own, without authentication."""

    def __init__(self, folder: Path, nats: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        metrics = {
            m.name: {"frequency": m.timestep, "aggregation": m.aggregation, "scope": m.scope}
            for m in load.catalog().metrics("fritz").values()
        }
        section: dict[str, object] = {"retention-in-memory": "48h", "memory-cap": 0}
        if nats:
            section["nats-subscriptions"] = [{"subscribe-to": "hpc-nats", "cluster-tag": "fritz"}]
        config = {"metric-store": section, "metrics": metrics, "nats": {"address": nats} if nats else None}
        (folder / "config.json").write_bytes(orjson.dumps({k: v for k, v in config.items() if v}))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path[:3]),
            "CC_METRIC_STORE_ADDRESS": f"127.0.0.1:{self.port}",
            "CC_CONFIG_FILE": str(folder / "config.json"),
            "CC_DATA_BUCKET": str(folder / "data"),
            "CC_LOG_LEVEL": "warn",
            "NUMBA_CACHE_DIR": CACHE,
        }
        command = [sys.executable, "-m", "cc_metric_store", "--without-authentication"]
        self.process = subprocess.Popen(command, env=environment)

    def figure(self, line: str) -> float:
        """A line of /metrics, 0 where it is not there (yet)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except OSError:
            return 0.0
        finally:
            connection.close()
        found = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line)]
        return float(found[0]) if found else 0.0

    def until(self, line: str, least: float, seconds: float = 120) -> None:
        limit = time.monotonic() + seconds
        while self.figure(line) < least:
            if time.monotonic() > limit or self.process.poll() is not None:
                raise RuntimeError(f"{line} did not reach {least}")
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def post(port: int, batches: list[bytes], connections: int = 8) -> None:
    """Send the batches over several connections at a time, as many collectors do."""
    waiting = iter(batches)

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for batch in waiting:
            connection.request("POST", "/api/write?cluster=fritz", batch)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}")
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def bench_http() -> None:
    """From sockets into blocks, each batch acknowledged after the group commit of the log."""
    now = int(time.time()) // 60 * 60 - 600
    nodes = [load.Node(n) for n in range(60)]
    minutes = [[node.minute(now + 60 * m) for node in nodes] for m in range(8)]
    count = load.LINES * len(nodes) * (len(minutes) - 1)
    for name, size in (("0.13 MB batches", 1), ("1 MB batches", 8)):
        with tempfile.TemporaryDirectory(prefix="cc-store-bench-") as folder:
            store = Process(Path(folder))
            try:
                store.until("cc_store_kernel", 1)
                store.until("cc_store_ready", 1)
                batches = [
                    [b"".join(minute[i : i + size]) for i in range(0, len(minute), size)]
                    for minute in minutes
                ]
                post(store.port, batches[0])
                taken = timed(post, store.port, [b for minute in batches[1:] for b in minute], 8 * size)
            finally:
                store.stop()
        row(
            f"HTTP end to end, {name}",
            f"{count / taken / 1e6:.2f} M lines/s",
            "1 M",
            "3 M",
            "sender included",
        )


PARTS: dict[str, Callable[[], None]] = {
    "kernel": bench_kernel,
    "memory": bench_memory,
    "reading": bench_reading,
    "health": bench_health,
    "restore": bench_restore,
    "pauses": bench_pauses,
    "http": bench_http,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    others = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load average at the start {others:.1f}"
    )
    print("| what | measured | floor | aim | beside |\n|---|---|---|---|---|")
    for part in chosen:
        PARTS[part]()


if __name__ == "__main__":
    main()
