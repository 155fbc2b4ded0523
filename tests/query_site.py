"""An installation in this process for tests of the query application: an emulated table, directories for
buckets, two clusters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from moto import mock_aws
from tests.identities import settings_with_keys

from clustercockpit.jobs.model import Job, Resource
from clustercockpit.query.application import create_query
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.table import Table


def cluster_document(name: str) -> bytes:
    """Two subclusters of two nodes, three metrics; `flops_any` is restricted, `acc_power` only on `gpu`."""

    def metric(metric: str, **more: object) -> dict[str, object]:
        return {
            "name": metric,
            "unit": {"base": "F/s", "prefix": "G"},
            "scope": "hwthread",
            "aggregation": "sum",
            "timestep": 60,
            "peak": 100,
            "normal": 50,
            "caution": 20,
            "alert": 10,
            "subClusters": [],
            **more,
        }

    def sub_cluster(sub_cluster: str, nodes: str, **topology: object) -> dict[str, object]:
        return {
            "name": sub_cluster,
            "nodes": nodes,
            "processorType": "Test",
            "socketsPerNode": 1,
            "coresPerSocket": 2,
            "threadsPerCore": 1,
            "flopRateScalar": {"unit": {"base": "F/s", "prefix": "G"}, "value": 10},
            "flopRateSimd": {"unit": {"base": "F/s", "prefix": "G"}, "value": 80},
            "memoryBandwidth": {"unit": {"base": "B/s", "prefix": "G"}, "value": 20},
            "topology": {
                "node": [0, 1],
                "socket": [[0, 1]],
                "memoryDomain": [[0, 1]],
                "core": [[0], [1]],
                **topology,
            },
        }

    accelerators = [{"id": "00000000:49:00.0", "type": "Test GPU", "model": "T1"}]
    return orjson.dumps(
        {
            "name": name,
            "metricConfig": [
                metric("cpu_load", scope="node", footprint="avg", unit={"base": ""}, aggregation="avg"),
                metric("flops_any", restrict=True),
                metric(
                    "acc_power",
                    scope="accelerator",
                    energy="power",
                    unit={"base": "W"},
                    subClusters=[{"name": "main", "remove": True}],
                ),
            ],
            "subClusters": [
                sub_cluster("main", f"{name}[01-02]"),
                sub_cluster("gpu", f"{name}[03-04]", accelerators=accelerators),
            ],
        }
    )


@contextmanager
def query_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    for name in ("alex", "fritz"):
        (folder / "archive" / name).mkdir(parents=True)
        (folder / "archive" / name / "cluster.json").write_bytes(cluster_document(name))
    (folder / "archive" / "version.txt").write_text("3")
    (folder / "data").mkdir()
    with mock_aws():
        settings = settings_with_keys(
            table_name="cc-query", archive_bucket=f"{folder}/archive", data_bucket=f"{folder}/data"
        )
        Table(settings).create()
        yield Site(settings)


def query_client(site: Site) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_query(site), client=("192.0.2.1", 1))
    return httpx.AsyncClient(transport=transport, base_url="https://cc.example")


def a_job(job_id: int, **fields: object) -> Job:
    """A job of ada's, just started on alex01."""
    values: dict[str, object] = {
        "cluster": "alex",
        "sub_cluster": "main",
        "user": "ada",
        "project": "p1",
        "partition": "main",
        "start_time": int(time.time()) - 1000,
        "num_nodes": 1,
        "num_hwthreads": 2,
        "walltime": 3600,
        "resources": (Resource("alex01"),),
        **fields,
    }
    return Job(job_id=job_id, **values)  # type: ignore[arg-type]
