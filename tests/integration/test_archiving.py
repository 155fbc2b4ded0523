"""From samples in a real metric store to the archived job: live series, archiver, archived series."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import orjson
import pytest
from moto import mock_aws
from tests.identities import bearer, settings_with_keys

from clustercockpit.archive import archiver
from clustercockpit.clusters.model import MetricScope
from clustercockpit.http.application import application
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource
from clustercockpit.metrics import frame
from clustercockpit.metrics.external_store import ExternalStoreClient
from clustercockpit.metrics.http import series_router
from clustercockpit.metrics.scopes import plan
from clustercockpit.query.application import create_query
from clustercockpit.site import Site

ROOT = Path(__file__).parents[2]
NODE, CORE, SOCKET = MetricScope.NODE, MetricScope.CORE, MetricScope.SOCKET
# The job ran for twenty minutes and ended two minutes ago; its nodes measure at phases of their own
END = int(time.time()) - 120
START = END - 1200


def metric(name: str, scope: str, **options: Any) -> dict[str, Any]:
    return {
        "name": name, "unit": {"base": "W"}, "scope": scope, "aggregation": "sum", "timestep": 60, "peak": 1,
        "normal": 1, "caution": 1, "alert": 1, **options,
    }  # fmt: skip


CLUSTER = {
    "name": "demo",
    "metricConfig": [
        metric("cpu_load", "node", footprint="avg", unit={"base": ""}),
        metric("flops_any", "hwthread", footprint="max"),
        metric("silent", "socket", energy="power"),
    ],
    "subClusters": [
        {
            "name": "main", "nodes": "n[01-02]", "processorType": "x", "socketsPerNode": 1,
            "coresPerSocket": 2, "threadsPerCore": 2, "flopRateScalar": {"unit": {"base": "F/s"}, "value": 1},
            "flopRateSimd": {"unit": {"base": "F/s"}, "value": 1},
            "memoryBandwidth": {"unit": {"base": "B/s"}, "value": 1},
            "topology": {
                "node": [0, 1, 2, 3], "socket": [[0, 1, 2, 3]], "memoryDomain": [[0, 1, 2, 3]],
                "core": [[0, 2], [1, 3]],
            },
        }
    ],
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site of our own: table and queue in this process, archive in a folder, the store a process."""
    for folder in ("archive", "data"):
        (tmp_path / folder).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        queue = boto3.client("sqs", region_name="eu-central-1").create_queue(QueueName="archive")
        made = Site(
            settings_with_keys(
                archive_bucket=str(tmp_path / "archive"),
                data_bucket=str(tmp_path / "data"),
                metric_store_url=f"http://{address}",
                archive_queue_url=queue["QueueUrl"],
            )
        )
        made.table.create()
        made.archive.write_cluster_document("demo", orjson.dumps(CLUSTER))
        rooms = ["layers/clustercockpit/python", "containers/metric-store"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / room) for room in rooms),
            "CC_METRIC_STORE_ADDRESS": address,
            "CC_ARCHIVE_BUCKET": str(tmp_path / "archive"),
            "CC_DATA_BUCKET": str(tmp_path / "store"),
            "JWT_PUBLIC_KEY": made.settings.jwt_public_key,
        }
        process = subprocess.Popen([sys.executable, "-m", "cc_metric_store"], env=environment)
        try:
            _wait_until_ready(f"http://{address}", process)
            yield made
        finally:
            store = made.__dict__.get("metric_store")
            if store is not None:
                store.close()
            process.terminate()
            process.wait(30)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        assert process.poll() is None, "the store ended"
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the store did not become ready")


def ingest(site: Site) -> None:
    """Minute i of the job: load i on the first node, 2 i on the second, which is silent for five minutes;
    every hardware thread t of both does i · (t + 1)."""
    lines = []
    for host, phase, scale in (("n01", 7, 1), ("n02", 41, 2)):
        for i in range(20):
            at = START + phase + 60 * i
            if host == "n01" or i >= 5:
                lines.append(f"cpu_load,cluster=demo,hostname={host},type=node value={scale * i} {at}")
            lines += [
                f"flops_any,cluster=demo,hostname={host},type=hwthread,type-id={t} value={i * (t + 1)} {at}"
                for t in range(4)
            ]
    sent = httpx.post(
        f"{site.settings.metric_store_url}/api/write",
        content="\n".join(lines) + "\n",
        headers={"Authorization": f"Bearer {site.service_token()}"},
    )
    assert sent.status_code == 200, sent.text


def stopped_job(site: Site) -> Job:
    started = site.jobs.start(
        Job(
            4711, "demo", "anna", START, sub_cluster="main", num_nodes=2,
            resources=(Resource("n01"), Resource("n02", hwthreads=(0, 2))),
        )
    )  # fmt: skip
    return site.jobs.stop(started.id, state=JobState.COMPLETED, stop_time=END)


async def fetch(site: Site, job: Job, query: str = "") -> frame.Frame:
    transport = httpx.ASGITransport(application(site, [series_router(site)]))
    async with httpx.AsyncClient(transport=transport, base_url="https://hub") as client:
        answer = await client.get(
            f"/frontend/job/{job.id}/series{query}", headers=bearer("user", username="anna")
        )
    assert answer.status_code == 200, answer.text
    return frame.decode(answer.content)


