"""Segments of the write log: their bytes, and where they are kept.

    segment  "CCL1", u32 format, u64 owner epoch, u64 owner token, u64 number of the first entry; records
    record   u32 magic, u32 length and u32 CRC-32 of what follows; u64 number, i64 arrival (Unix seconds),
             u8 compression (0 none, 1 zstd), u8 zero, u16 length of the cluster's name; name; payload

All little-endian. Entries are numbered without gaps over the life of the store, segments likewise. A segment
is written by one owner only; a restart begins a new one behind whatever the crash left. An entry that was
written twice, because its first commit gave no answer, has the same number both times.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from cc_metric_store.durability import LoggedWrite, OwnershipLostError
from clustercockpit.errors import ConflictError, NotFoundError
from clustercockpit.storage.objects import ObjectStore

logger = logging.getLogger(__name__)

FORMAT = 1
SEGMENT_BYTES = 64 * 1024 * 1024
MOST_PAYLOAD = 64 * 1024 * 1024
_MAGIC = b"CCL1"
_RECORD_MAGIC = 0xCC10A7A1
_HEADER = struct.Struct("<4sIQQQ")
_FRAME = struct.Struct("<III")
_ENTRY = struct.Struct("<QqBBH")
_COMPRESS_FROM = 512
_SUFFIX = ".ccl"


# --- bytes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    epoch: int
    token: int
    first: int

    def encode(self) -> bytes:
        return _HEADER.pack(_MAGIC, FORMAT, self.epoch, self.token, self.first)

    @classmethod
    def decode(cls, content: bytes) -> Header | None:
        """None for what is no segment of this format (a file that a crash left empty, say)."""
        if len(content) < _HEADER.size:
            return None
        magic, number, epoch, token, first = _HEADER.unpack_from(content)
        return cls(epoch, token, first) if magic == _MAGIC and number == FORMAT else None


def encode_record(number: int, write: LoggedWrite, packer: zstandard.ZstdCompressor) -> bytes:
    payload, compression = write.payload, 0
    if len(payload) >= _COMPRESS_FROM:
        payload, compression = packer.compress(payload), 1
    cluster = write.cluster.encode()
    entry = _ENTRY.pack(number, write.arrival, compression, 0, len(cluster)) + cluster + payload
    return _FRAME.pack(_RECORD_MAGIC, len(entry), zlib.crc32(entry)) + entry


def read_records(content: bytes) -> Iterator[tuple[int, LoggedWrite] | None]:
    """The entries of a segment with their numbers; None for each stretch of damage that is skipped. A torn
    tail is such a stretch too: nobody was told that it is kept."""
    marker = struct.pack("<I", _RECORD_MAGIC)
    unpacker = zstandard.ZstdDecompressor()
    position = _HEADER.size
    damaged = False
    while position < len(content):
        record = _record_at(content, position, unpacker)
        if record is not None:
            damaged = False
            number, write, position = record
            yield number, write
            continue
        if not damaged:
            damaged = True
            yield None
        position = content.find(marker, position + 1)
        if position < 0:
            return


def _record_at(
    content: bytes, position: int, unpacker: zstandard.ZstdDecompressor
) -> tuple[int, LoggedWrite, int] | None:
    start = position + _FRAME.size
    if start + _ENTRY.size > len(content):
        return None
    magic, length, checksum = _FRAME.unpack_from(content, position)
    if magic != _RECORD_MAGIC or length < _ENTRY.size or start + length > len(content):
        return None
    entry = content[start : start + length]
    if zlib.crc32(entry) != checksum:
        return None
    number, arrival, compression, _, size = _ENTRY.unpack_from(entry)
    cluster, payload = entry[_ENTRY.size : _ENTRY.size + size], entry[_ENTRY.size + size :]
    try:
        if compression:
            payload = unpacker.decompress(payload, MOST_PAYLOAD)
        return number, LoggedWrite(payload, cluster.decode(), arrival), start + length
    except (zstandard.ZstdError, UnicodeDecodeError):
        return None


# --- places ----------------------------------------------------------------------------------------


class Segments(Protocol):
    """Where segments are kept. One thread calls `commit`; the others may be called beside it."""

    def acquire(self, stopped: Callable[[], bool]) -> None:
        """Wait until no other process of this machine writes here. OwnershipLostError if one stays."""
        ...

    def names(self) -> list[str]:
        """The segments there are, oldest first."""
        ...

    def read(self, name: str) -> bytes:
        """NotFoundError, UnavailableError, OSError."""
        ...

    def begin(self, header: Header) -> None:
        """Become the writer: behind this every commit of an earlier one fails."""
        ...

    def commit(self, records: bytes, first: int) -> str:
        """Return the segment's name once the records would survive a crash. OSError, UnavailableError: they
        may or may not be kept, and are to be committed again. OwnershipLostError: another is the writer."""
        ...

    def roll(self) -> None:
        """Begin a new segment with the next commit."""
        ...

    def delete(self, name: str) -> None: ...

    def close(self) -> None: ...


def _number(name: str) -> int:
    return int(name.removesuffix(_SUFFIX))


def _name(number: int) -> str:
    return f"{number:012d}{_SUFFIX}"


def _ordered(names: Iterator[str]) -> list[str]:
    return sorted(n for n in names if n.endswith(_SUFFIX) and n.removesuffix(_SUFFIX).isdigit())


class DirectorySegments:
    """Files of a local directory, appended to. With `fsync` a commit survives a power loss, without it the
    end of the process only. The directory's lock file keeps a second process of the machine out."""

    def __init__(self, folder: Path, *, fsync: bool = True, wait: float = 30.0) -> None:
        self.folder = folder
        self.fsync = fsync
        self._wait = wait
        self._lock: int | None = None
        self._file: int | None = None
        self._size = 0
        self._last = 0
        self._header = Header(0, 0, 0)
        self._rolls = False

    def acquire(self, stopped: Callable[[], bool]) -> None:
        if self._lock is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        limit = time.monotonic() + self._wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if stopped() or time.monotonic() > limit:
                    os.close(handle)
                    raise OwnershipLostError(
                        f"another process writes the log in {self.folder}: there must be one store only"
                    ) from None
                time.sleep(0.1)
            else:
                self._lock = handle
                return

    def names(self) -> list[str]:
        return _ordered(entry.name for entry in os.scandir(self.folder)) if self.folder.is_dir() else []

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"no log segment {name}") from None

    def begin(self, header: Header) -> None:
        self._header = header
        names = self.names()
        self._last = _number(names[-1]) if names else 0

    def commit(self, records: bytes, first: int) -> str:
        if self._file is not None and (self._rolls or self._size >= SEGMENT_BYTES):
            self._let_go()
        self._rolls = False
        if self._file is None:
            self._begin_file(first)
        handle = self._file
        assert handle is not None
        try:
            _write_all(handle, records)
            if self.fsync:
                os.fdatasync(handle)
        except OSError:
            # What a failed flush left behind nobody knows: the same records go to a new file
            self._let_go(keep=self._size)
            raise
        self._size += len(records)
        return _name(self._last)

    def _begin_file(self, first: int) -> None:
        path = self.folder / _name(self._last + 1)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            head = Header(self._header.epoch, self._header.token, first).encode()
            _write_all(handle, head)
            if self.fsync:
                os.fdatasync(handle)
                folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError:
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._last += 1
        self._file, self._size = handle, len(head)

    def _let_go(self, keep: int | None = None) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if keep is not None:
                os.ftruncate(self._file, keep)
        with contextlib.suppress(OSError):
            os.close(self._file)
        self._file = None

    def roll(self) -> None:
        self._rolls = True

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).unlink()

    def close(self) -> None:
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class ObjectSegments:
    """An object per commit, each put under the next number only if that is free: where two processes write,
    the one that took over later has put a segment where the other's next one would go."""

    def __init__(self, objects: ObjectStore, prefix: str) -> None:
        self._objects = objects
        self._prefix = prefix
        self._last = 0
        self._header = Header(0, 0, 0)

    def acquire(self, stopped: Callable[[], bool]) -> None:
        """Nothing: `begin` fences the others off."""

    def names(self) -> list[str]:
        start = len(self._prefix) + 1
        return _ordered(item.key[start:] for item in self._objects.list(self._prefix + "/"))

    def read(self, name: str) -> bytes:
        return self._objects.get(f"{self._prefix}/{name}")[0]

    def begin(self, header: Header) -> None:
        self._header = header
        names = self.names()
        self._last = _number(names[-1]) if names else 0
        while True:
            try:
                self._put(self._last + 1, header.encode())
            except ConflictError:
                self._last += 1  # the writer before us was quicker: its segment counts
            else:
                self._last += 1
                return

    def commit(self, records: bytes, first: int) -> str:
        content = Header(self._header.epoch, self._header.token, first).encode() + records
        while True:
            try:
                self._put(self._last + 1, content)
            except ConflictError:
                found = Header.decode(self.read(_name(self._last + 1)))
                if found is None or (found.epoch, found.token) != (self._header.epoch, self._header.token):
                    raise OwnershipLostError(
                        f"log segment {self._last + 1} was written by another process: "
                        "there must be one writer only"
                    ) from None
                self._last += 1  # our own, from a put that gave no answer
            else:
                self._last += 1
                return _name(self._last)

    def _put(self, number: int, content: bytes) -> None:
        self._objects.put(f"{self._prefix}/{_name(number)}", content, if_absent=True)

    def roll(self) -> None:
        """Nothing: every commit is a segment."""

    def delete(self, name: str) -> None:
        self._objects.delete(f"{self._prefix}/{name}")

    def close(self) -> None:
        """Nothing is open."""


def new_token() -> int:
    """Tells apart two processes that think they have the same epoch."""
    return secrets.randbits(63)


def _write_all(handle: int, content: bytes | Sequence[int]) -> None:
    view = memoryview(bytes(content))
    while view:
        view = view[os.write(handle, view) :]
