"""The whole demo site over time: what starts, what ends, and what every node's collector says."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from simulator import clusters, partitions
from simulator.clusters import DemoCluster
from simulator.lines import Encoder
from simulator.nodes import Fault, Node, fault_of
from simulator.people import population
from simulator.schedule import STEP, Job, JobIds, Schedule
from simulator.workload import Workload


class JobEvent(NamedTuple):
    """A job starts or ends. Sorts by time; at one time, an end comes before a start."""

    time: int
    order: int
    cluster: str
    job_id: int
    what: Literal["start", "stop"]
    job: Job


@dataclass(frozen=True)
class Batch:
    """The lines of one node's intervals, as one collector flush would carry them."""

    cluster: str
    host: str
    text: str
    lines: int


@dataclass
class _ClusterLife:
    """One cluster: its queues, and the jobs on each host (with the host's index in the job)."""

    cluster: DemoCluster
    fault: Fault
    schedules: Sequence[Schedule]
    encoders: Sequence[Encoder]
    ids: JobIds
    jobs_on: dict[str, list[tuple[Job, int]]] = field(default_factory=dict)


def first_job_id(start: int) -> int:
    """Where job ids begin for a site that starts then: later starts get higher ones without a memory."""
    return max(1, (start - 1_600_000_000) // 10)


class DemoSite:
    """Everything follows from seed, start time, speed and the demo users. Times are Unix seconds; `advance`
    must be called with growing times and before `batches` for the same interval."""

    def __init__(
        self,
        *,
        seed: int,
        start: int,
        speed: float = 1.0,
        users: Sequence[str] = (),
        first_id: int = 0,
        names: Sequence[str] = clusters.NAMES,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be positive, got {speed}")
        self.start = self.now = self._looked = start
        people = population(users)
        self._lives: dict[str, _ClusterLife] = {}
        for name in names:
            cluster = clusters.load(name)
            fault = fault_of(cluster, seed)
            ids = JobIds(max(first_id, first_job_id(start)))
            schedules = [
                Schedule(
                    Workload(partition, people, seed=seed, start=start, speed=speed),
                    cluster.shape(partition.hosts[0]),
                    ids,
                    seed=seed,
                    start=start,
                )
                for partition in partitions.of(cluster)
            ]
            encoders = [Encoder(Node(cluster, host, seed=seed, fault=fault)) for host in cluster.hosts]
            self._lives[name] = _ClusterLife(
                cluster, fault, schedules, encoders, ids, {host: [] for host in cluster.hosts}
            )
        self._pending: list[JobEvent] = []
        self.running: dict[tuple[str, int], Job] = {}

    @property
    def next_job_id(self) -> int:
        """Above every job id given so far."""
        return max(life.ids.next for life in self._lives.values())

    def cluster(self, name: str) -> DemoCluster:
        return self._lives[name].cluster

    def fault(self, name: str) -> Fault:
        return self._lives[name].fault

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._lives)

    def advance(self, until: int) -> list[JobEvent]:
        """The events in (now, until], oldest first."""
        while self._looked + STEP <= until:
            self._looked += STEP
            for name, life in self._lives.items():
                # In step, as the partitions of a cluster take their job ids from one counter.
                for job in (job for schedule in life.schedules for job in schedule.step()):
                    for index, allocation in enumerate(job.allocations):
                        life.jobs_on[allocation.host].append((job, index))
                    heapq.heappush(self._pending, JobEvent(job.start, 1, name, job.job_id, "start", job))
                    heapq.heappush(self._pending, JobEvent(job.end, 0, name, job.job_id, "stop", job))
        events = []
        while self._pending and self._pending[0].time <= until:
            event = heapq.heappop(self._pending)
            events.append(event)
            of = (event.cluster, event.job_id)
            if event.what == "start":
                self.running[of] = event.job
            else:
                self.running.pop(of, None)
        self.now = until
        return events

    def batches(self, after: int, until: int) -> Iterator[Batch]:
        """What the collectors sent in (after, until]: one batch a node that had something to say."""
        for name, life in self._lives.items():
            for encoder in life.encoders:
                host = encoder.node.host
                life.jobs_on[host] = [(j, i) for j, i in life.jobs_on[host] if j.end > after]
                ticks = encoder.node.ticks(after, until)
                if len(ticks) == 0:
                    continue
                values = encoder.node.sample(ticks, life.jobs_on[host])
                text = "".join(lines for _, lines in encoder.encode(ticks, values))
                yield Batch(name, host, text, text.count("\n"))
