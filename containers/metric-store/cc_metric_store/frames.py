"""`POST /api/frame`: a whole job in one request, answered as a binary frame (`docs/frame.md`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from cc_metric_store.catalog import MetricDefinition
from cc_metric_store.reading import FrameCache, Reader, Reading, buckets, statistics
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import ClusterCockpitError, InvalidInputError, TooLargeError
from clustercockpit.metrics import frame
from clustercockpit.metrics.model import Samples

_MAX_TIME = 1 << 40
_STATISTICS_FROM = 3  # series


@dataclass(frozen=True, slots=True)
class Group:
    """Components that together make one series, and the id the series has."""

    id: str | None
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FrameQuery:
    metric: str
    scope: MetricScope
    hosts: tuple[str, ...]
    type: str | None
    groups: tuple[Group, ...]
    aggregation: str

    @classmethod
    def parse(cls, value: object, where: str) -> FrameQuery:
        if not isinstance(value, dict):
            raise InvalidInputError(f"{where} must be a JSON object")
        try:
            scope = MetricScope(str(value.get("scope")))
        except ValueError:
            raise InvalidInputError(f"{where}.scope is no metric scope") from None
        metric, type_ = value.get("metric"), value.get("type")
        if not isinstance(metric, str):
            raise InvalidInputError(f"{where}.metric must be a string")
        if type_ is not None and not isinstance(type_, str):
            raise InvalidInputError(f"{where}.type must be a string or null")
        aggregation = value.get("aggregation") or ""
        if aggregation not in ("", "sum", "avg"):
            raise InvalidInputError(f"{where}.aggregation must be sum or avg")
        groups: list[Group] = []
        for index, item in enumerate(_list(value.get("groups"), f"{where}.groups")):
            place = f"{where}.groups[{index}]"
            if not isinstance(item, dict) or not isinstance(item.get("id"), str | None):
                raise InvalidInputError(f"{place} must be an object with id and ids")
            groups.append(Group(item.get("id"), _texts(item.get("ids"), f"{place}.ids")))
        return cls(
            metric, scope, _texts(value.get("hosts"), f"{where}.hosts"), type_ or None, tuple(groups),
            aggregation,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FrameRequest:
    cluster: str
    start: int
    end: int
    points: int
    resolution: int
    statistics_series: bool
    queries: tuple[FrameQuery, ...]

    @classmethod
    def parse(cls, body: bytes) -> FrameRequest:
        """Read a request body. InvalidInputError with a sentence."""
        try:
            members = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"the request body is not JSON: {error}") from None
        if not isinstance(members, dict) or not isinstance(members.get("cluster"), str):
            raise InvalidInputError("the request must be a JSON object with cluster, from, to and queries")
        start, end = _time(members, "from"), _time(members, "to")
        if end < start:
            raise InvalidInputError("from is after to")
        queries = _list(members.get("queries"), "queries")
        return cls(
            cluster=members["cluster"],
            start=start,
            end=end,
            points=_count(members, "points"),
            resolution=_count(members, "resolution"),
            statistics_series=members.get("statistics_series") is True,
            queries=tuple(FrameQuery.parse(item, f"queries[{index}]") for index, item in enumerate(queries)),
        )


class FrameService:
    """Answers frame requests from a reader."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def answer(self, request: FrameRequest) -> bytes:
        """The frame's bytes. TooLargeError if it would hold more values than one request may take."""
        result = frame.Frame(self.reader.engine.clock(), request.start, request.end)
        metrics: dict[tuple[str, MetricScope], frame.FrameMetric] = {}
        values = 0
        cache = FrameCache()
        for query in request.queries:
            definition = self.reader.engine.catalog.find(request.cluster, query.metric)
            if definition is None:
                result.errors.append(f"{query.metric}: not configured in the metric store")
                continue
            metric = metrics.get((query.metric, query.scope))
            if metric is None:
                metric = frame.FrameMetric(query.metric, query.scope, definition.unit, definition.timestep)
                metrics[query.metric, query.scope] = metric
                result.metrics.append(metric)
            for series in self._series(request, query, definition, result.errors, cache):
                metric.series.append(series)
                values += len(series.mean) * (1 if series.min is None else 3)
                if values > self.reader.max_values:
                    raise TooLargeError("the frame is over the limit of values: ask for less time or metrics")
        if request.statistics_series:
            for metric in result.metrics:
                if len(metric.series) >= _STATISTICS_FROM:
                    metric.statistics_series = over_series(metric)
        return frame.encode(result)

    def _series(
        self,
        request: FrameRequest,
        query: FrameQuery,
        definition: MetricDefinition,
        errors: list[str],
        cache: FrameCache,
    ) -> list[frame.FrameSeries]:
        found: list[frame.FrameSeries] = []
        silent: list[str] = []
        groups = query.groups if query.type else (Group(None, ()),)
        for host in query.hosts:
            before = len(found)
            for group in groups:
                reading = self._reading(request, query, definition, host, group, errors, cache)
                if reading is not None:
                    found.append(self._one(request, host, group, *reading))
            if len(found) == before:
                silent.append(host)
        if silent:
            more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
            errors.append(f"{query.metric}: no samples of {', '.join(silent[:3])}{more} ({query.scope})")
        return found

    def _reading(
        self, request: FrameRequest, query: FrameQuery, definition: MetricDefinition, host: str, group: Group,
        errors: list[str], cache: FrameCache,
    ) -> tuple[Reading, int] | None:  # fmt: skip
        components = None if query.type is None else [query.type + i for i in group.ids]
        selection = self.reader.select(request.cluster, host, definition, components)
        if selection is None or (query.type is None and not self._own(selection.rows, selection.block)):
            return None
        try:
            aggregation = query.aggregation or definition.aggregation
            reading = self.reader.read(selection, request.start, request.end, aggregation, cache)
        except TooLargeError:
            raise
        except ClusterCockpitError as error:
            errors.append(f"{query.metric}: {error}")
            return None
        return None if reading is None else (reading, len(group.ids))

    def _own(self, rows: np.ndarray[Any, np.dtype[np.int64]], block: Any) -> bool:
        """Whether the rows are the host's own: a frame never lets finer rows stand for it."""
        series = self.reader.engine.series
        return len(rows) == 1 and int(series.component[block.series[rows[0]]]) == 0

    def _one(
        self, request: FrameRequest, host: str, group: Group, reading: Reading, asked: int
    ) -> frame.FrameSeries:
        step = reading.timestep
        width = 1
        if request.points:
            width = max(1, -(-(request.end - request.start) // (request.points * step)))
        elif request.resolution:
            width = max(1, -(-request.resolution // step))
        merged = buckets(reading, width)
        expected = max(asked, 1)
        complete = expected == 1 and reading.present == 1
        return frame.FrameSeries(
            hostname=host,
            id=group.id,
            grid=frame.FrameGrid(merged.start, merged.step),
            mean=merged.mean,
            min=merged.min,
            max=merged.max,
            statistics=statistics(reading.values),
            expected=None if complete else expected,
            present=None if complete else reading.present,
        )


def over_series(metric: frame.FrameMetric) -> frame.FrameStatistics:
    """Least, median and greatest per point over the series of a metric; missing values are left out. The
    grid is that of the first series, each other series is moved by less than half a step onto it."""
    step = metric.series[0].grid.step
    start = min(series.grid.start for series in metric.series)
    columns = max(round((s.grid.start - start) / step) + len(s.mean) for s in metric.series)
    table = np.full((len(metric.series), columns), np.nan)
    for row, series in zip(table, metric.series, strict=True):
        offset = round((series.grid.start - start) / step)
        row[offset : offset + len(series.mean)] = series.mean
    return frame.FrameStatistics(
        frame.FrameGrid(start, step), *(over_columns(table, how) for how in ("min", "median", "max"))
    )


def over_columns(table: Samples, how: str) -> Samples:
    """Column by column, gaps left out; NaN where a column has no value."""
    valid = ~np.isnan(table).all(axis=0)
    result: Samples = np.full(table.shape[1], np.nan)
    if valid.any():
        columns = table[:, valid]
        if how == "min":
            result[valid] = np.nanmin(columns, axis=0)
        elif how == "max":
            result[valid] = np.nanmax(columns, axis=0)
        else:
            result[valid] = np.nanmedian(columns, axis=0)
    return result


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidInputError(f"{where} must be a list")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    items = _list(value, where)
    if not all(isinstance(item, str) for item in items):
        raise InvalidInputError(f"{where} must be a list of strings")
    return tuple(items)


def _time(members: dict[str, Any], key: str) -> int:
    value = members.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MAX_TIME:
        raise InvalidInputError(f"{key} must be a time in Unix seconds")
    return int(value)


def _count(members: dict[str, Any], key: str) -> int:
    value = members.get(key) or 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_TIME:
        raise InvalidInputError(f"{key} must be a number, not negative")
    return int(value)
