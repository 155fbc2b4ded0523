"""What goes wrong with jobs: the twelve diagnoses a support person makes, as changes to healthy activity.

Each knows its diagnosis (D1 to D12), from when it shows, on which nodes or devices, and whose cause it is:
that is what `truth.jsonl` records, so that later findings can be scored. D7 (a slow node, the site's fault)
and D9, D12 (requests, failures) do not change what a program does; their truth is recorded all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator import noise
from simulator.applications import Activity, Place
from simulator.noise import Floats

Cause = Literal["user", "site"]


@dataclass(frozen=True)
class Pathology:
    """One trouble of one job. `onset` and `until` are seconds after the job's start (None: to its end);
    `nodes` are indices among its nodes, `devices` (node index, device index) pairs; None means all."""

    diagnosis: str
    kind: str
    onset: int = 0
    until: int | None = None
    nodes: frozenset[int] | None = None
    devices: frozenset[tuple[int, int]] | None = None
    strength: float = 1.0
    cause: Cause = "user"

    def apply(self, activity: Activity, at: Place) -> None:
        """Change the activity in place where and when this trouble shows."""
        if self.nodes is not None and at.index not in self.nodes and self.kind not in _CONCERNS_ALL:
            return
        change = _CHANGES.get(self.kind)
        if change is None:
            return
        shows = at.since >= self.onset
        if self.until is not None:
            shows &= at.since < self.until
        if shows.any():
            change(self, activity, at, shows.astype(float))


def _mix(rows: Floats, healthy: Floats, ill: Floats | float) -> Floats:
    """`ill` where rows is 1, `healthy` where it is 0."""
    weight = rows.reshape(-1, *([1] * (healthy.ndim - 1)))
    return healthy * (1 - weight) + ill * weight


def _idle_cpu(a: Activity, at: Place, rows: Floats, level: float = 0.002) -> None:
    jitter = noise.uniform(at.key ^ 0x77, at.times[:, None] * 4096 + np.arange(at.threads))
    a.busy = _mix(rows, a.busy, level * jitter)
    a.flops = _mix(rows, a.flops, 0.0)
    a.ipc = _mix(rows, a.ipc, 0.4)
    a.bandwidth = _mix(rows, a.bandwidth, 0.3)


def _quiet(a: Activity, rows: Floats, level: float = 0.0) -> None:
    for name in ("received", "sent", "read", "written", "requests", "opens", "attributes"):
        setattr(a, name, _mix(rows, getattr(a, name), getattr(a, name) * level))


def _idle_devices(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    idle = np.array([p.devices is None or (at.index, d) in p.devices for d in range(at.devices)], dtype=float)
    weight = rows[:, None] * idle
    a.acc_busy = a.acc_busy * (1 - weight)
    a.acc_power = a.acc_power * (1 - weight)
    a.acc_memory = a.acc_memory * (1 - weight)
    a.acc_processes = a.acc_processes * (1 - weight)
    if p.devices is None:
        a.busy = _mix(rows, a.busy, np.minimum(a.busy * 1.6, 1.0))


def _badly_fed(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    # A burst of work, then waiting for the next batch: the mean stays under a quarter.
    index = at.times[:, None] * 64 + np.arange(at.devices) + at.index * 8
    burst = noise.uniform(at.key ^ 0x2F, index)
    level = np.where(burst > 0.72, 0.5 + 0.4 * burst, 0.03) * p.strength
    a.acc_busy = _mix(rows, a.acc_busy, np.clip(level * 0.62, 0, 1))
    a.acc_power = _mix(rows, a.acc_power, 0.12 + 0.2 * level)
    loaders = max(1, at.devices)  # one loading process per device, always full; the rest has nothing to do
    full = (np.arange(at.threads) < loaders).astype(float)
    a.busy = _mix(rows, a.busy, np.tile(0.99 * full + 0.02 * (1 - full), (len(rows), 1)))
    a.read = _mix(rows, a.read, 140.0 * loaders)
    a.requests = _mix(rows, a.requests, 900.0 * loaders)


def _unused_nodes(_: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    _idle_cpu(a, at, rows)
    _quiet(a, rows)
    a.memory = _mix(rows, a.memory, 0.4)
    for name in ("acc_busy", "acc_power", "acc_memory", "acc_processes"):
        setattr(a, name, _mix(rows, getattr(a, name), 0.0))


def _few_threads(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    """`strength` threads work, the others never do."""
    working = (np.arange(at.threads) < max(1, round(p.strength))).astype(float)
    share = working.sum() / at.threads
    a.busy = _mix(rows, a.busy, np.maximum(a.busy, 0.9) * working + 0.002 * (1 - working))
    a.flops = _mix(rows, a.flops, a.flops * working)
    a.ipc = _mix(rows, a.ipc, a.ipc * working + 0.3 * (1 - working))
    a.bandwidth = _mix(rows, a.bandwidth, a.bandwidth * min(1.0, 3 * share))


def _pinned(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    """All processes sit on the first part of the cores and take turns there."""
    used = max(1, round(at.threads * p.strength))
    working = (np.arange(at.threads) < used).astype(float)
    a.busy = _mix(rows, a.busy, np.maximum(a.busy, 0.97) * working + 0.004 * (1 - working))
    a.flops = _mix(rows, a.flops, a.flops * working * 0.85)
    a.ipc = _mix(rows, a.ipc, a.ipc * (0.8 * working) + 0.3 * (1 - working))
    a.bandwidth = _mix(rows, a.bandwidth, a.bandwidth * used / at.threads)
    a.waiting = _mix(rows, a.waiting, float(at.threads - used))


def _oversubscribed(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    """`strength` runnable processes on every hardware thread."""
    a.waiting = _mix(rows, a.waiting, (p.strength - 1) * at.threads)
    a.busy = _mix(rows, a.busy, 0.93 * np.ones_like(a.busy))
    a.flops = _mix(rows, a.flops, a.flops * 0.5)
    a.ipc = _mix(rows, a.ipc, a.ipc * 0.6)
    a.bandwidth = _mix(rows, a.bandwidth, a.bandwidth * 0.7)


def _imbalance(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    """The listed nodes carry the work, the others wait in the library (busy all the same)."""
    if p.nodes is not None and at.index in p.nodes:
        return
    light = (1 - p.strength) * (1 + 0.1 * ((at.index * 7) % 5) / 5)
    a.flops = _mix(rows, a.flops, a.flops * light)
    a.bandwidth = _mix(rows, a.bandwidth, a.bandwidth * light)
    a.ipc = _mix(rows, a.ipc, np.minimum(a.ipc * 1.25, 3.5))


def _growth(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    """Memory rises in a straight line and meets the limit at the job's end on the fastest node."""
    first = a.memory
    length = max(1, at.end - at.start - p.onset)
    part = np.clip((at.since - p.onset) / length, 0, 1)
    slope = 1.0 if at.index == 0 else 0.86 + 0.02 * (at.index % 5)
    a.memory = _mix(rows, first, first + (at.memory_limit * 0.995 - first) * part * slope)


