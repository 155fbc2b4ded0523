"""Archiving, sweeping and importing over the real table and archive, with a store that measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import orjson
import pytest

from clustercockpit.archive import archiver, importer, sweeper
from clustercockpit.archive.job_archive import ObjectJobArchive
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import ConfigurationError, NotFoundError, UnavailableError
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameSeries
from clustercockpit.metrics.live import LiveSource
from clustercockpit.metrics.scopes import Group, SeriesQuery
from clustercockpit.metrics.statistics_series import statistics_of
from clustercockpit.settings import Settings
from clustercockpit.site import Site
from clustercockpit.storage.directory import DirectoryObjectStore
from clustercockpit.storage.dynamodb.table import Table

UPSTREAM = Path(__file__).parents[2] / ".." / "shared" / "data" / "upstream"
START = 1_750_000_000
NODE, CORE, GPU = MetricScope.NODE, MetricScope.CORE, MetricScope.ACCELERATOR


def metric(name: str, scope: str, **options: Any) -> dict[str, Any]:
    return {
        "name": name, "unit": {"base": "W"}, "scope": scope, "aggregation": "sum", "timestep": 60, "peak": 1,
        "normal": 1, "caution": 1, "alert": 1, **options,
    }  # fmt: skip


CLUSTER = {
    "name": "demo",
    "metricConfig": [
        metric("cpu_load", "node", footprint="avg", unit={"base": ""}),
        metric("flops_any", "hwthread", footprint="max"),
        metric("power", "socket", energy="power"),
        metric("acc_power", "accelerator"),
    ],
    "subClusters": [
        {
            "name": "main", "nodes": "n[01-20]", "processorType": "x", "socketsPerNode": 1,
            "coresPerSocket": 2, "threadsPerCore": 2, "flopRateScalar": {"unit": {"base": "F/s"}, "value": 1},
            "flopRateSimd": {"unit": {"base": "F/s"}, "value": 1},
            "memoryBandwidth": {"unit": {"base": "B/s"}, "value": 1},
            "topology": {
                "node": [0, 1, 2, 3], "socket": [[0, 1, 2, 3]], "memoryDomain": [[0, 1, 2, 3]],
                "core": [[0, 2], [1, 3]],
                "accelerators": [{"id": "gpu0", "type": "Nvidia GPU", "model": "A40"}],
            },
        }
    ],
}  # fmt: skip


class Store:
    """Ten samples per series: 0 … 9, times the number of components. `missing` metrics it does not have."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.down = False
        self.meanwhile: Any = None

    def frame(
        self, cluster: str, queries: Sequence[SeriesQuery], start: float, end: float, resolution: float
    ) -> Frame:
        if self.meanwhile is not None:
            self.meanwhile()
        if self.down:
            raise UnavailableError("the metric store cannot be reached")
        answer = Frame(end, start, end)
        metrics: dict[tuple[str, MetricScope], FrameMetric] = {}
        for query in queries:
            if query.metric.name in self.missing:
                answer.errors.append(f"{query.metric.name}: nothing")
                continue
            framed = metrics.setdefault(
                (query.metric.name, query.scope),
                FrameMetric(query.metric.name, query.scope, query.metric.unit, 60),
            )
            for host in query.hosts:
                for group in query.groups or (Group(None, ("",)),):
                    data = np.arange(10.0) * len(group.ids)
                    framed.series.append(
                        FrameSeries(host, FrameGrid(start, 60), data, statistics_of(data), group.id)
                    )
        answer.metrics = list(metrics.values())
        return answer


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def site(dynamodb_table: Table, tmp_path: Path, store: Store) -> Site:
    (tmp_path / "archive").mkdir()
    (tmp_path / "data").mkdir()
    queue = boto3.client("sqs", region_name="eu-central-1").create_queue(QueueName="archive")
    made = Site(
        Settings(
            archive_bucket=str(tmp_path / "archive"),
            data_bucket=str(tmp_path / "data"),
            archive_queue_url=queue["QueueUrl"],
            aws_region="eu-central-1",
        )
    )
    made.__dict__["table"] = dynamodb_table
    made.archive.write_cluster_document("demo", orjson.dumps(CLUSTER))
    made.__dict__["live_metrics"] = LiveSource(lambda *_: store, made.clusters)
    return made


