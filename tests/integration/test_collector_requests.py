"""A metric collector as sites run it, against the store: what it sends is taken, stored, and found again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.clients.metric_collector import EVENT_LINE, LOG_LINE, MetricCollector, Sample, interval
from tests.identities import bearer
from tests.store_process import install_demo_clusters, running_store

CLUSTER, HOST = "kestrel", "kst001"
TOKEN = bearer("api")["Authorization"].removeprefix("Bearer ")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("store")
    install_demo_clusters(folder / "archive")
    with running_store(folder, f"{folder}/archive/") as url, httpx.Client(base_url=url, timeout=5) as client:
        yield client


def _collector(
    store: httpx.Client, host: str = HOST, url: str = "/api/write?cluster=kestrel"
) -> MetricCollector:
    return MetricCollector(store, url, TOKEN, CLUSTER, host)


def _series(store: httpx.Client, query: dict[str, Any], since: int, until: int) -> dict[str, Any]:
    body = {"cluster": CLUSTER, "from": since, "to": until, "with-data": True, "with-stats": True,
            "queries": [query]}  # fmt: skip
    answer = store.request("POST", "/api/query", json=body, headers=bearer("api"))
    assert answer.status_code == 200, answer.text
    (series,) = answer.json()["results"][0]
    return dict(series)


def _values(series: dict[str, Any]) -> list[float]:
    return [v for v in series["data"] if v is not None]


def test_minutes_of_a_whole_node_are_taken_and_found(store: httpx.Client) -> None:
    now = int(time.time())
    start = now - 600
    collector = _collector(store)
    for tick in range(start, now, 60):
        assert collector.flush(interval(tick)), collector.last_answer
        assert collector.last_answer is not None
        assert collector.last_answer.content == b"", "unknown metrics are no reason to say anything"
    assert collector.dropped == 0
    load = _series(store, {"metric": "cpu_load", "host": HOST}, start - 60, now)
    assert set(_values(load)) == {71.98}
    thread = {"metric": "flops_any", "host": HOST, "type": "hwthread", "type-ids": ["71"]}
    assert _values(_series(store, thread, start - 60, now)) == [9.25 + 71 / 64] * 10
    whole = _series(store, {"metric": "flops_any", "host": HOST, "aggreg": True}, start - 60, now)
    assert _values(whole) == [pytest.approx(sum(9.25 + t / 64 for t in range(72)))] * 10
    received = _series(store, {"metric": "ib_recv", "host": HOST}, start - 60, now)
    assert set(_values(received)) == {1234567.5}, "tags no store knows do not disturb"
    domain = {"metric": "mem_bw", "host": HOST, "type": "memoryDomain", "type-ids": ["3"]}
    assert set(_values(_series(store, domain, start - 60, now))) == {42.125}


def test_events_and_logs_among_the_metrics_are_passed_over(store: httpx.Client) -> None:
    now = int(time.time())
    good = Sample("cpu_load", 3.5, now).line(CLUSTER, "kst002")
    assert _collector(store, "kst002").post((EVENT_LINE + good + LOG_LINE).encode())
    assert _values(_series(store, {"metric": "cpu_load", "host": "kst002"}, now - 60, now + 60)) == [3.5]


def test_a_broken_line_costs_no_neighbour(store: httpx.Client) -> None:
    now = int(time.time())
    lines = [Sample("cpu_load", float(n), now - 60 + 15 * n).line(CLUSTER, "kst003") for n in range(3)]
    lines.insert(1, "cpu_load,cluster=kestrel,hostname=kst003,type=node value= 17\n")
    collector = _collector(store, "kst003")
    assert collector.post("".join(lines).encode())
    assert collector.last_answer is not None
    assert collector.last_answer.content, "but it is said"
    found = _series(store, {"metric": "cpu_load", "host": "kst003"}, now - 120, now + 60)
    assert _values(found) == [0, 1, 2]


def test_the_load_generators_way_works_too(store: httpx.Client) -> None:
    # A trailing slash, curl's form content type, and tens of thousands of lines in one body.
    now = int(time.time())
    lines = [
        Sample("flops_any", 1.5, now, {"type": "hwthread", "type-id": str(t)}).line(CLUSTER, f"kst{h:03d}")
        for h in range(100, 830)
        for t in range(72)
    ]
    answer = store.post(
        "/api/write/?cluster=kestrel",
        content="".join(lines).encode(),
        headers={**bearer("api"), "Content-Type": "application/x-www-form-urlencoded"},
        timeout=60,  # curl waits; a store that has just started meets 52,560 new series at once
    )
    assert (answer.status_code, answer.content) == (200, b"")
    last = {"metric": "flops_any", "host": "kst829", "aggreg": True}
    assert _values(_series(store, last, now - 60, now + 60)) == [108.0]


def test_a_stranger_is_refused_and_nothing_is_stored(store: httpx.Client) -> None:
    now = int(time.time())
    collector = _collector(store, "kst004")
    collector.token = bearer("user")["Authorization"].removeprefix("Bearer ")
    assert not collector.flush([Sample("cpu_load", 1.0, now)])
    assert collector.last_answer is not None
    assert collector.last_answer.status_code in (401, 403)
    answer = store.post("/api/query", headers=bearer("api"), json={
        "cluster": CLUSTER, "from": now - 60, "to": now + 60, "with-data": True,
        "queries": [{"metric": "cpu_load", "host": "kst004"}],
    })  # fmt: skip
    assert answer.status_code == 200
    found = answer.json()["results"][0]
    assert not [v for series in found for v in series.get("data") or () if v is not None]
