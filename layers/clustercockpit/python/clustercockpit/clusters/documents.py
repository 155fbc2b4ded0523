"""`cluster.json`: reading, checking, expanding, and the form in which `GET /api/clusters/` answers.

The format is `spec/job-archive.md` 8.4, the expansion per subcluster 9.2. Reading is lenient as the archive
is: unknown members are ignored, absent ones have their zero value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from clustercockpit.clusters.model import (
    Accelerator,
    Cluster,
    ClusterSupport,
    GlobalMetric,
    MetricConfig,
    MetricScope,
    MetricValue,
    SubCluster,
    SubClusterOverride,
    Topology,
    Unit,
)
from clustercockpit.clusters.nodelist import NodeList
from clustercockpit.errors import ConfigurationError, InvalidInputError
from clustercockpit.reference_json import (
    Boolean,
    Integer,
    ListOf,
    Number,
    Record,
    Shape,
    Text,
    decode,
    number,
)

EVERY_NODE: Final = "*"

UNIT: Final = Record({"base": Text(), "prefix": Text()})
_VALUE: Final = Record({"unit": UNIT, "value": Number()})
_JUDGED: Final[dict[str, Shape]] = {
    "name": Text(),
    "unit": UNIT,
    "peak": Number(),
    "normal": Number(),
    "caution": Number(),
    "alert": Number(),
    "footprint": Text(),
    "energy": Text(),
    "lowerIsBetter": Boolean(),
    "restrict": Boolean(),
}
_METRIC: Final = Record(
    {
        **_JUDGED,
        "scope": Text(),
        "aggregation": Text(),
        "timestep": Integer(),
        "subClusters": ListOf(Record({**_JUDGED, "remove": Boolean()})),
    }
)
_GROUPS: Final = ListOf(ListOf(Integer()))
_SUB_CLUSTER: Final = Record(
    {
        "name": Text(),
        "nodes": Text(),
        "processorType": Text(),
        "socketsPerNode": Integer(),
        "coresPerSocket": Integer(),
        "threadsPerCore": Integer(),
        "flopRateScalar": _VALUE,
        "flopRateSimd": _VALUE,
        "memoryBandwidth": _VALUE,
        "topology": Record(
            {
                "node": ListOf(Integer()),
                "socket": _GROUPS,
                "memoryDomain": _GROUPS,
                "die": _GROUPS,
                "core": _GROUPS,
                "accelerators": ListOf(Record({"id": Text(), "type": Text(), "model": Text()})),
            }
        ),
        "metricConfig": ListOf(_METRIC),
        "footprint": ListOf(Text()),
        "energyFootprint": ListOf(Text()),
    }
)
CLUSTER_DOCUMENT: Final = Record(
    {"name": Text(), "metricConfig": ListOf(_METRIC), "subClusters": ListOf(_SUB_CLUSTER)}
)

# A cluster's name stands in storage keys and paths.
_CLUSTER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STATISTICS: Final = ("", "avg", "min", "max")
_ENERGY: Final = ("", "power", "energy")


@dataclass(frozen=True, slots=True)
class ClusterDocument:
    """A checked document: the cluster, expanded, and what in it is accepted but hardly meant."""

    cluster: Cluster
    warnings: tuple[str, ...] = ()


def read_cluster_document(document: bytes, name: str) -> ClusterDocument:
    """Read `<name>/cluster.json`.

    Raises ConfigurationError naming document, field and value of the first thing that is wrong.
    """
    return _Reading(f"{name}/cluster.json", name).read(document)


class _Reading:
    def __init__(self, source: str, directory: str) -> None:
        self._source = source
        self._directory = directory
        self._warnings: list[str] = []

    def _wrong(self, path: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._source}: {path}: {problem}")

    def _warn(self, path: str, remark: str) -> None:
        self._warnings.append(f"{self._source}: {path}: {remark}")

    def read(self, document: bytes) -> ClusterDocument:
        try:
            raw = decode(document, CLUSTER_DOCUMENT, strict=False)
        except InvalidInputError as error:
            raise ConfigurationError(f"{self._source}: {error}") from None
        name = raw.get("name", "")
        if not _CLUSTER_NAME.fullmatch(name):
            raise self._wrong("name", f"must be letters, digits and `._-`, got {name!r}")
        if name != self._directory:
            self._warn("name", f"{name!r} differs from its folder {self._directory!r}")
        metrics = self._metrics(raw.get("metricConfig", []), "metricConfig")
        if not metrics:
            raise self._wrong("metricConfig", "must list at least one metric")
        sub_clusters = [
            self._sub_cluster(entry, f"subClusters[{position}]")
            for position, entry in enumerate(raw.get("subClusters", []))
        ]
        if not sub_clusters:
            raise self._wrong("subClusters", "must list at least one subcluster")
        names: list[str] = []
        for position, sub_cluster in enumerate(sub_clusters):
            if sub_cluster.name in names:
                raise self._wrong(f"subClusters[{position}].name", f"{sub_cluster.name!r} is there twice")
            names.append(sub_cluster.name)
            if position and sub_cluster.nodes == EVERY_NODE:
                self._warn(f"subClusters[{position}].nodes", "`*` matches only on the first subcluster")
        self._check_overrides(metrics, names)
        cluster = Cluster(
            name=name,
            metric_config=tuple(metrics),
            sub_clusters=tuple(_expand(metrics, sub_cluster) for sub_cluster in sub_clusters),
        )
        return ClusterDocument(cluster, tuple(self._warnings))

    def _metrics(self, entries: Iterable[dict[str, Any]], path: str) -> list[MetricConfig]:
        metrics: list[MetricConfig] = []
        for position, entry in enumerate(entries):
            at = f"{path}[{position}]"
            name = entry.get("name", "")
            if not name:
                raise self._wrong(f"{at}.name", "must not be empty")
            if any(metric.name == name for metric in metrics):
                self._warn(f"{at}.name", f"{name!r} is there twice; the first one counts")
                continue
            timestep = entry.get("timestep", 0)
            if timestep < 1:
                raise self._wrong(f"{at}.timestep", f"must be at least 1 second for {name!r}, got {timestep}")
            scope = entry.get("scope", "") or "node"
            if scope not in list(MetricScope):
                known = ", ".join(MetricScope)
                raise self._wrong(f"{at}.scope", f"must be one of {known} for {name!r}, got {scope!r}")
            metrics.append(
                MetricConfig(
                    **self._judged(entry, at),
                    scope=MetricScope(scope),
                    aggregation=entry.get("aggregation", ""),
                    timestep=timestep,
                    sub_clusters=tuple(
                        SubClusterOverride(
                            **self._judged(override, f"{at}.subClusters[{number_}]"),
                            remove=override.get("remove", False),
                        )
                        for number_, override in enumerate(entry.get("subClusters", []))
                    ),
                )
            )
        return metrics

    def _judged(self, entry: dict[str, Any], path: str) -> dict[str, Any]:
        footprint, energy = entry.get("footprint", ""), entry.get("energy", "")
        if footprint not in _STATISTICS:
            self._warn(f"{path}.footprint", f"must be avg, min or max, got {footprint!r}; taken as not given")
            footprint = ""
        if energy not in _ENERGY:
            self._warn(f"{path}.energy", f"must be power or energy, got {energy!r}; taken as not given")
            energy = ""
        return {
            "name": entry.get("name", ""),
            "unit": _unit(entry.get("unit", {})),
            "peak": entry.get("peak", 0.0),
            "normal": entry.get("normal", 0.0),
            "caution": entry.get("caution", 0.0),
            "alert": entry.get("alert", 0.0),
            "footprint": footprint,
            "energy": energy,
            "lower_is_better": entry.get("lowerIsBetter", False),
            "restrict": entry.get("restrict", False),
        }

    def _sub_cluster(self, entry: dict[str, Any], path: str) -> SubCluster:
        name, nodes = entry.get("name", ""), entry.get("nodes", "")
        if not name:
            raise self._wrong(f"{path}.name", "must not be empty")
        if nodes != EVERY_NODE:
            try:
                NodeList.parse(nodes)
            except InvalidInputError as error:
                raise self._wrong(f"{path}.nodes", str(error)) from None
        topology = entry.get("topology", {})
        accelerators = topology.get("accelerators")
        return SubCluster(
            name=name,
            nodes=nodes,
            processor_type=entry.get("processorType", ""),
            sockets_per_node=entry.get("socketsPerNode", 0),
            cores_per_socket=entry.get("coresPerSocket", 0),
            threads_per_core=entry.get("threadsPerCore", 0),
            flop_rate_scalar=_value(entry.get("flopRateScalar", {})),
            flop_rate_simd=_value(entry.get("flopRateSimd", {})),
            memory_bandwidth=_value(entry.get("memoryBandwidth", {})),
            topology=Topology(
                node=tuple(topology["node"]) if "node" in topology else None,
                socket=_groups(topology.get("socket")),
                memory_domain=_groups(topology.get("memoryDomain")),
                die=_groups(topology.get("die")),
                core=_groups(topology.get("core")),
                accelerators=None
                if accelerators is None
                else tuple(
                    Accelerator(each.get("id", ""), each.get("type", ""), each.get("model", ""))
                    for each in accelerators
                ),
            ),
            # Only here until `_expand`: what the document itself lists
            metric_config=tuple(self._metrics(entry.get("metricConfig", []), f"{path}.metricConfig")),
        )

    def _check_overrides(self, metrics: Sequence[MetricConfig], names: Sequence[str]) -> None:
        for position, metric in enumerate(metrics):
            for index, override in enumerate(metric.sub_clusters):
                path = f"metricConfig[{position}].subClusters[{index}]"
                if override.name not in names:
                    self._warn(f"{path}.name", f"no subcluster {override.name!r}; the override is ignored")
                elif not override.remove:
                    for kind in ("footprint", "energy", "lower_is_better"):
                        if getattr(metric, kind) and not getattr(override, kind):
                            wire = "lowerIsBetter" if kind == "lower_is_better" else kind
                            self._warn(
                                path,
                                f"replaces all of {metric.name!r}: its {wire} is off on {override.name!r} "
                                "unless repeated there",
                            )


def _unit(raw: dict[str, Any]) -> Unit:
    return Unit(raw.get("base", ""), raw.get("prefix", ""))


def _value(raw: dict[str, Any]) -> MetricValue:
    return MetricValue(_unit(raw.get("unit", {})), raw.get("value", 0.0))


def _groups(raw: list[list[int]] | None) -> tuple[tuple[int, ...], ...] | None:
    return None if raw is None else tuple(tuple(group) for group in raw)


def _expand(metrics: Sequence[MetricConfig], sub_cluster: SubCluster) -> SubCluster:
    """The subcluster with its effective metrics (9.2). A document written back by the reference lists them
    already; those of the cluster level are derived anew, others kept."""
    known = {metric.name for metric in metrics}
    effective = [metric for metric in sub_cluster.metric_config if metric.name not in known]
    for metric in metrics:
        overrides = [each for each in metric.sub_clusters if each.name == sub_cluster.name]
        override = overrides[-1] if overrides else None
        if override is None:
            effective.append(replace(metric, sub_clusters=()))
        elif not override.remove:
            effective.append(
                replace(
                    metric,
                    peak=override.peak,
                    normal=override.normal,
                    caution=override.caution,
                    alert=override.alert,
                    footprint=override.footprint,
                    energy=override.energy,
                    lower_is_better=override.lower_is_better,
                    restrict=override.restrict,
                    sub_clusters=(),
                )
            )
    return replace(
        sub_cluster,
        metric_config=tuple(effective),
        footprint=tuple(metric.name for metric in effective if metric.footprint),
        energy_footprint=tuple(metric.name for metric in effective if metric.energy),
    )


def global_metrics(clusters: Iterable[Cluster], *, unrestricted_only: bool = False) -> list[GlobalMetric]:
    """One entry per metric name over all clusters, in order of first appearance (9.3).

    Unit, scope and footprint are those of the first cluster that has the metric; where its cluster level
    has no footprint, the first subcluster's that has one.
    """
    found: dict[str, GlobalMetric] = {}
    for cluster in clusters:
        for metric in cluster.metric_config:
            supported = [
                (sub_cluster.name, effective)
                for sub_cluster in cluster.sub_clusters
                if (effective := sub_cluster.metric(metric.name)) is not None
                and not (unrestricted_only and effective.restrict)
            ]
            if not supported:
                continue
            footprint = metric.footprint or next(
                (each.footprint for _, each in supported if each.footprint), ""
            )
            restrict = all(each.restrict for _, each in supported)
            support = ClusterSupport(cluster.name, tuple(name for name, _ in supported))
            earlier = found.get(metric.name)
            if earlier is None:
                found[metric.name] = GlobalMetric(
                    metric.name, metric.unit, metric.scope, footprint, restrict, (support,)
                )
            else:
                found[metric.name] = replace(
                    earlier,
                    footprint=earlier.footprint or footprint,
                    restrict=earlier.restrict and restrict,
                    availability=(*earlier.availability, support),
                )
    return list(found.values())


# Writing, member order as in 8.4


def unit_document(unit: Unit) -> dict[str, Any]:
    return {"base": unit.base, "prefix": unit.prefix} if unit.prefix else {"base": unit.base}


Judged = TypeVar("Judged", MetricConfig, SubClusterOverride)


def _thresholds(judged: Judged) -> dict[str, Any]:
    return {
        "name": judged.name,
        "unit": unit_document(judged.unit),
        "peak": number(judged.peak),
        "normal": number(judged.normal),
        "caution": number(judged.caution),
        "alert": number(judged.alert),
    }


def _override_document(override: SubClusterOverride) -> dict[str, Any]:
    document = _thresholds(override)
    if override.footprint:
        document["footprint"] = override.footprint
    document["energy"] = override.energy
    document["lowerIsBetter"] = override.lower_is_better
    document["restrict"] = override.restrict
    document["remove"] = override.remove
    return document


def metric_document(metric: MetricConfig) -> dict[str, Any]:
    document = _thresholds(metric)
    document["energy"] = metric.energy
    document["scope"] = metric.scope.value
    document["aggregation"] = metric.aggregation
    if metric.footprint:
        document["footprint"] = metric.footprint
    if metric.sub_clusters:
        document["subClusters"] = [_override_document(override) for override in metric.sub_clusters]
    document["timestep"] = metric.timestep
    document["restrict"] = metric.restrict
    document["lowerIsBetter"] = metric.lower_is_better
    return document


def _topology_document(topology: Topology) -> dict[str, Any]:
    document: dict[str, Any] = {
        "node": topology.node,
        "socket": topology.socket,
        "memoryDomain": topology.memory_domain,
    }
    if topology.die:
        document["die"] = topology.die
    document["core"] = topology.core
    if topology.accelerators:
        document["accelerators"] = [
            {"id": each.id, "type": each.type, "model": each.model} for each in topology.accelerators
        ]
    return document


def _value_document(value: MetricValue) -> dict[str, Any]:
    return {"unit": unit_document(value.unit), "value": number(value.value)}


def sub_cluster_document(sub_cluster: SubCluster) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": sub_cluster.name,
        "nodes": sub_cluster.nodes,
        "processorType": sub_cluster.processor_type,
        "topology": _topology_document(sub_cluster.topology),
        "flopRateScalar": _value_document(sub_cluster.flop_rate_scalar),
        "flopRateSimd": _value_document(sub_cluster.flop_rate_simd),
        "memoryBandwidth": _value_document(sub_cluster.memory_bandwidth),
    }
    if sub_cluster.metric_config:
        document["metricConfig"] = [metric_document(metric) for metric in sub_cluster.metric_config]
    if sub_cluster.footprint:
        document["footprint"] = sub_cluster.footprint
    if sub_cluster.energy_footprint:
        document["energyFootprint"] = sub_cluster.energy_footprint
    document["socketsPerNode"] = sub_cluster.sockets_per_node
    document["coresPerSocket"] = sub_cluster.cores_per_socket
    document["threadsPerCore"] = sub_cluster.threads_per_core
    return document


def cluster_document(cluster: Cluster) -> dict[str, Any]:
    """The expanded cluster as `GET /api/clusters/` shows it."""
    return {
        "name": cluster.name,
        "metricConfig": [metric_document(metric) for metric in cluster.metric_config],
        "subClusters": [sub_cluster_document(sub_cluster) for sub_cluster in cluster.sub_clusters],
    }
