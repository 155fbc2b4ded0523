"""An external cc-metric-store (`metric-store-external`): its JSON query interface.

`spec/metric-store.md` chapters 9 and 19.3. One question per series, so that an answer can never be taken
for that of another component: the store leaves out what it does not have without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson

from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import UnavailableError
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameSeries
from clustercockpit.metrics.resampling import bucket_width, merge
from clustercockpit.metrics.scopes import Group, SeriesQuery
from clustercockpit.metrics.statistics_series import statistics_of
from clustercockpit.metrics.store_client import batched, joined, refusal

_BATCH_SAMPLES = 500_000
_TIMEOUT = httpx.Timeout(10, connect=2)


@dataclass(frozen=True, slots=True)
class _Question:
    query: SeriesQuery
    host: str
    group: Group | None


class ExternalStoreClient:
    """SeriesStore over `GET /api/query`. An empty token is not sent."""

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(timeout=_TIMEOUT, transport=transport)

    def close(self) -> None:
        """Give up the connections."""
        self._client.close()

    def frame(
        self, cluster: str, queries: Sequence[SeriesQuery], start: float, end: float, resolution: float
    ) -> Frame:
        return joined(
            [
                self._ask(cluster, batch, int(start), int(end), resolution)
                for batch in batched(queries, end - start, _BATCH_SAMPLES)
            ],
            start,
            end,
        )

    def _ask(
        self, cluster: str, queries: Sequence[SeriesQuery], start: int, end: int, resolution: float
    ) -> Frame:
        questions = [
            _Question(query, host, group)
            for query in queries
            for host in query.hosts
            for group in (query.groups if query.type is not None else (None,))
        ]
        results = self._results(cluster, questions, start, end)
        metrics: dict[tuple[str, MetricScope], FrameMetric] = {}
        errors: list[str] = []
        for question, result in zip(questions, results, strict=False):
            metric = question.query.metric
            for item in result if isinstance(result, list) else []:
                series = _series(question, item, resolution, errors)
                if series is not None:
                    metrics.setdefault(
                        (metric.name, question.query.scope),
                        FrameMetric(metric.name, question.query.scope, metric.unit, metric.timestep),
                    ).series.append(series)
        return Frame(now=end, start=start, end=end, metrics=list(metrics.values()), errors=errors)

    def _results(self, cluster: str, questions: Sequence[_Question], start: int, end: int) -> list[Any]:
        body = {
            "cluster": cluster,
            "from": start,
            "to": end,
            "with-stats": False,
            "with-data": True,
            "with-padding": False,
            "queries": [_question_document(question) for question in questions],
        }
        try:
            answer = self._client.request(
                "GET",
                f"{self._url}/api/query",
                params={"version": "v2"},
                content=orjson.dumps(body),
                headers={**self._headers, "Content-Type": "application/json"},
            )
        except httpx.HTTPError as error:
            raise UnavailableError(f"the external metric store cannot be reached: {error}") from error
        if answer.status_code != 200:
            raise refusal(answer)
        try:
            members = orjson.loads(answer.content)
        except orjson.JSONDecodeError as error:
            raise UnavailableError(f"the external metric store sent no JSON: {error}") from None
        results = members.get("results") if isinstance(members, dict) else None
        if not isinstance(results, list):
            raise UnavailableError("the external metric store sent no results")
        return results


def _question_document(question: _Question) -> dict[str, Any]:
    document: dict[str, Any] = {"metric": question.query.metric.name, "host": question.host, "resolution": 0}
    if question.query.type is not None and question.group is not None:
        document["type"] = question.query.type.value
        document["type-ids"] = question.group.ids
        document["aggreg"] = len(question.group.ids) > 1
    return document


def _series(question: _Question, item: Any, resolution: float, errors: list[str]) -> FrameSeries | None:
    name = question.query.metric.name
    if not isinstance(item, dict):
        return None
    if item.get("error"):
        errors.append(f"{name}: {question.host}: {item['error']}")
        return None
    try:
        samples = np.array(item.get("data") or [], dtype=np.float64)
        first, timestep = float(item["from"]), float(item["resolution"])
    except (KeyError, TypeError, ValueError):
        errors.append(f"{name}: {question.host}: the external metric store sent something unusable")
        return None
    if samples.ndim != 1 or not len(samples) or timestep <= 0:
        return None
    buckets = merge(samples, first, timestep, bucket_width(timestep, resolution))
    return FrameSeries(
        hostname=question.host,
        id=question.group.id if question.group is not None else None,
        grid=FrameGrid(buckets.start, buckets.step),
        mean=buckets.mean,
        min=buckets.min,
        max=buckets.max,
        statistics=statistics_of(samples),
    )
