"""The port of object storage: a bucket, or a directory that behaves like one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    key: str
    size: int
    etag: str
    modified: float  # Unix seconds


class ObjectStore(Protocol):
    """Keys are `/`-separated, relative, without `..`; a hostile key raises InvalidInputError."""

    def get(self, key: str) -> tuple[bytes, str]:
        """Content and ETag. NotFoundError."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes: ...

    def head(self, key: str) -> StoredObject | None: ...

    def put(
        self,
        key: str,
        content: bytes,
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Write whole or not at all; returns the ETag. ConflictError if the condition fails."""
        ...

    def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """In byte order of the keys."""
        ...

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """Names of the next level below `prefix` that hold further keys."""
        ...
