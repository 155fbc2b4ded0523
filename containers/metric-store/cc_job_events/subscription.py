"""One subject: from messages to acknowledgements.

With JetStream a message is acknowledged once everything in it is stored; what has to wait or failed is asked
for again with a delay, and after its time set aside in the stream of parked messages. Without JetStream the
same waiting happens in memory, which a restart loses.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from cc_job_events.events import BadLine, Event, read_events
from cc_job_events.handling import STOP_WAITS_SECONDS, Counts, Outcome, Result
from cc_job_events.lanes import Lanes

_log = logging.getLogger(__name__)

PARKED: Final = "clustercockpit.parked"
_PARKED_STREAM: Final = "CC_PARKED"
_WAIT_DELAY: Final = 5.0  # a stop before its start
_RETRY_DELAYS: Final = (1.0, 5.0, 15.0, 30.0)
_ACK_WAIT: Final = 60.0
_IN_FLIGHT: Final = 256
_KEPT_SECONDS: Final = 7 * 86_400.0
_LOOK_BACK_SECONDS: Final = 3_600.0


class _Delivery(Protocol):
    """A message however it came."""

    @property
    def subject(self) -> str: ...

    @property
    def data(self) -> bytes: ...

    @property
    def received(self) -> float:
        """When the server got it, or we got it first; Unix seconds."""
        ...

    @property
    def attempt(self) -> int:
        """From 1."""
        ...

    async def done(self) -> None: ...

    async def again(self, delay: float) -> None: ...


@dataclass
class _StreamDelivery:
    message: Msg

    @property
    def subject(self) -> str:
        return self.message.subject

    @property
    def data(self) -> bytes:
        return self.message.data

    @property
    def received(self) -> float:
        return self.message.metadata.timestamp.timestamp()

    @property
    def attempt(self) -> int:
        return self.message.metadata.num_delivered or 1

    async def done(self) -> None:
        await self.message.ack()

    async def again(self, delay: float) -> None:
        await self.message.nak(delay=delay)


@dataclass
class _CoreDelivery:
    subject: str
    data: bytes
    received: float
    attempt: int
    take: Callable[[_Delivery], Awaitable[None]]
    later: set[asyncio.Task[None]]

    async def done(self) -> None:
        return

    async def again(self, delay: float) -> None:
        async def after() -> None:
            await asyncio.sleep(delay)
            await self.take(
                _CoreDelivery(self.subject, self.data, self.received, self.attempt + 1, self.take, self.later)
            )

        task = asyncio.create_task(after())
        self.later.add(task)
        task.add_done_callback(self.later.discard)


Work = Callable[[tuple[Event | BadLine, float]], Result]


class Subscription:
    """Listens on one subject until stopped."""

    def __init__(
        self,
        subject: str,
        *,
        lanes: int,
        lane_of: Callable[[Event | BadLine, int], int],
        work: Work,
        counts: Counts,
        stop_waits: float = STOP_WAITS_SECONDS,
        wait_delay: float = _WAIT_DELAY,
    ) -> None:
        self.subject = subject
        self._lane_of = lane_of
        self._lanes: Lanes[tuple[Event | BadLine, float], Result] = Lanes(lanes, work)
        self._counts = counts
        self._stop_waits = stop_waits
        self._wait_delay = wait_delay
        self._stopping = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self._later: set[asyncio.Task[None]] = set()
        self._js: JetStreamContext | None = None

    async def run(self, client: Client) -> None:
        """Take messages until `stop`; connection losses and lost consumers are survived."""
        self._lanes.start()
        pause = 1.0
        while not self._stopping.is_set():
            try:
                js = await jetstream(client)
                if js is None:
                    await self._listen(client)
                else:
                    self._js = js
                    await self._pull(js)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                _log.warning(
                    "subject %s: %s; trying again in %.0f s",
                    self.subject,
                    str(error) or type(error).__name__,
                    pause,
                )
                await self._pause(pause)
                pause = min(pause * 2, 30.0)
            else:
                pause = 1.0
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._lanes.stop()
        for task in list(self._later):
            task.cancel()

    def stop(self) -> None:
        self._stopping.set()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    # With JetStream

    async def _pull(self, js: JetStreamContext) -> None:
        stream, ours = await _stream_for(js, self.subject)
        durable = "cc-job-events-" + re.sub(r"[^A-Za-z0-9_-]", "_", self.subject)
        config = ConsumerConfig(
            durable_name=durable,
            filter_subject=self.subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT,
            max_deliver=-1,
            max_ack_pending=4 * _IN_FLIGHT,
            # What a stream of someone else holds from long ago has been dealt with by whoever read it then
            deliver_policy=DeliverPolicy.ALL if ours else DeliverPolicy.BY_START_TIME,
            opt_start_time=None if ours else _utc(time.time() - _LOOK_BACK_SECONDS),
        )
        try:
            await js.consumer_info(stream, durable)
        except nats.js.errors.NotFoundError:
            await js.add_consumer(stream, config)
        subscription = await js.pull_subscribe_bind(durable, stream)
        _log.info("subject %s: stream %s, consumer %s", self.subject, stream, durable)
        try:
            while not self._stopping.is_set():
                room = _IN_FLIGHT - len(self._open)
                if room <= 0:
                    await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
                    continue
                try:
                    messages = await subscription.fetch(min(room, 64), timeout=1.0)
                except TimeoutError:
                    continue
                for message in messages:
                    await self._take(_StreamDelivery(message))
        finally:
            try:
                await subscription.unsubscribe()
            except (nats.errors.Error, OSError):
                _log.debug("subject %s: the connection went first", self.subject)

    # Without

    async def _listen(self, client: Client) -> None:
        _log.warning(
            "subject %s: the server has no JetStream for us; events published while we are away are lost",
            self.subject,
        )

        async def arrived(message: Msg) -> None:
            while len(self._open) >= _IN_FLIGHT:
                await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            await self._take(
                _CoreDelivery(message.subject, message.data, time.time(), 1, self._take, self._later)
            )

        subscription = await client.subscribe(self.subject, queue="cc-job-events", cb=arrived)
        try:
            await self._stopping.wait()
        finally:
            try:
                await subscription.unsubscribe()
            except (nats.errors.Error, OSError):
                _log.debug("subject %s: the connection went first", self.subject)

    # Either way

    async def _take(self, delivery: _Delivery) -> None:
        """Queue the events of a message in the order they came; settle it in the background."""
        events = read_events(delivery.data)
        received = delivery.received
        futures = [
            self._lanes.put(self._lane_of(event, self._lanes.count), (event, received)) for event in events
        ]
        task = asyncio.create_task(self._settle(delivery, events, futures))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _settle(
        self,
        delivery: _Delivery,
        events: list[Event | BadLine],
        futures: list[asyncio.Future[Result]],
    ) -> None:
        results = [await future for future in futures]
        if not results:
            self._counts.add(self.subject, "empty")
        waited = time.time() - delivery.received
        again: float | None = None
        parked: list[str] = []
        for event, result in zip(events, results, strict=True):
            outcome = result.outcome
            if outcome is Outcome.RETRY:
                delay = _RETRY_DELAYS[min(delivery.attempt, len(_RETRY_DELAYS)) - 1]
                again = min(again, delay) if again is not None else delay
            elif outcome is Outcome.WAIT and waited < self._stop_waits:
                again = min(again, self._wait_delay) if again is not None else self._wait_delay
            elif outcome in (Outcome.WAIT, Outcome.REFUSED):
                parked.append(result.reason)
            self._log_result(event, result, delivery.attempt)
        try:
            if again is not None:
                await delivery.again(again)
                return
            if parked:
                await self._park(delivery, parked)
            await delivery.done()
        except (nats.errors.Error, OSError) as error:
            # Unacknowledged, it comes again, and what was stored is known then
            _log.warning("subject %s: a message could not be acknowledged: %s", self.subject, error)
            return
        for result in results:
            self._counts.add(self.subject, result.outcome.value)
        if parked:
            self._counts.add(self.subject, "parked")

    def _log_result(self, event: Event | BadLine, result: Result, attempt: int) -> None:
        function = event.tags.get("function", "") if isinstance(event, Event) else ""
        level = {
            Outcome.DONE: logging.DEBUG,
            Outcome.KNOWN: logging.INFO,
            Outcome.IGNORED: logging.DEBUG,
            Outcome.WAIT: logging.INFO,
            Outcome.RETRY: logging.WARNING,
            Outcome.REFUSED: logging.ERROR,
        }[result.outcome]
        _log.log(
            level,
            "event %s",
            result.outcome.value,
            extra={
                "details": {
                    "subject": self.subject,
                    "function": function,
                    "outcome": result.outcome.value,
                    "reason": result.reason[:500],
                    "attempt": attempt,
                }
            },
        )

    async def _park(self, delivery: _Delivery, reasons: list[str]) -> None:
        """Set a message aside where an operator finds it: in a stream, and in the log."""
        _log.error(
            "message parked",
            extra={
                "details": {
                    "subject": delivery.subject,
                    "reasons": [reason[:500] for reason in reasons],
                    "message": delivery.data[:4000].decode("utf-8", "replace"),
                }
            },
        )
        if self._js is None:
            return
        subject = f"{PARKED}.{delivery.subject}"
        try:
            await _stream_for(self._js, subject, name=_PARKED_STREAM, subjects=[f"{PARKED}.>"])
            await self._js.publish(subject, delivery.data, headers={"Cc-Reason": json.dumps(reasons)[:1000]})
        except (nats.errors.Error, OSError) as error:
            _log.warning("the parked message is in this log only: %s", error)


async def jetstream(client: Client) -> JetStreamContext | None:
    """JetStream, or None where the server or the account has none."""
    js = client.jetstream()
    try:
        await js.account_info()
    except (nats.js.errors.APIError, nats.errors.NoRespondersError):
        return None
    return js


async def _stream_for(
    js: JetStreamContext, subject: str, *, name: str = "", subjects: list[str] | None = None
) -> tuple[str, bool]:
    """The stream that keeps the subject, made if there is none; and whether it is one of ours."""
    made = name or "CC_" + re.sub(r"[^A-Za-z0-9_-]", "_", subject).upper()
    try:
        found = await js.find_stream_name_by_subject(subject)
    except nats.js.errors.NotFoundError:
        await js.add_stream(
            StreamConfig(
                name=made,
                subjects=subjects or [subject],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                max_age=_KEPT_SECONDS,
                description="made by ClusterCockpit",
            )
        )
        return made, True
    return found, found == made


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, tz=UTC)
