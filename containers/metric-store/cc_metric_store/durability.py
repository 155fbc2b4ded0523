"""The doors of durability: what an acknowledged write may rely on.

A checkpoint makes durable what the engine holds. What came after the last checkpoint must come back from its
source: NATS messages from the stream (from the sequence the manifest records), HTTP writes from a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


class OwnershipLostError(Exception):
    """Another process has taken over the store: this one must end."""


@dataclass(frozen=True, slots=True)
class LoggedWrite:
    """A batch as it arrived: replayed with its own arrival time (Unix seconds), it has the same effect."""

    payload: bytes
    cluster: str  # default cluster
    arrival: int


class WriteLog(Protocol):
    """HTTP writes between two checkpoints, in the order the engine took them.

    `append`, `position` are called under the engine's lock, so that the log's order is the engine's and a
    position tells exactly what the engine contains.
    """

    on_lost: Callable[[], None]  # called, on any thread, when another process has become the writer

    @property
    def keeps(self) -> bool:
        """Whether anything is kept: only then may a write be taken before it can be placed."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """Bytes appended that are not durable yet."""
        ...

    def acquire(self, stopped: Callable[[], bool]) -> None:
        """Wait for an earlier process of this machine to end. OwnershipLostError if it stays."""
        ...

    def open(self, epoch: int, position: Any) -> None:
        """Become the writer, behind what earlier owners left. UnavailableError, OSError: try again."""
        ...

    def admit(self, size: int) -> None:
        """UnavailableError when so many bytes more are not to be taken now."""
        ...

    def append(self, write: LoggedWrite) -> int:
        """Number of the entry. Must not block on a disk or a network."""
        ...

    async def durable(self, number: int) -> None:
        """Return when the entry would survive a crash; UnavailableError when that cannot be promised now."""
        ...

    def position(self) -> Any:
        """What is appended so far, as the manifest records it."""
        ...

    def replay(self, position: Any) -> Iterator[LoggedWrite]:
        """Entries after a recorded position (None: all), oldest first; a torn last one is left out."""
        ...

    def forget(self, position: Any) -> None:
        """A checkpoint contains everything up to the position: its entries are not needed any more."""
        ...

    def close(self) -> None: ...


class NoLog:
    """Keeps nothing: a crash loses what came by HTTP since the last checkpoint."""

    keeps = False
    waiting_bytes = 0

    def __init__(self) -> None:
        self.on_lost: Callable[[], None] = lambda: None

    def acquire(self, stopped: Callable[[], bool]) -> None:
        """Nobody else can write to nothing."""

    def open(self, epoch: int, position: Any) -> None:
        """Nothing to take over."""

    def admit(self, size: int) -> None:
        """There is always room."""

    def append(self, write: LoggedWrite) -> int:  # noqa: ARG002
        return 0

    async def durable(self, number: int) -> None:
        """Nothing to wait for."""

    def position(self) -> Any:
        return None

    def replay(self, position: Any) -> Iterator[LoggedWrite]:  # noqa: ARG002
        return iter(())

    def forget(self, position: Any) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""
