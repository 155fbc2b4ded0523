"""The head of the job index: the one item that says which version is current."""

from __future__ import annotations

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import PutError

from clustercockpit.errors import ConflictError
from clustercockpit.index.ports import IndexHead
from clustercockpit.storage.dynamodb.table import Table, TableItem


class IndexHeadItem(TableItem):
    version = NumberAttribute()
    watermark = NumberAttribute()
    shards = NumberAttribute()
    manifest = UnicodeAttribute()


class DynamoDBIndexHeads:
    """IndexHeads in the item `IX`/`HEAD`."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self) -> IndexHead | None:
        model = self._table.model(IndexHeadItem)
        try:
            item = model.get("IX", "HEAD", consistent_read=True)
        except model.DoesNotExist:
            return None
        return IndexHead(int(item.version), int(item.watermark), int(item.shards), item.manifest)

    def replace(self, head: IndexHead, *, expected: int | None) -> None:
        model = self._table.model(IndexHeadItem)
        condition = model.version.does_not_exist() if expected is None else model.version == expected
        item = model(
            "IX",
            "HEAD",
            version=head.version,
            watermark=head.watermark,
            shards=head.shards,
            manifest=head.manifest,
        )
        try:
            item.save(condition=condition)
        except PutError as error:
            if error.cause_response_code == "ConditionalCheckFailedException":
                raise ConflictError("the index head was replaced meanwhile") from None
            raise
