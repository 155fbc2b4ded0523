"""GraphQL through the whole stack: the operations that front ends of the reference send, and refusals."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from tests.identities import bearer
from tests.query_site import a_job, query_client, query_site

from clustercockpit.access.model import Role
from clustercockpit.clusters.model import MetricScope, Unit
from clustercockpit.errors import ConfigurationError
from clustercockpit.jobs.model import Job, JobState, Resource, Sharing
from clustercockpit.metrics.model import JobMetric, LoadedJobData, Series, SeriesStatistics, StatisticsSeries
from clustercockpit.site import Site
from clustercockpit.users.model import Account

ADMIN = bearer("admin", username="root")
ADA = bearer("user", username="ada")

INIT = """query {
  clusters {
    name partitions
    subClusters {
      name nodes numberOfNodes processorType socketsPerNode coresPerSocket threadsPerCore
      flopRateScalar { unit { base prefix } value } flopRateSimd { unit { base prefix } value }
      memoryBandwidth { unit { base prefix } value }
      topology { node socket memoryDomain core accelerators { id } }
      metricConfig {
        name unit { base prefix } scope aggregation timestep peak normal caution alert lowerIsBetter
      }
      footprint
    }
  }
  tags { id name type scope }
  globalMetrics { name scope footprint unit { base prefix } availability { cluster subClusters } }
}"""
JOB_PAGE = """query { job(id: "%d") {
  id jobId user project cluster startTime duration numNodes numHWThreads numAcc energy SMT shared partition
  subCluster arrayJobId monitoringStatus state walltime tags { id type scope name }
  resources { hostname hwthreads accelerators } metaData remarks userData { name email }
  concurrentJobs { items { id jobId } count listQuery } footprint { name stat value }
  energyFootprint { hardware metric value }
} }"""
JOB_LIST = """query ($filter: [JobFilter!]!, $sorting: OrderByInput!, $paging: PageRequest!) {
  jobs(filter: $filter, order: $sorting, page: $paging) {
    items {
      id jobId user project cluster subCluster startTime duration numNodes numHWThreads numAcc walltime
      resources { hostname } SMT shared partition arrayJobId monitoringStatus state
      tags { id type name scope } userData { name } metaData footprint { name stat value }
    }
    count hasNextPage
  }
}"""
METRIC_PLOT = """query ($dbid: ID!, $selectedMetrics: [String!]!, $selectedScopes: [MetricScope!]!,
                        $selectedResolution: Int) {
  singleUpdate: jobMetrics(
    id: $dbid, metrics: $selectedMetrics, scopes: $selectedScopes, resolution: $selectedResolution
  ) {
    name scope
    metric {
      unit { prefix base } timestep statisticsSeries { min mean median max }
      series { hostname id data statistics { min avg max } }
    }
  }
}"""
ROOFLINE = """query ($dbid: ID!, $selectedMetrics: [String!]!, $selectedScopes: [MetricScope!]!,
                     $selectedResolution: Int!) {
  jobMetrics(id: $dbid, metrics: $selectedMetrics, scopes: $selectedScopes, resolution: $selectedResolution) {
    name scope metric { series { data } }
  }
}"""
NODE_JOBS = """query ($filter: [JobFilter!]!, $sorting: OrderByInput!, $paging: PageRequest!) {
  jobs(filter: $filter, order: $sorting, page: $paging) {
    items { jobId user project shared resources { hostname accelerators } } count
  }
}"""
SORTING = {"field": "startTime", "type": "col", "order": "DESC"}


class SomeSeries:
    """Eight series of three samples for whoever asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def load(
        self,
        job: Job,
        metrics: Sequence[str] | None,
        scopes: Sequence[MetricScope] | None,
        resolution: int,
        **window: object,
    ) -> LoadedJobData:
        self.asked.append((job.id, metrics, scopes, resolution))
        nothing = SeriesStatistics(math.nan, math.nan, math.nan)
        series = [Series(f"alex{n:02}", np.array([1.25, math.nan, n]), nothing) for n in range(8)]
        line = np.array([0.0, math.nan, 7.0])
        metric = JobMetric(Unit("F/s", "G"), 60, series, StatisticsSeries(line, line, line))
        return LoadedJobData({name: {MetricScope.NODE: metric} for name in metrics or ["cpu_load"]})


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    with query_site(tmp_path, monkeypatch) as site:
        site.__dict__["metrics"] = SomeSeries()
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with query_client(site) as client:
        yield client


