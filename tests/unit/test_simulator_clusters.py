"""The demo clusters' documents are sane: a site's administrator would accept them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.clusters import documents, load

DOCUMENTS = {name: json.loads(text) for name, text in documents().items()}
SCOPES = {"node", "socket", "memoryDomain", "core", "hwthread", "accelerator"}


def _metrics() -> list[Any]:
    return [
        pytest.param(metric, id=f"{name}-{metric['name']}")
        for name, document in DOCUMENTS.items()
        for metric in document["metricConfig"]
    ]


@pytest.mark.parametrize("metric", _metrics())
def test_thresholds_have_one_direction_and_stay_below_the_peak(metric: dict[str, Any]) -> None:
    for m in (metric, *metric.get("subClusters", ())):
        peak, normal, caution, alert = (m[k] for k in ("peak", "normal", "caution", "alert"))
        if m.get("lowerIsBetter"):
            assert normal < caution < alert <= peak
        else:
            assert alert < caution < normal <= peak


@pytest.mark.parametrize("metric", _metrics())
def test_metrics_are_sampled_on_the_two_grids_and_summed_or_averaged(metric: dict[str, Any]) -> None:
    assert metric["timestep"] in (15, 60)
    assert metric["aggregation"] in ("sum", "avg")
    assert metric["scope"] in SCOPES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_topology_groups_partition_the_threads(name: str) -> None:
    for sub in DOCUMENTS[name]["subClusters"]:
        topology = sub["topology"]
        cores = sub["socketsPerNode"] * sub["coresPerSocket"]
        assert len(topology["core"]) == cores
        assert len(topology["node"]) == cores * sub["threadsPerCore"]
        for groups in ("socket", "memoryDomain", "core"):
            threads = sorted(t for group in topology[groups] for t in group)
            assert threads == topology["node"], groups


def test_one_metric_has_one_interval_and_one_scope_on_both_clusters() -> None:
    seen: dict[str, tuple[int, str]] = {}
    for document in DOCUMENTS.values():
        for metric in document["metricConfig"]:
            key = (metric["timestep"], metric["scope"])
            assert seen.setdefault(metric["name"], key) == key, metric["name"]


def test_the_clusters_are_those_promised() -> None:
    kestrel, heron = load("kestrel"), load("heron")
    assert len(kestrel.hosts) == 24
    assert kestrel.shape("kst024").memory == 1024
    assert kestrel.shape("kst001").threads == 72
    assert len(heron.hosts) == 6
    assert len(heron.shape("hrn01").accelerators) == 8
    assert heron.shape("hrn01").threads_per_core == 2


def test_a_site_gets_footprints_and_energy() -> None:
    for document in DOCUMENTS.values():
        assert sum("footprint" in m for m in document["metricConfig"]) >= 3
        assert sum(m.get("energy") == "power" for m in document["metricConfig"]) >= 2
    with pytest.raises(KeyError, match="kestrel, heron"):
        load("swift")
