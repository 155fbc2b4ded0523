"""Which series exist: names, hosts and components as numbers, and the per-series columns the kernel writes.

A series is a row of a host's block. Its state is kept in columns (one NumPy array per attribute, indexed by
series id) so that compiled code and Python share it. Ids are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).min // 4  # "no slot yet"; far from overflow in slot arithmetic


def slot_of(time: int, phase: int, timestep: int) -> int:
    """The floor of (time - phase + f/2) / f: the slot of a sample, jitter up to half a step absorbed."""
    return (time - phase + timestep // 2) // timestep


def own_phase(time: int, timestep: int) -> int:
    """Offset of a sample from the nearest wall-clock step, in [-f/2, f/2)."""
    half = timestep // 2
    return (time + half) % timestep - half


class SeriesTable:
    """Columns per series. `phase` is the offset (s) of the row's samples from the wall-clock grid, valid from
    time `since` on; before it `earlier_phase` holds (a collector restart moves the phase)."""

    def __init__(self, capacity: int = 4096) -> None:
        self.count = 0
        self.block: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.row: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.name: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.component: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.phase: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.earlier_phase: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.since: NDArray[np.int64] = np.full(capacity, NEVER, np.int64)
        self.last_slot: NDArray[np.int64] = np.full(capacity, NEVER, np.int64)

    def add(self, block: int, row: int, name: int, component: int) -> int:
        series = self.count
        if series == self.block.shape[0]:
            self.reserve(1)
        self.block[series], self.row[series] = block, row
        self.name[series], self.component[series] = name, component
        self.count += 1
        return series

    def reserve(self, further: int) -> None:
        """Make room for `further` more series without another reallocation."""
        needed = self.count + further
        if needed <= self.block.shape[0]:
            return
        capacity = max(needed, self.block.shape[0] * 2)
        for column in ("block", "row", "name", "component", "phase", "earlier_phase", "since", "last_slot"):
            old = getattr(self, column)
            new = np.full(capacity, NEVER if old.dtype == np.int64 else 0, old.dtype)
            new[: self.count] = old[: self.count]
            setattr(self, column, new)

    @property
    def nbytes(self) -> int:
        return int(self.block.nbytes * 6 + self.since.nbytes * 2)

    def place(self, series: int, time: int, timestep: int) -> int:
        """The slot of a sample of the series, following the phase of its collector.

        A sample newer than all before that lies more than a quarter of a step off the expected time moves
        the phase: the collector was restarted, or its clock drifts. The kernel does the same.
        """
        last = int(self.last_slot[series])
        if last == NEVER:
            phase = own_phase(time, timestep)
            self.phase[series] = self.earlier_phase[series] = phase
            slot = slot_of(time, phase, timestep)
            self.last_slot[series] = slot
            return slot
        phase = int(self.phase[series] if time >= self.since[series] else self.earlier_phase[series])
        slot = slot_of(time, phase, timestep)
        if slot <= last:
            return slot
        deviation = time - slot * timestep - phase
        if 4 * abs(deviation) > timestep:
            moved, moved_slot = phase + deviation, slot
            if slot > last + 1 or not -timestep <= moved < timestep:
                # After a silence nothing can be overwritten: return to the nearest wall-clock step.
                near = own_phase(time, timestep)
                near_slot = slot_of(time, near, timestep)
                if near_slot > last or not -timestep <= moved < timestep:
                    moved, moved_slot = near, near_slot
            self.earlier_phase[series] = phase
            self.phase[series] = moved
            self.since[series] = time
            slot = moved_slot
        self.last_slot[series] = max(last, slot)
        return slot


@dataclass(slots=True)
class Component:
    name: str  # type and id put together, "" for the node
    subname: str  # likewise below the component
    type: str  # the type alone


@dataclass(slots=True)
class Host:
    id: int
    cluster: str
    name: str
    blocks: dict[int, int] = field(default_factory=dict)  # time step → block id


class Names:
    """Strings ↔ numbers for metric names and components. Bounded by the registry that fills it."""

    def __init__(self) -> None:
        self.metrics: list[str] = []
        self.metric_ids: dict[str, int] = {}
        self.components: list[Component] = []
        self.component_ids: dict[tuple[str, str], int] = {}
        # component ids per type, for reading "all threads"; kept as a column to mask with
        self.component_types: list[str] = []
        self.component("", "", "")

    def metric(self, name: str) -> int:
        found = self.metric_ids.get(name)
        if found is None:
            found = self.metric_ids[name] = len(self.metrics)
            self.metrics.append(name)
        return found

    def component(self, name: str, subname: str, type: str) -> int:
        found = self.component_ids.get((name, subname))
        if found is None:
            found = self.component_ids[name, subname] = len(self.components)
            self.components.append(Component(name, subname, type))
            self.component_types.append(type)
        return found
