"""The door of the archive room: finished jobs as documents, in the reference's layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from clustercockpit.jobs.model import Job
from clustercockpit.metrics.model import JobData


class JobArchive(Protocol):
    """`<cluster>/<job_id div 1000>/<job_id mod 1000>/<start>/{meta.json,data.json[.gz]}` in any object
    store. `data` is written before `meta`; `meta` is the commit mark."""

    def cluster_names(self) -> Sequence[str]: ...

    def read_cluster_document(self, cluster: str) -> tuple[bytes, str]:
        """The bytes of `cluster.json` and a version mark (ETag). NotFoundError."""
        ...

    def write_cluster_document(self, cluster: str, document: bytes) -> None: ...

    def contains(self, job: Job) -> bool: ...

    def write(self, job: Job, data: JobData) -> None: ...

    def rewrite_meta(self, job: Job) -> bool:
        """Bring `meta.json` in step with the job; False where there is no archived job."""
        ...

    def read_meta(self, cluster: str, job_id: int, start_time: int) -> Job:
        """The archived job with its statistics. NotFoundError, or InvalidInputError if damaged."""
        ...

    def read_data(self, cluster: str, job_id: int, start_time: int) -> JobData: ...

    def jobs(self, cluster: str | None = None) -> Iterator[Job | Exception]:
        """Every archived job; a damaged one yields its error in place, naming the path."""
        ...
