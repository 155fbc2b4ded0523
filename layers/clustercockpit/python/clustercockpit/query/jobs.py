"""The reference's routes that list jobs and show one: `/api/jobs/…` and their twins below `/userapi`.

`spec/rest-and-nats-api.md` 4.4, 4.5, 4.6, 4.11.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from clustercockpit.access.model import JobVisibility, User
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import ClusterCockpitError, InvalidInputError, NotFoundError
from clustercockpit.http.answers import JsonAnswer, Refusal, json_bytes, told
from clustercockpit.http.bodies import Body
from clustercockpit.http.door import CurrentUser, guarded_router
from clustercockpit.index.model import Direction, JobFilter, JobOrder, Page, Range, TextMatch
from clustercockpit.jobs.documents import job_document
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus
from clustercockpit.query.series import default_resolution, flat, load_series
from clustercockpit.reference_json import ListOf, Text, decode
from clustercockpit.tags.reading import readable

if TYPE_CHECKING:
    from clustercockpit.site import Site

log = logging.getLogger(__name__)

DEFAULT_PAGE_SIZE: Final = 25
LARGEST_PAGE: Final = 2**31 - 1
NEWEST_FIRST: Final = JobOrder("start_time", Direction.DESCENDING)
_ARCHIVE_READERS: Final = 16
_FALSE: Final = frozenset({"false", "0", "no", "off"})


def job_routers(site: Site) -> list[APIRouter]:
    """The same routes twice: for machines, and for people's own tokens."""
    return [_router(site, "main-api", "/api"), _router(site, "user-api", "/userapi")]


def _router(site: Site, rule: str, prefix: str) -> APIRouter:
    router = guarded_router(rule, prefix=prefix)

    @router.get("/jobs/")
    def list_jobs(request: Request, user: CurrentUser) -> Response:
        query = list_query(request.query_params)
        now = int(time.time())
        page = site.job_index.page(
            JobVisibility.of(user),
            [query.filter],
            NEWEST_FIRST,
            query.page,
            with_metadata=query.with_metadata,
        )
        jobs = with_statistics(site, page.jobs)
        return JsonAnswer(
            {
                "jobs": [shown(job, user, now) for job in jobs],
                "items": query.page.size,
                "page": query.page.number,
            }
        )

    @router.get("/jobs/metrics/{id}")
    def job_metrics(id: str, request: Request, user: CurrentUser) -> Response:
        try:
            scopes = [_scope(text) for text in request.query_params.getlist("scope")] or None
            job = visible_job(site, user, id)
            names = request.query_params.getlist("metric") or None
            data = load_series(site, user, job, names, scopes, default_resolution(site))
        except _UnknownScopeError:
            raise
        except (ClusterCockpitError, Refusal) as error:
            # Programs look at the body: the reference answers 200 whatever happened
            return JsonAnswer({"data": None, "error": {"message": told(error)}})
        return _raw(
            b'{"data":{"jobMetrics":[%b]},"error":null}\n' % b",".join(_named(*it) for it in flat(data))
        )

    @router.get("/jobs/{id}")
    def job(id: str, request: Request, user: CurrentUser) -> Response:
        found = visible_job(site, user, id)
        series = b"null"
        if request.query_params.get("all-metrics") == "true":
            from clustercockpit.archive.documents import encode_data

            series = encode_data(load_series(site, user, found, None, *_whole_job(site, found)))
        return _raw(b'{"Meta":%b,"Data":%b}\n' % (_meta(site, found, user), series))

    @router.post("/jobs/{id}")
    def job_with_metrics(id: str, body: Body, user: CurrentUser) -> Response:
        found = visible_job(site, user, id)
        names: list[str] | None = None
        if body.strip() != b"null":
            try:
                names = decode(body, ListOf(Text()))
            except InvalidInputError as error:
                raise InvalidInputError(f"decoding request failed: {error}") from None
        data = load_series(site, user, found, names, *_whole_job(site, found)) if names != [] else {}
        items = b",".join(_named(*it) for it in flat(data))
        return _raw(b'{"Meta":%b,"Data":[%b]}\n' % (_meta(site, found, user), items))

    return router


# Lists


@dataclass(frozen=True, slots=True)
class ListQuery:
    filter: JobFilter
    page: Page
    with_metadata: bool


