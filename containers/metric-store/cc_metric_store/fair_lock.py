"""A lock that who waits gets next.

An interpreter's lock goes to whoever asks first after its release, which is nearly always the thread that has
just released it: a writer that takes it for one batch after the other would keep readers out for seconds.
"""

from __future__ import annotations

import threading
from types import TracebackType


class FairLock:
    """Reentrant. While one thread holds it and another waits, the holder's next turn is after that one's."""

    def __init__(self) -> None:
        self._door = threading.Lock()  # held by the one who waits; all others queue before it
        self._lock = threading.Lock()
        self._owner = 0
        self._depth = 0

    def acquire(self) -> None:
        me = threading.get_ident()
        if self._owner == me:  # nobody but this thread can have written that
            self._depth += 1
            return
        with self._door:
            self._lock.acquire()
        self._owner, self._depth = me, 1

    def release(self) -> None:
        if self._owner != threading.get_ident():
            raise RuntimeError("the lock is not this thread's")
        self._depth -= 1
        if self._depth == 0:
            self._owner = 0
            self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
