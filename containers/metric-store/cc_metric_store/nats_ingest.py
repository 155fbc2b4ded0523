"""Lines from NATS.

With JetStream nothing is acknowledged: each subject is read in order by a consumer without acknowledgements
that begins behind the sequence which the checkpoint's manifest records. The manifest's commit is the
acknowledgement; a crash reads again what came after it, each message with the time it reached the stream.

Without JetStream (`core NATS`) messages are taken as they come and logged like HTTP writes; what is published
while nobody listens is lost, and the log says so.

The connection is mended without end, and all of it can be seen: `state`, the metrics, the log lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from cc_metric_store.configuration import NatsConnection, Subscription
from cc_metric_store.engine import Engine
from cc_metric_store.nats_streams import StreamFacts, start_of, stream_for
from cc_metric_store.subject_tags import Tagger, nobody_knows, per_subject

logger = logging.getLogger(__name__)

_ASKED = 3
_CORE_SECONDS = 60.0  # until it is asked again whether there is JetStream now
_BATCH = 256
_FETCH_SECONDS = 1.0
_LOOK_SECONDS = 10.0
_MOST_QUEUED = 4096  # messages of core NATS between the network and the engine
_INACTIVE_SECONDS = 300.0


class Host(Protocol):
    """What the ingest needs of the running service."""

    engine: Engine

    async def apply(self, writes: Callable[[], None]) -> None: ...

    def log_has_room(self, size: int) -> bool:
        """Whether the log takes so many bytes more; waits a moment for it."""
        ...

    def log_write(self, payload: bytes, cluster: str, arrival: int) -> None:
        """Log a write just placed; under the engine's lock."""
        ...


@dataclass(slots=True)
class SubjectState:
    """One subject: where we are, and what has been seen."""

    subject: str
    mode: str = "waiting"  # waiting, jetstream, core
    stream: str = ""
    created: str = ""  # when the stream was made: a stream made anew counts from 1 again
    sequence: int = 0  # of the stream, contained in the engine
    messages: int = 0
    lag: int = 0  # messages in the stream that are not placed yet
    gaps: int = 0  # messages that the stream lost before we read them
    resets: int = 0  # times the stream was another one than before
    repeated: int = 0  # deliveries that came twice and were left out
    broken: int = 0  # times a consumer had to be made anew
    untagged: int = 0  # lines without a cluster that could not be resolved
    short: bool = False  # the stream keeps less than the retention
    last: float = 0.0  # Unix seconds of the last message placed

    def position(self) -> dict[str, Any]:
        return {"stream": self.stream, "created": self.created, "sequence": self.sequence}


@dataclass(slots=True)
class IngestCounters:
    connected: bool = False
    disconnects: int = 0
    reconnects: int = 0
    unlogged: int = 0  # messages of core NATS placed while the log could not take more
    errors: dict[str, int] = field(default_factory=dict)


