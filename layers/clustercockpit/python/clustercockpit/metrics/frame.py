"""The binary frame: time series with true times, the same bytes from store to function to browser.

`docs/frame.md` is the contract, for readers in any language. In short: `CCF1`, uint32 LE length of the
header, a JSON header padded with spaces to a multiple of eight, then little-endian arrays that each start at
a multiple of eight. Arrays are read in place: decoding copies nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from clustercockpit.clusters.model import MetricScope, Unit
from clustercockpit.errors import InvalidInputError
from clustercockpit.metrics.model import SeriesStatistics

MAGIC = b"CCF1"
CONTENT_TYPE = "application/vnd.clustercockpit.frame"
MAX_HEADER_BYTES = 64 * 1024 * 1024
BATCH_CONTENT_TYPE = "application/vnd.clustercockpit.frames"
_PREFIX = struct.Struct("<4sI")
_BATCH_PREFIX = struct.Struct("<II")
_DTYPES: dict[str, np.dtype[Any]] = {"f4": np.dtype("<f4"), "f8": np.dtype("<f8")}

Values = NDArray[np.float64] | NDArray[np.float32]


@dataclass(slots=True)
class FrameGrid:
    """When the values are: `start + i · step` (Unix seconds, step in seconds), or each time by itself.

    A time is the middle of the samples merged into a value; the value stands for ± step / 2 around it.
    """

    start: float
    step: float
    times: Values | None = None


@dataclass(slots=True)
class FrameSeries:
    """One line of a plot. `min` and `max` are there where a value merges several samples; `statistics` are
    over the samples at full resolution inside the frame's window. NaN is a gap."""

    hostname: str
    grid: FrameGrid
    mean: Values
    statistics: SeriesStatistics
    id: str | None = None
    min: Values | None = None
    max: Values | None = None
    expected: int | None = None  # components an aggregate should consist of …
    present: int | None = None  # … and how many had samples


@dataclass(slots=True)
class FrameStatistics:
    """Per point over the series of a metric, for jobs with too many lines to draw."""

    grid: FrameGrid
    min: Values
    median: Values
    max: Values


@dataclass(slots=True)
class FrameMetric:
    name: str
    scope: MetricScope
    unit: Unit
    native_timestep: float  # seconds
    series: list[FrameSeries] = field(default_factory=list)
    statistics_series: FrameStatistics | None = None


@dataclass(slots=True)
class Frame:
    """`start` and `end` are the window answered for (`from` and `to` on the wire), `now` the clock of the
    answering process, all Unix seconds. `next`: what to hand back as `since` to get only what is new;
    `resolution`: with it, to stay on the same time grids."""

    now: float
    start: float
    end: float
    metrics: list[FrameMetric] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    next: float | None = None
    resolution: float | None = None  # width of a bucket that was asked for, in seconds; 0: as measured


def encode(frame: Frame) -> bytes:
    """The frame's bytes. Arrays that are neither float32 nor float64 are written as float64."""
    area = _ArrayArea()
    header: dict[str, Any] = {"now": frame.now, "from": frame.start, "to": frame.end}
    if frame.next is not None:
        header["next"] = frame.next
    if frame.resolution is not None:
        header["resolution"] = frame.resolution
    header["metrics"] = [_metric_header(metric, area) for metric in frame.metrics]
    header["errors"] = frame.errors
    text = orjson.dumps(header)
    padding = -len(text) % 8
    return b"".join([_PREFIX.pack(MAGIC, len(text) + padding), text, b" " * padding, *area.parts])


def encode_batch(frames: Iterable[tuple[int, Frame]]) -> bytes:
    """Frames of several jobs one after the other, each after the job's id and its own length (uint32 LE)."""
    parts: list[bytes] = []
    for job, frame in frames:
        content = encode(frame)
        parts += (_BATCH_PREFIX.pack(job, len(content)), content)
    return b"".join(parts)


def decode_batch(content: bytes) -> list[tuple[int, Frame]]:
    """Read what `encode_batch` wrote. Raises InvalidInputError as `decode` does."""
    frames, at = [], 0
    while at < len(content):
        if at + _BATCH_PREFIX.size > len(content):
            raise InvalidInputError("frames: cut short")
        job, length = _BATCH_PREFIX.unpack_from(content, at)
        at += _BATCH_PREFIX.size
        if at + length > len(content):
            raise InvalidInputError(f"frames: the one of job {job} is cut short")
        frames.append((job, decode(content[at : at + length])))
        at += length
    return frames


