"""Which series of the metric store make up a metric of a job at a scope.

`spec/metric-store.md` chapter 12, with its defects mended: every scope coarser than the native one can be
made, units are found through the topology, an aggregate holds only what the job owns and carries its own
id, and one metric that cannot be had never fails the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clustercockpit.clusters.model import MetricConfig, MetricScope, SubCluster, Topology
from clustercockpit.jobs.model import Job, Resource

_AGGREGATIONS = ("sum", "avg")


@dataclass(frozen=True, slots=True)
class Group:
    """Components of one host that make one series. `id` is the series' id; None at node scope."""

    id: str | None
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """Series of a metric, labelled with a scope: per host the host's own (`type` None), or one per group."""

    metric: MetricConfig
    scope: MetricScope
    hosts: tuple[str, ...]
    type: MetricScope | None = None
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryPlan:
    queries: tuple[SeriesQuery, ...]
    errors: tuple[str, ...] = ()


def target_scope(native: MetricScope, requested: MetricScope) -> MetricScope:
    """The coarser of the two: a metric cannot be had finer than it is measured."""
    return native if native.rank > requested.rank else requested


def plan(
    job: Job, sub_cluster: SubCluster, wanted: Iterable[tuple[MetricConfig, Sequence[MetricScope]]]
) -> QueryPlan:
    """What to ask for the wanted metrics, each at the wanted scopes. Every metric and resulting scope once.

    Left out silently, as there is nothing to have: accelerator metrics of a job without accelerators, or at
    the scope of a CPU part.
    """
    alike = _alike(job.resources)
    queries: list[SeriesQuery] = []
    errors: list[str] = []
    for metric, scopes in wanted:
        done: set[MetricScope] = set()
        for requested in scopes:
            scope = target_scope(metric.scope, requested)
            if scope in done:
                continue
            done.add(scope)
            found, error = _queries(metric, scope, sub_cluster.topology, alike)
            queries += found
            if error:
                errors.append(error)
    return QueryPlan(tuple(queries), tuple(errors))


_Allocation = tuple[tuple[int, ...] | None, tuple[str, ...] | None]


def _alike(resources: Sequence[Resource]) -> list[tuple[_Allocation, tuple[str, ...]]]:
    """Hosts with the same allocation together, in the order of the job's host list."""
    hosts: dict[_Allocation, list[str]] = {}
    for resource in resources:
        # An empty list says as little as none: both are lost in the reference's documents
        allocation = (resource.hwthreads or None, resource.accelerators or None)
        hosts.setdefault(allocation, []).append(resource.hostname)
    return [(allocation, tuple(names)) for allocation, names in hosts.items()]


def _queries(
    metric: MetricConfig,
    scope: MetricScope,
    topology: Topology,
    alike: Sequence[tuple[_Allocation, tuple[str, ...]]],
) -> tuple[list[SeriesQuery], str]:
    if metric.scope is MetricScope.NODE:
        hosts = tuple(host for _, names in alike for host in names)
        return ([SeriesQuery(metric, scope, hosts)] if hosts else []), ""
    if metric.scope is MetricScope.ACCELERATOR and scope not in (MetricScope.ACCELERATOR, MetricScope.NODE):
        return [], ""
    queries = []
    for (threads, accelerators), hosts in alike:
        groups = _groups(metric.scope, scope, topology, threads, accelerators)
        if groups is None:
            return [], (
                f"{metric.name}: the cluster document lists no {metric.scope.value} or {scope.value} in the"
                f" topology"
            )
        if any(len(group.ids) > 1 for group in groups) and metric.aggregation not in _AGGREGATIONS:
            return [], (
                f"{metric.name}: has no aggregation (sum or avg) in the cluster document, so it cannot be had"
                f" at scope {scope.value}"
            )
        if groups:
            queries.append(SeriesQuery(metric, scope, hosts, metric.scope, groups))
    return queries, ""


def _groups(
    native: MetricScope,
    scope: MetricScope,
    topology: Topology,
    threads: tuple[int, ...] | None,
    accelerators: tuple[str, ...] | None,
) -> tuple[Group, ...] | None:
    """The series of one host; empty if the job owns none, None if the topology does not say."""
    if native is MetricScope.ACCELERATOR:
        owned = accelerators or ()
        if scope is MetricScope.NODE:
            return (Group(None, owned),) if owned else ()
        return tuple(Group(id, (id,)) for id in owned)
    owned_threads = set(threads) if threads is not None else _all_threads(topology)
    members = _units(topology, native)
    units = _units(topology, scope)
    if members is None or units is None or owned_threads is None:
        return None
    # Native units that the job owns at least a thread of, each with the coarse unit of its first one
    touched = {index: unit for index, unit in enumerate(members) if owned_threads & set(unit)}
    ids = [
        (str(unit[0]) if native is MetricScope.HWTHREAD else str(index)) for index, unit in touched.items()
    ]
    if scope is MetricScope.NODE:
        return (Group(None, tuple(ids)),) if ids else ()
    if scope is native:
        return tuple(Group(id, (id,)) for id in ids)
    unit_of = {thread: index for index, unit in enumerate(units) for thread in unit}
    gathered: dict[int, list[str]] = {}
    for id, unit in zip(ids, touched.values(), strict=True):
        home = unit_of.get(unit[0])
        if home is not None:
            gathered.setdefault(home, []).append(id)
    return tuple(Group(str(home), tuple(gathered[home])) for home in sorted(gathered))


def _all_threads(topology: Topology) -> set[int] | None:
    return None if topology.node is None else set(topology.node)


def _units(topology: Topology, scope: MetricScope) -> Sequence[Sequence[int]] | None:
    """Threads of each unit of a scope; None if the document does not list them."""
    if scope is MetricScope.HWTHREAD:
        return None if topology.node is None else [(thread,) for thread in sorted(set(topology.node))]
    if scope is MetricScope.NODE:
        return None if topology.node is None else [topology.node]
    lists = {
        MetricScope.CORE: topology.core,
        MetricScope.SOCKET: topology.socket,
        MetricScope.MEMORY_DOMAIN: topology.memory_domain,
    }.get(scope)
    return None if not lists else [tuple(unit) for unit in lists]
