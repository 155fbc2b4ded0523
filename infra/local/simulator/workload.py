"""What people submit: jobs with their requests, their true course, and their troubles, from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from simulator.applications import Application
from simulator.noise import generator
from simulator.pathologies import Pathology
from simulator.people import Person

Kind = Literal["exclusive", "shared"]
Option = TypeVar("Option")
MINUTE = 60


@dataclass(frozen=True)
class Partition:
    """A queue over some nodes. On a shared one, a job gets a part of one node."""

    cluster: str
    name: str
    hosts: tuple[str, ...]
    kind: Kind
    apps: tuple[Application, ...]
    sizes: tuple[int, ...]  # nodes, or hardware threads or accelerators of a shared node; drawn evenly
    threads: int  # of a node
    accelerators: int  # of a node
    memory: float  # GB of a node
    troubles: tuple[str, ...]
    waiting: int = 3  # jobs kept in the queue


@dataclass(frozen=True)
class Submission:
    """A job as its user meant it, and as it will go. Times in seconds, memory in GB."""

    partition: Partition
    person: Person
    app: Application
    nodes: int
    threads: int  # per node; all of it when exclusive
    accelerators: int  # per node
    memory: float  # limit per node
    walltime: int
    duration: int
    state: str  # in which it will end
    title: str
    waited: int  # at least this long in the queue
    array: int = 0  # tasks of the array this belongs to; 0: no array job
    troubles: tuple[Pathology, ...] = field(default=())


TROUBLE_SHARE = 0.4
STORM_DISTANCE = 120  # submissions between two failure storms, which are fifty jobs each
_WALLTIMES = tuple(m * MINUTE for m in (10, 15, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440))


class Workload:
    """An endless, repeatable stream of submissions for one partition."""

    def __init__(
        self, partition: Partition, people: Sequence[Person], *, seed: int, start: int, speed: float = 1.0
    ) -> None:
        self.partition = partition
        self.speed = speed
        self._people = people
        self._random = generator("workload", seed, start, partition.cluster, partition.name)
        self._deck: list[str] = []
        self._since_storm = STORM_DISTANCE

    def __iter__(self) -> Iterator[Submission]:
        while True:
            self._since_storm += 1
            if self.partition.troubles and self._random.random() < TROUBLE_SHARE:
                yield from self._troubled(self._next_trouble())
            else:
                yield self._healthy()

    def _next_trouble(self) -> str:
        # A deck instead of dice: each trouble of the partition is met before one is met twice.
        if not self._deck:
            self._deck = [str(t) for t in self._random.permutation(list(self.partition.troubles))]
        trouble = self._deck.pop()
        if trouble == "failure storm":
            if self._since_storm < STORM_DISTANCE:
                return "healthy array"
            self._since_storm = 0
        return trouble

    # Pieces

    def _pick(self, options: Sequence[Option]) -> Option:
        return options[int(self._random.integers(len(options)))]

    def _minutes(self, low: float, high: float) -> int:
        """Seconds of a run between so many minutes, shortened by the speed."""
        return max(20, round(self._random.uniform(low, high) * MINUTE / self.speed))

    def _length(self) -> int:
        """Seconds of a healthy run: most last 10 to 40 minutes, a few two hours."""
        minutes = float(np.clip(self._random.lognormal(np.log(21), 0.75), 2, 130))
        return max(20, round(minutes * MINUTE / self.speed))

    def _request(self, duration: int) -> int:
        """A walltime someone would ask for who thinks the run takes about that long."""
        wished = duration * self.speed * self._random.uniform(1.15, 2.4)
        fitting = next((w for w in _WALLTIMES if w >= wished), _WALLTIMES[-1])
        return max(round(fitting / self.speed), duration + 1)

    def _base(self, app: Application | None = None, *, duration: int = 0, size: int = 0) -> Submission:
        """A healthy job that completes; the callers replace what is different."""
        part = self.partition
        app = app or self._pick(part.apps)
        size = size or self._pick(part.sizes)
        duration = duration or self._length()
        nodes, threads, accelerators, memory = 1, part.threads, part.accelerators, part.memory
        if part.kind == "exclusive":
            nodes = size if app.parallel == "nodes" else 1
        elif part.accelerators:
            accelerators = size
            threads = part.threads * size // part.accelerators
            memory = part.memory * size / part.accelerators
        else:
            threads = size
            memory = part.memory * size / part.threads
        return Submission(
            partition=part,
            person=self._pick(self._people),
            app=app,
            nodes=nodes,
            threads=threads,
            accelerators=accelerators,
            memory=memory,
            walltime=self._request(duration),
            duration=duration,
            state="completed",
            title=app.title,
            waited=int(self._random.exponential(300)),
        )

    def _healthy(self) -> Submission:
        job = self._base()
        fate = self._random.random()
        if fate < 0.82:
            return job
        if fate < 0.88:  # it crashed on the way
            return replace(job, duration=max(20, round(job.duration * self._random.uniform(0.1, 0.9))),
                           state="failed")  # fmt: skip
        if fate < 0.94:  # the request was too short
            fitting = max(w for w in _WALLTIMES if w <= max(_WALLTIMES[0], job.duration * self.speed))
            walltime = max(20, round(fitting / self.speed))
            return replace(job, walltime=walltime, duration=walltime, state="timeout")
        if fate < 0.98:
            return replace(job, duration=max(20, round(job.duration * self._random.uniform(0.05, 0.7))),
                           state="cancelled")  # fmt: skip
        return replace(job, duration=max(20, job.duration // 2), state="failed", title=job.title + "-retry")

    def _several_nodes(self) -> tuple[Application, int]:
        """A program across nodes, and on how many (two at least)."""
        apps = [a for a in self.partition.apps if a.parallel == "nodes"]
        sizes = [s for s in self.partition.sizes if s >= 2]
        return self._pick(apps), self._pick(sizes)

    def _troubled(self, trouble: str) -> Iterator[Submission]:
        make = getattr(self, "_" + trouble.replace("-", "_").replace(" ", "_"))
        result = make()
        if isinstance(result, Submission):
            yield result
        else:
            yield from result

    # D1
    def _idle_devices(self) -> Submission:
        job = self._base(duration=self._minutes(50, 85))
        some = job.accelerators > 1 and self._random.random() < 0.6
        devices = None
        if some:
            unused = int(self._random.integers(1, job.accelerators))
            devices = frozenset(
                (n, d) for n in range(job.nodes) for d in range(job.accelerators - unused, job.accelerators)
            )
        onset = 0 if some else int(self._random.choice([0, round(600 / self.speed)]))
        return replace(job, troubles=(Pathology("D1", "idle devices", onset, devices=devices),))

    # D2
    def _badly_fed(self) -> Submission:
        apps = [a for a in self.partition.apps if a.parallel == "threads"]
        job = self._base(self._pick(apps or self.partition.apps), duration=self._minutes(45, 80))
        return replace(job, troubles=(Pathology("D2", "badly fed", self._after_start(job)),))

    # D3
    def _unused_nodes(self) -> Submission:
        app, size = self._several_nodes()
        job = self._base(app, duration=self._minutes(35, 70), size=size)
        used = 1 if self._random.random() < 0.6 else max(1, job.nodes // 2)
        nodes = frozenset(range(used, job.nodes))
        return replace(job, troubles=(Pathology("D3", "unused nodes", nodes=nodes),))

    # D4
    def _serial(self) -> Submission:
        app = self._pick([a for a in self.partition.apps if a.parallel == "threads"] or self.partition.apps)
        job = self._base(app, duration=self._minutes(40, 80), size=max(self.partition.sizes[-2:]))
        job = replace(job, nodes=1)
        working = 1 if self._random.random() < 0.6 else max(1, job.threads // 9)
        trouble = Pathology("D4", "few threads", strength=working, nodes=frozenset({0}))
        return replace(job, troubles=(trouble,))

    # D5
    def _wrong_pinning(self) -> Submission:
        job = self._base(duration=self._minutes(35, 65))
        share = float(self._random.choice([0.25, 0.5]))
        trouble = Pathology("D5", "pinned", self._after_start(job), strength=share)
        return replace(job, troubles=(trouble,))

    def _oversubscription(self) -> Submission:
        job = self._base(duration=self._minutes(35, 65))
        trouble = Pathology("D5", "oversubscribed", self._after_start(job), strength=2.0)
        return replace(job, troubles=(trouble,))

    # D6
    def _imbalance(self) -> Submission:
        app, size = self._several_nodes()
        job = self._base(app, duration=self._minutes(35, 75), size=size)
        heavy = frozenset({int(self._random.integers(job.nodes))})
        strength = float(self._random.uniform(0.5, 0.7))
        trouble = Pathology("D6", "imbalance", self._after_start(job), nodes=heavy, strength=strength)
        return replace(job, troubles=(trouble,))

    # D8
    def _memory_growth(self) -> Submission:
        lean = [a for a in self.partition.apps if a.memory <= 0.5]
        job = self._base(self._pick(lean or self.partition.apps), duration=self._minutes(35, 70))
        trouble = Pathology("D8", "growth", self._after_start(job))
        return replace(job, state="out_of_memory", troubles=(trouble,))

    # D9
    def _over_requested_memory(self) -> Submission:
        job = self._base(duration=self._minutes(30, 60))
        app = replace(job.app, memory=float(self._random.uniform(0.04, 0.12)), resembles="")
        return replace(job, app=app, troubles=(Pathology("D9", "over-requested memory"),))

    def _over_requested_time(self) -> Submission:
        job = self._base(duration=self._minutes(12, 25))
        day = round(_WALLTIMES[-1] / self.speed)
        return replace(job, walltime=day, troubles=(Pathology("D9", "over-requested time"),))

    # D10
    def _metadata_storm(self) -> Submission:
        job = self._base(duration=self._minutes(30, 60))
        strength = float(self._random.uniform(0.9, 1.6))
        onset = self._after_start(job)
        return replace(job, troubles=(Pathology("D10", "metadata storm", onset, strength=strength),))

    def _io_stalls(self) -> Submission:
        job = self._base(duration=self._minutes(35, 60))
        return replace(job, troubles=(Pathology("D10", "stalls", self._after_start(job)),))

    # D11
    def _hung(self) -> Submission:
        # It runs into its time limit, which its user set to what the work would have needed.
        walltime = self._minutes(55, 85)
        job = self._base(duration=walltime)
        onset = round(self._random.uniform(12, 20) * MINUTE / self.speed)
        spins = float(self._random.random() < 0.6)
        trouble = Pathology("D11", "hung", onset, strength=spins)
        return replace(job, walltime=walltime, state="timeout", troubles=(trouble,))

    # D12
    def _failure_storm(self) -> list[Submission]:
        tasks = int(self._random.integers(50, 64))
        first = self._base(size=min(self.partition.sizes))
        first = replace(first, title="sweep-array", array=tasks, walltime=max(60, round(3600 / self.speed)),
                        troubles=(Pathology("D12", "failure storm"),))  # fmt: skip
        return [
            replace(first, duration=int(self._random.integers(4, 46)),
                    state="failed" if self._random.random() < 0.93 else "completed")
            for _ in range(tasks)
        ]  # fmt: skip

    # Not a trouble: an array job that does well.
    def _healthy_array(self) -> list[Submission]:
        tasks = int(self._random.integers(4, 10))
        first = self._base(size=min(self.partition.sizes))
        return [
            replace(first, duration=max(20, round(first.duration * self._random.uniform(0.8, 1.1))),
                    walltime=round(first.walltime * 1.2), title="scan-array", array=tasks)
            for _ in range(tasks)
        ]  # fmt: skip

    def _after_start(self, job: Submission) -> int:
        return min(job.app.prologue, job.duration // 6)
