"""The job index as a JobIndex: segments, delta and overlay asked as one table.

A question takes the head (a few seconds old at most: an older one only means a longer overlay), the files of
the months it can touch, and the overlay; DuckDB finds the ids of the page, and the jobs themselves are read
from the job store and decided once more before they are shown.
"""

from __future__ import annotations

import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from clustercockpit.access.model import JobVisibility
from clustercockpit.errors import InvalidInputError, NotFoundError, TooLargeError, UnavailableError
from clustercockpit.footprints.running import NOTHING, Footprints
from clustercockpit.index.columns import DELETED, FootprintKeys, ndjson, read_ndjson, types
from clustercockpit.index.files import FileCache
from clustercockpit.index.manifest import Manifest
from clustercockpit.index.matching import matches, needs_job_name
from clustercockpit.index.model import JobFilter, JobOrder, JobPage, Page, Range, TextMatch
from clustercockpit.index.overlay import Overlay, last_closed
from clustercockpit.index.ports import ChangeLog, IndexHead, IndexHeads, JobLink
from clustercockpit.index.rows import IndexRow
from clustercockpit.index.sql import Predicate, predicate, start_bounds
from clustercockpit.jobs.model import Job
from clustercockpit.jobs.ports import JobStore
from clustercockpit.storage.objects import ObjectStore

if TYPE_CHECKING:
    import duckdb

    from clustercockpit.index.engine import Engine

HEAD_SECONDS: Final = 2.0
"""How long a head is used before it is read again."""
MOST_JOBS: Final = 50_000
"""What one answer can hold: more is refused rather than running out of memory or time."""
OVERLAP_SECONDS: Final = 200
LONGEST_JOB_SECONDS: Final = 366 * 86_400
PARTITIONS_SECONDS: Final = 3600.0
PARTITIONS_BACK_SECONDS: Final = 90 * 86_400
"""Partitions without a job for that long are not listed: older months need not be fetched for a list."""
UNBUILT_MINUTES: Final = 60
"""How far back changes are read where no index has been built yet."""


class RowTable:
    """Rows of newer versions as a table in memory, each job at most once, tombstones included. Dropped when
    the last question that uses it is done."""

    def __init__(
        self, engine: Engine, name: str, footprints: int, source: str, parameters: dict[str, Any]
    ) -> None:
        self.name = name
        columns = ", ".join(f'"{column}" {type}' for column, type in types(footprints).items())
        with engine.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {name} ({columns})")
            if source:
                cursor.execute(f"INSERT INTO {name} BY NAME SELECT * FROM {source}", parameters)
        weakref.finalize(self, _drop, engine, name)


class RunningTable:
    """The newest footprints of running jobs as a table in memory, made once for each state of them: columns
    `id` and `r0`, `r1`, … as `numbers` says. Dropped when the last question that uses it is done."""

    def __init__(self, engine: Engine, name: str, footprints: Footprints, folder: Path) -> None:
        self.name = name
        self.footprints = footprints
        keys = sorted({key for values in footprints.jobs.values() for key in values})
        self.numbers = {key: number for number, key in enumerate(keys)}
        columns = {"id": "BIGINT", **{f"r{number}": "DOUBLE" for number in self.numbers.values()}}
        described = ", ".join(f"'{column}': '{type}'" for column, type in columns.items())
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".rows") as file:
            for id, values in footprints.jobs.items():
                row = {"id": id, **{f"r{self.numbers[key]}": value for key, value in values.items()}}
                file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
            with engine.cursor() as cursor:
                cursor.execute(
                    f"CREATE TABLE {name} AS SELECT * FROM read_json($path,"
                    f" format = 'newline_delimited', columns = {{{described}}})",
                    {"path": file.name},
                )
        weakref.finalize(self, _drop, engine, name)


def _drop(engine: Engine, name: str) -> None:
    with engine.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {name}")


