"""Plays cc-slurm-adapter: the requests it makes, byte for byte where it matters, and how it takes answers.

The facts are those of `spec/rest-and-nats-api.md` 13.1: headers, the keys that are always present, the first
call whose failure ends the daemon, and that a synchronisation stops at the first answer it does not expect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx


class AdapterEndsError(Exception):
    """The first call failed: the daemon ends."""


class SynchronisationError(Exception):
    """An unexpected status: the rest of this synchronisation is left for the next poll."""


def go_json(value: Any) -> str:
    """Compact JSON as Go's encoder writes it: `<`, `>`, `&` escaped, other characters as they are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@dataclass
class SlurmJob:
    """A job as `squeue` and `sacct` tell it."""

    job_id: int
    cluster: str
    user: str
    project: str
    start_time: int
    hosts: Sequence[str]
    partition: str = ""
    array_job_id: int = 0
    walltime: int = 0
    shared: str = "none"
    num_hwthreads: int = 0
    accelerators: Sequence[str] = ()  # of every host
    hwthreads: Sequence[int] = ()  # of every host, when shared
    name: str = "job"
    script: str = ""
    submit_time: int = 0
    # Set when it has ended
    state: str = "RUNNING"
    end_time: int = 0

    def start_body(self) -> dict[str, Any]:
        resources: list[dict[str, Any]] = []
        for host in self.hosts:
            resource: dict[str, Any] = {"hostname": host}
            if self.hwthreads:
                resource["hwthreads"] = list(self.hwthreads)
            if self.accelerators:
                resource["accelerators"] = list(self.accelerators)
            resources.append(resource)
        meta = {
            "jobName": self.name,
            "slurmInfo": f"JobId={self.job_id}\n",
            "submitTime": str(self.submit_time),
        }
        if self.script:
            meta["jobScript"] = self.script
        body: dict[str, Any] = {
            "cluster": self.cluster,
            "subCluster": "",
            "project": self.project,
            "user": self.user,
            "shared": self.shared,
            "jobState": "",
            "resources": resources,
            "energyFootprint": None,
            "footprint": None,
            "metaData": meta,
            "concurrentJobs": {"items": None, "count": 0},
            "energy": 0,
            "jobId": self.job_id,
            "duration": 0,
            "numNodes": len(self.hosts),
            "statistics": None,
            "startTime": self.start_time,
        }
        sometimes = {
            "partition": self.partition,
            "arrayJobId": self.array_job_id,
            "walltime": self.walltime,
            "numAcc": len(self.accelerators) * len(self.hosts),
            "numHwthreads": self.num_hwthreads,
        }
        return body | {key: value for key, value in sometimes.items() if value}

    def stop_body(self) -> dict[str, Any]:
        state = self.state.lower()
        return {
            "jobId": self.job_id,
            "cluster": self.cluster,
            "jobState": "failed" if state == "node_fail" else state,
            "stopTime": self.end_time,
        }


@dataclass
class SlurmAdapter:
    """One adapter daemon. `client` has the hub's base URL; headers of its own are not sent."""

    client: httpx.Client
    token: str
    cluster: str
    published: list[bytes] = field(default_factory=list)  # what would have gone to NATS after a 201
    last_answer: httpx.Response | None = None

    def _request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {
            "X-AUTH-TOKEN": self.token,
            "Accept": "application/ld+json",
            "Content-Type": "application/json",
            "User-Agent": "Go-http-client/1.1",
            "Accept-Encoding": "gzip",
        }
        content = None if body is None else go_json(body).encode()
        self.last_answer = self.client.request(method, "/api" + path, content=content, headers=headers)
        return self.last_answer

    def first_call(self) -> list[dict[str, Any]]:
        """The hub's running jobs. Raises AdapterEndsError unless it is answered as expected."""
        answer = self._request(
            "GET", "/jobs/?state=running&items-per-page=9999999&page=1&with-metadata=false"
        )
        if answer.status_code != 200:
            raise AdapterEndsError(f"{answer.status_code} {answer.text[:200]}")
        try:
            jobs = answer.json()["jobs"]
            return [
                {"cluster": j["cluster"], "jobId": j["jobId"], "jobState": j["jobState"], "id": j["id"]}
                for j in jobs
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise AdapterEndsError(f"unreadable answer: {error!r}") from error

    def start(self, job: SlurmJob) -> int:
        """201 or 422. Raises SynchronisationError at anything else."""
        answer = self._request("POST", "/jobs/start_job/", job.start_body())
        if answer.status_code not in (201, 422):
            raise SynchronisationError(f"start_job {job.job_id}: {answer.status_code} {answer.text[:300]}")
        if answer.status_code == 201:
            self.published.append(start_event(job))
        return answer.status_code

    def stop(self, job: SlurmJob) -> int:
        """200 or 422. Raises SynchronisationError at anything else."""
        answer = self._request("POST", "/jobs/stop_job/", job.stop_body())
        if answer.status_code not in (200, 422):
            raise SynchronisationError(f"stop_job {job.job_id}: {answer.status_code} {answer.text[:300]}")
        if answer.status_code == 200:
            self.published.append(stop_event(job))
        return answer.status_code

    def synchronise(self, jobs: Iterable[SlurmJob]) -> list[int]:
        """One poll: starts, and stops of what has ended, in order; the first surprise ends it."""
        statuses = []
        for job in jobs:
            statuses.append(self.start(job))
            if job.end_time:
                statuses.append(self.stop(job))
        return statuses

    def node_states(self, nodes: dict[str, list[str] | None]) -> None:
        """Host → Slurm's upper-case words, or None. Raises SynchronisationError unless answered 200."""
        body = {
            "cluster": self.cluster,
            "nodes": [
                {"hostname": host, "states": states, "cpusAllocated": 0, "memoryAllocated": 0,
                 "gpusAllocated": 0, "jobsRunning": 0}
                for host, states in nodes.items()
            ],
        }  # fmt: skip
        answer = self._request("POST", "/nodestate/", body)
        if answer.status_code != 200:
            raise SynchronisationError(f"nodestate: {answer.status_code} {answer.text[:300]}")


def start_event(job: SlurmJob) -> bytes:
    """A start on the `jobs` subject."""
    return _event({"function": "start_job"}, job.start_body(), job.start_time)


def stop_event(job: SlurmJob) -> bytes:
    """A stop on the `jobs` subject; it carries the partition as a tag."""
    tags = {"function": "stop_job"}
    if job.partition:
        tags["partition"] = job.partition
    return _event(tags, job.stop_body(), job.end_time)


def _event(tags: dict[str, str], body: dict[str, Any], time: int) -> bytes:
    tags = {"hostname": "slurmctl", "type": "node", "type-id": "0", **tags}
    text = ",".join(f"{key}={value}" for key, value in sorted(tags.items()))
    event = go_json(body).replace("\\", "\\\\").replace('"', '\\"')
    return f'job,{text} event="{event}" {time * 1_000_000_000}\n'.encode()
