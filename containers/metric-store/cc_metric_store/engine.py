"""The engine: bytes of line protocol in, samples in blocks. No network, no disk, no clock of its own.

All changes happen under one lock, held for a batch of lines at most. Readers take references under the lock
and work outside it: an array that a reader holds stays valid, whatever becomes of its block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cc_metric_store import line_protocol
from cc_metric_store.blocks import Block, BlockStore
from cc_metric_store.catalog import MetricCatalog
from cc_metric_store.fair_lock import FairLock
from cc_metric_store.line_protocol import Address, LineError
from cc_metric_store.series import Host, Names, SeriesTable

REASONS_SHOWN = 10
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the store; times in seconds."""

    retention: int = 48 * 3600
    future: int = 300  # a sample may be this far ahead of our clock
    window: int = 3600
    rows_per_host: int = 20_000  # of one time step
    hosts: int = 50_000
    components: int = 1_000_000
    unknown_names: int = 10_000
    cached_keys: int = 4_000_000


@dataclass(slots=True)
class WriteReport:
    """What became of the lines of one batch."""

    accepted: int = 0
    unknown: int = 0  # metrics nobody configured: dropped, by contract without complaint
    rejected: Counter[str] = field(default_factory=Counter)  # reason → lines
    reasons: list[str] = field(default_factory=list)  # the first few, with line number
    patched: int = 0  # of the accepted: came late, into a sealed window

    @property
    def rejections(self) -> int:
        return sum(self.rejected.values())

    def refuse(self, line: int, reason: str, message: str) -> None:
        self.rejected[reason] += 1
        if len(self.reasons) < REASONS_SHOWN:
            self.reasons.append(f"line {line}: {message}")

    def add(self, other: WriteReport) -> None:
        self.accepted += other.accepted
        self.unknown += other.unknown
        self.patched += other.patched
        self.rejected.update(other.rejected)
        self.reasons.extend(other.reasons[: REASONS_SHOWN - len(self.reasons)])


class BatchWriter(Protocol):
    """The compiled path, once it is there."""

    def write(self, payload: bytes, default_cluster: str, now: int, first_line: int) -> WriteReport: ...

    def unknown_names(self) -> Counter[str]: ...


def _series_key(block: int, name: int, component: int) -> int:
    """One number for the three; names are below 2¹⁶, components below 2²⁴ (`Limits`)."""
    return block << 40 | name << 24 | component