def new_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": 42, "cluster": "demo", "sub_cluster": "main", "user": "ada", "project": "p",
        "start_time": START, "submit_time": START - 5, "num_nodes": 2, "num_acc": 1, "num_hwthreads": 8,
        "resources": (Resource("n01", accelerators=("gpu0",)), Resource("n02")),
        "meta_data": {"jobName": "demo"},
    }  # fmt: skip
    return Job(**(values | changes))


def stopped(site: Site, **changes: Any) -> Job:
    started = site.jobs.start(new_job(**changes))
    return site.jobs.stop(started.id, state=JobState.COMPLETED, stop_time=START + 600)


def test_a_stopped_job_is_archived_whole(site: Site) -> None:
    job = stopped(site)
    tag = site.tags.find_or_create("app", "vasp", "global")
    site.jobs.change_tags(job.id, add=[tag])
    archiver.handle(site, job.id)

    meta = site.archive.read_meta("demo", 42, START)
    assert meta.monitoring_status is MonitoringStatus.ARCHIVED
    assert (meta.state, meta.duration, meta.submit_time, meta.id) == (
        JobState.COMPLETED, 600, START - 5, job.id,
    )  # fmt: skip
    assert [(each.type, each.name, each.scope) for each in meta.tags] == [("app", "vasp", "global")]
    assert meta.meta_data == {"jobName": "demo"}
    assert meta.statistics is not None
    assert {name: (s.avg, s.min, s.max) for name, s in meta.statistics.items()} == {
        "cpu_load": (4.5, 0, 9),
        "flops_any": (18, 0, 36),
        "power": (4.5, 0, 9),
        "acc_power": (2.25, 0, 9),  # one node of two has an accelerator
    }
    assert meta.footprint == {"cpu_load_avg": 4.5, "flops_any_max": 36}
    assert meta.energy_footprint == {"power": 0.0015}
    assert meta.energy == 0.0015

    data = site.archive.read_data("demo", 42, START)
    assert {name: set(scopes) for name, scopes in data.items()} == {
        "cpu_load": {NODE},
        "flops_any": {NODE, CORE},
        "power": {NODE, MetricScope.SOCKET},
        "acc_power": {NODE, GPU},
    }
    assert [(s.hostname, s.id) for s in data["flops_any"][CORE].series] == [
        ("n01", "0"), ("n01", "1"), ("n02", "0"), ("n02", "1"),
    ]  # fmt: skip

    row = site.jobs.get(job.id)
    assert row is not None
    assert row.monitoring_status is MonitoringStatus.ARCHIVED
    assert (row.footprint, row.energy_footprint, row.energy) == (
        meta.footprint, meta.energy_footprint, meta.energy,
    )  # fmt: skip
    assert list(site.jobs.archiving_pending()) == []


def test_a_message_may_come_twice_or_too_late(site: Site, store: Store) -> None:
    running = site.jobs.start(new_job())
    archiver.handle(site, running.id)
    assert not site.archive.contains(running)
    job = site.jobs.stop(running.id, state=JobState.FAILED, stop_time=START + 600)
    archiver.handle(site, job.id)
    store.down = True
    archiver.handle(site, job.id)
    after = site.jobs.get(job.id)
    assert after is not None
    assert after.ver == job.ver + 1
    archiver.handle(site, 999_999)


def test_changes_after_archiving_reach_the_documents(site: Site) -> None:
    job = stopped(site)
    archiver.handle(site, job.id)
    before = site.archive.read_meta("demo", 42, START)
    tag = site.tags.find_or_create("mine", "late", "ada")
    site.jobs.change_tags(job.id, add=[tag])
    site.jobs.edit_metadata(job.id, "message", "slow")
    archiver.handle(site, job.id)
    after = site.archive.read_meta("demo", 42, START)
    assert [each.name for each in after.tags] == ["late"]
    assert after.meta_data == {"jobName": "demo", "message": "slow"}
    assert replace(after, tags=before.tags, meta_data=before.meta_data) == before


