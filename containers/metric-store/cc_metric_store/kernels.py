"""The compiled path's tables, kept in step with the engine, and its loading in the background."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cc_metric_store import line_protocol
from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.engine import UNKNOWN, Engine, WriteReport

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_PADDING = b"\n" + bytes(16)
_MANY = 65_536


def load(cache_directory: str) -> ModuleType:
    """Import the compiled code, with its cache in a folder that can be written to."""
    import numba

    directory = Path(cache_directory or Path(tempfile.gettempdir(), f"cc-metric-store-{os.getuid()}"))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to another user: set NUMBA_CACHE_DIR")
    numba.config.CACHE_DIR = str(directory)
    from cc_metric_store import ingest_kernel

    return ingest_kernel


def start_in_background(engine: Engine, cache_directory: str) -> threading.Thread:
    """Compile in a thread and hand lines over to the kernel when it is ready; the plain path serves until
    then, and for good if compiling fails."""

    def work() -> None:
        began = time.perf_counter()
        try:
            kernel = Kernel(engine, load(cache_directory))
            kernel.warm_up()
            kernel.attach()
            accelerate_reading()
        except Exception:
            logger.exception("the ingest kernel could not be compiled: the plain path goes on")
            return
        logger.info("ingest kernel ready after %.1f s", time.perf_counter() - began)

    thread = threading.Thread(target=work, name="compile", daemon=True)
    thread.start()
    return thread


def compile_all(cache_directory: str) -> None:
    """Fill the cache, so that a store with this cache starts with compiled code (a container's build)."""
    Kernel(Engine(StaticCatalog({}), time.time), load(cache_directory)).warm_up()
    accelerate_reading()


def accelerate_reading() -> None:
    """Compile what reads, and use it from now on. `load` comes first."""
    from cc_metric_store import codec, health, health_kernel, read_kernel, reading, resampling

    values = np.arange(12.0).reshape(3, 4)
    layout = codec.Layout.of(np.zeros(3, np.int32))
    codec.accelerate(read_kernel.unframe)
    codec.decode(codec.encode(values, layout), layout)
    sums, counts, seen = np.zeros(4), np.zeros(4, np.int32), np.zeros(3, np.bool_)
    read_kernel.accumulate(values, np.arange(3), 0, 4, 0, sums, counts, seen)
    read_kernel.triangles(np.arange(12.0), 4, np.empty(4, np.int64))
    reading.accelerate(read_kernel.accumulate)
    resampling.accelerate(read_kernel.triangles)
    health.accelerate(health_kernel.count)
    health.check(Engine(StaticCatalog({}), time.time), "c", ["h"], ["m"])


class _Table:
    """An open-addressing table of 128-bit hashes for the kernel, at most half full."""

    def __init__(self, module: Any, capacity: int = 1024) -> None:
        self._module = module
        self.entries: NDArray[np.uint64] = np.zeros((capacity, 2), np.uint64)
        self.count = 0

    @property
    def limit(self) -> int:
        return int(self.entries.shape[0] // 2)

    def reserve(self, further: int) -> None:
        capacity = self.entries.shape[0]
        while self.count + further > capacity // 2:
            capacity *= 2
        if capacity != self.entries.shape[0]:
            larger = np.zeros((capacity, 2), np.uint64)
            self._module.rehash(self.entries, larger)
            self.entries = larger

    def put(self, hashes: tuple[int, int], number: int) -> None:
        self.reserve(1)
        self.count += bool(
            self._module.insert(self.entries, np.uint64(hashes[0]), np.uint64(hashes[1]), number)
        )

    def clear(self) -> None:
        self.entries[:] = 0
        self.count = 0


class Kernel:
    """A `BatchWriter` that runs compiled code under the engine's lock (and without the interpreter's)."""

    def __init__(self, engine: Engine, module: Any) -> None:
        from cc_metric_store import text_kernel

        self._engine = engine
        self._module = module
        self._text = text_kernel
        self._seeds = np.array([secrets.randbits(64) | 1 for _ in range(6)], np.uint64)
        self._tables = [_Table(text_kernel) for _ in range(8)]
        self._numbers = np.zeros(module.NUMBERS, np.int64)
        self._spans = np.zeros(8, np.int64)
        self._unknown = np.zeros(engine.limits.unknown_names + 1, np.int64)
        self._unknown_ids: dict[bytes, int] = {}
        self._elsewhere = np.zeros(0, np.int64)
        self._clusters: dict[str, int] = {}
        self._definition_name = np.zeros(0, np.int32)
        self._definition_step = np.zeros(0, np.int64)
        self._synced_series = 0
        self.by_plain_path = 0  # lines the kernel left to Python
        self._catalog: object = None

    def attach(self) -> None:
        """Take over from the plain path."""
        with self._engine.lock:
            self._engine.kernel = self
            self._engine.forget_keys()

    def warm_up(self) -> None:
        """Compile everything by placing a few lines in an engine of its own."""
        catalog = StaticCatalog({"*": {"m": MetricDefinition("m", 60, "sum")}})
        trial = Engine(catalog, lambda: 10_000.0)
        kernel = Kernel(trial, self._module)
        line = b"m,cluster=c,hostname=h,type=hwthread,type-id=%d value=1.5 9960\n"
        for _ in range(2):
            kernel.write(b"x,cluster=c value=1\n" + b"".join(line % i for i in range(5)), "", 10_000, 1)

    # --- writing -----------------------------------------------------------------------------------

    def write(self, payload: bytes, default_cluster: str, now: int, first_line: int) -> WriteReport:
        """As `Engine.write_plain`, for which it stands in. The caller holds the engine's lock."""
        module, engine, numbers = self._module, self._engine, self._numbers
        if engine.catalog is not self._catalog:
            self._learn_catalog()
        text = payload + _PADDING
        buffer = np.frombuffer(text, np.uint8)
        base = buffer.ctypes.data
        report = WriteReport()
        numbers[module.POSITION], numbers[module.END] = 0, len(payload)
        numbers[module.NOW] = now
        numbers[module.OLDEST] = now - engine.limits.retention
        numbers[module.NEWEST] = now + engine.limits.future
        numbers[module.DEFAULT] = self._cluster(default_cluster) if default_cluster else 0
        numbers[module.LINES] = numbers[module.ACCEPTED] = numbers[module.UNKNOWN] = 0
        numbers[module.ROWS_LIMIT] = 0 if engine.full else engine.limits.rows_per_host
        while True:
            self._prepare()
            reason = module.ingest(base, *self._arguments())
            self._sync()
            if reason == module.DONE:
                break
            if reason == module.ROWS:
                engine.store.grow(engine.store.blocks[int(numbers[module.BLOCK])])
            elif reason == module.SLOW:
                self._one_line(text, default_cluster, now, first_line, report)
        report.accepted += int(numbers[module.ACCEPTED])
        report.unknown += int(numbers[module.UNKNOWN])
        return report

    def _one_line(
        self, text: bytes, default_cluster: str, now: int, first_line: int, report: WriteReport
    ) -> None:
        """The line at which the kernel stopped, by the plain path; what it named is learned."""
        module, numbers = self._module, self._numbers
        start = int(numbers[module.POSITION])
        stop = text.index(b"\n", start)
        line = text[start:stop]
        rejections = report.rejections
        number = first_line + int(numbers[module.LINES])
        self.by_plain_path += 1
        self._engine.write_line(line, default_cluster, now, number, report)
        if report.rejections == rejections:
            self._learn(line, default_cluster)
        numbers[module.POSITION] = stop + 1
        numbers[module.LINES] += 1

    def _prepare(self) -> None:
        """Room in every table that the kernel fills, and every series that there is in its index: a refused
        line may have made one."""
        module, numbers, engine = self._module, self._numbers, self._engine
        if self._synced_series < engine.series.count:
            self._index_series()
        keys, index = self._tables[module.T_KEYS], self._tables[module.T_INDEX]
        if keys.count >= engine.limits.cached_keys:
            keys.clear()
        if keys.count >= keys.limit - 1:
            keys.reserve(keys.limit)
        if index.count >= index.limit - 1:
            index.reserve(index.limit)
        if engine.series.count >= engine.series.block.shape[0] - 1:
            engine.series.reserve(_MANY)
        if len(engine.names.metrics) > len(self._elsewhere):
            self._elsewhere = np.concatenate([self._elsewhere, np.zeros(1024, np.int64)])
        numbers[module.KEYS], numbers[module.KEYS_LIMIT] = keys.count, keys.limit
        numbers[module.INDEX], numbers[module.INDEX_LIMIT] = index.count, index.limit
        numbers[module.SERIES], numbers[module.SERIES_LIMIT] = (
            engine.series.count, engine.series.block.shape[0],
        )  # fmt: skip

    def _arguments(self) -> tuple[Any, ...]:
        series, blocks = self._engine.series, self._engine.store.table
        return (
            self._numbers,
            self._seeds,
            tuple(table.entries for table in self._tables),
            self._unknown,
            self._elsewhere,
            self._definition_name,
            self._definition_step,
            (series.block, series.row, series.name, series.component, series.phase, series.earlier_phase),
            (series.since, series.last_slot),
            (blocks.timestep, blocks.slots, blocks.series_address),
            (blocks.rows, blocks.capacity),
            (blocks.open_window, blocks.open_address),
            blocks.touched,
            self._spans,
        )

    # --- learning ----------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Tell Python's side what the kernel made, and the kernel's what Python made."""
        module, numbers, engine = self._module, self._numbers, self._engine
        self._tables[module.T_KEYS].count = int(numbers[module.KEYS])
        self._tables[module.T_INDEX].count = int(numbers[module.INDEX])
        made = int(numbers[module.SERIES])
        if made > engine.series.count:
            engine.adopt_series(made)
            self._synced_series = made

    def _index_series(self) -> None:
        """Enter series that the plain path or a restore made into the kernel's index."""
        series, index = self._engine.series, self._tables[self._module.T_INDEX]
        index.reserve(series.count - self._synced_series)
        for number in range(self._synced_series, series.count):
            first, second = self._module.hash_pair(
                int(series.block[number]), int(series.name[number]), self._seeds
            )
            component = int(series.component[number])
            first = self._mix(int(first), component, int(self._seeds[0]))
            second = self._mix(int(second), component, int(self._seeds[1]))
            index.put((first, second), number + 1)
        self._synced_series = series.count

    @staticmethod
    def _mix(state: int, word: int, secret: int) -> int:
        product = (state ^ word) * secret
        return (product >> 64 ^ product) & 0xFFFFFFFFFFFFFFFF

    def _hash(self, text: bytes, first: int | None = None, second: int | None = None) -> tuple[int, int]:
        buffer = np.frombuffer(text + bytes(16), np.uint8)
        hashes = self._text.hash_text(
            buffer.ctypes.data,
            len(text),
            self._seeds[4] if first is None else np.uint64(first),
            self._seeds[5] if second is None else np.uint64(second),
            self._seeds,
        )
        return int(hashes[0]), int(hashes[1])

    def _pair(self, a: int, b: int) -> tuple[int, int]:
        first, second = self._module.hash_pair(a, b, self._seeds)
        return int(first), int(second)

    def _learn_catalog(self) -> None:
        """Names and definitions of the catalog; what was learned from another one is forgotten."""
        module, engine = self._module, self._engine
        self._catalog = engine.catalog
        self._tables[module.T_NAMES].clear()
        self._tables[module.T_KEYS].clear()
        self._tables[module.T_DEFINITIONS].clear()
        self._definition_name = np.zeros(0, np.int32)
        self._definition_step = np.zeros(0, np.int64)
        known = engine.catalog.names()
        for name in sorted(known):
            self._tables[module.T_NAMES].put(self._hash(name.encode()), 2 * engine.names.metric(name) + 2)
        for text, number in self._unknown_ids.items():
            if text.decode(errors="replace") not in known:
                self._tables[module.T_NAMES].put(self._hash(text), 2 * number + 3)
        for cluster in list(self._clusters):
            self._learn_definitions(cluster)

    def _cluster(self, name: str) -> int:
        """The number (from 1) of a cluster, learned if it is new."""
        number = self._clusters.get(name)
        if number is None:
            number = self._clusters[name] = len(self._clusters) + 1
            self._learn_definitions(name)
            self._tables[self._module.T_CLUSTERS].put(self._hash(name.encode()), number)
        return number

    def _learn_definitions(self, cluster: str) -> None:
        engine, table = self._engine, self._tables[self._module.T_DEFINITIONS]
        names, steps = self._definition_name.tolist(), self._definition_step.tolist()
        for metric in sorted(engine.catalog.names()):
            definition = engine.catalog.find(cluster, metric)
            name = engine.names.metric(metric)
            if definition is None:
                table.put(self._pair(self._clusters[cluster], name), 1)
                continue
            names.append(name)
            steps.append(definition.timestep)
            table.put(self._pair(self._clusters[cluster], name), len(names) + 1)
        self._definition_name = np.array(names, np.int32)
        self._definition_step = np.array(steps, np.int64)

    def _learn(self, line: bytes, default_cluster: str) -> None:
        """Enter what a good line names, so that the kernel places the next one like it."""
        engine, module = self._engine, self._module
        key, _ = line_protocol.split_key(line.removesuffix(b"\r").lstrip(b" "))
        if not key or key[0] == 0x23 or b"\\" in key:
            return
        name = line_protocol.measurement(key)
        if name.decode(errors="replace") not in engine.catalog.names():
            if name not in self._unknown_ids and len(self._unknown_ids) < engine.limits.unknown_names:
                self._unknown_ids[name] = len(self._unknown_ids)
                self._tables[module.T_NAMES].put(self._hash(name), 2 * self._unknown_ids[name] + 3)
            return
        metric, address = line_protocol.parse_address(key, default_cluster)
        cluster = self._cluster(address.cluster)
        series = engine.series_of(metric, address)
        self._index_series()
        buffer = np.frombuffer(key + bytes(16), np.uint8)
        default = self._cluster(default_cluster) if default_cluster else 0
        first, second = module.hash_key(buffer.ctypes.data, len(name), len(key), default, self._seeds)
        self._tables[module.T_KEYS].put((int(first), int(second)), 1 if series == UNKNOWN else series + 2)
        if series == UNKNOWN:
            return
        host = engine.host_ids[address.cluster, address.host]
        for timestep, block in host.blocks.items():
            self._tables[module.T_BLOCKS].put(self._pair(host.id + 1, timestep), block + 1)
        state = (int(self._seeds[4]), int(self._seeds[5]))
        for text in _component_texts(key):
            state = self._hash(text, *state)
        self._tables[module.T_COMPONENTS].put(state, int(engine.series.component[series]) + 1)
        self._tables[module.T_HOSTS].put(
            self._hash(address.host.encode(), *self._pair(cluster, 0)), host.id + 1
        )

    def unknown_names(self) -> Counter[str]:
        """Lines dropped by name, as the kernel counted them."""
        found: Counter[str] = Counter()
        for name, number in self._unknown_ids.items():
            if self._unknown[number]:
                found[name[:200].decode(errors="replace")] += int(self._unknown[number])
        for number in np.flatnonzero(self._elsewhere).tolist():
            found[self._engine.names.metrics[number]] += int(self._elsewhere[number])
        return found


def _component_texts(key: bytes) -> list[bytes]:
    """type, type-id, stype, stype-id as written, a node's first two empty."""
    found = {b"type": b"", b"type-id": b"", b"stype": b"", b"stype-id": b""}
    for tag in key.split(b",")[1:]:
        name, _, value = tag.partition(b"=")
        if name in found:
            found[name] = value
    if found[b"type"] == b"node":
        found[b"type"] = found[b"type-id"] = b""
    return list(found.values())
