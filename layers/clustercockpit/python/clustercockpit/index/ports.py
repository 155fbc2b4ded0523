"""The doors of the job index: what filters, sorts and counts over all jobs, and what that stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from clustercockpit.access.model import JobVisibility
from clustercockpit.index.model import JobFilter, JobOrder, JobPage, Page
from clustercockpit.index.rows import IndexRow
from clustercockpit.jobs.model import Job


@dataclass(frozen=True, slots=True)
class JobLink:
    id: int
    job_id: int


class JobIndex(Protocol):
    """Answers include every change committed before the call (segments, deltas and the overlay)."""

    def page(
        self,
        visibility: JobVisibility,
        filters: Sequence[JobFilter],
        order: JobOrder | None,
        page: Page,
        *,
        with_metadata: bool = False,
    ) -> JobPage: ...

    def count(self, visibility: JobVisibility, filters: Sequence[JobFilter]) -> int: ...

    def concurrent(self, visibility: JobVisibility, job: Job) -> Sequence[JobLink]:
        """Jobs on the same cluster's same first node that ran for some time while `job` did, itself among
        them; finished ones first (`spec/graphql-api.md` 8.6)."""
        ...

    def partitions(self, cluster: str) -> Sequence[str]:
        """Names of the partitions that jobs of the cluster ran in, ascending; up to an hour old."""
        ...


class ChangeLog(Protocol):
    """Change rows as the writers of jobs left them, in buckets of one minute and a few shards each."""

    def read(self, minute: int, shard: int) -> Sequence[IndexRow]:
        """A whole bucket, strongly consistent. `minute` is Unix time div 60. Rows live two days."""
        ...


class JobScan(Protocol):
    """The way back from nothing: reads the truth itself."""

    def rows(self) -> Iterator[IndexRow]:
        """Every job once, in no order. Takes minutes at a million jobs; never on a request's path."""
        ...


@dataclass(frozen=True, slots=True)
class IndexHead:
    """Where the index stands. `manifest` is the key of an immutable object in the data bucket."""

    version: int
    watermark: int  # last minute (Unix time div 60) whose changes the manifest's files contain
    shards: int  # buckets per minute to read; only grows
    manifest: str


class IndexHeads(Protocol):
    """The one mutable cell of the index."""

    def read(self) -> IndexHead | None:
        """Strongly consistent; None before the first build."""
        ...

    def replace(self, head: IndexHead, *, expected: int | None) -> None:
        """Set the head if its version still is `expected` (None: if there is none). ConflictError."""
        ...
