"""Is a node sending what it should? Judged by the last sample of each series, not by the slots reserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
        import orjson

        lists = orjson.dumps({"degraded": self.degraded, "missing": self.missing}).decode()
        return {"State": self.state, "HealthMetrics": lists if self.known else ""}


def check(
    engine: Engine, cluster: str, hosts: Sequence[str], metrics: Sequence[str]
) -> dict[str, NodeHealth]:
    """Health of each host: degraded metrics have a silent component, missing ones have none at all."""
    now = int(engine.clock())
    with engine.lock:
        ids = [engine.names.metric_ids.get(metric, -1) for metric in metrics]
        wanted = np.array(ids, np.int64)
        return {host: _node(engine, cluster, host, metrics, wanted, now) for host in hosts}


def _node(
    engine: Engine, cluster: str, name: str, metrics: Sequence[str], wanted: np.ndarray[Any, Any], now: int
) -> NodeHealth:
    host = engine.host_ids.get((cluster, name))
    if host is None:
        return NodeHealth("failed", known=False)
    size = len(engine.names.metrics) + 1
    fresh, stale, silent = (np.zeros(size, np.int64) for _ in range(3))
    table = engine.series
    for identifier in host.blocks.values():
        block = engine.store.blocks[identifier]
        series = block.series[: block.rows]
        last = table.last_slot[series]
        step = block.timestep
        age = now - (last * step + table.phase[series] + step // 2)
        seen = (last > NEVER) & (age <= engine.limits.retention)
        names = table.name[series]
        good = seen & (age <= STALE_AFTER_STEPS * step)
        gone = seen & (age > max(FORGOTTEN_AFTER, STALE_AFTER_STEPS * step))
        fresh += np.bincount(names[good], minlength=size)
        silent += np.bincount(names[gone], minlength=size)
        stale += np.bincount(names[seen & ~good & ~gone], minlength=size)
    # Forgotten components count only where nothing else of the metric reports
    broken = (stale > 0) | ((silent > 0) & (fresh == 0))
    present = fresh + stale + silent > 0
    degraded = [m for m, i in zip(metrics, wanted.tolist(), strict=True) if i >= 0 and broken[i]]
    missing = [m for m, i in zip(metrics, wanted.tolist(), strict=True) if i < 0 or not present[i]]
    bad = len(degraded) + len(missing)
    state = "full" if bad == 0 else "failed" if bad == len(metrics) else "partial"
    return NodeHealth(state, degraded, missing)
