"""Is a node sending what it should? Judged by the last sample of each series, not by the slots reserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from cc_metric_store.engine import Engine
from cc_metric_store.series import NEVER

STALE_AFTER_STEPS = 5
# A component silent for this long, while others of its metric report, is taken as removed from the node.
FORGOTTEN_AFTER = 3600


@dataclass(slots=True)
class NodeHealth:
    """`state` is full, partial or failed; a host nobody has heard of has no lists."""

    state: str
    degraded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    known: bool = True

    def document(self) -> dict[str, Any]:
        """As the reference answers: the lists as a JSON text inside."""
        lists = orjson.dumps({"degraded": self.degraded, "missing": self.missing}).decode()
        return {"State": self.state, "HealthMetrics": lists if self.known else ""}


@dataclass(slots=True)
class Counts:
    """Series per host (first axis) and metric (second) by the age of their last sample."""

    fresh: NDArray[np.int32]
    stale: NDArray[np.int32]
    silent: NDArray[np.int32]

    @classmethod
    def zero(cls, hosts: int, metrics: int) -> Counts:
        fresh, stale, silent = (np.zeros((hosts, metrics), np.int32) for _ in range(3))
        return cls(fresh, stale, silent)


def check(
    engine: Engine, cluster: str, hosts: Sequence[str], metrics: Sequence[str]
) -> dict[str, NodeHealth]:
    """Health of each host: degraded metrics have a silent component, missing ones have none at all."""
    distinct = list(dict.fromkeys(metrics))
    places: list[int] = []
    blocks: list[int] = []
    known = np.zeros(len(hosts), np.bool_)
    with engine.lock:
        for place, name in enumerate(hosts):
            host = engine.host_ids.get((cluster, name))
            if host is not None:
                known[place] = True
                blocks += host.blocks.values()
                places += [place] * len(host.blocks)
        columns = np.full(len(engine.names.metrics) + 1, -1, np.int64)
        for column, metric in enumerate(distinct):
            number = engine.names.metric_ids.get(metric)
            if number is not None:
                columns[number] = column
        counts = Counts.zero(len(hosts), len(distinct))
        _count(engine, np.array(blocks, np.int64), np.array(places, np.int64), columns, counts)
    # Forgotten components count only where nothing else of the metric reports
    degraded = (counts.stale > 0) | ((counts.silent > 0) & (counts.fresh == 0))
    missing = counts.fresh + counts.stale + counts.silent == 0
    bad = degraded | missing
    whole = ~bad.any(axis=1)
    failed = bad.all(axis=1) if distinct else np.zeros(len(hosts), np.bool_)
    healthy, unknown = NodeHealth("full"), NodeHealth("failed", known=False)
    result: dict[str, NodeHealth] = {}
    for place, name in enumerate(hosts):
        if not known[place]:
            result[name] = unknown
        elif whole[place]:
            result[name] = healthy
        else:
            result[name] = NodeHealth(
                "failed" if failed[place] else "partial",
                [metric for metric, yes in zip(distinct, degraded[place].tolist(), strict=True) if yes],
                [metric for metric, yes in zip(distinct, missing[place].tolist(), strict=True) if yes],
            )
    return result


def count_plain(
    engine: Engine, blocks: NDArray[np.int64], places: NDArray[np.int64], columns: NDArray[np.int64],
    counts: Counts,
) -> None:  # fmt: skip
    """Fill the counts from the blocks, each of the host at its place; `columns` by metric name id."""
    now, table = int(engine.clock()), engine.series
    width = counts.fresh.shape[1]
    for block_id, place in zip(blocks.tolist(), places.tolist(), strict=True):
        block = engine.store.blocks[block_id]
        series = block.series[: block.rows]
        step = block.timestep
        column, last = columns[table.name[series]], table.last_slot[series]
        age = now - (last * step + table.phase[series] + step // 2)
        seen = (column >= 0) & (last > NEVER) & (age <= engine.limits.retention)
        good = seen & (age <= STALE_AFTER_STEPS * step)
        gone = seen & (age > max(FORGOTTEN_AFTER, STALE_AFTER_STEPS * step))
        for mask, into in ((good, counts.fresh), (gone, counts.silent), (seen & ~good & ~gone, counts.stale)):
            into[place] += np.bincount(column[mask], minlength=width).astype(np.int32)


_count: Callable[..., None] = count_plain


def accelerate(compiled: Callable[..., None]) -> None:
    """Use `health_kernel.count` instead of `count_plain` from now on."""

    def count(
        engine: Engine, blocks: NDArray[np.int64], places: NDArray[np.int64], columns: NDArray[np.int64],
        counts: Counts,
    ) -> None:  # fmt: skip
        series, table = engine.series, engine.store.table
        compiled(
            blocks, places, columns, table.rows, table.series_address, table.timestep, series.name,
            series.phase, series.last_slot, int(engine.clock()), engine.limits.retention, STALE_AFTER_STEPS,
            FORGOTTEN_AFTER, counts.fresh, counts.stale, counts.silent,
        )  # fmt: skip

    global _count
    _count = count
