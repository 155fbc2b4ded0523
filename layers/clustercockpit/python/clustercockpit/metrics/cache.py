"""A bounded memory of what was computed, with an age limit."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Least recently used goes first, once all together are over `max_bytes`. Safe between threads; two that
    miss at once both compute. Errors are not kept."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Value, int, float]] = OrderedDict()
        self._bytes = 0

    def get(
        self, key: Hashable, compute: Callable[[], Value], size: Callable[[Value], int], seconds: float
    ) -> Value:
        """The value kept for `key`, or a new one, kept for `seconds` unless it alone is over the bound."""
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry[2] > now:
                self._entries.move_to_end(key)
                return entry[0]
        value = compute()
        weight = size(value)
        if weight <= self._max_bytes and seconds > 0:
            with self._lock:
                self._drop(key)
                self._entries[key] = (value, weight, now + seconds)
                self._bytes += weight
                while self._bytes > self._max_bytes:
                    self._drop(next(iter(self._entries)))
        return value

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]
