"""An object store in a directory, for a site without a bucket and for archives that exist already.

Writes go to a temporary file, are flushed to the disk with the directory entry, and take their place by
rename, so that a reader or a crash sees the old content or the new, never a part. Conditions are judged and
the rename is done under a lock on the parent directory, which holds between processes of one machine.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from typing import BinaryIO

from clustercockpit.errors import ConflictError, InvalidInputError, NotFoundError
from clustercockpit.storage.keys import TEMPORARY_PREFIX, checked_key, checked_prefix
from clustercockpit.storage.objects import StoredObject

_PUT_ATTEMPTS = 5


class DirectoryObjectStore:
    """ObjectStore over the files below `root`, which must exist. Keys are relative paths.

    The mark of a version (ETag) is made of the file's inode, time and size: every write makes a new file.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)

    def get(self, key: str) -> tuple[bytes, str]:
        with self._open(key) as file:
            return file.read(), _etag(os.fstat(file.fileno()))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        _check_range(start, length)
        with self._open(key) as file:
            file.seek(start)
            return file.read(length)

    def head(self, key: str) -> StoredObject | None:
        try:
            status = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if S_ISDIR(status.st_mode) else _stored(key, status)

    def put(
        self,
        key: str,
        content: bytes,
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        content_type: str = "application/octet-stream",  # noqa: ARG002 (files have none)
    ) -> str:
        path = self._path(key)
        for attempt in range(_PUT_ATTEMPTS):
            try:
                self._make_folder(path.parent)
                return self._replace(path, content, if_match=if_match, if_absent=if_absent)
            except FileNotFoundError:
                # A delete removed the folder as empty between our two steps.
                if attempt == _PUT_ATTEMPTS - 1 or not self._root.is_dir():
                    raise
            except (NotADirectoryError, FileExistsError, IsADirectoryError):
                raise InvalidInputError(
                    f"object key {key!r} cannot be both an object and a folder here"
                ) from None
        raise AssertionError("unreachable")

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except (IsADirectoryError, PermissionError):
            if path.is_dir():
                return
            raise
        _sync_folder(path.parent)
        # As in a bucket, a folder is only there as long as it holds something.
        for folder in path.parents:
            if folder == self._root:
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        checked_prefix(prefix)
        folder, _, start = prefix.rpartition("/")
        yield from self._walk(folder, start)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        checked_prefix(prefix)
        folder = prefix.removesuffix("/")
        for name, is_folder in self._entries(folder):
            if is_folder and any(True for _ in self._walk(f"{folder}/{name}" if folder else name, "")):
                yield name

    # Below: paths

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    @contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        try:
            file = self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(f"no object {key!r}") from None
        with file:
            yield file

    def _entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Names in a folder with whether they are folders, in the byte order of keys."""
        try:
            with os.scandir(self._root / folder if folder else self._root) as scan:
                found = [(entry.name, entry.is_dir()) for entry in scan]
        except (FileNotFoundError, NotADirectoryError):
            return
        # "a/…" sorts behind "a-…" and "a.…": a folder compares with its slash
        for name, is_folder in sorted(found, key=lambda item: os.fsencode(item[0] + "/" * item[1])):
            try:
                checked_key(name)
            except InvalidInputError:
                continue  # a stray file that no key can name
            yield name, is_folder

    def _walk(self, folder: str, start: str) -> Iterator[StoredObject]:
        for name, is_folder in self._entries(folder):
            if not name.startswith(start):
                continue
            key = f"{folder}/{name}" if folder else name
            if is_folder:
                yield from self._walk(key, "")
                continue
            try:
                status = (self._root / key).stat()
            except FileNotFoundError:
                continue  # deleted meanwhile, or a dangling link
            yield _stored(key, status)

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            if folder == self._root or self._root not in folder.parents:
                raise FileNotFoundError(f"the directory {self._root} does not exist")
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            with suppress(FileExistsError):
                path.mkdir()
            if not path.is_dir():
                raise NotADirectoryError(path)
            _sync_folder(path.parent)

    def _replace(self, path: Path, content: bytes, *, if_match: str | None, if_absent: bool) -> str:
        temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                etag = _etag(os.fstat(file.fileno()))
            with _locked(path.parent) as folder:
                if if_absent or if_match is not None:
                    current = self.head(path.relative_to(self._root).as_posix())
                    if if_absent and current is not None:
                        raise ConflictError(f"object {current.key!r} exists already")
                    if if_match is not None and (current is None or current.etag != if_match):
                        raise ConflictError(f"object {path.name!r} is not the version it was")
                temporary.rename(path)
                os.fsync(folder)
            return etag
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key=key, size=status.st_size, etag=_etag(status), modified=status.st_mtime)


def _check_range(start: int, length: int) -> None:
    if start < 0 or length < 0:
        raise InvalidInputError(f"byte range {start}+{length} is not one")
