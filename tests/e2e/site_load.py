"""A small site at work: an adapter over REST and one over NATS, collectors over HTTP and NATS.

Whatever was acknowledged is written down, and only that: a start or stop by its status, a message by the
stream's answer, a sample by the store's 200. What was not is tried again, as these clients do, or dropped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import nats
import nats.errors
from nats.aio.client import Client
from nats.js.errors import Error as JetStreamError
from tests.clients.metric_collector import MetricCollector, Sample
from tests.clients.slurm_adapter import (
    SlurmAdapter,
    SlurmJob,
    SynchronisationError,
    start_event,
    stop_event,
)
from tests.local_stack_process import LocalStackProcess

CLUSTER = "kestrel"
STEP = 15  # seconds between samples of `cpu_load` there
HTTP_HOSTS = tuple(f"kst{n:03d}" for n in range(1, 5))  # two at the store, two at the hub
NATS_HOSTS = tuple(f"kst{n:03d}" for n in range(5, 9))
JOBS_PER_SECOND = 1.0
_RUNNING = 4  # jobs of each adapter at a time
_AGAIN = 0.5


@dataclass
class Acknowledged:
    """By scheduler's job id and by (host, time)."""

    started: dict[int, float] = field(default_factory=dict)  # → when it was acknowledged, Unix seconds
    stopped: dict[int, float] = field(default_factory=dict)
    samples: dict[tuple[str, int], float] = field(default_factory=dict)  # → value

    def count(self) -> int:
        return len(self.started) + len(self.stopped) + len(self.samples)


@dataclass
class SiteLoad:
    """Runs between `begin` and `end`. `first_job` and `begin_time` keep several loads apart."""

    stack: LocalStackProcess
    first_job: int
    begin_time: int  # of the first sample, Unix seconds, a multiple of STEP
    rest: Acknowledged = field(default_factory=Acknowledged)
    nats: Acknowledged = field(default_factory=Acknowledged)
    failures: int = 0

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(2 + len(HTTP_HOSTS))
        self._tasks = [
            self._pool.submit(self._adapt_over_rest),
            self._pool.submit(lambda: asyncio.run(self._over_nats())),
            *(self._pool.submit(self._collect, host, n % 2 == 0) for n, host in enumerate(HTTP_HOSTS)),
        ]

    def end(self) -> None:
        """Raises what a client raised that it should not have."""
        self._ending.set()
        self._pool.shutdown()
        for task in self._tasks:
            task.result()

    def flows(self) -> dict[str, int]:
        """How much each way has acknowledged so far."""
        return {
            "jobs over REST": len(self.rest.started) + len(self.rest.stopped),
            "jobs over NATS": len(self.nats.started) + len(self.nats.stopped),
            "samples over HTTP": len(self.rest.samples),
            "samples over NATS": len(self.nats.samples),
        }

    def _jobs(self, first: int) -> Callable[[int], SlurmJob]:
        start = int(time.time()) - 600
        hosts = HTTP_HOSTS + NATS_HOSTS
        return lambda n: SlurmJob(
            first + n, CLUSTER, "ada", "p101", start + n % 60, [hosts[n % len(hosts)]],
            partition="standard", walltime=3600, num_hwthreads=72, name=f"load-{first + n}",
        )  # fmt: skip

    # Over HTTP

    def _adapt_over_rest(self) -> None:
        job_of, running, number = self._jobs(self.first_job), [], 0
        with httpx.Client(base_url=self.stack.url, timeout=10) as client:
            adapter = SlurmAdapter(client, self.stack.api_token, CLUSTER)
            while not self._ending.is_set():
                job = job_of(number)
                if self._until_told(adapter, lambda: adapter.start(job)):  # noqa: B023
                    self.rest.started[job.job_id] = time.time()
                    running.append(job)
                number += 1
                if len(running) > _RUNNING:
                    job = running.pop(0)
                    job.state, job.end_time = "COMPLETED", job.start_time + 300
                    if self._until_told(adapter, lambda: adapter.stop(job)):  # noqa: B023
                        self.rest.stopped[job.job_id] = time.time()
                self._ending.wait(1 / JOBS_PER_SECOND)

    def _until_told(self, adapter: SlurmAdapter, ask: Callable[[], int]) -> bool:
        """At the next poll again, until it is 201 or 200, or 422 since the answer before got lost. False
        where the hub does not know the job any more: after that it is not among those an adapter stops."""
        while True:
            try:
                ask()
            except httpx.TransportError:
                self.failures += 1
            except SynchronisationError:
                self.failures += 1
                if adapter.last_answer is not None and adapter.last_answer.status_code == 404:
                    return False
            else:
                return True
            if self._ending.wait(_AGAIN):
                return False

    def _collect(self, host: str, at_hub: bool) -> None:
        url = self.stack.url if at_hub else self.stack.metric_store_url
        tick = self.begin_time
        with httpx.Client(timeout=10) as client:
            collector = MetricCollector(
                client, f"{url}/api/write?cluster={CLUSTER}", self.stack.api_token, CLUSTER, host
            )
            while not self._ending.is_set():
                value = float(tick // STEP % 100_000)
                if collector.flush([Sample("cpu_load", value, tick)]):
                    self.rest.samples[host, tick] = value
                else:
                    self.failures += 1
                tick += STEP
                self._ending.wait(0.4)

    # Over NATS

    async def _over_nats(self) -> None:
        async def quiet(_error: Exception) -> None:
            return

        client = await nats.connect(
            str(self.stack.facts["nats_url"]), max_reconnect_attempts=-1, reconnect_time_wait=0.5,
            error_cb=quiet,
        )  # fmt: skip
        try:
            await asyncio.gather(self._adapt_over_nats(client), self._collect_over_nats(client))
        finally:
            await client.close()

    async def _adapt_over_nats(self, client: Client) -> None:
        job_of, running, number = self._jobs(self.first_job + 10_000), [], 0
        while not self._ending.is_set():
            job = job_of(number)
            if await self._published(client, "hpc-jobs", start_event(job)):
                self.nats.started[job.job_id] = time.time()
                running.append(job)
            number += 1
            if len(running) > _RUNNING:
                job = running.pop(0)
                job.state, job.end_time = "COMPLETED", job.start_time + 300
                if await self._published(client, "hpc-jobs", stop_event(job)):
                    self.nats.stopped[job.job_id] = time.time()
            await asyncio.sleep(1 / JOBS_PER_SECOND)

    async def _collect_over_nats(self, client: Client) -> None:
        tick = self.begin_time
        while not self._ending.is_set():
            value = float(tick // STEP % 100_000)
            text = "".join(Sample("cpu_load", value, tick).line(CLUSTER, host) for host in NATS_HOSTS)
            if await self._published(client, "hpc-metrics", text.encode()):
                self.nats.samples |= {(host, tick): value for host in NATS_HOSTS}
            tick += STEP
            await asyncio.sleep(0.5)

    async def _published(self, client: Client, subject: str, payload: bytes) -> bool:
        while not self._ending.is_set():
            try:
                await client.jetstream().publish(subject, payload, timeout=2)
            except (nats.errors.Error, JetStreamError, OSError, TimeoutError):
                self.failures += 1
                await asyncio.sleep(_AGAIN)
            else:
                return True
        return False
