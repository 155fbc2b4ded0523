"""Whether one job satisfies filters, decided in Python on the job itself.

The index answers from columns that may be a moment old; every row of a page is read afresh and decided here
again before it is shown. `index.sql` says the same in SQL: a property test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from clustercockpit.index.model import JobFilter, Range, TextMatch
from clustercockpit.index.rows import JOB_NAME_KEY
from clustercockpit.jobs.model import Job

INTERACTIVE = "interactive"


def matches(job: Job, filters: Sequence[JobFilter], now: int, *, job_name: str | None = None) -> bool:
    """Whether the job satisfies all filters at `now` (Unix seconds).

    `job_name` stands in for metadata that was not loaded; a condition on the name of a job without either
    fails.
    """
    name = job.meta_data.get(JOB_NAME_KEY) if job.meta_data is not None else job_name
    return all(_matches(job, name, each, now) for each in filters)


def _matches(job: Job, name: str | None, wanted: JobFilter, now: int) -> bool:
    hosts = [resource.hostname for resource in job.resources]
    footprint = job.footprint or {}
    return (
        (wanted.ids is None or job.id in wanted.ids)
        and number_text_matches(job.job_id, wanted.job_id)
        and (wanted.array_job_id is None or job.array_job_id == wanted.array_job_id)
        and text_matches(job.user, wanted.user)
        and text_matches(job.project, wanted.project)
        and text_matches(job.cluster, wanted.cluster)
        and text_matches(job.sub_cluster, wanted.sub_cluster)
        and text_matches(job.partition, wanted.partition)
        and (wanted.job_name is None or not is_given(wanted.job_name) or text_matches(name, wanted.job_name))
        and any_text_matches(hosts, wanted.node)
        and (wanted.states is None or job.state in wanted.states)
        and (wanted.shared is None or job.shared is wanted.shared)
        and _schedule_matches(name, wanted.schedule)
        and (wanted.tags is None or any(tag.id in wanted.tags for tag in job.tags))
        and (wanted.only_tags is None or all(tag.id in wanted.only_tags for tag in job.tags))
        and in_range(job.start_time, wanted.start_time)
        and in_range(job.elapsed(now), wanted.duration)
        and in_range(job.num_nodes, wanted.num_nodes)
        and in_range(job.num_hwthreads, wanted.num_hwthreads)
        and in_range(job.num_acc, wanted.num_acc)
        and in_range(job.energy, wanted.energy)
        and all(in_range(footprint.get(key), bounds) for key, bounds in wanted.footprints)
    )


def needs_job_name(filters: Iterable[JobFilter]) -> bool:
    """Whether deciding the filters takes the job's metadata."""
    return any(
        each.schedule in {INTERACTIVE, "batch"} or (each.job_name is not None and is_given(each.job_name))
        for each in filters
    )


def in_range(value: float | None, bounds: Range | None) -> bool:
    """Inclusive. A missing value fails any bound and passes the open range."""
    if bounds is None or (bounds.low is None and bounds.high is None):
        return True
    if value is None:
        return False
    return (bounds.low is None or value >= bounds.low) and (bounds.high is None or value <= bounds.high)


def is_given(match: TextMatch) -> bool:
    """Whether the match has any condition."""
    return match != TextMatch()


def text_matches(value: str | None, match: TextMatch | None) -> bool:
    """The first given condition decides; a missing value fails every condition."""
    if match is None or not is_given(match):
        return True
    if value is None:
        return False
    if match.eq is not None:
        return value == match.eq
    if match.neq is not None:
        return value != match.neq
    pattern = like_pattern(match)
    if pattern is not None:
        return is_like(ascii_lower(value), pattern)
    return match.one_of is not None and value in match.one_of


def any_text_matches(values: Sequence[str], match: TextMatch | None) -> bool:
    """Whether some value satisfies the match; `neq` thus asks for some value that differs."""
    if match is None or not is_given(match):
        return True
    return any(text_matches(value, match) for value in values)


def number_text_matches(value: int, match: TextMatch | None) -> bool:
    """A number asked for in text: equality compares numbers, patterns the decimal text."""
    if match is None or not is_given(match):
        return True
    if match.eq is not None:
        return value == number_in(match.eq)
    if match.neq is not None:
        return value != number_in(match.neq)
    if match.one_of is not None and like_pattern(match) is None:
        return value in {number_in(text) for text in match.one_of}
    return text_matches(str(value), match)


def number_in(text: str) -> int | None:
    """The whole number a text stands for, or None: then nothing equals it."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def like_pattern(match: TextMatch) -> str | None:
    """The pattern of the first given pattern form, in lower case ASCII: `%` stands for any text and `_` for
    any character, also where the caller wrote them."""
    if match.starts_with is not None:
        return f"{ascii_lower(match.starts_with)}%"
    if match.ends_with is not None:
        return f"%{ascii_lower(match.ends_with)}"
    if match.contains is not None:
        return f"%{ascii_lower(match.contains)}%"
    return None


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def ascii_lower(text: str) -> str:
    return text.translate(_LOWER)


def is_like(text: str, pattern: str) -> bool:
    """SQL's LIKE without an escape character. Takes time linear in both for each `%`, whatever they hold:
    every piece between two `%` is found at its leftmost place, which is never worse than a later one."""
    first, *rest = pattern.split("%")
    if not rest:
        return _piece(first).fullmatch(text) is not None
    last = rest.pop()
    found = _piece(first).match(text)
    if found is None:
        return False
    position = found.end()
    for piece in filter(None, rest):
        found = _piece(piece).search(text, position)
        if found is None:
            return False
        position = found.end()
    end = len(text) - len(last)
    return end >= position and _piece(last).fullmatch(text, end) is not None


@lru_cache(maxsize=256)
def _piece(piece: str) -> re.Pattern[str]:
    return re.compile("".join("." if c == "_" else re.escape(c) for c in piece), re.DOTALL)


def _schedule_matches(name: str | None, schedule: str | None) -> bool:
    if schedule == INTERACTIVE:
        return name == INTERACTIVE
    if schedule == "batch":
        return name is not None and name != INTERACTIVE
    return True