async def sent(
    client: httpx.AsyncClient, query: str, headers: dict[str, str] = ADMIN, **variables: Any
) -> dict[str, Any]:
    answer = await client.post("/query", json={"query": query, "variables": variables}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


async def data(
    client: httpx.AsyncClient, query: str, headers: dict[str, str] = ADMIN, **variables: Any
) -> Any:
    document = await sent(client, query, headers, **variables)
    assert "errors" not in document, document
    return document["data"]


async def message(
    client: httpx.AsyncClient, query: str, headers: dict[str, str] = ADMIN, **variables: Any
) -> str:
    answer = await client.post("/query", json={"query": query, "variables": variables}, headers=headers)
    (error,) = answer.json()["errors"]
    return f"{answer.status_code} {error['message']}"


async def test_the_question_of_every_page(site: Site, client: httpx.AsyncClient) -> None:
    site.tags.find_or_create("t", "mine", "ada")
    seen = site.tags.find_or_create("t", "all", "global")
    site.jobs.start(a_job(1, partition="long"))
    site.jobs.start(a_job(2, partition="devel"))
    found = await data(client, INIT)
    assert [cluster["name"] for cluster in found["clusters"]] == ["alex", "fritz"]
    assert found["clusters"][0]["partitions"] == ["devel", "long"]
    main, gpu = found["clusters"][0]["subClusters"]
    assert (main["numberOfNodes"], main["footprint"]) == (2, ["cpu_load"])
    assert main["topology"]["accelerators"] is None
    assert gpu["topology"]["accelerators"] == [{"id": "00000000:49:00.0"}]
    assert [metric["name"] for metric in main["metricConfig"]] == ["cpu_load", "flops_any"]
    assert found["tags"] == [{"id": seen.id, "name": "all", "type": "t", "scope": "global"}]
    assert [metric["name"] for metric in found["globalMetrics"]] == ["cpu_load", "flops_any", "acc_power"]
    restricted = await data(client, INIT, ADA)
    assert [metric["name"] for metric in restricted["globalMetrics"]] == ["cpu_load", "acc_power"]
    assert {tag["scope"] for tag in restricted["tags"]} == {"ada", "global"}


async def test_a_job_page(site: Site, client: httpx.AsyncClient) -> None:
    site.users.add(Account("ada", frozenset({Role.USER}), name="Ada L.", email="ada@x.org"))
    tag = site.tags.find_or_create("t", "all", "global")
    start = int(time.time()) - 2000
    job = site.jobs.start(
        a_job(
            2**40,
            start_time=start,
            shared=Sharing.MULTI_USER,
            tags=(tag,),
            meta_data={"jobName": "x"},
            footprint={"mem_used_max": 1.5},
            remarks=("strange user name",),
            resources=(Resource("alex01", (0, 1), ("00000000:49:00.0",)),),
        )
    )
    site.jobs.insert_finished(a_job(8, start_time=start - 500, state=JobState.COMPLETED, duration=1000))
    site.jobs.insert_finished(a_job(9, start_time=start - 500, state=JobState.COMPLETED, duration=600))
    found = (await data(client, JOB_PAGE % job.id))["job"]
    assert found["id"] == job.id
    assert found["jobId"] == 2**40
    assert 2000 <= found["duration"] < 2010
    assert found["tags"] == [{"id": tag.id, "type": "t", "scope": "global", "name": "all"}]
    assert found["metaData"] == {"jobName": "x"}
    assert found["userData"] == {"name": "Ada L.", "email": "ada@x.org"}
    assert found["footprint"] == [{"name": "mem_used", "stat": "max", "value": 1.5}]
    assert found["energyFootprint"] == []
    assert found["remarks"] == ["strange user name"]
    assert found["resources"] == [
        {"hostname": "alex01", "hwthreads": [0, 1], "accelerators": ["00000000:49:00.0"]}
    ]
    assert [item["jobId"] for item in found["concurrentJobs"]["items"]] == [8, 2**40]
    assert found["concurrentJobs"]["count"] == 2
    assert found["concurrentJobs"]["listQuery"] == f"cluster=alex&jobId=8&jobId={2**40}"


async def test_a_job_list(site: Site, client: httpx.AsyncClient) -> None:
    site.users.add(Account("ada", frozenset({Role.USER}), name="Ada L."))
    now = int(time.time())
    for id in range(1, 22):
        site.jobs.start(a_job(id, user="ada" if id % 2 else "bob", start_time=now - id))
    question = {
        "filter": [{"state": ["running"]}, {"cluster": {"eq": "alex"}}, {"startTime": {"range": "last6h"}}],
        "sorting": SORTING,
    }
    pages = []
    for number in (1, 2, 3):
        found = await data(client, JOB_LIST, **question, paging={"itemsPerPage": 10, "page": number})
        pages.append(found["jobs"])
    assert [page["hasNextPage"] for page in pages] == [True, True, False]
    assert [page["count"] for page in pages] == [21, 21, 21]
    assert [job["jobId"] for page in pages for job in page["items"]] == list(range(1, 22))
    assert [job["userData"] for job in pages[0]["items"][:2]] == [{"name": "Ada L."}, None]
    own = await data(client, JOB_LIST, ADA, **question, paging={"itemsPerPage": -1, "page": 1})
    assert own["jobs"]["count"] == len(own["jobs"]["items"]) == 11
    assert {job["user"] for job in own["jobs"]["items"]} == {"ada"}


async def test_names_and_messages_of_a_list_without_its_scripts(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = {"jobScript": "#!/bin/sh"}
    now = int(time.time())
    site.jobs.start(a_job(1, start_time=now - 3, meta_data={**script, "jobName": "plain"}))
    told = site.jobs.start(
        a_job(2, start_time=now - 2, meta_data={**script, "jobName": "told", "message": "node was slow"})
    )
    site.jobs.start(a_job(3, start_time=now - 1))
    read: list[tuple[list[int], bool]] = []
    get_many = site.jobs.get_many
    monkeypatch.setattr(
        site.jobs,
        "get_many",
        lambda ids, *, with_metadata=False: (
            read.append((list(ids), with_metadata)),
            get_many(ids, with_metadata=with_metadata),
        )[1],
    )
    found = await data(client, "{ jobs { items { jobId jobName message } } }")
    assert {job["jobId"]: (job["jobName"], job["message"]) for job in found["jobs"]["items"]} == {
        1: ("plain", ""),
        2: ("told", "node was slow"),
        3: ("", ""),
    }
    assert [ids for ids, with_metadata in read if with_metadata] == [[told.id]]
    one = await data(client, f'{{ job(id: "{told.id}") {{ jobName message }} }}')
    assert one["job"] == {"jobName": "told", "message": "node was slow"}
    site.jobs.edit_metadata(told.id, "message", "")
    read.clear()
    found = await data(client, "{ jobs { items { message metaData } } }")
    assert {job["message"] for job in found["jobs"]["items"]} == {""}


async def test_names_of_a_page_are_one_look_up(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in range(1, 9):
        site.jobs.start(a_job(id, user=f"user{id}"))
    looked_up = []
    get_many = site.users.get_many
    monkeypatch.setattr(
        site.users, "get_many", lambda names: (looked_up.append(set(names)), get_many(names))[1]
    )
    await data(client, "{ jobs { items { userData { name } } } }")
    assert looked_up == [{f"user{id}" for id in range(1, 9)}]


async def test_others_names_are_forbidden_but_hurt_nobody(site: Site, client: httpx.AsyncClient) -> None:
    site.jobs.start(a_job(1, project="p1", user="bob"))
    machine = bearer("api")
    document = await sent(client, "{ jobs { items { jobId userData { name } } } }", machine)
    assert document["data"]["jobs"]["items"] == [{"jobId": 1, "userData": None}]
    assert document["errors"] == [{"message": "forbidden", "path": ["jobs", "items", 0, "userData"]}]
    assert list(document) == ["errors", "data"]
    assert await message(client, '{ user(username: "bob") { name } }', ADA) == "200 forbidden"
    assert await data(client, '{ user(username: "ada") { name } }', ADA) == {"user": None}


async def test_a_program_sees_jobs_as_it_lists_them(site: Site, client: httpx.AsyncClient) -> None:
    """A token with the api role alone: one visibility rule for lists, single jobs and their series."""
    job = site.jobs.start(a_job(1, user="bob"))
    machine = bearer("api")
    listed = await data(client, "{ jobs { items { id } } }", machine)
    assert listed["jobs"]["items"] == [{"id": job.id}]
    one = await data(client, f'{{ job(id: "{job.id}") {{ id user }} }}', machine)
    assert one["job"] == {"id": job.id, "user": "bob"}
    series = await data(
        client, METRIC_PLOT, machine, dbid=str(job.id), selectedMetrics=["cpu_load"], selectedScopes=["node"]
    )
    assert [metric["name"] for metric in series["singleUpdate"]] == ["cpu_load"]
    answer = await client.get(f"/api/jobs/metrics/{job.id}?metric=cpu_load", headers=machine)
    assert answer.status_code == 200
    assert [metric["name"] for metric in answer.json()["data"]["jobMetrics"]] == ["cpu_load"]
    # Not its owner, and no program: nothing of it
    assert await data(client, "{ jobs { items { id } } }", ADA) == {"jobs": {"items": []}}
    assert "there is no job with id" in await message(client, f'{{ job(id: "{job.id}") {{ id }} }}', ADA)


async def test_a_subcluster_of_every_node_is_counted_as_none(site: Site, client: httpx.AsyncClient) -> None:
    path = Path(site.settings.archive_bucket) / "alex" / "cluster.json"
    document = orjson.loads(path.read_bytes())
    document["subClusters"][0]["nodes"] = "*"
    path.write_bytes(orjson.dumps(document))
    found = await data(client, "{ clusters { name subClusters { name nodes numberOfNodes } } }")
    assert found["clusters"][0]["subClusters"] == [
        {"name": "main", "nodes": "*", "numberOfNodes": 0},
        {"name": "gpu", "nodes": "alex[03-04]", "numberOfNodes": 2},
    ]


async def test_series_of_a_job(site: Site, client: httpx.AsyncClient) -> None:
    job = site.jobs.start(a_job(1))
    found = await data(
        client,
        METRIC_PLOT,
        dbid=job.id,
        selectedMetrics=["cpu_load"],
        selectedScopes=["node", "core"],
        selectedResolution=None,
    )
    (plot,) = found["singleUpdate"]
    assert (plot["name"], plot["scope"]) == ("cpu_load", "node")
    assert plot["metric"]["unit"] == {"prefix": "G", "base": "F/s"}
    assert plot["metric"]["series"][3] == {
        "hostname": "alex03",
        "id": None,
        "data": [1.25, None, 3],
        "statistics": {"min": 0, "avg": 0, "max": 0},
    }
    assert plot["metric"]["statisticsSeries"] == {
        "min": [0, None, 7],
        "mean": [],
        "median": [0, None, 7],
        "max": [0, None, 7],
    }
    asked = site.metrics.asked  # type: ignore[attr-defined]
    assert asked == [(job.id, ["cpu_load"], [MetricScope.NODE, MetricScope.CORE], 0)]
    roofline = {
        "selectedMetrics": ["flops_any", "mem_bw"],
        "selectedScopes": ["node"],
        "selectedResolution": 0,
    }
    found = await data(client, ROOFLINE, dbid=str(job.id), **roofline)
    assert [metric["name"] for metric in found["jobMetrics"]] == ["flops_any", "mem_bw"]
    assert (await data(client, f'{{ jobMetrics(id: "{job.id}", metrics: []) {{ name }} }}')) == {
        "jobMetrics": []
    }
    own = await data(client, f"{{ jobMetrics(id: {job.id}) {{ name }} }}", ADA)
    assert [metric["name"] for metric in own["jobMetrics"]] == ["cpu_load"]  # flops_any is restricted


async def test_a_job_that_is_not_yours_is_not_there(site: Site, client: httpx.AsyncClient) -> None:
    job = site.jobs.start(a_job(1, user="bob"))
    for query in ('{ job(id: "%d") { id } }', '{ jobMetrics(id: "%d") { name } }'):
        theirs = await sent(client, query % job.id, ADA)
        nobodys = await sent(client, query % 77, ADA)
        assert str(theirs).replace(str(job.id), "77") == str(nobodys)
    assert (await sent(client, '{ job(id: "77") { id } }'))["data"] == {"job": None}
    assert (await sent(client, '{ jobMetrics(id: "77") { name } }'))["data"] is None
    assert (
        await message(client, '{ job(id: "x") { id } }') == "200 the id of a job is a whole number, not 'x'"
    )


async def test_jobs_on_a_node(site: Site, client: httpx.AsyncClient) -> None:
    site.jobs.start(a_job(1))
    site.jobs.start(a_job(2, resources=(Resource("alex02"), Resource("alex01"))))
    site.jobs.start(a_job(3, resources=(Resource("alex02"),)))
    found = await data(
        client,
        NODE_JOBS,
        filter=[{"cluster": {"eq": "alex"}}, {"state": ["running"]}, {"node": {"eq": "alex01"}}],
        sorting=SORTING,
        paging={"itemsPerPage": 50, "page": 1},
    )
    assert {job["jobId"] for job in found["jobs"]["items"]} == {1, 2}


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        ("{", {}, "422 Syntax Error: Expected Name, found <EOF>."),
        ("fragment F on Job { id }", {}, "422 no operation provided"),
        ("{ nope }", {}, "422 Cannot query field 'nope' on type 'Query'."),
        ("{ __schema { types { name } } }", {}, "422 introspection disabled"),
        ("{ jobs(page: {itemsPerPage: 0, page: 1}) { count } }", {}, "200 invalid items-per-page value: 0"),
        ("query ($s: [JobState!]) { jobs(filter: {state: $s}) { count } }", {"s": ["stopped"]}, None),
        ("query ($f: [JobFilter!]) { jobs(filter: $f) { count } }", {"f": [{"exclusive": 1}]}, None),
    ],
)
async def test_what_is_not_well_asked_is_refused(
    client: httpx.AsyncClient, query: str, variables: dict[str, Any], said: str | None
) -> None:
    refused = await message(client, query, **variables)
    assert refused.startswith("422 Variable '$") if said is None else refused == said


async def test_transport(client: httpx.AsyncClient) -> None:
    said = {"errors": [{"message": "transport not supported"}], "data": None}
    for answer in (
        await client.get("/query", params={"query": "{tags{id}}"}, headers=ADMIN),
        await client.post("/query", data={"query": "{tags{id}}"}, headers=ADMIN),
        await client.put("/query", json={"query": "{tags{id}}"}, headers=ADMIN),
    ):
        assert (answer.status_code, answer.json()) == (400, said)
    answer = await client.post(
        "/query", content=b"{", headers={**ADMIN, "content-type": "application/json; charset=utf-8"}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"].startswith("json request body could not be decoded:")
    answer = await client.post(
        "/query",
        json={"query": "{nope}"},
        headers={**ADMIN, "accept": "application/graphql-response+json, application/json"},
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/graphql-response+json"
    assert (await client.post("/query", json={"query": "{tags{id}}"})).status_code == 401


async def test_a_fault_of_ours_is_not_told(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("SELECT secret FROM table")

    monkeypatch.setattr(site.tags, "all", broken)
    assert await message(client, "{ tags { id } }") == "200 internal system error"


async def test_a_fault_of_the_installation_is_its_keepers_business(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden() -> None:
        raise ConfigurationError("no permission for 'a/b' in bucket 'secret': check the role's policy")

    monkeypatch.setattr(site.tags, "all", forbidden)
    said = "this installation is not set up correctly; its log says more"
    assert await message(client, "{ tags { id } }") == f"200 {said}"
    monkeypatch.setattr(site.jobs, "get", lambda *_, **__: forbidden())
    answer = await client.get("/api/jobs/metrics/1", headers=bearer("api"))
    assert answer.json() == {"data": None, "error": {"message": said}}


async def test_a_document_of_any_length_is_not_kept(client: httpx.AsyncClient) -> None:
    padding = "#" + "x" * 300_000
    assert await message(client, f"{{ tags {{ id }} }} {padding}") == (
        "422 the document has more than 200000 characters"
    )
