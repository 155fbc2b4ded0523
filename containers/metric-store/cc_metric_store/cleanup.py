"""What leaves memory is kept as Parquet, where a site wants that: one file per cluster and run, or a few.

Columns as the reference writes them, with two more for what lies below a component:

    cluster, hostname, metric, scope, scope_id, subscope (string), timestamp, frequency (int64, seconds),
    value (float32)

Sorted by host, metric, component and time, Zstandard; a gap makes no row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cc_metric_store.blocks import Block
from cc_metric_store.engine import Engine
from cc_metric_store.series import Component, Host
from clustercockpit.storage.objects import ObjectStore

ROWS_PER_FILE = 2_000_000  # bounds the memory this takes

Leaving = tuple[Host, Block, int]  # a window of a host's block


@dataclass(slots=True)
class CleanupReport:
    files: int = 0
    rows: int = 0


class ParquetArchive:
    """Writes windows to files `{cluster}/{before}.parquet` of an object store, further parts numbered."""

    def __init__(self, engine: Engine, objects: ObjectStore, prefix: str = "") -> None:
        self.engine = engine
        self.objects = objects
        self.prefix = prefix

    def write(self, leaving: Iterable[Leaving], before: int) -> CleanupReport:
        """Write all samples of the windows. Raises what the object store raises: then nothing may go."""
        report = CleanupReport()
        by_cluster: dict[str, list[Leaving]] = {}
        for item in leaving:
            by_cluster.setdefault(item[0].cluster, []).append(item)
        for cluster, items in sorted(by_cluster.items()):
            part = 0
            file = _File()
            for host, block, window in sorted(items, key=lambda i: (i[0].name, i[1].timestep, i[2])):
                self._add(file, host, block, window)
                if file.rows >= ROWS_PER_FILE:
                    self._put(file, cluster, before, part, report)
                    file, part = _File(), part + 1
            if file.rows:
                self._put(file, cluster, before, part, report)
        return report

    def _add(self, file: _File, host: Host, block: Block, window: int) -> None:
        engine = self.engine
        with engine.lock:
            matrix = engine.store.window(block, window)
            series = block.series[: len(matrix)]
            names, components = engine.series.name[series], engine.series.component[series]
            phases = engine.series.phase[series].astype(np.int64)
        start = window * block.slots * block.timestep
        labels = [
            (engine.names.metrics[name], engine.names.components[component])
            for name, component in zip(names.tolist(), components.tolist(), strict=True)
        ]
        order = sorted(range(len(labels)), key=lambda row: _sort_key(*labels[row]))
        for row in order:
            slots = np.flatnonzero(~np.isnan(matrix[row]))
            if len(slots):
                times = start + slots * block.timestep + phases[row]
                file.add(host, *labels[row], block.timestep, times, matrix[row, slots])

    def _put(self, file: _File, cluster: str, before: int, part: int, report: CleanupReport) -> None:
        name = f"{before}.parquet" if part == 0 else f"{before}-{part}.parquet"
        self.objects.put(f"{self.prefix}{cluster}/{name}", file.content())
        report.files += 1
        report.rows += file.rows


class _File:
    """Rows of one file, gathered column by column; texts stand in a table of their own."""

    def __init__(self) -> None:
        self.rows = 0
        self._labels: list[tuple[str, str, str, str, str, str, int]] = []
        self._numbers: list[int] = []
        self._times: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.float32]] = []

    def add(
        self, host: Host, metric: str, component: Component, timestep: int,
        times: NDArray[np.int64], values: NDArray[np.float64],
    ) -> None:  # fmt: skip
        scope, identifier = scope_of(component)
        self._labels.append((host.cluster, host.name, metric, scope, identifier, component.subname, timestep))
        self._numbers.append(len(times))
        self._times.append(times)
        self._values.append(values.astype(np.float32))
        self.rows += len(times)

    def content(self) -> bytes:
        """The Parquet file."""
        import duckdb

        texts = ("cluster", "hostname", "metric", "scope", "scope_id", "subscope")
        labels: dict[str, object] = {
            name: np.array([label[i] for label in self._labels], object) for i, name in enumerate(texts)
        }
        labels["frequency"] = np.array([label[6] for label in self._labels], np.int64)
        labels["number"] = np.arange(len(self._labels))
        samples = {
            "number": np.repeat(np.arange(len(self._labels)), self._numbers),
            "timestamp": np.concatenate(self._times),
            "value": np.concatenate(self._values),
        }
        with (
            tempfile.TemporaryDirectory(prefix="cc-cleanup-") as folder,
            duckdb.connect(":memory:") as database,
        ):
            path = Path(folder) / "part.parquet"
            database.execute("SET threads=1")
            database.execute("CREATE TABLE labels AS SELECT * FROM labels")
            database.execute("CREATE TABLE samples AS SELECT * FROM samples")
            database.execute(
                "COPY (SELECT cluster, hostname, metric, scope, scope_id, subscope, timestamp, frequency, "
                "value FROM samples JOIN labels USING (number) ORDER BY number, timestamp) "
                "TO $path (FORMAT parquet, COMPRESSION zstd)",
                {"path": str(path)},
            )
            del labels, samples
            return path.read_bytes()


def scope_of(component: Component) -> tuple[str, str]:
    """Scope and id of a component: the node, or its type and what follows it in the name."""
    if not component.name:
        return "node", ""
    kind = component.type
    if not kind or not component.name.startswith(kind):
        return component.name, ""
    return ("hwthread" if kind == "cpu" else kind), component.name[len(kind) :]


def _sort_key(metric: str, component: Component) -> tuple[str, str, int, str, str]:
    scope, identifier = scope_of(component)
    number = int(identifier) if identifier.isascii() and identifier.isdigit() else -1
    return metric, scope, number, identifier, component.subname
