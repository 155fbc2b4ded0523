from __future__ import annotations

import math
import struct

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.clusters.model import MetricScope, Unit
from clustercockpit.errors import InvalidInputError
from clustercockpit.metrics import frame
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameSeries, FrameStatistics
from clustercockpit.metrics.model import SeriesStatistics


def sample_frame() -> Frame:
    return Frame(
        now=10.5,
        start=0,
        end=600,
        next=540,
        resolution=120,
        metrics=[
            FrameMetric(
                name="flops_any",
                scope=MetricScope.CORE,
                unit=Unit("F/s", "G"),
                native_timestep=60,
                series=[
                    FrameSeries(
                        hostname="node001",
                        id="3",
                        grid=FrameGrid(start=90.5, step=120.0),
                        mean=np.array([1.5, math.nan, 3.0], dtype=np.float32),
                        min=np.array([1, math.nan, 2], dtype=np.float32),
                        max=np.array([2, math.nan, 4], dtype=np.float32),
                        statistics=SeriesStatistics(2.0, 1.0, 4.0),
                        expected=2,
                        present=1,
                    ),
                    FrameSeries(
                        hostname="node002",
                        grid=FrameGrid(start=60, step=60, times=np.array([60.0, 121.0])),
                        mean=np.array([1e300, 0.1]),
                        statistics=SeriesStatistics(math.nan, math.nan, math.nan),
                    ),
                ],
                statistics_series=FrameStatistics(
                    grid=FrameGrid(start=90, step=120),
                    min=np.array([1.0]),
                    median=np.array([1.5]),
                    max=np.array([2.0]),
                ),
            )
        ],
        errors=["mem_bw: nothing"],
    )


def test_everything_comes_back() -> None:
    decoded = frame.decode(frame.encode(sample_frame()))
    assert (decoded.now, decoded.start, decoded.end) == (10.5, 0, 600)
    assert (decoded.next, decoded.resolution) == (540, 120)
    assert decoded.errors == ["mem_bw: nothing"]
    metric = decoded.metrics[0]
    assert (metric.name, metric.scope, metric.unit, metric.native_timestep) == (
        "flops_any",
        MetricScope.CORE,
        Unit("F/s", "G"),
        60,
    )
    first, second = metric.series
    assert (first.hostname, first.id, first.expected, first.present) == ("node001", "3", 2, 1)
    assert first.statistics == SeriesStatistics(2.0, 1.0, 4.0)
    assert first.mean.dtype == np.float32
    np.testing.assert_array_equal(first.mean, [1.5, math.nan, 3.0])
    assert first.min is not None
    assert first.max is not None
    np.testing.assert_array_equal(first.max, [2, math.nan, 4])
    assert (second.id, second.min, second.expected) == (None, None, None)
    assert math.isnan(second.statistics.avg)
    assert second.mean.dtype == np.float64
    assert second.grid.times is not None
    np.testing.assert_array_equal(second.grid.times, [60.0, 121.0])
    assert metric.statistics_series is not None
    np.testing.assert_array_equal(metric.statistics_series.median, [1.5])


def test_the_layout_is_the_documented_one() -> None:
    content = frame.encode(sample_frame())
    assert content[:4] == b"CCF1"
    (length,) = struct.unpack_from("<I", content, 4)
    assert length % 8 == 0
    header = orjson.loads(content[8 : 8 + length])
    references = [header["metrics"][0]["series"][0][key] for key in ("mean", "min", "max")]
    assert [reference["offset"] % 8 for reference in references] == [0, 0, 0]
    maximum = references[2]
    raw = content[8 + length + maximum["offset"] :][: 4 * maximum["length"]]
    assert struct.unpack("<3f", raw)[2] == 4.0
    assert header["metrics"][0]["series"][1]["statistics"] == {"avg": None, "min": None, "max": None}


