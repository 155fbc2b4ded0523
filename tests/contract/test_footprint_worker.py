"""The footprint worker over the real table and data bucket, with a store that measures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from tests.contract.test_archiver import CLUSTER

from clustercockpit.errors import UnavailableError
from clustercockpit.footprints import worker
from clustercockpit.footprints.snapshot import decode, key_of
from clustercockpit.jobs.model import Job, JobState, Resource
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameSeries
from clustercockpit.metrics.live import LiveSource
from clustercockpit.metrics.scopes import Group, SeriesQuery
from clustercockpit.metrics.statistics_series import statistics_of
from clustercockpit.settings import Settings
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.table import Table


class Store:
    """Samples 3 … 12 of every host and metric, but of none in `missing`; fails after `answers` questions."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.asked: list[tuple[tuple[str, ...], float]] = []
        self.answers = 10_000

    def frame(
        self, cluster: str, queries: Sequence[SeriesQuery], start: float, end: float, resolution: float
    ) -> Frame:
        if len(self.asked) >= self.answers:
            raise UnavailableError("the metric store cannot be reached")
        self.asked.append((tuple(query.metric.name for query in queries), resolution))
        data = np.arange(3.0, 13.0)
        return Frame(
            end, start, end,
            [
                FrameMetric(
                    query.metric.name, query.scope, query.metric.unit, 60,
                    [
                        FrameSeries(host, FrameGrid(start, 600), data[:1], statistics_of(data), group.id)
                        for host in query.hosts
                        for group in query.groups or (Group(None, ("",)),)
                    ],
                )
                for query in queries
                if query.metric.name not in self.missing
            ],
        )  # fmt: skip


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def site(dynamodb_table: Table, tmp_path: Path, store: Store) -> Site:
    for name in ("archive", "data"):
        (tmp_path / name).mkdir()
    made = Site(Settings(archive_bucket=f"{tmp_path}/archive", data_bucket=f"{tmp_path}/data"))
    made.__dict__["table"] = dynamodb_table
    document = orjson.loads(orjson.dumps(CLUSTER))
    document["metricConfig"][1]["footprint"] = "min"
    made.archive.write_cluster_document("demo", orjson.dumps(document))
    made.__dict__["live_metrics"] = LiveSource(lambda *_: store, made.clusters)
    return made


def running(site: Site, job_id: int, *, age: int = 3600, **fields: Any) -> Job:
    values: dict[str, Any] = {
        "cluster": "demo", "sub_cluster": "main", "user": "ada", "start_time": int(time.time()) - age,
        "num_nodes": 2, "resources": (Resource("n01"), Resource("n02")), **fields,
    }  # fmt: skip
    return site.jobs.start(Job(job_id=job_id, **values))


def kept(site: Site) -> dict[int, dict[str, float]]:
    content = site.data_objects.get(key_of("demo"))[0]
    return {id: dict(job.values) for id, job in decode(content).jobs.items()}


def test_running_jobs_get_their_footprint_in_one_question_each(site: Site, store: Store) -> None:
    job = running(site, 1)
    young = running(site, 2, age=60)
    ended = running(site, 3)
    site.jobs.stop(ended.id, state=JobState.COMPLETED, stop_time=int(time.time()))
    assert worker.run(site) == 1
    # The least value is that of the samples, not 0
    assert kept(site) == {job.id: {"cpu_load_avg": 7.5, "flops_any_min": 3.0}}
    ((names, resolution),) = store.asked
    assert names == ("cpu_load", "flops_any")
    assert resolution >= 3600  # a value or two per series
    assert young.id not in kept(site)
    # The job itself was not touched
    found = site.jobs.get(job.id)
    assert found is not None
    assert (found.footprint, found.ver) == (None, job.ver)
    assert site.running_footprints.current().over(found).footprint == kept(site)[job.id]


def test_a_metric_without_samples_has_no_footprint(site: Site, store: Store) -> None:
    store.missing = {"flops_any"}
    job = running(site, 1)
    worker.run(site)
    assert kept(site) == {job.id: {"cpu_load_avg": 7.5}}


def test_it_runs_as_often_as_the_configuration_says(site: Site, store: Store) -> None:
    running(site, 1)
    now = time.time()
    assert worker.run(site, now=now) == 1
    assert worker.run(site, now=now + 300) == 0
    assert worker.run(site, now=now + 599) == 1
    assert len(store.asked) == 2


def test_what_there_is_no_time_for_keeps_its_values_and_comes_first(site: Site, store: Store) -> None:
    jobs = [running(site, number) for number in range(1, 4)]
    now = time.time()
    worker.run(site, now=now)
    late = running(site, 9)
    before = kept(site)
    assert worker.run(site, now=now + 600, seconds=0) == 0
    assert kept(site) == before
    # The next minute goes on, and with whom is oldest
    store.asked.clear()
    store.answers = 1
    # One at a time, so that the order tells
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_AT_ONCE", 1)
        assert worker.run(site, now=now + 660) == 1
    assert set(kept(site)) == {late.id, *(job.id for job in jobs)}
    # Whoever was done is not done again
    store.answers = 10_000
    assert worker.run(site, now=now + 720) == 3
    assert worker.run(site, now=now + 780) == 0


def test_a_silent_store_changes_nothing_and_is_said(site: Site, store: Store) -> None:
    running(site, 1)
    now = time.time()
    worker.run(site, now=now)
    before = site.data_objects.get(key_of("demo"))
    store.answers = 0
    with pytest.raises(UnavailableError, match="cannot be reached"):
        worker.run(site, now=now + 700)
    assert site.data_objects.get(key_of("demo")) == before


def test_one_job_that_cannot_be_asked_for_costs_no_other(site: Site, store: Store) -> None:
    running(site, 1, sub_cluster="gone")
    job = running(site, 2)
    assert worker.run(site) == 1
    assert list(kept(site)) == [job.id]
