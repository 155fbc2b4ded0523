"""Our metric store, over HTTP: `POST /api/frame` (`docs/frame.md`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import orjson

from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import (
    ClusterCockpitError,
    ConfigurationError,
    InvalidInputError,
    TooLargeError,
    UnavailableError,
)
from clustercockpit.metrics import frame
from clustercockpit.metrics.frame import Frame, FrameMetric
from clustercockpit.metrics.scopes import SeriesQuery

# Samples asked for in one request: 16 MB of answer, a fraction of a second
_BATCH_SAMPLES = 2_000_000
_CONCURRENT = 4
_TIMEOUT = httpx.Timeout(20, connect=2)


class MetricStoreClient:
    """SeriesStore over our metric store. `token` gives a valid one at each call."""

    def __init__(
        self, url: str, token: Callable[[], str], transport: httpx.BaseTransport | None = None
    ) -> None:
        if not url:
            raise ConfigurationError("no metric store is named: set CC_METRIC_STORE_URL")
        self._url = url.rstrip("/")
        self._token = token
        self._client = httpx.Client(timeout=_TIMEOUT, transport=transport)

    def close(self) -> None:
        """Give up the connections."""
        self._client.close()

    def frame(
        self, cluster: str, queries: Sequence[SeriesQuery], start: float, end: float, resolution: float
    ) -> Frame:
        def ask(batch: list[SeriesQuery]) -> Frame:
            return self._ask(cluster, batch, start, end, resolution)

        batches = list(batched(queries, end - start, _BATCH_SAMPLES))
        if len(batches) == 1:
            return ask(batches[0])
        with ThreadPoolExecutor(_CONCURRENT) as pool:
            return joined(list(pool.map(ask, batches)), start, end)

    def _ask(
        self, cluster: str, queries: Sequence[SeriesQuery], start: float, end: float, resolution: float
    ) -> Frame:
        body = {
            "cluster": cluster,
            "from": int(start),
            "to": int(end),
            "resolution": int(resolution),
            "queries": [_query_document(query) for query in queries],
        }
        try:
            answer = self._client.post(
                f"{self._url}/api/frame",
                content=orjson.dumps(body),
                headers={
                    "Authorization": f"Bearer {self._token()}",
                    "Content-Type": "application/json",
                    "Accept": frame.CONTENT_TYPE,
                },
            )
        except httpx.HTTPError as error:
            raise UnavailableError(f"the metric store cannot be reached: {error}") from error
        if answer.status_code != 200:
            raise refusal(answer)
        try:
            return frame.decode(answer.content)
        except InvalidInputError as error:
            raise UnavailableError(f"the metric store sent no usable answer: {error}") from None


def refusal(answer: httpx.Response) -> ClusterCockpitError:
    """What a store's answer other than 200 means for us."""
    text = answer.text[:200]
    if answer.status_code in (401, 403):
        return ConfigurationError("the metric store does not accept our token: do both have the same keys?")
    if answer.status_code == 413:
        return TooLargeError(f"too many values at once: {text}")
    return UnavailableError(f"the metric store answered {answer.status_code}: {text}")


def _query_document(query: SeriesQuery) -> dict[str, Any]:
    document: dict[str, Any] = {
        "metric": query.metric.name,
        "scope": query.scope.value,
        "hosts": query.hosts,
        "type": None if query.type is None else query.type.value,
    }
    if query.type is not None:
        document["groups"] = [{"id": group.id, "ids": group.ids} for group in query.groups]
        document["aggregation"] = query.metric.aggregation or None
    return document


def batched(queries: Iterable[SeriesQuery], seconds: float, samples: int) -> Iterator[list[SeriesQuery]]:
    """The queries in portions of about so many samples each; a query about many hosts is divided."""
    batch: list[SeriesQuery] = []
    size = 0.0
    for query in queries:
        per_host = max(1.0, seconds / query.metric.timestep) * sum(
            len(group.ids) for group in query.groups or ()
        ) or max(1.0, seconds / query.metric.timestep)
        hosts = max(1, int(samples / per_host))
        for begin in range(0, len(query.hosts), hosts):
            part = replace(query, hosts=query.hosts[begin : begin + hosts])
            if batch and size + per_host * len(part.hosts) > samples:
                yield batch
                batch, size = [], 0.0
            batch.append(part)
            size += per_host * len(part.hosts)
    yield batch


def joined(frames: Sequence[Frame], start: float, end: float) -> Frame:
    """Answers to parts of one question as one: series of a metric and scope together, in order."""
    metrics: dict[tuple[str, MetricScope], FrameMetric] = {}
    errors: dict[str, None] = {}
    for part in frames:
        errors |= dict.fromkeys(part.errors)
        for metric in part.metrics:
            known = metrics.setdefault((metric.name, metric.scope), metric)
            if known is not metric:
                known.series += metric.series
    return Frame(
        now=max((part.now for part in frames), default=end),
        start=start,
        end=end,
        metrics=list(metrics.values()),
        errors=list(errors),
    )
