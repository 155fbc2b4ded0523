"""Series of a job for the browser: `GET /frontend/job/{id}/series`. `docs/frame.md` is the contract."""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from clustercockpit.access.model import JobVisibility, User
from clustercockpit.access.rules import Capability, may
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import InvalidInputError, NotFoundError, TooLargeError
from clustercockpit.http.door import CurrentUser, guarded_router
from clustercockpit.jobs.model import Job
from clustercockpit.metrics import frame
from clustercockpit.metrics.frame import Frame, FrameGrid, FrameMetric, FrameStatistics, Values
from clustercockpit.metrics.live import Window
from clustercockpit.metrics.statistics_series import statistics_series

if TYPE_CHECKING:
    from clustercockpit.site import Site

DEFAULT_POINTS = 600
MAX_POINTS = 20_000
# What fits through a function's answer: 6 MB, base64 takes a third more
MAX_ANSWER_BYTES = 4_500_000
_STATISTICS_FROM = 3  # series
# Samples may be this late (s), and change a bucket that was sent already
_LATENESS = 120


def series_router(site: Site, clock: Callable[[], float] = time.time) -> APIRouter:
    """The route, for the query application."""
    router = guarded_router("pages")

    @router.get("/frontend/job/{id}/series")
    def job_series(
        request: Request,
        user: CurrentUser,
        id: int,
        metric: Annotated[list[str] | None, Query()] = None,
        scope: Annotated[list[MetricScope] | None, Query()] = None,
        from_: Annotated[float | None, Query(alias="from")] = None,
        to: float | None = None,
        points: Annotated[int, Query(ge=1, le=MAX_POINTS)] = DEFAULT_POINTS,
        resolution: Annotated[float | None, Query(ge=0, le=1e9)] = None,
        since: float | None = None,
        statistics: str = "",
    ) -> Response:
        job = visible_job(site, user, id)
        window = Window.of(job, _finite(from_, "from"), _finite(to, "to"), clock())
        width = resolution if resolution is not None else (window.end - window.start) / points
        metrics = readable_metrics(site, user, job, metric)
        # Neither given: `start` stays None, so that the whole job is meant
        start = max((value for value in (from_, _finite(since, "since")) if value is not None), default=None)
        answer = site.metrics.frame(job, metrics, scope, width, start=start, end=to)
        answer.resolution = width
        answer.next = next_since(answer, width)
        for each in answer.metrics:
            if statistics in ("1", "only") and len(each.series) >= _STATISTICS_FROM:
                each.statistics_series = over_series(each)
                if statistics == "only":
                    each.series = []
            shorten(each)
        return frame_response(answer, request.headers.get("accept-encoding", ""))

    return router


def visible_job(site: Site, user: User, id: int) -> Job:
    """The job, if there is one and the user may see it: NotFoundError either way."""
    job = site.jobs.get(id) if 0 < id < 2**31 else None
    if job is None or not JobVisibility.of(user).admits(job):
        raise NotFoundError(f"no job with id {id}")
    return job


def readable_metrics(site: Site, user: User, job: Job, names: Sequence[str] | None) -> Sequence[str] | None:
    """The named metrics (None: all) without those that the cluster restricts and the user may not read."""
    if may(user, Capability.RESTRICTED_METRICS):
        return names
    cluster = site.clusters.cluster(job.cluster)
    sub_cluster = cluster.sub_cluster(job.sub_cluster) if cluster is not None else None
    known = (sub_cluster or cluster).metric_config if cluster is not None else ()
    restricted = {metric.name for metric in known if metric.restrict}
    if not restricted:
        return names
    if names is None:
        names = [metric.name for metric in known]
    return [name for name in names if name not in restricted]


def next_since(answer: Frame, resolution: float) -> float:
    """From when on the next answer can hold anything new: a bucket, or the lateness of samples, before the
    newest value."""
    newest = []
    for metric in answer.metrics:
        ends = [
            series.grid.start + (len(series.mean) - 1) * series.grid.step
            for series in metric.series
            if len(series.mean)
        ]
        if ends:
            newest.append(max(ends) - max(2 * max(resolution, metric.native_timestep), _LATENESS))
    return max(answer.start, min(newest, default=answer.start))


def over_series(metric: FrameMetric) -> FrameStatistics:
    """Extremes and median per point, the series laid on the first one's steps (off by less than a half)."""
    step = metric.series[0].grid.step
    start = min(series.grid.start for series in metric.series)
    rows = []
    for series in metric.series:
        offset = max(0, round((series.grid.start - start) / step))
        rows.append(np.concatenate([np.full(offset, np.nan), series.mean.astype(np.float64)]))
    result = statistics_series(rows)
    return FrameStatistics(FrameGrid(start, step), result.min, result.median, result.max)


def shorten(metric: FrameMetric) -> None:
    """Single precision, which is more than a screen shows, for half the bytes."""
    for series in metric.series:
        series.mean = _single(series.mean)
        series.min = None if series.min is None else _single(series.min)
        series.max = None if series.max is None else _single(series.max)
    statistics = metric.statistics_series
    if statistics is not None:
        statistics.min, statistics.median, statistics.max = map(
            _single, (statistics.min, statistics.median, statistics.max)
        )


def _single(values: Values) -> Values:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def frame_response(answer: Frame, accept_encoding: str) -> Response:
    """The frame, compressed where the caller takes it. TooLargeError beyond what a function can answer."""
    content = frame.encode(answer)
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if accepts_gzip(accept_encoding):
        content = gzip.compress(content, compresslevel=5)
        headers["Content-Encoding"] = "gzip"
    if len(content) > MAX_ANSWER_BYTES:
        raise TooLargeError(
            f"the series are {len(content) / 1e6:.1f} MB, more than {MAX_ANSWER_BYTES / 1e6:.1f}: ask for"
            " fewer metrics, points, or statistics=only"
        )
    return Response(content, media_type=frame.CONTENT_TYPE, headers=headers)


def accepts_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "").removeprefix("q=").rstrip("0.") != "" or not quality
    return False


def _finite(value: float | None, name: str) -> float | None:
    if value is not None and not (math.isfinite(value) and abs(value) < 1e12):
        raise InvalidInputError(f"{name} must be a time in Unix seconds")
    return value
