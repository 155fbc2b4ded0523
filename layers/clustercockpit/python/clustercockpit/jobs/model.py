"""A job, and the small things it carries.

Times are Unix seconds (UTC), durations seconds, memory MB, energy kWh. Wire names differ
(`numHwthreads`, `subCluster`); `jobs.documents` is the only place that knows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from clustercockpit.clusters.model import Unit

LATEST_TIME: Final = 253_402_300_799
"""Beyond the year 9999 no calendar goes: milliseconds given for seconds, mostly."""


class JobState(StrEnum):
    BOOT_FAIL = "boot_fail"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    DEADLINE = "deadline"
    FAILED = "failed"
    NODE_FAIL = "node_fail"
    OUT_OF_MEMORY = "out_of_memory"
    PENDING = "pending"
    PREEMPTED = "preempted"
    RUNNING = "running"
    SUSPENDED = "suspended"
    TIMEOUT = "timeout"


class Sharing(StrEnum):
    """Whether a job's nodes are its own."""

    NONE = "none"
    SINGLE_USER = "single_user"
    MULTI_USER = "multi_user"


class MonitoringStatus(IntEnum):
    DISABLED = 0
    RUNNING_OR_ARCHIVING = 1
    ARCHIVING_FAILED = 2
    ARCHIVED = 3


@dataclass(frozen=True, slots=True)
class Resource:
    hostname: str
    hwthreads: tuple[int, ...] | None = None  # None: the whole node
    accelerators: tuple[str, ...] | None = None
    configuration: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """`scope` is `global`, `admin`, or the name of the user whose private tag it is."""

    type: str
    name: str
    scope: str = "global"
    id: int = 0


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """A metric over the whole job: mean over its nodes, smallest and largest sample of any node."""

    unit: Unit
    avg: float
    min: float
    max: float


@dataclass(slots=True)
class Job:
    """A job. `id` is ours (< 2³¹, 0 = not allocated yet); `job_id` is the scheduler's."""

    job_id: int
    cluster: str
    user: str
    start_time: int
    id: int = 0
    sub_cluster: str = ""
    project: str = ""
    partition: str = ""
    array_job_id: int = 0
    state: JobState = JobState.RUNNING
    shared: Sharing = Sharing.NONE
    monitoring_status: MonitoringStatus = MonitoringStatus.RUNNING_OR_ARCHIVING
    submit_time: int = 0
    duration: int = 0  # stored; a running job's is computed at read, see `elapsed`
    walltime: int = 0  # requested, 0 = unknown
    requested_memory: int = 0
    num_nodes: int = 0
    num_hwthreads: int = 0
    num_acc: int = 0
    smt: int = 0
    resources: tuple[Resource, ...] = ()
    tags: tuple[Tag, ...] = ()
    meta_data: dict[str, str] | None = None
    footprint: dict[str, float] | None = None  # "<metric>_<avg|min|max>" → value
    energy_footprint: dict[str, float] | None = None  # metric → kWh
    energy: float = 0.0
    statistics: dict[str, JobStatistics] | None = None
    # Oddities noticed at the door and accepted all the same (ruling 7), for administrators.
    remarks: tuple[str, ...] = field(default=())
    ver: int = 0  # counts changes; the highest is the truth
    # Metadata that lists show, known without reading it: its `jobName`, and whether it has a `message`.
    job_name: str = field(default="", compare=False)
    has_message: bool = field(default=False, compare=False)

    def elapsed(self, now: int) -> int:
        """Seconds the job has run at `now`, or ran in all."""
        return max(0, now - self.start_time) if self.state is JobState.RUNNING else self.duration
