"""What a Slurm adapter tells the hub: bodies of starts, stops and node states, and their form on NATS."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from simulator.clusters import DemoCluster
from simulator.schedule import Job


def start_body(job: Job, cluster: DemoCluster) -> dict[str, Any]:
    """The start of a job, with the keys the adapter always sends, also when they are empty."""
    submission = job.submission
    partition = submission.partition
    shared = partition.kind == "shared"
    resources: list[dict[str, Any]] = []
    for allocation in job.allocations:
        resource: dict[str, Any] = {"hostname": allocation.host}
        if shared:
            resource["hwthreads"] = list(allocation.threads)
        if allocation.accelerators:
            ids = cluster.shape(allocation.host).accelerators
            resource["accelerators"] = [ids[device] for device in allocation.accelerators]
        resources.append(resource)
    body: dict[str, Any] = {
        "cluster": job.cluster,
        "subCluster": "",
        "partition": partition.name,
        "project": job.person.project,
        "user": job.person.user,
        "shared": "multi_user" if shared else "none",
        "jobState": "",
        "resources": resources,
        "energyFootprint": None,
        "footprint": None,
        "metaData": {
            "jobName": submission.title,
            "jobScript": job_script(job),
            "slurmInfo": slurm_info(job),
            "submitTime": str(job.submit_time),
        },
        "concurrentJobs": {"items": None, "count": 0},
        "energy": 0,
        "walltime": submission.walltime,
        "requestedMemory": round(submission.memory * 1000),
        "jobId": job.job_id,
        "duration": 0,
        "numHwthreads": sum(len(a.threads) for a in job.allocations),
        "numNodes": len(job.allocations),
        "statistics": None,
        "startTime": job.start,
    }
    if job.array_job_id:
        body["arrayJobId"] = job.array_job_id
    if accelerators := sum(len(a.accelerators) for a in job.allocations):
        body["numAcc"] = accelerators
    return body


def stop_body(job: Job) -> dict[str, Any]:
    """The end of a job. As the adapter does, without its start time."""
    return {
        "jobId": job.job_id,
        "cluster": job.cluster,
        "jobState": job.submission.state,
        "stopTime": job.end,
    }


def node_states(cluster: DemoCluster, running: Iterable[Job]) -> dict[str, Any]:
    """The states of all nodes of a cluster in Slurm's words."""
    threads = dict.fromkeys(cluster.hosts, 0)
    memory = dict.fromkeys(cluster.hosts, 0)
    devices = dict.fromkeys(cluster.hosts, 0)
    for job in running:
        for allocation in job.allocations:
            threads[allocation.host] += len(allocation.threads)
            memory[allocation.host] += round(job.submission.memory * 1000)
            devices[allocation.host] += len(allocation.accelerators)
    nodes = []
    for host in cluster.hosts:
        used = threads[host]
        word = "IDLE" if used == 0 else "ALLOCATED" if used == cluster.shape(host).threads else "MIXED"
        nodes.append(
            {
                "hostname": host,
                "states": [word],
                "cpusAllocated": used,
                "memoryAllocated": memory[host],
                "gpusAllocated": devices[host],
                "jobsRunning": 0,
            }
        )
    return {"cluster": cluster.name, "nodes": nodes}


def nats_event(measurement: str, tags: dict[str, str], body: dict[str, Any], time: int) -> bytes:
    """A body as one line of line protocol: the JSON is a string field, the time is in nanoseconds."""
    event = json.dumps(body, separators=(",", ":")).replace("\\", "\\\\").replace('"', '\\"')
    tags = {"hostname": "slurmctl", "type": "node", "type-id": "0", **tags}
    text = ",".join(f"{key}={value}" for key, value in sorted(tags.items()))
    return f'{measurement},{text} event="{event}" {time}000000000\n'.encode()


def _clock(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def job_script(job: Job) -> str:
    """A batch script like the ones people write."""
    submission = job.submission
    lines = [
        "#!/bin/bash -l",
        f"#SBATCH --job-name={submission.title}",
        f"#SBATCH --partition={submission.partition.name}",
        f"#SBATCH --nodes={submission.nodes}",
        f"#SBATCH --ntasks-per-node={submission.threads}",
        f"#SBATCH --time={_clock(submission.walltime)}",
    ]
    if submission.accelerators:
        lines.append(f"#SBATCH --gres=gpu:a100:{submission.accelerators}")
    if submission.array:
        lines.append(f"#SBATCH --array=0-{submission.array - 1}")
    lines += ["", "module load apps", f"srun {submission.app.name} input.{submission.title}", ""]
    return "\n".join(lines)


def slurm_info(job: Job) -> str:
    """What `scontrol show job` would say, in short."""
    submission = job.submission
    threads = sum(len(a.threads) for a in job.allocations)
    return "\n".join(
        (
            f"JobId={job.job_id} JobName={submission.title}",
            f"   UserId={job.person.user} Account={job.person.project} QOS=normal",
            f"   JobState=RUNNING TimeLimit={_clock(submission.walltime)}",
            f"   Partition={submission.partition.name} NumNodes={submission.nodes} NumCPUs={threads}",
            f"   ReqTRES=cpu={threads},mem={round(submission.memory * submission.nodes)}G,"
            f"node={submission.nodes}",
        )
    )
