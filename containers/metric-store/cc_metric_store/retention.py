"""What is forgotten, and when: by age, and under memory pressure by policy.

By age: windows older than the retention go, except on protected hosts (those of jobs that still need them).
Under pressure: the oldest windows go first, of unprotected hosts; only when none of those is left, of the
protected ones. Every such step is counted and logged: the store says that it forgets, it is never killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cc_metric_store.cleanup import ParquetArchive
from cc_metric_store.engine import Engine

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
_RELIEF = 0.9  # under pressure free until this part of the cap is reached


class ProtectedHosts(Protocol):
    """Hosts of jobs that run, wait or are not archived yet."""

    def protected_hosts(self) -> frozenset[tuple[str, str]]:
        """(cluster, host) pairs; raises when they cannot be known now."""
        ...


@dataclass(slots=True)
class RetentionCounters:
    freed_by_age: int = 0
    freed_by_pressure: int = 0
    freed_protected: int = 0
    over_cap: bool = False


class Retention:
    """Applies both rules to one engine. `cap` in bytes; `used` gives the bytes the process holds."""

    def __init__(
        self,
        engine: Engine,
        cap: int,
        used: Callable[[], int],
        hosts: ProtectedHosts | None = None,
        archive: ParquetArchive | None = None,
    ) -> None:
        self.archive = archive
        self.engine = engine
        self.cap = cap
        self.used = used
        self.hosts = hosts
        self.counters = RetentionCounters()
        self.protected: frozenset[tuple[str, str]] = frozenset()
        self._refreshed = float("-inf")

    def refresh(self) -> None:
        """Ask which hosts are protected, every five minutes. The last list holds when nobody answers."""
        now = self.engine.clock()
        if self.hosts is None or 0 <= now - self._refreshed < REFRESH_SECONDS:
            return
        try:
            self.protected = self.hosts.protected_hosts()
            self._refreshed = now
        except Exception as error:
            logger.warning("protected hosts cannot be read (%s): the last list of %d holds", error,
                           len(self.protected))  # fmt: skip

    def by_age(self) -> int:
        self.refresh()
        before = int(self.engine.clock()) - self.engine.limits.retention
        if self.archive is not None:
            leaving = [
                (host, block, window)
                for host, block in self.engine.blocks()
                if (host.cluster, host.name) not in self.protected
                for window in block.windows()
                if block.window_end(window) <= before
            ]
            if leaving:
                report = self.archive.write(leaving, before)
                logger.info("cleanup: %d samples written to %d Parquet files", report.rows, report.files)
        freed = self.engine.free(before, self.protected)
        self.counters.freed_by_age += freed
        return freed

    def by_pressure(self) -> int:
        """Free the oldest windows until the process is under its cap; 0 means there is no pressure."""
        used = self.used()
        if self.cap <= 0 or used <= self.cap:
            self._over(False)
            return 0
        to_free = used - int(self.cap * _RELIEF)
        freed, spared = 0, 0
        for protect in (self.protected, frozenset[tuple[str, str]]()):
            for end in self._ends():
                if to_free <= 0:
                    break
                before = self.engine.data_bytes()
                windows = self.engine.free(end, protect)
                to_free -= before - self.engine.data_bytes()
                freed += windows
                spared += windows if self.protected and not protect else 0
        give_back()
        self.counters.freed_by_pressure += freed
        self.counters.freed_protected += spared
        self._over(to_free > 0)
        logger.warning(
            "memory: %d MB used, cap %d MB: freed %d windows, oldest first, %d of them of protected hosts%s",
            used // 1_000_000, self.cap // 1_000_000, freed, spared,
            "; only the newest windows are left: new series are refused" if to_free > 0 else "",
        )  # fmt: skip
        return freed

    def _over(self, over: bool) -> None:
        """What is left cannot be freed: no further series, so that memory stays where it is."""
        self.counters.over_cap = over
        self.engine.full = over

    def _ends(self) -> list[int]:
        """Ends of all windows but those that are being written, oldest first."""
        now = int(self.engine.clock())
        ends = {block.window_end(w) for _, block in self.engine.blocks() for w in block.windows()}
        return sorted(end for end in ends if end <= now)


def give_back() -> None:
    """Return freed memory to the system: the C library keeps it otherwise, and it would count as used."""
    with contextlib.suppress(OSError, AttributeError):  # not the GNU C library
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Memory the process holds (resident set), from the kernel."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def allowed_bytes() -> int:
    """Memory the process may use: its control group's limit or the machine's."""
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    memory = Path("/proc/meminfo").read_text().splitlines()
    limits += [int(line.split()[1]) * 1024 for line in memory if line.startswith("MemTotal:")]
    return min(limits)


def effective_cap(configured: int) -> int:
    """The lesser of the configured cap and 0.8 of what the process may use."""
    allowed = int(0.8 * allowed_bytes())
    return min(configured, allowed) if configured > 0 else allowed
