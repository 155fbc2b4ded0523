"""`truth.jsonl`: what is really wrong with the demo jobs, so that findings about them can be scored.

One JSON object a line:

- `cluster`, `jobId`, `startTime`: the job;
- `diagnosis`: `D1` to `D12`, or null for a job that is well (`resembles` then names the diagnosis it could
  be mistaken for, or is null);
- `kind`: the trouble in words, or the application of a healthy job;
- `interval`: [from, to] in Unix seconds, in which it shows. It is known when the job starts, so `to` may lie
  ahead: a scorer cuts it at its own now. A later line of the same job and diagnosis replaces an earlier one
  (a job that was ended early when the simulator restarted);
- `nodes`: host names concerned; `devices`: `{"hostname", "id"}` of accelerators, empty where it is not about
  accelerators; `cause`: `user`, `site` or null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from simulator.clusters import DemoCluster
from simulator.nodes import Fault
from simulator.schedule import Job

Record = dict[str, Any]
JobKey = tuple[object, object, object]  # cluster, jobId, startTime


def records(job: Job, cluster: DemoCluster, fault: Fault) -> Iterator[Record]:
    """The truth about a job that starts."""
    base: Record = {"cluster": job.cluster, "jobId": job.job_id, "startTime": job.start}
    hosts = [a.host for a in job.allocations]
    found = False
    for trouble in job.submission.troubles:
        found = True
        to = job.end if trouble.until is None else min(job.end, job.start + trouble.until)
        chosen = [h for i, h in enumerate(hosts) if trouble.nodes is None or i in trouble.nodes]
        devices: list[dict[str, str]] = []
        if trouble.diagnosis in ("D1", "D2"):
            for index, allocation in enumerate(job.allocations):
                ids = cluster.shape(allocation.host).accelerators
                for position, device in enumerate(allocation.accelerators):
                    if trouble.devices is None or (index, position) in trouble.devices:
                        devices.append({"hostname": allocation.host, "id": ids[device]})
        yield base | {
            "diagnosis": trouble.diagnosis,
            "kind": trouble.kind,
            "interval": [job.start + trouble.onset, to],
            "nodes": chosen,
            "devices": devices,
            "cause": trouble.cause,
        }
    slow = _slow(job, cluster, fault)
    if slow is not None:
        found = True
        yield base | slow
    if not found:
        yield base | {
            "diagnosis": None,
            "kind": job.submission.app.title,
            "resembles": job.submission.app.resembles or None,
            "interval": [job.start, job.end],
            "nodes": hosts,
            "devices": [],
            "cause": None,
        }


def _slow(job: Job, cluster: DemoCluster, fault: Fault) -> Record | None:
    """D7, for a job on the ill node, or with the ill accelerator."""
    allocation = next((a for a in job.allocations if a.host == fault.host), None)
    if allocation is None or (fault.device is not None and fault.device not in allocation.accelerators):
        return None
    devices = []
    if fault.device is not None:
        ids = cluster.shape(fault.host).accelerators
        devices = [{"hostname": fault.host, "id": ids[fault.device]}]
    return {
        "diagnosis": "D7",
        "kind": "slow node" if fault.device is None else "slow device",
        "interval": [job.start, job.end],
        "nodes": [fault.host],
        "devices": devices,
        "cause": "site",
    }


def cut(path: Path, ends: Mapping[JobKey, int]) -> Iterator[Record]:
    """The records of jobs that ended earlier than was planned, with their intervals cut at that end."""
    latest: dict[tuple[JobKey, object, object], Record] = {}
    for record in read(path):
        job = (record.get("cluster"), record.get("jobId"), record.get("startTime"))
        if job in ends:
            latest[job, record["diagnosis"], record["kind"]] = record
    for (job, _, _), record in latest.items():
        (first, last), end = record["interval"], ends[job]
        if last > end:
            yield record | {"interval": [min(first, end), end]}


def read(path: Path) -> Iterator[Record]:
    """The records of a file; a line that is not whole (an unclean end) is skipped."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict):
                yield record


def write(path: Path, found: Iterable[Mapping[str, Any]]) -> None:
    """Append records."""
    with path.open("a", encoding="utf-8") as lines:
        for record in found:
            lines.write(json.dumps(record, separators=(",", ":")) + "\n")
