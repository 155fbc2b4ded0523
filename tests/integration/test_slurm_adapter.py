"""A Slurm adapter as sites run it, against the hub: every request it makes, every status it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from tests.bulk_jobs import start_in_bulk
from tests.clients.slurm_adapter import (
    AdapterEndsError,
    SlurmAdapter,
    SlurmJob,
    SynchronisationError,
)
from tests.identities import bearer, settings_with_keys
from tests.loopback import serving
from tests.store_process import install_demo_clusters

from clustercockpit.jobs.model import Job, Resource
from clustercockpit.server import create_app
from clustercockpit.site import Site
from clustercockpit.storage import aws
from clustercockpit.storage.dynamodb.table import Table

NOW = int(time.time())
TOKEN = bearer("api")["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    install_demo_clusters(tmp_path / "archive")
    (tmp_path / "data").mkdir()
    with mock_aws():
        settings = settings_with_keys(
            table_name="cc-adapter",
            archive_bucket=f"{tmp_path}/archive",
            data_bucket=f"{tmp_path}/data",
            archive_queue_url="https://sqs.eu-central-1.amazonaws.com/123456789012/archive",
        )
        aws.client(settings, "sqs").create_queue(QueueName="archive")
        Table(settings).create()
        yield Site(settings)


@pytest.fixture
def adapter(site: Site) -> Iterator[SlurmAdapter]:
    with serving(create_app(site)) as url, httpx.Client(base_url=url, timeout=150) as client:
        yield SlurmAdapter(client, TOKEN, "kestrel")


def _job(job_id: int, **more: Any) -> SlurmJob:
    values: dict[str, Any] = {
        "cluster": "kestrel", "user": "ada", "project": "p101", "start_time": NOW - 600,
        "hosts": ["kst001", "kst002"], "partition": "standard", "walltime": 3600, "num_hwthreads": 144,
        "name": "<b>it's & \"fine\"</b>", "script": "#!/bin/bash\nsrun ./a.out < in > out && echo ä\n",
        "submit_time": NOW - 900,
    }  # fmt: skip
    return SlurmJob(job_id, **(values | more))


def _listed(adapter: SlurmAdapter, query: str) -> list[dict[str, Any]]:
    answer = adapter.client.get("/api/jobs/?" + query, headers=bearer("api"))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["jobs"])


def test_a_days_work(adapter: SlurmAdapter) -> None:
    assert adapter.first_call() == []
    whole = _job(7001)
    part = _job(7002, cluster="heron", hosts=["hrn04"], partition="gpu-shared", shared="multi_user",
                num_hwthreads=16, hwthreads=list(range(16)), accelerators=["00000000:0E:00.0"],
                array_job_id=7000)  # fmt: skip
    assert adapter.synchronise([whole, part]) == [201, 201]
    assert len(adapter.published) == 2

    # It comes up again: what runs is known, and told once more it is no error.
    running = {j["jobId"]: j for j in adapter.first_call()}
    assert {(j["cluster"], j["jobState"]) for j in running.values()} == {
        ("kestrel", "running"), ("heron", "running"),
    }  # fmt: skip
    assert all(j["id"] > 0 for j in running.values())
    assert adapter.synchronise([whole, part]) == [422, 422]

    whole.state, whole.end_time = "NODE_FAIL", NOW - 10
    part.state, part.end_time = "TIMEOUT", NOW - 5
    assert [adapter.stop(whole), adapter.stop(part)] == [200, 200]
    assert [adapter.stop(whole), adapter.stop(part)] == [422, 422]
    assert adapter.first_call() == []

    (stopped,) = _listed(adapter, "cluster=kestrel&with-metadata=true")
    assert (stopped["jobState"], stopped["duration"]) == ("failed", 590)
    assert stopped["metaData"]["jobName"] == whole.name
    assert stopped["metaData"]["jobScript"] == whole.script
    assert [r["hostname"] for r in stopped["resources"]] == ["kst001", "kst002"]
    (shared,) = _listed(adapter, "cluster=heron")
    assert shared["resources"][0]["accelerators"] == ["00000000:0E:00.0"]
    assert (shared["arrayJobId"], shared["numAcc"], shared["shared"]) == (7000, 1, "multi_user")


def test_a_job_id_may_come_back_after_a_day_and_the_newest_is_stopped(adapter: SlurmAdapter) -> None:
    old = _job(7001, start_time=NOW - 3 * 86_400)
    new = _job(7001, start_time=NOW - 600)
    assert adapter.start(old) == 201
    assert adapter.start(new) == 201
    new.state, new.end_time = "COMPLETED", NOW
    assert adapter.stop(new) == 200
    assert [j["startTime"] for j in _listed(adapter, "state=running")] == [old.start_time]


def test_an_odd_job_does_not_end_the_synchronisation(adapter: SlurmAdapter) -> None:
    # A host nobody described, beside a known one, and names from everywhere (ruling 7).
    odd = _job(7003, hosts=["kst001", "kst999"], user="übung", project="", name="run \u0001 \U0001f600")
    assert adapter.synchronise([odd, _job(7004, hosts=["kst003"])]) == [201, 201]


def test_what_the_hub_cannot_know_is_an_error_the_adapter_retries(adapter: SlurmAdapter) -> None:
    with pytest.raises(SynchronisationError, match="start_job 7005: 400"):
        adapter.start(_job(7005, cluster="nowhere"))
    gone = _job(7006, state="COMPLETED", end_time=NOW)
    with pytest.raises(SynchronisationError, match="stop_job 7006: 404"):
        adapter.stop(gone)
    adapter.token = bearer("user")["Authorization"].removeprefix("Bearer ")
    with pytest.raises(AdapterEndsError, match="401"):
        adapter.first_call()


def test_node_states_are_taken_whatever_the_words(adapter: SlurmAdapter) -> None:
    adapter.node_states(
        {"kst001": ["ALLOCATED"], "kst002": ["IDLE", "DRAIN"], "kst003": None, "kst004": ["DOWN", "IDLE"],
         "login1": ["UNKNOWN"]}
    )  # fmt: skip


@pytest.mark.slow
def test_the_first_call_holds_five_thousand_running_jobs(
    site: Site, adapter: SlurmAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jobs() -> Iterator[Job]:
        for number in range(5000):
            hosts = tuple(Resource(f"kst{1 + (number + k) % 24:03d}") for k in range(1 + number % 8))
            yield Job(
                100_000 + number,
                "kestrel",
                f"user{number % 97}",
                NOW - 40_000 + number,
                sub_cluster="main",
                project="p101",
                partition="standard",
                walltime=86_400,
                num_nodes=len(hosts),
                num_hwthreads=72 * len(hosts),
                resources=hosts,
                meta_data={"jobName": f"job-{number}", "jobScript": "#!/bin/bash\n" + "x" * 2000},
            )

    start_in_bulk(site, jobs(), monkeypatch)

    calls: Counter[str] = Counter()
    call = BaseClient._make_api_call

    def counted(client: BaseClient, name: str, parameters: Any) -> Any:
        calls[name] += 1
        return call(client, name, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", counted)
    running = adapter.first_call()
    assert {j["jobId"] for j in running} == set(range(100_000, 105_000))
    # API Gateway gives up after 30 s. The emulated table needs most of a second for each hundred jobs, the
    # real one some 15 ms, so what is held here is how often it is asked.
    assert calls.total() <= 250, calls
    assert calls["Scan"] == 0
    # `with-metadata=false` is honoured: scripts of 2 kB each would break Lambda's 6 MB.
    answer = adapter.last_answer
    assert answer is not None
    assert "jobScript" not in answer.text
    assert len(answer.content) < 4_500_000
