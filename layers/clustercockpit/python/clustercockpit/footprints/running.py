"""Lays the footprints of running jobs over the jobs a question found."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from clustercockpit.errors import InvalidInputError, NotFoundError, UnavailableError
from clustercockpit.footprints.snapshot import PREFIX, decode
from clustercockpit.jobs.model import Job, JobState
from clustercockpit.storage.objects import ObjectStore

LOOK_SECONDS: Final = 15.0
"""How often is looked for newer footprints; they are written once a minute at most."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class Footprints:
    """All clusters' at a time. Two are the same only if they are one object."""

    jobs: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # our id → key → value

    def over(self, job: Job) -> Job:
        """The job with its newest footprint if it is running and has one; what it brought itself stays
        where nothing newer is known."""
        if job.state is not JobState.RUNNING:
            return job
        values = self.jobs.get(job.id)
        return replace(job, footprint={**(job.footprint or {}), **values}) if values else job


NOTHING: Final = Footprints()


class RunningFootprints:
    """Reads what the footprint worker wrote: one listing every 15 s, and only the objects that changed. Never
    fails a question: what cannot be read now stays as it was. Safe for threads."""

    def __init__(self, objects: ObjectStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._clock = clock
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._parts: dict[str, tuple[str, Mapping[int, Mapping[str, float]]]] = {}  # key → ETag, values
        self._current = NOTHING

    def current(self) -> Footprints:
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._looked = self._clock()
                try:
                    self._look()
                except UnavailableError as error:
                    _log.warning("footprints of running jobs are not renewed: %s", error)
            return self._current

    def _look(self) -> None:
        parts: dict[str, tuple[str, Mapping[int, Mapping[str, float]]]] = {}
        for item in self._objects.list(PREFIX):
            known = self._parts.get(item.key)
            if known is not None and known[0] == item.etag:
                parts[item.key] = known
                continue
            try:
                content, etag = self._objects.get(item.key)
                parts[item.key] = etag, {id: job.values for id, job in decode(content).jobs.items()}
            except NotFoundError:
                continue
            except InvalidInputError as error:
                _log.warning("%s: %s", item.key, error)
                parts[item.key] = item.etag, {}
        if {key: part[0] for key, part in parts.items()} != {
            key: part[0] for key, part in self._parts.items()
        }:
            self._current = Footprints(
                {id: values for _, jobs in parts.values() for id, values in jobs.items()}
            )
        self._parts = parts