def _metadata_storm(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    wave = 1 + 0.25 * noise.wander(at.key ^ 0x3D, at.times, 90)
    a.opens = _mix(rows, a.opens, 1600 * p.strength * wave)
    a.attributes = _mix(rows, a.attributes, 3200 * p.strength * wave)
    a.requests = _mix(rows, a.requests, 2500 * p.strength * wave)
    a.read = _mix(rows, a.read, 2500 * p.strength * wave * 0.012)  # 12 kB a request
    a.busy = _mix(rows, a.busy, a.busy * 0.55)
    a.flops = _mix(rows, a.flops, a.flops * 0.3)
    a.bandwidth = _mix(rows, a.bandwidth, a.bandwidth * 0.35)


def _stalls(p: Pathology, a: Activity, at: Place, rows: Floats) -> None:
    """Writes stop the work for a good part of every few minutes."""
    stalled = rows * ((at.since % 480) < 200)
    a.busy = _mix(stalled, a.busy, a.busy * 0.12)
    a.flops = _mix(stalled, a.flops, a.flops * 0.05)
    a.bandwidth = _mix(stalled, a.bandwidth, a.bandwidth * 0.1)
    a.written = _mix(stalled, a.written, 650.0 * p.strength)
    a.requests = _mix(stalled, a.requests, 1400.0 * p.strength)
    a.waiting = _mix(stalled, a.waiting, 0.8 * at.threads)  # in uninterruptible sleep, counted as load
    a.sent, a.received = _mix(stalled, a.sent, 1.0), _mix(stalled, a.received, 1.0)


def _hung(p: Pathology, a: Activity, _: Place, rows: Floats) -> None:
    """Nothing moves any more. `strength` 1: the processes spin, 0: they sleep."""
    _quiet(a, rows)
    a.flops = _mix(rows, a.flops, 0.0)
    a.bandwidth = _mix(rows, a.bandwidth, 0.4)
    a.ipc = _mix(rows, a.ipc, 0.25)
    a.busy = _mix(rows, a.busy, np.full_like(a.busy, 0.999 if p.strength >= 0.5 else 0.001))
    a.acc_busy = _mix(rows, a.acc_busy, 0.0)
    a.acc_power = _mix(rows, a.acc_power, 0.04)


_CONCERNS_ALL = {"imbalance"}
_CHANGES = {
    "idle devices": _idle_devices,
    "badly fed": _badly_fed,
    "unused nodes": _unused_nodes,
    "few threads": _few_threads,
    "pinned": _pinned,
    "oversubscribed": _oversubscribed,
    "imbalance": _imbalance,
    "growth": _growth,
    "metadata storm": _metadata_storm,
    "stalls": _stalls,
    "hung": _hung,
}
# Diagnoses that live in the request or the outcome, or in the node: nothing to change in the activity.
UNSEEN_IN_ACTIVITY = frozenset({"slow node", "slow device", "over-requested memory", "over-requested time",
                                "failure storm"})  # fmt: skip
