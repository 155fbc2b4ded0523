"""`python tests/bench/bench_metric_store.py [part …]`: the metric store's figures beside the plain path's.

Parts: kernel, memory, restore, reading, health, pauses. Without arguments all of them. What comes through
the store's doors is in `bench_metric_store_doors.py`. Compiling is warmed up before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "layers/clustercockpit/python"), str(ROOT / "containers/metric-store"), str(ROOT)]

from tests.bench import collector_load as load  # noqa: E402
from tests.bench.table import Taken, heading, least, note, row, taken  # noqa: E402

from cc_metric_store import codec, health, kernels, reading, resampling  # noqa: E402
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


def bench_kernel() -> None:
    """Bytes to samples in blocks on one core, batches of one node's minute and of many nodes'."""
    nodes = [load.Node(n) for n in range(40)]
    minutes = [b"".join(n.minute(START + 60 * m) for n in nodes) for m in range(10)]
    count = load.LINES * len(nodes)
    size = sum(map(len, minutes)) / len(minutes) / count
    firsts, rests = {}, {}
    for compiled in (False, True):
        write = engine(START + 600, compiled=compiled).write
        firsts[compiled] = taken(write, minutes[0])
        rests[compiled] = min((taken(write, minute) for minute in minutes[1:]), key=lambda t: t.wall)
        report = write(minutes[0])
        assert (report.accepted, report.rejections) == (load.KNOWN * len(nodes), 0)
    ratio = rests[False].processor / rests[True].processor
    row("kernel, all series known, one core", rests[True].rates(count), "5 M", "12 M",
        f"plain path {rests[False].rates(count)[0]}: {ratio:.0f} times")  # fmt: skip
    batches = [node.minute(START + 540) for node in nodes]

    def one_by_one() -> None:
        for batch in batches:
            write(batch)

    row("the same, batches of one node", least(5, one_by_one).rates(count), beside=f"{size:.0f} B/line")
    ratio = firsts[False].processor / firsts[True].processor
    row("first sight of every series", firsts[True].rates(count), "0.5 M", "2 M",
        f"plain path {firsts[False].rates(count)[0]}: {ratio:.0f} times")  # fmt: skip
    try:
        from line_protocol_parser import parse_line
    except ImportError:
        note("PyPI's line-protocol-parser is not installed: no comparison with it")
        return
    lines = minutes[0].decode().splitlines()

    def parse_all() -> None:
        for line in lines:
            parse_line(line)

    row("PyPI's line-protocol-parser, the same lines", taken(parse_all).rates(count),
        beside="lines to dicts only, nothing is kept")  # fmt: skip


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
        row(f"resident memory, 48 h of 250 nodes, {kind}", (f"{float(figure):.2f} B/sample", "-"), floor, aim,
            f"plain float64 arrays: 8 B; accounted {float(accounted):.2f} B")  # fmt: skip


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
    quarter = FrameRequest.parse(frame(every, 16, START, 600))
    small = FrameRequest.parse(frame(every[:9] + every[12:13], 4, START + 12 * 3600, 0))
    service.answer(small)
    quick = least(5, service.answer, small)
    whole = least(2, service.answer, big)
    queries = []
    for metrics, kind, ids in levels:
        components = {"type": kind, "type-ids": ids, "aggreg": True} if kind else {}
        queries += [{"metric": m, "host": h, "resolution": 144, **components} for m in metrics for h in hosts]
    request = QueryRequest.parse(orjson.dumps({**window, "queries": queries}), 600)
    old = least(2, QueryService(reader).answer, request)
    with plain_reading():
        slow_quick, slow_whole = taken(service.answer, small), taken(service.answer, quarter)
        some = {**window, "queries": [q for q in queries if q["host"] in hosts[:16]]}
        slow_old = taken(QueryService(reader).answer, QueryRequest.parse(orjson.dumps(some), 600))
    row("64 nodes, 19 metrics, 24 h from threads, 600 points, a frame", whole.times(), "1.0 s", "0.3 s",
        f"plain path {slow_whole.wall:.2f} s for a quarter of the nodes")  # fmt: skip
    row("the same by `/api/query`, thinned by triangles", old.times(), "1.0 s", "0.3 s",
        f"plain path {slow_old.wall:.2f} s for a quarter of the nodes")  # fmt: skip
    row("4 nodes, 10 metrics, 12 h, a frame", quick.times(), "30 ms", "10 ms",
        f"plain path {slow_quick.wall * 1000:.1f} ms")  # fmt: skip


@contextlib.contextmanager
def plain_reading() -> Iterator[None]:
    """What reads, uncompiled."""
    kept = codec._compiled, reading._accumulate, resampling._compiled
    codec._compiled, reading._accumulate, resampling._compiled = None, reading._accumulate_plain, None
    try:
        yield
    finally:
        codec._compiled, reading._accumulate, resampling._compiled = kept


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
    fast = least(3, health.check, store, "fritz", hosts, metrics)
    health._count = health.count_plain
    plain = taken(health.check, store, "fritz", hosts, metrics)
    row("health of 10,000 nodes", fast.times(), "1 s", "0.1 s", f"plain path {plain.wall:.2f} s")


def bench_restore() -> None:
    """48 h of 50 nodes from a directory, to the first answer; per GB of checkpoint."""
    store = filled("floats", 50, 48)
    clock: Clock = store.clock  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(prefix="cc-store-bench-") as folder:
        objects = DirectoryObjectStore(folder)
        first = Checkpointer(store, objects)
        first.take_over()
        written = taken(first.write, dict)
        size = sum(entry.size for entry in first.manifest.objects)
        again = Engine(load.catalog(), clock, Limits())
        second = Checkpointer(again, objects)
        second.take_over()

        def to_first_answer() -> None:
            second.restore()
            ipc = load.catalog().metrics("fritz")["ipc"]
            selection = Reader(again).select("fritz", again.hosts[0].name, ipc)
            assert selection is not None
            Reader(again).read(selection, START, START + 48 * 3600, "avg")

        def read_only() -> None:
            for entry in first.manifest.objects:
                objects.get(entry.key)

        whole, bytes_only = taken(to_first_answer), taken(read_only)
        count = len(second.manifest.objects)
    per = size / 1e9
    row(
        "restore to the first answer, per GB of checkpoint",
        Taken(whole.wall / per, whole.processor / per).times(),
        "10 s",
        "3 s",
        f"{size / 1e6:.0f} MB in {count} objects: {whole.wall:.2f} s, of which reading "
        f"{bytes_only.wall:.2f} s; written in {written.wall:.2f} s",
    )


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

        quiet = sorted(taken(store.write, batch).wall for batch in batches)
        worker = threading.Thread(target=housekeeping)
        waits: list[float] = []
        worker.start()
        while worker.is_alive():
            batch = batches[len(waits) % len(batches)]
            waits.append(taken(store.write, batch).wall)
            time.sleep(0.002)
        worker.join()
    waits.sort()
    late = waits[len(waits) * 99 // 100]
    row(
        "a batch's wait while sealing, saving, freeing, p99",
        (f"{late * 1e3:.1f} ms", "-"),
        "100 ms",
        "20 ms",
        f"worst of {len(waits)}: {waits[-1] * 1e3:.0f} ms; alone {quiet[-3] * 1e3:.1f} ms",
    )


PARTS: dict[str, Callable[[], None]] = {
    "kernel": bench_kernel,
    "memory": bench_memory,
    "reading": bench_reading,
    "health": bench_health,
    "restore": bench_restore,
    "pauses": bench_pauses,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    heading("Metric store, in one process")
    for part in chosen:
        PARTS[part]()


if __name__ == "__main__":
    main()
