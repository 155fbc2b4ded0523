"""Takes over an existing job archive: its clusters and jobs, so that a site sees its own data at once.

Also rebuilds finished jobs in the table from our own archive (`source` is the site's archive then). Jobs go
through `JobStore.insert_finished`, which leaves change rows, so that the job index fills itself. It can be
stopped and started again at any time: what is there already is passed over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clustercockpit.archive.job_archive import JobIdentity, ObjectJobArchive, in_parallel
from clustercockpit.archive.statistics import energy_footprint, footprint, total_energy
from clustercockpit.clusters.model import SubCluster
from clustercockpit.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Tag

if TYPE_CHECKING:
    from clustercockpit.site import Site

_WORKERS = 16
_DAY = 86_400
_ERRORS_KEPT = 100


@dataclass(slots=True)
class ImportReport:
    """How far an import got. `failed` counts the damaged jobs, `errors` describes the first hundred."""

    total: int = 0
    imported: int = 0
    present: int = 0
    failed: int = 0
    clusters: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.imported + self.present + self.failed


def run(
    site: Site,
    source: ObjectJobArchive,
    *,
    days: int | None = None,
    progress: Callable[[ImportReport], None] = lambda _: None,
    workers: int = _WORKERS,
) -> ImportReport:
    """Import clusters and jobs of `source`. `days`: only jobs that started within so many days before the
    newest one. `progress` is called about every hundred jobs and at the end; `workers` jobs are taken over
    at a time.

    Raises ConfigurationError where `source` is no archive of our version. A damaged job is reported and
    passed over; UnavailableError ends the import, to be started again.
    """
    try:
        source.check()
    except NotFoundError:
        raise ConfigurationError("no job archive there: version.txt is missing") from None
    report = ImportReport()
    _clusters(site, source, report)
    identities = sorted(source.identities(), reverse=True)
    if days is not None and identities:
        earliest = identities[0].start_time - days * _DAY
        identities = [identity for identity in identities if identity.start_time >= earliest]
    report.total = len(identities)
    progress(report)
    one = _JobImport(site, source)
    for outcome in in_parallel(one, identities, workers):
        if outcome is None:
            report.present += 1
        elif isinstance(outcome, Exception):
            _failed(report, str(outcome))
        else:
            report.imported += 1
        if report.done % 100 == 0:
            progress(report)
    progress(report)
    return report


def _failed(report: ImportReport, error: str) -> None:
    report.failed += 1
    if len(report.errors) < _ERRORS_KEPT:
        report.errors.append(error)


def _clusters(site: Site, source: ObjectJobArchive, report: ImportReport) -> None:
    for name in source.cluster_names():
        report.clusters.append(name)
        if source is site.archive:
            continue
        document, _ = source.read_cluster_document(name)
        try:
            present, _ = site.archive.read_cluster_document(name)
        except NotFoundError:
            site.archive.write_cluster_document(name, document)
        else:
            if present != document and len(report.errors) < _ERRORS_KEPT:
                report.errors.append(f"{name}/cluster.json: another one is here already and stays")
    site.clusters.reread()


class _JobImport:
    """Imports one job; safe to call from many threads."""

    def __init__(self, site: Site, source: ObjectJobArchive) -> None:
        self._site = site
        self._source = source
        self._tags: dict[tuple[str, str, str], Tag] = {}
        self._lock = threading.Lock()

    def __call__(self, identity: JobIdentity) -> Job | Exception | None:
        """The job as stored, None if it was there already, or what is wrong with it."""
        site = self._site
        try:
            job = self._source.read_identity(identity)
            if self._source is not site.archive and not site.archive.contains(job):
                site.archive.copy(identity, self._source)
            if site.jobs.find(job.job_id, job.cluster, job.start_time) is not None:
                return None
            return site.jobs.insert_finished(self._prepared(job))
        except ConflictError:
            return None  # another import was faster
        except (InvalidInputError, NotFoundError) as error:
            return error

    def _prepared(self, job: Job) -> Job:
        """What the table keeps of an archived job. InvalidInputError for what cannot be one."""
        if job.state is JobState.RUNNING:
            raise InvalidInputError(f"{JobIdentity.of(job).folder}meta.json: the job is still running")
        sub_cluster = self._sub_cluster(job)
        statistics = job.statistics or {}
        if sub_cluster is not None:
            energy = energy_footprint(sub_cluster, statistics, job.num_nodes, job.duration)
            job = replace(
                job,
                sub_cluster=sub_cluster.name,
                footprint=footprint(sub_cluster, statistics),
                energy_footprint=energy,
                energy=total_energy(energy),
            )
        return replace(
            job,
            id=0,
            tags=self._known_tags(job.tags),
            monitoring_status=MonitoringStatus.ARCHIVED,
        )

    def _sub_cluster(self, job: Job) -> SubCluster | None:
        cluster = self._site.clusters.cluster(job.cluster)
        if cluster is None:
            return None
        if job.sub_cluster or not job.resources:
            return cluster.sub_cluster(job.sub_cluster)
        return self._site.clusters.sub_cluster_of(job.cluster, job.resources[0].hostname)

    def _known_tags(self, tags: Sequence[Tag]) -> tuple[Tag, ...]:
        """The tags with our ids, made where they are new. The scope is kept: what was private stays so."""
        known = []
        for tag in tags:
            key = (tag.type, tag.name, tag.scope)
            with self._lock:
                if key not in self._tags:
                    self._tags[key] = self._site.tags.find_or_create(*key)
                known.append(self._tags[key])
        return tuple(known)