class _ArrayArea:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._size = 0

    def add(self, values: Values) -> dict[str, Any]:
        name = "f4" if values.dtype == np.float32 else "f8"
        content = np.ascontiguousarray(values, dtype=_DTYPES[name]).tobytes()
        reference = {"offset": self._size, "length": int(values.shape[0]), "dtype": name}
        padding = -len(content) % 8
        self.parts.append(content + b"\0" * padding)
        self._size += len(content) + padding
        return reference


def _metric_header(metric: FrameMetric, area: _ArrayArea) -> dict[str, Any]:
    header: dict[str, Any] = {
        "name": metric.name,
        "scope": metric.scope.value,
        "unit": {"base": metric.unit.base, "prefix": metric.unit.prefix},
        "native_timestep": metric.native_timestep,
        "series": [_series_header(series, area) for series in metric.series],
    }
    if metric.statistics_series is not None:
        statistics = metric.statistics_series
        header["statistics_series"] = {
            **_grid_header(statistics.grid, area),
            "min": area.add(statistics.min),
            "median": area.add(statistics.median),
            "max": area.add(statistics.max),
        }
    return header


def _series_header(series: FrameSeries, area: _ArrayArea) -> dict[str, Any]:
    statistics = series.statistics
    header: dict[str, Any] = {
        "hostname": series.hostname,
        "id": series.id,
        # NaN and infinity become null: JSON has no word for them
        "statistics": {"avg": statistics.avg, "min": statistics.min, "max": statistics.max},
        **_grid_header(series.grid, area),
        "mean": area.add(series.mean),
    }
    if series.min is not None and series.max is not None:
        header["min"] = area.add(series.min)
        header["max"] = area.add(series.max)
    if series.expected is not None:
        header["expected"] = series.expected
    if series.present is not None:
        header["present"] = series.present
    return header


def _grid_header(grid: FrameGrid, area: _ArrayArea) -> dict[str, Any]:
    header: dict[str, Any] = {"start": grid.start, "step": grid.step}
    if grid.times is not None:
        header["times"] = area.add(grid.times)
    return header


def decode(content: bytes | bytearray | memoryview) -> Frame:
    """Read a frame; arrays are read-only views into `content`.

    Raises InvalidInputError, naming the place, for anything that is not a well-formed frame: nothing in the
    header is trusted, and no memory is set aside by what it claims.
    """
    # A copy only where the buffer could change under the views
    data = content if isinstance(content, bytes) else bytes(content)
    if len(data) < _PREFIX.size:
        raise InvalidInputError(f"frame: {len(data)} bytes are too few for a frame")
    magic, header_length = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise InvalidInputError("frame: does not begin with CCF1")
    begin = _PREFIX.size + header_length
    if header_length % 8 or header_length > MAX_HEADER_BYTES or begin > len(data):
        raise InvalidInputError(f"frame: header length {header_length} is impossible")
    try:
        header = orjson.loads(memoryview(data)[_PREFIX.size : begin])
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"frame: header is not JSON: {error}") from None
    return _Reader(data, begin).frame(header)