def test_views_cannot_be_written() -> None:
    mean = frame.decode(frame.encode(sample_frame())).metrics[0].series[0].mean
    with pytest.raises(ValueError, match="read-only"):
        mean[0] = 1


def _with_header(change: object) -> bytes:
    content = frame.encode(sample_frame())
    (length,) = struct.unpack_from("<I", content, 4)
    header = orjson.loads(content[8 : 8 + length])
    assert callable(change)
    change(header)
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    return b"CCF1" + struct.pack("<I", len(text)) + text + content[8 + length :]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda h: h.update(metrics=7), "metrics"),
        (lambda h: h.update(now="x"), "now"),
        (lambda h: h.update(now=True), "now"),
        (lambda h: h.update(errors=[1]), "errors"),
        (lambda h: h["metrics"][0].update(scope="rack"), "scope"),
        (lambda h: h["metrics"][0].update(scope=[]), "scope"),
        (lambda h: h["metrics"][0]["series"][0].update(hostname=None), "hostname"),
        (lambda h: h["metrics"][0]["series"][0]["mean"].update(offset=1 << 62), "out of the frame"),
        (lambda h: h["metrics"][0]["series"][0]["mean"].update(offset=4), "out of the frame"),
        (lambda h: h["metrics"][0]["series"][0]["mean"].update(offset=-8), "offset"),
        (lambda h: h["metrics"][0]["series"][0]["mean"].update(length=1 << 61), "expected|out of the frame"),
        (lambda h: h["metrics"][0]["series"][0]["mean"].update(length=2.0), "length"),
        (lambda h: h["metrics"][0]["series"][0]["mean"].update(dtype="O"), "dtype"),
        (lambda h: h["metrics"][0]["series"][0]["mean"].update(dtype={}), "dtype"),
        (lambda h: h["metrics"][0]["series"][0]["min"].update(length=2), "expected 3"),
        (lambda h: h["metrics"][0]["series"][0].pop("max"), "max"),
        (lambda h: h["metrics"][0]["series"][0].update(step=0), "step"),
        (lambda h: h["metrics"][0]["series"][0].update(expected=-1), "expected"),
    ],
)
def test_a_hostile_header_is_refused_naming_the_place(change: object, place: str) -> None:
    with pytest.raises(InvalidInputError, match=place):
        frame.decode(_with_header(change))


@pytest.mark.parametrize(
    "content",
    [b"", b"CCF1", b"XXXX\0\0\0\0", b"CCF1\x01\0\0\0 ", b"CCF1\xf8\xff\xff\xff{}", b"CCF1\x08\0\0\0[]      "],
)
def test_what_is_no_frame_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError):
        frame.decode(content)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_frame_never_fails_otherwise(data: st.DataObject) -> None:
    content = bytearray(frame.encode(sample_frame()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    try:
        decoded = frame.decode(bytes(content))
    except InvalidInputError:
        return
    for metric in decoded.metrics:
        for series in metric.series:
            # Touches every value; what a damaged byte made of it (inf - inf) is no matter here
            with np.errstate(invalid="ignore", over="ignore"):
                series.mean.sum()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=8), st.lists(st.floats(width=32), max_size=9), st.booleans()), max_size=5
    )
)
def test_any_series_round_trip(items: list[tuple[str, list[float], bool]]) -> None:
    series = [
        FrameSeries(
            hostname=name,
            grid=FrameGrid(0, 1),
            mean=np.array(values, dtype=np.float32 if single else np.float64),
            statistics=SeriesStatistics(0, 0, 0),
        )
        for name, values, single in items
    ]
    metric = FrameMetric("m", MetricScope.NODE, Unit(), 1, series)
    decoded = frame.decode(frame.encode(Frame(0, 0, 1, [metric])))
    assert [s.hostname for s in decoded.metrics[0].series] == [name for name, _, _ in items]
    for (_, values, _), result in zip(items, decoded.metrics[0].series, strict=True):
        np.testing.assert_array_equal(result.mean, np.array(values))
