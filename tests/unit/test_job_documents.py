from __future__ import annotations

import json
from typing import Any

import pytest

from clustercockpit.clusters.model import Unit
from clustercockpit.errors import InvalidInputError
from clustercockpit.jobs.documents import JOB, TAG_REQUEST, job_document, job_of
from clustercockpit.jobs.model import (
    Job,
    JobState,
    JobStatistics,
    MonitoringStatus,
    Resource,
    Sharing,
    Tag,
)
from clustercockpit.reference_json import DecodingError, decode, encode

STOPPED = Job(
    id=15,
    job_id=7001,
    user="ada",
    project="p1",
    cluster="c1",
    sub_cluster="main",
    partition="batch",
    walltime=3600,
    num_nodes=2,
    num_hwthreads=64,
    start_time=1750000000,
    duration=1800,
    state=JobState.COMPLETED,
    resources=(Resource("n01"), Resource("n02")),
)


def test_a_stopped_job_is_written_byte_for_byte_as_in_the_worked_example() -> None:
    assert encode(job_document(STOPPED)) == (
        b'{"cluster":"c1","subCluster":"main","partition":"batch","project":"p1","user":"ada","shared":"none",'
        b'"jobState":"completed","resources":[{"hostname":"n01"},{"hostname":"n02"}],"energyFootprint":null,'
        b'"footprint":null,"metaData":null,"concurrentJobs":{"items":null,"count":0},"energy":0,"walltime":3600,'
        b'"jobId":7001,"duration":1800,"monitoringStatus":1,"numHwthreads":64,"numNodes":2,"statistics":null,'
        b'"id":15,"startTime":1750000000}\n'
    )


def test_every_member_has_its_place_and_reads_back() -> None:
    job = Job(
        id=9,
        job_id=7,
        user="u",
        project="p",
        cluster="c",
        sub_cluster="s",
        partition="b",
        array_job_id=4,
        walltime=5,
        requested_memory=6,
        duration=7,
        smt=2,
        monitoring_status=MonitoringStatus.ARCHIVED,
        num_acc=1,
        num_hwthreads=2,
        num_nodes=1,
        energy=0.42,
        energy_footprint={"b": 1.0, "a": 0.5},
        footprint={"cpu_load_avg": 31.5},
        meta_data={"jobName": "<demo>"},
        statistics={"cpu_load": JobStatistics(Unit("B", "G"), avg=31.5, min=0.1, max=64.0)},
        tags=(Tag("review", "ok", "global", 3),),
        resources=(Resource("n", (0, 1), ("00:0E",), "x"),),
        shared=Sharing.SINGLE_USER,
        state=JobState.TIMEOUT,
        submit_time=99,
        start_time=100,
    )
    document = job_document(job)
    order = (
        "cluster subCluster partition project user shared jobState tags resources energyFootprint footprint "
        "metaData concurrentJobs energy arrayJobId walltime requestedMemory jobId duration smt "
        "monitoringStatus numAcc numHwthreads numNodes statistics id submitTime startTime"
    )
    assert list(document) == order.split()
    assert list(document["energyFootprint"]) == ["a", "b"]
    assert list(document["resources"][0]) == ["hostname", "configuration", "hwthreads", "accelerators"]
    assert job_of(decode(encode(document), JOB)) == job


def test_a_running_job_is_as_old_as_it_is() -> None:
    running = Job(job_id=1, cluster="c", user="u", start_time=100)
    assert job_document(running, now=160)["duration"] == 60
    assert job_document(STOPPED, now=10**10)["duration"] == 1800


def test_monitoring_status_zero_is_left_out() -> None:
    job = Job(job_id=1, cluster="c", user="u", start_time=1, monitoring_status=MonitoringStatus.DISABLED)
    assert "monitoringStatus" not in job_document(job)


# What the Slurm adapter always sends (13.1)
ADAPTER = (
    b'{"cluster":"c1","subCluster":"","project":"p","user":"u","shared":"none","jobState":"",'
    b'"resources":[{"hostname":"n01","hwthreads":[0,1]}],"energyFootprint":null,"footprint":null,'
    b'"metaData":{"jobName":"x","slurmInfo":"y","submitTime":"1749999990"},'
    b'"concurrentJobs":{"items":null,"count":0},"energy":0,"jobId":5,"duration":0,"numNodes":1,'
    b'"statistics":null,"startTime":1750000000}'
)


def test_a_start_as_the_slurm_adapter_sends_it() -> None:
    job = job_of(decode(ADAPTER, JOB))
    assert (job.state, job.shared, job.monitoring_status) == (JobState.RUNNING, Sharing.NONE, 1)
    assert job.submit_time == 1749999990
    assert job.resources == (Resource("n01", (0, 1)),)
    assert (job.footprint, job.statistics) == (None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared": ""}, "shared: must be one of none, single_user, multi_user, got ''"),
        ({"monitoringStatus": 4}, "monitoringStatus: must be 0, 1, 2 or 3, got 4"),
        ({"jobState": "stopped"}, "invalid requested job state: 'stopped'"),
        ({"concurrentJobs": {"number": 1}}, "concurrentJobs: unknown field 'number'"),
        ({"state": "running"}, "unknown field 'state'"),
        ({"metaData": {"a": 1}}, "metaData.a: expected a string"),
        ({"duration": 2**31}, "duration: the number does not fit into 32 bits"),
    ],
)
def test_what_a_start_may_not_say(change: dict[str, Any], message: str) -> None:
    document = json.loads(ADAPTER) | change
    with pytest.raises(InvalidInputError, match=message):
        job_of(decode(json.dumps(document).encode(), JOB))


def test_tag_requests_refuse_an_id_where_jobs_carry_one() -> None:
    with pytest.raises(DecodingError, match=r"\[0\]: unknown field 'id'"):
        decode(b'[{"type":"a","name":"b","scope":"global","id":1}]', TAG_REQUEST)
    job = job_of(decode(b'{"tags":[{"type":"a","name":"b","id":1}]}', JOB))
    assert job.tags == (Tag("a", "b", "global", 1),)
