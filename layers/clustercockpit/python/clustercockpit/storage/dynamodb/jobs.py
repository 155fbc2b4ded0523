"""`jobs.ports.JobStore` on the one table.

Every change is one transaction that holds the job at the version it was read at (`ver`) and puts a change
row for the index. When it is cancelled, or its answer is lost, the job is read again and what it says
decides (ruling 1): a change that is there with our version and content is ours.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pynamodb.exceptions import TransactWriteError
from pynamodb.transactions import TransactWrite

from clustercockpit.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from clustercockpit.jobs.model import LATEST_TIME, Job, JobState, MonitoringStatus, Tag
from clustercockpit.storage.dynamodb.changes import ChangeItem, change_item
from clustercockpit.storage.dynamodb.job_items import (
    CORE,
    GUARD,
    METADATA,
    PENDING_SHARDS,
    RESOURCES,
    GuardItem,
    JobItem,
    JobItems,
    chunk_key,
    job_key,
    natural_key,
    pack,
    start_key,
    unpack_metadata,
)
from clustercockpit.storage.dynamodb.sequence import Sequence as NumberSequence
from clustercockpit.storage.dynamodb.table import Table, failed_conditions
from clustercockpit.storage.dynamodb.tags import LINK_SHARDS, TagLinkItem, link_partition

ID_BLOCK: Final = 64
GUARD_SECONDS: Final = 86_400
_ATTEMPTS: Final = 4
_MOST_TAGS: Final = 40  # a transaction writes at most 100 items
_LONGEST_DURATION: Final = 2**31 - 1
_LONGEST_NAME: Final = 255
_INDEXED_NAME: Final = 1_000  # characters of a job's name that lists can ask for; the metadata has all of it


@dataclass
class _Stored:
    """A job as read, with what a change has to carry along."""

    item: JobItem
    job: Job
    packed: bytes


@dataclass
class _Change:
    """What a job becomes, and what else the transaction writes."""

    job: Job
    job_name: str
    has_message: bool
    metadata_chunks: int
    write: Callable[[TransactWrite], None] = field(default=lambda _: None)


class DynamoJobStore:
    """See the port for what the methods promise."""

    def __init__(
        self,
        table: Table,
        *,
        tags: Callable[[Iterable[int]], tuple[Tag, ...]],
        clusters: Callable[[], Iterable[str]],
        change_shards: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`tags` resolves tag ids, `clusters` names those to look through when a caller names none."""
        self._table = table
        self._items = JobItems(table, tags)
        self._changes = table.model(ChangeItem)
        self._links = table.model(TagLinkItem)
        self._clusters = clusters
        self._shards = change_shards
        self._clock = clock
        self._ids = NumberSequence(table, "job", ID_BLOCK)

    # Coming and going

    def start(self, job: Job) -> Job:
        job = replace(job, id=self._ids.next(), ver=1, state=JobState.RUNNING)
        guard = self._items.guard(natural_key(job.cluster, job.job_id), GUARD)
        free = GuardItem.last_start.does_not_exist() | (
            GuardItem.last_start <= job.start_time - GUARD_SECONDS
        )

        def hold_guard(transaction: TransactWrite) -> None:
            transaction.update(guard, [GuardItem.last_start.set(job.start_time)], condition=free)

        return self._insert(job, hold_guard, self._start_winner)

    def insert_finished(self, job: Job) -> Job:
        job = replace(job, id=self._ids.next(), ver=1)
        key = natural_key(job.cluster, job.job_id)

        def raise_guard(transaction: TransactWrite) -> None:
            last = self._last_start(key)
            if last is None or last < job.start_time:
                known = (
                    GuardItem.last_start.does_not_exist() if last is None else GuardItem.last_start == last
                )
                transaction.update(
                    self._items.guard(key, GUARD),
                    [GuardItem.last_start.set(job.start_time)],
                    condition=known,
                )

        return self._insert(job, raise_guard, lambda job: dict(self._starts(job)).get(job.start_time))

    def _insert(
        self,
        job: Job,
        guard: Callable[[TransactWrite], None],
        winner_of: Callable[[Job], int | None],
    ) -> Job:
        if not 0 < job.start_time <= LATEST_TIME:
            raise InvalidInputError(f"'startTime' must be Unix time in seconds, got {job.start_time}")
        if len(job.tags) > _MOST_TAGS:
            raise InvalidInputError(f"tags: at most {_MOST_TAGS} at a time")
        items, key = self._items, natural_key(job.cluster, job.job_id)
        packed = pack(job)
        metadata = items.metadata_items(job.id, job.meta_data)
        resources = items.resources_item(job, packed)
        core = items.core_item(
            job,
            packed=packed,
            job_name=_job_name(job.meta_data),
            has_message=_has_message(job.meta_data),
            metadata_chunks=len(metadata),
        )

        def build(transaction: TransactWrite) -> None:
            guard(transaction)
            transaction.save(
                items.start(key, start_key(job.start_time), id=job.id),
                condition=items.start.pk.does_not_exist(),
            )
            transaction.save(core, condition=JobItem.pk.does_not_exist())
            for chunk in (*metadata, *((resources,) if resources else ())):
                transaction.save(chunk)
            for tag in job.tags:
                transaction.save(self._link(job, tag))
            transaction.save(self._change_row(job, _job_name(job.meta_data), _has_message(job.meta_data)))

        unanswered: UnavailableError | None = None
        for _ in range(_ATTEMPTS):
            try:
                self._table.transact(build)
            except TransactWriteError as error:
                if not failed_conditions(error):
                    raise
            except UnavailableError as error:
                unanswered = error
            else:
                return job
            winner = winner_of(job)
            if winner == job.id:
                return job  # it had happened after all
            if winner is not None:
                raise ConflictError(
                    "a job with that jobId, cluster and startTime already exists: "
                    f"dbid: {winner}, jobid: {job.job_id}"
                )
            if unanswered is None:
                self._mend_guard(key)
        raise unanswered or UnavailableError("the job could not be stored; try again")

    def _starts(self, job: Job) -> list[tuple[int, int]]:
        """(start time, id) of every job with this job's scheduler id on its cluster, strongly consistent."""
        start = self._items.start
        found = start.query(
            natural_key(job.cluster, job.job_id), start.sk.startswith("S#"), consistent_read=True
        )
        return [(int(item.sk.removeprefix("S#")), int(item.id)) for item in found]

    def _start_winner(self, job: Job) -> int | None:
        """Whom a start lost against: who holds its natural key, else the newest job of less than a day
        before or any time after."""
        starts = self._starts(job)
        same = dict(starts).get(job.start_time)
        if same is not None:
            return same
        blocking = [entry for entry in starts if job.start_time - entry[0] < GUARD_SECONDS]
        return max(blocking)[1] if blocking else None

    def _last_start(self, key: str) -> int | None:
        try:
            return int(self._items.guard.get(key, GUARD, consistent_read=True).last_start)
        except self._items.guard.DoesNotExist:
            return None

    def _mend_guard(self, key: str) -> None:
        """Bring a guard that blocks without a job behind it (a delete that raced a start) in line."""
        last = self._last_start(key)
        start = self._items.start
        starts = [
            int(item.sk.removeprefix("S#"))
            for item in start.query(key, start.sk.startswith("S#"), consistent_read=True)
        ]
        if last is None or (starts and max(starts) == last):
            return

        def build(transaction: TransactWrite) -> None:
            self._set_guard(transaction, key, last, starts)

        try:
            self._table.transact(build)
        except TransactWriteError as error:
            if not failed_conditions(error):
                raise

    def _set_guard(self, transaction: TransactWrite, key: str, last: int, starts: Sequence[int]) -> None:
        guard = self._items.guard(key, GUARD)
        unchanged = GuardItem.last_start == last
        if starts:
            transaction.update(guard, [GuardItem.last_start.set(max(starts))], condition=unchanged)
        else:
            transaction.delete(guard, condition=unchanged)

    def delete(self, id: int) -> None:
        for _ in range(_ATTEMPTS):
            stored = self._read(id)
            if stored is None:
                return
            job = stored.job
            key = natural_key(job.cluster, job.job_id)
            last = self._last_start(key)
            others = [start for start, other in self._starts(job) if other != id]
            chunk = self._items.chunk
            hanging = [item.sk for item in chunk.query(job_key(id), attributes_to_get=["pk", "sk"])]

            def build(
                transaction: TransactWrite,
                stored: _Stored = stored,
                job: Job = job,
                key: str = key,
                last: int | None = last,
                others: list[int] = others,
                hanging: list[str] = hanging,
            ) -> None:
                transaction.delete(stored.item, condition=JobItem.ver == job.ver)
                transaction.delete(self._items.start(key, start_key(job.start_time)))
                if last is not None and max(others, default=None) != last:
                    self._set_guard(transaction, key, last, others)
                for sk in hanging[:90]:
                    if sk != CORE:
                        transaction.delete(self._items.chunk(job_key(job.id), sk))
                gone = replace(job, ver=job.ver + 1)
                transaction.save(self._change_row(gone, "", False, deleted=True))

            try:
                self._table.transact(build)
            except TransactWriteError as error:
                if not failed_conditions(error):
                    raise
            except UnavailableError:
                continue  # the next look tells
            else:
                return
        raise UnavailableError("the job is being changed by others; try again")

    # Reading

    def get(self, id: int, *, with_metadata: bool = False) -> Job | None:
        stored = self._read(id)
        if stored is None:
            return None
        if with_metadata:
            stored.job.meta_data = self._metadata(stored.item)
        return _shown(stored.job)

    def get_many(self, ids: Sequence[int], *, with_metadata: bool = False) -> list[Job]:
        keys = [(job_key(id), CORE) for id in dict.fromkeys(ids)]
        cores = list(self._items.core.batch_get(keys, consistent_read=True))
        jobs = {job.id: job for job in self._jobs(cores, consistent=True)}
        if with_metadata:
            for id, meta_data in self._metadata_of(cores).items():
                jobs[id].meta_data = meta_data
        return [jobs[id] for id in ids if id in jobs]

    def find(self, job_id: int, cluster: str | None = None, start_time: int | None = None) -> Job | None:
        if cluster is not None and len(cluster) > _LONGEST_NAME:
            return None  # longer than a key may be
        best: tuple[int, int] | None = None
        for name in (cluster,) if cluster is not None else self._clusters():
            for start, id in self._starts(Job(job_id=job_id, cluster=name, user="", start_time=0)):
                matches = start_time is None or start == start_time
                if matches and (best is None or (start, id) > best):
                    best = (start, id)
        return self.get(best[1]) if best is not None else None

    def _read(self, id: int) -> _Stored | None:
        core, key = self._items.core, job_key(id)
        try:
            item = core.get(key, CORE, consistent_read=True)
        except core.DoesNotExist:
            return None
        packed: bytes | None = item.resources
        if packed is None:
            packed = self._items.chunk.get(key, RESOURCES, consistent_read=True).data
        return _Stored(item, self._items.job(item, packed=packed, every_tag=True), packed)

    def _metadata(self, item: JobItem) -> dict[str, str] | None:
        if not item.metadata_chunks:
            return None
        chunk = self._items.chunk
        found = chunk.query(item.pk, chunk.sk.startswith(METADATA), consistent_read=True)
        return unpack_metadata([each.data for each in found][: int(item.metadata_chunks)])

    def _metadata_of(self, cores: Iterable[JobItem]) -> dict[int, dict[str, str] | None]:
        keys = [
            (core.pk, chunk_key(place)) for core in cores for place in range(int(core.metadata_chunks or 0))
        ]
        chunks: dict[str, dict[str, bytes]] = {}
        for item in self._items.chunk.batch_get(keys, consistent_read=True):
            chunks.setdefault(item.pk, {})[item.sk] = item.data
        return {
            int(pk.removeprefix("J#")): unpack_metadata([parts[sk] for sk in sorted(parts)])
            for pk, parts in chunks.items()
        }

    def _jobs(self, cores: Iterable[JobItem], *, consistent: bool) -> Iterator[Job]:
        """Jobs of core items, long resources fetched together."""
        cores = list(cores)
        keys = [(core.pk, RESOURCES) for core in cores if core.resources is None]
        packed: dict[str, bytes] = {}
        if keys:
            found = self._items.chunk.batch_get(keys, consistent_read=consistent)
            packed = {item.pk: item.data for item in found}
        for core in cores:
            yield self._items.job(core, packed=packed.get(core.pk))

    # Work lists, from the life-cycle index

    def running(self, cluster: str) -> Iterable[Job]:
        return self._jobs(self._items.core.lifecycle.query(f"R#{cluster}"), consistent=False)

    def archiving_pending(self) -> Iterable[Job]:
        shards = (self._items.core.lifecycle.query(f"P#{shard}") for shard in range(PENDING_SHARDS))
        return self._jobs(heapq.merge(*shards, key=lambda item: int(item.g1s)), consistent=False)

    def archiving_failed(self, cluster: str) -> Iterable[Job]:
        return self._jobs(self._items.core.lifecycle.query(f"F#{cluster}"), consistent=False)

    # Changing

    def stop(self, id: int, *, state: JobState, stop_time: int) -> Job:
        def stopped(stored: _Stored) -> _Change:
            job = stored.job
            if job.state is not JobState.RUNNING:
                raise ConflictError(
                    f"jobId {job.job_id} (id {job.id}) on {job.cluster} : "
                    f"job has already been stopped (state is: {job.state})"
                )
            duration = min(max(stop_time - job.start_time, 0), _LONGEST_DURATION)
            return _keeping(stored, replace(job, state=state, duration=duration))

        return self._change(id, stopped)

    def archived(
        self,
        id: int,
        *,
        status: MonitoringStatus,
        footprint: dict[str, float] | None = None,
        energy_footprint: dict[str, float] | None = None,
        energy: float | None = None,
        remarks: Sequence[str] = (),
    ) -> Job:
        def recorded(stored: _Stored) -> _Change | None:
            job = stored.job
            if job.state is JobState.RUNNING:
                raise ConflictError(f"job {id} is still running")
            if job.monitoring_status in (MonitoringStatus.ARCHIVED, MonitoringStatus.DISABLED):
                return None
            return _keeping(
                stored,
                replace(
                    job,
                    monitoring_status=status,
                    footprint=job.footprint if footprint is None else footprint,
                    energy_footprint=job.energy_footprint if energy_footprint is None else energy_footprint,
                    energy=job.energy if energy is None else energy,
                    remarks=tuple(dict.fromkeys((*job.remarks, *remarks))),
                ),
            )

        return self._change(id, recorded)

    def edit_metadata(self, id: int, key: str, value: str) -> Job:
        def edited(stored: _Stored) -> _Change:
            meta_data = {**(self._metadata(stored.item) or {}), key: value}
            chunks = self._items.metadata_items(id, meta_data)
            before = int(stored.item.metadata_chunks or 0)

            def write(transaction: TransactWrite) -> None:
                for chunk in chunks:
                    transaction.save(chunk)
                for place in range(len(chunks), before):
                    transaction.delete(self._items.chunk(job_key(id), chunk_key(place)))

            return _Change(
                replace(stored.job, meta_data=meta_data),
                _job_name(meta_data),
                _has_message(meta_data),
                len(chunks),
                write,
            )

        return self._change(id, edited)

    def change_tags(self, id: int, *, add: Sequence[Tag] = (), remove: Sequence[Tag] = ()) -> Job:
        def tagged(stored: _Stored) -> _Change | None:
            job = stored.job
            had = {tag.id for tag in job.tags}
            taken = {tag.id for tag in remove}
            new = [tag for tag in {tag.id: tag for tag in add}.values() if tag.id not in had | taken]
            lost = [tag for tag in job.tags if tag.id in taken]
            if not new and not lost:
                return None
            if len(new) + len(lost) > 2 * _MOST_TAGS:
                raise InvalidInputError(f"tags: at most {2 * _MOST_TAGS} at a time")

            def write(transaction: TransactWrite) -> None:
                for tag in new:
                    transaction.save(self._link(job, tag))
                for tag in lost:
                    transaction.delete(self._link(job, tag))

            tags = (*(tag for tag in job.tags if tag.id not in taken), *new)
            change = _keeping(stored, replace(job, tags=tags))
            change.write = write
            return change

        return self._change(id, tagged)

    def _change(self, id: int, change: Callable[[_Stored], _Change | None]) -> Job:
        """Read, let `change` say what the job becomes (None: it stays), write; again if another was
        faster."""
        for _ in range(_ATTEMPTS):
            stored = self._read(id)
            if stored is None:
                raise NotFoundError(f"no job with id {id}")
            wanted = change(stored)
            if wanted is None:
                return _shown(stored.job)
            job = replace(wanted.job, ver=stored.job.ver + 1)
            core = self._items.core_item(
                job,
                packed=stored.packed,
                job_name=wanted.job_name,
                has_message=wanted.has_message,
                metadata_chunks=wanted.metadata_chunks,
            )

            def build(
                transaction: TransactWrite,
                wanted: _Change = wanted,
                job: Job = job,
                core: JobItem = core,
            ) -> None:
                transaction.save(core, condition=JobItem.ver == job.ver - 1)
                wanted.write(transaction)
                transaction.save(self._change_row(job, wanted.job_name, wanted.has_message))

            try:
                self._table.transact(build)
            except TransactWriteError as error:
                if not failed_conditions(error):
                    raise
            except UnavailableError:
                now = self._read(id)
                if now is not None and now.item.serialize() == core.serialize():
                    return _shown(job)  # it had happened after all
            else:
                return _shown(job)
        raise UnavailableError("the job is being changed by others; try again")

    def _change_row(self, job: Job, job_name: str, has_message: bool, *, deleted: bool = False) -> ChangeItem:
        return change_item(
            self._changes,
            job,
            shards=self._shards,
            now=self._clock(),
            deleted=deleted,
            job_name=job_name,
            has_message=has_message,
        )

    def _link(self, job: Job, tag: Tag) -> TagLinkItem:
        return self._links(
            job_key(job.id),
            f"T#{tag.id}",
            g2p=link_partition(tag.id, job.id % LINK_SHARDS),
            g2s=f"{job.start_time:012d}#{job.id:010d}",
        )


def _keeping(stored: _Stored, job: Job) -> _Change:
    """A change that leaves the metadata alone."""
    item = stored.item
    return _Change(job, item.job_name or "", bool(item.has_message), int(item.metadata_chunks or 0))


def _shown(job: Job) -> Job:
    """Without tags whose names are not known: a change carries them along, a reader has no use for them."""
    if all(tag.type for tag in job.tags):
        return job
    return replace(job, tags=tuple(tag for tag in job.tags if tag.type))


def _job_name(meta_data: dict[str, str] | None) -> str:
    return (meta_data or {}).get("jobName", "")[:_INDEXED_NAME]


def _has_message(meta_data: dict[str, str] | None) -> bool:
    return bool((meta_data or {}).get("message"))
