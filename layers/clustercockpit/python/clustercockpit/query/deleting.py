"""`DELETE /api/jobs/delete_job_before/{ts}` (`spec/rest-and-nats-api.md` 4.9).

It stands here and not beside its neighbours in the api application because only the job index knows which
jobs those are.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from clustercockpit.access.model import JobVisibility
from clustercockpit.errors import InvalidInputError, UnavailableError
from clustercockpit.http.answers import JsonAnswer
from clustercockpit.http.door import guarded_router
from clustercockpit.index.model import Direction, JobFilter, JobOrder, Page, Range
from clustercockpit.jobs.model import JobState

if TYPE_CHECKING:
    from clustercockpit.site import Site

SECONDS: Final = 20.0
"""How long one request deletes; a function has 29 s to answer."""
_PORTION: Final = 200
_AT_ONCE: Final = 8
_EVERYTHING: Final = JobVisibility(everything=True)
_OLDEST_FIRST: Final = JobOrder("start_time", Direction.ASCENDING)
_ENDED: Final = tuple(state for state in JobState if state is not JobState.RUNNING)
_OWN_TAG_TYPES: Final = frozenset({"app", "jobClass"})
"""Types of the tags that the hub sets by itself."""


def deleting_router(site: Site) -> APIRouter:
    router = guarded_router("main-api", prefix="/api")

    @router.delete("/jobs/delete_job_before/{ts}")
    def delete_before(ts: str, request: Request) -> Response:
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", ts, re.ASCII) or not -(2**63) <= int(ts) < 2**63:
            raise InvalidInputError(f"integer expected in path for ts: {ts[:40]!r} is no whole number")
        deleted, left = delete_ended_before(site, int(ts), request.query_params.get("omit-tagged", ""))
        if left:
            raise UnavailableError(
                f"deleted {deleted} jobs in the time of one request; {left} more are to be deleted: repeat"
                " the request"
            )
        return JsonAnswer({"msg": f"Successfully deleted {deleted} jobs"})

    return router


def delete_ended_before(
    site: Site, before: int, omit_tagged: str, *, seconds: float = SECONDS
) -> tuple[int, int]:
    """Delete the jobs that started before a time (Unix seconds) and do not run any more, oldest first; how
    many were, and how many there was no time for.

    `omit_tagged`: `none` or empty; `all` keeps every tagged job; `user` those with a tag that people set.
    InvalidInputError for another word.
    """
    if omit_tagged not in ("", "none", "all", "user"):
        raise InvalidInputError("omit-tagged must be one of: none, all, user")
    only_tags: tuple[int, ...] | None = None
    if omit_tagged == "all":
        only_tags = ()
    elif omit_tagged == "user":
        only_tags = tuple(tag.id for tag in site.tags.all() if tag.type in _OWN_TAG_TYPES)
    wanted = [JobFilter(states=_ENDED, start_time=Range(None, before - 1), only_tags=only_tags)]
    deadline = time.monotonic() + seconds
    deleted = 0
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="delete") as pool:
        while True:
            # What was deleted is no longer in the answer: the first page is always what is left
            page = site.job_index.page(_EVERYTHING, wanted, _OLDEST_FIRST, Page(1, _PORTION))
            if not page.jobs and not page.has_next_page:
                return deleted, 0
            for start in range(0, len(page.jobs), _AT_ONCE):
                if time.monotonic() > deadline:
                    return deleted, site.job_index.count(_EVERYTHING, wanted)
                some = [job.id for job in page.jobs[start : start + _AT_ONCE]]
                list(pool.map(site.jobs.delete, some))
                deleted += len(some)
            if time.monotonic() > deadline:
                return deleted, site.job_index.count(_EVERYTHING, wanted)