def list_query(parameters: QueryParams) -> ListQuery:
    """What a list is asked for. Only the reference's keys are taken; InvalidInputError naming the key."""
    states: list[JobState] = []
    texts: dict[str, str] = {}
    for key, value in parameters.multi_items():
        if key == "state":
            try:
                states.append(JobState(value))
            except ValueError:
                raise InvalidInputError("invalid query parameter value: state") from None
        elif key in {"cluster", "project", "start-time", "items-per-page", "page", "with-metadata"}:
            texts.setdefault(key, value)
        else:
            raise InvalidInputError(f"invalid query parameter: {key}")
    return ListQuery(
        JobFilter(
            states=tuple(states) or None,
            cluster=TextMatch(eq=texts["cluster"]) if "cluster" in texts else None,
            project=TextMatch(eq=texts["project"]) if "project" in texts else None,
            start_time=_window(texts["start-time"]) if "start-time" in texts else None,
        ),
        Page(_count(texts, "page", 1), _count(texts, "items-per-page", DEFAULT_PAGE_SIZE)),
        "with-metadata" in texts and texts["with-metadata"].lower() not in _FALSE,
    )


def _window(text: str) -> Range:
    found = re.fullmatch(r"(\d{1,18})-(\d{1,18})", text, re.ASCII)
    if found is None:
        raise InvalidInputError("invalid query parameter value: startTime")
    return Range(int(found[1]), int(found[2]))


def _count(texts: dict[str, str], key: str, default: int) -> int:
    text = texts.get(key)
    if text is None:
        return default
    # A client that wants everything writes as many nines as fit on a line
    if not re.fullmatch(r"[+-]?\d{1,40}", text, re.ASCII):
        raise InvalidInputError(
            f"invalid query parameter value: {key} must be a whole number, got {text[:40]!r}"
        )
    if int(text) < 1:
        raise InvalidInputError(f"{key} must be >= 1")
    return min(int(text), LARGEST_PAGE)


def with_statistics(site: Site, jobs: Sequence[Job]) -> list[Job]:
    """Archived jobs with the statistics their archive holds. One that cannot be read stays without."""
    archived = [job for job in jobs if job.monitoring_status is MonitoringStatus.ARCHIVED]
    if not archived:
        return list(jobs)

    def read(job: Job) -> Job:
        try:
            archive = site.archive.read_meta(job.cluster, job.job_id, job.start_time)
        except ClusterCockpitError as error:
            log.warning("statistics of job %d cannot be read: %s", job.id, error)
            return job
        return replace(job, statistics=archive.statistics)

    with ThreadPoolExecutor(min(_ARCHIVE_READERS, len(archived)), thread_name_prefix="statistics") as pool:
        read_jobs = {job.id: job for job in pool.map(read, archived)}
    return [read_jobs.get(job.id, job) for job in jobs]


# One job


def visible_job(site: Site, user: User, text: str) -> Job:
    """The job of a path. Refusals as in the reference: 400 for what is no number, 422 for no such job."""
    if not re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII):
        raise InvalidInputError(f"integer expected in path for id: {text[:60]!r} is none")
    try:
        return find_job(site, user, int(text))
    except NotFoundError as error:
        raise Refusal(422, f"finding job with db id {int(text)} failed: {error}") from None


def find_job(site: Site, user: User, id: int) -> Job:
    """A job with its metadata, by our id. NotFoundError where there is none or the user may not see it."""
    found = site.jobs.get(id, with_metadata=True) if 0 < id < 2**31 else None
    if found is None or not JobVisibility.of(user).admits(found):
        raise NotFoundError("there is no such job, or you may not see it")
    return site.running_footprints.current().over(found)


def shown(job: Job, user: User, now: int) -> dict[str, Any]:
    """The job's document with the tags the user may read."""
    return job_document(replace(job, tags=readable(user, job.tags)), now=now)


def _meta(site: Site, job: Job, user: User) -> bytes:
    job = with_statistics(site, [job])[0]
    return json_bytes(shown(job, user, int(time.time()))).rstrip()


def _whole_job(site: Site, job: Job) -> tuple[list[MetricScope], int]:
    """Scopes and resolution (seconds) of a request for everything: the coarsest step of the cluster."""
    cluster = site.clusters.cluster(job.cluster)
    steps = [metric.timestep for metric in cluster.metric_config] if cluster is not None else []
    scope = MetricScope.CORE if job.num_nodes == 1 else MetricScope.NODE
    return [scope], max(steps, default=0)


class _UnknownScopeError(InvalidInputError):
    pass


def _scope(text: str) -> MetricScope:
    try:
        return MetricScope(text)
    except ValueError:
        raise _UnknownScopeError(
            f"unmarshaling scope failed: {text[:40]!r} is not a valid scope, use {', '.join(MetricScope)}"
        ) from None


def _named(name: str, scope: MetricScope, metric: Any) -> bytes:
    from clustercockpit.archive.documents import encode_metric  # NumPy: only for who asks for series

    return b'{"name":%b,"scope":%b,"metric":%b}' % (
        orjson.dumps(name),
        orjson.dumps(scope.value),
        encode_metric(metric),
    )


def _raw(body: bytes) -> Response:
    return Response(body, media_type="application/json")
