"""Change rows: what the job index learns of.

Every transaction that changes a job puts one row, with the whole index row of the job as it stands then (or
a tombstone), into the bucket of the current minute: pk `C#yyyymmddHHMM#shard`, sk `ts_ms#id`. Reading a
bucket strongly consistently gives every change of that minute; folding by id, the highest `ver` is the
truth. Rows expire after two days.

The row image is JSON with the fields of `Job` that are not at their default, hosts folded, deflated with a
shared dictionary: about 200 bytes, so a row is one write unit.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from pynamodb.attributes import BinaryAttribute, NumberAttribute

from clustercockpit.jobs.folding import fold_hosts, unfold_hosts
from clustercockpit.jobs.model import Job, JobState, MonitoringStatus, Resource, Sharing, Tag
from clustercockpit.storage.dynamodb.table import Item, TableItem

RETENTION_SECONDS: Final = 2 * 86_400


class ChangeItem(TableItem):
    """A change row as stored; a tombstone has no image."""

    ver = NumberAttribute()
    start = NumberAttribute()
    image = BinaryAttribute(null=True, legacy_encoding=False)


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change. `job` is None when the job was deleted; `start_time` names its month even then.

    Of `job`: `resources` have host names only, `tags` ids only, `meta_data` and `statistics` are None.
    """

    id: int
    ver: int
    at_ms: int  # Unix milliseconds of the writer's clock
    start_time: int
    job: Job | None
    job_name: str = ""
    has_message: bool = False


def bucket_key(minute: int, shard: int) -> str:
    """Partition key of a bucket; `minute` is Unix time div 60."""
    return f"C#{time.strftime('%Y%m%d%H%M', time.gmtime(minute * 60))}#{shard}"


# Names and frequent values, the most frequent last, as deflate likes its dictionary.
_DICTIONARY: Final = (
    b'"remarks":["array_job_id":"smt":"requested_memory":"submit_time":"energy_footprint":{"tag_ids":['
    b'"has_message":true"job_name":"interactive""shared":"single_user""multi_user""num_acc":"num_hwthreads":'
    b'"state":"cancelled""failed""timeout""node_fail""out_of_memory""completed""monitoring_status":3,'
    b'"footprint":{"mem_bw_avg":"flops_any_avg":"mem_used_max":"cpu_load_avg":"energy":"duration":"walltime":'
    b'86400,"project":"partition":"sub_cluster":"main","num_nodes":1,"hosts":[["id":1,"job_id":"cluster":"user":'
    b'"start_time":17"ver":1'
)

_SCALARS: Final = (
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
    "footprint",
    "energy_footprint",
    "energy",
)


def encode_change(job: Job, *, job_name: str | None = None, has_message: bool | None = None) -> bytes:
    """The row image of a job. Name and message flag are taken from its metadata unless given."""
    meta_data = job.meta_data or {}
    row: dict[str, Any] = {"id": job.id, "ver": job.ver}
    row.update({name: value for name in _SCALARS if (value := getattr(job, name))})
    row["hosts"] = fold_hosts(resource.hostname for resource in job.resources)
    row["state"] = job.state.value
    row["monitoring_status"] = int(job.monitoring_status)
    if job.shared is not Sharing.NONE:
        row["shared"] = job.shared.value
    if job.tags:
        row["tag_ids"] = [tag.id for tag in job.tags]
    if job.remarks:
        row["remarks"] = job.remarks
    name = meta_data.get("jobName", "") if job_name is None else job_name
    if name:
        row["job_name"] = name
    if bool(meta_data.get("message")) if has_message is None else has_message:
        row["has_message"] = True
    packer = zlib.compressobj(level=6, wbits=-15, zdict=_DICTIONARY)
    return packer.compress(orjson.dumps(row)) + packer.flush()


def decode_image(image: bytes) -> tuple[Job, str, bool]:
    """Job, job name and message flag of a row image."""
    unpacker = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    row: dict[str, Any] = orjson.loads(unpacker.decompress(image) + unpacker.flush())
    scalars = {name: row[name] for name in _SCALARS if name in row}
    scalars.setdefault("job_id", 0)
    scalars.setdefault("cluster", "")
    scalars.setdefault("user", "")
    scalars.setdefault("start_time", 0)
    job = Job(
        **scalars,
        id=row["id"],
        ver=row["ver"],
        resources=tuple(Resource(host) for host in unfold_hosts(row["hosts"])),
        state=JobState(row["state"]),
        monitoring_status=MonitoringStatus(row["monitoring_status"]),
        shared=Sharing(row.get("shared", "none")),
        tags=tuple(Tag(type="", name="", id=tag_id) for tag_id in row.get("tag_ids", ())),
        remarks=tuple(row.get("remarks", ())),
    )
    return job, row.get("job_name", ""), row.get("has_message", False)


def change_item(
    model: type[Item],
    job: Job,
    *,
    shards: int,
    now: float,
    deleted: bool = False,
    job_name: str | None = None,
    has_message: bool | None = None,
) -> Item:
    """The row to put into the transaction that changes `job`; `now` in Unix seconds, taken anew for each
    attempt. `job.ver` is the version after the change."""
    return model(
        bucket_key(int(now // 60), job.id % shards),
        f"{int(now * 1000):013d}#{job.id:010d}",
        ver=job.ver,
        start=job.start_time,
        image=None if deleted else encode_change(job, job_name=job_name, has_message=has_message),
        expires=datetime.fromtimestamp(int(now) + RETENTION_SECONDS, tz=UTC),
    )


def decode_change(item: ChangeItem) -> ChangeRow:
    """The change a stored row tells of."""
    at_ms, _, id = item.sk.partition("#")
    job, job_name, has_message = decode_image(item.image) if item.image is not None else (None, "", False)
    return ChangeRow(
        id=int(id),
        ver=int(item.ver),
        at_ms=int(at_ms),
        start_time=int(item.start),
        job=job,
        job_name=job_name,
        has_message=has_message,
    )
