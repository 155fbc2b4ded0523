"""The changes since the index was last built, read strongly consistently.

A question answered from the segments alone would lag by up to two minutes. The overlay reads the change
buckets from two before the watermark up to now, whole, so that a client sees what it just wrote.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from clustercockpit.index.manifest import Manifest
from clustercockpit.index.ports import ChangeLog, IndexHead
from clustercockpit.index.rows import IndexRow, newest

LOOK_BACK_BUCKETS: Final = 2
"""How many buckets up to the watermark are read again, for changes that came late (ruling 2)."""
CLOSED_AFTER_SECONDS: Final = 60
"""A bucket takes no more changes so long after its end (ruling 2)."""
CLOCK_MARGIN_SECONDS: Final = 10
"""Writers' clocks may be ahead by less than that: twice what they are allowed."""


def last_closed(now: float) -> int:
    """The last minute (Unix time div 60) whose buckets take no more changes."""
    return int((now - CLOSED_AFTER_SECONDS) // 60) - 1


class Overlay:
    """Reads the changes after a head. Buckets closed long since are kept, so that a builder that stands
    still does not make every question slower; the open ones are read each time. Safe for threads."""

    def __init__(self, changes: ChangeLog, *, parallel: int = 16) -> None:
        self._changes = changes
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="overlay")
        self._closed: dict[tuple[int, int], Sequence[IndexRow]] = {}
        self._lock = threading.Lock()

    def rows(self, head: IndexHead, manifest: Manifest, now: float, *, shards: int) -> dict[int, IndexRow]:
        """The newest row per changed job, tombstones included. `shards` is what this process would write
        to; the head may know of more."""
        first = head.watermark + 1 - LOOK_BACK_BUCKETS
        last = int((now + CLOCK_MARGIN_SECONDS) // 60)
        buckets = [
            (minute, shard) for minute in range(first, last + 1) for shard in range(max(shards, head.shards))
        ]
        # Well after the close: a bucket that the builder would read again is not yet taken for final
        final = last_closed(now) - LOOK_BACK_BUCKETS
        with self._lock:
            for bucket in [bucket for bucket in self._closed if bucket[0] < first]:
                del self._closed[bucket]
            known = {bucket: self._closed[bucket] for bucket in buckets if bucket in self._closed}
        missing = [bucket for bucket in buckets if bucket not in known]
        read = dict(
            zip(missing, self._pool.map(lambda bucket: self._changes.read(*bucket), missing), strict=True)
        )
        with self._lock:
            self._closed.update({bucket: rows for bucket, rows in read.items() if bucket[0] <= final})
        folded = newest(row for rows in (*known.values(), *read.values()) for row in rows)
        return {id: row for id, row in folded.items() if not manifest.outdated(id, row.ver)}
