"""What can be done to jobs, whoever asks: REST and NATS are two doors to the same rules.

Requests come as the bytes that were sent; checks, their order and their messages follow
`spec/rest-and-nats-api.md` 4.2, 4.3, 4.7 to 4.9. Errors are the domain's; a door gives them its status.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from clustercockpit.access.model import User
from clustercockpit.clusters.model import Cluster
from clustercockpit.clusters.ports import ClusterCatalog
from clustercockpit.errors import (
    ClusterCockpitError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from clustercockpit.jobs.documents import JOB, TAG_REQUEST, job_of, job_state, tags_of
from clustercockpit.jobs.model import LATEST_TIME, Job, JobState, MonitoringStatus, Tag
from clustercockpit.jobs.ports import ArchiveQueue, JobStore
from clustercockpit.reference_json import Integer, Record, Shape, Text, decode
from clustercockpit.tags.ports import TagStore
from clustercockpit.tags.reading import readable
from clustercockpit.tags.scopes import may_write

STOP_REQUEST: Final = Record(
    {
        "jobId": Integer(),
        "cluster": Text(),
        "startTime": Integer(),
        "jobState": Text(),
        "stopTime": Integer(),
    }
)
_NAMING: Final[dict[str, Shape]] = {"jobId": Integer(), "cluster": Text(), "startTime": Integer()}
DELETE_REQUEST: Final = Record(_NAMING)
_EDIT: Final = Record({"key": Text(), "value": Text()})
EDIT_REQUEST: Final = Record({**_NAMING, "payload": _EDIT})

_LONGEST_WORD: Final = 255
_MOST_FIGURES: Final = 1_000
_PLAIN_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")
_MOST_REMARKS: Final = 8
_log = logging.getLogger(__name__)


class JobService:
    def __init__(
        self,
        jobs: JobStore,
        tags: TagStore,
        clusters: ClusterCatalog,
        queue: Callable[[], ArchiveQueue],
    ) -> None:
        self._jobs = jobs
        self._tags = tags
        self._clusters = clusters
        self._queue = queue

    # Start and stop

    def start(self, body: bytes | str, user: User) -> Job:
        """Take in a started job.

        Raises InvalidInputError for a job that cannot be (400), ConflictError for one that is known (422),
        ForbiddenError for tags the caller may not set, UnavailableError if it could not be stored.
        """
        job = job_of(decode(body, JOB))
        job = self._checked(replace(job, state=JobState.RUNNING))
        if job.tags:
            self._must_write(job.tags, user)
            job.tags = tuple(
                self._tags.find_or_create(tag.type, tag.name, tag.scope) for tag in dict.fromkeys(job.tags)
            )
        started = self._jobs.start(job)
        if started.remarks:
            _log.warning("job %d (jobId %d): %s", started.id, started.job_id, "; ".join(started.remarks))
        return started

    def _checked(self, job: Job) -> Job:
        """The job with its subcluster and remarks, checked in the reference's order (ruling 7: what is only
        odd passes, marked, for a scheduler adapter stops at the first refusal)."""
        remarks: list[str] = []
        cluster = self._cluster(job.cluster)
        sub_cluster = self._sub_cluster(cluster, job, remarks)
        if not job.resources or not job.user:
            raise InvalidInputError("'resources' and 'user' should not be empty")
        for name, count, least in (
            ("numAcc", job.num_acc, 0),
            ("numHwthreads", job.num_hwthreads, 0),
            ("numNodes", job.num_nodes, 1),
        ):
            if count < least:
                raise InvalidInputError(f"'{name}' must be at least {least}, got {count}")
        if len(job.resources) != job.num_nodes:
            raise InvalidInputError(
                f"len(resources) does not equal numNodes ({len(job.resources)} vs {job.num_nodes})"
            )
        if not 0 < job.start_time <= LATEST_TIME:
            raise InvalidInputError(f"'startTime' must be Unix time in seconds, got {job.start_time}")
        for name, text in (
            ("user", job.user),
            ("project", job.project),
            ("partition", job.partition),
            *(("resources.hostname", resource.hostname) for resource in job.resources),
        ):
            if len(text) > _LONGEST_WORD:
                raise InvalidInputError(f"'{name}' must have at most {_LONGEST_WORD} characters")
        if max(len(job.footprint or ()), len(job.energy_footprint or ())) > _MOST_FIGURES:
            raise InvalidInputError(f"'footprint' must have at most {_MOST_FIGURES} entries")
        if job.job_id < 1:
            remarks.append(f"jobId is {job.job_id}")
        if not _PLAIN_NAME.fullmatch(job.user):
            remarks.append(f"strange user name {job.user[:40]!r}")
        if job.project and not _PLAIN_NAME.fullmatch(job.project):
            remarks.append(f"strange project name {job.project[:40]!r}")
        odd_hosts = [each.hostname for each in job.resources if not _PLAIN_HOST.fullmatch(each.hostname)]
        if odd_hosts:
            remarks.append(f"strange host name {odd_hosts[0][:40]!r} ({len(odd_hosts)} such)")
        missing = [
            each.hostname
            for each in job.resources
            if self._clusters.sub_cluster_of(cluster.name, each.hostname) is None
        ]
        if missing:
            remarks.append(
                f"host {missing[0][:40]!r} is in no subcluster of {cluster.name} ({len(missing)} such)"
            )
        return replace(
            job,
            id=0,
            sub_cluster=sub_cluster,
            # The client has no say in these
            energy_footprint=None,
            statistics=None,
            remarks=tuple(remarks[:_MOST_REMARKS]),
        )

    def _cluster(self, name: str) -> Cluster:
        cluster = self._clusters.cluster(name)
        if cluster is None:
            problem = self._clusters.problems().get(name)
            if problem is not None:
                # The scheduler is right and we are wrong: it should come again
                raise UnavailableError(f"cluster {name!r} cannot be used: {problem}")
            raise InvalidInputError(f"no such cluster: {name}")
        return cluster

    def _sub_cluster(self, cluster: Cluster, job: Job, remarks: list[str]) -> str:
        if job.sub_cluster:
            if cluster.sub_cluster(job.sub_cluster) is None:
                raise InvalidInputError(f"{job.sub_cluster} is not a subcluster of {cluster.name}")
            return job.sub_cluster
        if not job.resources:
            raise InvalidInputError(f"job without resources/hosts, no subcluster of {cluster.name} found")
        found = self._clusters.sub_cluster_of(cluster.name, job.resources[0].hostname)
        if found is None:
            found = cluster.sub_clusters[0]
            remarks.append(f"subcluster guessed: {found.name}")
        return found.name

    def stop(self, body: bytes | str) -> Job:
        """Take in the end of a job and hand it to the archiver.

        Raises NotFoundError if there is no such job (404), ConflictError if it is not running (422),
        InvalidInputError for an impossible time or state (400).
        """
        request = decode(body, STOP_REQUEST)
        job = self._named(request)
        about = f"jobId {job.job_id} (id {job.id}) on {job.cluster} :"
        stop_time = request.get("stopTime", 0)
        state_text = request.get("jobState", "") or JobState.COMPLETED.value
        if job.state is JobState.RUNNING:  # else the store says so, first of all
            if job.start_time > stop_time:
                raise InvalidInputError(
                    f"{about} stopTime {stop_time} must be larger/equal than startTime {job.start_time}"
                )
            try:
                state = job_state(state_text)
            except InvalidInputError as error:
                raise InvalidInputError(f"{about} {error}") from None
            if state is JobState.RUNNING:
                raise InvalidInputError(f"{about} invalid requested job state: a stopped job is not running")
        else:
            state = JobState.COMPLETED
        stopped = self._jobs.stop(job.id, state=state, stop_time=stop_time)
        if stopped.monitoring_status is not MonitoringStatus.DISABLED:
            self._to_archive(stopped)
        return stopped

    def _to_archive(self, job: Job, *, delay_seconds: int | None = None) -> None:
        """A message that does not get through is no reason to fail: the sweeper finds the job."""
        try:
            self._queue().enqueue(job.id, delay_seconds=delay_seconds)
        except ClusterCockpitError as error:
            _log.warning("job %d could not be queued for archiving, the sweeper will: %s", job.id, error)

    def _archived_meta(self, job: Job) -> None:
        """Have the archive brought in step with a finished job; at best, for the store is the truth."""
        if job.monitoring_status is MonitoringStatus.ARCHIVED:
            self._to_archive(job, delay_seconds=0)

    # Finding

    def _named(self, request: dict[str, Any]) -> Job:
        job_id = request.get("jobId")
        if job_id is None:
            raise InvalidInputError("the field 'jobId' is required")
        job = self._jobs.find(job_id, request.get("cluster"), request.get("startTime"))
        if job is None:
            narrowed = "".join(
                f", {name} {request[name]}" for name in ("cluster", "startTime") if name in request
            )
            raise NotFoundError(f"finding job failed: no job with jobId {job_id}{narrowed}")
        return job

    def _by_id(self, id: int) -> Job:
        job = self._jobs.get(id)
        if job is None:
            raise NotFoundError(f"finding job failed: no job with id {id}")
        return job

    # Metadata

    def edit_metadata(self, id: int, body: bytes | str) -> Job:
        """Set the key of a `{"key", "value"}` body."""
        self._by_id(id)
        return self._edit(id, decode(body, _EDIT))

    def edit_metadata_by_request(self, body: bytes | str) -> Job:
        """As `edit_metadata`, the job named by jobId, cluster, startTime in the body."""
        request = decode(body, EDIT_REQUEST)
        return self._edit(self._named(request).id, request.get("payload", {}))

    def _edit(self, id: int, edit: dict[str, str]) -> Job:
        job = self._jobs.edit_metadata(id, edit.get("key", ""), edit.get("value", ""))
        self._archived_meta(job)
        return job

    # Tags

    def add_tags(self, id: int, body: bytes | str, user: User) -> Job:
        """Attach tags, made where they are new. What is attached already stays so."""
        self._by_id(id)
        wanted = tags_of(decode(body, TAG_REQUEST))
        return self.attach(id, wanted, user)

    def attach(self, id: int, wanted: Sequence[Tag], user: User) -> Job:
        """Attach tags given by type, name and scope. ForbiddenError if the caller may not write one."""
        self._must_write(wanted, user)
        tags = [self._tags.find_or_create(tag.type, tag.name, tag.scope) for tag in dict.fromkeys(wanted)]
        job = self._jobs.change_tags(id, add=tags)
        self._archived_meta(job)
        return self.shown(job, user)

    def remove_tags(self, id: int, body: bytes | str, user: User) -> Job:
        """Detach tags of scope global or admin; others are left alone. A tag that does not exist is an
        error, one that is not attached none."""
        self._by_id(id)
        wanted = [tag for tag in tags_of(decode(body, TAG_REQUEST)) if tag.scope in ("global", "admin")]
        return self.detach(id, wanted, user)

    def detach(self, id: int, wanted: Sequence[Tag], user: User) -> Job:
        self._must_write(wanted, user)
        job = self._jobs.change_tags(id, remove=[self._existing(tag) for tag in wanted])
        self._archived_meta(job)
        return self.shown(job, user)

    def delete_tags(self, body: bytes | str, user: User) -> tuple[int, int]:
        """Delete tags of scope global or admin with their links; (deleted, requested)."""
        wanted = tags_of(decode(body, TAG_REQUEST))
        deleted = 0
        for tag in wanted:
            if tag.scope in ("global", "admin"):
                self._must_write([tag], user)
                self.delete_tag(self._existing(tag))
                deleted += 1
        return deleted, len(wanted)

    def delete_tag(self, tag: Tag) -> None:
        """Take a tag off every job and forget it. Safe to repeat after a failure half way."""
        for id in list(self._tags.jobs_with(tag.id)):
            try:
                job = self._jobs.change_tags(id, remove=[tag])
            except NotFoundError:
                continue
            self._archived_meta(job)
        self._tags.delete(tag.id)

    def _existing(self, tag: Tag) -> Tag:
        found = self._tags.find(tag.type, tag.name, tag.scope)
        if found is None:
            raise NotFoundError(
                f"tag does not exist (name, type, scope): {tag.name}, {tag.type}, {tag.scope}"
            )
        return found

    @staticmethod
    def _must_write(tags: Iterable[Tag], user: User) -> None:
        for tag in tags:
            if not may_write(tag.scope, user):
                raise ForbiddenError(f"no permission to write tags of scope {tag.scope!r}")

    @staticmethod
    def shown(job: Job, user: User) -> Job:
        """The job with the tags the caller may see."""
        return replace(job, tags=readable(user, job.tags))

    # Deleting

    def delete(self, id: int) -> None:
        self._jobs.delete(id)

    def delete_by_request(self, body: bytes | str) -> int:
        """Delete the job named in the body; returns its id. NotFoundError."""
        job = self._named(decode(body, DELETE_REQUEST))
        self._jobs.delete(job.id)
        return job.id

    # Questions by key

    def used_nodes(self, before: int) -> dict[str, list[str]]:
        """Hosts of running jobs that started before a time (Unix seconds), by cluster, sorted."""
        used: dict[str, list[str]] = {}
        for cluster in self._clusters.clusters():
            hosts = {
                resource.hostname
                for job in self._jobs.running(cluster.name)
                if job.start_time < before
                for resource in job.resources
            }
            if hosts:
                used[cluster.name] = sorted(hosts)
        return used
