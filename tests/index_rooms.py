"""What the job index stands on, in memory, and jobs to fill it with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from clustercockpit.errors import ConflictError
from clustercockpit.index.builder import IndexBuilder
from clustercockpit.index.engine import Engine
from clustercockpit.index.ports import IndexHead
from clustercockpit.index.reader import ColumnarJobIndex
from clustercockpit.index.rows import IndexRow
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource, Sharing, Tag
from clustercockpit.storage.directory import DirectoryObjectStore

NOW = 1_750_000_000 // 60 * 60
"""A round minute."""
FOOTPRINTS = ("cpu_load_avg", "mem_used_max", "odd '\"); key")


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class MemoryHeads:
    def __init__(self) -> None:
        self.head: IndexHead | None = None

    def read(self) -> IndexHead | None:
        return self.head

    def replace(self, head: IndexHead, *, expected: int | None) -> None:
        if (self.head.version if self.head else None) != expected:
            raise ConflictError("the index head was replaced meanwhile")
        self.head = head


class MemoryJobs:
    """Jobs with their change log: what of a JobStore the index needs."""

    def __init__(self, clock: Clock, shards: int = 2) -> None:
        self.clock = clock
        self.shards = shards
        self.jobs: dict[int, Job] = {}
        self.buckets: dict[tuple[int, int], list[IndexRow]] = {}
        self.reads = 0

    def put(self, job: Job, *, at: float | None = None) -> Job:
        """Insert or change."""
        known = self.jobs.get(job.id)
        job = replace(job, ver=known.ver + 1 if known else max(job.ver, 1))
        self.jobs[job.id] = job
        self.log(IndexRow.of(job), at)
        return job

    def delete(self, id: int, *, at: float | None = None) -> None:
        job = self.jobs.pop(id)
        self.log(IndexRow.tombstone(id, job.ver + 1, job.start_time), at)

    def log(self, row: IndexRow, at: float | None = None) -> None:
        minute = int((self.clock() if at is None else at) // 60)
        self.buckets.setdefault((minute, row.id % self.shards), []).append(row)

    def read(self, minute: int, shard: int) -> Sequence[IndexRow]:
        self.reads += 1
        return list(self.buckets.get((minute, shard), ()))

    def rows(self) -> Iterator[IndexRow]:
        return iter([IndexRow.of(job) for job in self.jobs.values()])

    def get_many(self, ids: Sequence[int], *, with_metadata: bool = False) -> list[Job]:
        found = [self.jobs[id] for id in ids if id in self.jobs]
        return [replace(job, meta_data=job.meta_data if with_metadata else None) for job in found]


class Rooms:
    """An index with everything around it."""

    def __init__(
        self, folder: Path, *, shards: int = 2, delta_rows: int = 2000, engine: Engine | None = None
    ) -> None:
        (folder / "objects").mkdir(parents=True)
        self.clock = Clock()
        self.objects = DirectoryObjectStore(folder / "objects")
        self.heads = MemoryHeads()
        self.jobs = MemoryJobs(self.clock, shards)
        self.engine = engine or Engine(folder / "scratch", memory_limit="500MB")
        self.folder = folder
        self.shards = shards
        self.delta_rows = delta_rows
        self.index = self.reader("reader")
        self.builder = self.make_builder("builder")

    def reader(self, name: str) -> ColumnarJobIndex:
        return ColumnarJobIndex(
            self.engine,
            self.objects,
            self.heads,
            self.jobs,
            self.jobs,  # type: ignore[arg-type]  # only get_many is used
            self.folder / name,
            shards=self.shards,
            clock=self.clock,
            head_seconds=0,
        )

    def make_builder(self, name: str) -> IndexBuilder:
        return IndexBuilder(
            self.engine,
            self.objects,
            self.heads,
            self.jobs,
            self.jobs,
            self.folder / name,
            shards=self.shards,
            clock=self.clock,
            delta_rows=self.delta_rows,
        )


names = st.sampled_from(["ada", "Ada", "bob", "b_b", "b%b", "x'--", "ÄDA", "line\nbreak", "", "nul\x00"])
hosts = st.sampled_from(["n01", "N01", "n02", "gpu-3", "o'h"])


@st.composite
def jobs(draw: st.DrawFn, id: int) -> Job:
    state = draw(st.sampled_from([JobState.RUNNING, JobState.COMPLETED, JobState.FAILED]))
    return Job(
        id=id,
        job_id=draw(st.integers(0, 2000)),
        cluster=draw(st.sampled_from(["alex", "fritz"])),
        user=draw(names),
        project=draw(st.sampled_from(["p1", "p2", ""])),
        sub_cluster=draw(st.sampled_from(["main", "gpu"])),
        partition=draw(names),
        array_job_id=draw(st.sampled_from([0, 7])),
        # around two turns of a month
        start_time=NOW - draw(st.integers(0, 60) | st.integers(0, 90 * 86_400)),
        state=state,
        shared=draw(st.sampled_from(list(Sharing))),
        monitoring_status=draw(st.sampled_from(list(MonitoringStatus))),
        duration=draw(st.integers(0, 5000)),
        walltime=draw(st.sampled_from([0, 3600])),
        num_nodes=draw(st.integers(1, 3)),
        num_hwthreads=draw(st.integers(0, 128)),
        num_acc=draw(st.integers(0, 2)),
        smt=draw(st.sampled_from([1, 2])),
        energy=draw(st.floats(0, 1e6, allow_nan=False)),
        resources=tuple(Resource(host) for host in draw(st.lists(hosts, max_size=3))),
        tags=tuple(Tag("t", "n", id=tag) for tag in draw(st.sets(st.integers(1, 3)))),
        meta_data=draw(
            st.none()
            | st.just({})
            | st.builds(lambda n: {"jobName": n}, st.sampled_from(["interactive", "Sim_1", "x%"]))
        ),
        footprint=draw(
            st.none() | st.dictionaries(st.sampled_from(FOOTPRINTS), st.floats(-10, 1000, allow_nan=False))
        ),
    )


def job_lists(most: int = 12) -> st.SearchStrategy[list[Job]]:
    return st.integers(0, most).flatmap(lambda n: st.tuples(*(jobs(id) for id in range(1, n + 1))).map(list))
