"""The index's head and change log: in memory, as unit tests use them, and in the table."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.index_rooms import MemoryHeads

from clustercockpit.errors import ConflictError
from clustercockpit.index.builder import IndexBuilder
from clustercockpit.index.engine import Engine
from clustercockpit.index.ports import IndexHead, IndexHeads
from clustercockpit.index.rows import IndexRow
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource, Sharing, Tag
from clustercockpit.storage.directory import DirectoryObjectStore
from clustercockpit.storage.dynamodb.change_log import DynamoDBChangeLog
from clustercockpit.storage.dynamodb.changes import ChangeItem, change_item
from clustercockpit.storage.dynamodb.index_head import DynamoDBIndexHeads
from clustercockpit.storage.dynamodb.job_items import JobItems, pack
from clustercockpit.storage.dynamodb.job_scan import DynamoDBJobScan
from clustercockpit.storage.dynamodb.table import Table

NOW = 1_750_000_020


@pytest.fixture(params=["memory", "dynamodb"])
def heads(request: pytest.FixtureRequest, dynamodb_table: Table) -> IndexHeads:
    return MemoryHeads() if request.param == "memory" else DynamoDBIndexHeads(dynamodb_table)


def test_a_head_is_replaced_only_from_the_version_it_was(heads: IndexHeads) -> None:
    assert heads.read() is None
    first, second = IndexHead(1, 29_000_000, 2, "index/manifests/a.json"), IndexHead(2, 29_000_001, 4, "b")
    with pytest.raises(ConflictError):
        heads.replace(second, expected=1)
    heads.replace(first, expected=None)
    assert heads.read() == first
    with pytest.raises(ConflictError):
        heads.replace(second, expected=None)
    heads.replace(second, expected=1)
    with pytest.raises(ConflictError):
        heads.replace(first, expected=1)
    assert heads.read() == second


def a_job() -> Job:
    return Job(
        id=7,
        ver=3,
        job_id=2**40,
        cluster="alex",
        user="ada",
        project="p",
        start_time=NOW - 5000,
        state=JobState.TIMEOUT,
        shared=Sharing.MULTI_USER,
        monitoring_status=MonitoringStatus.ARCHIVED,
        duration=77,
        num_nodes=2,
        resources=(Resource("a01"), Resource("a03")),
        tags=(Tag("t", "n", id=4),),
        meta_data={"jobName": "x"},
        footprint={"cpu_load_avg": 0.125},
        energy=1.5,
    )


def test_a_row_comes_out_of_the_log_as_it_went_in(dynamodb_table: Table) -> None:
    model = dynamodb_table.model(ChangeItem)
    job = a_job()
    change_item(model, job, shards=2, now=NOW).save()
    change_item(model, job, shards=2, now=NOW + 1, deleted=True).save()
    model(f"{change_item(model, job, shards=2, now=NOW).pk}", "damaged", ver=1, start=1, image=b"?").save()
    # Milliseconds: no month to file it under
    change_item(model, replace(job, start_time=1_700_000_000_000), shards=2, now=NOW + 2).save()
    change_item(model, replace(job, start_time=-1), shards=2, now=NOW + 3, deleted=True).save()
    log = DynamoDBChangeLog(dynamodb_table)
    assert log.read(NOW // 60, 1) == [IndexRow.of(job), IndexRow.tombstone(7, 3, job.start_time)]
    assert log.read(NOW // 60, 0) == log.read(NOW // 60 - 1, 1) == []


def test_builders_at_once_leave_every_change_once(dynamodb_table: Table, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    clock = [float(NOW)]
    engine = Engine(tmp_path / "scratch", memory_limit="500MB")
    heads = DynamoDBIndexHeads(dynamodb_table)

    def builder(name: str) -> IndexBuilder:
        return IndexBuilder(
            engine,
            DirectoryObjectStore(tmp_path / "objects"),
            heads,
            DynamoDBChangeLog(dynamodb_table),
            DynamoDBJobScan(dynamodb_table),
            tmp_path / name,
            shards=2,
            clock=lambda: clock[0],
        )

    builders = [builder(f"b{n}") for n in range(4)]
    runs: list[Callable[[], object]] = [each.run for each in builders]
    builders[0].run()
    change_item(dynamodb_table.model(ChangeItem), a_job(), shards=2, now=NOW).save()
    clock[0] += 180
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda run: run(), runs))
    assert sum(report.changes for report in reports) == 1  # type: ignore[attr-defined]
    head = heads.read()
    assert head is not None
    assert head.watermark == NOW // 60 + 1
    assert (
        sum(file.rows for month in builders[0]._manifest(head).months.values() for file in month.files) == 1
    )


def test_a_stored_job_that_cannot_be_filed_does_not_stop_a_rebuild(dynamodb_table: Table) -> None:
    items = JobItems(dynamodb_table, lambda _: ())
    for id, start in ((7, NOW - 5000), (8, 1_700_000_000_000)):
        job = replace(a_job(), id=id, start_time=start)
        items.core_item(job, packed=pack(job), job_name="", has_message=False, metadata_chunks=0).save()
    assert [row.id for row in DynamoDBJobScan(dynamodb_table).rows()] == [7]
