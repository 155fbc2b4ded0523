"""The door of the job index: everything that filters, sorts and counts over all jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clustercockpit.access.model import JobVisibility
from clustercockpit.index.model import JobFilter, JobOrder, JobPage, Page


class JobIndex(Protocol):
    """Answers include every change committed before the call (segments, deltas and the overlay)."""

    def page(
        self,
        visibility: JobVisibility,
        filters: Sequence[JobFilter],
        order: JobOrder | None,
        page: Page,
        *,
        with_metadata: bool = False,
    ) -> JobPage: ...

    def count(self, visibility: JobVisibility, filters: Sequence[JobFilter]) -> int: ...
