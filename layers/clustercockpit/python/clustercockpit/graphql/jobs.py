"""Jobs: `jobs`, `job`, and the fields of a job. `spec/graphql-api.md` chapters 3, 5 to 8."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ariadne import ObjectType

from clustercockpit.errors import InvalidInputError, NotFoundError
from clustercockpit.graphql.context import Context, Info, selects
from clustercockpit.graphql.questions import job_filters, job_order, job_page
from clustercockpit.graphql.roots import query
from clustercockpit.index.model import JobFilter
from clustercockpit.index.ports import JobLink
from clustercockpit.jobs.model import Job, Sharing, Tag
from clustercockpit.query.jobs import find_job
from clustercockpit.tags.reading import readable

job_type = ObjectType("Job")
job_list = ObjectType("JobResultList")

SHORTEST_CONCURRENT: Final = 600  # seconds a job must have run before its neighbours are looked up


@dataclass(frozen=True, slots=True)
class JobList:
    """A page, and how to count all of its list."""

    items: Sequence[Job]
    has_next_page: bool
    filters: Sequence[JobFilter]


@query.field("jobs")
def resolve_jobs(
    _root: None,
    info: Info,
    filter: Sequence[Mapping[str, Any]] | None = None,
    page: Mapping[str, Any] | None = None,
    order: Mapping[str, Any] | None = None,
) -> JobList:
    context = info.context
    filters = job_filters(filter, context.now)
    wanted, ordered = job_page(page), job_order(order)
    if wanted.size < 1 and wanted.size != -1:
        raise InvalidInputError(f"invalid items-per-page value: {wanted.size}")
    if not (selects(info, "items") or selects(info, "hasNextPage")):
        return JobList((), False, filters)
    everything = selects(info, "items", "metaData")
    found = context.site.job_index.page(
        context.visibility, filters, ordered, wanted, with_metadata=everything
    )
    if selects(info, "items", "message") and not everything:
        _add_metadata_of_messages(context, found.jobs)
    context.people.expect(job.user for job in found.jobs)
    return JobList(found.jobs, found.has_next_page, filters)


def _add_metadata_of_messages(context: Context, jobs: Sequence[Job]) -> None:
    """Few jobs carry a message, and what they carry it in may hold a script: read for those alone."""
    ids = [job.id for job in jobs if job.has_message]
    read = (
        {job.id: job.meta_data for job in context.site.jobs.get_many(ids, with_metadata=True)} if ids else {}
    )
    for job in jobs:
        job.meta_data = read.get(job.id)


@job_list.field("count")
def resolve_count(jobs: JobList, info: Info) -> int:
    context = info.context
    return context.site.job_index.count(context.visibility, jobs.filters)


@job_list.field("hasNextPage")
def resolve_has_next_page(jobs: JobList, _info: Info) -> bool:
    return jobs.has_next_page


def job_by_id(context: Context, id: str) -> Job:
    """The job of an `id` argument, with metadata. NotFoundError where the user may not see it."""
    if not re.fullmatch(r"[+-]?\d{1,19}", id, re.ASCII):
        raise InvalidInputError(f"the id of a job is a whole number, not {id[:60]!r}")
    try:
        return find_job(context.site, context.user, int(id))
    except NotFoundError:
        raise NotFoundError(f"there is no job with id {int(id)}, or you may not see it") from None


@query.field("job")
def resolve_job(_root: None, info: Info, id: str) -> Job:
    return job_by_id(info.context, id)


@job_type.field("duration")
def resolve_duration(job: Job, info: Info) -> int:
    return job.elapsed(info.context.now)


@job_type.field("jobName")
def resolve_job_name(job: Job, _info: Info) -> str:
    return (job.meta_data or {}).get("jobName") or job.job_name


@job_type.field("message")
def resolve_message(job: Job, _info: Info) -> str:
    return (job.meta_data or {}).get("message", "")


@job_type.field("tags")
def resolve_tags(job: Job, info: Info) -> Sequence[Tag]:
    return readable(info.context.user, job.tags)


@job_type.field("footprint")
def resolve_footprint(job: Job, _info: Info) -> list[dict[str, Any]]:
    found = []
    for key, value in sorted((job.footprint or {}).items()):
        name, _, statistic = key.rpartition("_")
        found.append({"name": name, "stat": statistic, "value": value})
    return found


_HARDWARE: Final = (("cpu", "CPU"), ("acc", "Accelerator"), ("mem", "Memory"), ("core", "Core"))


@job_type.field("energyFootprint")
def resolve_energy_footprint(job: Job, _info: Info) -> list[dict[str, Any]]:
    return [
        {"hardware": hardware_of(metric), "metric": metric, "value": value}
        for metric, value in sorted((job.energy_footprint or {}).items())
    ]


def hardware_of(metric: str) -> str:
    """What the metric's name says it measures: a word in lower, title or upper case."""
    for word, hardware in _HARDWARE:
        if any(spelled in metric for spelled in (word, word.title(), word.upper())):
            return hardware
    return "Other"


@job_type.field("userData")
def resolve_user_data(job: Job, info: Info) -> Any:
    return info.context.people.account(job.user)


@job_type.field("concurrentJobs")
def resolve_concurrent_jobs(job: Job, info: Info) -> dict[str, Any] | None:
    context = info.context
    if job.shared is Sharing.NONE or job.elapsed(context.now) <= SHORTEST_CONCURRENT or not job.resources:
        return None
    links: Sequence[JobLink] = context.site.job_index.concurrent(context.visibility, job)
    return {
        "items": [{"id": link.id, "jobId": link.job_id} for link in links],
        "count": len(links),
        "listQuery": f"cluster={job.cluster}" + "".join(f"&jobId={link.job_id}" for link in links),
    }


# Tags and people


@query.field("tags")
def resolve_all_tags(_root: None, info: Info) -> Sequence[Tag]:
    context = info.context
    return readable(context.user, context.site.tags.all())


@query.field("user")
def resolve_user(_root: None, info: Info, username: str) -> Any:
    return info.context.people.account(username)


BINDABLES = (job_type, job_list)
