"""Every job of the table as the index keeps it: what a rebuild starts from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Final

from clustercockpit.index.rows import IndexRow
from clustercockpit.jobs.model import Tag
from clustercockpit.storage.dynamodb.job_items import CORE, RESOURCES, JobItem, JobItems
from clustercockpit.storage.dynamodb.table import Table

log = logging.getLogger(__name__)

_BATCH: Final = 500


class DynamoDBJobScan:
    """JobScan over the whole table: about 70,000 read units per million jobs."""

    def __init__(self, table: Table) -> None:
        # Names of tags are not needed, and a tag deleted meanwhile must not change what a job carries
        self._items = JobItems(table, lambda ids: tuple(Tag("", "", id=id) for id in ids))

    def rows(self) -> Iterator[IndexRow]:
        core = self._items.core
        scan = iter(core.scan(filter_condition=core.sk == CORE, consistent_read=True))
        while batch := list(islice(scan, _BATCH)):
            yield from self._rows(batch)

    def _rows(self, cores: list[JobItem]) -> Iterator[IndexRow]:
        keys = [(core.pk, RESOURCES) for core in cores if core.resources is None]
        found = self._items.chunk.batch_get(keys, consistent_read=True) if keys else ()
        packed = {item.pk: item.data for item in found}
        for core in cores:
            try:
                job = self._items.job(core, packed=packed.get(core.pk))
                row = IndexRow.of(job, job_name=core.job_name or None)
            except Exception:
                log.exception("job item %s cannot be read and is left out of the index", core.pk)
                continue
            yield row
