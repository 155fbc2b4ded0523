"""Figures of a job, with the shipped jobs' published values. `spec/job-archive.md` 12.4 to 12.7 and 23."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from clustercockpit.archive import documents
from clustercockpit.archive.statistics import energy_footprint, footprint, job_statistics, total_energy
from clustercockpit.archive.sweeper import FAILED_AFTER, PENDING_AFTER, due
from clustercockpit.clusters.documents import read_cluster_document
from clustercockpit.clusters.model import MetricConfig, MetricScope, SubCluster, Unit
from clustercockpit.jobs.model import JobStatistics
from clustercockpit.metrics.model import JobMetric, Series, SeriesStatistics

UPSTREAM = Path(__file__).parents[2] / ".." / "shared" / "data" / "upstream"
NAN = math.nan


def node_metric(*figures: tuple[float, float, float]) -> dict[MetricScope, JobMetric]:
    series = [
        Series(f"h{i}", np.zeros(1), SeriesStatistics(avg, low, high))
        for i, (avg, low, high) in enumerate(figures)
    ]
    return {MetricScope.NODE: JobMetric(Unit("old"), 60, series)}


def test_statistics_are_over_the_nodes_of_the_job() -> None:
    data = {
        "load": node_metric((1.006, 0.5, 2), (3, 1, 4), (NAN, NAN, NAN)),
        "silent": node_metric((NAN, NAN, NAN)),
        "deep": {MetricScope.CORE: JobMetric(Unit(), 60, [])},
    }
    result = job_statistics(data, {"load": Unit("new")}, num_nodes=4)
    assert result == {"load": JobStatistics(Unit("new"), avg=1.0, min=0.5, max=4)}
    # Nobody said how many nodes there are: those that have samples
    assert job_statistics(data, {}, num_nodes=0)["load"].avg == 2.01


def metric(name: str, **options: object) -> MetricConfig:
    values = {"unit": Unit("W"), "scope": MetricScope.NODE, "aggregation": "sum", "timestep": 60} | options
    return MetricConfig(name, **values)  # type: ignore[arg-type]


def figures(avg: float) -> JobStatistics:
    return JobStatistics(Unit(), avg=avg, min=avg - 1, max=avg + 1)


def test_the_kind_of_a_footprint_is_the_subcluster_s() -> None:
    main = SubCluster(
        "main", "*",
        metric_config=(metric("a", footprint="avg"), metric("b", footprint="max"), metric("c"),
                       metric("d", footprint="min"), metric("e", footprint="median")),
    )  # fmt: skip
    statistics = {name: figures(5.0) for name in "abce"}
    assert footprint(main, statistics) == {"a_avg": 5.0, "b_max": 6.0}


def test_energy() -> None:
    main = SubCluster(
        "main", "*",
        metric_config=(
            metric("power", energy="power"),
            metric("kilo", energy="power", unit=Unit("W", "K")),
            metric("joule", energy="energy", unit=Unit("J")),
            metric("odd", energy="power", unit=Unit("W", "?")),
            metric("none"),
            metric("silent", energy="power"),
        ),
    )  # fmt: skip
    statistics = {name: figures(300.0) for name in ("power", "kilo", "joule", "odd", "none")}
    energy = energy_footprint(main, statistics, num_nodes=2, duration=1800)
    assert energy == {
        "power": 0.3,
        "kilo": 300.0,
        # 30 samples of 300 J on each of two nodes
        "joule": 0.005,
    }
    assert total_energy(energy) == 300.305


@pytest.mark.parametrize(
    ("age", "first", "expected"),
    [
        (0, PENDING_AFTER, False),
        (899, PENDING_AFTER, False),
        (900, PENDING_AFTER, True),
        (1559, PENDING_AFTER, True),
        (1600, PENDING_AFTER, False),
        (1800, PENDING_AFTER, True),
        (2600, PENDING_AFTER, False),
        (3600, PENDING_AFTER, True),
        (86_400, PENDING_AFTER, False),
        (FAILED_AFTER - 1, FAILED_AFTER, False),
        (FAILED_AFTER, FAILED_AFTER, True),
    ],
)
def test_when_a_job_is_due(age: float, first: float, expected: bool) -> None:
    assert due(age, first) is expected


@pytest.mark.parametrize("offset", [0, 17, 599])
def test_no_job_is_missed_by_a_schedule_of_ten_minutes(offset: int) -> None:
    runs = [age for age in range(offset, 30 * 86_400, 600) if due(age, PENDING_AFTER)]
    # At least once, at most twice per doubling of its age
    assert 12 <= len(runs) <= 24
    assert runs[0] < PENDING_AFTER + 600


@pytest.mark.skipif(not UPSTREAM.is_dir(), reason="the reference's test data is not here")
@pytest.mark.parametrize(
    ("name", "expected", "energy"),
    [
        ("fritzMinimal", {"cpu_load_avg": 31.64, "mem_used_max": 6.226, "flops_any_avg": 45.012,
                          "mem_bw_avg": 4.872}, {"cpu_power": 150.018 * 177}),
        ("fritzError", {"cpu_load_avg": 52.72, "mem_used_max": 27.613, "flops_any_avg": 635.672,
                        "mem_bw_avg": 79.565}, {"cpu_power": 407.767 * 260}),
    ],
)  # fmt: skip
def test_the_shipped_fritz_jobs(name: str, expected: dict[str, float], energy: dict[str, float]) -> None:
    folder = UPSTREAM / "importer"
    job = documents.decode_meta((folder / f"meta-{name}.input").read_bytes())
    small = read_cluster_document((folder / "cluster-fritz.json").read_bytes(), "fritz").cluster
    main = small.sub_cluster("main")
    assert main is not None
    assert job.statistics is not None
    assert footprint(main, job.statistics) == pytest.approx(expected, abs=1e-9)
    assert energy_footprint(main, job.statistics, job.num_nodes, job.duration) == {}
    full = read_cluster_document((UPSTREAM / "archive/fritz/cluster.json").read_bytes(), "fritz").cluster
    sub_cluster = full.sub_cluster("main")
    assert sub_cluster is not None
    found = energy_footprint(sub_cluster, job.statistics, job.num_nodes, job.duration)
    assert set(found) == {"cpu_power", "mem_power"}
    assert found["cpu_power"] == pytest.approx(energy["cpu_power"] / 3.6e6, abs=1e-6)
