from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from clustercockpit.clusters.catalog import DocumentCatalog, sub_cluster_of
from clustercockpit.clusters.documents import cluster_document, global_metrics, read_cluster_document
from clustercockpit.clusters.model import MetricScope, Unit
from clustercockpit.errors import ConfigurationError, NotFoundError, UnavailableError

_PLACES = [Path(__file__).parents[2] / up / "shared/data/upstream/archive" for up in ("..", "../..")]
UPSTREAM = next((place for place in _PLACES if place.exists()), _PLACES[0])

DOCUMENT: dict[str, Any] = {
    "name": "demo",
    "metricConfig": [
        {
            "name": "cpu_load",
            "unit": {"base": ""},
            "scope": "node",
            "aggregation": "avg",
            "timestep": 60,
            "peak": 64,
            "normal": 32,
            "caution": 8,
            "alert": 1,
            "footprint": "avg",
            "subClusters": [{"name": "gpu", "peak": 128, "normal": 64, "caution": 16, "alert": 2}],
        },
        {
            "name": "mem_power",
            "unit": {"base": "W"},
            "scope": "socket",
            "aggregation": "sum",
            "timestep": 30,
            "peak": 100,
            "normal": 40.5,
            "caution": 20,
            "alert": 10,
            "energy": "power",
            "restrict": True,
            "subClusters": [{"name": "gpu", "remove": True}],
        },
    ],
    "subClusters": [
        {
            "name": "cpu",
            "nodes": "*",
            "processorType": "Any",
            "socketsPerNode": 2,
            "coresPerSocket": 2,
            "threadsPerCore": 1,
            "flopRateScalar": {"unit": {"base": "F/s", "prefix": "G"}, "value": 14},
            "flopRateSimd": {"unit": {"base": "F/s", "prefix": "G"}, "value": 112},
            "memoryBandwidth": {"unit": {"base": "B/s", "prefix": "G"}, "value": 24},
            "topology": {
                "node": [0, 1, 2, 3],
                "socket": [[0, 1], [2, 3]],
                "memoryDomain": [[0, 1, 2, 3]],
                "core": [[0], [1], [2], [3]],
            },
            "numberOfNodes": 7,
        },
        {
            "name": "gpu",
            "nodes": "g[01-04]",
            "processorType": "Other",
            "socketsPerNode": 1,
            "coresPerSocket": 1,
            "threadsPerCore": 1,
            "flopRateScalar": {"unit": {"base": "F/s"}, "value": 1},
            "flopRateSimd": {"unit": {"base": "F/s"}, "value": 1},
            "memoryBandwidth": {"unit": {"base": "B/s"}, "value": 1},
            "topology": {
                "node": [0],
                "socket": [[0]],
                "memoryDomain": [[0]],
                "die": [],
                "core": [[0]],
                "accelerators": [{"id": "00000000:0E:00.0", "type": "Nvidia GPU", "model": "A100"}],
            },
        },
    ],
}


def _document(**at: Any) -> bytes:
    """The demo document with changes, keys as `metricConfig__0__timestep`."""
    document = copy.deepcopy(DOCUMENT)
    for path, value in at.items():
        *steps, last = path.split("__")
        place: Any = document
        for step in steps:
            place = place[int(step) if step.isdigit() else step]
        place[int(last) if last.isdigit() else last] = value
    return json.dumps(document).encode()


def test_overrides_replace_all_and_removed_metrics_are_gone() -> None:
    cluster = read_cluster_document(_document(), "demo").cluster
    cpu, gpu = cluster.sub_clusters
    assert [metric.name for metric in cpu.metric_config] == ["cpu_load", "mem_power"]
    assert (cpu.footprint, cpu.energy_footprint) == (("cpu_load",), ("mem_power",))
    assert [metric.name for metric in gpu.metric_config] == ["cpu_load"]
    load = gpu.metric("cpu_load")
    assert load is not None
    assert (load.peak, load.alert, load.footprint, load.timestep) == (128, 2, "", 60)
    assert (gpu.footprint, gpu.energy_footprint) == ((), ())
    power = cpu.metric("mem_power")
    assert power is not None
    assert power.unit == Unit("W")
    assert power.scope is MetricScope.SOCKET


