"""Figures over samples: of one series over time, and of many series per step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clustercockpit.metrics.model import Samples, SeriesStatistics, StatisticsSeries

# From this many series on, the reference adds a statistics series to a metric and scope.
MINIMUM_SERIES = 8
# Fewer values than this at a step say nothing.
_MINIMUM_VALUES = 3


def statistics_of(samples: Samples) -> SeriesStatistics:
    """Mean and extremes of the samples that are there; NaN where there is none."""
    valid = samples[np.isfinite(samples)]
    if not len(valid):
        return SeriesStatistics(math.nan, math.nan, math.nan)
    return SeriesStatistics(avg=float(valid.mean()), min=float(valid.min()), max=float(valid.max()))


def statistics_series(series: Sequence[Samples]) -> StatisticsSeries:
    """Minimum, median and maximum per step over series that share their time grid.

    As long as the longest. A step at which fewer than three series have a value is NaN. Missing values count
    in nothing (the reference counts them as 0 in the median). `spec/job-archive.md` 8.6.2.
    """
    length = max((len(samples) for samples in series), default=0)
    table = np.full((len(series), length), np.nan)
    for row, samples in zip(table, series, strict=True):
        row[: len(samples)] = samples
    enough = (~np.isnan(table)).sum(axis=0) >= _MINIMUM_VALUES
    result = np.full((3, length), np.nan)
    if enough.any():
        columns = table[:, enough]
        result[0, enough] = np.nanmin(columns, axis=0)
        result[1, enough] = np.nanmedian(columns, axis=0)
        result[2, enough] = np.nanmax(columns, axis=0)
    return StatisticsSeries(min=result[0], median=result[1], max=result[2])


def rounded(value: float) -> float:
    """To two digits, half away from zero: the reference's rounding of statistics. NaN stays."""
    if not math.isfinite(value):
        return value
    scaled = abs(value) * 100
    if scaled >= 2**53:
        return value
    return math.copysign(math.floor(scaled + 0.5) / 100, value)
