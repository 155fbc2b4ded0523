"""`nodes.ports.NodeStore` on the one table.

The nodes of a subcluster are one compressed item: a report of a thousand nodes costs about ten write units
instead of a thousand. Counts over time are an item per report.
"""

from __future__ import annotations

import time as clock
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import PutError, PynamoDBException
from pynamodb.expressions.condition import Condition

from clustercockpit.errors import UnavailableError
from clustercockpit.nodes.model import (
    HealthState,
    NodeCounts,
    NodeHealth,
    NodeReport,
    NodeState,
    SchedulerState,
)
from clustercockpit.storage.dynamodb.table import Table, TableItem

COUNTS_DAYS: Final = 31
_DAY: Final = 86_400
_ATTEMPTS: Final = 5


class NodesItem(TableItem):
    """pk `N#{cluster}`, sk `C#{subcluster}#0`."""

    ver = NumberAttribute()
    sub_cluster = UnicodeAttribute()
    nodes = BinaryAttribute(legacy_encoding=False)  # packed


class CountsItem(TableItem):
    """pk `H#{cluster}#{yyyymmdd}`, sk the time."""

    counts = UnicodeAttribute()  # JSON: subcluster → [by state, by health]


def _pack(states: Iterable[NodeState]) -> bytes:
    rows = [
        [
            state.hostname,
            state.report.state.value,
            state.health.state.value,
            state.time,
            state.report.cpus_allocated,
            state.report.memory_allocated,
            state.report.gpus_allocated,
            state.report.jobs_running,
            state.health.missing,
            state.health.degraded,
        ]
        for state in states
    ]
    return zlib.compress(orjson.dumps(rows))


def _unpack(cluster: str, item: NodesItem) -> list[NodeState]:
    return [
        NodeState(
            cluster,
            item.sub_cluster,
            NodeReport(host, SchedulerState(state), cpus, memory, gpus, jobs),
            NodeHealth(HealthState(health), tuple(missing), tuple(degraded)),
            time,
        )
        for host, state, health, time, cpus, memory, gpus, jobs, missing, degraded in orjson.loads(
            zlib.decompress(item.nodes)
        )
    ]


def _partition(cluster: str, time: int) -> str:
    return f"H#{cluster}#{datetime.fromtimestamp(time, tz=UTC):%Y%m%d}"


class DynamoNodeStore:
    def __init__(self, table: Table) -> None:
        self._nodes = table.model(NodesItem)
        self._counts = table.model(CountsItem)

    def record(self, cluster: str, states: Sequence[NodeState], *, time: int) -> None:
        reported: dict[str, dict[str, NodeState]] = {}
        for state in states:
            reported.setdefault(state.sub_cluster, {})[state.hostname] = state
        try:
            counted = {
                name: merged
                for name, fresh in reported.items()
                for merged in [self._merge(cluster, name, fresh)]
            }
            for item in self._nodes.query(f"N#{cluster}", consistent_read=True):
                counted.setdefault(item.sub_cluster, _unpack(cluster, item))
            self._counts(
                _partition(cluster, time),
                f"{time:012d}",
                counts=orjson.dumps(
                    {
                        name: [
                            Counter(node.report.state.value for node in nodes),
                            Counter(node.health.state.value for node in nodes),
                        ]
                        for name, nodes in counted.items()
                    }
                ).decode(),
                expires=datetime.fromtimestamp(time + COUNTS_DAYS * _DAY, tz=UTC),
            ).save()
        except PynamoDBException as error:
            raise UnavailableError("the node states could not be stored; try again") from error

    def _merge(self, cluster: str, sub_cluster: str, fresh: dict[str, NodeState]) -> list[NodeState]:
        """Put the states into the subcluster's item; another reporter may do so at the same time."""
        pk, sk = f"N#{cluster}", f"C#{sub_cluster}#0"
        for attempt in range(_ATTEMPTS):
            try:
                item = self._nodes.get(pk, sk, consistent_read=True)
                known, ver = {node.hostname: node for node in _unpack(cluster, item)}, int(item.ver)
                unchanged: Condition = self._nodes.ver == ver
            except self._nodes.DoesNotExist:
                known, ver = {}, 0
                unchanged = self._nodes.pk.does_not_exist()
            for hostname, state in fresh.items():
                if hostname not in known or known[hostname].time <= state.time:
                    known[hostname] = state
            merged = [known[hostname] for hostname in sorted(known)]
            try:
                self._nodes(pk, sk, ver=ver + 1, sub_cluster=sub_cluster, nodes=_pack(merged)).save(
                    condition=unchanged
                )
            except PutError as error:
                if error.cause_response_code != "ConditionalCheckFailedException":
                    raise
                clock.sleep(0.02 * 2**attempt)
            else:
                return merged
        raise UnavailableError("the node states are being changed by others; try again")

    def nodes(self, cluster: str) -> Sequence[NodeState]:
        found = [state for item in self._nodes.query(f"N#{cluster}") for state in _unpack(cluster, item)]
        # A node that moved to another subcluster stands in both: the later report tells
        latest: dict[str, NodeState] = {}
        for state in sorted(found, key=lambda state: state.time):
            latest[state.hostname] = state
        return [latest[hostname] for hostname in sorted(latest)]

    def counts(self, cluster: str, since: int, until: int | None = None) -> Sequence[NodeCounts]:
        end = int(clock.time()) if until is None else until
        since = max(since, end - COUNTS_DAYS * _DAY)
        found: list[NodeCounts] = []
        day = since - since % _DAY
        while day <= end:
            between = self._counts.sk.between(f"{since + 1:012d}", f"{end:012d}")
            if end > since:
                found.extend(_counts(item) for item in self._counts.query(_partition(cluster, day), between))
            day += _DAY
        return found


def _counts(item: CountsItem) -> NodeCounts:
    raw: dict[str, list[dict[str, Any]]] = orjson.loads(item.counts)
    return NodeCounts(
        time=int(item.sk),
        states={
            name: {SchedulerState(state): count for state, count in states.items()}
            for name, (states, _) in raw.items()
        },
        health={
            name: {HealthState(state): count for state, count in health.items()}
            for name, (_, health) in raw.items()
        },
    )
