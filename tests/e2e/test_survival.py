"""A stack that is ended in every way: an existing archive is still there after a restart, every process that
is killed under load comes back with nothing lost that was acknowledged, and Ctrl-C leaves nothing behind.

The tests use one stack and follow on each other.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from tests.e2e.site_load import CLUSTER, STEP, SiteLoad
from tests.local_stack_process import ROOT, UP, LocalStackProcess, wait_for

from clustercockpit.metrics import frame

pytestmark = pytest.mark.slow

ARCHIVE = ROOT.parent / "shared" / "data" / "upstream" / "archive"
NOW = int(time.time())

JOBS = """query { jobs(
  filter: [{cluster: {eq: "emmy"}}], order: {field: "startTime", type: "col", order: ASC},
  page: {itemsPerPage: 10, page: 1}
) { count items {
    id jobId user project partition subCluster startTime duration walltime numNodes state monitoringStatus
    resources { hostname } tags { name }
} } }"""
SERIES = """query ($id: ID!) { jobMetrics(id: $id, metrics: ["cpu_load"], scopes: [node], resolution: 0) {
  name scope metric { unit { base } timestep series { hostname data statistics { avg min max } } }
} }"""
METRICS = {
    "clock",
    "cpu_load",
    "flops_any",
    "flops_dp",
    "flops_sp",
    "ipc",
    "mem_bw",
    "mem_used",
    "rapl_power",
}
# What is known of the archive's two jobs
EMMY: dict[int, dict[str, Any]] = {
    1403244: {
        "start": 1608923076, "duration": 86486, "samples": 1441, "first": "e0102",
        "begins": [4.01, 14.37, 16.29], "statistics": {"avg": 17.98, "min": 4.01, "max": 19.42},
    },
    1404397: {
        "start": 1609300556, "duration": 86525, "samples": 1442, "first": "e0151",
        "begins": [0.27, 6.65, 14.35], "statistics": {"avg": 18.38, "min": 0.27, "max": 19.74},
    },
}  # fmt: skip


def _ask(client: httpx.Client, query: str, **variables: Any) -> dict[str, Any]:
    answer = client.post("/query", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert "errors" not in body, body["errors"]
    return dict(body["data"])


def _check_emmy(stack: LocalStackProcess, *, series: Iterable[int] = EMMY) -> None:
    """The archive's jobs in the list, and the curves of these through GraphQL and the frame."""
    with stack.someone() as admin:
        listed = _ask(admin, JOBS)["jobs"]
        assert listed["count"] == 2
        for item in listed["items"]:
            known = EMMY[item["jobId"]]
            assert (item["duration"], item["walltime"], item["numNodes"]) == (known["duration"], 10, 32)
            assert (item["user"], item["project"], item["partition"]) == ("emmyUser6", "no project", "work")
            assert (item["subCluster"], item["state"], item["monitoringStatus"]) == (
                "haswell",
                "completed",
                3,
            )
            assert len(item["resources"]) == 32
            assert item["resources"][0]["hostname"] == known["first"]
            if item["jobId"] in series:
                _check_series(admin, item["id"], known)
        assert [item["jobId"] for item in listed["items"]] == sorted(EMMY)


def _check_series(client: httpx.Client, id: str, known: dict[str, Any]) -> None:
    (loaded,) = _ask(client, SERIES, id=id)["jobMetrics"]
    assert (loaded["name"], loaded["scope"]) == ("cpu_load", "node")
    assert loaded["metric"]["timestep"] == 60
    assert len(loaded["metric"]["series"]) == 32
    first = next(s for s in loaded["metric"]["series"] if s["hostname"] == known["first"])
    assert len(first["data"]) == known["samples"]
    assert first["data"][:3] == known["begins"]
    assert first["statistics"] == known["statistics"]

    answer = client.get(f"/frontend/job/{id}/series", params={"resolution": 0, "scope": "node"})
    assert answer.status_code == 200, answer.text
    framed = frame.decode(answer.content)
    assert {metric.name for metric in framed.metrics} == METRICS
    metric = next(metric for metric in framed.metrics if metric.name == "cpu_load")
    assert (len(metric.series), metric.native_timestep) == (32, 60)
    line = next(series for series in metric.series if series.hostname == known["first"])
    assert line.mean[:3].tolist() == pytest.approx(known["begins"])
    assert (line.grid.start, line.grid.step) == (known["start"], 60)
    assert (line.statistics.avg, line.statistics.max) == pytest.approx(
        (known["statistics"]["avg"], known["statistics"]["max"]), abs=0.01
    )


