"""Questions about many jobs: filters, order, page. `spec/graphql-api.md` chapters 6 and 7."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clustercockpit.jobs.model import Job, JobState, Sharing


@dataclass(frozen=True, slots=True)
class TextMatch:
    """First given condition wins, in this order. Pattern forms ignore ASCII case."""

    eq: str | None = None
    neq: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    one_of: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive; None is open."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """All given conditions hold together. Times are Unix seconds."""

    ids: tuple[int, ...] | None = None
    job_id: TextMatch | None = None
    array_job_id: int | None = None
    user: TextMatch | None = None
    project: TextMatch | None = None
    job_name: TextMatch | None = None
    cluster: TextMatch | None = None
    sub_cluster: TextMatch | None = None
    partition: TextMatch | None = None
    node: TextMatch | None = None
    states: tuple[JobState, ...] | None = None
    shared: Sharing | None = None
    schedule: str | None = None  # "interactive" or "batch"
    tags: tuple[int, ...] | None = None  # any of
    only_tags: tuple[int, ...] | None = None  # every tag of the job is one of these
    start_time: Range | None = None
    duration: Range | None = None
    num_nodes: Range | None = None
    num_hwthreads: Range | None = None
    num_acc: Range | None = None
    energy: Range | None = None
    footprints: tuple[tuple[str, Range], ...] = field(default=())  # key such as "cpu_load_avg"


class Direction(StrEnum):
    ASCENDING = "asc"
    DESCENDING = "desc"


@dataclass(frozen=True, slots=True)
class JobOrder:
    """`field` is a name of the Job model, or a footprint key if `footprint`. Ties: id descending."""

    field: str
    direction: Direction = Direction.DESCENDING
    footprint: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    number: int = 1  # from 1
    size: int = 50  # -1: everything


@dataclass(slots=True)
class JobPage:
    jobs: list[Job]
    has_next_page: bool