def test_documents_that_vanished_are_said(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    job = stopped(site)
    archiver.handle(site, job.id)
    site.archive_objects.delete(f"demo/0/042/{START}/meta.json")
    archiver.handle(site, job.id)
    assert "are not there" in caplog.text


def test_large_jobs_keep_node_series_only(site: Site) -> None:
    hosts = tuple(Resource(f"n{i:02}") for i in range(1, 10))
    job = stopped(site, resources=hosts, num_nodes=9, num_acc=0)
    archiver.handle(site, job.id)
    data = site.archive.read_data("demo", 42, START)
    assert {name: set(scopes) for name, scopes in data.items()} == {
        "cpu_load": {NODE}, "flops_any": {NODE}, "power": {NODE},
    }  # fmt: skip
    statistics = data["cpu_load"][NODE].statistics_series
    assert statistics is not None
    np.testing.assert_array_equal(statistics.median, np.arange(10))


def test_a_missing_metric_is_never_fatal(site: Site, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.missing = {"flops_any", "power"}
    job = stopped(site)
    archiver.handle(site, job.id)
    meta = site.archive.read_meta("demo", 42, START)
    assert meta.footprint == {"cpu_load_avg": 4.5}
    assert (meta.energy_footprint, meta.energy) == ({}, 0)
    assert "archived without flops_any, power" in caplog.text
    assert "power: nothing" in caplog.text
    said = "archived without flops_any, power: the metric store had no samples"
    assert meta.meta_data == {"jobName": "demo", "remarks": said}
    found = site.jobs.get(job.id, with_metadata=True)
    assert found is not None
    assert (found.remarks, found.meta_data) == ((said,), {"jobName": "demo"})


def test_a_job_without_accelerators_lacks_none(site: Site, store: Store) -> None:
    job = stopped(site, resources=(Resource("n01"), Resource("n02")), num_acc=0)
    archiver.handle(site, job.id)
    found = site.jobs.get(job.id)
    assert found is not None
    assert found.remarks == ()
    assert "remarks" not in (site.archive.read_meta("demo", 42, START).meta_data or {})


def test_a_job_without_any_samples_is_archived_empty(site: Site, store: Store) -> None:
    store.missing = {"cpu_load", "flops_any", "power", "acc_power"}
    job = stopped(site)
    archiver.handle(site, job.id)
    assert site.archive.read_data("demo", 42, START) == {}
    assert site.archive.read_meta("demo", 42, START).statistics == {}


def test_failures_raise_until_the_last_marks_the_job(site: Site, store: Store) -> None:
    store.down = True
    job = stopped(site)
    with pytest.raises(UnavailableError):
        archiver.handle(site, job.id, attempt=archiver.LAST_ATTEMPT - 1)
    assert [each.id for each in site.jobs.archiving_pending()] == [job.id]
    with pytest.raises(UnavailableError):
        archiver.handle(site, job.id, attempt=archiver.LAST_ATTEMPT)
    assert [each.id for each in site.jobs.archiving_failed("demo")] == [job.id]
    assert not site.archive.contains(job)
    # The store is back in time
    store.down = False
    archiver.handle(site, job.id)
    after = site.jobs.get(job.id)
    assert after is not None
    assert after.monitoring_status is MonitoringStatus.ARCHIVED


def test_a_failed_job_that_the_store_has_forgotten_stays_failed(site: Site, store: Store) -> None:
    store.down = True
    job = stopped(site)
    with pytest.raises(UnavailableError):
        archiver.handle(site, job.id, attempt=archiver.LAST_ATTEMPT)
    store.down, store.missing = False, {"cpu_load", "flops_any", "power", "acc_power"}
    with pytest.raises(NotFoundError, match="nothing of job"):
        archiver.handle(site, job.id)
    assert not site.archive.contains(job)


def test_a_cluster_that_is_gone_fails_the_job_alone(site: Site) -> None:
    job = stopped(site, cluster="gone", job_id=43)
    with pytest.raises(NotFoundError, match="not configured any more"):
        archiver.handle(site, job.id, attempt=archiver.LAST_ATTEMPT)
    assert [each.id for each in site.jobs.archiving_failed("gone")] == [job.id]


def test_an_earlier_attempt_that_got_as_far_as_the_documents(site: Site, store: Store) -> None:
    job = stopped(site)
    archived = site.jobs.archived

    def interrupted(*_: Any, **__: Any) -> Job:
        raise UnavailableError("the table does not answer")

    site.jobs.archived = interrupted  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        archiver.handle(site, job.id)
    assert site.archive.contains(job)
    site.jobs.archived = archived  # type: ignore[method-assign]
    # Until the next attempt the store forgets
    store.missing = {"cpu_load", "flops_any", "power", "acc_power"}
    archiver.handle(site, job.id)
    assert set(site.archive.read_data("demo", 42, START)) == {"cpu_load", "flops_any", "power", "acc_power"}
    row = site.jobs.get(job.id)
    assert row is not None
    assert row.footprint == {"cpu_load_avg": 4.5, "flops_any_max": 36}


def test_what_changes_during_archiving_is_not_lost(site: Site, store: Store) -> None:
    job = stopped(site)
    tag = site.tags.find_or_create("mine", "x", "ada")
    store.meanwhile = lambda: site.jobs.change_tags(job.id, add=[tag])
    archiver.handle(site, job.id)
    meta = site.archive.read_meta("demo", 42, START)
    assert [each.name for each in meta.tags] == ["x"]
    assert meta.monitoring_status is MonitoringStatus.ARCHIVED
    assert meta.statistics is not None


# The sweeper


def queued(site: Site) -> list[int]:
    messages = boto3.client("sqs", region_name="eu-central-1").receive_message(
        QueueUrl=site.settings.archive_queue_url, MaxNumberOfMessages=10
    )
    return sorted(orjson.loads(message["Body"])["id"] for message in messages.get("Messages", []))


def test_the_sweeper_finds_what_no_message_reached(site: Site) -> None:
    pending = stopped(site)
    failed = stopped(site, job_id=43)
    site.jobs.archived(failed.id, status=MonitoringStatus.ARCHIVING_FAILED)
    site.jobs.start(new_job(job_id=44))
    done = stopped(site, job_id=45)
    archiver.handle(site, done.id)
    stop = START + 600
    assert sweeper.run(site, now=stop + 60) == 0
    assert sweeper.run(site, now=stop + 1000) == 1
    assert queued(site) == [pending.id]
    assert sweeper.run(site, now=stop + 4 * 3600) == 2
    assert queued(site) == [pending.id, failed.id]
    assert sweeper.run(site, now=stop + sweeper.GIVE_UP_AFTER * 2) <= 1


def test_a_queue_that_takes_nothing(site: Site) -> None:
    stopped(site)
    site.__dict__["archive_queue"] = type(
        "Down", (), {"enqueue": lambda *_, **__: (_ for _ in ()).throw(UnavailableError("down"))}
    )()
    with pytest.raises(UnavailableError):
        sweeper.run(site, now=START + 600 + 1000)


# The importer


def imported(site: Site, source: ObjectJobArchive, **options: Any) -> importer.ImportReport:
    # moto's tables are not made for threads
    return importer.run(site, source, workers=1, **options)


def test_an_archive_is_taken_over(site: Site, tmp_path: Path, store: Store) -> None:
    # Another installation's archive, with jobs of different age, a damaged one, and one without a subcluster
    job = stopped(site)
    tag = site.tags.find_or_create("mine", "secret", "ada")
    site.jobs.change_tags(job.id, add=[tag])
    archiver.handle(site, job.id)
    (tmp_path / "other").mkdir()
    other = ObjectJobArchive(DirectoryObjectStore(tmp_path / "other"))
    other.write_cluster_document("demo", orjson.dumps(CLUSTER))
    template = site.archive.read_meta("demo", 42, START)
    data = site.archive.read_data("demo", 42, START)
    for number in range(5):
        one = replace(
            template, job_id=100 + number, start_time=START - number * 86_400, footprint=None,
            sub_cluster="" if number == 0 else "main",
            monitoring_status=MonitoringStatus.RUNNING_OR_ARCHIVING,
        )  # fmt: skip
        other.write(one, data)
    other.write(replace(template, job_id=200, state=JobState.RUNNING), data)
    (tmp_path / f"other/demo/0/101/{START - 86_400}/meta.json").write_bytes(b"{")

    seen: list[tuple[int, int]] = []
    report = imported(site, other, progress=lambda r: seen.append((r.done, r.total)))
    assert (report.total, report.imported, report.present, report.failed) == (6, 4, 0, 2)
    assert seen[0] == (0, 6)
    assert seen[-1] == (6, 6)
    assert report.clusters == ["demo"]
    assert any("demo/0/101" in error for error in report.errors)
    assert any("demo/0/200" in error and "running" in error for error in report.errors)

    row = site.jobs.find(100, "demo", START)
    assert row is not None
    assert row.sub_cluster == "main"
    assert row.monitoring_status is MonitoringStatus.ARCHIVED
    assert row.footprint == {"cpu_load_avg": 4.5, "flops_any_max": 36}
    assert row.energy == 0.0015
    assert [(each.name, each.scope, each.id) for each in row.tags] == [("secret", "ada", tag.id)]
    # The data came along
    loaded = site.metrics.load(row, ["cpu_load"], None, 0)
    assert not math.isnan(loaded.data["cpu_load"][NODE].series[0].statistics.avg)

    again = imported(site, other)
    assert (again.imported, again.present, again.failed) == (0, 4, 2)


def test_only_the_newest_days(site: Site, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = ObjectJobArchive(DirectoryObjectStore(tmp_path / "other"))
    other.write_cluster_document("demo", orjson.dumps(CLUSTER))
    for number in range(5):
        job = new_job(job_id=number, start_time=START - number * 86_400, state=JobState.COMPLETED)
        other.write(job, {})
    report = imported(site, other, days=2)
    assert (report.total, report.imported) == (3, 3)


def test_a_rebuild_from_our_own_archive(site: Site) -> None:
    job = stopped(site)
    archiver.handle(site, job.id)
    before = site.jobs.get(job.id)
    site.jobs.delete(job.id)
    report = imported(site, site.archive)
    assert (report.imported, report.failed) == (1, 0)
    after = site.jobs.find(42, "demo", START)
    assert after is not None
    assert before is not None
    assert replace(after, id=0, ver=0) == replace(before, id=0, ver=0)


def test_what_is_no_archive(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"version\.txt is missing"):
        imported(site, ObjectJobArchive(DirectoryObjectStore(tmp_path / "empty")))
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.skipif(not UPSTREAM.is_dir(), reason="the reference's test data is not here")
def test_the_shipped_archive_is_taken_over(site: Site) -> None:
    report = imported(site, ObjectJobArchive(DirectoryObjectStore(UPSTREAM / "archive")))
    assert (report.imported, report.failed, report.errors) == (2, 0, [])
    assert report.clusters == ["alex", "emmy", "fritz"]
    job = site.jobs.find(1403244, "emmy", 1608923076)
    assert job is not None
    # emmy defines neither footprint nor energy metrics
    assert not job.footprint
    assert not job.energy_footprint
    assert (job.energy, job.tags) == (0, ())
    metric = site.metrics.load(job, ["cpu_load"], None, 0).data["cpu_load"][NODE]
    assert len(metric.series) == 32
    first = metric.series[0]
    assert (first.hostname, first.data[:3].tolist()) == ("e0102", [4.01, 14.37, 16.29])
    assert (first.statistics.avg, first.statistics.min, first.statistics.max) == (17.98, 4.01, 19.42)
    assert metric.statistics_series is not None
