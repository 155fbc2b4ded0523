"""The doors of the nodes room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from clustercockpit.nodes.model import NodeCounts, NodeHealth, NodeState


class NodeStore(Protocol):
    """Node states, now and counted over time."""

    def record(self, cluster: str, states: Sequence[NodeState], *, time: int) -> None:
        """Replace the states of these nodes where they are not older, and note the counts of the whole
        cluster at `time` (Unix seconds). UnavailableError if it could not be stored."""
        ...

    def nodes(self, cluster: str) -> Sequence[NodeState]:
        """The latest state of every node that was ever reported, by host name."""
        ...

    def counts(self, cluster: str, since: int, until: int | None = None) -> Sequence[NodeCounts]:
        """The counts noted after `since` (exclusive) up to `until`, ascending in time."""
        ...


class NodeHealthSource(Protocol):
    """Whoever knows which metrics of a node arrive."""

    def check(
        self, cluster: str, hostnames: Sequence[str], metrics: Sequence[str]
    ) -> Mapping[str, NodeHealth]:
        """Health of those hosts it knows. UnavailableError if it cannot tell."""
        ...
