"""The run of a demo site: what it left running last time is stopped, the past is filled in, then it lives."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from simulator import scheduler_messages as messages
from simulator import truth
from simulator.demo_site import Batch, DemoSite, JobEvent
from simulator.outlets import JobOutlet, MetricOutlet, Publisher, Subjects, connect_nats, taking

log = logging.getLogger("simulator")

WINDOW = 600  # seconds of one step of the back-fill
GRACE = 3.0  # seconds to finish a window when told to stop
BEAT = 5.0  # seconds between two looks in live running
NODE_STATES_EVERY = 60
# The adapter of this cluster publishes its jobs, the other one posts them.
NATS_CLUSTERS = frozenset({"heron"})


@dataclass(frozen=True)
class Stack:
    """Where the local stack is, from its `var/local.json`."""

    url: str
    metric_store_url: str
    nats_url: str
    api_token: str
    clusters: tuple[str, ...]
    users: tuple[str, ...]  # accounts with the role user, who get jobs of their own
    subjects: Subjects

    @classmethod
    def read(cls, path: Path) -> Stack:
        """Raises ValueError that says what is missing."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"{path} does not exist: is the local stack running (make run)?") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from None
        missing = [key for key in ("url", "api_token") if not document.get(key)]
        if missing:
            raise ValueError(f"{path} has no {' and no '.join(missing)}")
        users = tuple(
            user["username"] for user in document.get("users", ()) if set(user.get("roles", ())) == {"user"}
        )
        subjects = document.get("nats_subjects") or {}
        default = Subjects()
        return cls(
            url=document["url"],
            metric_store_url=document.get("metric_store_url") or document["url"],
            nats_url=document.get("nats_url") or "",
            api_token=document["api_token"],
            clusters=tuple(document.get("clusters") or ()),
            users=users,
            subjects=Subjects(
                metrics=subjects.get("metrics", default.metrics),
                jobs=subjects.get("jobs", default.jobs),
                nodes=subjects.get("nodes", default.nodes),
            ),
        )


