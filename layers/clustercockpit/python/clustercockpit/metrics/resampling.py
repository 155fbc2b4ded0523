"""Fewer points.

For the reference's interfaces: Largest-Triangle-Three-Buckets (S. Steinarsson, 2013) with the reference's
bucket edges and treatment of gaps, because clients compare (`spec/metric-store.md` chapter 10). For our own
frame: buckets with true times, mean and extremes (`docs/frame.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustercockpit.errors import InvalidInputError
from clustercockpit.metrics.model import Samples

# Shorter series stay as they are, unless `main.resampling.minimum-points` says otherwise.
DEFAULT_MINIMUM_POINTS = 1000


def resample(
    samples: Sequence[Samples], timestep: int, resolution: int, minimum: int = DEFAULT_MINIMUM_POINTS
) -> tuple[list[Samples], int]:
    """Series of one time step at `resolution` (seconds), and the time step they have then.

    A series that would not get fewer points stays, and with it the whole set, so that all keep one time
    step. InvalidInputError if the resolution is coarser but no multiple of the time step.
    """
    if timestep <= 0 or resolution <= timestep:
        return list(samples), timestep
    if resolution % timestep:
        raise InvalidInputError(
            f"new sampling frequency ({resolution}) must be a multiple of old frequency ({timestep})"
        )
    step = resolution // timestep
    longest = max((len(values) for values in samples), default=0)
    if longest // step == 0 or longest < minimum:
        return list(samples), timestep
    # Series of one metric have one length but for late hosts; alike ones are done together.
    results: list[Samples] = list(samples)
    by_length: dict[int, list[int]] = {}
    for index, values in enumerate(samples):
        by_length.setdefault(len(values), []).append(index)
    for length, indices in by_length.items():
        if length // step == 0:
            continue
        picked = lttb_indices(np.stack([samples[index] for index in indices]), length // step)
        for index, places in zip(indices, picked, strict=True):
            results[index] = samples[index][places]
    return results, resolution


def lttb_indices(table: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Per row of `table` the indices of the `count` values that the triangle rule picks, at least two.

    First and last are always picked; of equal areas the first; where any area in a bucket is NaN, the last
    candidate with such an area.
    """
    rows, length = table.shape
    picked = np.zeros((rows, max(count, 2)), dtype=np.intp)
    picked[:, -1] = length - 1
    if count <= 2:
        return picked
    every = np.arange(rows)
    previous = np.zeros(rows, dtype=np.intp)
    width = (length - 2) / (count - 2)
    low, middle = 1, math.floor(width) + 1
    for step in range(count - 2):
        high = math.floor((step + 2) * width) + 1
        if high >= length - 1:
            high = length - 2
        center_x = (middle + high) / 2
        if high >= middle:
            # In order, as the reference adds up: pairwise sums would differ in the last bit and break ties
            center_y = np.cumsum(table[:, middle : high + 1], axis=1)[:, -1] / (high + 1 - middle)
        else:
            center_y = np.full(rows, np.nan)  # with three points nothing is left to look ahead to
        last = table[every, previous]
        candidates = table[:, low:middle]
        areas = np.abs(
            (
                (previous - center_x)[:, None] * (candidates - last[:, None])
                - (previous[:, None] - np.arange(low, middle)) * (center_y - last)[:, None]
            )
            * 0.5
        )
        missing = np.isnan(areas)
        best = np.where(
            missing.any(axis=1),
            areas.shape[1] - 1 - np.argmax(missing[:, ::-1], axis=1),
            np.argmax(np.where(missing, -1.0, areas), axis=1),
        )
        previous = low + best
        picked[:, step + 1] = previous
        low, middle = middle, high
    return picked


@dataclass(frozen=True, slots=True)
class Buckets:
    """Values with true times: value i stands for `start + i · step` (Unix seconds) ± step / 2. Extremes only
    where a value merges several samples."""

    start: float
    step: float
    mean: Samples
    min: Samples | None = None
    max: Samples | None = None


def merge(samples: Samples, first: float, timestep: float, width: int) -> Buckets:
    """Samples taken at `first`, `first + timestep`, … merged `width` at a time.

    Bucket edges are multiples of `width · timestep` counted from the epoch on the series' own phase, so that
    asking for another window continues the same grid. A bucket with no sample is NaN.
    """
    if width <= 1 or not len(samples):
        return Buckets(first, timestep * max(width, 1), samples)
    slot = math.floor(first / timestep)
    phase = first - slot * timestep
    lead = slot % width
    count = -(-(lead + len(samples)) // width)
    padded = np.full(count * width, np.nan)
    padded[lead : lead + len(samples)] = samples
    cells = padded.reshape(count, width)
    valid = ~np.isnan(cells)
    counts = valid.sum(axis=1)
    some = counts > 0
    mean = np.full(count, np.nan)
    mean[some] = np.where(valid, cells, 0.0).sum(axis=1)[some] / counts[some]
    low = np.where(some, np.where(valid, cells, np.inf).min(axis=1), np.nan)
    high = np.where(some, np.where(valid, cells, -np.inf).max(axis=1), np.nan)
    start = phase + ((slot - lead) + (width - 1) / 2) * timestep
    return Buckets(start, width * timestep, mean, low, high)


def bucket_width(timestep: float, resolution: float) -> int:
    """Samples per bucket so that buckets are at least `resolution` seconds wide."""
    if timestep <= 0 or resolution <= 0:
        return 1
    # A hair off, so that 0.1 · 3 against 0.3 is not a fourth sample
    return max(1, math.ceil(resolution / timestep - 1e-9))
