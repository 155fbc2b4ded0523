"""The doors of the jobs room: what it needs from storage and offers to others.

Implementations: `storage.dynamodb.jobs`. Contract tests in `tests/contract` run against each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Tag


class JobStore(Protocol):
    """The truth about jobs. Reads are strongly consistent unless said otherwise. Every change raises
    `Job.ver` and leaves a change row for the job index, in one transaction."""

    def start(self, job: Job) -> Job:
        """Store a new running job with a fresh id, metadata and resources included.

        Raises ConflictError (naming the winner's id) where the natural key (job_id, cluster, start_time)
        exists or a job of the same job_id and cluster started less than 24 h before or any time after.
        A repeated call after a lost answer finds its own job and returns it (ruling 1).
        """
        ...

    def insert_finished(self, job: Job) -> Job:
        """Store a finished job as imported: no 24 h guard. ConflictError if the natural key exists."""
        ...

    def get(self, id: int, *, with_metadata: bool = False) -> Job | None:
        """One job by our id, resources included; metadata only on request."""
        ...

    def get_many(self, ids: Sequence[int], *, with_metadata: bool = False) -> list[Job]:
        """Those of the jobs that exist, in the order asked."""
        ...

    def find(self, job_id: int, cluster: str | None = None, start_time: int | None = None) -> Job | None:
        """Newest match: greatest start time, then id (ruling 4)."""
        ...

    def stop(self, id: int, *, state: JobState, stop_time: int) -> Job:
        """Finish a running job. ConflictError if it is not running, NotFoundError if it is gone."""
        ...

    def archived(
        self,
        id: int,
        *,
        status: MonitoringStatus,
        footprint: dict[str, float] | None = None,
        energy_footprint: dict[str, float] | None = None,
        energy: float | None = None,
        remarks: Sequence[str] = (),
    ) -> Job:
        """Record the outcome of archiving; `remarks` join those that the job has. A job already archived
        stays as it is."""
        ...

    def delete(self, id: int) -> None:
        """Remove the job with everything that hangs on it. Deleting what is not there is no error."""
        ...

    def edit_metadata(self, id: int, key: str, value: str) -> Job:
        """Set one key; the job comes back with its metadata. NotFoundError."""
        ...

    def change_tags(self, id: int, *, add: Sequence[Tag] = (), remove: Sequence[Tag] = ()) -> Job:
        """Attach and detach tags that exist (`Tag.id` given); what is so already is no error.
        NotFoundError for the job."""
        ...

    def running(self, cluster: str) -> Iterable[Job]:
        """Running jobs of a cluster with resources, eventually consistent: a work list."""
        ...

    def archiving_pending(self) -> Iterable[Job]:
        """Stopped jobs whose archiving has not finished, oldest stop first, eventually consistent."""
        ...

    def archiving_failed(self, cluster: str) -> Iterable[Job]: ...


class ArchiveQueue(Protocol):
    """Hands stopped jobs to the archiver."""

    def enqueue(self, id: int, *, delay_seconds: int | None = None) -> None: ...
