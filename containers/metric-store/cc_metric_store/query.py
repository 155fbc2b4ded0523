"""The stand-alone store's query API: the JSON its clients send and read.

Kept: keys, defaults, order, `null` for a gap, `resolution` and `from` in the answer, status 200 with an
`error` in an entry. Different, on purpose: one entry per requested id in the requested order (an absent one
has no data), numbers in full precision, statistics from full resolution, `from` is the time of the first
value also when padded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from cc_metric_store.catalog import MetricDefinition
from cc_metric_store.reading import FrameCache, Reader, Reading, statistics
from cc_metric_store.resampling import DEFAULT_MINIMUM_POINTS, resample
from clustercockpit.errors import ClusterCockpitError, InvalidInputError, TooLargeError

_MAX_TIME = 1 << 40
_ERROR_ENTRY = {"from": 0, "to": 0, "resolution": 0, "avg": 0.0, "min": 0.0, "max": 0.0}


@dataclass(frozen=True, slots=True)
class Query:
    """One entry of `queries`."""

    metric: str
    host: str
    type: str | None = None
    type_ids: tuple[str, ...] = ()
    subtype: str | None = None
    subtype_ids: tuple[str, ...] = ()
    aggregate: bool = False
    resolution: int = 0
    scale: float = 0.0

    @classmethod
    def parse(cls, value: object, where: str) -> Query:
        members = _object(value, where)
        return cls(
            metric=_text(members, "metric", where),
            host=_text(members, "host", where),
            type=_optional_text(members, "type", where),
            type_ids=_texts(members, "type-ids", where),
            subtype=_optional_text(members, "subtype", where),
            subtype_ids=_texts(members, "subtype-ids", where),
            aggregate=_flag(members, "aggreg", False),
            resolution=_integer(members, "resolution", where),
            scale=_number(members, "scale-by", where),
        )

    def document(self) -> dict[str, Any]:
        """As the reference writes a generated query back."""
        return {"metric": self.metric, "host": self.host, "resolution": 0, "aggreg": False}


# Seconds before the first sample that are filled with nulls; more (a question from 1970 on) is left out, and
# `from` says where the data begins
LONGEST_PADDING = 92 * 86_400


@dataclass(frozen=True, slots=True)
class QueryRequest:
    cluster: str
    start: int
    end: int
    queries: tuple[Query, ...]
    for_all_nodes: tuple[str, ...] | None
    with_statistics: bool = True
    with_data: bool = True
    with_padding: bool = True
    minimum_points: int = DEFAULT_MINIMUM_POINTS

    @classmethod
    def parse(cls, body: bytes, minimum_points: int) -> QueryRequest:
        """Read a request body. InvalidInputError with a sentence."""
        members = _object(_json(body), "request")
        queries = members.get("queries")
        if queries is not None and not isinstance(queries, list):
            raise InvalidInputError("queries must be a list")
        everywhere = None if members.get("for-all-nodes") is None else _texts(members, "for-all-nodes", "")
        return cls(
            cluster=_optional_text(members, "cluster", "") or "",
            start=_integer(members, "from", ""),
            end=_integer(members, "to", ""),
            queries=tuple(Query.parse(q, f"queries[{i}]") for i, q in enumerate(queries or [])),
            for_all_nodes=everywhere,
            with_statistics=_flag(members, "with-stats", True),
            with_data=_flag(members, "with-data", True),
            with_padding=_flag(members, "with-padding", True),
            minimum_points=_integer(members, "minimum-points", "") or minimum_points,
        )


class QueryService:
    """Answers query requests from a reader."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def answer(self, request: QueryRequest) -> bytes:
        """The response body. TooLargeError if it would hold more values than one request may take."""
        generated = self._everywhere(request)
        budget = _Budget(self.reader.max_values)
        cache = FrameCache()
        results = [
            self._series(query, request, budget, cache) for query in (*request.queries, *(generated or ()))
        ]
        document: dict[str, Any] = {}
        if generated is not None:
            document["queries"] = [query.document() for query in generated]
        document["results"] = results
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

    def _everywhere(self, request: QueryRequest) -> list[Query] | None:
        if request.for_all_nodes is None:
            return None
        hosts = sorted(h.name for h in self.reader.engine.hosts if h.cluster == request.cluster)
        return [Query(metric, host) for host in hosts for metric in request.for_all_nodes]

    def _series(
        self, query: Query, request: QueryRequest, budget: _Budget, cache: FrameCache
    ) -> list[dict[str, Any]]:
        definition = self.reader.engine.catalog.find(request.cluster, query.metric)
        try:
            if definition is None:
                raise InvalidInputError(f"metric {query.metric!r:.100} is not configured")
            if request.start > request.end:
                raise InvalidInputError("invalid time range: from is after to")
        except InvalidInputError as error:
            return [{"error": str(error), **_ERROR_ENTRY}]
        if query.type is None or query.type == "node":
            groups: list[tuple[list[str] | None, list[str] | None]] = [(None, None)]
        else:
            ids = [query.type + i for i in query.type_ids]
            subs = [query.subtype + i for i in query.subtype_ids] if query.subtype else None
            if query.aggregate:
                groups = [(ids, subs)] if ids else []
            else:
                groups = [([i], [s]) for i in ids for s in subs] if subs else [([i], None) for i in ids]
        named = query.type is not None and not query.aggregate
        entries = [self._entry(query, request, definition, *group, budget, cache) for group in groups]
        return [
            e if e is not None else _absent(request, definition) for e in entries if e is not None or named
        ]

    def _entry(
        self,
        query: Query,
        request: QueryRequest,
        definition: MetricDefinition,
        components: list[str] | None,
        subcomponents: list[str] | None,
        budget: _Budget,
        cache: FrameCache,
    ) -> dict[str, Any] | None:
        selection = self.reader.select(request.cluster, query.host, definition, components, subcomponents)
        if selection is None:
            return None
        try:
            reading = self.reader.read(selection, request.start, request.end, definition.aggregation, cache)
        except TooLargeError:
            raise
        except ClusterCockpitError as error:
            return {"error": str(error), **_ERROR_ENTRY}
        if reading is None:
            return None if components is None else _absent(request, definition)
        missing = (reading.start - request.start) // reading.timestep if request.with_padding else 0
        if not 0 < missing * reading.timestep <= LONGEST_PADDING:
            missing = 0
        budget.take(missing + len(reading.values))
        return self._document(reading, query, request, missing)

    def _document(
        self, reading: Reading, query: Query, request: QueryRequest, missing: int
    ) -> dict[str, Any]:
        figures = statistics(reading.values) if request.with_statistics else None
        values, start = reading.values, reading.start
        if missing:
            values = np.concatenate([np.full(missing, np.nan), values])
            start -= missing * reading.timestep
        end = start + len(values) * reading.timestep
        resolution = reading.timestep
        if request.with_data:
            values, resolution = resample(values, resolution, query.resolution, request.minimum_points)
        factor = query.scale if query.scale not in (0.0, 1.0) else 1.0
        entry: dict[str, Any] = {}
        if request.with_data and len(values):
            entry["data"] = values * factor if factor != 1.0 else np.ascontiguousarray(values)
        entry |= {"from": start, "to": end, "resolution": resolution}
        if figures is None:
            entry |= {"avg": 0.0, "min": 0.0, "max": 0.0}
        else:
            low, high = sorted((figures.min * factor, figures.max * factor))
            entry |= {"avg": _number_or_null(figures.avg * factor)}
            entry |= {"min": _number_or_null(low), "max": _number_or_null(high)}
        if reading.present < reading.expected:
            # Additional keys: how many components the aggregate has, of how many
            entry |= {"components": {"expected": reading.expected, "present": reading.present}}
        return entry


