"""Local copies of the index's objects, named by the hash in their key: never stale, fetched once."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from clustercockpit.storage.objects import ObjectStore


def private_folder(name: str, of: str = "") -> Path:
    """A folder for temporary files that is ours alone; the same for the same `name` and `of` where possible,
    so that processes of one machine share copies and a restarted one finds them again."""
    mark = f"-{hashlib.sha256(of.encode()).hexdigest()[:12]}" if of else ""
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}{mark}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix=f"{name}-"))


class FileCache:
    """Copies under one folder. Safe for threads and processes sharing it: a copy appears whole."""

    def __init__(self, objects: ObjectStore, folder: Path, *, parallel: int = 8) -> None:
        self._objects = objects
        self._folder = folder
        self._parallel = parallel
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        return self._folder

    def paths(self, keys: Iterable[str]) -> list[str]:
        """Paths of the copies, fetching those that are missing. NotFoundError if an object is gone."""
        wanted = list(keys)
        missing = [key for key in wanted if not self._path(key).exists()]
        if len(missing) == 1:
            self._fetch(missing[0])
        elif missing:
            with ThreadPoolExecutor(min(self._parallel, len(missing))) as pool:
                list(pool.map(self._fetch, missing))
        return [str(self._path(key)) for key in wanted]

    def keep(self, key: str, content: bytes) -> None:
        """Put a copy of what was just written."""
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        with os.fdopen(handle, "wb") as part:
            part.write(content)
        Path(name).replace(self._path(key))

    def forget(self, keep: Collection[str], *, older_than: float = 900.0) -> None:
        """Delete copies that are not among `keep` and were made more than so many seconds ago: until then a
        reader of the version before may still open them."""
        names = {self._path(key).name for key in keep}
        limit = time.time() - older_than
        for copy in self._folder.iterdir():
            try:
                if copy.name not in names and copy.is_file() and copy.stat().st_mtime < limit:
                    copy.unlink()
            except FileNotFoundError:  # another process was faster
                continue

    def _path(self, key: str) -> Path:
        return self._folder / key.rsplit("/", 1)[-1]

    def _fetch(self, key: str) -> None:
        content, _ = self._objects.get(key)
        self.keep(key, content)
