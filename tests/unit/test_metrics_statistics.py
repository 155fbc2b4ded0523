from __future__ import annotations

import math

import numpy as np
import pytest

from clustercockpit.metrics.statistics_series import rounded, statistics_of, statistics_series

NAN = math.nan


def test_over_time_gaps_are_left_out() -> None:
    statistics = statistics_of(np.array([1.0, NAN, 4.0]))
    assert (statistics.avg, statistics.min, statistics.max) == (2.5, 1, 4)
    assert math.isnan(statistics_of(np.array([NAN])).avg)
    assert math.isnan(statistics_of(np.array([])).max)


def test_over_series_missing_values_count_in_nothing() -> None:
    result = statistics_series(
        [np.array(column) for column in ([NAN, NAN, 1], [NAN, NAN, 2], [12.0, NAN], [13.0, 1], [14.0, 2])]
    )
    np.testing.assert_array_equal(result.min, [12, NAN, NAN])
    np.testing.assert_array_equal(result.median, [13, NAN, NAN])
    np.testing.assert_array_equal(result.max, [14, NAN, NAN])
    assert result.mean is None


def test_no_series_no_statistics() -> None:
    assert len(statistics_series([]).median) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.005, 1.0),
        (0.125, 0.13),
        (-0.125, -0.13),
        (2.675, 2.68),
        (0, 0),
        (1e300, 1e300),
        (math.inf, math.inf),
    ],
)
def test_rounding_is_half_away_from_zero(value: float, expected: float) -> None:
    assert rounded(value) == expected
    assert math.isnan(rounded(NAN))
