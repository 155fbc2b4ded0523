"""The subscriber's life: wait for its configuration, connect, listen, end in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any, Final

import nats
import nats.errors
from nats.aio.client import Client

from cc_job_events.handling import Counts, EventHandler, lane_of
from cc_job_events.subscription import Subscription
from clustercockpit.config.sections import ApiSubjects
from clustercockpit.errors import ClusterCockpitError
from clustercockpit.site import Site

_log = logging.getLogger(__name__)
_LOOK_AGAIN_SECONDS: Final = 60.0
_SUMMARY_SECONDS: Final = 300.0
_END_SECONDS: Final = 25.0


class JobEvents:
    """Job events and node states of one installation."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stopping = asyncio.Event()
        self.counts = Counts()
        self._subscriptions: list[Subscription] = []

    def stop(self) -> None:
        """Finish what was begun and end."""
        self._stopping.set()
        for subscription in self._subscriptions:
            subscription.stop()

    async def run(self) -> None:
        """Until `stop`, SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError):  # not in the main thread
                loop.add_signal_handler(number, self.stop)
        subjects = await self._subjects()
        if subjects is None:
            return
        client = await self._connected()
        if client is None:
            return
        handler = EventHandler(self._site.job_service, self._site.node_service)
        self._subscriptions = [
            Subscription(
                subjects.subject_job_event,
                lanes=subjects.job_concurrency,
                lane_of=lane_of,
                work=lambda item: handler.job_event(item[0]),
                counts=self.counts,
            ),
            Subscription(
                subjects.subject_node_state,
                lanes=1,  # a later report must not be overtaken by an earlier one
                lane_of=lambda _event, _lanes: 0,
                work=lambda item: handler.node_event(*item),
                counts=self.counts,
            ),
        ]
        if self._stopping.is_set():
            self.stop()
        summary = asyncio.create_task(self._summaries())
        running = [asyncio.create_task(each.run(client)) for each in self._subscriptions]
        try:
            await self._stopping.wait()
            await asyncio.wait(running, timeout=_END_SECONDS)
        finally:
            summary.cancel()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(client.drain(), 3)
            self._summarise()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _subjects(self) -> ApiSubjects | None:
        """What to listen to; waits while nothing is configured. None when it was told to end."""
        told = False
        while not self._stopping.is_set():
            try:
                configuration = await asyncio.to_thread(lambda: self._site.configuration)
            except ClusterCockpitError as error:
                _log.error("the configuration cannot be used: %s", error)
            else:
                subjects = configuration.main.api_subjects
                if subjects is not None and self._address():
                    return subjects
                if not told:
                    told = True
                    missing = "nats.address" if subjects is not None else "main.api-subjects"
                    _log.info(
                        "%s is not configured: nothing to listen to, looking again each minute", missing
                    )
            await self._pause(_LOOK_AGAIN_SECONDS)
        return None

    def _address(self) -> str:
        return self._site.settings.nats_url or self._site.configuration.nats.address

    async def _connected(self) -> Client | None:
        """A connection that mends itself without end. None when it was told to end."""
        section = self._site.configuration.nats
        address = self._address()
        options: dict[str, Any] = {}
        if section.username and section.password:
            options |= {"user": section.username, "password": section.password}
        if section.creds_file_path:
            options["user_credentials"] = section.creds_file_path
        pause = 1.0
        while not self._stopping.is_set():
            try:
                client = await nats.connect(
                    address,
                    name="clustercockpit job events",
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=2,
                    connect_timeout=5,
                    error_cb=_on_error,
                    disconnected_cb=_on_disconnect,
                    reconnected_cb=_on_reconnect,
                    allow_reconnect=True,
                    **options,
                )
            except (nats.errors.Error, OSError, TimeoutError) as error:
                _log.warning(
                    "NATS does not answer (%s); trying again in %.0f s",
                    str(error) or type(error).__name__,
                    pause,
                )
                await self._pause(pause)
                pause = min(pause * 2, 30.0)
            else:
                _log.info("connected to NATS")
                return client
        return None

    async def _summaries(self) -> None:
        while True:
            await asyncio.sleep(_SUMMARY_SECONDS)
            self._summarise()

    def _summarise(self) -> None:
        _log.info("events so far", extra={"details": {"counts": dict(sorted(self.counts.totals.items()))}})


async def _on_error(error: Exception) -> None:
    _log.warning("NATS: %s", str(error) or type(error).__name__)


async def _on_disconnect() -> None:
    _log.warning("NATS: disconnected")


async def _on_reconnect() -> None:
    _log.info("NATS: connected again")
