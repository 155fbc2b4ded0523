"""Taking in what a scheduler reports about its nodes (`spec/rest-and-nats-api.md` 4.13)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from clustercockpit.clusters.ports import ClusterCatalog
from clustercockpit.errors import UnavailableError
from clustercockpit.nodes.model import HealthState, NodeHealth, NodeReport, NodeState, SchedulerState
from clustercockpit.nodes.ports import NodeHealthSource, NodeStore
from clustercockpit.reference_json import Integer, ListOf, Record, Text, decode

NODE_STATES: Final = Record(
    {
        "cluster": Text(),
        "nodes": ListOf(
            Record(
                {
                    "hostname": Text(),
                    "states": ListOf(Text()),
                    "cpusAllocated": Integer(),
                    "memoryAllocated": Integer(),
                    "gpusAllocated": Integer(),
                    "jobsRunning": Integer(),
                }
            )
        ),
    }
)
_FULL: Final = NodeHealth(HealthState.FULL)
_FAILED: Final = NodeHealth(HealthState.FAILED)
_log = logging.getLogger(__name__)


class NodeService:
    def __init__(
        self,
        store: NodeStore,
        clusters: ClusterCatalog,
        health: NodeHealthSource | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`health` None: nothing here knows, and nodes keep the health they had."""
        self._store = store
        self._clusters = clusters
        self._health = health
        self._clock = clock

    def report(self, body: bytes | str, *, received: float | None = None) -> int:
        """Store a report; returns how many nodes of it were. A node that no subcluster lists is left out.
        `received` (Unix seconds) if it is not from now.

        Raises InvalidInputError if the body cannot be read, UnavailableError if it cannot be stored.
        """
        document = decode(body, NODE_STATES)
        cluster = document.get("cluster", "")
        now = int(self._clock() if received is None else received)
        known: dict[str, list[NodeReport]] = {}
        unknown = []
        reports = {entry.get("hostname", ""): _report(entry) for entry in document.get("nodes", ())}
        for hostname, report in reports.items():
            sub_cluster = self._clusters.sub_cluster_of(cluster, hostname)
            if sub_cluster is None:
                unknown.append(hostname)
            else:
                known.setdefault(sub_cluster.name, []).append(report)
        if unknown:
            _log.warning(
                "node states: no subcluster of %r lists %d of the nodes, such as %r; they are left out",
                cluster[:80],
                len(unknown),
                unknown[0][:80],
            )
        if not known:
            return 0
        before: dict[str, NodeHealth] | None = None
        states: list[NodeState] = []
        for sub_cluster_name, members in known.items():
            checked = self._check(cluster, sub_cluster_name, members)
            if checked is None:
                if before is None:
                    before = {node.hostname: node.health for node in self._store.nodes(cluster)}
                checked = before
            states.extend(
                NodeState(
                    cluster,
                    sub_cluster_name,
                    report,
                    _FULL if report.state is SchedulerState.DOWN else checked.get(report.hostname, _FAILED),
                    now,
                )
                for report in members
            )
        self._store.record(cluster, states, time=now)
        return len(states)

    def refresh_health(self, cluster: str) -> int:
        """Ask for the health of every node that was ever reported, and store it where it changed; returns how
        many changed. For deployments where whoever takes in the reports cannot ask.

        A report that comes in meanwhile wins. UnavailableError if nobody can tell, or it cannot be stored.
        """
        known: dict[str, list[NodeState]] = {}
        for state in self._store.nodes(cluster):
            known.setdefault(state.sub_cluster, []).append(state)
        changed: list[NodeState] = []
        for sub_cluster_name, states in known.items():
            if self._clusters.sub_cluster_of(cluster, states[0].hostname) is None:
                continue  # not configured any more
            checked = self._check(cluster, sub_cluster_name, [state.report for state in states])
            if checked is None:
                raise UnavailableError(f"the health of the nodes of {cluster}/{sub_cluster_name} is unknown")
            for state in states:
                if state.report.state is not SchedulerState.DOWN:
                    health = checked.get(state.hostname, _FAILED)
                    if health != state.health:
                        changed.append(replace(state, health=health))
        if changed:
            # At the time of the report, so that a newer one is not undone
            self._store.record(cluster, changed, time=int(self._clock()))
        return len(changed)

    def _check(
        self, cluster: str, sub_cluster: str, members: Sequence[NodeReport]
    ) -> dict[str, NodeHealth] | None:
        """Health by host; None if nobody can tell now. Nodes that are down are not asked for."""
        hosts = [report.hostname for report in members if report.state is not SchedulerState.DOWN]
        found = self._clusters.cluster(cluster)
        configured = found.sub_cluster(sub_cluster) if found is not None else None
        if not hosts or configured is None:
            return {}
        if self._health is None:
            return None
        metrics = [metric.name for metric in configured.metric_config]
        try:
            return dict(self._health.check(cluster, hosts, metrics))
        except UnavailableError as error:
            _log.warning("health of the nodes of %s/%s is not known: %s", cluster, sub_cluster, error)
            return None


def _report(entry: dict[str, Any]) -> NodeReport:
    return NodeReport(
        hostname=entry.get("hostname", ""),
        state=SchedulerState.of(entry.get("states", ())),
        cpus_allocated=entry.get("cpusAllocated", 0),
        memory_allocated=entry.get("memoryAllocated", 0),
        gpus_allocated=entry.get("gpusAllocated", 0),
        jobs_running=entry.get("jobsRunning", 0),
    )
