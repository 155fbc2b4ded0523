"""Which hosts may not be forgotten by age: those of jobs whose samples are still needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from clustercockpit.jobs.model import Job
from clustercockpit.jobs.ports import JobStore


class JobHosts:
    """Hosts of running jobs, of stopped jobs that are not archived yet, and of those whose archiving failed:
    the archiver, or a person who starts it again, will ask for their samples."""

    def __init__(self, jobs: JobStore, clusters: Callable[[], Sequence[str]]) -> None:
        self._jobs = jobs
        self._clusters = clusters

    def protected_hosts(self) -> frozenset[tuple[str, str]]:
        """(cluster, host) pairs. Raises what the job store raises when it does not answer."""
        found: Iterable[Job] = self._jobs.archiving_pending()
        for cluster in self._clusters():
            found = chain(found, self._jobs.running(cluster), self._jobs.archiving_failed(cluster))
        return frozenset((job.cluster, resource.hostname) for job in found for resource in job.resources)
