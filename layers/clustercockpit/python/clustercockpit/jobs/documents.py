"""Jobs on the wire: the only place that knows the reference's names.

Format, member order and what is left out when empty: `spec/rest-and-nats-api.md` 3.3; the archive's
`meta.json` (`spec/job-archive.md` 8.5) is the same object. Reading a request is strict, reading the archive
lenient; both come back as a `Job`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from clustercockpit.clusters.documents import UNIT, unit_document
from clustercockpit.clusters.model import Unit
from clustercockpit.errors import InvalidInputError
from clustercockpit.jobs.model import (
    Job,
    JobState,
    JobStatistics,
    MonitoringStatus,
    Resource,
    Sharing,
    Tag,
)
from clustercockpit.reference_json import Integer, ListOf, MapOf, Number, Record, Shape, Text, number

_TAG: Final[dict[str, Shape]] = {"type": Text(), "name": Text(), "scope": Text()}
_RESOURCE: Final = Record(
    {
        "hostname": Text(),
        "configuration": Text(),
        "hwthreads": ListOf(Integer()),
        "accelerators": ListOf(Text()),
    }
)
_STATISTICS: Final = Record({"unit": UNIT, "avg": Number(), "min": Number(), "max": Number()})

JOB: Final = Record(
    {
        "cluster": Text(),
        "subCluster": Text(),
        "partition": Text(),
        "project": Text(),
        "user": Text(),
        "shared": Text(),
        "jobState": Text(),
        "tags": ListOf(Record({**_TAG, "id": Integer()})),
        "resources": ListOf(_RESOURCE),
        "energyFootprint": MapOf(Number()),
        "footprint": MapOf(Number()),
        "metaData": MapOf(Text()),
        "concurrentJobs": Record(
            {"items": ListOf(Record({"id": Integer(), "jobId": Integer()})), "count": Integer()}
        ),
        "energy": Number(),
        "arrayJobId": Integer(),
        "walltime": Integer(),
        "requestedMemory": Integer(),
        "jobId": Integer(),
        "duration": Integer(32),
        "smt": Integer(32),
        "monitoringStatus": Integer(32),
        "numAcc": Integer(32),
        "numHwthreads": Integer(32),
        "numNodes": Integer(32),
        "statistics": MapOf(_STATISTICS),
        "id": Integer(),
        "submitTime": Integer(),
        "startTime": Integer(),
    }
)
TAG_REQUEST: Final = ListOf(Record(_TAG))
"""Tags as tag routes take them: an `id` is refused."""


def job_state(text: str) -> JobState:
    """Raises InvalidInputError naming the states there are."""
    try:
        return JobState(text)
    except ValueError:
        raise InvalidInputError(
            f"invalid requested job state: {text!r}, must be one of {', '.join(JobState)}"
        ) from None


def job_of(document: dict[str, Any]) -> Job:
    """The job a decoded `JOB` document describes, with the reference's defaults: sharing `none`, monitoring
    status 1, no state means running. Members a client has no say in (`concurrentJobs`) are dropped.

    Raises InvalidInputError for a value outside its enumeration.
    """
    shared = document.get("shared", Sharing.NONE.value)
    if shared not in list(Sharing):
        raise InvalidInputError(f"shared: must be one of {', '.join(Sharing)}, got {shared!r}")
    status = document.get("monitoringStatus", 1)
    if status not in list(MonitoringStatus):
        raise InvalidInputError(f"monitoringStatus: must be 0, 1, 2 or 3, got {status}")
    meta_data = document.get("metaData")
    return Job(
        job_id=document.get("jobId", 0),
        cluster=document.get("cluster", ""),
        sub_cluster=document.get("subCluster", ""),
        partition=document.get("partition", ""),
        project=document.get("project", ""),
        user=document.get("user", ""),
        shared=Sharing(shared),
        state=job_state(document.get("jobState", "") or JobState.RUNNING.value),
        tags=tags_of(document.get("tags", ())),
        resources=tuple(_resource_of(entry) for entry in document.get("resources", ())),
        energy_footprint=document.get("energyFootprint"),
        footprint=document.get("footprint"),
        meta_data=meta_data,
        energy=document.get("energy", 0.0),
        array_job_id=document.get("arrayJobId", 0),
        walltime=document.get("walltime", 0),
        requested_memory=document.get("requestedMemory", 0),
        duration=document.get("duration", 0),
        smt=document.get("smt", 0),
        monitoring_status=MonitoringStatus(status),
        num_acc=document.get("numAcc", 0),
        num_hwthreads=document.get("numHwthreads", 0),
        num_nodes=document.get("numNodes", 0),
        statistics=_statistics_of(document.get("statistics")),
        id=document.get("id", 0),
        submit_time=document.get("submitTime", 0) or _submit_time(meta_data),
        start_time=document.get("startTime", 0),
    )


def tags_of(entries: Iterable[dict[str, Any]]) -> tuple[Tag, ...]:
    """Tags as written; an empty scope means `global`."""
    return tuple(
        Tag(
            type=entry.get("type", ""),
            name=entry.get("name", ""),
            scope=entry.get("scope", "") or "global",
            id=entry.get("id", 0),
        )
        for entry in entries
    )


def _resource_of(entry: dict[str, Any]) -> Resource:
    hwthreads, accelerators = entry.get("hwthreads"), entry.get("accelerators")
    return Resource(
        hostname=entry.get("hostname", ""),
        hwthreads=tuple(hwthreads) if hwthreads else None,
        accelerators=tuple(accelerators) if accelerators else None,
        configuration=entry.get("configuration", ""),
    )


def _submit_time(meta_data: dict[str, str] | None) -> int:
    """The Slurm adapter says it in the metadata."""
    text = (meta_data or {}).get("submitTime", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0


def _statistics_of(entries: dict[str, dict[str, Any]] | None) -> dict[str, JobStatistics] | None:
    if entries is None:
        return None
    return {
        metric: JobStatistics(
            unit=Unit(
                entry.get("unit", {}).get("base", ""),
                entry.get("unit", {}).get("prefix", ""),
            ),
            avg=entry.get("avg", 0.0),
            min=entry.get("min", 0.0),
            max=entry.get("max", 0.0),
        )
        for metric, entry in entries.items()
    }


# Writing


def tag_document(tag: Tag) -> dict[str, Any]:
    return {"type": tag.type, "name": tag.name, "scope": tag.scope, "id": tag.id}


def resource_document(resource: Resource) -> dict[str, Any]:
    document: dict[str, Any] = {"hostname": resource.hostname}
    if resource.configuration:
        document["configuration"] = resource.configuration
    if resource.hwthreads:
        document["hwthreads"] = resource.hwthreads
    if resource.accelerators:
        document["accelerators"] = resource.accelerators
    return document


def _figures(values: dict[str, float] | None) -> dict[str, float] | None:
    return None if values is None else {name: number(values[name]) for name in sorted(values)}


def _statistics_document(statistics: dict[str, JobStatistics] | None) -> dict[str, Any] | None:
    if statistics is None:
        return None
    return {
        metric: {
            "unit": unit_document(each.unit),
            "avg": number(each.avg),
            "min": number(each.min),
            "max": number(each.max),
        }
        for metric, each in sorted(statistics.items())
    }


def _given(**figures: int) -> dict[str, int]:
    """Members that are left out when zero."""
    return {name: value for name, value in figures.items() if value}


def job_document(job: Job, *, now: int | None = None) -> dict[str, Any]:
    """The job as the reference writes it. With `now` (Unix seconds) a running job's duration is its age;
    metadata, tags and statistics are written as the job has them."""
    document: dict[str, Any] = {"cluster": job.cluster, "subCluster": job.sub_cluster}
    if job.partition:
        document["partition"] = job.partition
    document["project"] = job.project
    document["user"] = job.user
    document["shared"] = job.shared.value
    document["jobState"] = job.state.value
    if job.tags:
        document["tags"] = [tag_document(tag) for tag in job.tags]
    document["resources"] = [resource_document(resource) for resource in job.resources]
    document["energyFootprint"] = _figures(job.energy_footprint)
    document["footprint"] = _figures(job.footprint)
    document["metaData"] = (
        None if job.meta_data is None else {key: job.meta_data[key] for key in sorted(job.meta_data)}
    )
    document["concurrentJobs"] = {"items": None, "count": 0}
    document["energy"] = number(job.energy)
    document |= _given(
        arrayJobId=job.array_job_id, walltime=job.walltime, requestedMemory=job.requested_memory
    )
    document["jobId"] = job.job_id
    document["duration"] = job.duration if now is None else job.elapsed(now)
    document |= _given(
        smt=job.smt,
        monitoringStatus=int(job.monitoring_status),
        numAcc=job.num_acc,
        numHwthreads=job.num_hwthreads,
    )
    document["numNodes"] = job.num_nodes
    document["statistics"] = _statistics_document(job.statistics)
    document |= _given(id=job.id, submitTime=job.submit_time)
    document["startTime"] = job.start_time
    return document
