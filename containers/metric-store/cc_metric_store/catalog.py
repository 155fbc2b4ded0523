"""Which metrics exist, per cluster: how often they are measured and how components are put together.

Two sources: the cluster documents (`from_clusters`), or the `metrics` section of a stand-alone store
(`from_section`), which holds for every cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from clustercockpit.clusters.model import Cluster, MetricScope, Unit
from clustercockpit.errors import ConfigurationError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    name: str
    timestep: int  # seconds between samples
    aggregation: str = ""  # "sum", "avg" or "": how components become one series
    scope: MetricScope | None = None  # level it is measured at; None: not known
    unit: Unit = field(default_factory=Unit)
    exact: bool = False  # keep every bit of a float64


class MetricCatalog(Protocol):
    """Read often, replaced as a whole when documents change."""

    def find(self, cluster: str, metric: str) -> MetricDefinition | None: ...

    def metrics(self, cluster: str) -> Mapping[str, MetricDefinition]: ...

    def names(self) -> frozenset[str]:
        """Every metric name that any cluster knows: all others are dropped by name alone."""
        ...

    def exact(self) -> frozenset[str]:
        """Metrics whose values keep every bit."""
        ...


class StaticCatalog:
    """Definitions per cluster; the entry `*` holds for clusters that have none of their own."""

    def __init__(self, clusters: Mapping[str, Mapping[str, MetricDefinition]]) -> None:
        self._clusters = {name: dict(metrics) for name, metrics in clusters.items()}
        self._any = self._clusters.get("*", {})
        self._names = frozenset(name for metrics in self._clusters.values() for name in metrics)

    def find(self, cluster: str, metric: str) -> MetricDefinition | None:
        return self._clusters.get(cluster, self._any).get(metric)

    def metrics(self, cluster: str) -> Mapping[str, MetricDefinition]:
        return self._clusters.get(cluster, self._any)

    def names(self) -> frozenset[str]:
        return self._names

    def exact(self) -> frozenset[str]:
        tables = self._clusters.values()
        return frozenset(m.name for metrics in tables for m in metrics.values() if m.exact)


def from_clusters(clusters: Iterable[Cluster]) -> StaticCatalog:
    """The catalog of cluster documents. A metric that only subclusters have comes from the first of them."""
    tables: dict[str, dict[str, MetricDefinition]] = {}
    for cluster in clusters:
        table: dict[str, MetricDefinition] = {}
        configured = [*cluster.metric_config, *(m for s in cluster.sub_clusters for m in s.metric_config)]
        for metric in configured:
            table.setdefault(
                metric.name,
                MetricDefinition(
                    metric.name, metric.timestep, _aggregation(metric.aggregation), metric.scope, metric.unit
                ),
            )
        tables[cluster.name] = table
    return StaticCatalog(tables)


def from_section(section: Mapping[str, object]) -> StaticCatalog:
    """The catalog of a `metrics` section: name → {"frequency": seconds, "aggregation": "sum"|"avg"|null}.

    Raises ConfigurationError naming the key.
    """
    table: dict[str, MetricDefinition] = {}
    for name, value in section.items():
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"metrics.{name} must be an object with frequency and aggregation")
        unknown = set(value) - {"frequency", "aggregation", "scope", "exact"}
        if unknown:
            raise ConfigurationError(f"metrics.{name}: unknown key {sorted(unknown)[0]!r}")
        frequency = value.get("frequency")
        if isinstance(frequency, bool) or not isinstance(frequency, int) or frequency < 1:
            raise ConfigurationError(f"metrics.{name}.frequency must be a whole number of seconds above 0")
        aggregation = value.get("aggregation")
        if aggregation is not None and not isinstance(aggregation, str):
            raise ConfigurationError(f"metrics.{name}.aggregation must be sum, avg or null")
        try:
            scope = MetricScope(str(value["scope"])) if value.get("scope") else None
        except ValueError:
            raise ConfigurationError(f"metrics.{name}.scope is no metric scope") from None
        table[name] = MetricDefinition(
            name, frequency, _aggregation(aggregation or ""), scope, exact=value.get("exact") is True
        )
    return StaticCatalog({"*": table})


def _aggregation(text: str) -> str:
    if text in ("", "sum", "avg"):
        return text
    logger.warning("aggregation %r is neither sum nor avg: treated as none", text)
    return ""
