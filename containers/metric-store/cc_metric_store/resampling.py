"""Fewer points for the reference's interfaces: Largest-Triangle-Three-Buckets with the reference's indices.

S. Steinarsson, "Downsampling Time Series for Visual Representation" (2013); bucket edges and the treatment
of gaps as the reference has them, because clients compare. Our own frame uses buckets with true times.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from clustercockpit.metrics.model import Samples

DEFAULT_MINIMUM_POINTS = 1000


def resample(values: Samples, timestep: int, resolution: int, minimum: int) -> tuple[Samples, int]:
    """Values at `resolution` seconds where that makes them fewer, and the time step they have then.

    A resolution that is no multiple of the time step is taken as the next multiple. Shorter series than
    `minimum` stay as they are.
    """
    if timestep <= 0 or resolution <= timestep:
        return values, timestep
    step = -(-resolution // timestep)
    count = len(values) // step
    if count == 0 or len(values) < minimum or count >= len(values):
        return values, timestep
    return lttb(values, count), step * timestep


def lttb(values: Samples, count: int) -> Samples:
    """The chosen values; first and last are always among them."""
    if _compiled is not None and count > 2:
        picked = np.empty(count, np.int64)
        _compiled(np.ascontiguousarray(values), count, picked)
        return values[picked]
    return values[lttb_indices(values, count)]


_compiled: Callable[..., None] | None = None


def accelerate(triangles: Callable[..., None]) -> None:
    """Use the compiled form of `lttb_indices` from now on."""
    global _compiled
    _compiled = triangles


def lttb_indices(values: Samples, count: int) -> list[int]:
    """Indices that the triangle rule picks. In a bucket where any area is NaN the last such candidate."""
    length = len(values)
    picked = [0]
    previous = 0
    width = (length - 2) / (count - 2) if count > 2 else 0.0
    low, middle = 1, math.floor(width) + 1
    for index in range(count - 2):
        high = math.floor((index + 2) * width) + 1
        if high >= length - 1:
            high = length - 2
        center_x = (middle + high) / 2
        center_y = float(np.mean(values[middle : high + 1])) if high >= middle else math.nan
        candidates = np.arange(low, middle)
        reference = values[previous]
        areas = np.abs(
            ((previous - center_x) * (values[low:middle] - reference)
             - (previous - candidates) * (center_y - reference)) * 0.5
        )  # fmt: skip
        missing = np.flatnonzero(np.isnan(areas))
        choice = int(missing[-1]) if len(missing) else int(np.argmax(areas)) if len(areas) else -low
        previous = low + choice
        picked.append(previous)
        low, middle = middle, high
    picked.append(length - 1)
    return picked