class Engine:
    """Series, blocks, and the two ways of writing into them."""

    def __init__(
        self, catalog: MetricCatalog, clock: Callable[[], float], limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self.catalog = catalog
        self.lock = FairLock()
        self.names = Names()
        self.series = SeriesTable()
        self.store = BlockStore(self.limits.window, self.series)
        self.hosts: list[Host] = []
        self.host_ids: dict[tuple[str, str], Host] = {}
        self.unknown_names: Counter[str] = Counter()
        self.totals = WriteReport()
        self.kernel: BatchWriter | None = None
        self.full = False  # memory is at its cap: known series are written, new ones refused
        self._known_names: frozenset[bytes] = frozenset()
        self._use_catalog(catalog)
        self._keys: dict[tuple[str, bytes], int] = {}
        self._series_ids: dict[int, int] = {}  # block, name and component in one number → series

    # --- writing ---------------------------------------------------------------------------------

    def write(
        self, payload: bytes, default_cluster: str = "", first_line: int = 1, *, arrival: int | None = None
    ) -> WriteReport:
        """Take a batch of whole lines. Never raises for what is in it: the report says what was refused.

        `arrival` (Unix seconds, default now): when a replayed batch came in first; it decides the time of
        lines that have none, and which times are too far off.
        """
        now = int(self.clock()) if arrival is None else arrival
        with self.lock:
            if self.kernel is not None:
                report = self.kernel.write(payload, default_cluster, now, first_line)
            else:
                report = self.write_plain(payload, default_cluster, now, first_line)
            self.totals.add(report)
            self.totals.reasons.clear()
        return report

    def write_plain(self, payload: bytes, default_cluster: str, now: int, first_line: int = 1) -> WriteReport:
        """The plain path: the oracle of the kernel. The caller holds the lock."""
        report = WriteReport()
        for number, line in enumerate(payload.split(b"\n"), first_line):
            self.write_line(line, default_cluster, now, number, report)
        return report

    def write_line(
        self, line: bytes, default_cluster: str, now: int, number: int, report: WriteReport
    ) -> None:
        """One line, whatever it holds; the caller holds the lock."""
        line = line.removesuffix(b"\r").lstrip(b" ")
        if not line or line[0] == 0x23:  # "#": a comment
            return
        try:
            if len(line) > line_protocol.MAX_LINE_BYTES:
                raise LineError("too long", f"line has more than {line_protocol.MAX_LINE_BYTES} bytes")
            key, rest = line_protocol.split_key(line)
            series = self._keys.get((default_cluster, key))
            if series is None:
                series = self._first_sight(key, default_cluster)
            if series == UNKNOWN:
                self._count_unknown(line)
                report.unknown += 1
                return
            value, time = line_protocol.parse_sample(rest, now)
            if time > now + self.limits.future:
                raise LineError("future", f"time {time} is more than {self.limits.future} s ahead")
            if time < now - self.limits.retention:
                raise LineError("past", f"time {time} is older than the retention")
        except LineError as error:
            report.refuse(number, error.reason, str(error))
            return
        block = self.store.blocks[self.series.block[series]]
        slot = self.series.place(series, time, block.timestep)
        report.patched += self.store.write(block, int(self.series.row[series]), slot, value)
        report.accepted += 1

    def _first_sight(self, key: bytes, default_cluster: str) -> int:
        name = line_protocol.measurement(key)
        if name not in self._known_names and b"\\" not in name:
            return UNKNOWN  # dropped by name alone; not worth a place in the cache
        metric, address = line_protocol.parse_address(key, default_cluster)
        series = self.series_of(metric, address)
        if len(self._keys) >= self.limits.cached_keys:
            self._keys.clear()
        self._keys[default_cluster, key] = series
        return series

    def _count_unknown(self, line: bytes) -> None:
        name = line_protocol.measurement(line)[:200].decode(errors="replace")
        if name not in self.unknown_names and len(self.unknown_names) >= self.limits.unknown_names:
            name = "(others)"
        self.unknown_names[name] += 1

    def series_of(self, metric: str, address: Address) -> int:
        """The id of a series, which is made if the metric is configured; UNKNOWN if it is not.

        LineError where a limit is reached.
        """
        definition = self.catalog.find(address.cluster, metric)
        if definition is None:
            return UNKNOWN
        name = self.names.metric(metric)
        found = self.names.component_ids.get((address.component, address.subcomponent))
        host = self.host_ids.get((address.cluster, address.host))
        if host is not None and found is not None and definition.timestep in host.blocks:
            series = self._series_ids.get(_series_key(host.blocks[definition.timestep], name, found))
            if series is not None:
                return series
        if self.full:
            raise LineError("memory", "the metric store is at its memory cap: no new series are taken")
        if host is None:
            if len(self.hosts) >= self.limits.hosts:
                raise LineError("limit", f"more than {self.limits.hosts} hosts")
            host = Host(len(self.hosts), address.cluster, address.host)
            self.hosts.append(host)
            self.host_ids[address.cluster, address.host] = host
        if self.block_of(host, definition.timestep).rows >= self.limits.rows_per_host:
            raise LineError("limit", f"host {host.name} has {self.limits.rows_per_host} series, the limit")
        if found is None:
            if len(self.names.components) >= self.limits.components:
                raise LineError("limit", f"more than {self.limits.components} different components")
            found = self.names.component(address.component, address.subcomponent, address.type)
        return self.add_series(host, name, found, definition.timestep)

    def add_series(self, host: Host, name: int, component: int, timestep: int) -> int:
        """A new row, or the one that is there."""
        block = self.block_of(host, timestep)
        key = _series_key(block.id, name, component)
        known = self._series_ids.get(key)
        if known is not None:
            return known
        series = self.series.add(block.id, block.rows, name, component)
        self.store.add_row(block, series)
        self._series_ids[key] = series
        return series

    def adopt_series(self, count: int) -> None:
        """Take over series that the kernel appended to the columns, up to `count`."""
        series = self.series
        new = slice(series.count, count)
        keys = (
            series.block[new].astype(np.int64) << 40
            | series.name[new].astype(np.int64) << 24
            | series.component[new].astype(np.int64)
        )
        self._series_ids.update(zip(keys.tolist(), range(series.count, count), strict=True))
        series.count = count

    def forget_keys(self) -> None:
        """Drop the plain path's cache of keys: the kernel has its own."""
        self._keys.clear()

    def unknown(self) -> Counter[str]:
        """Lines dropped because nobody configured their metric, by metric name."""
        with self.lock:
            return self.unknown_names + (self.kernel.unknown_names() if self.kernel else Counter())

    def block_of(self, host: Host, timestep: int) -> Block:
        """The host's block for a time step, made where there is none."""
        if timestep not in host.blocks:
            host.blocks[timestep] = self.store.add(host.id, timestep).id
        return self.store.blocks[host.blocks[timestep]]

    def host(self, cluster: str, name: str) -> Host:
        """The host, made where there is none (restore)."""
        found = self.host_ids.get((cluster, name))
        if found is None:
            found = Host(len(self.hosts), cluster, name)
            self.hosts.append(found)
            self.host_ids[cluster, name] = found
        return found

    def replace_catalog(self, catalog: MetricCatalog) -> None:
        """Use changed documents: new metrics are taken from now on, a changed time step opens new rows."""
        with self.lock:
            self._use_catalog(catalog)
            self._keys.clear()

    def _use_catalog(self, catalog: MetricCatalog) -> None:
        self.catalog = catalog
        self._known_names = frozenset(name.encode() for name in catalog.names())
        self.store.exact_metrics = frozenset(self.names.metric(name) for name in catalog.exact())

    # --- looking ---------------------------------------------------------------------------------

    def blocks(self, cluster: str | None = None) -> Iterator[tuple[Host, Block]]:
        for host in list(self.hosts):
            if cluster is None or host.cluster == cluster:
                for block in list(host.blocks.values()):
                    yield host, self.store.blocks[block]

    def data_bytes(self) -> int:
        """Bytes that samples and their columns take, as far as we can count them."""
        with self.lock:
            held = sum(block.nbytes for block in self.store.blocks)
            return held + self.series.nbytes + self.store.table.nbytes + 120 * len(self._series_ids)

    # --- housekeeping ----------------------------------------------------------------------------

    def seal_finished(self, grace: int = 300) -> int:
        """Encode windows that ended more than `grace` seconds ago and were not written since the last call;
        merge patches of sealed windows. Returns how many windows. Encoding happens outside the lock."""
        now = int(self.clock())
        done = 0
        for _, block in self.blocks():
            for window in list(block.open):
                if block.window_end(window) + grace > now:
                    continue
                done += self._seal_unless_warm(block, window)
            for window in list(block.patches):
                with self.lock:
                    self.store.merge_patches(block, window)
                done += 1
        return done

    def _seal_unless_warm(self, block: Block, window: int) -> int:
        touched = self.store.table.touched
        with self.lock:
            matrix = block.open.get(window)
            place = window % touched.shape[1]
            if matrix is None:
                return 0
            if self.store.table.touched[block.id, place] & 2:
                self.store.table.touched[block.id, place] &= 0xFD
                return 0
            rows = block.rows
        sealed = self.store.encode(block, matrix)
        with self.lock:
            # Written to or grown while we encoded: next time
            if self.store.table.touched[block.id, place] & 2 or block.rows != rows:
                return 0
            return int(self.store.put_sealed(block, window, sealed, matrix))

    def free(self, before: int, keep: frozenset[tuple[str, str]] = frozenset()) -> int:
        """Drop windows that ended at or before a time, except on the hosts to keep; returns how many.
        The lock is taken per host: neither writers nor readers wait for the whole walk."""
        freed = 0
        for host, block in self.blocks():
            if (host.cluster, host.name) not in keep:
                with self.lock:
                    freed += self.store.free(block, before)
        return freed

    def free_part(self, before: int, host: Host, path: list[str]) -> int:
        """Empty, in windows that ended at or before a time, the rows of one component (`path`: its name, or
        its name and that of the part below it); returns how many windows held something of it."""
        freed = 0
        for number in list(host.blocks.values()):
            with self.lock:
                block = self.store.blocks[number]
                parts = [self.names.components[c] for c in self.series.component[block.series[: block.rows]]]
                rows = [
                    row
                    for row, part in enumerate(parts)
                    if path in ([part.name], [part.name, part.subname]) and part.name
                ]
                windows = [w for w in block.windows() if rows and block.window_end(w) <= before]
            for window in windows:
                with self.lock:
                    freed += self.store.clear_rows(block, window, rows)
        return freed
