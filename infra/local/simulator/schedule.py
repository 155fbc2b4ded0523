"""The scheduler: gives nodes, or parts of shared ones, to jobs in the order of the queue.

A node of an exclusive partition belongs to one job at a time; on a shared node, a hardware thread and an
accelerator do. Deterministic: the same partition, seed and start time give the same jobs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from simulator import noise
from simulator.clusters import NodeShape
from simulator.people import Person
from simulator.workload import Submission, Workload

STEP = 15  # seconds between two looks at the queue
PATIENCE = 900  # seconds after which nobody may overtake the head of the queue


@dataclass(frozen=True)
class Allocation:
    """A node's part that a job holds: indices of hardware threads and accelerators."""

    host: str
    threads: tuple[int, ...]
    accelerators: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    job_id: int
    array_job_id: int
    submission: Submission
    submit_time: int
    start: int
    allocations: tuple[Allocation, ...]

    @property
    def cluster(self) -> str:
        return self.submission.partition.cluster

    @property
    def end(self) -> int:
        """When it will have ended, in the state of its submission."""
        return self.start + self.submission.duration

    @property
    def person(self) -> Person:
        return self.submission.person

    @cached_property
    def key(self) -> int:
        return noise.key("job", self.cluster, self.job_id, self.start)


class JobIds:
    """Job ids of one cluster, shared by its partitions."""

    def __init__(self, first: int) -> None:
        self.next = first

    def take(self) -> int:
        self.next += 1
        return self.next - 1


class Schedule:
    """One partition over time."""

    def __init__(self, workload: Workload, shape: NodeShape, ids: JobIds, *, seed: int, start: int) -> None:
        self.partition = workload.partition
        self.now = start
        self._ids = ids
        self._stream = iter(workload)
        self._random = noise.generator("schedule", seed, start, self.partition.cluster, self.partition.name)
        self._shape = shape
        self._free_threads = {h: set(range(shape.threads)) for h in self.partition.hosts}
        self._free_devices = {h: set(range(len(shape.accelerators))) for h in self.partition.hosts}
        self._resting: list[tuple[int, int, Job]] = []  # (free again, job id, job)
        self._queue: list[tuple[Submission, int, int]] = []  # submission, submit time, array job id
        self._array = (0, 0)  # the array being submitted: its id, tasks left

    def step(self) -> Iterator[Job]:
        """One look at the queue, `STEP` seconds after the last: the jobs that start until the next look."""
        self.now += STEP
        self._release()
        self._submit()
        yield from self._start()

    def _release(self) -> None:
        while self._resting and self._resting[0][0] <= self.now:
            _, _, job = heapq.heappop(self._resting)
            for allocation in job.allocations:
                self._free_threads[allocation.host].update(allocation.threads)
                self._free_devices[allocation.host].update(allocation.accelerators)

    def _submit(self) -> None:
        while len(self._queue) < self.partition.waiting:
            submission = next(self._stream)
            array = 0
            if submission.array:
                # Tasks of one array come one after another out of the stream and share the first one's id.
                array, left = self._array if self._array[1] else (self._ids.take(), submission.array)
                self._array = (array, left - 1)
            self._queue.append((submission, self.now - submission.waited, array))

    def _start(self) -> Iterator[Job]:
        started = True
        while started:
            started = False
            for position, (submission, submitted, array) in enumerate(self._queue):
                allocations = self._place(submission)
                if allocations is None:
                    if self.now - submitted > PATIENCE and position == 0:
                        break
                    continue
                del self._queue[position]
                job_id = self._ids.take()
                start = self.now + int(self._random.integers(STEP))
                job = Job(job_id, array, submission, submitted, start, allocations)
                rest = int(self._random.integers(10, 60))
                heapq.heappush(self._resting, (job.end + rest, job_id, job))
                yield job
                self._submit()
                started = True
                break

    def _place(self, submission: Submission) -> tuple[Allocation, ...] | None:
        """Allocate, or None where there is no room."""
        shape = self._shape
        if self.partition.kind == "exclusive":
            free = [h for h in self.partition.hosts if len(self._free_threads[h]) == shape.threads]
            if len(free) < submission.nodes:
                return None
            hosts = sorted(map(str, self._random.permutation(free)[: submission.nodes]))
            every = tuple(range(shape.threads)), tuple(range(len(shape.accelerators)))
            allocations = tuple(Allocation(h, *every) for h in hosts)
        else:
            found = self._part_of_a_node(submission)
            if found is None:
                return None
            allocations = (found,)
        for allocation in allocations:
            self._free_threads[allocation.host].difference_update(allocation.threads)
            self._free_devices[allocation.host].difference_update(allocation.accelerators)
        return allocations

    def _part_of_a_node(self, submission: Submission) -> Allocation | None:
        # The fullest node first, so that big parts stay free elsewhere.
        for host in sorted(self.partition.hosts, key=lambda h: (len(self._free_threads[h]), h)):
            threads, devices = self._free_threads[host], self._free_devices[host]
            if submission.accelerators:
                if len(devices) < submission.accelerators:
                    continue
                chosen = tuple(sorted(devices)[: submission.accelerators])
                bound = _threads_beside(chosen, self._shape)
                if threads.issuperset(bound):
                    return Allocation(host, bound, chosen)
            elif len(threads) >= submission.threads:
                return Allocation(host, tuple(sorted(threads)[: submission.threads]), ())
        return None


def _threads_beside(devices: Sequence[int], shape: NodeShape) -> tuple[int, ...]:
    """The hardware threads a job gets with these accelerators: an equal part of the cores for each."""
    part = len(shape.cores) // len(shape.accelerators)
    cores = [core for device in devices for core in range(device * part, (device + 1) * part)]
    return tuple(sorted(thread for core in cores for thread in shape.cores[core]))