class _Reader:
    """Turns the header into a Frame, checking every member."""

    def __init__(self, data: bytes, begin: int) -> None:
        self._data = data
        self._begin = begin

    def frame(self, header: object) -> Frame:
        members = _object(header, "header")
        after, resolution = members.get("next"), members.get("resolution")
        return Frame(
            now=_number(members, "now", "header"),
            start=_number(members, "from", "header"),
            end=_number(members, "to", "header"),
            next=None if after is None else _number(members, "next", "header"),
            resolution=None if resolution is None else _number(members, "resolution", "header"),
            metrics=[
                self._metric(item, f"metrics[{index}]")
                for index, item in enumerate(_list(members, "metrics", "header"))
            ],
            errors=[_text(item, "errors") for item in _list(members, "errors", "header")],
        )

    def _metric(self, value: object, where: str) -> FrameMetric:
        members = _object(value, where)
        unit = _object(members.get("unit", {}), f"{where}.unit")
        try:
            scope = MetricScope(_text(members.get("scope"), f"{where}.scope"))
        except ValueError:
            raise InvalidInputError(f"frame: {where}.scope is no metric scope") from None
        statistics = members.get("statistics_series")
        return FrameMetric(
            name=_text(members.get("name"), f"{where}.name"),
            scope=scope,
            unit=Unit(
                base=_text(unit.get("base", ""), f"{where}.unit.base"),
                prefix=_text(unit.get("prefix", ""), f"{where}.unit.prefix"),
            ),
            native_timestep=_number(members, "native_timestep", where),
            series=[
                self._series(item, f"{where}.series[{index}]")
                for index, item in enumerate(_list(members, "series", where))
            ],
            statistics_series=(
                None if statistics is None else self._statistics(statistics, f"{where}.statistics_series")
            ),
        )

    def _series(self, value: object, where: str) -> FrameSeries:
        members = _object(value, where)
        mean = self._array(members, "mean", where)
        identifier = members.get("id")
        statistics = _object(members.get("statistics", {}), f"{where}.statistics")
        series = FrameSeries(
            hostname=_text(members.get("hostname"), f"{where}.hostname"),
            id=None if identifier is None else _text(identifier, f"{where}.id"),
            grid=self._grid(members, len(mean), where),
            mean=mean,
            statistics=SeriesStatistics(
                avg=_optional_number(statistics, "avg", where),
                min=_optional_number(statistics, "min", where),
                max=_optional_number(statistics, "max", where),
            ),
            expected=_optional_count(members, "expected", where),
            present=_optional_count(members, "present", where),
        )
        if "min" in members or "max" in members:
            series.min = self._array(members, "min", where, length=len(mean))
            series.max = self._array(members, "max", where, length=len(mean))
        return series

    def _statistics(self, value: object, where: str) -> FrameStatistics:
        members = _object(value, where)
        median = self._array(members, "median", where)
        return FrameStatistics(
            grid=self._grid(members, len(median), where),
            min=self._array(members, "min", where, length=len(median)),
            median=median,
            max=self._array(members, "max", where, length=len(median)),
        )

    def _grid(self, members: dict[str, Any], length: int, where: str) -> FrameGrid:
        times = self._array(members, "times", where, length=length) if "times" in members else None
        step = _number(members, "step", where)
        if step <= 0:
            raise InvalidInputError(f"frame: {where}.step must be above 0")
        return FrameGrid(start=_number(members, "start", where), step=step, times=times)

    def _array(self, members: dict[str, Any], key: str, where: str, length: int | None = None) -> Values:
        where = f"{where}.{key}"
        reference = _object(members.get(key), where)
        name = reference.get("dtype")
        dtype = _DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None:
            raise InvalidInputError(f"frame: {where}.dtype must be f4 or f8")
        offset, count = _count(reference, "offset", where), _count(reference, "length", where)
        if length is not None and count != length:
            raise InvalidInputError(f"frame: {where}.length is {count}, expected {length}")
        if offset % 8 or self._begin + offset + count * dtype.itemsize > len(self._data):
            raise InvalidInputError(f"frame: {where} reaches out of the frame")
        values: Values = np.frombuffer(self._data, dtype=dtype, count=count, offset=self._begin + offset)
        return values


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"frame: {where} must be an object")
    return value


def _list(members: dict[str, Any], key: str, where: str) -> list[Any]:
    value = members.get(key)
    if not isinstance(value, list):
        raise InvalidInputError(f"frame: {where}.{key} must be a list")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"frame: {where} must be a string")
    return value


def _number(members: dict[str, Any], key: str, where: str) -> float:
    value = members.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"frame: {where}.{key} must be a number")
    return float(value)


def _optional_number(members: dict[str, Any], key: str, where: str) -> float:
    return math.nan if members.get(key) is None else _number(members, key, where)


def _count(members: dict[str, Any], key: str, where: str) -> int:
    value = members.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInputError(f"frame: {where}.{key} must be a whole number, not negative")
    return value


def _optional_count(members: dict[str, Any], key: str, where: str) -> int | None:
    return None if members.get(key) is None else _count(members, key, where)
