"""The demo site's jobs: repeatable, never two on one thread, ill as recorded."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from simulator import truth
from simulator.demo_site import DemoSite, JobEvent
from simulator.schedule import Job

START = 1_790_000_000
HOURS = 6


def _run(seed: int = 1, window: int = 600, hours: int = HOURS, speed: float = 1.0) -> list[JobEvent]:
    site = DemoSite(seed=seed, start=START, speed=speed, users=("demo",))
    until = START + hours * 3600
    return [e for t in range(START + window, until + 1, window) for e in site.advance(t)]


EVENTS = _run()
JOBS = [e.job for e in EVENTS if e.what == "start"]


def test_the_same_seed_and_start_give_the_same_jobs_in_any_steps() -> None:
    assert _run(hours=2, window=600) == _run(hours=2, window=75)
    assert _run(hours=1, seed=2) != _run(hours=1, seed=1)


def test_events_come_in_order_and_every_stop_has_its_start() -> None:
    assert all(a.time <= b.time for a, b in pairwise(EVENTS))
    running: dict[tuple[str, int], Job] = {}
    for event in EVENTS:
        name = (event.cluster, event.job_id)
        if event.what == "start":
            assert name not in running
            running[name] = event.job
        else:
            assert running.pop(name).end == event.time
    assert len(JOBS) - len(running) == sum(e.what == "stop" for e in EVENTS)


def test_a_hardware_thread_and_an_accelerator_serve_one_job_at_a_time() -> None:
    held: dict[tuple[str, str, int], list[tuple[int, int]]] = defaultdict(list)
    for job in JOBS:
        for allocation in job.allocations:
            for thread in allocation.threads:
                held[allocation.host, "thread", thread].append((job.start, job.end))
            for device in allocation.accelerators:
                held[allocation.host, "device", device].append((job.start, job.end))
    assert len({host for host, _, _ in held}) == 30, "every node is used"
    for unit, spans in held.items():
        for (_, end), (start, _) in pairwise(sorted(spans)):
            assert end <= start, unit


def test_jobs_get_what_they_asked_for() -> None:
    for job in JOBS:
        asked = job.submission
        assert len(job.allocations) == asked.nodes
        assert {len(a.threads) for a in job.allocations} == {asked.threads}
        assert {len(a.accelerators) for a in job.allocations} == {asked.accelerators}
        assert len({a.host for a in job.allocations}) == asked.nodes
        assert job.submit_time <= job.start < job.end <= job.start + asked.walltime
        if asked.state == "timeout":
            assert job.end == job.start + asked.walltime


def test_an_accelerator_comes_with_the_cores_beside_it() -> None:
    shared = [j for j in JOBS if j.submission.partition.name == "gpu-shared"]
    for job in shared:
        (allocation,) = job.allocations
        cores = {t % 64 for t in allocation.threads}
        assert cores == {d * 8 + c for d in allocation.accelerators for c in range(8)}


def test_every_way_to_share_end_and_fail_is_met() -> None:
    states = Counter(e.job.submission.state for e in EVENTS if e.what == "stop")
    assert set(states) >= {"completed", "failed", "cancelled", "timeout", "out_of_memory"}
    assert states["completed"] > len(EVENTS) / 5
    arrays = Counter((j.cluster, j.array_job_id) for j in JOBS if j.array_job_id)
    assert any(count >= 50 for count in arrays.values()), "a failure storm is one array"
    assert any(4 <= count < 10 for count in arrays.values()), "and there are healthy arrays"
    assert any(len(j.allocations) > 1 for j in JOBS)
    assert any(j.person.user == "demo" for j in JOBS), "who can log in has jobs to see"


def test_all_twelve_diagnoses_are_in_the_truth_and_most_jobs_are_well() -> None:
    site = DemoSite(seed=1, start=START)
    records = [r for j in JOBS for r in truth.records(j, site.cluster(j.cluster), site.fault(j.cluster))]
    found = Counter(r["diagnosis"] for r in records)
    assert {d for d in found if d} == {f"D{n}" for n in range(1, 13)}
    assert found[None] > len(JOBS) / 2
    for record in records:
        first, last = record["interval"]
        assert record["startTime"] <= first < last
        assert record["nodes"]
        if record["diagnosis"] in ("D1", "D2"):
            assert record["devices"]
            assert {d["hostname"] for d in record["devices"]} <= set(record["nodes"])
        assert record["cause"] == {None: None, "D7": "site"}.get(record["diagnosis"], "user")


def test_one_ill_node_meets_several_users() -> None:
    site = DemoSite(seed=1, start=START)
    for name in site.names:
        fault = site.fault(name)
        users = {
            j.person.user
            for j in JOBS
            if j.cluster == name and any(a.host == fault.host for a in j.allocations)
        }
        assert len(users) >= 2, fault


def test_speed_makes_shorter_jobs_and_more_of_them() -> None:
    fast = [e.job for e in _run(hours=1, speed=8) if e.what == "start"]
    slow = [e.job for e in _run(hours=1) if e.what == "start"]
    assert len(fast) > 3 * len(slow)
    with pytest.raises(ValueError, match="speed must be positive"):
        DemoSite(seed=1, start=START, speed=0)


def test_later_starts_get_higher_job_ids() -> None:
    site = DemoSite(seed=1, start=START + HOURS * 3600)
    assert site.next_job_id > max(j.job_id for j in JOBS)
    assert DemoSite(seed=1, start=START, first_id=2**31).next_job_id == 2**31
