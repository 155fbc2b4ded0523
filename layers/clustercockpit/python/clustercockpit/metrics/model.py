"""Time series of jobs and nodes.

Sample arrays are one-dimensional float64 NumPy arrays; NaN is a gap. Sample i of a series stands for the
time `start + i · timestep`; the reference's interfaces do not carry `start` (it is the job's start).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clustercockpit.clusters.model import MetricScope, Unit

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeriesStatistics:
    """Over the samples of one series at full resolution, gaps left out; NaN where there is none."""

    avg: float
    min: float
    max: float


@dataclass(slots=True)
class Series:
    hostname: str
    data: Samples
    statistics: SeriesStatistics
    id: str | None = None  # hardware id below the node; None at node level


@dataclass(slots=True)
class StatisticsSeries:
    """Per time step over the series of a metric and scope."""

    min: Samples
    median: Samples
    max: Samples
    mean: Samples | None = None
    percentiles: dict[int, Samples] | None = None


@dataclass(slots=True)
class JobMetric:
    unit: Unit
    timestep: int  # seconds between the samples of `series`
    series: list[Series] = field(default_factory=list)
    statistics_series: StatisticsSeries | None = None


# metric name → scope → series
JobData = dict[str, dict[MetricScope, JobMetric]]


@dataclass(slots=True)
class LoadedJobData:
    """What could be read, and what could not and why: one missing metric never fails the rest."""

    data: JobData
    errors: list[str] = field(default_factory=list)