class NatsIngest:
    """All subscriptions of one store. `run` on the event loop; `positions` under the engine's lock."""

    def __init__(
        self,
        host: Host,
        connection: NatsConnection,
        subscriptions: Sequence[Subscription],
        *,
        retention: int,
        locate: Callable[[str, Sequence[str]], str] = nobody_knows,
        reconnect_wait: float = 2.0,
    ) -> None:
        self.counters = IngestCounters()
        self._host = host
        self._connection = connection
        self._retention = retention
        self._reconnect_wait = reconnect_wait
        self._taggers = {
            subject: Tagger(tags, locate) for subject, tags in per_subject(subscriptions).items()
        }
        self.subjects = {subject: SubjectState(subject) for subject in self._taggers}
        self._stop = asyncio.Event()

    @property
    def state(self) -> dict[str, Any]:
        return {
            "connected": self.counters.connected,
            "subjects": {
                s.subject: {"mode": s.mode, "sequence": s.sequence, "lag": s.lag}
                for s in self.subjects.values()
            },
        }

    def positions(self) -> dict[str, Any]:
        """Per subject what the engine contains, as the manifest records it."""
        return {s.subject: s.position() for s in self.subjects.values() if s.stream}

    def resume(self, positions: object) -> None:
        """Go on from what a manifest recorded."""
        if not isinstance(positions, Mapping):
            return
        for subject, position in positions.items():
            state = self.subjects.get(subject)
            if state is not None and isinstance(position, Mapping):
                state.stream = str(position.get("stream", ""))
                state.created = str(position.get("created", ""))
                state.sequence = int(position.get("sequence", 0))

    # --- life ------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        self._stop = stop
        client = await self._connect()
        if client is None:
            return
        tasks = [asyncio.create_task(self._follow(client, state)) for state in self.subjects.values()]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), 2)
            self.counters.connected = False

    async def _connect(self) -> Client | None:
        """A connection that mends itself. None when told to stop before there was one."""
        given = self._connection
        options: dict[str, Any] = {}
        if given.username and given.password:
            options |= {"user": given.username, "password": given.password}
        if given.credentials:
            options["user_credentials"] = given.credentials
        pause = 0.5
        while not self._stop.is_set():
            try:
                client: Client = await nats.connect(
                    given.address.split(","),
                    name="clustercockpit metric store",
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=self._reconnect_wait,
                    connect_timeout=5,
                    ping_interval=20,
                    max_outstanding_pings=2,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnect,
                    reconnected_cb=self._on_reconnect,
                    **options,
                )
            except (nats.errors.Error, OSError, TimeoutError) as error:
                logger.warning("NATS does not answer (%s): trying again in %.1f s", _said(error), pause)
                await self._pause(pause)
                pause = min(pause * 2, 15.0)
            else:
                self.counters.connected = True
                logger.info("connected to NATS")
                return client
        return None

    async def _on_error(self, error: Exception) -> None:
        kind = type(error).__name__
        count = self.counters.errors[kind] = self.counters.errors.get(kind, 0) + 1
        if count <= 3 or count % 100 == 0:
            logger.warning("NATS: %s (%d times so far)", _said(error), count)

    async def _on_disconnect(self) -> None:
        self.counters.connected = False
        self.counters.disconnects += 1
        logger.warning("NATS: disconnected; trying to connect again without end")

    async def _on_reconnect(self) -> None:
        self.counters.connected = True
        self.counters.reconnects += 1
        logger.info("NATS: connected again")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _follow(self, client: Client, state: SubjectState) -> None:
        """One subject, through lost connections, lost consumers and lost streams."""
        pause = 0.2
        while not self._stop.is_set():
            try:
                found = await self._stream(client, state)
                if found is None:
                    await self._listen(client, state)
                else:
                    await self._read(client.jetstream(), found, state)
                pause = 0.2
            except (nats.errors.Error, OSError, TimeoutError) as error:
                state.broken += 1
                state.mode = "waiting"
                logger.warning("subject %s: %s; trying again in %.1f s", state.subject, _said(error), pause)
                await self._pause(pause)
                pause = min(pause * 2, 10.0)

    async def _stream(self, client: Client, state: SubjectState) -> StreamFacts | None:
        """None when JetStream cannot be used: a server that starts has none for a moment, and one that had
        it for us will have it again."""
        for attempt in range(_ASKED):
            found = await stream_for(client, state.subject, self._retention)
            if found is not None:
                return found
            if attempt < _ASKED - 1:
                await self._pause(0.5)
        if state.stream:
            raise nats.errors.Error(f"JetStream and the stream {state.stream} are not there")
        return None

    # --- JetStream -------------------------------------------------------------------------------

    async def _read(self, js: JetStreamContext, stream: StreamFacts, state: SubjectState) -> None:
        """Read until told to stop or the consumer breaks (an exception, or a return to begin anew)."""
        self._adopt(stream, state)
        first = state.sequence + 1
        config = ConsumerConfig(
            filter_subject=state.subject,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_INACTIVE_SECONDS,
            mem_storage=True,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=first,
        )
        if state.sequence == 0:
            config.opt_start_seq, config.deliver_policy = None, DeliverPolicy.BY_START_TIME
            config.opt_start_time = start_of(time.time() - self._retention)
        subscription = await js.pull_subscribe(state.subject, stream=stream.name, config=config)
        state.mode = "jetstream"
        logger.info("subject %s: stream %s from sequence %d", state.subject, stream.name, first)
        delivered = 0  # by this consumer, counted by the server from 1
        looked, connections = time.monotonic(), self.counters.reconnects
        try:
            while not self._stop.is_set():
                try:
                    messages = await subscription.fetch(_BATCH, timeout=_FETCH_SECONDS)
                except TimeoutError:
                    messages = []
                good: list[tuple[int, int, bytes]] = []
                torn = False
                for message in messages:
                    about = message.metadata
                    if about.sequence.consumer != delivered + 1:
                        torn = True  # a delivery was lost on the way to us: ask again from where we are
                        break
                    delivered += 1
                    good.append((about.sequence.stream, int(about.timestamp.timestamp()), message.data))
                    state.lag = about.num_pending or 0
                if good:
                    state.lag += len(good)
                    await self._host.apply(lambda taken=good: self._place(state, stream, taken))  # type: ignore[misc]
                    state.lag -= len(good)
                if torn:
                    state.broken += 1
                    logger.warning("subject %s: deliveries were lost, reading them again", state.subject)
                    return
                again = self.counters.reconnects != connections
                if not messages and (again or time.monotonic() - looked > _LOOK_SECONDS):
                    looked, connections = time.monotonic(), self.counters.reconnects
                    info = await subscription.consumer_info()  # NotFoundError when the consumer has gone
                    state.lag = info.num_pending or 0
                    about_stream = await js.stream_info(stream.name)
                    if str(about_stream.created) != stream.created:
                        return
        finally:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(subscription.unsubscribe(), 2)

    def _adopt(self, stream: StreamFacts, state: SubjectState) -> None:
        """Compare where we are with what the stream has."""
        state.short = stream.short
        same = state.stream == stream.name and state.created in ("", stream.created)
        if state.stream and (not same or stream.last < state.sequence):
            state.resets += 1
            logger.error(
                "subject %s: stream %s is not the one it was (made %s, last sequence %d, we had %s, %d): "
                "reading it from its beginning; what the other one held and no checkpoint has is lost",
                state.subject, stream.name, stream.created, stream.last, state.created, state.sequence,
            )  # fmt: skip
            with self._host.engine.lock:
                state.sequence = 0
        elif state.sequence and stream.first > state.sequence + 1:
            lost = stream.first - state.sequence - 1
            state.gaps += lost
            logger.error(
                "subject %s: stream %s lost %d messages before they were read (it begins at %d, we are at "
                "%d): it must keep at least the retention in memory",
                state.subject, stream.name, lost, stream.first, state.sequence,
            )  # fmt: skip
        state.stream, state.created = stream.name, stream.created

    def _place(
        self, state: SubjectState, stream: StreamFacts, messages: Iterable[tuple[int, int, bytes]]
    ) -> None:
        """On the writing thread: (sequence, arrival, payload) in the order of the stream."""
        engine = self._host.engine
        for sequence, arrival, payload in messages:
            with engine.lock:
                if sequence <= state.sequence:
                    state.repeated += 1
                    continue
                if stream.alone and state.sequence and sequence > state.sequence + 1:
                    state.gaps += sequence - state.sequence - 1
                self._write(state, payload, arrival)
                state.sequence = sequence
            state.messages += 1
        state.last = engine.clock()

    def _write(self, state: SubjectState, payload: bytes, arrival: int, *, log: bool = False) -> None:
        tagger = self._taggers[state.subject]
        runs, dropped = tagger.split(payload)
        if dropped:
            if state.untagged == 0 or (state.untagged + dropped) // 10_000 > state.untagged // 10_000:
                logger.warning(
                    "subject %s: lines without cluster tag of hosts that no node list has are dropped",
                    state.subject,
                )
            state.untagged += dropped
        for cluster, lines in runs:
            self._host.engine.write(lines, cluster, arrival=arrival)
            if log:
                self._host.log_write(lines, cluster, arrival)

    # --- core NATS -------------------------------------------------------------------------------

    async def _listen(self, client: Client, state: SubjectState) -> None:
        state.mode = "core"
        logger.warning(
            "subject %s: no JetStream stream can be had, so messages are taken as they come. This costs: "
            "what is published while the store or the connection is down is lost",
            state.subject,
        )
        queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(_MOST_QUEUED)

        async def arrived(message: Msg) -> None:
            await queue.put((int(self._host.engine.clock()), message.data))

        subscription = await client.subscribe(state.subject, cb=arrived)
        try:
            began = time.monotonic()
            while not (self._stop.is_set() and queue.empty()):
                if time.monotonic() - began > _CORE_SECONDS:
                    began = time.monotonic()
                    if await stream_for(client, state.subject, self._retention) is not None:
                        return
                taken: list[tuple[int, bytes]] = []
                with contextlib.suppress(TimeoutError):
                    taken.append(await asyncio.wait_for(queue.get(), _FETCH_SECONDS))
                while taken and len(taken) < _BATCH and not queue.empty():
                    taken.append(queue.get_nowait())
                state.lag = queue.qsize()
                if taken:
                    await self._host.apply(lambda some=taken: self._place_logged(state, some))  # type: ignore[misc]
        finally:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(subscription.unsubscribe(), 2)

    def _place_logged(self, state: SubjectState, messages: Iterable[tuple[int, bytes]]) -> None:
        engine = self._host.engine
        for arrival, payload in messages:
            log = self._host.log_has_room(len(payload))
            self.counters.unlogged += not log
            with engine.lock:
                self._write(state, payload, arrival, log=log)
            state.messages += 1
        state.last = engine.clock()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
