"""`GET /frontend/job/{id}/series`: who may, what is asked of the source, what the browser gets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from tests.identities import bearer, settings_with_keys

from clustercockpit.clusters.model import Cluster, MetricConfig, MetricScope, SubCluster, Unit
from clustercockpit.errors import InvalidInputError, UnavailableError
from clustercockpit.http.application import application
from clustercockpit.jobs.model import Job, JobState
from clustercockpit.metrics import frame, series_answer
from clustercockpit.metrics import http as series_http
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameSeries
from clustercockpit.metrics.model import SeriesStatistics
from clustercockpit.site import Site

START = 1_700_000_000
OPEN = MetricConfig("cpu_load", Unit(), MetricScope.NODE, "avg", 60)
SECRET = MetricConfig("secret", Unit(), MetricScope.NODE, "avg", 60, restrict=True)
MAIN = SubCluster("main", "*", metric_config=(OPEN, SECRET))
JOB = Job(7, "fritz", "anna", START, id=3, sub_cluster="main", project="p", duration=6000,
          state=JobState.COMPLETED)  # fmt: skip


class Jobs:
    def get(self, id: int, **_: Any) -> Job | None:
        return JOB if id == 3 else None

    def get_many(self, ids: Iterable[int]) -> list[Job]:
        return [replace(JOB, id=id, user="anna" if id < 10 else "ben") for id in ids if id < 20]


class Clusters:
    def cluster(self, name: str) -> Cluster:
        return Cluster(name, (OPEN, SECRET), (MAIN,))


class Metrics:
    """Answers with as many hosts and points as a test sets, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.hosts = 1
        self.points = 10
        self.error: Exception | None = None

    def frame(self, job: Job, metrics: Any, scopes: Any, resolution: float, **window: Any) -> Frame:
        self.asked = [metrics, scopes, resolution, window]
        if self.error is not None:
            raise self.error
        random = np.random.default_rng(1)
        series = [
            FrameSeries(
                f"h{i}", FrameGrid(START, 60), random.random(self.points) * 1e6, SeriesStatistics(0, 0, 0)
            )
            for i in range(self.hosts)
        ]
        return Frame(
            START, START, START + 6000, [FrameMetric("cpu_load", MetricScope.NODE, Unit(), 60, series)]
        )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(metrics: Metrics) -> Any:
    site = Site(settings_with_keys())
    site.__dict__.update(jobs=Jobs(), clusters=Clusters(), metrics=metrics)
    app = application(site, [series_http.series_router(site, clock=lambda: START + 99_999)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://hub") as made:
        yield made


URL = "/frontend/job/3/series"
ROWS = "/frontend/jobs/series"


async def test_rows_of_a_list_in_one_answer(client: httpx.AsyncClient, metrics: Metrics) -> None:
    metrics.hosts = 4
    answer = await client.get(f"{ROWS}?id=3&id=5&id=3&metric=cpu_load&points=60", headers=bearer("admin"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == frame.BATCH_CONTENT_TYPE
    frames = frame.decode_batch(answer.content)
    assert [id for id, _ in frames] == [3, 5]
    (metric,) = frames[0][1].metrics
    # Four series: their extremes and median say enough in a row
    assert metric.series == []
    assert metric.statistics_series is not None
    assert metrics.asked[:3] == [["cpu_load"], [MetricScope.NODE], 100]


async def test_rows_hold_only_what_one_may_see(client: httpx.AsyncClient, metrics: Metrics) -> None:
    query = f"{ROWS}?id=3&id=12&id=99&metric=cpu_load&metric=secret"
    answer = await client.get(query, headers=bearer("user", username="anna"))
    assert [id for id, _ in frame.decode_batch(answer.content)] == [3]
    assert metrics.asked[0] == ["cpu_load"]
    assert (await client.get(query)).status_code == 401


async def test_a_row_that_fails_says_why(client: httpx.AsyncClient, metrics: Metrics) -> None:
    metrics.error = UnavailableError("the metric store cannot be reached")
    answer = await client.get(f"{ROWS}?id=3&id=4&metric=cpu_load", headers=bearer("admin"))
    assert answer.status_code == 200
    frames = frame.decode_batch(answer.content)
    assert [(id, found.metrics, found.errors) for id, found in frames] == [
        (id, [], ["the metric store cannot be reached"]) for id in (3, 4)
    ]


@pytest.mark.parametrize(
    "query",
    ["metric=cpu_load", "id=1", "id=x&metric=m", "&".join(f"id={n}" for n in range(33)) + "&metric=m",
     "id=1&metric=m&points=401", "id=1&" + "&".join(f"metric=m{n}" for n in range(25))],
)  # fmt: skip
async def test_rows_are_bounded(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{ROWS}?{query}", headers=bearer("admin"))).status_code == 400


def test_a_batch_that_is_cut_short_is_no_batch() -> None:
    content = frame.encode_batch([(7, Frame(1, 1, 2)), (8, Frame(1, 1, 2))])
    assert [id for id, _ in frame.decode_batch(content)] == [7, 8]
    for length in range(1, len(content)):
        if length != len(content) // 2:
            with pytest.raises(InvalidInputError):
                frame.decode_batch(content[:length])


async def test_the_owner_gets_the_series(client: httpx.AsyncClient, metrics: Metrics) -> None:
    answer = await client.get(URL, headers=bearer("user", "api", username="anna"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == frame.CONTENT_TYPE
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "no-store"
    decoded = frame.decode(answer.content)
    assert decoded.metrics[0].series[0].mean.dtype == np.float32
    assert decoded.resolution == 10
    # Two buckets or two minutes before the newest of ten values
    assert decoded.next == START + 9 * 60 - 120
    assert metrics.asked[1:] == [None, 10, {"start": None, "end": None}]


async def test_what_is_asked_for(client: httpx.AsyncClient, metrics: Metrics) -> None:
    query = f"?metric=cpu_load&scope=core&scope=node&from={START + 600}&to={START + 1200}&points=100"
    await client.get(URL + query, headers=bearer("admin"))
    assert metrics.asked == [
        ["cpu_load"], [MetricScope.CORE, MetricScope.NODE], 6, {"start": START + 600, "end": START + 1200},
    ]  # fmt: skip
    await client.get(URL + f"?since={START + 60}&resolution=30", headers=bearer("admin"))
    assert metrics.asked == [None, None, 30, {"start": START + 60, "end": None}]


@pytest.mark.parametrize(
    ("roles", "username", "status"),
    [
        (("user",), "anna", 200),
        (("user",), "ben", 404),
        (("manager",), "ben", 404),
        (("support",), "ben", 200),
        (("api",), "machine", 200),
    ],
)
async def test_only_jobs_one_may_see(
    client: httpx.AsyncClient, roles: tuple[str, ...], username: str, status: int
) -> None:
    answer = await client.get(URL, headers=bearer(*roles, username=username))
    assert answer.status_code == status


async def test_nobody_gets_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.get(URL)).status_code == 401


@pytest.mark.parametrize("id", [4, 0, -1, 2**70])
async def test_no_such_job(client: httpx.AsyncClient, id: int) -> None:
    path = f"/frontend/job/{id}/series"
    assert (await client.get(path, headers=bearer("admin"))).status_code == 404


@pytest.mark.parametrize(
    "query",
    ["scope=rack", "points=0", "points=x", "from=inf", "to=nan", "since=1e300", "resolution=-1",
     f"from={START + 60}&to={START}"],
)  # fmt: skip
async def test_bad_parameters_are_named(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{URL}?{query}", headers=bearer("admin"))
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_restricted_metrics_are_for_those_who_may(client: httpx.AsyncClient, metrics: Metrics) -> None:
    await client.get(URL, headers=bearer("user", username="anna"))
    assert metrics.asked[0] == ["cpu_load"]
    await client.get(f"{URL}?metric=secret&metric=cpu_load", headers=bearer("user", username="anna"))
    assert metrics.asked[0] == ["cpu_load"]
    await client.get(URL, headers=bearer("support"))
    assert metrics.asked[0] is None


async def test_statistics_instead_of_many_lines(client: httpx.AsyncClient, metrics: Metrics) -> None:
    metrics.hosts = 5
    both = frame.decode((await client.get(f"{URL}?statistics=1", headers=bearer("admin"))).content).metrics[0]
    assert len(both.series) == 5
    assert both.statistics_series is not None
    np.testing.assert_allclose(
        both.statistics_series.median, np.median([series.mean for series in both.series], axis=0), rtol=1e-6
    )
    only = frame.decode((await client.get(f"{URL}?statistics=only", headers=bearer("admin"))).content)
    assert only.metrics[0].series == []
    assert only.metrics[0].statistics_series is not None
    assert only.next == START + 9 * 60 - 120


async def test_too_much_says_what_to_do(client: httpx.AsyncClient, metrics: Metrics) -> None:
    metrics.hosts, metrics.points = 200, 8000
    answer = await client.get(URL, headers=bearer("admin"))
    assert answer.status_code == 413
    assert "statistics=only" in answer.json()["error"]


async def test_a_store_that_is_down(client: httpx.AsyncClient, metrics: Metrics) -> None:
    metrics.error = UnavailableError("the metric store cannot be reached")
    answer = await client.get(URL, headers=bearer("admin"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_without_compression(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL, headers={**bearer("admin"), "accept-encoding": "identity"})
    assert "content-encoding" not in answer.headers
    assert answer.content[:4] == b"CCF1"


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("br, gzip;q=0.8", True),
        ("GZIP", True),
        ("gzip;q=0", False),
        ("", False),
        ("x-gzip2", False),
    ],
)
def test_who_takes_compression(header: str, accepted: bool) -> None:
    assert series_answer.accepts_gzip(header) is accepted


def test_the_route_costs_a_cold_start_no_numpy() -> None:
    code = "import sys, clustercockpit.metrics.http; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