def test_an_override_that_switches_a_footprint_off_is_warned_of() -> None:
    warnings = read_cluster_document(_document(), "demo").warnings
    assert warnings == (
        "demo/cluster.json: metricConfig[0].subClusters[0]: replaces all of 'cpu_load': its footprint is off "
        "on 'gpu' unless repeated there",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "demo/cluster.json: name: must be letters.*got ''"),
        ({"name": "../x"}, "got '../x'"),
        ({"metricConfig": []}, "metricConfig: must list at least one metric"),
        ({"subClusters": None}, "subClusters: must list at least one"),
        ({"metricConfig__1__name": ""}, r"metricConfig\[1\].name: must not be empty"),
        ({"metricConfig__0__timestep": 0}, r"metricConfig\[0\].timestep: must be at least 1 .*got 0"),
        ({"metricConfig__0__timestep": 1.5}, r"metricConfig\[0\].timestep: expected a whole number"),
        ({"metricConfig__0__scope": "rack"}, r"metricConfig\[0\].scope: must be one of node, .*got 'rack'"),
        ({"subClusters__1__nodes": "g[1-04]"}, r"subClusters\[1\].nodes: node list 'g\[1-04\]'"),
        ({"subClusters__1__name": "cpu"}, r"subClusters\[1\].name: 'cpu' is there twice"),
    ],
)
def test_what_is_wrong_is_named_with_document_field_and_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_cluster_document(_document(**change), "demo")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metricConfig__0__footprint": "sum"}, "footprint: must be avg, min or max, got 'sum'"),
        ({"metricConfig__0__subClusters__0__name": "nope"}, "no subcluster 'nope'"),
        ({"name": "other"}, "'other' differs from its folder 'demo'"),
        ({"metricConfig__1__name": "cpu_load"}, "'cpu_load' is there twice; the first one counts"),
    ],
)
def test_what_is_odd_is_warned_of(change: dict[str, Any], message: str) -> None:
    assert any(message in warning for warning in read_cluster_document(_document(**change), "demo").warnings)


def test_an_empty_scope_is_node() -> None:
    cluster = read_cluster_document(_document(metricConfig__1__scope=""), "demo").cluster
    assert cluster.metric_config[1].scope is MetricScope.NODE


def test_the_written_form_has_the_reference_s_members_in_order() -> None:
    document = cluster_document(read_cluster_document(_document(), "demo").cluster)
    assert list(document) == ["name", "metricConfig", "subClusters"]
    load, power = document["metricConfig"]
    assert list(load) == [
        *(
            "name",
            "unit",
            "peak",
            "normal",
            "caution",
            "alert",
            "energy",
            "scope",
            "aggregation",
            "footprint",
        ),
        *("subClusters", "timestep", "restrict", "lowerIsBetter"),
    ]
    assert list(load["subClusters"][0]) == [
        *(
            "name",
            "unit",
            "peak",
            "normal",
            "caution",
            "alert",
            "energy",
            "lowerIsBetter",
            "restrict",
            "remove",
        )
    ]
    assert json.dumps(power["normal"]) + json.dumps(power["peak"]) == "40.5100"
    cpu, gpu = document["subClusters"]
    assert list(cpu) == [
        *("name", "nodes", "processorType", "topology", "flopRateScalar", "flopRateSimd", "memoryBandwidth"),
        *(
            "metricConfig",
            "footprint",
            "energyFootprint",
            "socketsPerNode",
            "coresPerSocket",
            "threadsPerCore",
        ),
    ]
    assert list(cpu["topology"]) == ["node", "socket", "memoryDomain", "core"]
    assert list(gpu["topology"]) == ["node", "socket", "memoryDomain", "core", "accelerators"]
    assert "footprint" not in gpu
    assert "subClusters" not in cpu["metricConfig"][0]


def test_a_document_written_back_reads_as_the_same_cluster() -> None:
    cluster = read_cluster_document(_document(), "demo").cluster
    again = read_cluster_document(json.dumps(cluster_document(cluster)).encode(), "demo").cluster
    assert again.metric_config == cluster.metric_config
    assert [sub.metric_config for sub in again.sub_clusters] == [
        sub.metric_config for sub in cluster.sub_clusters
    ]