@dataclass
class Memory:
    """What a run leaves for the next one, in a small file beside `local.json`."""

    path: Path
    until: int = 0  # metrics and jobs are told up to here
    next_job_id: int = 0

    @classmethod
    def read(cls, path: Path) -> Memory:
        """Empty where there is no file or it is damaged: then only the hub's own list is known."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, int(document["until"]), int(document["next_job_id"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls(path)

    def keep(self, until: int, next_job_id: int) -> None:
        self.until, self.next_job_id = until, next_job_id
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps({"until": until, "next_job_id": next_job_id}), encoding="utf-8")
        fresh.replace(self.path)


@dataclass
class Simulation:
    """One run against one stack. `clock` gives Unix seconds."""

    stack: Stack
    directory: Path  # where truth.jsonl and simulator.json lie
    seed: int = 1
    speed: float = 1.0
    backfill: int = 7200
    clock: Callable[[], float] = time.time
    transport: httpx.AsyncBaseTransport | None = None  # None: the network
    connect: Callable[[str], Awaitable[Publisher | None]] = connect_nats

    def __post_init__(self) -> None:
        self.stopping = asyncio.Event()
        self.lines = 0
        self.jobs = 0
        self._truth = self.directory / "truth.jsonl"

    async def run(self, *, once: bool = False) -> None:
        """Back-fill, then live until `stopping` is set; with `once` only the back-fill.

        Raises HubUnreachableError when the hub does not answer at the start.
        """
        publisher = await self.connect(self.stack.nats_url) if self.stack.nats_url else None
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        try:
            async with httpx.AsyncClient(limits=limits, trust_env=False, transport=self.transport) as http:
                await self._until_stopped(self._run(http, publisher, once=once))
        finally:
            if publisher is not None:
                await publisher.close()

    async def _until_stopped(self, running: Coroutine[Any, Any, None]) -> None:
        """Await `running`; once `stopping` is set it has a few seconds to come to an end of its own."""
        run = asyncio.create_task(running)
        stop = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        await asyncio.wait({run}, timeout=GRACE)
        if not run.done():
            # What of this window was told is told; the next start goes on from the window's begin.
            run.cancel()
        try:
            await run
        except asyncio.CancelledError:
            log.info("stopped in the middle of a window")

    async def _run(self, http: httpx.AsyncClient, publisher: Publisher | None, *, once: bool) -> None:
        stack = self.stack
        subjects = stack.subjects
        job_publisher = await taking(publisher, subjects.jobs, "jobs")
        metric_publisher = await taking(publisher, subjects.metrics, "metrics")
        jobs = JobOutlet(
            http, stack.url, stack.api_token, publisher=job_publisher, subjects=subjects,
            over_nats=NATS_CLUSTERS, encode=messages.nats_event,
        )  # fmt: skip
        memory = Memory.read(self.directory / "simulator.json")
        now = int(self.clock())
        start = max(now - self.backfill, min(memory.until, now))
        site = DemoSite(
            seed=self.seed, start=start, speed=self.speed, users=stack.users, first_id=memory.next_job_id
        )
        metrics = MetricOutlet(
            http, stack.metric_store_url, stack.api_token, publisher=metric_publisher,
            subject=subjects.metrics, hosts={n: site.cluster(n).hosts for n in site.names},
        )  # fmt: skip
        await self._stop_left_over(jobs, site, memory.until or start)
        began = time.monotonic()
        until = start
        # The present moves while the past is filled in: the last window reaches up to it.
        while not self.stopping.is_set() and until < (now := int(self.clock()) - 1):
            until = await self._window(site, until, min(until + WINDOW, now), metrics, jobs, memory)
            log.info(
                "back-fill %3.0f %%: %s, %s lines, %d jobs", 100 * (until - start) / (now - start),
                time.strftime("%H:%M", time.localtime(until)), f"{self.lines:,}", self.jobs,
            )  # fmt: skip
            if until == now:
                break
        if self.stopping.is_set():
            log.info("stopped while filling in the past; the next start goes on from there")
            return
        log.info(
            "back-fill done in %.1f s: %s lines, %d jobs, %d running",
            time.monotonic() - began, f"{self.lines:,}", self.jobs, len(site.running),
        )  # fmt: skip
        for _ in range(3):
            if jobs.waiting:
                await asyncio.sleep(1)
                await jobs.deliver()
        if jobs.waiting:
            log.warning("%d starts and stops were not taken yet", jobs.waiting)
        await self._node_states(site, jobs, until)
        if not once:
            await self._live(site, until, metrics, jobs, memory)

    async def _live(
        self, site: DemoSite, until: int, metrics: MetricOutlet, jobs: JobOutlet, memory: Memory
    ) -> None:
        told = until
        log.info("live: new samples every 15 and 60 s, stop with Ctrl-C")
        while not self.stopping.is_set():
            try:
                await asyncio.wait_for(self.stopping.wait(), BEAT)
            except TimeoutError:
                pass
            else:
                break
            now = int(self.clock()) - 1
            if now <= until:
                continue
            until = await self._window(site, until, now, metrics, jobs, memory, live=True)
            if until - told >= NODE_STATES_EVERY:
                told = until
                await self._node_states(site, jobs, until)
        log.info("stopped; %d jobs are left running and will be ended at the next start", len(site.running))

    async def _window(
        self,
        site: DemoSite,
        after: int,
        until: int,
        metrics: MetricOutlet,
        jobs: JobOutlet,
        memory: Memory,
        *,
        live: bool = False,
    ) -> int:
        """Tell the hub what happened in (after, until]: the metrics first, so that a job that ends has all
        its samples when it is archived."""
        events = site.advance(until)
        # Before anything is told: after an unclean end, no job id is used twice.
        memory.keep(after, site.next_job_id)
        # A few seconds a request while filling in the past: the store may be busy with it.
        patience = 5.0 if live else 60.0
        async with asyncio.TaskGroup() as group:
            for batch in site.batches(after, until):
                self.lines += batch.lines
                group.create_task(self._send(metrics, batch, patience))
                await asyncio.sleep(0)  # the sending goes on while the next node is computed
        await metrics.flush()
        for event in events:
            await self._tell(site, jobs, event)
        await metrics.flush()
        await jobs.deliver()
        memory.keep(until, site.next_job_id)
        return until

    async def _send(self, metrics: MetricOutlet, batch: Batch, patience: float) -> None:
        await metrics.send(batch.cluster, batch.host, batch.text, patience=patience)

    async def _tell(self, site: DemoSite, jobs: JobOutlet, event: JobEvent) -> None:
        if event.what == "start":
            self.jobs += 1
            cluster = site.cluster(event.cluster)
            truth.write(self._truth, truth.records(event.job, cluster, site.fault(event.cluster)))
            await jobs.start(messages.start_body(event.job, cluster))
        else:
            await jobs.stop(messages.stop_body(event.job))

    async def _node_states(self, site: DemoSite, jobs: JobOutlet, time: int) -> None:
        for name in site.names:
            mine = [job for job in site.running.values() if job.cluster == name]
            await jobs.node_states(messages.node_states(site.cluster(name), mine), time)

    async def _stop_left_over(self, jobs: JobOutlet, site: DemoSite, known_until: int) -> None:
        """End what an earlier run left running on the demo clusters, when its metrics end."""
        left = [job for job in await jobs.running() if job.get("cluster") in site.names]
        ends: dict[truth.JobKey, int] = {}
        stops: list[dict[str, Any]] = []
        for job in left:
            start = int(job["startTime"])
            end = max(start, known_until)
            ends[job["cluster"], job["jobId"], start] = end
            stops.append(
                {"jobId": job["jobId"], "cluster": job["cluster"], "jobState": "cancelled", "stopTime": end}
            )
        if not left:
            return
        truth.write(self._truth, list(truth.cut(self._truth, ends)))
        gate = asyncio.Semaphore(4)

        async def stop(body: dict[str, Any]) -> bool:
            async with gate:
                # Over REST whatever the cluster: the answer says whether it is done.
                return await jobs.stop_now(body)

        done = await asyncio.gather(*map(stop, stops))
        log.info("ended %d of %d jobs that an earlier run left running", sum(done), len(left))