@dataclass(frozen=True, slots=True)
class Changes:
    """The overlay of a moment as a table; `versions` tells whether it still is the overlay."""

    versions: frozenset[tuple[int, int]]
    table: RowTable
    footprints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the index as a process holds it."""

    head: IndexHead
    manifest: Manifest
    footprints: tuple[str, ...]
    delta: RowTable


class ColumnarJobIndex:
    """JobIndex over Parquet. One per process, safe for threads."""

    def __init__(
        self,
        engine: Engine,
        objects: ObjectStore,
        heads: IndexHeads,
        changes: ChangeLog,
        jobs: JobStore,
        folder: Path,
        *,
        shards: int,
        clock: Callable[[], float] = time.time,
        head_seconds: float = HEAD_SECONDS,
        running_footprints: Callable[[], Footprints] = lambda: NOTHING,
    ) -> None:
        """`running_footprints` gives the newest ones of running jobs; they go before those of the jobs."""
        self._engine = engine
        self._objects = objects
        self._heads = heads
        self._jobs = jobs
        self._files = FileCache(objects, folder)
        self._overlay = Overlay(changes)
        self._shards = shards
        self._clock = clock
        self._head_seconds = head_seconds
        self._running_footprints = running_footprints
        self._running: RunningTable | None = None
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._head_read = float("-inf")
        self._tables = 0
        self._last_changes: Changes | None = None
        self._partitions: tuple[float, dict[str, list[str]]] = (float("-inf"), {})

    def page(
        self,
        visibility: JobVisibility,
        filters: Sequence[JobFilter],
        order: JobOrder | None,
        page: Page,
        *,
        with_metadata: bool = False,
    ) -> JobPage:
        if page.size < 1 and page.size != -1:
            raise InvalidInputError(f"invalid items-per-page value: {page.size}")
        with self._question(visibility, filters, order) as (cursor, condition, relation, now):
            statement = (
                f"SELECT id FROM {relation} WHERE {condition.sql} ORDER BY {condition.order_by(order)}"
            )
            if page.size == -1:
                statement += f" LIMIT {MOST_JOBS + 1:d}"
            else:
                offset = (max(page.number, 1) - 1) * page.size
                # One more than shown tells whether there is a next page
                statement += (
                    f" LIMIT {condition.bind(min(page.size, MOST_JOBS) + 1)} OFFSET {condition.bind(offset)}"
                )
            ids = [id for (id,) in cursor.execute(statement, condition.parameters(statement)).fetchall()]
        if min(len(ids), page.size if page.size != -1 else len(ids)) > MOST_JOBS:
            raise TooLargeError(f"more than {MOST_JOBS} jobs match; ask for pages, or for fewer jobs")
        more = page.size != -1 and len(ids) > page.size
        wanted = ids[: page.size] if more else ids
        return JobPage(self._fresh(wanted, visibility, filters, now, with_metadata), more)

    def count(self, visibility: JobVisibility, filters: Sequence[JobFilter]) -> int:
        with self._question(visibility, filters) as (cursor, condition, relation, _):
            statement = f"SELECT count(*) FROM {relation} WHERE {condition.sql}"
            answer = cursor.execute(statement, condition.parameters(statement)).fetchone()
        return int(answer[0]) if answer else 0

    def concurrent(self, visibility: JobVisibility, job: Job) -> list[JobLink]:
        if not job.resources:
            return []
        now = int(self._clock())
        end = job.start_time + job.elapsed(now)
        # Nobody's job runs for longer than a year: months further back need not be read
        window = Range(job.start_time - LONGEST_JOB_SECONDS, end - OVERLAP_SECONDS)
        same = JobFilter(
            cluster=TextMatch(eq=job.cluster),
            node=TextMatch(eq=job.resources[0].hostname),
            start_time=window,
        )
        with self._question(visibility, [same]) as (cursor, condition, relation, _):
            later = condition.bind(job.start_time + OVERLAP_SECONDS)
            latest = condition.bind(end - OVERLAP_SECONDS)
            statement = (
                f"SELECT id, job_id FROM {relation} WHERE {condition.sql} AND (state = 'running'"
                f" OR (start_time < {latest} AND start_time + duration > {later}))"
                " ORDER BY state = 'running', id"
            )
            found = cursor.execute(statement, condition.parameters(statement)).fetchall()
        return [JobLink(id, job_id) for id, job_id in found]

    def partitions(self, cluster: str) -> list[str]:
        with self._lock:
            read_at, known = self._partitions
        if time.monotonic() - read_at > PARTITIONS_SECONDS:
            since = JobFilter(start_time=Range(self._clock() - PARTITIONS_BACK_SECONDS, None))
            with self._question(JobVisibility(everything=True), [since]) as (cursor, condition, relation, _):
                statement = f"SELECT DISTINCT cluster, partition FROM {relation} WHERE {condition.sql}"
                pairs = cursor.execute(statement, condition.parameters(statement)).fetchall()
            known = {}
            for name, partition in sorted(pairs):
                if partition:
                    known.setdefault(name, []).append(partition)
            with self._lock:
                self._partitions = (time.monotonic(), known)
        return known.get(cluster, [])

    def _fresh(
        self,
        ids: Sequence[int],
        visibility: JobVisibility,
        filters: Sequence[JobFilter],
        now: int,
        with_metadata: bool,
    ) -> list[Job]:
        """The jobs as they are now, without those that no longer belong here."""
        name_needed = needs_job_name(filters)
        newest = self._running_footprints()
        jobs = [
            newest.over(job) for job in self._jobs.get_many(ids, with_metadata=with_metadata or name_needed)
        ]
        jobs = [job for job in jobs if visibility.admits(job) and matches(job, filters, now)]
        if name_needed and not with_metadata:
            for job in jobs:
                job.meta_data = None
        return jobs

    @contextmanager
    def _question(
        self, visibility: JobVisibility, filters: Sequence[JobFilter], order: JobOrder | None = None
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Predicate, str, int]]:
        """A cursor, the condition, the relation to select from, and the time the answer is for."""
        snapshot, segments = self._files_for(*start_bounds(filters))
        now = self._clock()
        rows = self._overlay.rows(snapshot.head, snapshot.manifest, now, shards=self._shards)
        changes = self._changes_table(snapshot, rows) if rows else None
        keys = FootprintKeys(changes.footprints if changes else snapshot.footprints)
        with self._engine.cursor() as cursor:
            by_footprint = (order is not None and order.footprint) or any(it.footprints for it in filters)
            running = self._running_table() if by_footprint else None
            numbers = running.numbers if running is not None else None
            condition = predicate(visibility, filters, int(now), keys.numbers, numbers)
            relation = _relation(
                snapshot.delta.name,
                condition.bind(segments) if segments else None,
                changes.table.name if changes else None,
            )
            if running is not None:
                relation += f" LEFT JOIN {running.name} USING (id)"
            yield cursor, condition, relation, int(now)

    def _changes_table(self, snapshot: Snapshot, rows: Mapping[int, IndexRow]) -> Changes:
        """The overlay as a table; the last one if nothing has changed since."""
        versions = frozenset((id, row.ver) for id, row in rows.items())
        with self._lock:
            last = self._last_changes
            self._tables += 1
            name = f"overlay_{self._tables}"
        known = snapshot.footprints
        if last is not None and last.versions == versions and last.footprints[: len(known)] == known:
            return last
        keys = FootprintKeys(known)
        with tempfile.NamedTemporaryFile(dir=self._files.folder, suffix=".rows") as file:
            # Through a file: row by row is a hundred times slower
            file.writelines(ndjson(rows.values(), keys))
            file.flush()
            source = read_ndjson("$path", len(keys.numbers))
            table = RowTable(self._engine, name, len(keys.numbers), source, {"path": file.name})
        made = Changes(versions, table, tuple(keys.names()))
        with self._lock:
            self._last_changes = made
        return made

    def _running_table(self) -> RunningTable | None:
        """The newest footprints of running jobs, if there are any."""
        newest = self._running_footprints()
        with self._lock:
            if self._running is None or self._running.footprints is not newest:
                self._tables += 1
                self._running = (
                    RunningTable(self._engine, f"running_{self._tables}", newest, self._files.folder)
                    if newest.jobs
                    else None
                )
            return self._running

    def _files_for(self, low: float, high: float) -> tuple[Snapshot, list[str]]:
        """The current version, and local copies of its segments with jobs started in the window."""
        for attempt in range(3):
            snapshot = self._current(refresh=attempt > 0)
            segments = [
                month.segment.key
                for month in snapshot.manifest.months.values()
                if month.segment is not None and month.segment.low <= high and month.segment.high >= low
            ]
            try:
                return snapshot, self._files.paths(segments)
            except NotFoundError:  # the version has been outlived; there must be a newer one
                continue
        raise UnavailableError("the job index is being rebuilt; try again in a minute")

    def _current(self, *, refresh: bool = False) -> Snapshot:
        with self._lock:
            known = self._snapshot
            if known is not None and not refresh and time.monotonic() - self._head_read < self._head_seconds:
                return known
            read_at = time.monotonic()
            head = self._heads.read()
            if head is None:
                # Not built yet: the change log of the last hour is all there is
                head = IndexHead(0, last_closed(self._clock()) - UNBUILT_MINUTES, self._shards, "")
            if known is None or head.manifest != known.head.manifest or not head.manifest:
                known = self._open(head)
            elif head != known.head:
                known = Snapshot(head, known.manifest, known.footprints, known.delta)
            self._snapshot, self._head_read = known, read_at
            return known

    def _open(self, head: IndexHead) -> Snapshot:
        """Take a version up: its manifest, and all deltas as one table in memory."""
        manifest = Manifest()
        if head.manifest:
            content = Path(self._files.paths([head.manifest])[0]).read_bytes()
            manifest = Manifest.decode(content)
        deltas = [month.delta.key for month in manifest.months.values() if month.delta is not None]
        self._tables += 1
        delta = RowTable(
            self._engine,
            f"delta_{self._tables}",
            len(manifest.footprints),
            "read_parquet($paths, union_by_name = true)" if deltas else "",
            {"paths": self._files.paths(deltas)},
        )
        self._files.forget({*manifest.keys(), head.manifest})
        return Snapshot(head, manifest, tuple(manifest.footprints), delta)


def _relation(delta: str, segments: str | None, overlay: str | None) -> str:
    """Every job once, in its newest version. `segments` names the parameter with the files, the others are
    tables."""
    newer = f"SELECT id FROM {delta}" + (f" UNION ALL SELECT id FROM {overlay}" if overlay else "")
    parts = []
    if segments is not None:
        parts.append(f"FROM read_parquet({segments}, union_by_name = true) ANTI JOIN ({newer}) USING (id)")
    masked = f" ANTI JOIN {overlay} USING (id)" if overlay else ""
    parts.append(f"SELECT * EXCLUDE ({DELETED}) FROM {delta}{masked} WHERE NOT {DELETED}")
    if overlay:
        parts.append(f"SELECT * EXCLUDE ({DELETED}) FROM {overlay} WHERE NOT {DELETED}")
    return f"({' UNION ALL BY NAME '.join(parts)}) AS jobs"
