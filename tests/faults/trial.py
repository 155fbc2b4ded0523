"""One trial: some lives of a store in forked children, each ended somehow, and then two that must be whole.

A life is the service as it runs, without its HTTP server: writes and their commits, messages of a stream,
sealing and checkpoints beside them, on a clock of the trial's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pickle
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.model import START, STEPS, Oracle, Sender, Slot, contents
from tests.faults.storage import Faults, FaultyFiles, FaultyObjects, kill

from cc_metric_store import segment_log, segments
from cc_metric_store import service as service_module
from cc_metric_store.catalog import MetricDefinition, StaticCatalog
from cc_metric_store.configuration import NatsConnection, StoreConfiguration, Subscription
from cc_metric_store.durability import OwnershipLostError
from cc_metric_store.nats_ingest import NatsIngest
from cc_metric_store.nats_streams import StreamFacts
from cc_metric_store.segment_log import SegmentLog
from cc_metric_store.segments import DirectorySegments, ObjectSegments
from cc_metric_store.service import Service
from cc_metric_store.tokens import TokenGate
from clustercockpit.errors import ClusterCockpitError

CATALOG = StaticCatalog({"*": {name: MetricDefinition(name, step) for name, step in STEPS.items()}})
SUBJECT = "metrics"
LIFE_SECONDS = 40.0  # then it counts as hung
LONGEST_PLAY = 1.5
PROFILES = (
    "kill",
    "kill at i/o",
    "power",
    "full",
    "storage",
    "torn",
    "clock",
    "restore",
    "stop",
    "two owners",
)


@dataclass
class Plan:
    """How one life goes."""

    profile: str
    seed: str
    steps: int
    first: int  # number of its first batch
    published: int  # messages in the stream before it
    now: int
    skew: int = 0  # of the store's clock against the senders'
    streams: bool = True  # two owners at once cannot both number the stream


@dataclass
class Outcome:
    seed: int
    profiles: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Clock:
    def __init__(self, now: int, skew: int) -> None:
        self.now, self.skew = float(now), skew

    def __call__(self) -> float:
        return self.now + self.skew


class Life:
    """Inside the child."""

    def __init__(self, trial: Trial, plan: Plan, pipe: int) -> None:
        self.trial, self.plan, self.pipe = trial, plan, pipe
        self.rng = random.Random(plan.seed)
        self.clock = Clock(plan.now, plan.skew)
        rng, profile = self.rng, plan.profile
        self.faults = faults = Faults(random.Random(plan.seed + " faults"))
        if profile in ("kill at i/o", "power", "torn", "restore"):
            faults.kill_at = rng.randint(1, 8 if profile == "restore" else 120)
        if profile in ("storage", "torn"):
            faults.slow, faults.refused = rng.choice(((0.3, 0.0), (0.1, 0.15), (0.0, 0.4)))
            faults.unanswered = rng.choice((0.0, 0.2))
        if profile == "torn":
            faults.torn = 0.2
        objects = FaultyObjects(trial.root, faults)
        folder = "checkpoints/0/log"
        if trial.log == "objects":
            log = SegmentLog(ObjectSegments(objects, folder), interval=0.01)
        else:
            segments.os = FaultyFiles(faults, self.synced)  # type: ignore[assignment, attr-defined]
            log = SegmentLog(DirectorySegments(trial.root / folder, wait=5))
        if profile in ("storage", "torn", "full"):
            log.acknowledge_within = 0.3
        service_module._ATTEMPT_PAUSES = (0.01, 0.05)
        segment_log._RETRIES = (0.01, 0.02, 0.05)
        configuration = StoreConfiguration(retention=trial.retention, checkpoint_interval=1e6)
        self.service = Service(
            configuration,
            lambda: CATALOG,
            objects,
            TokenGate(None),
            clock=self.clock,
            log=log,
            nats=self.ingest,
        )
        if trial.kernel is not None:
            from cc_metric_store import kernels

            kernels.Kernel(self.service.engine, trial.kernel).attach()
        self.published = plan.published

    def ingest(self, service: Service) -> NatsIngest:
        subscription = Subscription(SUBJECT, "c")
        made = NatsIngest(service, NatsConnection(), [subscription], retention=self.trial.retention)
        made.run = self.idle  # type: ignore[method-assign]
        return made

    async def idle(self, stop: asyncio.Event) -> None:
        await stop.wait()

    def tell(self, **what: Any) -> None:
        os.write(self.pipe, (json.dumps(what) + "\n").encode())

    def synced(self, path: str, size: int) -> None:
        self.tell(synced=Path(path).name, size=size)

    async def run(self) -> None:
        working = asyncio.create_task(self.service._work())
        playing = asyncio.create_task(self.play())
        await asyncio.wait({working, playing}, return_when=asyncio.FIRST_COMPLETED)
        self.service._stop.set()
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        with contextlib.suppress(OwnershipLostError):
            await working
            if playing.done() and not playing.cancelled() and (error := playing.exception()) is not None:
                raise error
            if self.plan.profile == "stop":
                await self.service._last_checkpoint()
                await asyncio.to_thread(self.service.log.close)
                self.tell(ended="in order")
            return
        self.tell(ended="lost")

    async def play(self) -> None:
        rng, plan, service = self.rng, self.plan, self.service
        if plan.profile != "restore" or rng.random() < 0.5:
            try:
                await asyncio.wait_for(service._accepting.wait(), LONGEST_PLAY)
            except TimeoutError:
                kill()
        beside: set[asyncio.Task[None]] = set()
        number = plan.first
        deadline = random.Random(plan.seed + " time").uniform(0.0, 0.6)
        if plan.profile in ("kill", "two owners"):
            threading.Timer(deadline if plan.profile == "kill" else 1.2, kill).start()
        end = time.monotonic() + LONGEST_PLAY
        for _ in range(plan.steps):
            if time.monotonic() > end:
                break
            if plan.profile == "clock" and rng.random() < 0.08:
                self.clock.skew += rng.choice((-3600, -900, -60, -2, 2, 60, 290, 900))
            if plan.profile == "full" and rng.random() < 0.08:
                self.faults.full_until = time.monotonic() + rng.uniform(0, 0.3)
            self.clock.now += rng.choice(
                (0, rng.uniform(1, 30), rng.uniform(1, 30), rng.uniform(60, 600), 2400)
            )
            action = rng.random()
            if action < 0.62:
                together = rng.choice((1, 1, 1, 3))
                await asyncio.gather(*(self.write(number + i) for i in range(together)))
                number += together
            elif action < 0.80 and plan.streams and service._restored.is_set():
                await self.stream(number)
                number += 4
            elif service._restored.is_set():
                work = service.checkpoint if rng.random() < 0.5 else service.housekeeping
                beside.add(asyncio.create_task(self.beside(work)))
                if rng.random() < 0.4:
                    await asyncio.gather(*beside)
                    beside.clear()
        await asyncio.gather(*beside)
        if plan.profile not in ("stop",):
            kill()

    async def beside(self, work: Any) -> None:
        self.tell(clock=int(self.clock.now), store=int(self.clock()))  # what is too old is freed by it
        try:
            await asyncio.get_running_loop().run_in_executor(self.service._background, work)
            self.tell(done=work.__name__)
        except OwnershipLostError:
            self.tell(ended="lost")
            os._exit(3)
        except (ClusterCockpitError, OSError):
            self.tell(failed=work.__name__)

    async def write(self, number: int) -> None:
        now = int(self.clock.now)
        batch = self.trial.sender.batch(number, now, streamed=False)
        self.tell(batch=number, now=now, arrival=int(self.clock()))
        try:
            await self.service.write(batch.payload, "", 1)
            await self.service.commit()
        except ClusterCockpitError:
            self.tell(refused=number)
        else:
            self.tell(acknowledged=number)

    async def stream(self, number: int) -> None:
        """New messages reach the stream, which is their acknowledgement; what is delivered comes in order,
        with repetitions, and sometimes breaks off."""
        now = int(self.clock.now)
        for i in range(self.rng.randint(0, 4)):
            self.trial.messages.append((number + i, now, int(self.clock())))
            self.tell(batch=number + i, now=now, arrival=int(self.clock()), published=True)
        await self.deliver(self.rng.choice((None, None, 1)))

    async def deliver(self, most: int | None = None) -> None:
        assert self.service.nats is not None
        state = self.service.nats.subjects[SUBJECT]
        facts = StreamFacts("S", "", 1, len(self.trial.messages), alone=True, short=False)
        self.service.nats._adopt(facts, state)
        begin = max(0, state.sequence - self.rng.randint(0, 3))
        part = self.trial.messages[begin : None if most is None else state.sequence + most]
        taken = [
            (begin + 1 + i, arrival, self.trial.sender.batch(number, now, streamed=True).payload)
            for i, (number, now, arrival) in enumerate(part)
        ]
        await self.service.apply(lambda: self.service.nats._place(state, facts, taken))  # type: ignore[union-attr]
        assert state.gaps == 0, "a gap in the stream's sequences"


class Trial:
    def __init__(self, seed: int, root: Path, kernel: Any = None) -> None:
        rng = random.Random(f"trial {seed}")
        self.rng, self.seed, self.root, self.kernel = rng, seed, root, kernel
        self.sender = Sender(seed)
        self.retention = rng.choice((48, 48, 48, 4)) * 3600
        self.oracle = Oracle(self.retention)
        self.messages: list[tuple[int, int, int]] = []
        self.first = PROFILES[seed % len(PROFILES)]
        self.log = "objects" if self.first == "two owners" else rng.choice(("directory", "objects"))
        if self.first == "power":
            self.log = "directory"
        self.now, self.skew, self.next = START, 0, 0
        self.latest = START  # that the store's clock has shown
        self._sizes: dict[str, int] = {}  # of the log's segments before a life
        self.outcome = Outcome(seed)

    def run(self) -> Outcome:
        self.root.mkdir(parents=True)
        lives = [self.first] + [self.rng.choice(PROFILES[:-1]) for _ in range(self.rng.randint(0, 2))]
        for index, profile in enumerate(lives):
            if profile == "power" and self.log != "directory":
                profile = "kill"
            self.outcome.profiles.append(profile)
            plan = self._plan(profile, index)
            self._sizes = {path.name: path.stat().st_size for path in self._segments()}
            plan.streams = profile != "two owners"
            children = [self._start(plan)]
            if profile == "two owners":
                time.sleep(self.rng.uniform(0.05, 0.4))
                self.next += 10_000
                other = self._plan("kill", index + 100)
                other.streams = False
                children.append(self._start(other))
            for child, pipe in children:
                self._follow(child, pipe, profile)
            if self.outcome.wrong:
                return self.outcome
        if self.skew:
            self.now += abs(self.skew)  # the clock is right again
            self.skew = 0
        for check in ("first", "second"):
            found, now = self._look(check)
            if found is None:
                return self.outcome
            wrong = self.oracle.judge(found, now)
            self.outcome.wrong += [f"{check} restart: {line}" for line in wrong[:5]]
        self.outcome.counts["acknowledged samples"] = self.oracle.acknowledged
        self.outcome.counts["slots found"] = len(found or ())
        return self.outcome

    def _plan(self, profile: str, index: int) -> Plan:
        steps = self.rng.randint(5, 60)
        return Plan(
            profile, f"{self.seed} {index}", steps, self.next, len(self.messages), self.now, self.skew
        )

    def _start(self, plan: Plan) -> tuple[int, int]:
        reading, writing = os.pipe()
        child = os.fork()
        if child:
            os.close(writing)
            return child, reading
        os.close(reading)
        status = 1
        try:
            signal.alarm(int(LIFE_SECONDS))
            asyncio.run(Life(self, plan, writing).run())
            status = 0
        except BaseException:
            logging.getLogger(__name__).exception("a life ended badly")
            os.write(writing, (json.dumps({"broken": plan.profile}) + "\n").encode())
        finally:
            os._exit(status)

    def _follow(self, child: int, pipe: int, profile: str) -> None:
        with os.fdopen(pipe, "rb") as stream:
            text = stream.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            self.outcome.wrong.append(f"a life of {profile} hung")
        synced: dict[str, int] = {}
        for line in text.split(b"\n")[:-1]:
            self._hear(json.loads(line), synced)
        if profile == "power":
            self._lose_power(synced)

    def _hear(self, said: dict[str, Any], synced: dict[str, int]) -> None:
        counts = self.outcome.counts
        if "batch" in said:
            number, now = said["batch"], said["now"]
            self.next = max(self.next, number + 1)
            self.now, self.skew = max(self.now, now), said["arrival"] - now
            batch = self.sender.batch(number, now, streamed=bool(said.get("published")))
            self.oracle.tried(number, batch.samples, said["arrival"])
            counts["batches"] += 1
            if said.get("published"):
                self.messages.append((number, now, said["arrival"]))
                self.oracle.was_acknowledged(number)
            self.latest = max(self.latest, said["arrival"])
        elif "clock" in said:
            self.now, self.latest = max(self.now, said["clock"]), max(self.latest, said["store"])
        elif "acknowledged" in said:
            self.oracle.was_acknowledged(said["acknowledged"])
        elif "synced" in said:
            synced[said["synced"]] = said["size"]
        elif "broken" in said:
            self.outcome.wrong.append(f"a life of {said['broken']} raised, see the log")
        else:
            counts[" ".join(f"{k} {v}" for k, v in said.items() if k != "refused") or "refused"] += 1

    def _lose_power(self, synced: dict[str, int]) -> None:
        """What the ended life wrote and did not flush is gone; what lives before it wrote is on the disk."""
        for path in self._segments():
            known = self._sizes.get(path.name, synced.get(path.name, 0))
            if path.stat().st_size > known:
                self.outcome.counts["unflushed tails lost"] += 1
                os.truncate(path, known)

    def _segments(self) -> list[Path]:
        return list((self.root / "checkpoints/0/log").glob("*.ccl"))

    def _look(self, check: str) -> tuple[dict[Slot, float] | None, int]:
        """A life without faults that tells what it has, and is killed after a checkpoint."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            signal.alarm(int(LIFE_SECONDS))
            try:
                plan = Plan("look", f"{self.seed} {check}", 0, self.next, len(self.messages), self.now)
                with os.fdopen(writing, "wb") as stream:
                    asyncio.run(self._tell_all(Life(self, plan, os.open(os.devnull, os.O_WRONLY)), stream))
            except BaseException:
                logging.getLogger(__name__).exception("the last life ended badly")
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            content = stream.read()
        os.waitpid(child, 0)
        if not content:
            self.outcome.wrong.append(f"the store did not come back at the {check} restart")
            return None, 0
        return pickle.loads(content), max(self.now, self.latest)

    async def _tell_all(self, life: Life, stream: Any) -> None:
        working = asyncio.create_task(life.service._work())
        ready = asyncio.create_task(life.service._restored.wait())
        await asyncio.wait({working, ready}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        await life.deliver()
        stream.write(pickle.dumps(contents(life.service.engine)))
        stream.flush()
        await asyncio.to_thread(life.service.housekeeping)
        await asyncio.to_thread(life.service.checkpoint)
        kill()


def run(seeds: Sequence[int], folder: Path, kernel: Any = None) -> list[Outcome]:
    """The trials of these seeds, the failed ones' folders kept."""
    outcomes = []
    for seed in seeds:
        root = folder / f"trial-{seed}"
        outcome = Trial(seed, root, kernel if seed % 2 else None).run()
        outcomes.append(outcome)
        if not outcome.wrong:
            shutil.rmtree(root)
    return outcomes
