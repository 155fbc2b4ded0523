"""What a job costs to write: the budget of the one table, counted from the requests themselves.

A write unit is 1 KB of an item, begun ones counting whole, doubled in a transaction; a change of an indexed
item costs the index a write for the new entry and one for the old one if its key changed.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest

from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource
from clustercockpit.storage.dynamodb.jobs import DynamoJobStore
from clustercockpit.storage.dynamodb.table import Table
from clustercockpit.storage.dynamodb.tags import DynamoTagStore

NOW = 1_750_000_000.0
_INDEXES = (("g1p", "g1s"), ("g2p", "g2s"))


def _size(item: dict[str, dict[str, Any]]) -> int:
    total = 0
    for name, value in item.items():
        ((kind, content),) = value.items()
        total += len(name.encode())
        if kind == "N":
            total += math.ceil(len(content.lstrip("-")) / 2) + 1
        elif kind == "B":
            total += len(base64.b64decode(content) if isinstance(content, str) else content)
        else:
            total += len(content.encode()) if isinstance(content, str) else 1
    return total


class _Meter:
    """Adds up the write units of everything that goes through a table's clients."""

    def __init__(self, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units = 0
        self.largest = 0
        self._entries: dict[tuple[str, str], dict[str, Any]] = {}
        table.model(_any_model())
        assert table._reads is not None
        for client in (table.transaction_connection.client, table._reads.connection.client):
            original = client._make_api_call

            def metered(operation: str, arguments: dict[str, Any], original: Any = original) -> Any:
                answer = original(operation, arguments)
                if operation == "TransactWriteItems":
                    for entry in arguments["TransactItems"]:
                        ((action, request),) = entry.items()
                        self._count(action, request, 2)
                elif operation in ("PutItem", "UpdateItem", "DeleteItem"):
                    self._count(operation.removesuffix("Item"), arguments, 1)
                return answer

            monkeypatch.setattr(client, "_make_api_call", metered)

    def _count(self, action: str, request: dict[str, Any], factor: int) -> None:
        item = request.get("Item", {})
        key = item or request["Key"]
        self.largest = max(self.largest, _size(item))
        self.units += factor * max(1, math.ceil(_size(item) / 1024))
        name = (key["pk"]["S"], key["sk"]["S"])
        before = self._entries.get(name, {})
        if action != "Update":
            self._entries[name] = item
            for pair in _INDEXES:
                old, new = (tuple(str(each.get(part)) for part in pair) for each in (before, item))
                units = max(1, math.ceil(_size(item or before) / 1024))
                if pair[0] in before and old != new:
                    self.units += units
                if pair[0] in item:
                    self.units += units

    def take(self) -> int:
        taken, self.units = self.units, 0
        return taken


def _any_model() -> Any:
    from clustercockpit.storage.dynamodb.job_items import JobItem

    return JobItem


def test_the_life_of_a_job_stays_within_its_budget(
    dynamodb_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = DynamoTagStore(dynamodb_table)
    jobs = DynamoJobStore(dynamodb_table, tags=tags.by_ids, clusters=list, change_shards=2, clock=lambda: NOW)
    meter = _Meter(dynamodb_table, monkeypatch)
    footprint = {f"metric_number_{number}_avg": 123.25 * number for number in range(8)}
    job = Job(
        job_id=7_001_234,
        cluster="fritz",
        sub_cluster="main",
        user="b123dc10",
        project="b123dc",
        partition="multinode",
        start_time=int(NOW) - 3600,
        submit_time=int(NOW) - 7200,
        walltime=86_400,
        num_nodes=64,
        num_hwthreads=4608,
        resources=tuple(Resource(f"f{number:04d}", tuple(range(72))) for number in range(101, 165)),
        # A script as scripts are: about 1.3 KB of metadata
        meta_data={
            "jobName": "relax_structure",
            "slurmInfo": "JobId=7001234 JobName=relax_structure UserId=b123dc10(1234) Priority=4242\n" * 4,
            "jobScript": "".join(
                f"#SBATCH --option-{number}=value-{number * number}\nmodule load thing/{number}.2\n"
                for number in range(20)
            ),
        },
    )
    spent = {}
    stored = jobs.start(job)
    spent["first start"] = meter.take()
    stored = jobs.start(Job(**{**_fields(job), "job_id": 7_001_235}))
    spent["start"] = meter.take()
    jobs.stop(stored.id, state=JobState.COMPLETED, stop_time=int(NOW))
    spent["stop"] = meter.take()
    jobs.archived(
        stored.id,
        status=MonitoringStatus.ARCHIVED,
        footprint=footprint,
        energy_footprint={"cpu_power": 12.25, "mem_power": 3.5},
        energy=15.75,
    )
    spent["archive"] = meter.take()
    tag = tags.find_or_create("app", "vasp", "global")
    spent["new tag"] = meter.take()
    jobs.change_tags(stored.id, add=[tag])
    spent["tag"] = meter.take()

    assert meter.largest < 1024
    assert spent == {"first start": 12, "start": 11, "stop": 6, "archive": 5, "new tag": 5, "tag": 7}
    # One message to the archiver, and seven of ten jobs get a tag
    life = spent["start"] + spent["stop"] + spent["archive"] + 1 + 0.7 * spent["tag"]
    assert life <= 31


def _fields(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in Job.__dataclass_fields__}
