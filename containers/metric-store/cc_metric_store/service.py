"""The running store: engine, checkpoints, housekeeping and interfaces, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import uvicorn

from cc_metric_store.catalog import MetricCatalog
from cc_metric_store.checkpoint import Checkpointer, OwnershipLostError
from cc_metric_store.configuration import StoreConfiguration
from cc_metric_store.debug import describe
from cc_metric_store.durability import LoggedWrite, NoLog, WriteLog
from cc_metric_store.engine import Engine, Limits, WriteReport
from cc_metric_store.frames import FrameService
from cc_metric_store.http import Application
from cc_metric_store.kernels import start_in_background
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
        clock: Callable[[], float] = time.time,
        numba_cache: str = "",
        log: WriteLog | None = None,
    ) -> None:
        self.log = log or NoLog()
        self.configuration = configuration
        self._numba_cache = numba_cache
        self._catalog = catalog
        limits = Limits(retention=configuration.retention)
        self.engine = Engine(catalog(), clock, limits)
        self.reader = Reader(self.engine)
        self.retention = Retention(
            self.engine, effective_cap(configuration.memory_cap), resident_bytes, hosts
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
        self._appended = 0
        self._restored = asyncio.Event()
        self._phase = "starting"
        self._failure: BaseException | None = None
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
        }

    async def write(self, payload: bytes, cluster: str, first_line: int) -> WriteReport:
        await self._until_restored()
        loop = asyncio.get_running_loop()
        report, self._appended = await loop.run_in_executor(
            self._writer, self._write, payload, cluster, first_line
        )
        return report

    def _write(self, payload: bytes, cluster: str, first_line: int) -> tuple[WriteReport, int]:
        with self.engine.lock:
            arrival = int(self.engine.clock())
            report = self.engine.write(payload, cluster, first_line, arrival=arrival)
            return report, self.log.append(LoggedWrite(payload, cluster, arrival))

    async def commit(self) -> None:
        """Return when everything appended so far is durable."""
        await self.log.durable(self._appended)

    async def free(self, before: int, selectors: list[list[str]]) -> int:
        await self._until_restored()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._background, self._free, before, selectors)

    def _free(self, before: int, selectors: list[list[str]]) -> int:
        freed = 0
        for host, block in self.engine.blocks():
            address = [host.cluster, host.name]
            if any(address[: len(selector)] == selector[:2] for selector in selectors):
                with self.engine.lock:
                    freed += self.engine.store.free(block, before)
        return freed

    def debug(self, selector: list[str]) -> Any:
        return describe(self.engine, selector)

    def prometheus(self) -> bytes:
        return self.telemetry.text()

    async def _until_restored(self) -> None:
        if not self._restored.is_set():
            try:
                await asyncio.wait_for(self._restored.wait(), _RESTORE_WAIT_SECONDS)
            except TimeoutError:
                raise UnavailableError("the metric store is restoring its checkpoint: try again") from None

    # --- life ------------------------------------------------------------------------------------

    async def run(self, address: Address) -> None:
        """Serve until stopped. Raises OwnershipLostError if another process took over, OSError if the
        address is taken."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        start_in_background(self.engine, self._numba_cache)
        server = _Server(
            uvicorn.Config(
                self.application, address.host, address.port, lifespan="off", access_log=False,
                server_header=False, log_config=None, timeout_keep_alive=75, timeout_graceful_shutdown=10,
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
            await asyncio.wait({serving})
            await asyncio.wait({working})
            stopping.cancel()
            self._writer.shutdown()
            self._background.shutdown()
            self.application.readers.shutdown(cancel_futures=True)
        for task in (working, serving):
            task.result()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        self._phase = "restoring"
        await loop.run_in_executor(self._background, self._restore)
        self._restored.set()
        self._phase = "running"
        tasks = [
            asyncio.create_task(self._every(_HOUSEKEEPING_SECONDS, self.housekeeping)),
            asyncio.create_task(self._every(_CATALOG_SECONDS, self._refresh_catalog)),
            asyncio.create_task(self._every(self.configuration.checkpoint_interval, self.checkpoint)),
            asyncio.create_task(self._stop.wait()),
        ]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
        await loop.run_in_executor(self._background, self.checkpoint)
        self.log.close()

    def _restore(self) -> None:
        if self.checkpointer is None:
            logger.warning("no object store: nothing is kept over a restart")
            return
        began = time.perf_counter()
        self.checkpointer.take_over()
        report = self.checkpointer.restore()
        replayed = 0
        for entry in self.log.replay(self.checkpointer.manifest.positions.get("log")):
            self.engine.write(entry.payload, entry.cluster, arrival=entry.arrival)
            replayed += 1
        logger.info(
            "restored %d blocks from %d objects (%d MB) and %d logged writes in %.1f s, %d damaged",
            report.blocks, report.objects, report.bytes // 1_000_000, replayed,
            time.perf_counter() - began, len(report.damaged),
        )  # fmt: skip

    async def _every(self, seconds: float, work: Callable[[], None]) -> None:
        """Do the work again and again; a failure is logged and tried again, unless the store is lost."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(seconds)
            try:
                await loop.run_in_executor(self._background, work)
            except OwnershipLostError:
                raise
            except Exception:
                logger.exception("%s failed; it is tried again", getattr(work, "__name__", "work"))

    def housekeeping(self) -> None:
        self.engine.seal_finished()
        self.retention.by_age()
        self.retention.by_pressure()

    def checkpoint(self) -> None:
        """Write a checkpoint now."""
        if self.checkpointer is not None:
            written = self.checkpointer.write(self._positions)
            self.log.forget(self.checkpointer.manifest.positions.get("log"))
            logger.info("checkpoint %d: %d objects", self.checkpointer.manifest.number, written)

    def _positions(self) -> dict[str, Any]:
        """What of each source the engine contains now; called under its lock."""
        return {"log": self.log.position()}

    def _refresh_catalog(self) -> None:
        catalog = self._catalog()
        if catalog is not self.engine.catalog:
            self.engine.replace_catalog(catalog)


class _Server(uvicorn.Server):
    """Leaves the signals to the service, which has work to do after the last request."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
