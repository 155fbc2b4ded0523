"""The change log as the job index reads it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from clustercockpit.index.rows import IndexRow
from clustercockpit.storage.dynamodb.changes import ChangeItem, ChangeRow, bucket_key, decode_change
from clustercockpit.storage.dynamodb.table import Table

log = logging.getLogger(__name__)


class DynamoDBChangeLog:
    """ChangeLog over the table's change rows."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, minute: int, shard: int) -> Sequence[IndexRow]:
        rows = []
        for item in self._table.model(ChangeItem).query(bucket_key(minute, shard), consistent_read=True):
            try:
                rows.append(index_row(decode_change(item)))
            except Exception:
                # The row is damaged or of a newer version: its job shows its older state, the others are well
                log.exception("change row %s/%s cannot be read", item.pk, item.sk)
        return rows


def index_row(change: ChangeRow) -> IndexRow:
    """What the index keeps of a change."""
    if change.job is None:
        return IndexRow.tombstone(change.id, change.ver, change.start_time)
    return IndexRow.of(change.job, job_name=change.job_name or None)
