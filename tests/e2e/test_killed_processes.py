"""`kill -9` of each process of the local stack in turn, under load: it comes back, says so, and nothing that
was acknowledged is lost: jobs over REST and NATS, samples over HTTP, archived objects."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.console import LocalStackError
from local_stack.options import ROOT, Options, Ports, check_ports_free
from simulator.scheduler_messages import nats_event

pytestmark = pytest.mark.slow

STEP = 15  # seconds between samples of cpu_load on kestrel
VICTIMS = {
    "the metric store": "cc_metric_store",
    "the NATS subscriber": "cc_job_events",
    "nats-server": "nats-server",
    "the web server": "uvicorn",
}


@dataclass
class Stack:
    process: subprocess.Popen[bytes]
    var: Path
    output: Path
    local: dict[str, Any] = field(default_factory=dict)

    def children(self) -> dict[int, str]:
        """Process id → command line of what the stack started."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if (
                    folder.name.isdigit()
                    and f"PPid:\t{self.process.pid}\n" in (folder / "status").read_text()
                ):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def said(self, text: str) -> int:
        return self.output.read_text().count(text)

    def kill(self, name: str) -> None:
        before = self.said(f"{name} is back")
        (pid,) = [pid for pid, line in self.children().items() if VICTIMS[name] in line]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.said(f"{name} is back") > before, 60, f"{name} did not come back")
        assert self.said(f"{name} was ended by SIGKILL")


def until(what: Callable[[], object], seconds: float, why: str) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.2)


def _free_ports() -> int:
    for _ in range(50):
        port = random.randrange(20000, 32000)
        try:
            check_ports_free(Options(Ports(port)))
        except LocalStackError:
            continue
        return port
    pytest.fail("no six free ports in a row")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to find the processes of the stack")
    if not (ROOT / ".venv-aws" / "bin" / "python").exists():
        pytest.skip(".venv-aws is not installed: python3 infra/local/environment.py aws-emulator")
    output = tmp_path / "output"
    command = [
        *(sys.executable, "-m", "local_stack", "--demo", "0", "--port", str(_free_ports())),
        *("--var", str(tmp_path / "var")),
    ]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, env=environment)
    stack = Stack(process, tmp_path / "var", output)
    try:
        until(lambda: stack.said("log in as") or process.poll() is not None, 120, "the stack did not come up")
        assert process.poll() is None, output.read_text()
        stack.local = json.loads((stack.var / "local.json").read_text())
        yield stack
        children = stack.children()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
        print(output.read_text())
    assert process.returncode == 0
    assert len(children) >= 5
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()], "something was left running"


