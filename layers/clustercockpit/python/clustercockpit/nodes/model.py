"""What schedulers report about nodes, and what their metrics tell of their health."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class SchedulerState(StrEnum):
    ALLOCATED = "allocated"
    RESERVED = "reserved"
    IDLE = "idle"
    MIXED = "mixed"
    DOWN = "down"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, states: Iterable[str]) -> SchedulerState:
        """One state of the words a scheduler gives, in any case: the first of allocated, reserved, down
        (if also idle), idle, down, mixed; other words count for nothing."""
        given = {state.lower() for state in states}
        if "allocated" in given:
            return cls.ALLOCATED
        if "reserved" in given:
            return cls.RESERVED
        if "down" in given:
            return cls.DOWN
        if "idle" in given:
            return cls.IDLE
        return cls.MIXED if "mixed" in given else cls.UNKNOWN


class HealthState(StrEnum):
    """Whether a node's metrics arrive: all of them, some, none."""

    FULL = "full"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NodeHealth:
    state: HealthState
    missing: tuple[str, ...] = ()  # metrics never seen
    degraded: tuple[str, ...] = ()  # metrics that stopped


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node as the scheduler describes it. Memory in MB."""

    hostname: str
    state: SchedulerState
    cpus_allocated: int = 0
    memory_allocated: int = 0
    gpus_allocated: int = 0
    jobs_running: int = 0


@dataclass(frozen=True, slots=True)
class NodeState:
    """The latest report of a node. `time` is when it was received, Unix seconds."""

    cluster: str
    sub_cluster: str
    report: NodeReport
    health: NodeHealth
    time: int

    @property
    def hostname(self) -> str:
        return self.report.hostname


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """How many nodes of each subcluster were in each state at a time (Unix seconds)."""

    time: int
    states: dict[str, dict[SchedulerState, int]] = field(default_factory=dict)  # subcluster → state → nodes
    health: dict[str, dict[HealthState, int]] = field(default_factory=dict)
