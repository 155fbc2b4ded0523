"""Series for the browser: `GET /frontend/job/{id}/series`, and for the rows of a list
`GET /frontend/jobs/series`. `docs/frame.md` is the contract."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from clustercockpit.access.model import JobVisibility, User
from clustercockpit.access.rules import Capability, may
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import InvalidInputError, NotFoundError
from clustercockpit.http.door import CurrentUser, guarded_router
from clustercockpit.jobs.model import Job

if TYPE_CHECKING:
    from clustercockpit.metrics.frame import Frame
    from clustercockpit.site import Site

DEFAULT_POINTS = 600
MAX_POINTS = 20_000
# Of a request for the small curves of a list's rows
MAX_JOBS = 32
MAX_ROW_METRICS = 24
DEFAULT_ROW_POINTS = 120
MAX_ROW_POINTS = 400
JOBS_AT_ONCE = 4


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
        # NumPy costs a cold start a tenth of a second that other routes need not pay
        from clustercockpit.metrics import series_answer
        from clustercockpit.metrics.live import Window

        job = visible_job(site, user, id)
        window = Window.of(job, _finite(from_, "from"), _finite(to, "to"), clock())
        width = resolution if resolution is not None else math.ceil((window.end - window.start) / points)
        metrics = readable_metrics(site, user, job, metric)
        # Neither given: `start` stays None, so that the whole job is meant
        start = max((value for value in (from_, _finite(since, "since")) if value is not None), default=None)
        answer = site.metrics.frame(job, metrics, scope, width, start=start, end=to)
        series_answer.prepare(answer, width, statistics)
        return series_answer.frame_response(answer, request.headers.get("accept-encoding", ""))

    _add_rows(router, site, clock)
    return router


def _add_rows(router: APIRouter, site: Site, clock: Callable[[], float]) -> None:

    @router.get("/frontend/jobs/series")
    def series_of_jobs(
        request: Request,
        user: CurrentUser,
        id: Annotated[list[int], Query(max_length=MAX_JOBS)],
        metric: Annotated[list[str], Query(max_length=MAX_ROW_METRICS)],
        scope: MetricScope = MetricScope.NODE,
        points: Annotated[int, Query(ge=1, le=MAX_ROW_POINTS)] = DEFAULT_ROW_POINTS,
    ) -> Response:
        """Small curves of several jobs: a batch of frames. Of more than two series, extremes and median only.
        A job that does not exist or that one may not see is left out; one whose series cannot be read has a
        frame that says why."""
        from clustercockpit.metrics import series_answer

        visible = JobVisibility.of(user)
        jobs = [job for job in site.jobs.get_many(list(dict.fromkeys(id))) if visible.admits(job)]

        def frame_of(job: Job) -> Frame:
            names = readable_metrics(site, user, job, metric) or []
            return series_answer.of_row(site.metrics, job, names, scope, points, clock())

        with ThreadPoolExecutor(JOBS_AT_ONCE) as readers:
            frames = list(readers.map(frame_of, jobs))
        batch = [(job.id, answer) for job, answer in zip(jobs, frames, strict=True)]
        return series_answer.batch_response(batch, request.headers.get("accept-encoding", ""))


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


def _finite(value: float | None, name: str) -> float | None:
    if value is not None and not (math.isfinite(value) and abs(value) < 1e12):
        raise InvalidInputError(f"{name} must be a time in Unix seconds")
    return value