class _Budget:
    """How many values one answer may still hold."""

    def __init__(self, values: int) -> None:
        self._left = values

    def take(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise TooLargeError("the answer is over the limit of values: ask for less time or fewer series")


def _absent(request: QueryRequest, definition: MetricDefinition) -> dict[str, Any]:
    return {
        "from": request.start, "to": request.start, "resolution": definition.timestep,
        "avg": None, "min": None, "max": None,
    }  # fmt: skip


def _number_or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


# --- reading the request: everything in it is hostile ---------------------------------------------


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the request body is not JSON: {error}") from None


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where} must be a JSON object")
    return value


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _text(members: dict[str, Any], key: str, where: str) -> str:
    value = members.get(key)
    if not isinstance(value, str):
        raise InvalidInputError(f"{_at(where, key)} must be a string")
    return value


def _optional_text(members: dict[str, Any], key: str, where: str) -> str | None:
    return None if members.get(key) is None else _text(members, key, where)


def _texts(members: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = members.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInputError(f"{_at(where, key)} must be a list of strings")
    return tuple(value)


def _integer(members: dict[str, Any], key: str, where: str) -> int:
    value = members.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX_TIME:
        raise InvalidInputError(f"{_at(where, key)} must be a whole number")
    return value


def _number(members: dict[str, Any], key: str, where: str) -> float:
    value = members.get(key)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{_at(where, key)} must be a number")
    return float(value)


def _flag(members: dict[str, Any], key: str, default: bool) -> bool:
    value = members.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInputError(f"{key} must be true or false")
    return value
