"""Clusters as their `cluster.json` documents describe them.

Field names follow the document (`spec/job-archive.md` 8.4), in snake case. Expansion of a metric per
subcluster (overrides, `remove`, footprint lists) happens once at load, in `clusters.documents`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class MetricScope(StrEnum):
    """Level at which a metric is measured or asked for. Values are the wire names."""

    NODE = "node"
    SOCKET = "socket"
    MEMORY_DOMAIN = "memoryDomain"
    CORE = "core"
    HWTHREAD = "hwthread"
    ACCELERATOR = "accelerator"

    @property
    def rank(self) -> int:
        """Coarseness as the reference orders it: node 10 … accelerator 1; the coarser wins."""
        return _RANKS[self]


_RANKS = {
    MetricScope.NODE: 10,
    MetricScope.SOCKET: 5,
    MetricScope.MEMORY_DOMAIN: 4,
    MetricScope.CORE: 3,
    MetricScope.HWTHREAD: 2,
    MetricScope.ACCELERATOR: 1,
}


@dataclass(frozen=True, slots=True)
class Unit:
    base: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A hardware figure with its unit, such as a subcluster's peak flop rate per node."""

    unit: Unit = Unit()
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class SubClusterOverride:
    """Differences of a metric on one subcluster. As in the reference, an override replaces all of
    thresholds, footprint, energy and flags, absent ones with their zero value."""

    name: str
    unit: Unit = Unit()
    peak: float = 0.0
    normal: float = 0.0
    caution: float = 0.0
    alert: float = 0.0
    footprint: str = ""
    energy: str = ""
    lower_is_better: bool = False
    restrict: bool = False
    remove: bool = False


@dataclass(frozen=True, slots=True)
class MetricConfig:
    name: str
    unit: Unit
    scope: MetricScope
    aggregation: str  # "sum", "avg" or ""
    timestep: int  # seconds between samples
    peak: float = 0.0
    normal: float = 0.0
    caution: float = 0.0
    alert: float = 0.0
    footprint: str = ""  # "", "avg", "min" or "max"
    energy: str = ""  # "", "power" (watt) or "energy" (joule)
    lower_is_better: bool = False
    restrict: bool = False
    sub_clusters: tuple[SubClusterOverride, ...] = ()


@dataclass(frozen=True, slots=True)
class Accelerator:
    id: str
    type: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """Hwthread ids of a node, and how they group. The index of a group is its id. None: not in the
    document, which GraphQL tells apart from empty."""

    node: tuple[int, ...] | None = None
    socket: tuple[tuple[int, ...], ...] | None = None
    memory_domain: tuple[tuple[int, ...], ...] | None = None
    die: tuple[tuple[int, ...], ...] | None = None
    core: tuple[tuple[int, ...], ...] | None = None
    accelerators: tuple[Accelerator, ...] | None = None


@dataclass(frozen=True, slots=True)
class SubCluster:
    name: str
    nodes: str  # node list expression, or "*"
    processor_type: str = ""
    sockets_per_node: int = 0
    cores_per_socket: int = 0
    threads_per_core: int = 0
    flop_rate_scalar: MetricValue = MetricValue()
    flop_rate_simd: MetricValue = MetricValue()
    memory_bandwidth: MetricValue = MetricValue()
    topology: Topology = Topology()
    # Effective metrics here: cluster values with this subcluster's overrides, without removed ones.
    metric_config: tuple[MetricConfig, ...] = ()
    footprint: tuple[str, ...] = ()  # names of metrics with a footprint here, document order
    energy_footprint: tuple[str, ...] = ()

    def metric(self, name: str) -> MetricConfig | None:
        """The effective configuration of a metric here, or None where it does not exist."""
        return next((m for m in self.metric_config if m.name == name), None)


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    metric_config: tuple[MetricConfig, ...]
    sub_clusters: tuple[SubCluster, ...]

    def sub_cluster(self, name: str) -> SubCluster | None:
        return next((s for s in self.sub_clusters if s.name == name), None)

    def metric(self, name: str) -> MetricConfig | None:
        return next((m for m in self.metric_config if m.name == name), None)


@dataclass(frozen=True, slots=True)
class ClusterSupport:
    cluster: str
    sub_clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GlobalMetric:
    """One metric name over all clusters, with where it is available."""

    name: str
    unit: Unit
    scope: MetricScope
    footprint: str
    restrict: bool
    availability: tuple[ClusterSupport, ...] = field(default=())