def _all_ended(stack: LocalStackProcess, seconds: float = 10) -> None:
    wait_for(lambda: not stack.processes(), seconds, lambda: f"still there: {stack.processes()}")


def test_an_archive_is_loaded_and_stays_over_a_restart(own_stack: LocalStackProcess) -> None:
    if not ARCHIVE.is_dir():
        pytest.skip("the reference's archive (../shared/data/upstream/archive) is not here")
    own_stack.start_and_wait("--archive", str(ARCHIVE))
    assert "2 jobs loaded, 0 were there, 0 are damaged" in own_stack.console
    assert own_stack.facts["clusters"] == ["alex", "emmy", "fritz"]
    _check_emmy(own_stack)

    before = len(own_stack.processes())
    assert before >= 5
    assert own_stack.interrupt() == 0
    assert "stopped, everything is kept" in own_stack.console
    _all_ended(own_stack)

    own_stack.start_and_wait()
    _check_emmy(own_stack, series=[1404397])


def test_ctrl_c_amid_a_start_leaves_nothing(own_stack: LocalStackProcess) -> None:
    if own_stack.process is not None and own_stack.process.poll() is None:
        assert own_stack.interrupt() == 0
    for step in ("starting the AWS emulator", "starting the metric store"):
        since = len(own_stack.console)
        own_stack.start()
        own_stack.wait_said(step, since=since, seconds=120)
        assert own_stack.interrupt() == 0
        _all_ended(own_stack)
        assert "did not end cleanly" not in own_stack.console[since:]


def test_a_taken_port_is_named(local_stack: LocalStackProcess, own_stack: LocalStackProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_stack", "--port", str(local_stack.port - 3), "--var",
         str(own_stack.var / "never")],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"port {local_stack.port} on 127.0.0.1" in done.stderr
    assert "make run PORT=" in done.stderr
    assert not (own_stack.var / "never").exists()


def _jobs_there(stack: LocalStackProcess, state: str) -> dict[int, dict[str, Any]]:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        answer = client.get(
            f"/api/jobs/?cluster={CLUSTER}&state={state}&items-per-page=9999&with-metadata=true",
            headers=stack.bearer,
        )
    assert answer.status_code == 200, answer.text
    return {job["jobId"]: job for job in answer.json()["jobs"]}


def _check_jobs(stack: LocalStackProcess, started: Iterable[int], stopped: Iterable[int]) -> None:
    """Every acknowledged start and stop is known; what came over NATS may take a moment."""
    started, stopped = set(started), set(stopped)
    missing: dict[str, Any] = {}

    def all_there() -> bool:
        running, completed = _jobs_there(stack, "running"), _jobs_there(stack, "completed")
        missing["starts"] = started - running.keys() - completed.keys()
        missing["stops"] = stopped - completed.keys()
        return not missing["starts"] and not missing["stops"]

    # What a killed subscriber had begun is delivered again after a minute
    wait_for(all_there, 100, lambda: f"lost: {missing}", pause=1)


def _check_samples(stack: LocalStackProcess, samples: dict[tuple[str, int], float]) -> None:
    hosts = sorted({host for host, _ in samples})
    times = [at for _, at in samples]
    body = {
        "cluster": CLUSTER, "from": min(times) - STEP, "to": max(times) + STEP, "resolution": 0,
        "queries": [{"metric": "cpu_load", "scope": "node", "hosts": hosts}],
    }  # fmt: skip
    found: dict[tuple[str, int], float] = {}

    def all_there() -> bool:
        with httpx.Client(timeout=60) as client:
            answer = client.post(f"{stack.metric_store_url}/api/frame", json=body, headers=stack.bearer)
        if answer.status_code == 503:
            return False
        assert answer.status_code == 200, answer.text
        for metric in frame.decode(answer.content).metrics:
            for series in metric.series:
                for n, value in enumerate(series.mean.tolist()):
                    if not math.isnan(value):
                        found[series.hostname, round(series.grid.start + n * series.grid.step)] = value
        return all(found.get(key) == value for key, value in samples.items())

    def lost() -> str:
        wrong = {key: (value, found.get(key)) for key, value in samples.items() if found.get(key) != value}
        return f"{len(wrong)} of {len(samples)} samples: {dict(sorted(wrong.items())[:20])}"

    wait_for(all_there, 30, lost, pause=1)


def _goes_on(load: SiteLoad, seconds: float = 45) -> None:
    """Every way acknowledges something new."""
    before = load.flows()
    wait_for(
        lambda: all(count >= before[way] + 2 for way, count in load.flows().items()),
        seconds,
        lambda: f"from {before} to {load.flows()}",
    )


