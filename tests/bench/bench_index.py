"""Questions to a job index of a million jobs: build, lists, counts, and the overlay.

    PYTHONPATH=layers/clustercockpit/python:. python tests/bench/bench_index.py [--jobs N] [--sqlite]

Prints milliseconds (best and median of several runs, files local, as in a warm function) and bytes per job.
`--sqlite` asks SQLite, with the indexes that would serve these questions best, the same and prints ratios.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clustercockpit.access.model import JobVisibility
from clustercockpit.index.builder import IndexBuilder
from clustercockpit.index.engine import Engine
from clustercockpit.index.model import JobFilter, JobOrder, Page, Range, TextMatch
from clustercockpit.index.ports import IndexHead
from clustercockpit.index.reader import ColumnarJobIndex
from clustercockpit.index.rows import IndexRow
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Sharing
from clustercockpit.storage.directory import DirectoryObjectStore

NOW = 1_750_000_000
YEAR = 365 * 86_400
EVERYTHING = JobVisibility(everything=True)
KEYS = [
    f"{name}_avg" for name in ("cpu_load", "flops_any", "mem_bw", "net_bw", "file_bw", "ipc", "cpu_power")
]


def rows(count: int) -> Iterator[IndexRow]:
    """Two years of jobs: 500 users with a long tail, 80 projects, 2 clusters, 7 footprint keys."""
    rng = random.Random(1)
    users = [f"u{n:04}" for n in range(500)]
    weights = [1 / (n + 1) for n in range(500)]
    for id, user in enumerate(rng.choices(users, weights, k=count), 1):
        start = NOW - int(2 * YEAR * (count - id) / count) - rng.randrange(3600)
        nodes = rng.choice((1, 1, 1, 1, 2, 2, 4, 8, 16))
        running = id > count - count // 200
        first = rng.randrange(1000 - nodes)
        yield IndexRow(
            id=id,
            ver=1 if running else 3,
            start_time=start,
            job_id=1_000_000 + id,
            cluster="alex" if id % 3 else "fritz",
            sub_cluster="main" if id % 5 else "gpu",
            partition=rng.choice(("standard", "devel", "long")),
            user=user,
            project=f"p{hash(user) % 80:02}" if id % 9 else "shared",
            state=JobState.RUNNING
            if running
            else rng.choices(
                (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED), (70, 15, 10, 5)
            )[0],
            shared=Sharing.NONE,
            monitoring_status=MonitoringStatus.RUNNING_OR_ARCHIVING if running else MonitoringStatus.ARCHIVED,
            duration=0 if running else int(rng.expovariate(1 / 7200)),
            walltime=86_400,
            num_nodes=nodes,
            num_hwthreads=nodes * 72,
            num_acc=0 if id % 5 else nodes * 4,
            smt=1,
            energy=round(rng.random() * 20, 2),
            job_name=rng.choice(("interactive", "sim", "train", f"run{id % 1000}")),
            hosts=tuple(f"a{n:04}" for n in range(first, first + nodes)),
            tags=(rng.randrange(20),) if rng.random() < 0.1 else (),
            footprint={} if running else {key: round(rng.random() * 100, 2) for key in KEYS},
        )


class Source:
    """Scan, change log, head and job store of a made-up installation."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.head: IndexHead | None = None
        self.changes: dict[tuple[int, int], list[IndexRow]] = {}

    def rows(self) -> Iterator[IndexRow]:
        return rows(self.count)

    def read(self, minute: int | None = None, shard: int = 0) -> Any:
        return self.head if minute is None else self.changes.get((minute, shard), [])

    def replace(self, head: IndexHead, *, expected: int | None) -> None:
        self.head = head

    def get_many(self, ids: Sequence[int], *, with_metadata: bool = False) -> list[Job]:
        return []


def timed(what: Callable[[], object], runs: int = 9) -> tuple[float, float]:
    """Best and median in milliseconds."""
    what()
    seen = []
    for _ in range(runs):
        begun = time.perf_counter()
        what()
        seen.append((time.perf_counter() - begun) * 1000)
    return min(seen), statistics.median(seen)


