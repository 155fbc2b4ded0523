"""HTTP writes between two checkpoints, kept in segments by group commit.

Writes queue up in memory in the engine's order. One thread takes what has queued, commits it as a whole and
wakes those who wait: on a local disk at once, to an object store every two seconds (a collector gives up
after five). A commit that fails is tried again without end; until it succeeds nothing is acknowledged, and
when too much waits, nothing more is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import zstandard

from cc_metric_store.durability import LoggedWrite, OwnershipLostError
from cc_metric_store.segments import Header, Segments, encode_record, new_token, read_records
from clustercockpit.errors import NotFoundError, UnavailableError

logger = logging.getLogger(__name__)

MOST_WAITING = 64 * 1024 * 1024
EAGER_BYTES = 8 * 1024 * 1024  # so much does not wait for the interval's end
ACKNOWLEDGE_WITHIN = 4.5
_RETRIES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_READERS = 8


@dataclass(slots=True)
class LogCounters:
    commits: int = 0
    failures: int = 0  # commits that had to be tried again
    bytes: int = 0  # written to segments
    replayed: int = 0
    damaged: int = 0  # stretches of segments that could not be read
    missing: int = 0  # entries that should be there after a restart and are not
    refused: int = 0  # writes turned away because too much waited
    late: int = 0  # writes not acknowledged because the commit took too long


class SegmentLog:
    """The `WriteLog` over segments. Thread-safe; `append` and `position` under the engine's lock."""

    keeps = True

    def __init__(
        self,
        segments: Segments,
        *,
        interval: float = 0.0,
        most_waiting: int = MOST_WAITING,
        acknowledge_within: float = ACKNOWLEDGE_WITHIN,
    ) -> None:
        self.counters = LogCounters()
        self._segments = segments
        self._interval = interval
        self._most_waiting = most_waiting
        self.acknowledge_within = acknowledge_within
        self._changed = threading.Condition()
        self._queue: deque[tuple[int, LoggedWrite]] = deque()
        self._waiting = 0  # bytes queued or being committed
        self._appended = 0
        self._durable = 0
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._held: dict[str, int] = {}  # segment → its last entry
        self._newest = ""
        self._found: list[str] = []
        self._lost: OwnershipLostError | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self.on_lost: Callable[[], None] = lambda: None

    # --- life ------------------------------------------------------------------------------------

    def acquire(self, stopped: Callable[[], bool]) -> None:
        self._segments.acquire(stopped)

    def open(self, epoch: int, position: Any) -> None:
        """Take over what an earlier process left, and begin behind it."""
        if self._thread is not None:
            return
        known = self._of(position)
        self._segments.begin(Header(epoch, new_token(), 0))
        self._found = self._segments.names()
        last = max(known, self._last_number())
        self._appended = self._durable = last
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def _last_number(self) -> int:
        """The greatest number in use, from the newest segments that can be read."""
        last = 0
        for name in reversed(self._found):
            with contextlib.suppress(NotFoundError):
                content = self._segments.read(name)
                header = Header.decode(content)
                numbers = [record[0] for record in read_records(content) if record is not None]
                last = max([last, *numbers, header.first - 1 if header else 0])
                if numbers:
                    break
        return last

    def close(self) -> None:
        """Commit what waits, once more at least, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(10)
        self._segments.close()

    # --- writing ---------------------------------------------------------------------------------

    def admit(self, size: int) -> None:
        with self._changed:
            if self._lost is not None:
                raise UnavailableError("this process is not the store any more")
            if self._waiting and self._waiting + size > self._most_waiting:
                self.counters.refused += 1
                raise UnavailableError(
                    "the log cannot keep up: too many writes wait to be made durable, send this one again"
                )

    def append(self, write: LoggedWrite) -> int:
        with self._changed:
            self._appended += 1
            self._queue.append((self._appended, write))
            self._waiting += len(write.payload)
            self._changed.notify_all()
            return self._appended

    async def durable(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        with self._changed:
            if number <= self._durable:
                return
            if self._lost is not None:
                raise UnavailableError("this process is not the store any more")
            future = loop.create_future()
            self._waiters.append((number, loop, future))
        try:
            await asyncio.wait_for(future, self.acknowledge_within)
        except TimeoutError:
            self.counters.late += 1
            raise UnavailableError(
                "the write is placed but not durable yet (its log is slow or fails): send it again"
            ) from None

    def position(self) -> int:
        with self._changed:
            return self._appended

    @property
    def waiting_bytes(self) -> int:
        return self._waiting

    @property
    def segments_held(self) -> int:
        return len(self._held) + len(self._found)

    def forget(self, position: Any) -> None:
        """What a checkpoint contains is durable by it, and its segments can go: all but the newest, whose
        number the next process goes on from."""
        known = self._of(position)
        with self._changed:
            while self._queue and self._queue[0][0] <= known:
                self._waiting -= len(self._queue.popleft()[1].payload)
            self._now_durable(known)
            gone = [n for n, last in self._held.items() if last <= known and n != self._newest]
        self._segments.roll()
        for name in gone:
            try:
                self._segments.delete(name)
            except (OSError, UnavailableError) as error:
                logger.warning("log segment %s cannot be deleted now (%s): tried again", name, error)
                continue
            with self._changed:
                self._held.pop(name, None)

    # --- the committing thread ---------------------------------------------------------------------

    def _work(self) -> None:
        packer = zstandard.ZstdCompressor(level=1)
        committed = time.monotonic() - self._interval
        while True:
            with self._changed:
                while not self._due(committed):
                    if self._closing and not self._queue:
                        return
                    left = committed + self._interval - time.monotonic() if self._queue else None
                    self._changed.wait(None if left is None else max(left, 0.001))
                batch = list(self._queue)
                self._queue.clear()
            records = b"".join(encode_record(number, write, packer) for number, write in batch)
            size = sum(len(write.payload) for _, write in batch)
            if not self._commit(records, batch[0][0], batch[-1][0], size):
                return
            committed = time.monotonic()

    def _due(self, committed: float) -> bool:
        if not self._queue:
            return False
        return self._closing or self._waiting >= EAGER_BYTES or time.monotonic() - committed >= self._interval

    def _commit(self, records: bytes, first: int, last: int, size: int) -> bool:
        """Try until it is done; False when it is not to be done any more. `size`: of what waited."""
        attempt = 0
        while True:
            try:
                name = self._segments.commit(records, first)
            except OwnershipLostError as error:
                logger.critical("%s", error)
                self._lose(error)
                return False
            except Exception as error:
                self.counters.failures += 1
                pause = _RETRIES[min(attempt, len(_RETRIES) - 1)]
                log = logger.error if attempt in (0, 10) or attempt % 100 == 99 else logger.debug
                log("the log cannot be written (%s): writes are not acknowledged, trying again", error)
                attempt += 1
                with self._changed:
                    if self._closing and attempt > 3:
                        self._lose(OwnershipLostError("the store ended before its log was written"))
                        return False
                    if self._durable >= last:  # a checkpoint has it meanwhile
                        self._waiting -= size
                        return True
                    self._changed.wait(pause)
                continue
            if attempt:
                logger.warning("the log is written again, after %d failed attempts", attempt)
            self.counters.commits += 1
            self.counters.bytes += len(records)
            with self._changed:
                self._waiting -= size
                self._held[name] = max(last, self._held.get(name, 0))
                self._newest = name
                self._now_durable(last)
            return True

    def _now_durable(self, number: int) -> None:
        self._durable = max(self._durable, number)
        ready = [w for w in self._waiters if w[0] <= self._durable]
        self._waiters = [w for w in self._waiters if w[0] > self._durable]
        for _, loop, future in ready:
            _call(loop, _resolve, future)

    def _lose(self, error: OwnershipLostError) -> None:
        with self._changed:
            self._lost = error
            for _, loop, future in self._waiters:
                _call(loop, _refuse, future)
            self._waiters = []
        self.on_lost()

    # --- after a restart ---------------------------------------------------------------------------

    def replay(self, position: Any) -> Iterator[LoggedWrite]:
        """What the segments found at `open` hold behind the position; damage is skipped and counted."""
        last = known = self._of(position)
        with ThreadPoolExecutor(_READERS, "replay") as pool:
            for start in range(0, len(self._found), 2 * _READERS):
                names = self._found[start : start + 2 * _READERS]
                for name, content in zip(names, pool.map(self._read, names), strict=True):
                    newest_here = 0
                    for record in read_records(content):
                        if record is None:
                            self.counters.damaged += 1
                            logger.warning("log segment %s: a stretch is damaged or was never finished", name)
                            continue
                        number, write = record
                        newest_here = max(newest_here, number)
                        if number <= last:
                            continue
                        self.counters.missing += number - last - 1
                        last = number
                        self.counters.replayed += 1
                        yield write
                    with self._changed:
                        self._held[name] = max(newest_here, known if not newest_here else 0)
                        self._newest = max(self._newest, name)
        self._found = []

    def _read(self, name: str) -> bytes:
        for pause in (*_RETRIES, *_RETRIES, None):
            try:
                return self._segments.read(name)
            except NotFoundError:
                return b""
            except (OSError, UnavailableError):
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    @staticmethod
    def _of(position: Any) -> int:
        return position if isinstance(position, int) and not isinstance(position, bool) else 0


def _call(
    loop: asyncio.AbstractEventLoop,
    action: Callable[[asyncio.Future[None]], None],
    future: asyncio.Future[None],
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(action, future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _refuse(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(UnavailableError("this process is not the store any more"))
