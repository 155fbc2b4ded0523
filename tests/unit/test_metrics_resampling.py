"""Vectors of `spec/metric-store.md` 23, and a plain reading of the algorithm as oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.errors import InvalidInputError
from clustercockpit.metrics.model import Samples
from clustercockpit.metrics.resampling import bucket_width, lttb_indices, merge, resample

NAN = math.nan


def plain_lttb(data: list[float], count: int) -> list[int]:
    """The reference's loop, value by value."""
    length = len(data)
    result, previous = [0], 0
    width = (length - 2) / (count - 2) if count > 2 else 0.0
    low, middle = 1, math.floor(width) + 1
    for i in range(count - 2):
        high = math.floor((i + 2) * width) + 1
        if high >= length - 1:
            high = length - 2
        points = range(middle, high + 1)
        total = 0.0
        for j in points:
            total += data[j]
        cx = (middle + high) / 2
        cy = total / len(points) if points else NAN
        best, pick = -1.0, 0
        for j in range(low, middle):
            area = abs(
                ((previous - cx) * (data[j] - data[previous]) - (previous - j) * (cy - data[previous])) * 0.5
            )
            if area > best or math.isnan(area):
                best, pick = area, j
        result.append(pick)
        previous = pick
        low, middle = middle, high
    result.append(length - 1)
    return result


def picked(values: list[float], count: int) -> list[int]:
    result: list[int] = lttb_indices(np.array([values], dtype=np.float64), count)[0].tolist()
    return result


@pytest.mark.parametrize(
    ("values", "old", "new", "indices"),
    [
        ([1, 5, 2, 8, 3, 9, 4, 7, 6, 2, 1, 3], 60, 180, [0, 5, 6, 11]),
        (list(range(12)), 60, 180, [0, 1, 6, 11]),
        ([1, 5, 2, NAN, 3, 9, 4, 7, 6, 2, 1, 3], 60, 180, [0, 3, 9, 11]),
        ([0, 0, 0, 10, 0, 0, 0, 0, -7, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0], 1, 4, [0, 3, 8, 15, 19]),
    ],
)
def test_the_published_picks(values: list[float], old: int, new: int, indices: list[int]) -> None:
    data = np.array(values, dtype=np.float64)
    (result,), step = resample([data], old, new, minimum=3)
    np.testing.assert_array_equal(result, data[indices])
    assert step == new


def test_long_published_picks() -> None:
    ascending = picked([float(i) for i in range(1007)], 1007 // 5)
    assert len(ascending) == 201
    assert ascending[:6] == [0, 1, 6, 11, 16, 21]
    assert ascending[-4:] == [990, 995, 1000, 1006]
    sine = picked([math.sin(0.1 * i) for i in range(1000)], 100)
    assert sine[:12] == [0, 9, 17, 24, 39, 48, 55, 70, 79, 86, 101, 110]
    assert sine[-6:] == [956, 964, 977, 986, 992, 999]
    spike = picked([100.0 if i == 100 else 1.0 for i in range(200)], 100)
    assert len(spike) == 100
    assert 100 in spike


@pytest.mark.parametrize(
    ("length", "old", "new", "points", "step"),
    [
        (200, 1, 2, 100, 2),
        (500, 1, 5, 100, 5),
        (1000, 1, 10, 100, 10),
        (200, 2, 1, 200, 2),
        (200, 0, 2, 200, 0),
        (200, 1, 0, 200, 1),
        (50, 1, 2, 50, 1),
        (200, 1, 300, 200, 1),
        (200, 1, 150, 2, 150),
    ],
)
def test_when_it_applies(length: int, old: int, new: int, points: int, step: int) -> None:
    (result,), label = resample([np.arange(length, dtype=np.float64)], old, new, minimum=100)
    assert (len(result), label) == (points, step)


def test_a_resolution_that_is_no_multiple() -> None:
    with pytest.raises(InvalidInputError, match="multiple"):
        resample([np.arange(50.0)], 3, 7)


def test_series_of_a_set_keep_one_time_step() -> None:
    long, short = np.arange(200.0), np.arange(90.0)
    results, step = resample([long, short], 1, 2, minimum=100)
    assert ([len(result) for result in results], step) == ([100, 45], 2)


values = st.lists(
    st.floats(-1e3, 1e3).map(lambda v: round(v, 1)) | st.just(NAN) | st.just(0.0), min_size=6, max_size=80
)


@settings(max_examples=150, deadline=None)
@given(values, st.integers(2, 40))
def test_the_table_picks_what_the_loop_picks(data: list[float], count: int) -> None:
    count = min(count, len(data) - 1)
    assert picked(data, count) == plain_lttb(data, count)


def merged(
    samples: list[float], first: float, timestep: float, width: int
) -> tuple[float, float, list[float]]:
    buckets = merge(np.array(samples), first, timestep, width)
    return buckets.start, buckets.step, buckets.mean.tolist()


def test_buckets_have_true_times() -> None:
    # Slots of 60 s at phase 7, bucket edges at multiples of 180 s: the first bucket has one sample of three
    assert merged([1, 2, 3, 4, 5, 6], 120 + 7, 60, 3) == (67, 180, [1, 3, 5.5])
    buckets = merge(np.array([1.0, 5.0, NAN, NAN, NAN, NAN]), 0, 10, 3)
    np.testing.assert_array_equal(buckets.mean, [3, NAN])
    assert buckets.min is not None
    assert buckets.max is not None
    np.testing.assert_array_equal(buckets.min, [1, NAN])
    np.testing.assert_array_equal(buckets.max, [5, NAN])


def test_one_sample_a_bucket_stays_as_it_is() -> None:
    buckets = merge(np.array([1.0, NAN]), 127, 60, 1)
    assert (buckets.start, buckets.step, buckets.min) == (127, 60, None)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(NAN), min_size=1, max_size=60),
    st.integers(0, 100_000),
    st.integers(1, 120),
    st.integers(2, 13),
    st.integers(0, 59),
)
def test_another_window_continues_the_grid(
    samples: list[float], first: int, timestep: int, width: int, cut: int
) -> None:
    cut = min(cut, len(samples) - 1)
    whole = merge(np.array(samples), first, timestep, width)
    part = merge(np.array(samples[cut:]), first + cut * timestep, timestep, width)
    offset = (part.start - whole.start) / whole.step
    assert offset == round(offset)
    # All buckets after the first, which the cut may have shortened, are the same
    np.testing.assert_array_equal(part.mean[1:], whole.mean[round(offset) + 1 :])
    assert whole.min is not None
    assert whole.max is not None
    valid: Samples = np.array([value for value in samples if not math.isnan(value)])
    if len(valid):
        assert np.nanmin(whole.min) == valid.min()
        assert np.nanmax(whole.max) == valid.max()
    for index, time in enumerate(whole.start + np.arange(len(whole.mean)) * whole.step):
        inside = [
            value
            for i, value in enumerate(samples)
            if abs(first + i * timestep - time) < whole.step / 2 and not math.isnan(value)
        ]
        if inside:
            assert whole.mean[index] == pytest.approx(sum(inside) / len(inside))
        else:
            assert math.isnan(whole.mean[index])


@pytest.mark.parametrize(
    ("timestep", "resolution", "width"),
    [(60, 0, 1), (60, 60, 1), (60, 61, 2), (10, 100, 10), (0.1, 0.3, 3), (60, 1, 1), (0, 10, 1)],
)
def test_the_width_of_a_bucket(timestep: float, resolution: float, width: int) -> None:
    assert bucket_width(timestep, resolution) == width