async def test_a_job_from_its_samples_to_the_archive(site: Site) -> None:
    ingest(site)
    job = stopped_job(site)
    minutes = np.arange(20.0)

    # Live, for the reference's interfaces: on the job's axis, whatever phase a node measures at
    live = site.metrics.load(job, None, [NODE, CORE], 0)
    first, second = live.data["cpu_load"][NODE].series
    np.testing.assert_array_equal(first.data, minutes)
    np.testing.assert_array_equal(second.data, np.where(minutes < 5, np.nan, 2 * minutes))
    flops = live.data["flops_any"]
    assert [(s.hostname, s.id) for s in flops[CORE].series] == [("n01", "0"), ("n01", "1"), ("n02", "0")]
    np.testing.assert_array_equal(flops[NODE].series[0].data, 10 * minutes)
    # Of the second node the job owns the threads of one core
    np.testing.assert_array_equal(flops[NODE].series[1].data, 4 * minutes)
    assert any("silent" in error for error in live.errors)

    # Live, for the browser: true times, extremes
    shown = await fetch(site, job, "?metric=cpu_load&resolution=300")
    series = shown.metrics[0].series[0]
    assert (series.grid.step, shown.resolution) == (300, 300)
    middles = series.grid.start + np.arange(len(series.mean)) * 300
    assert series.min is not None
    assert series.max is not None
    for time_, mean, low, high in zip(middles, series.mean, series.min, series.max, strict=True):
        inside = [i for i in range(20) if abs(START + 7 + 60 * i - time_) <= 120]
        assert (mean, low, high) == (np.mean(inside), min(inside), max(inside))
    later = await fetch(site, job, f"?metric=cpu_load&resolution=300&since={shown.next}")
    tail = later.metrics[0].series[0]
    assert 0 < len(tail.mean) < len(series.mean)
    np.testing.assert_array_equal(tail.mean, series.mean[-len(tail.mean) :])

    archiver.handle(site, job.id)

    stored = site.jobs.get(job.id)
    assert stored is not None
    meta = site.archive.read_meta("demo", 4711, START)
    assert meta.statistics is not None
    # The mean of n01's 9.5 and n02's 24 (over the minutes it reported)
    assert meta.statistics["cpu_load"].avg == 16.75
    assert (meta.statistics["cpu_load"].min, meta.statistics["cpu_load"].max) == (0, 38)
    assert stored.footprint == meta.footprint == {"cpu_load_avg": 16.75, "flops_any_max": 190}

    archived = site.metrics.load(stored, None, [NODE, CORE], 0)
    assert set(archived.data) == {"cpu_load", "flops_any"}
    for name, scopes in archived.data.items():
        for scope, stored_metric in scopes.items():
            for before, after in zip(live.data[name][scope].series, stored_metric.series, strict=True):
                assert (before.hostname, before.id) == (after.hostname, after.id)
                np.testing.assert_array_equal(before.data, after.data)
    kept = await fetch(site, stored, "?metric=cpu_load")
    np.testing.assert_array_equal(kept.metrics[0].series[0].mean, minutes)


async def test_series_over_rest_live_and_archived(site: Site) -> None:
    """`GET /api/jobs/{id}?all-metrics=true` and `POST /api/jobs/{id}` with the real loader under them."""
    ingest(site)
    job = stopped_job(site)
    load = [float(i) for i in range(20)]
    transport = httpx.ASGITransport(create_query(site), client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="https://hub", headers=bearer("api")) as api:

        async def check() -> None:
            answer = await api.get(f"/api/jobs/{job.id}?all-metrics=true")
            assert answer.status_code == 200, answer.text
            document = answer.json()
            assert document["Meta"]["jobId"] == 4711
            # The silent metric is missing, the others do not mind
            assert set(document["Data"]) == {"cpu_load", "flops_any"}
            node = document["Data"]["cpu_load"]["node"]
            assert (node["timestep"], node["unit"]) == (60, {"base": ""})
            assert [series["hostname"] for series in node["series"]] == ["n01", "n02"]
            assert node["series"][0]["data"] == load
            assert node["series"][1]["data"] == [None] * 5 + [2 * value for value in load[5:]]
            assert node["series"][0]["statistics"] == {"avg": 9.5, "min": 0, "max": 19}

            body = orjson.dumps(["flops_any", "silent"])
            answer = await api.post(f"/api/jobs/{job.id}", content=body)
            assert answer.status_code == 200, answer.text
            (named,) = answer.json()["Data"]
            assert (named["name"], named["scope"]) == ("flops_any", "node")
            first, second = named["metric"]["series"]
            assert first["data"] == [10 * value for value in load]
            # Of the second node the job owns the threads of one core
            assert second["data"] == [4 * value for value in load]

        await check()
        archiver.handle(site, job.id)
        stored = site.jobs.get(job.id)
        assert stored is not None
        assert stored.monitoring_status is MonitoringStatus.ARCHIVED
        await check()


def test_the_json_interface_answers_the_same(site: Site) -> None:
    """Our store asked as if it were an external cc-metric-store."""
    ingest(site)
    cluster = site.clusters.cluster("demo")
    assert cluster is not None
    main = cluster.sub_clusters[0]
    job = Job(1, "demo", "u", START, resources=(Resource("n01"), Resource("n02", hwthreads=(0, 2))))
    wanted = [(each, [NODE, CORE, SOCKET]) for each in main.metric_config]
    queries = plan(job, main, wanted).queries
    url = site.settings.metric_store_url
    client = ExternalStoreClient(url, site.service_token())
    external = client.frame("demo", queries, START, END, 0)
    client.close()
    own = site.metric_store.frame("demo", queries, START, END, 0)
    framed = [m for m in own.metrics if m.series]
    assert [(m.name, m.scope) for m in external.metrics] == [(m.name, m.scope) for m in framed]
    for left, right in zip(external.metrics, framed, strict=True):
        assert [(s.hostname, s.id, s.grid.start) for s in left.series] == [
            (s.hostname, s.id, s.grid.start) for s in right.series
        ]
        for one, other in zip(left.series, right.series, strict=True):
            np.testing.assert_allclose(one.mean, other.mean, atol=0.0005)
