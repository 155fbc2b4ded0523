"""The routes that schedulers and scripts write through: the whole stack on an emulated table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from moto import mock_aws
from tests.identities import bearer, settings_with_keys

from clustercockpit.api.application import create_api
from clustercockpit.config.configuration import Configuration
from clustercockpit.config.sections import ApiSubjects, Main
from clustercockpit.errors import UnavailableError
from clustercockpit.jobs.model import MonitoringStatus
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.table import Table

START = 1_750_000_000


def cluster_file(name: str, nodes: str) -> str:
    figure = {"unit": {"base": "F/s", "prefix": "G"}, "value": 1}
    return json.dumps(
        {
            "name": name,
            "metricConfig": [
                {
                    "name": "cpu_load",
                    "unit": {"base": ""},
                    "scope": "node",
                    "timestep": 60,
                    "aggregation": "avg",
                    "peak": 4,
                    "normal": 2,
                    "caution": 1,
                    "alert": 0.5,
                }
            ],
            "subClusters": [
                {
                    "name": "main",
                    "nodes": nodes,
                    "processorType": "x",
                    "socketsPerNode": 1,
                    "coresPerSocket": 1,
                    "threadsPerCore": 1,
                    "flopRateScalar": figure,
                    "flopRateSimd": figure,
                    "memoryBandwidth": figure,
                    "topology": {"node": [0], "socket": [[0]], "memoryDomain": [[0]], "core": [[0]]},
                }
            ],
        }
    )


class _Queue:
    def __init__(self) -> None:
        self.messages: list[tuple[int, int | None]] = []
        self.broken = False

    def enqueue(self, id: int, *, delay_seconds: int | None = None) -> None:
        if self.broken:
            raise UnavailableError("no queue")
        self.messages.append((id, delay_seconds))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    for cluster in ("c1", "c2"):
        (tmp_path / "archive" / cluster).mkdir(parents=True)
        (tmp_path / "archive" / cluster / "cluster.json").write_text(cluster_file(cluster, "n[01-99]"))
    (tmp_path / "archive" / "broken").mkdir()
    (tmp_path / "archive" / "broken" / "cluster.json").write_text("{}")
    (tmp_path / "data").mkdir()
    with mock_aws():
        settings = settings_with_keys(
            table_name="cc-jobs", archive_bucket=f"{tmp_path}/archive", data_bucket=f"{tmp_path}/data"
        )
        Table(settings).create()
        site = Site(settings)
        site.__dict__["archive_queue"] = _Queue()
        yield site


@pytest.fixture
async def api(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_api(site), client=("192.0.2.1", 1))
    async with httpx.AsyncClient(
        transport=transport, base_url="https://cc.example/api", headers=bearer("api")
    ) as client:
        yield client


def started(**changes: Any) -> dict[str, Any]:
    return {
        "jobId": 7001,
        "user": "ada",
        "project": "p1",
        "cluster": "c1",
        "partition": "batch",
        "walltime": 3600,
        "numNodes": 2,
        "numHwthreads": 64,
        "shared": "none",
        "startTime": START,
        "resources": [{"hostname": "n01"}, {"hostname": "n02"}],
        "metaData": {"jobName": "demo"},
        **changes,
    }


def stopped(**changes: Any) -> dict[str, Any]:
    return {"jobId": 7001, "cluster": "c1", "jobState": "completed", "stopTime": START + 1800, **changes}


def messages(site: Site) -> list[tuple[int, int | None]]:
    queue = site.archive_queue
    assert isinstance(queue, _Queue)
    return queue.messages


async def test_start_and_stop_as_in_the_worked_examples(api: httpx.AsyncClient, site: Site) -> None:
    answer = await api.post("/jobs/start_job/", json=started())
    assert (answer.status_code, answer.content) == (201, b'{"msg":"success"}\n')
    again = await api.post("/jobs/start_job/", json=started())
    assert again.status_code == 422
    assert again.json() == {
        "status": "Unprocessable Entity",
        "error": "a job with that jobId, cluster and startTime already exists: dbid: 1, jobid: 7001",
    }
    assert messages(site) == []

    answer = await api.post("/jobs/stop_job/", json=stopped())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == (
        b'{"cluster":"c1","subCluster":"main","partition":"batch","project":"p1","user":"ada","shared":"none",'
        b'"jobState":"completed","resources":[{"hostname":"n01"},{"hostname":"n02"}],"energyFootprint":null,'
        b'"footprint":null,"metaData":null,"concurrentJobs":{"items":null,"count":0},"energy":0,"walltime":3600,'
        b'"jobId":7001,"duration":1800,"monitoringStatus":1,"numHwthreads":64,"numNodes":2,"statistics":null,'
        b'"id":1,"startTime":1750000000}\n'
    )
    assert messages(site) == [(1, None)]
    again = await api.post("/jobs/stop_job/", json=stopped())
    assert again.status_code == 422
    assert again.json()["error"] == (
        "jobId 7001 (id 1) on c1 : job has already been stopped (state is: completed)"
    )


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("slash", ["/", ""])
async def test_start_and_stop_take_both_methods_with_and_without_slash(
    api: httpx.AsyncClient, method: str, slash: str
) -> None:
    assert (await api.request(method, f"/jobs/start_job{slash}", json=started())).status_code == 201
    assert (await api.request(method, f"/jobs/stop_job{slash}", json=stopped())).status_code == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster": "nope"}, "no such cluster: nope"),
        ({"subCluster": "gpu"}, "gpu is not a subcluster of c1"),
        ({"resources": []}, "job without resources/hosts"),
        ({"resources": [], "subCluster": "main"}, "'resources' and 'user' should not be empty"),
        ({"user": ""}, "'resources' and 'user' should not be empty"),
        ({"numAcc": -1}, "'numAcc' must be at least 0"),
        ({"numHwthreads": -1}, "'numHwthreads' must be at least 0"),
        ({"numNodes": 0}, "'numNodes' must be at least 1"),
        ({"numNodes": 3}, "len(resources) does not equal numNodes (2 vs 3)"),
        ({"startTime": START * 1000}, "'startTime' must be Unix time in seconds"),
        ({"startTime": -5}, "'startTime' must be Unix time in seconds"),
        ({"shared": "exclusive"}, "shared: must be one of"),
        ({"state": "running"}, "unknown field 'state'"),
        ({"user": "u" * 300}, "'user' must have at most 255 characters"),
    ],
)
async def test_a_start_that_cannot_be_is_refused(
    api: httpx.AsyncClient, change: dict[str, Any], message: str
) -> None:
    answer = await api.post("/jobs/start_job/", json=started(**change))
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert answer.json()["status"] == "Bad Request"


async def test_an_empty_body_says_eof(api: httpx.AsyncClient) -> None:
    for path in ("/jobs/start_job/", "/jobs/stop_job/"):
        answer = await api.post(path, content=b"")
        assert answer.status_code == 400
        assert "EOF" in answer.json()["error"]


async def test_a_start_on_a_cluster_whose_document_is_broken_can_come_again(api: httpx.AsyncClient) -> None:
    answer = await api.post("/jobs/start_job/", json=started(cluster="broken"))
    assert answer.status_code == 503
    assert "broken/cluster.json: name" in answer.json()["error"]


async def test_an_odd_job_is_taken_in_and_marked(api: httpx.AsyncClient, site: Site) -> None:
    odd = started(user="über user", resources=[{"hostname": "x_<b>"}, {"hostname": "n02"}])
    assert (await api.post("/jobs/start_job/", json=odd)).status_code == 201
    job = site.jobs.get(1)
    assert job is not None
    assert job.sub_cluster == "main"
    assert job.remarks == (
        "subcluster guessed: main",
        "strange user name 'über user'",
        "strange host name 'x_<b>' (1 such)",
        "host 'x_<b>' is in no subcluster of c1 (1 such)",
    )
    answer = await api.post("/jobs/stop_job/", json=stopped())
    assert b"x_\\u003cb\\u003e" in answer.content


async def test_what_a_client_has_no_say_in_is_dropped(api: httpx.AsyncClient, site: Site) -> None:
    body = started(
        id=99,
        jobState="failed",
        energyFootprint={"a": 1},
        statistics={"a": {"unit": {"base": ""}, "avg": 1, "min": 1, "max": 1}},
        concurrentJobs={"items": None, "count": 3},
        submitTime=START - 5,
        requestedMemory=1000,
        smt=4,
        footprint={"cpu_load_avg": 1.5},
    )
    assert (await api.post("/jobs/start_job/", json=body)).status_code == 201
    job = site.jobs.get(1)
    assert job is not None
    assert (job.state, job.energy_footprint, job.statistics) == ("running", None, None)
    assert (job.submit_time, job.requested_memory, job.smt) == (START - 5, 1000, 4)
    assert job.footprint == {"cpu_load_avg": 1.5}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"cluster": "c1", "stopTime": START}, 400, "the field 'jobId' is required"),
        (stopped(jobId=None), 400, "the field 'jobId' is required"),
        (stopped(jobId=1), 404, "finding job failed: no job with jobId 1, cluster c1"),
        (stopped(startTime=START + 1), 404, "finding job failed"),
        (stopped(cluster="c2"), 404, "finding job failed"),
        (stopped(stopTime=START - 1), 400, "must be larger/equal than startTime"),
        ({"jobId": 7001}, 400, "stopTime 0 must be larger/equal"),
        (stopped(jobState="stopped"), 400, "invalid requested job state: 'stopped'"),
        (stopped(jobState="running"), 400, "a stopped job is not running"),
        (stopped(unknown=1), 400, "unknown field 'unknown'"),
    ],
)
async def test_a_stop_that_cannot_be_is_refused(
    api: httpx.AsyncClient, site: Site, body: dict[str, Any], status: int, message: str
) -> None:
    await api.post("/jobs/start_job/", json=started())
    answer = await api.post("/jobs/stop_job/", json=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert messages(site) == []


async def test_a_stop_needs_no_more_than_the_job_id(api: httpx.AsyncClient) -> None:
    await api.post("/jobs/start_job/", json=started())
    answer = await api.post("/jobs/stop_job/", json={"jobId": 7001, "stopTime": START})
    assert answer.status_code == 200
    assert (answer.json()["jobState"], answer.json()["duration"]) == ("completed", 0)


async def test_a_reused_job_id_stops_the_newest(api: httpx.AsyncClient) -> None:
    await api.post("/jobs/start_job/", json=started())
    await api.post("/jobs/start_job/", json=started(startTime=START + 86400))
    answer = await api.post("/jobs/stop_job/", json=stopped(stopTime=START + 90000))
    assert answer.json()["startTime"] == START + 86400


async def test_without_monitoring_or_queue_a_stop_still_answers(api: httpx.AsyncClient, site: Site) -> None:
    await api.post("/jobs/start_job/", json=started(monitoringStatus=0))
    assert (await api.post("/jobs/stop_job/", json=stopped())).status_code == 200
    assert messages(site) == []
    queue = site.archive_queue
    assert isinstance(queue, _Queue)
    queue.broken = True
    await api.post("/jobs/start_job/", json=started(jobId=2))
    assert (await api.post("/jobs/stop_job/", json=stopped(jobId=2))).status_code == 200
    assert [job.job_id for job in site.jobs.archiving_pending()] == [2]


async def test_clusters_are_listed_as_configured(api: httpx.AsyncClient) -> None:
    answer = await api.get("/clusters/")
    assert answer.status_code == 200
    names = [cluster["name"] for cluster in answer.json()["clusters"]]
    assert names == ["c1", "c2"]
    one = await api.get("/clusters/", params={"cluster": "c2"})
    assert [cluster["name"] for cluster in one.json()["clusters"]] == ["c2"]
    unknown = await api.get("/clusters/?cluster=")
    assert (unknown.status_code, unknown.json()["error"]) == (400, "unknown cluster: ")


async def test_used_nodes_are_those_of_running_jobs_that_started_before(api: httpx.AsyncClient) -> None:
    await api.post("/jobs/start_job/", json=started())
    await api.post(
        "/jobs/start_job/",
        json=started(jobId=2, startTime=START + 10, resources=[{"hostname": "n01"}], numNodes=1),
    )
    await api.post(
        "/jobs/start_job/",
        json=started(
            jobId=3, cluster="c2", startTime=START + 10, resources=[{"hostname": "n07"}], numNodes=1
        ),
    )
    answer = await api.get(f"/jobs/used_nodes?ts={START + 11}")
    assert answer.json() == {"usedNodes": {"c1": ["n01", "n02"], "c2": ["n07"]}}
    assert (await api.get(f"/jobs/used_nodes?ts={START}")).json() == {"usedNodes": {}}
    missing = await api.get("/jobs/used_nodes")
    assert (missing.status_code, missing.json()["error"]) == (400, "missing required query parameter: ts")
    bad = await api.get("/jobs/used_nodes?ts=now")
    assert bad.status_code == 400
    assert bad.json()["error"].startswith("invalid timestamp format: ")


async def test_metadata_is_edited_by_id_and_by_name(api: httpx.AsyncClient, site: Site) -> None:
    await api.post("/jobs/start_job/", json=started())
    answer = await api.patch("/jobs/edit_meta/1", json={"key": "note", "value": "<x>"})
    assert answer.status_code == 200
    assert answer.json()["metaData"] == {"jobName": "demo", "note": "<x>"}
    answer = await api.patch(
        "/jobs/edit_meta/", json={"jobId": 7001, "payload": {"key": "note", "value": "y"}}
    )
    assert answer.json()["metaData"]["note"] == "y"
    for path, body, status in (
        ("/jobs/edit_meta/x", {}, 400),
        ("/jobs/edit_meta/99", {}, 404),
        ("/jobs/edit_meta/1", {"k": 1}, 400),
        ("/jobs/edit_meta/", {"payload": {}}, 400),
        ("/jobs/edit_meta/", {"jobId": 1}, 422),
    ):
        assert (await api.patch(path, json=body)).status_code == status
    assert (await api.post("/jobs/edit_meta/1", json={})).status_code == 405
    # A finished job's archive follows
    await api.post("/jobs/stop_job/", json=stopped())
    site.jobs.archived(1, status=MonitoringStatus.ARCHIVED)
    await api.patch("/jobs/edit_meta/1", json={"key": "note", "value": "z"})
    assert messages(site) == [(1, None), (1, 0)]


async def test_tags_are_added_shown_and_removed(api: httpx.AsyncClient, site: Site) -> None:
    await api.post("/jobs/start_job/", json=started())
    tags = [
        {"type": "review", "name": "ok", "scope": "global"},
        {"type": "review", "name": "ok", "scope": "admin"},
    ]
    answer = await api.post("/jobs/tag_job/1", json=tags)
    assert answer.status_code == 200
    # A machine account writes admin tags and does not see them
    assert answer.json()["tags"] == [{"type": "review", "name": "ok", "scope": "global", "id": 1}]
    assert (await api.patch("/jobs/tag_job/1", json=tags)).status_code == 200
    job = site.jobs.get(1)
    assert job is not None
    assert [tag.scope for tag in job.tags] == ["global", "admin"]

    private = [{"type": "t", "name": "n", "scope": "ada"}]
    assert (await api.post("/jobs/tag_job/1", json=private)).status_code == 403
    assert (await api.post("/jobs/tag_job/99", json=tags)).status_code == 404
    assert (await api.post("/jobs/tag_job/1", json=[{"id": 1}])).status_code == 400
    # Private ones are passed over
    assert (await api.request("DELETE", "/jobs/tag_job/1", json=private)).status_code == 200
    unknown = await api.request(
        "DELETE", "/jobs/tag_job/1", json=[{"type": "a", "name": "b", "scope": "global"}]
    )
    assert unknown.status_code == 404
    assert "tag does not exist" in unknown.json()["error"]
    answer = await api.request("DELETE", "/jobs/tag_job/1", json=tags[:1])
    assert "tags" not in answer.json()

    answer = await api.request("DELETE", "/tags/", json=[tags[1], private[0]])
    assert answer.text == "Deleted Tags from DB: 1 successfull of 2 requested\n"
    job = site.jobs.get(1)
    assert job is not None
    assert job.tags == ()
    assert [tag.scope for tag in site.tags.all()] == ["global"]


async def test_a_start_with_tags_carries_them(api: httpx.AsyncClient, site: Site) -> None:
    tags = [{"type": "app", "name": "x", "scope": ""}]
    assert (await api.post("/jobs/start_job/", json=started(tags=tags))).status_code == 201
    job = site.jobs.get(1)
    assert job is not None
    assert [(tag.type, tag.name, tag.scope) for tag in job.tags] == [("app", "x", "global")]
    refused = started(jobId=2, tags=[{"type": "a", "name": "b", "scope": "bob"}])
    assert (await api.post("/jobs/start_job/", json=refused)).status_code == 403
    assert site.jobs.find(2) is None


async def test_jobs_are_deleted_by_id_and_by_name(api: httpx.AsyncClient, site: Site) -> None:
    await api.post("/jobs/start_job/", json=started())
    await api.post("/jobs/start_job/", json=started(jobId=2))
    answer = await api.delete("/jobs/delete_job/1")
    assert answer.json() == {"msg": "Successfully deleted job 1"}
    assert (await api.delete("/jobs/delete_job/1")).status_code == 200
    answer = await api.request("DELETE", "/jobs/delete_job/", json={"jobId": 2})
    assert answer.json() == {"msg": "Successfully deleted job 2"}
    assert (await api.request("DELETE", "/jobs/delete_job/", json={"jobId": 2})).status_code == 422
    assert (await api.delete("/jobs/delete_job/abc")).status_code == 400
    assert list(site.jobs.running("c1")) == []


async def test_node_states_are_stored_with_counts(api: httpx.AsyncClient, site: Site) -> None:
    body = {
        "cluster": "c1",
        "nodes": [
            {
                "hostname": "n01",
                "states": ["IDLE", "DOWN"],
                "cpusAllocated": 0,
                "memoryAllocated": 0,
                "gpusAllocated": 0,
                "jobsRunning": 0,
            },
            {"hostname": "n02", "states": ["ALLOCATED"], "cpusAllocated": 64, "memoryAllocated": 180000},
            {"hostname": "n03", "states": None},
            {"hostname": "elsewhere", "states": ["idle"]},
        ],
    }
    for method, path in (("POST", "/nodestate/"), ("PUT", "/nodestate"), ("POST", "/healthcheck")):
        answer = await api.request(method, path, json=body)
        assert (answer.status_code, answer.content) == (200, b"")
    nodes = site.nodes.nodes("c1")
    assert [(node.hostname, node.report.state.value, node.health.state.value) for node in nodes] == [
        ("n01", "down", "full"),
        ("n02", "allocated", "failed"),
        ("n03", "unknown", "failed"),
    ]
    counts = site.nodes.counts("c1", nodes[0].time - 5)[-1]
    assert counts.states == {"main": {"down": 1, "allocated": 1, "unknown": 1}}
    assert counts.health == {"main": {"full": 1, "failed": 2}}
    assert (await api.post("/nodestate/", content=b'{"cluster":1}')).status_code == 400
    assert (
        await api.post("/nodestate/", json={"cluster": "nope", "nodes": body["nodes"]})
    ).status_code == 200


async def test_messages_alone_can_be_asked_for(api: httpx.AsyncClient, site: Site) -> None:
    subjects = ApiSubjects(subject_job_event="jobs", subject_node_state="nodes")
    for exclusive, statuses in ((False, [201, 200]), (True, [404, 404])):
        main = Main(api_subjects=replace(subjects, exclusive=exclusive))
        configuration = Configuration(main=main)
        site.__dict__["configuration_source"] = SimpleNamespace(
            current=lambda configuration=configuration: configuration,
            known=lambda configuration=configuration: configuration,
            due=False,
        )
        answers = [
            await api.post("/jobs/start_job/", json=started()),
            await api.post("/jobs/stop_job/", json=stopped()),
        ]
        assert [answer.status_code for answer in answers] == statuses
    assert answers[0].json()["error"] == "the requested endpoint does not exist"


async def test_the_doors_are_shut_to_others(api: httpx.AsyncClient) -> None:
    for headers in ({"authorization": ""}, bearer("user"), bearer("api", "user")):
        answer = await api.post("/jobs/start_job/", json=started(), headers=headers)
        assert answer.status_code == 401
    assert (
        await api.post("/jobs/start_job/", json=started(), headers=bearer("admin", "api"))
    ).status_code == 201
    assert (await api.get("/jobs/start_job/")).status_code == 405
    assert (await api.get("/nothing/")).json()["error"] == "the requested endpoint does not exist"


@pytest.mark.parametrize("path", ["/jobs/start_job/", "/nodestate/"])
async def test_a_body_without_end_is_not_read_to_its_end(api: httpx.AsyncClient, path: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * 1024 * 1024:
            sent += 1024 * 1024
            yield b" " * 1024 * 1024

    answer = await api.post(path, content=endless())
    assert answer.status_code == 413
    assert sent <= 18 * 1024 * 1024