@dataclass
class Load:
    """What was sent and acknowledged, while things die."""

    stack: Stack
    start: int = field(default_factory=lambda: int(time.time()) // STEP * STEP - 12 * 3600)
    jobs: set[int] = field(default_factory=set)
    samples: dict[int, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def client(self) -> httpx.Client:
        token = {"Authorization": f"Bearer {self.stack.local['api_token']}"}
        return httpx.Client(base_url=self.stack.local["url"], headers=token, timeout=20, trust_env=False)

    def job(self, number: int) -> dict[str, Any]:
        return {
            "jobId": number,
            "user": "alice",
            "project": "aerosol",
            "cluster": "kestrel",
            "partition": "standard",
            "numNodes": 1,
            "resources": [{"hostname": "kst001"}],
            "startTime": self.start,
            "walltime": 86400,
        }

    def send(self, client: httpx.Client, good: set[int], *arguments: Any, **more: Any) -> bool:
        """As a scheduler does: again and again until there is an answer."""
        while not self.ended.is_set():
            try:
                status = client.post(*arguments, **more).status_code
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if status in good:
                return True
            if status < 500:
                self.failures.append(f"{arguments[0]}: {status}")
                return False
            time.sleep(0.2)
        return False

    def rest_jobs(self) -> None:
        with self.client() as client:
            for number in range(100_000, 200_000):
                # 422: the start whose answer was lost stands already
                if self.send(client, {201, 422}, "/api/jobs/start_job/", json=self.job(number)):
                    self.jobs.add(number)
                if self.ended.wait(0.4):
                    return

    def http_samples(self) -> None:
        with self.client() as client:
            for step in range(700):
                at, value = self.start + step * STEP, float(step % 71)
                line = f"cpu_load,cluster=kestrel,hostname=kst001,type=node value={value} {at}\n"
                if self.send(client, {200}, "/api/write?cluster=kestrel", content=line):
                    self.samples[at] = value
                if self.ended.wait(0.1):
                    return

    async def nats_jobs(self) -> None:
        import nats

        async def quiet(_: Exception) -> None: ...

        client = await nats.connect(
            self.stack.local["nats_url"], error_cb=quiet, max_reconnect_attempts=-1, reconnect_time_wait=0.3
        )
        stream = client.jetstream()
        for number in range(300_000, 400_000):
            if self.ended.is_set():
                break
            tags = {"function": "start_job", "cluster": "kestrel"}
            event = nats_event("job", tags, self.job(number), self.start)
            while not self.ended.is_set():
                try:
                    await stream.publish("hpc-jobs", event, timeout=2)
                except (nats.errors.Error, OSError):
                    await asyncio.sleep(0.2)
                else:
                    self.jobs.add(number)
                    break
            await asyncio.sleep(0.5)
        await client.close()


def _listed(client: httpx.Client, **parameters: str) -> dict[int, dict[str, Any]]:
    answer = client.get("/api/jobs/", params={"items-per-page": "99999", **parameters})
    assert answer.status_code == 200, answer.text
    return {job["jobId"]: job for job in answer.json()["jobs"]}


def test_whoever_is_killed_comes_back_and_nothing_acknowledged_is_lost(stack: Stack) -> None:
    load = Load(stack)
    threads = [
        threading.Thread(target=load.rest_jobs),
        threading.Thread(target=load.http_samples),
        threading.Thread(target=lambda: asyncio.run(load.nats_jobs())),
    ]
    for thread in threads:
        thread.start()
    try:
        time.sleep(3)
        for name in VICTIMS:
            stack.kill(name)
            time.sleep(3)
    finally:
        load.ended.set()
        for thread in threads:
            thread.join()

    assert not load.failures
    assert len(load.jobs) > 20
    assert any(number >= 300_000 for number in load.jobs)
    assert len(load.samples) > 50
    with load.client() as client:
        # What a killed subscriber had begun is delivered again after a minute
        until(
            lambda: load.jobs <= set(_listed(client, state="running")), 100, "acknowledged jobs are missing"
        )

        query = {
            "cluster": "kestrel",
            "from": load.start,
            "to": max(load.samples) + STEP,
            "with-data": True,
            "queries": [{"metric": "cpu_load", "host": "kst001"}],
        }
        answer = client.request("GET", f"{stack.local['metric_store_url']}/api/query", json=query)
        assert answer.status_code == 200, answer.text
        found = answer.json()["results"][0]
        series = found[0] if isinstance(found, list) else found
        assert series["resolution"] == STEP, series
        kept = {series["from"] + i * STEP: value for i, value in enumerate(series["data"])}
        lost = {at: value for at, value in load.samples.items() if kept.get(at) != value}
        assert not lost, f"{len(lost)} of {len(load.samples)} samples, {series}"

        load.ended.clear()
        for number in sorted(load.jobs):
            stop = {
                "jobId": number,
                "cluster": "kestrel",
                "stopTime": load.start + 3600,
                "jobState": "completed",
            }
            assert load.send(client, {200}, "/api/jobs/stop_job/", json=stop)
        until(
            lambda: all(job["monitoringStatus"] == 3 for job in _listed(client, state="completed").values()),
            150,
            "stopped jobs were not archived",
        )
        archived = _listed(client, state="completed")
    assert load.jobs <= set(archived)
