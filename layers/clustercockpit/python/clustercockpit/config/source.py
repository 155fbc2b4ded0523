"""Where the documents of the configuration lie, and following their changes.

A place is a directory with `config.json`, or the data bucket's `config/`. Changes are looked for every
60 s by their ETags; a document that became invalid is reported, and the last good one goes on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clustercockpit.config.configuration import Configuration, parse
from clustercockpit.errors import ConfigurationError, InvalidInputError, NotFoundError
from clustercockpit.storage.objects import ObjectStore

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0


class Place(Protocol):
    """Files named relative to the main document."""

    @property
    def main(self) -> str: ...

    def describe(self, name: str) -> str: ...

    def read(self, name: str) -> bytes | None: ...

    def etag(self, name: str) -> str:
        """Changes with the content; empty if there is no such file."""
        ...


@dataclass(frozen=True)
class FilePlace:
    """A file on disk; what it names is looked for beside it, then in the working directory."""

    path: Path

    @property
    def main(self) -> str:
        return self.path.name

    def describe(self, name: str) -> str:
        return str(self._find(name) or self.path.parent / name)

    def read(self, name: str) -> bytes | None:
        found = self._find(name)
        try:
            return found.read_bytes() if found is not None else None
        except OSError as error:
            raise ConfigurationError(f"{found} cannot be read: {type(error).__name__}") from None

    def etag(self, name: str) -> str:
        found = self._find(name)
        if found is None:
            return ""
        status = found.stat()
        return f"{found}:{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"

    def _find(self, name: str) -> Path | None:
        for folder in (self.path.parent, Path.cwd()):
            candidate = folder / name
            if candidate.is_file():
                return candidate
        return None


@dataclass(frozen=True)
class ObjectPlace:
    """A prefix of a bucket."""

    store: ObjectStore
    prefix: str = "config/"
    main: str = "config.json"

    def describe(self, name: str) -> str:
        return self.prefix + name.removeprefix("./")

    def read(self, name: str) -> bytes | None:
        try:
            return self.store.get(self.describe(name))[0]
        except NotFoundError:
            return None
        except InvalidInputError:
            raise ConfigurationError(f"{name} cannot be the name of an object below {self.prefix}") from None

    def etag(self, name: str) -> str:
        found = self.store.head(self.describe(name))
        return found.etag if found is not None else ""


class ConfigurationSource:
    """The configuration that holds now. `place` None, or a place without a main document, means defaults."""

    def __init__(
        self,
        place: Place | None,
        *,
        required: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._required = required
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Configuration | None = None
        self._etags: dict[str, str] = {}
        self._checked = -CHECK_SECONDS

    @property
    def due(self) -> bool:
        """Whether `current` will look at the documents, which may block."""
        return self._current is None or self._clock() - self._checked >= CHECK_SECONDS

    def known(self) -> Configuration:
        """What held when it was last looked at. Blocks only the first time."""
        return self._current or self.current()

    def current(self) -> Configuration:
        """Raises ConfigurationError only while there never was a good one."""
        current = self._current
        if current is not None and not self.due:
            return current
        with self._lock:
            current = self._current
            if current is None:
                current = self._read()
                for warning in current.warnings:
                    log.warning("%s", warning)
            elif self.due:
                current = self._followed(current)
            self._current, self._checked = current, self._clock()
            return current

    def _followed(self, current: Configuration) -> Configuration:
        place = self._place
        try:
            if place is None or all(place.etag(name) == etag for name, etag in self._etags.items()):
                return current
            changed = self._read()
            log.info("the configuration changed and holds from now on")
        except ConfigurationError as error:
            log.error("the changed configuration is not used, the last good one goes on: %s", error)
        except Exception:
            # The documents' store does not answer: keep what we have.
            log.exception("the configuration could not be looked at, the last good one goes on")
        else:
            return changed
        return current

    def _read(self) -> Configuration:
        place = self._place
        if place is None:
            return Configuration()
        etags = {place.main: place.etag(place.main)}
        content = place.read(place.main)
        if content is None:
            if self._required:
                raise ConfigurationError(
                    f"{place.describe(place.main)} does not exist; `cc-backend -init` writes one"
                )
            self._etags = etags
            return Configuration()

        def reference(name: str) -> bytes | None:
            etags[name] = place.etag(name)
            return place.read(name)

        try:
            configuration = parse(content, place.describe(place.main), reference)
        finally:
            # Also of a bad document: it is looked at again when it changes, not every minute.
            self._etags = etags
        return configuration


def place_of(config_file: str, data_objects: Callable[[], ObjectStore] | None) -> Place | None:
    """The place a setting names: a file, a directory holding `config.json`, or, where it is empty, the data
    bucket."""
    if config_file:
        path = Path(config_file)
        return FilePlace(path / "config.json" if path.is_dir() else Path(os.path.abspath(path)))  # noqa: PTH100
    return ObjectPlace(data_objects()) if data_objects is not None else None