def test_hosts_are_assigned_by_list_then_by_the_first_star() -> None:
    cluster = read_cluster_document(_document(), "demo").cluster
    for host, expected in (("g01", "gpu"), ("whatever", "cpu")):
        found = sub_cluster_of(cluster, host)
        assert found is not None
        assert found.name == expected
    closed = read_cluster_document(_document(subClusters__0__nodes="c[1-2]"), "demo").cluster
    assert sub_cluster_of(closed, "whatever") is None


def test_global_metrics_join_clusters_and_can_leave_restricted_ones_out() -> None:
    cluster = read_cluster_document(_document(), "demo").cluster
    load, power = global_metrics([cluster])
    assert [support.sub_clusters for support in load.availability] == [("cpu", "gpu")]
    assert (load.footprint, load.restrict, power.restrict) == ("avg", False, True)
    assert [metric.name for metric in global_metrics([cluster], unrestricted_only=True)] == ["cpu_load"]


class _Documents:
    def __init__(self, **documents: bytes) -> None:
        self.documents = documents
        self.available = True
        self.reads = 0

    def cluster_names(self) -> list[str]:
        if not self.available:
            raise UnavailableError("no bucket")
        return list(self.documents)

    def read_cluster_document(self, cluster: str) -> tuple[bytes, str]:
        self.reads += 1
        content = self.documents[cluster]
        if not content:
            raise NotFoundError(cluster)
        return content, str(hash(content))


def test_the_catalog_follows_documents_and_keeps_the_last_good_version() -> None:
    source, now = _Documents(demo=_document(), stray=b""), [0.0]
    catalog = DocumentCatalog(source, clock=lambda: now[0])
    assert [cluster.name for cluster in catalog.clusters()] == ["demo"]
    assert catalog.cluster("nope") is None
    reads = source.reads
    catalog.clusters()
    assert source.reads == reads

    source.documents["demo"] = b"{"
    now[0] = 61
    assert [cluster.name for cluster in catalog.clusters()] == ["demo"]
    assert "unexpected EOF" in catalog.problems()["demo"]

    source.documents["demo"] = _document(metricConfig__0__timestep=10)
    now[0] = 122
    cluster = catalog.cluster("demo")
    assert cluster is not None
    assert cluster.metric_config[0].timestep == 10
    assert catalog.problems() == {}

    source.available = False
    now[0] = 183
    assert catalog.cluster("demo") is not None
    source.available = True
    source.documents.pop("demo")
    now[0] = 244
    assert catalog.clusters() == []


def test_one_bad_document_leaves_the_others_alone() -> None:
    catalog = DocumentCatalog(_Documents(bad=_document(metricConfig=[]), demo=_document()))
    assert [cluster.name for cluster in catalog.clusters()] == ["demo"]
    assert "bad" in catalog.problems()


@pytest.mark.skipif(not UPSTREAM.exists(), reason="the reference's test data is not here")
def test_the_reference_s_clusters_load() -> None:
    clusters = {
        name: read_cluster_document((UPSTREAM / name / "cluster.json").read_bytes(), name).cluster
        for name in ("alex", "emmy", "fritz")
    }
    emmy, fritz, alex = clusters["emmy"], clusters["fritz"], clusters["alex"]
    icelake = emmy.sub_cluster("icelake")
    assert icelake is not None
    load = icelake.metric("cpu_load")
    assert load is not None
    assert (load.peak, load.alert) == (32, 1)
    haswell = emmy.sub_cluster("haswell")
    assert haswell is not None
    assert haswell.metric("nfs4_read") is None
    spr2tb = fritz.sub_cluster("spr2tb")
    assert spr2tb is not None
    assert spr2tb.metric("flops_any") is None
    assert spr2tb.footprint == ("cpu_load", "mem_used")
    assert spr2tb.energy_footprint == ("cpu_power", "mem_power")
    overlap = sub_cluster_of(fritz, "f2188")
    assert overlap is not None
    assert overlap.name == "spr1tb"
    gpu = sub_cluster_of(alex, "a0603")
    assert gpu is not None
    assert gpu.topology.accelerators is not None
    assert len(gpu.topology.accelerators) == 8
