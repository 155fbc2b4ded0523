"""The players of real clients send what the real clients send."""

from __future__ import annotations

import json

import httpx
import pytest
from tests.clients.metric_collector import MetricCollector, Sample, go_number, interval
from tests.clients.slurm_adapter import (
    AdapterEndsError,
    SlurmAdapter,
    SlurmJob,
    SynchronisationError,
    stop_event,
)

JOB = SlurmJob(7001, "c1", "ada", "p1", 1_750_000_000, ["n01", "n02"], "batch", name="a<b & c", walltime=3600)


def _adapter(*statuses: int, seen: list[httpx.Request] | None = None) -> SlurmAdapter:
    answers = iter(statuses)

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(next(answers), json={"jobs": []})

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://hub")
    return SlurmAdapter(client, "token", "c1")


def test_the_adapter_sends_its_headers_and_all_keys() -> None:
    seen: list[httpx.Request] = []
    with_job = _adapter(200, 201, seen=seen)
    assert with_job.first_call() == []
    assert with_job.start(JOB) == 201
    first, start = seen
    assert str(first.url) == (
        "http://hub/api/jobs/?state=running&items-per-page=9999999&page=1&with-metadata=false"
    )
    assert start.headers["x-auth-token"] == "token"
    assert start.headers["accept"] == "application/ld+json"
    assert b"a\\u003cb \\u0026 c" in start.content
    body = json.loads(start.content)
    assert set(body) == {
        "cluster", "subCluster", "project", "user", "shared", "jobState", "resources", "energyFootprint",
        "footprint", "metaData", "concurrentJobs", "energy", "jobId", "duration", "numNodes", "statistics",
        "startTime", "partition", "walltime",
    }  # fmt: skip


def test_the_adapter_goes_on_only_after_what_it_expects() -> None:
    JOB.end_time, JOB.state = 1_750_000_600, "NODE_FAIL"
    assert _adapter(422, 422).synchronise([JOB]) == [422, 422]
    with pytest.raises(SynchronisationError, match="500"):
        _adapter(500).synchronise([JOB])
    with pytest.raises(SynchronisationError, match="stop_job 7001: 404"):
        _adapter(201, 404).synchronise([JOB])
    with pytest.raises(AdapterEndsError, match="401"):
        _adapter(401).first_call()
    with pytest.raises(SynchronisationError, match="nodestate: 204"):
        _adapter(204).node_states({"n01": ["IDLE"], "n02": None})
    assert stop_event(JOB) == (
        b"job,function=stop_job,hostname=slurmctl,partition=batch,type=node,type-id=0 "
        b'event="{\\"jobId\\":7001,\\"cluster\\":\\"c1\\",\\"jobState\\":\\"failed\\",'
        b'\\"stopTime\\":1750000600}" 1750000600000000000\n'
    )


def test_the_collector_writes_sorted_tags_and_go_numbers() -> None:
    sample = Sample("cpu_user", 73.25, 1_750_000_000, {"type": "hwthread", "type-id": "3", "unit": "Percent"})
    assert sample.line("c1", "n01") == (
        "cpu_user,cluster=c1,hostname=n01,type=hwthread,type-id=3,unit=Percent value=73.25 1750000000\n"
    )
    assert [go_number(v) for v in (12.0, 7, 1e6, 1.5e-7, 1234567.5)] == [
        "12", "7i", "1e+06", "1.5e-07", "1.2345675e+06"
    ]  # fmt: skip
    assert len(interval(1_750_000_000)) > 804


def test_the_collector_tries_again_only_when_the_transport_broke() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) < 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(200 if len(seen) == 3 else 400)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    collector = MetricCollector(client, "http://hub/api/write?cluster=c1", "t", "c1", "n01")
    assert collector.flush([Sample("cpu_load", 1.0, 1_750_000_000)])
    assert "content-type" not in seen[0].headers
    assert not collector.flush([Sample("cpu_load", 1.0, 1_750_000_000)])
    assert len(seen) == 4
    assert collector.dropped == 1
