"""The running store: engine, checkpoints, housekeeping and interfaces, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import uvicorn

from cc_metric_store.catalog import MetricCatalog
from cc_metric_store.checkpoint import Checkpointer
from cc_metric_store.cleanup import ParquetArchive
from cc_metric_store.configuration import StoreConfiguration
from cc_metric_store.debug import describe
from cc_metric_store.durability import LoggedWrite, NoLog, OwnershipLostError, WriteLog
from cc_metric_store.engine import Engine, Limits, WriteReport
from cc_metric_store.frames import FrameService
from cc_metric_store.http import Application
from cc_metric_store.kernels import start_in_background
from cc_metric_store.nats_ingest import NatsIngest
from cc_metric_store.query import QueryService
from cc_metric_store.reading import Reader
from cc_metric_store.resampling import DEFAULT_MINIMUM_POINTS
from cc_metric_store.retention import ProtectedHosts, Retention, effective_cap, resident_bytes
from cc_metric_store.telemetry import Telemetry
from cc_metric_store.tokens import TokenGate
from clustercockpit.errors import UnavailableError
from clustercockpit.storage.objects import ObjectStore

logger = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 10.0
_CATALOG_SECONDS = 60.0
_RESTORE_WAIT_SECONDS = 3.0
_MOST_HELD = 256 * 1024 * 1024  # bytes of writes that came while the checkpoint was being read
_ATTEMPT_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
_SERVER_SECONDS = 10
_HOST_LEVEL = 2  # names in the selector of a host
_ROOM_ATTEMPTS = 40
_AGAIN_SECONDS = 15.0  # until a failed checkpoint is tried again


# Of the request that is being answered: the number of its last write in the log
_written: ContextVar[int] = ContextVar("written", default=0)


@dataclass(frozen=True, slots=True)
class Address:
    host: str = "127.0.0.1"
    port: int = 8082


class Service:
    """One store. `catalog` is asked again every minute; `objects` None keeps nothing over a restart."""

    def __init__(
        self,
        configuration: StoreConfiguration,
        catalog: Callable[[], MetricCatalog],
        objects: ObjectStore | None,
        gate: TokenGate,
        *,
        partition: str = "0",
        hosts: ProtectedHosts | None = None,
        cleanup: tuple[ObjectStore, str] | None = None,
        clock: Callable[[], float] = time.time,
        numba_cache: str = "",
        log: WriteLog | None = None,
        nats: Callable[[Service], NatsIngest] | None = None,
    ) -> None:
        self.log: WriteLog = log or NoLog()
        self.configuration = configuration
        self._numba_cache = numba_cache
        self._catalog = catalog
        limits = Limits(retention=configuration.retention)
        self.engine = Engine(catalog(), clock, limits)
        self.reader = Reader(self.engine)
        self.retention = Retention(
            self.engine,
            effective_cap(configuration.memory_cap),
            resident_bytes,
            hosts,
            ParquetArchive(self.engine, *cleanup) if cleanup is not None else None,
        )
        self.checkpointer = (
            Checkpointer(self.engine, objects, f"checkpoints/{partition}") if objects is not None else None
        )
        self._writer = ThreadPoolExecutor(1, "ingest")
        self._background = ThreadPoolExecutor(2, "housekeeping")
        readers = ThreadPoolExecutor(4, "read")
        self.telemetry = Telemetry(self)
        self.application = Application(
            self,
            QueryService(self.reader),
            FrameService(self.reader),
            gate,
            readers,
            configuration.minimum_points or DEFAULT_MINIMUM_POINTS,
        )
        self.nats = nats(self) if nats is not None else None
        self.replayed = 0
        # Writes logged before they can be placed, in order; None once they can. Under the engine's lock.
        self._held: list[LoggedWrite] | None = []
        self._held_bytes = 0
        self._accepting = asyncio.Event()
        self._restored = asyncio.Event()
        self._log_lost = asyncio.Event()
        self._swept = False
        self._phase = "starting"
        self._stop = asyncio.Event()

    # --- what the HTTP interface needs -------------------------------------------------------------

    @property
    def ready(self) -> bool:
        return self._restored.is_set() and not self._stop.is_set()

    @property
    def state(self) -> dict[str, Any]:
        checkpoint = self.checkpointer.manifest if self.checkpointer else None
        return {
            "status": self._phase,
            "series": self.engine.series.count,
            "hosts": len(self.engine.hosts),
            "checkpoint": None if checkpoint is None else checkpoint.written,
            "nats": None if self.nats is None else self.nats.state,
        }

    async def write(self, payload: bytes, cluster: str, first_line: int) -> WriteReport:
        """Place whole lines, or log them to be placed when the checkpoint is restored (nothing can be said
        about them then: the report is empty)."""
        if not self._accepting.is_set():
            await self._until(self._accepting)
        loop = asyncio.get_running_loop()
        report, number = await loop.run_in_executor(self._writer, self._write, payload, cluster, first_line)
        _written.set(number)
        return report

    def _write(self, payload: bytes, cluster: str, first_line: int) -> tuple[WriteReport, int]:
        self.log.admit(len(payload))
        with self.engine.lock:
            arrival = int(self.engine.clock())
            write = LoggedWrite(payload, cluster, arrival)
            if self._held is not None:
                if self._held_bytes + len(payload) > _MOST_HELD:
                    raise UnavailableError("the metric store is restoring its checkpoint: try again")
                self._held.append(write)
                self._held_bytes += len(payload)
                report = WriteReport()
            else:
                report = self.engine.write(payload, cluster, first_line, arrival=arrival)
            return report, self.log.append(write)

    async def commit(self) -> None:
        """Return when what this request wrote is durable. UnavailableError when that takes too long."""
        await self.log.durable(_written.get())

    async def apply(self, writes: Callable[[], None]) -> None:
        """Do the work of a source beside HTTP on the thread that writes."""
        await asyncio.get_running_loop().run_in_executor(self._writer, writes)

    def log_has_room(self, size: int) -> bool:
        for _ in range(_ROOM_ATTEMPTS):
            try:
                self.log.admit(size)
            except UnavailableError:
                time.sleep(0.05)
            else:
                return True
        return False

    def log_write(self, payload: bytes, cluster: str, arrival: int) -> None:
        self.log.append(LoggedWrite(payload, cluster, arrival))

    async def free(self, before: int, selectors: list[list[str]]) -> int:
        await self._until(self._restored)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._background, self._free, before, selectors)

    def _free(self, before: int, selectors: list[list[str]]) -> int:
        """A selector of a cluster or a host frees whole windows; a longer one what is below the host."""
        freed = 0
        whole = [selector for selector in selectors if len(selector) <= _HOST_LEVEL]
        for host, block in self.engine.blocks():
            address = [host.cluster, host.name]
            if any(address[: len(selector)] == selector for selector in whole):
                with self.engine.lock:
                    freed += self.engine.store.free(block, before)
        for selector in selectors:
            named = self.engine.host_ids.get((selector[0], selector[1])) if selector not in whole else None
            if named is not None:
                freed += self.engine.free_part(before, named, selector[_HOST_LEVEL:])
        return freed

    def debug(self, selector: list[str]) -> Any:
        return describe(self.engine, selector)

    def prometheus(self) -> bytes:
        return self.telemetry.text()

    async def _until(self, event: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(event.wait(), _RESTORE_WAIT_SECONDS)
        except TimeoutError:
            raise UnavailableError("the metric store is restoring its checkpoint: try again") from None

    # --- life ------------------------------------------------------------------------------------

    async def run(self, address: Address) -> None:
        """Serve until stopped. Raises OwnershipLostError if another process took over, OSError if the
        address is taken.

        The end, in order: no more requests, no more messages, a checkpoint, the log. Whatever of it does not
        fit into the time the container has to end is in the log and the stream.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        start_in_background(self.engine, self._numba_cache)
        server = _Server(
            uvicorn.Config(
                self.application, address.host, address.port, lifespan="off", access_log=False,
                server_header=False, log_config=None, timeout_keep_alive=75,
                timeout_graceful_shutdown=_SERVER_SECONDS,
            )
        )  # fmt: skip
        serving = asyncio.create_task(server.serve())
        working = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({serving, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            self._phase = "stopping"
            server.should_exit = True
            await asyncio.wait({serving, working})
            stopping.cancel()
            failed = working.exception() or serving.exception()
            if self._restored.is_set() and not isinstance(failed, OwnershipLostError):
                await self._last_checkpoint()
            await loop.run_in_executor(None, self.log.close)
            self._writer.shutdown()
            self._background.shutdown()
            self.application.readers.shutdown(cancel_futures=True)
        for task in (working, serving):
            task.result()

    async def _last_checkpoint(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._background, self.checkpoint)
        except OwnershipLostError:
            raise
        except Exception:
            logger.exception("the last checkpoint failed: the log and the stream have what it would hold")

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()

        def lost() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._log_lost.set)

        self.log.on_lost = lost
        if not await self._take_over():
            return
        self._accepting.set()
        self._phase = "restoring"
        await loop.run_in_executor(self._background, self._restore)
        self._restored.set()
        self._phase = "running"
        tasks = [
            asyncio.create_task(self._every(_HOUSEKEEPING_SECONDS, self.housekeeping)),
            asyncio.create_task(self._every(_CATALOG_SECONDS, self._refresh_catalog)),
            asyncio.create_task(self._every(self.configuration.checkpoint_interval, self.checkpoint)),
            asyncio.create_task(self._until_lost()),
            asyncio.create_task(self._stop.wait()),
        ]
        if self.nats is not None:
            tasks.append(asyncio.create_task(self.nats.run(self._stop)))
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        if self.nats is not None and tasks[-1] in pending:
            await asyncio.wait({tasks[-1]}, timeout=5)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()

    async def _until_lost(self) -> None:
        await self._log_lost.wait()
        raise OwnershipLostError("another process writes the log: there must be one writer only")

    async def _take_over(self) -> bool:
        """Become the owner of manifest and log, however long the object store does not answer; False when
        told to stop before that."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while not self._stop.is_set():
            try:
                await loop.run_in_executor(self._background, self._own)
            except (UnavailableError, OSError) as error:
                self._phase = "waiting for the object store"
                pause = _ATTEMPT_PAUSES[min(attempt, len(_ATTEMPT_PAUSES) - 1)]
                logger.error("the checkpoints cannot be reached (%s): trying again in %.1f s", error, pause)
                attempt += 1
                try:
                    await asyncio.wait_for(self._stop.wait(), pause)
                except TimeoutError:
                    continue
            else:
                return True
        return False

    def _own(self) -> None:
        self.log.acquire(self._stop.is_set)
        if self.checkpointer is None:
            logger.warning("no object store: nothing is kept over a restart")
            self.log.open(0, None)
            return
        self.checkpointer.take_over()
        self.log.open(self.checkpointer.manifest.epoch, self.checkpointer.manifest.positions.get("log"))

    def _restore(self) -> None:
        began = time.perf_counter()
        positions: dict[str, Any] = {}
        if self.checkpointer is not None:
            self.retention.refresh()
            report = self.checkpointer.restore(
                protected=self.retention.protected, everything=self.retention.archive is not None
            )
            positions = self.checkpointer.manifest.positions
            logger.info(
                "restored %d blocks from %d objects (%d MB) in %.1f s, %d damaged", report.blocks,
                report.objects, report.bytes // 1_000_000, time.perf_counter() - began, len(report.damaged),
            )  # fmt: skip
        for entry in self.log.replay(positions.get("log")):
            self._replay(entry)
        if self.nats is not None:
            self.nats.resume(positions.get("nats"))
        while True:
            # A few at a time, so that who writes meanwhile does not wait for all; in the end none is left
            with self.engine.lock:
                held = self._held or []
                if not held:
                    self._held = None
                    break
                self._held = []
            # Nobody else places anything while `_held` is a list, so the order stays the log's
            for entry in held:
                self._replay(entry)
        self._held_bytes = 0
        if self.replayed:
            logger.info("%d logged writes placed, %.1f s in all", self.replayed, time.perf_counter() - began)

    def _replay(self, entry: LoggedWrite) -> None:
        self.engine.write(entry.payload, entry.cluster, arrival=entry.arrival)
        self.replayed += 1

    async def _every(self, seconds: float, work: Callable[[], None]) -> None:
        """Do the work again and again; a failure is logged and tried again, unless the store is lost."""
        loop = asyncio.get_running_loop()
        pause = seconds
        while True:
            await asyncio.sleep(pause)
            try:
                await loop.run_in_executor(self._background, work)
                pause = seconds
            except OwnershipLostError:
                raise
            except Exception:
                pause = min(seconds, _AGAIN_SECONDS)
                logger.exception("%s failed; it is tried again", getattr(work, "__name__", "work"))

    def housekeeping(self) -> None:
        self.engine.seal_finished()
        self.retention.by_age()
        self.retention.by_pressure()

    def checkpoint(self) -> None:
        """Write a checkpoint now."""
        if self.checkpointer is None:
            return
        if not self._swept:
            with contextlib.suppress(UnavailableError, OSError):
                self.checkpointer.find_orphans()
                self._swept = True
        written = self.checkpointer.write(self._positions)
        self.log.forget(self.checkpointer.manifest.positions.get("log"))
        logger.info("checkpoint %d: %d objects", self.checkpointer.manifest.number, written)

    def _positions(self) -> dict[str, Any]:
        """What of each source the engine contains now; called under its lock."""
        found: dict[str, Any] = {"log": self.log.position()}
        if self.nats is not None:
            found["nats"] = self.nats.positions()
        return found

    def _refresh_catalog(self) -> None:
        catalog = self._catalog()
        if catalog is not self.engine.catalog:
            self.engine.replace_catalog(catalog)


class _Server(uvicorn.Server):
    """Leaves the signals to the service, which has work to do after the last request."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
