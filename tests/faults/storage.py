"""Storage that fails as the trial's plan says: slow, throttled, without answer, full, torn, or the last thing
that the process does."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustercockpit.errors import UnavailableError
from clustercockpit.storage.directory import DirectoryObjectStore


@dataclass
class Faults:
    """Shared by all storage of one life. Probabilities per operation."""

    rng: random.Random
    kill_at: int = 0  # operation at which the process is killed; 0: never
    slow: float = 0.0
    refused: float = 0.0  # throttled or failed before it had an effect
    unanswered: float = 0.0  # it had its effect, but nobody was told
    torn: float = 0.0  # a part of the content lies there
    full_until: float = 0.0  # the disk is full until this time (monotonic)
    operations: int = 0

    def step(self) -> bool:
        """Count an operation; True when the process is to be killed in the middle of it."""
        self.operations += 1
        if self.rng.random() < self.slow:
            time.sleep(self.rng.uniform(0, 0.03))
        return self.operations == self.kill_at

    def full(self) -> bool:
        return time.monotonic() < self.full_until


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)


class FaultyObjects(DirectoryObjectStore):
    def __init__(self, root: Path, faults: Faults) -> None:
        super().__init__(root)
        self._faults = faults
        self._place = root

    def get(self, key: str) -> tuple[bytes, str]:
        self._before(read=True)
        return super().get(key)

    def list(self, prefix: str = "") -> Any:
        self._before(read=True)
        return super().list(prefix)

    def delete(self, key: str) -> None:
        dies = self._before()
        super().delete(key)
        if dies:
            kill()

    def put(self, key: str, content: bytes, **conditions: Any) -> str:
        faults = self._faults
        dies = self._before()
        if faults.full():
            raise OSError(errno.ENOSPC, "no space left on device")
        if dies and faults.rng.random() < 0.5:
            kill()
        if faults.rng.random() < faults.torn and conditions.get("if_match") is None:
            # A server that shows what it has of an upload that broke off; a manifest is never torn
            super().put(key, content[: faults.rng.randrange(len(content))], **conditions)
            raise UnavailableError("the connection broke in the middle")
        etag = super().put(key, content, **conditions)
        if dies:
            kill()
        if faults.rng.random() < faults.unanswered:
            raise UnavailableError("no answer")
        return etag

    def _before(self, *, read: bool = False) -> bool:
        faults = self._faults
        dies = faults.step()
        if dies and read:
            kill()
        if faults.rng.random() < faults.refused:
            raise UnavailableError("slow down")
        return dies


class FaultyFiles:
    """Stands for the module `os` where the log writes its files, and tells what has reached the disk."""

    def __init__(self, faults: Faults, synced: Callable[[str, int], None]) -> None:
        self._faults = faults
        self._synced = synced

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, handle: int, content: Any) -> int:
        content = bytes(content)
        faults = self._faults
        if faults.step():
            os.write(handle, content[: faults.rng.randrange(len(content) + 1)])
            kill()
        if faults.full():
            os.write(handle, content[: faults.rng.randrange(len(content) + 1)])
            raise OSError(errno.ENOSPC, "no space left on device")
        if faults.rng.random() < faults.slow:
            content = content[: max(1, len(content) // 2)]
        return os.write(handle, content)

    def fdatasync(self, handle: int) -> None:
        if self._faults.step():
            kill()
        if self._faults.rng.random() < self._faults.refused:
            raise OSError(errno.EIO, "input/output error")
        os.fdatasync(handle)
        self._synced(str(Path(f"/proc/self/fd/{handle}").readlink()), os.fstat(handle).st_size)
