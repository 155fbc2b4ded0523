"""A Slurm adapter and a metric collector as sites run them, against the real stack."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from tests.bulk_jobs import start_in_bulk
from tests.clients.metric_collector import EVENT_LINE, LOG_LINE, MetricCollector, interval
from tests.clients.slurm_adapter import SlurmAdapter, SlurmJob
from tests.local_stack_process import LocalStackProcess, wait_for

from clustercockpit.jobs.model import Job, Resource
from clustercockpit.settings import Settings
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.table import Table
from local_stack.emulator import CREDENTIALS

pytestmark = pytest.mark.slow

NOW = int(time.time())
RUNNING = 5000
FIRST_CALL_SECONDS = 15  # of the 30 after which API Gateway gives up


@pytest.fixture
def site(local_stack: LocalStackProcess, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The stack's table and buckets, from this process."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    settings = Settings(
        table_name=local_stack.deployed["TableName"],
        archive_bucket=local_stack.deployed["ArchiveBucketName"],
        data_bucket=local_stack.deployed["DataBucketName"],
        aws_endpoint_url=str(local_stack.facts["aws_endpoint_url"]),
        aws_region=CREDENTIALS["AWS_REGION"],
    )
    assert Table(settings).exists()
    return Site(settings)


@pytest.fixture
def adapter(local_stack: LocalStackProcess) -> Iterator[SlurmAdapter]:
    with httpx.Client(base_url=local_stack.url, timeout=60) as client:
        yield SlurmAdapter(client, local_stack.api_token, "kestrel")


def test_adapter_and_collector_play_a_job(local_stack: LocalStackProcess, adapter: SlurmAdapter) -> None:
    start = NOW - NOW % 60 - 600
    job = SlurmJob(
        7001, "kestrel", "ada", "p101", start, ["kst003", "kst004"], partition="standard", walltime=3600,
        num_hwthreads=144, name="<b>it's & \"fine\"</b>", script="#!/bin/bash\nsrun ./a.out < in && echo ä\n",
    )  # fmt: skip
    assert adapter.start(job) == 201
    assert adapter.start(job) == 422, "told once more it is no error"
    adapter.node_states({"kst003": ["ALLOCATED"], "kst004": ["ALLOCATED"], "kst099": None})
    with httpx.Client(timeout=30) as client:
        # One node sends to the store, the other one to the hub
        for host, url in (("kst003", local_stack.metric_store_url), ("kst004", local_stack.url)):
            collector = MetricCollector(
                client, f"{url}/api/write?cluster=kestrel", local_stack.api_token, "kestrel", host
            )
            # At once what it sends in ten minutes: each answer waits for the log's next commit
            ticks = range(start, start + 600, 60)
            assert collector.flush(sample for tick in ticks for sample in interval(tick)), (
                collector.last_answer
            )
            assert collector.post((EVENT_LINE + LOG_LINE).encode())
    job.state, job.end_time = "NODE_FAIL", start + 590
    assert adapter.stop(job) == 200
    assert adapter.stop(job) == 422

    def archived() -> list[dict[str, object]]:
        query = "/api/jobs/?cluster=kestrel&state=failed&items-per-page=100&with-metadata=true"
        listed = adapter.client.get(query, headers=local_stack.bearer)
        assert listed.status_code == 200, listed.text
        jobs = listed.json()["jobs"]
        return [each for each in jobs if each["jobId"] == 7001 and each["monitoringStatus"] == 3]

    (found,) = wait_for(archived, 60, lambda: "archived")
    assert (found["jobState"], found["duration"]) == ("failed", 590)
    meta_data = found["metaData"]
    assert isinstance(meta_data, dict)
    assert (meta_data["jobName"], meta_data["jobScript"]) == (job.name, job.script)
    read = adapter.client.get(f"/api/jobs/{found['id']}?all-metrics=true", headers=local_stack.bearer)
    assert read.status_code == 200, read.text
    data = read.json()["Data"]
    loads = {series["hostname"]: series["data"] for series in data["cpu_load"]["node"]["series"]}
    assert set(loads) == {"kst003", "kst004"}
    for values in loads.values():
        assert {value for value in values if value is not None} == {71.98}
    whole = sum(9.25 + thread / 64 for thread in range(72))
    for series in data["flops_any"]["node"]["series"]:
        values = [value for value in series["data"] if value is not None]
        assert values == [pytest.approx(whole, abs=0.01)] * 10


def test_the_first_call_holds_five_thousand_running_jobs(
    site: Site, adapter: SlurmAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jobs() -> Iterator[Job]:
        for number in range(RUNNING):
            hosts = tuple(Resource(f"kst{1 + (number + k) % 24:03d}") for k in range(1 + number % 8))
            yield Job(
                100_000 + number, "kestrel", f"user{number % 97}", NOW - 40_000 + number, sub_cluster="main",
                project="p101", partition="standard", walltime=86_400, num_nodes=len(hosts),
                num_hwthreads=72 * len(hosts), resources=hosts,
                meta_data={"jobName": f"job-{number}", "jobScript": "#!/bin/bash\n" + "x" * 2000},
            )  # fmt: skip

    began = time.monotonic()
    start_in_bulk(site, jobs(), monkeypatch)
    print(f"{RUNNING} running jobs in the table after {time.monotonic() - began:.1f} s")

    began = time.monotonic()
    running = {job["jobId"]: job for job in adapter.first_call()}
    first = time.monotonic() - began
    answer = adapter.last_answer
    assert answer is not None
    print(f"first call: {first:.1f} s, {len(running)} jobs, {len(answer.content)} bytes")
    assert running.keys() >= set(range(100_000, 100_000 + RUNNING))
    assert {job["jobState"] for job in running.values()} == {"running"}
    assert first < FIRST_CALL_SECONDS
    assert "jobScript" not in answer.text, "with-metadata=false is honoured"
    # The adapter goes on from what it was told: a job that ended while it was away
    ended = SlurmJob(104_999, "kestrel", "user53", "p101", NOW - 35_001, ["kst001"])
    ended.state, ended.end_time = "COMPLETED", NOW
    assert adapter.stop(ended) == 200
    assert 104_999 not in {job["jobId"] for job in adapter.first_call()}