PROCESSES = {
    "the metric store": ("cc_metric_store", "metric-store.log", "restored"),
    "the NATS subscriber": ("cc_job_events", "job-events.log", "connected to NATS"),
    "the web server": ("local_stack.web", "web.log", "Uvicorn running"),
    "nats-server": ("nats-server", "nats.log", "Server is ready"),
}


def test_every_process_may_be_killed_under_load(own_stack: LocalStackProcess) -> None:
    stack = own_stack
    stack.start_and_wait()
    load = SiteLoad(stack, 20_000, NOW - NOW % STEP - 7200)
    try:
        _goes_on(load)
        for name, (word, log, says) in PROCESSES.items():
            since, logged = len(stack.console), (stack.var / "log" / log).stat().st_size
            killed = stack.pid_of(word)
            began = time.monotonic()
            os.kill(killed, signal.SIGKILL)
            stack.wait_said(f"{name} was ended by SIGKILL; starting it again in", since=since)
            stack.wait_said(f"{name} is back", since=since)
            assert stack.pid_of(word) != killed
            _goes_on(load)
            print(f"{name}: everything goes on {time.monotonic() - began:.1f} s after its end")
            file = stack.var / "log" / log
            wait_for(lambda: says in file.read_bytes()[logged:].decode(errors="replace"), 20)  # noqa: B023
    finally:
        load.end()
    print(f"acknowledged: {load.flows()}; {load.failures} requests failed meanwhile")
    assert load.failures, "nothing was noticed: the load was none"
    _check_jobs(
        stack, load.rest.started | load.nats.started, load.rest.stopped.keys() | load.nats.stopped.keys()
    )
    _check_samples(stack, load.rest.samples | load.nats.samples)
    stopped = load.rest.stopped.keys() | load.nats.stopped.keys()

    def archived() -> bool:
        completed = _jobs_there(stack, "completed")
        return all(completed[job]["monitoringStatus"] == 3 for job in stopped)

    began = time.monotonic()
    wait_for(archived, 120, lambda: "not every job was archived", pause=1)
    print(f"{len(stopped)} stopped jobs are archived {time.monotonic() - began:.1f} s later")


def test_the_emulator_may_be_killed_under_load(own_stack: LocalStackProcess) -> None:
    """It stands for AWS; what it has in memory is lost with it, and said to be. What is archived is not."""
    stack = own_stack
    before = {
        job_id: job for job_id, job in _jobs_there(stack, "completed").items() if job["monitoringStatus"] == 3
    }
    assert before
    load = SiteLoad(stack, 60_000, NOW - NOW % STEP - 3600)
    try:
        _goes_on(load)
        since, began = len(stack.console), time.time()
        os.kill(stack.pid_of("ministack"), signal.SIGKILL)
        stack.wait_said("the AWS emulator was ended by SIGKILL", since=since)
        stack.wait_said("what it held in memory is lost (running jobs", since=since)
        stack.wait_said("rebuilding finished jobs from the archive", since=since, seconds=180)
        stack.wait_said(UP, since=since, seconds=60)
        print(f"up again {time.time() - began:.1f} s after the emulator's end")
        back = time.time()
        _goes_on(load)
    finally:
        load.end()
    print(f"acknowledged: {load.flows()}; {load.failures} requests failed meanwhile")
    after = _jobs_there(stack, "completed")
    assert before.keys() - after.keys() == set()
    for job_id, job in before.items():
        same = ("startTime", "duration", "user", "project", "jobState", "metaData", "resources", "partition")
        # The archive's document keeps remarks about the archiving among the metadata
        (after[job_id].get("metaData") or {}).pop("remarks", None)
        assert {key: after[job_id].get(key) for key in same} == {key: job.get(key) for key in same}
    if ARCHIVE.is_dir():
        _check_emmy(stack, series=[1403244])
    # What was told to NATS while it was away, and to anybody once it was back
    _check_jobs(
        stack,
        [job for job, at in load.nats.started.items() if at > began + 1]
        + [job for job, at in load.rest.started.items() if at > back],
        [],
    )
    _check_samples(stack, load.rest.samples | load.nats.samples)


def test_the_supervisors_own_death_ends_all_and_loses_nothing(own_stack: LocalStackProcess) -> None:
    stack = own_stack
    completed = _jobs_there(stack, "completed").keys()
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    _all_ended(stack, 60)
    since = len(stack.console)
    stack.start_and_wait()
    assert "did not end cleanly" not in stack.console[since:]
    assert _jobs_there(stack, "completed").keys() >= completed
    assert stack.interrupt() == 0
    _all_ended(stack)
