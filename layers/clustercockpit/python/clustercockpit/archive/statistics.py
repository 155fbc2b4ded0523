"""Figures of a whole job, made of its series: statistics, footprint, energy.

`spec/workers-and-data-model.md` chapter 4. The archiver and the import use the same formulas, and the kind
of a footprint is that of the job's subcluster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from clustercockpit.clusters.model import MetricScope, SubCluster, Unit
from clustercockpit.jobs.model import JobStatistics
from clustercockpit.metrics.model import JobData
from clustercockpit.metrics.statistics_series import rounded

_SECONDS_PER_HOUR = 3600
_JOULES_PER_KWH = 3.6e6
# Watt-hours to six digits: what two decimals of a kWh cannot say of a small job
_ENERGY_DIGITS = 6

# Ambiguous names mean what the reference reads: K and k kilo, m milli
_PREFIXES = {
    "": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "K": 1e3, "k": 1e3, "M": 1e6, "G": 1e9, "g": 1e9, "T": 1e12,
    "t": 1e12, "P": 1e15, "p": 1e15, "E": 1e18, "e": 1e18, "Z": 1e21, "z": 1e21, "Y": 1e24, "y": 1e24,
    "Ki": 1024.0, "Mi": 1024.0**2, "Gi": 1024.0**3, "Ti": 1024.0**4, "Pi": 1024.0**5, "Ei": 1024.0**6,
    "Zi": 1024.0**7, "Yi": 1024.0**8,
}  # fmt: skip


def job_statistics(data: JobData, units: Mapping[str, Unit], num_nodes: int) -> dict[str, JobStatistics]:
    """Per metric with series at node scope: avg = Σ of the nodes' averages / nodes of the job, min and max
    over the nodes, all rounded to two digits as the series' own statistics are before.

    A node without samples adds nothing to the sum and counts in the divisor, as in the reference. A metric
    without any sample has no statistics.
    """
    result = {}
    for name, scopes in data.items():
        metric = scopes.get(MetricScope.NODE)
        if metric is None:
            continue
        figures = [
            (rounded(each.statistics.avg), rounded(each.statistics.min), rounded(each.statistics.max))
            for each in metric.series
            if math.isfinite(each.statistics.avg)
        ]
        if not figures:
            continue
        averages, minima, maxima = zip(*figures, strict=True)
        result[name] = JobStatistics(
            unit=units.get(name, metric.unit),
            avg=rounded(math.fsum(averages) / (num_nodes if num_nodes > 0 else len(figures))),
            min=min(minima),
            max=max(maxima),
        )
    return result


def footprint(sub_cluster: SubCluster, statistics: Mapping[str, JobStatistics]) -> dict[str, float]:
    """`<metric>_<avg|min|max>` → value, for the footprint metrics of the subcluster that have statistics."""
    values = {}
    for metric in sub_cluster.metric_config:
        figures = statistics.get(metric.name)
        if figures is not None and metric.footprint in ("avg", "min", "max"):
            values[f"{metric.name}_{metric.footprint}"] = float(getattr(figures, metric.footprint))
    return values


def energy_footprint(
    sub_cluster: SubCluster, statistics: Mapping[str, JobStatistics], num_nodes: int, duration: int
) -> dict[str, float]:
    """kWh per energy metric of the subcluster that has statistics. `duration` in seconds.

    `power` (watt): mean per node · nodes · hours. `energy` (joule spent in each time step): mean per sample
    and node · nodes · samples. The unit's prefix counts.
    """
    values = {}
    for metric in sub_cluster.metric_config:
        figures = statistics.get(metric.name)
        factor = _PREFIXES.get(metric.unit.prefix)
        if figures is None or factor is None:
            continue
        mean = figures.avg * factor * num_nodes
        if metric.energy == "power":
            values[metric.name] = round(mean * duration / _SECONDS_PER_HOUR / 1000, _ENERGY_DIGITS)
        elif metric.energy == "energy":
            values[metric.name] = round(mean * duration / metric.timestep / _JOULES_PER_KWH, _ENERGY_DIGITS)
    return values


def total_energy(energy: Mapping[str, float]) -> float:
    """kWh over all energy metrics."""
    return round(math.fsum(energy.values()), _ENERGY_DIGITS)
