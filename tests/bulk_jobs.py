"""Thousands of running jobs in a table within seconds, for questions about many jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from clustercockpit.jobs.model import Job
from clustercockpit.site import Site


class _Collecting:
    """Takes what a transaction would write, to be written in bulk."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def save(self, item: Any, **_: Any) -> None:
        self.items.append(item)

    def update(self, *_: Any, **__: Any) -> None:
        return


def start_in_bulk(site: Site, jobs: Iterable[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Store running jobs as `JobStore.start` does, but without transactions, which an emulated table takes
    one at a time. Their start guards are left out."""
    collecting = _Collecting()
    with monkeypatch.context() as bulk:
        bulk.setattr(site.table, "transact", lambda build: build(collecting))
        for job in jobs:
            site.jobs.start(job)
    by_class: dict[type[Any], list[Any]] = {}
    for item in collecting.items:
        by_class.setdefault(type(item), []).append(item)
    for item_class, items in by_class.items():
        with item_class.batch_write() as batch:
            for item in items:
                batch.save(item)
