"""Lists of jobs through the whole stack: what was just written shows, and what the reference's keys say."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.identities import bearer
from tests.query_site import a_job, query_client, query_site

from clustercockpit.clusters.model import Unit
from clustercockpit.errors import UnavailableError
from clustercockpit.footprints.snapshot import ClusterFootprints, JobFootprint, encode, key_of
from clustercockpit.index import builder
from clustercockpit.jobs.model import JobState, JobStatistics, MonitoringStatus, Resource
from clustercockpit.metrics.model import LoadedJobData
from clustercockpit.query import deleting
from clustercockpit.query.deleting import delete_ended_before
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.job_scan import DynamoDBJobScan

API = bearer("api")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    with query_site(tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with query_client(site) as client:
        yield client


async def listed(client: httpx.AsyncClient, query: str = "", headers: dict[str, str] = API) -> list[int]:
    answer = await client.get(f"/api/jobs/{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return [job["jobId"] for job in answer.json()["jobs"]]


async def refused(client: httpx.AsyncClient, query: str) -> str:
    answer = await client.get(f"/api/jobs/{query}", headers=API)
    assert answer.status_code == 400
    assert answer.json()["status"] == "Bad Request"
    return str(answer.json()["error"])


async def test_every_change_shows_at_once_before_and_after_a_build(
    site: Site, client: httpx.AsyncClient
) -> None:
    assert await listed(client) == []
    first = site.jobs.start(a_job(1))
    assert await listed(client) == [1]
    assert builder.run(site).rebuilt
    second = site.jobs.start(a_job(2, start_time=first.start_time + 10))
    assert await listed(client) == [2, 1]
    site.jobs.stop(first.id, state=JobState.FAILED, stop_time=first.start_time + 60)
    assert await listed(client, "?state=running") == [2]
    assert await listed(client, "?state=failed&state=timeout") == [1]
    assert not builder.run(site).lost
    site.jobs.delete(second.id)
    assert await listed(client) == [1]
    assert builder.run(site).rebuilt is False
    assert await listed(client) == [1]


async def test_jobs_that_ended_are_deleted_by_their_age(site: Site, client: httpx.AsyncClient) -> None:
    now = int(time.time())
    own = site.tags.find_or_create("app", "vasp", "global")
    review = site.tags.find_or_create("review", "good", "global")
    jobs = {}
    for number in range(1, 7):
        job = jobs[number] = site.jobs.start(a_job(number, start_time=now - 10_000 + number))
        if number != 2:
            site.jobs.stop(job.id, state=JobState.COMPLETED, stop_time=now)
    builder.run(site)
    site.jobs.change_tags(jobs[3].id, add=[own])
    site.jobs.change_tags(jobs[4].id, add=[own, review])

    async def delete(query: str) -> tuple[int, str]:
        answer = await client.delete(f"/api/jobs/delete_job_before/{query}", headers=API)
        return answer.status_code, answer.json().get("msg") or answer.json()["error"]

    assert await delete("soon") == (400, "integer expected in path for ts: 'soon' is no whole number")
    assert await delete(f"{now}?omit-tagged=most") == (400, "omit-tagged must be one of: none, all, user")
    before = now - 10_000 + 6
    assert await delete(f"{before}?omit-tagged=all") == (200, "Successfully deleted 2 jobs")  # 1 and 5
    assert await listed(client) == [6, 4, 3, 2]
    assert await delete(f"{before}?omit-tagged=user") == (200, "Successfully deleted 1 jobs")
    assert await listed(client) == [6, 4, 2]
    assert await delete(str(before)) == (200, "Successfully deleted 1 jobs")
    # The running one stays whatever its age
    assert await listed(client) == [6, 2]
    assert site.jobs.get(jobs[1].id) is None
    assert await delete(str(before)) == (200, "Successfully deleted 0 jobs")
    answer = await client.delete(f"/api/jobs/delete_job_before/{now}", headers=bearer("user"))
    assert answer.status_code in (401, 403)


async def test_what_one_request_has_no_time_to_delete_is_said(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    for number in range(1, 13):
        job = site.jobs.start(a_job(number, start_time=now - 1000))
        site.jobs.stop(job.id, state=JobState.FAILED, stop_time=now)
    assert delete_ended_before(site, now, "", seconds=-1) == (0, 12)
    monkeypatch.setattr(deleting, "delete_ended_before", lambda *_: (8, 4))
    answer = await client.delete(f"/api/jobs/delete_job_before/{now}", headers=API)
    assert answer.status_code == 503
    assert "deleted 8 jobs in the time of one request; 4 more are to be deleted" in answer.json()["error"]


async def test_footprints_of_running_jobs_are_shown(site: Site, client: httpx.AsyncClient) -> None:
    job = site.jobs.start(a_job(1))
    ended = site.jobs.start(a_job(2))
    site.jobs.stop(ended.id, state=JobState.COMPLETED, stop_time=int(time.time()))
    figures = {id: JobFootprint(1, {"cpu_load_avg": 1.5}) for id in (job.id, ended.id)}
    site.data_objects.put(key_of("alex"), encode(ClusterFootprints(1, figures)))
    answer = await client.get("/api/jobs/", headers=API)
    assert {each["jobId"]: each["footprint"] for each in answer.json()["jobs"]} == {
        1: {"cpu_load_avg": 1.5},
        2: None,
    }
    answer = await client.get(f"/api/jobs/{job.id}", headers=API)
    assert answer.json()["Meta"]["footprint"] == {"cpu_load_avg": 1.5}


async def test_a_rebuild_finds_what_the_table_holds(site: Site, client: httpx.AsyncClient) -> None:
    tag = site.tags.find_or_create("review", "good", "global")
    # Too long to stand in the job's own item
    many = tuple(Resource(f"alex{n * 7919 % 100_000:05}") for n in range(400))
    more: dict[str, Any] = {"meta_data": {"jobName": "interactive"}, "footprint": {"cpu_load_avg": 0.5}}
    site.jobs.start(a_job(1, tags=(tag,), **more))
    site.jobs.start(a_job(2, resources=many, cluster="fritz"))
    report = site.index_builder.rebuild()
    assert report.changes == 2
    rows = {row.job_id: row for row in DynamoDBJobScan(site.table).rows()}
    assert rows[1].tags == (tag.id,)
    assert rows[1].job_name == "interactive"
    assert rows[1].footprint == {"cpu_load_avg": 0.5}
    assert len(rows[2].hosts) == 400
    assert await listed(client, "?cluster=fritz") == [2]


async def test_the_reference_keys(site: Site, client: httpx.AsyncClient) -> None:
    now = int(time.time())
    for id, cluster, project, age in (
        (1, "alex", "p1", 100),
        (2, "fritz", "p1", 200),
        (3, "alex", "p2", 300),
    ):
        site.jobs.start(a_job(id, cluster=cluster, project=project, start_time=now - age))
    assert await listed(client, "?cluster=alex") == [1, 3]
    assert await listed(client, "?cluster=alex&cluster=fritz") == [1, 3]
    assert await listed(client, "?cluster=nowhere") == []
    assert await listed(client, "?project=p1&cluster=fritz") == [2]
    assert await listed(client, f"?start-time={now - 200}-{now - 100}") == [1, 2]
    assert await listed(client, "?items-per-page=2") == [1, 2]
    assert await listed(client, "?items-per-page=2&page=2") == [3]
    assert await listed(client, "?items-per-page=2&page=3") == []
    answer = await client.get("/api/jobs/?items-per-page=2&page=2", headers=API)
    assert list(answer.json()) == ["jobs", "items", "page"]
    assert (answer.json()["items"], answer.json()["page"]) == (2, 2)
    assert await listed(client, "?state=running&items-per-page=99999999999999999999&with-metadata=false") == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?user=ada", "invalid query parameter: user"),
        ("?startTime=1-2", "invalid query parameter: startTime"),
        ("?state=stopped", "invalid query parameter value: state"),
        ("?start-time=17", "invalid query parameter value: startTime"),
        ("?start-time=1-2-3", "invalid query parameter value: startTime"),
        ("?start-time=-5", "invalid query parameter value: startTime"),
        ("?page=0", "page must be >= 1"),
        ("?items-per-page=0", "items-per-page must be >= 1"),
        ("?items-per-page=-1", "items-per-page must be >= 1"),
    ],
)
async def test_what_is_no_key_is_refused(client: httpx.AsyncClient, query: str, message: str) -> None:
    assert await refused(client, query) == message


@pytest.mark.parametrize(
    ("query", "shown"),
    [("", False), ("?with-metadata", True), ("?with-metadata=true", True), ("?with-metadata=false", False)],
)
async def test_metadata_comes_when_asked_for(
    site: Site, client: httpx.AsyncClient, query: str, shown: bool
) -> None:
    site.jobs.start(a_job(1, meta_data={"jobName": "x", "jobScript": "#!/bin/sh <&>"}))
    answer = await client.get(f"/api/jobs/{query}", headers=API)
    (job,) = answer.json()["jobs"]
    assert job["metaData"] == ({"jobName": "x", "jobScript": "#!/bin/sh <&>"} if shown else None)
    assert b"<" not in answer.content


async def test_people_see_their_own_jobs_and_tags(site: Site, client: httpx.AsyncClient) -> None:
    tags = [
        site.tags.find_or_create("t", name, scope)
        for name, scope in (("g", "global"), ("a", "admin"), ("p", "ada"))
    ]
    site.jobs.start(a_job(1, tags=tuple(tags)))
    site.jobs.start(a_job(2, user="bob"))
    assert await listed(client, headers=API) == [2, 1]
    answer = await client.get("/userapi/jobs/", headers=bearer("api", "user", username="ada"))
    (job,) = answer.json()["jobs"]
    assert [tag["name"] for tag in job["tags"]] == ["g", "p"]
    answer = await client.get("/api/jobs/", headers=bearer("api", "admin"))
    assert [tag["name"] for tag in answer.json()["jobs"][1]["tags"]] == ["g", "a"]
    assert (await client.get("/api/jobs/")).status_code == 401


async def test_archived_jobs_carry_statistics_and_a_damaged_archive_hurts_nobody(
    site: Site, client: httpx.AsyncClient
) -> None:
    figures = {"cpu_load": JobStatistics(Unit(), 1.5, 1.0, 2.0)}
    for id in (1, 2):
        job = site.jobs.insert_finished(
            a_job(id, state=JobState.COMPLETED, duration=60, monitoring_status=MonitoringStatus.ARCHIVED)
        )
        if id == 1:
            site.archive.write(replace(job, statistics=figures), {})
    answer = await client.get("/api/jobs/", headers=API)
    statistics = {job["jobId"]: job["statistics"] for job in answer.json()["jobs"]}
    assert statistics == {1: {"cpu_load": {"unit": {"base": ""}, "avg": 1.5, "min": 1, "max": 2}}, 2: None}


async def test_one_job(site: Site, client: httpx.AsyncClient) -> None:
    job = site.jobs.start(a_job(1, meta_data={"jobName": "x"}))
    answer = await client.get(f"/api/jobs/{job.id}", headers=API)
    assert answer.status_code == 200
    assert list(answer.json()) == ["Meta", "Data"]
    assert answer.json()["Data"] is None
    assert answer.json()["Meta"]["metaData"] == {"jobName": "x"}
    assert answer.json()["Meta"]["id"] == job.id
    other = await client.get(f"/userapi/jobs/{job.id}", headers=bearer("api", "user", username="bob"))
    missing = await client.get("/userapi/jobs/77", headers=bearer("api", "user", username="bob"))
    assert other.status_code == missing.status_code == 422
    assert other.json()["error"] == missing.json()["error"].replace("77", str(job.id))


@pytest.mark.parametrize("id", ["x", "1.5", "used-nodes", "9" * 30, "٣"])
async def test_an_id_is_a_number(client: httpx.AsyncClient, id: str) -> None:
    answer = await client.get(f"/api/jobs/{id}", headers=API)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("integer expected in path for id: ")


class NoSeries:
    def load(self, *_: object, **__: object) -> LoadedJobData:
        raise UnavailableError("the metric store cannot be reached")


async def test_series_that_cannot_be_read_are_said(site: Site, client: httpx.AsyncClient) -> None:
    site.__dict__["metrics"] = NoSeries()
    job = site.jobs.start(a_job(1))
    for answer in (
        await client.get(f"/api/jobs/{job.id}?all-metrics=true", headers=API),
        await client.post(f"/api/jobs/{job.id}", headers=API, content=b'["cpu_load"]'),
    ):
        assert answer.status_code == 503
        assert "the metric store cannot be reached" in answer.json()["error"]
    # Without series there is nothing that could fail
    assert (await client.get(f"/api/jobs/{job.id}", headers=API)).status_code == 200


async def test_metrics_answer_200_whatever_happened(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/jobs/metrics/77", headers=API)
    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert "no such job" in answer.json()["error"]["message"]
    answer = await client.get("/api/jobs/metrics/77?scope=planet", headers=API)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("unmarshaling scope failed")


async def test_a_post_names_metrics(site: Site, client: httpx.AsyncClient) -> None:
    job = site.jobs.start(a_job(1))
    answer = await client.post(f"/api/jobs/{job.id}", headers=API, content=b"[]")
    assert answer.status_code == 200
    assert answer.json()["Data"] == []
    answer = await client.post(f"/api/jobs/{job.id}", headers=API, content=b'{"a":1}')
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("decoding request failed: ")
    answer = await client.post(f"/api/jobs/{job.id}", headers=API, content=b"[" * 2_000_000)
    assert answer.status_code == 413
