"""One job as the index keeps it: the columns that lists filter, sort and count by.

A change row in the table carries one of these (`storage.dynamodb.changes`); deltas and segments are made of
them. Anything else about a job is read from the job store when its page is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from clustercockpit.errors import InvalidInputError
from clustercockpit.jobs.model import LATEST_TIME, Job, JobState, MonitoringStatus, Sharing

JOB_NAME_KEY = "jobName"


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Times are Unix seconds. `ver` is the job's: of two rows of one id the higher is the truth.

    A deleted job leaves a row with `deleted` set and a `ver` above the last one; it must carry the job's
    `start_time`, which names the month it is filed under, and nothing else matters in it.
    """

    id: int
    ver: int
    start_time: int
    deleted: bool = False
    job_id: int = 0
    cluster: str = ""
    sub_cluster: str = ""
    partition: str = ""
    user: str = ""
    project: str = ""
    array_job_id: int = 0
    state: JobState = JobState.RUNNING
    shared: Sharing = Sharing.NONE
    monitoring_status: MonitoringStatus = MonitoringStatus.RUNNING_OR_ARCHIVING
    submit_time: int = 0
    duration: int = 0  # of a running job it is computed at read
    walltime: int = 0
    num_nodes: int = 0
    num_hwthreads: int = 0
    num_acc: int = 0
    smt: int = 0
    energy: float = 0.0  # kWh
    job_name: str | None = None  # metadata key `jobName`; None where the job has none
    hosts: tuple[str, ...] = ()
    tags: tuple[int, ...] = ()
    footprint: Mapping[str, float] = field(default_factory=dict)  # "<metric>_<avg|min|max>" → value

    def __post_init__(self) -> None:
        """InvalidInputError for a start that no month holds: a row that cannot be filed is no row."""
        if not 0 <= self.start_time <= LATEST_TIME:
            raise InvalidInputError(f"start time {self.start_time} of job {self.id} is in no month")

    @classmethod
    def of(cls, job: Job, *, job_name: str | None = None) -> IndexRow:
        """The row of a job. `job_name` for a job whose metadata was not loaded."""
        return cls(
            id=job.id,
            ver=job.ver,
            start_time=job.start_time,
            job_id=job.job_id,
            cluster=job.cluster,
            sub_cluster=job.sub_cluster,
            partition=job.partition,
            user=job.user,
            project=job.project,
            array_job_id=job.array_job_id,
            state=job.state,
            shared=job.shared,
            monitoring_status=job.monitoring_status,
            submit_time=job.submit_time,
            duration=job.duration,
            walltime=job.walltime,
            num_nodes=job.num_nodes,
            num_hwthreads=job.num_hwthreads,
            num_acc=job.num_acc,
            smt=job.smt,
            energy=job.energy,
            job_name=job.meta_data.get(JOB_NAME_KEY, job_name) if job.meta_data is not None else job_name,
            hosts=tuple(resource.hostname for resource in job.resources),
            tags=tuple(tag.id for tag in job.tags),
            footprint=dict(job.footprint or {}),
        )

    @classmethod
    def tombstone(cls, id: int, ver: int, start_time: int) -> IndexRow:
        return cls(id=id, ver=ver, start_time=start_time, deleted=True)


def newest(rows: Iterable[IndexRow]) -> dict[int, IndexRow]:
    """Fold by id: the row with the highest `ver` of each."""
    folded: dict[int, IndexRow] = {}
    for row in rows:
        known = folded.get(row.id)
        if known is None or row.ver > known.ver:
            folded[row.id] = row
    return folded


def month_of(start_time: int) -> str:
    """The month (UTC) a job is filed under: `2024-05`."""
    return datetime.fromtimestamp(start_time, UTC).strftime("%Y-%m")