LAST_MONTH = Range(NOW - 30 * 86_400, None)
FIVE = JobFilter(
    cluster=TextMatch(eq="alex"),
    states=(JobState.COMPLETED,),
    num_nodes=Range(2, 8),
    duration=Range(600, 86_400),
    footprints=(("cpu_load_avg", Range(20, 80)),),
)
QUESTIONS: list[tuple[str, JobFilter, JobOrder | None, str, str]] = [
    (
        "one user, newest 25",
        JobFilter(user=TextMatch(eq="u0003")),
        JobOrder("start_time"),
        "user = 'u0003'",
        "start_time DESC",
    ),
    (
        "five conditions by a footprint",
        FIVE,
        JobOrder("mem_bw_avg", footprint=True),
        "cluster = 'alex' AND state = 'completed' AND num_nodes BETWEEN 2 AND 8"
        " AND duration BETWEEN 600 AND 86400 AND json_extract(footprint, '$.cpu_load_avg') BETWEEN 20 AND 80",
        "json_extract(footprint, '$.mem_bw_avg') DESC",
    ),
    (
        "last 30 days, newest 25",
        JobFilter(start_time=LAST_MONTH),
        JobOrder("start_time"),
        f"start_time >= {NOW - 30 * 86_400}",
        "start_time DESC",
    ),
    (
        "running",
        JobFilter(states=(JobState.RUNNING,)),
        JobOrder("start_time"),
        "state = 'running'",
        "start_time DESC",
    ),
    (
        "user name contains",
        JobFilter(user=TextMatch(contains="17")),
        JobOrder("start_time"),
        "user LIKE '%17%'",
        "start_time DESC",
    ),
]


def sqlite(folder: Path, count: int) -> sqlite3.Connection:
    import json

    connection = sqlite3.connect(folder / "jobs.sqlite")
    connection.execute(
        "CREATE TABLE job (id INTEGER PRIMARY KEY, cluster TEXT, user TEXT, project TEXT, state TEXT,"
        " start_time INT, duration INT, num_nodes INT, footprint TEXT)"
    )
    connection.executemany(
        "INSERT INTO job VALUES (?,?,?,?,?,?,?,?,?)",
        (
            (
                r.id,
                r.cluster,
                r.user,
                r.project,
                r.state.value,
                r.start_time,
                r.duration,
                r.num_nodes,
                json.dumps(r.footprint),
            )
            for r in rows(count)
        ),
    )
    for columns in ("user, start_time", "start_time", "cluster, state, num_nodes", "state, start_time"):
        connection.execute(f"CREATE INDEX i{abs(hash(columns))} ON job ({columns})")
    connection.execute("ANALYZE")
    connection.commit()
    return connection


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        source = Source(arguments.jobs)
        objects = DirectoryObjectStore(folder / "objects")
        engine = Engine(folder / "scratch", memory_limit="2GB")
        builder = IndexBuilder(
            engine, objects, source, source, source, folder / "files", shards=2, clock=lambda: NOW
        )
        begun = time.perf_counter()
        builder.rebuild()
        stored = sum(it.size for it in objects.list("index/segments"))
        print(f"rebuild of {arguments.jobs} jobs: {time.perf_counter() - begun:.1f} s")
        print(f"segments: {stored / arguments.jobs:.1f} B per job, {stored / 1e6:.1f} MB")
        index = ColumnarJobIndex(
            engine,
            objects,
            source,
            source,
            source,
            folder / "files",
            shards=2,
            clock=lambda: NOW,  # type: ignore[arg-type]
        )
        other = sqlite(folder, arguments.jobs) if arguments.sqlite else None
        for state in ("without changes", "with 1000 changes in the overlay"):
            print(f"\n{state:40} {'best':>8} {'median':>8} ms")
            for what, wanted, order, where, by in QUESTIONS:
                for kind, ask, sql in (
                    (
                        "list",
                        lambda w=wanted, o=order: index.page(EVERYTHING, [w], o, Page(1, 25)),
                        f"SELECT id FROM job WHERE {where} ORDER BY {by} LIMIT 26",
                    ),
                    (
                        "count",
                        lambda w=wanted: index.count(EVERYTHING, [w]),
                        f"SELECT count(*) FROM job WHERE {where}",
                    ),
                ):
                    best, median = timed(ask)
                    line = f"{what + ', ' + kind:40} {best:8.1f} {median:8.1f}"
                    if other is not None:
                        theirs, _ = timed(lambda s=sql: other.execute(s).fetchall(), 3)
                        line += f"   sqlite {theirs:8.1f}  x{theirs / best:.1f}"
                    print(line)
            minute = NOW // 60
            source.changes = {(minute, 0): list(rows(1000))}
        begun = time.perf_counter()
        source.head = IndexHead(source.head.version, minute - 2, 2, source.head.manifest)  # type: ignore[union-attr]
        later = IndexBuilder(
            engine, objects, source, source, source, folder / "files", shards=2, clock=lambda: NOW + 180
        )
        report = later.run()
        print(
            f"\na builder's run with {report.changes} changes: {(time.perf_counter() - begun) * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
