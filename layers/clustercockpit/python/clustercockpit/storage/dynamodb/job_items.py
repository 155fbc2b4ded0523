"""A job as items of the table, and back. Keys: `docs/decisions/0201-table-keys.md`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import orjson
from pynamodb.attributes import BinaryAttribute, BooleanAttribute, NumberAttribute, UnicodeAttribute

from clustercockpit.errors import InvalidInputError
from clustercockpit.jobs.folding import pack_resources, unpack_resources
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource, Sharing, Tag
from clustercockpit.storage.dynamodb.table import Table, TableItem

CORE: Final = "M"
METADATA: Final = "X"
RESOURCES: Final = "R"
GUARD: Final = "L"
PENDING_SHARDS: Final = 4
# An item is one write unit up to 1 KB: longer resources are an item of their own.
_INLINE_RESOURCES: Final = 300
_CHUNK: Final = 350_000  # an item holds 400 KB
_MOST_CHUNKS: Final = 8  # a transaction 4 MB
_LEAST_NUMBER: Final = 1e-120  # the table's numbers go a little further
_GREATEST_NUMBER: Final = 1e120


class JobItem(TableItem):
    """The core of a job. What is zero or empty is not stored."""

    ver = NumberAttribute()
    job_id = NumberAttribute()
    cluster = UnicodeAttribute()
    user = UnicodeAttribute()
    start_time = NumberAttribute()
    state = UnicodeAttribute()
    monitoring_status = NumberAttribute()
    shared = UnicodeAttribute(null=True)
    sub_cluster = UnicodeAttribute(null=True)
    project = UnicodeAttribute(null=True)
    partition = UnicodeAttribute(null=True)
    array_job_id = NumberAttribute(null=True)
    submit_time = NumberAttribute(null=True)
    duration = NumberAttribute(null=True)
    walltime = NumberAttribute(null=True)
    requested_memory = NumberAttribute(null=True)
    num_nodes = NumberAttribute(null=True)
    num_hwthreads = NumberAttribute(null=True)
    num_acc = NumberAttribute(null=True)
    smt = NumberAttribute(null=True)
    energy = NumberAttribute(null=True)
    footprint = UnicodeAttribute(null=True)  # JSON
    energy_footprint = UnicodeAttribute(null=True)  # JSON
    remarks = UnicodeAttribute(null=True)  # JSON
    tags = UnicodeAttribute(null=True)  # JSON array of ids
    resources = BinaryAttribute(null=True, legacy_encoding=False)  # packed; None: in the item `R`
    job_name = UnicodeAttribute(null=True)
    has_message = BooleanAttribute(null=True)
    metadata_chunks = NumberAttribute(null=True)


class ChunkItem(TableItem):
    """Compressed metadata (`X`, `X#01`, …) or packed resources (`R`)."""

    data = BinaryAttribute(legacy_encoding=False)


class StartItem(TableItem):
    """The natural key: which job started then."""

    id = NumberAttribute()


class GuardItem(TableItem):
    """The latest start of a job id on a cluster."""

    last_start = NumberAttribute()


def job_key(id: int) -> str:
    return f"J#{id:010d}"


def natural_key(cluster: str, job_id: int) -> str:
    return f"K#{cluster}#{job_id}"


def start_key(start_time: int) -> str:
    return f"S#{start_time:012d}"


def chunk_key(position: int) -> str:
    return f"{METADATA}#{position:02d}" if position else METADATA


_SCALARS: Final = (
    "ver",
    "job_id",
    "cluster",
    "user",
    "start_time",
    "sub_cluster",
    "project",
    "partition",
    "array_job_id",
    "submit_time",
    "duration",
    "walltime",
    "requested_memory",
    "num_nodes",
    "num_hwthreads",
    "num_acc",
    "smt",
    "energy",
)
_ALWAYS: Final = frozenset({"ver", "job_id", "cluster", "user", "start_time"})


def storable_energy(energy: float) -> float:
    """kWh; what is too small for a number of the table is none. InvalidInputError for what is too large, or
    no number."""
    if abs(energy) < _LEAST_NUMBER:
        return 0.0
    if not abs(energy) < _GREATEST_NUMBER:
        raise InvalidInputError(f"'energy' must be less than {_GREATEST_NUMBER:g} kWh, got {energy:g}")
    return energy


def _json(value: Any) -> str | None:
    return orjson.dumps(value).decode() if value else None


def life_cycle(job: Job) -> dict[str, Any]:
    """Where the job stands in the life-cycle index; empty once nothing is left to do for it."""
    if job.state is JobState.RUNNING:
        return {"g1p": f"R#{job.cluster}", "g1s": job.start_time}
    stopped = job.start_time + job.duration
    if job.monitoring_status is MonitoringStatus.RUNNING_OR_ARCHIVING:
        return {"g1p": f"P#{job.id % PENDING_SHARDS}", "g1s": stopped}
    if job.monitoring_status is MonitoringStatus.ARCHIVING_FAILED:
        return {"g1p": f"F#{job.cluster}", "g1s": stopped}
    return {}


class JobItems:
    """Builds and reads the items of jobs on one table."""

    def __init__(self, table: Table, tags: Callable[[Iterable[int]], tuple[Tag, ...]]) -> None:
        self._tags = tags
        self.core = table.model(JobItem)
        self.chunk = table.model(ChunkItem)
        self.start = table.model(StartItem)
        self.guard = table.model(GuardItem)

    def core_item(
        self, job: Job, *, packed: bytes, job_name: str, has_message: bool, metadata_chunks: int
    ) -> JobItem:
        scalars = {name: getattr(job, name) for name in _SCALARS} | {"energy": storable_energy(job.energy)}
        return self.core(
            job_key(job.id),
            CORE,
            **{name: value for name, value in scalars.items() if value or name in _ALWAYS},
            state=job.state.value,
            monitoring_status=int(job.monitoring_status),
            shared=None if job.shared is Sharing.NONE else job.shared.value,
            footprint=_json(job.footprint),
            energy_footprint=_json(job.energy_footprint),
            remarks=_json(job.remarks),
            tags=_json([tag.id for tag in job.tags]),
            resources=packed if len(packed) <= _INLINE_RESOURCES else None,
            job_name=job_name or None,
            has_message=has_message or None,
            metadata_chunks=metadata_chunks or None,
            **life_cycle(job),
        )

    def resources_item(self, job: Job, packed: bytes) -> ChunkItem | None:
        if len(packed) <= _INLINE_RESOURCES:
            return None
        if len(packed) > _CHUNK:
            raise InvalidInputError("resources: more than can be stored; list fewer or more regular nodes")
        return self.chunk(job_key(job.id), RESOURCES, data=packed)

    def metadata_items(self, id: int, meta_data: dict[str, str] | None) -> list[ChunkItem]:
        """None at all where the job has no metadata."""
        if meta_data is None:
            return []
        packed = zlib.compress(orjson.dumps(meta_data))
        chunks = [packed[start : start + _CHUNK] for start in range(0, len(packed), _CHUNK)]
        if len(chunks) > _MOST_CHUNKS:
            raise InvalidInputError(
                f"metaData: {len(packed)} bytes after compression are too much, at most "
                f"{_CHUNK * _MOST_CHUNKS} can be kept; leave the job script out or shorten it"
            )
        return [self.chunk(job_key(id), chunk_key(place), data=data) for place, data in enumerate(chunks)]

    def job(
        self,
        item: JobItem,
        *,
        packed: bytes | None = None,
        every_tag: bool = False,
    ) -> Job:
        """The job without metadata; `packed` are its resources where they are an item of their own. With
        `every_tag` also tags whose names are not known (yet) here."""
        scalars = {name: value for name in _SCALARS if (value := getattr(item, name)) is not None}
        stored = item.resources if item.resources is not None else packed
        tag_ids: list[int] = orjson.loads(item.tags) if item.tags else []
        tags = self._tags(tag_ids)
        if every_tag and len(tags) < len(tag_ids):
            known = {tag.id for tag in tags}
            tags += tuple(Tag("", "", id=tag_id) for tag_id in tag_ids if tag_id not in known)
        return Job(
            **scalars,
            id=int(item.pk.removeprefix("J#")),
            state=JobState(item.state),
            monitoring_status=MonitoringStatus(int(item.monitoring_status)),
            shared=Sharing(item.shared or "none"),
            footprint=orjson.loads(item.footprint) if item.footprint else None,
            energy_footprint=orjson.loads(item.energy_footprint) if item.energy_footprint else None,
            remarks=tuple(orjson.loads(item.remarks)) if item.remarks else (),
            tags=tags,
            resources=unpack(stored),
            job_name=item.job_name or "",
            has_message=bool(item.has_message),
        )


def unpack(packed: bytes | None) -> tuple[Resource, ...]:
    return unpack_resources(packed) if packed is not None else ()


def pack(job: Job) -> bytes:
    return pack_resources(job.resources)


def unpack_metadata(chunks: Sequence[bytes]) -> dict[str, str] | None:
    if not chunks:
        return None
    found: dict[str, str] = orjson.loads(zlib.decompress(b"".join(chunks)))
    return found
