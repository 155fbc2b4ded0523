"""Tags in the table. Links between jobs and tags are written with the job (`jobs.py`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import TransactWriteError
from pynamodb.transactions import TransactWrite

from clustercockpit.errors import InvalidInputError, UnavailableError
from clustercockpit.jobs.model import Tag
from clustercockpit.storage.dynamodb.sequence import Sequence as NumberSequence
from clustercockpit.storage.dynamodb.table import Table, TableItem, failed_conditions

CACHE_SECONDS: Final = 60.0
LINK_SHARDS: Final = 8
_LONGEST: Final = 255


class TagItem(TableItem):
    """pk `TAG`, sk the id."""

    type = UnicodeAttribute()
    name = UnicodeAttribute()
    scope = UnicodeAttribute()


class UniqueTagItem(TableItem):
    """pk `TAGU#…` of type and name, sk the scope."""

    tag = NumberAttribute()


class TagLinkItem(TableItem):
    """pk of the job, sk `T#{tagid}`; `by_tag` finds it from the tag."""


def _length(word: str) -> int:
    return len(word.encode())


def link_partition(tag: int, shard: int) -> str:
    return f"T#{tag}#{shard}"


def tag_key(tag: int) -> str:
    return f"{tag:010d}"


def _unique_key(type: str, name: str) -> str:
    # The length keeps apart what a `#` in a word would join
    return f"TAGU#{len(type)}#{type}#{name}"


class DynamoTagStore:
    """`tags.ports.TagStore`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._ids = NumberSequence(table, "tag", 1)
        self._tags = table.model(TagItem)
        self._unique = table.model(UniqueTagItem)
        self._links = table.model(TagLinkItem)
        self._known: dict[int, Tag] = {}
        self._read_at = float("-inf")

    def all(self) -> Sequence[Tag]:
        if time.monotonic() - self._read_at > CACHE_SECONDS:
            self._read()
        return list(self._known.values())

    def by_ids(self, ids: Iterable[int]) -> tuple[Tag, ...]:
        wanted = list(ids)
        if not wanted:
            return ()
        if time.monotonic() - self._read_at > CACHE_SECONDS:
            self._read()
        elif any(id not in self._known for id in wanted) and time.monotonic() - self._read_at > 1:
            self._read()  # another process has just made one
        return tuple(self._known[id] for id in wanted if id in self._known)

    def _read(self) -> None:
        items = self._tags.query("TAG", consistent_read=True)
        self._known = {
            int(item.sk): Tag(type=item.type, name=item.name, scope=item.scope, id=int(item.sk))
            for item in items
        }
        self._read_at = time.monotonic()

    def find(self, type: str, name: str, scope: str) -> Tag | None:
        if not type or not name or max(_length(type), _length(name), _length(scope)) > _LONGEST:
            return None
        try:
            found = self._unique.get(_unique_key(type, name), scope, consistent_read=True)
        except self._unique.DoesNotExist:
            return None
        return Tag(type=type, name=name, scope=scope, id=int(found.tag))

    def find_or_create(self, type: str, name: str, scope: str) -> Tag:
        for word, value in (("type", type), ("name", name), ("scope", scope)):
            if not value or _length(value) > _LONGEST:
                raise InvalidInputError(f"tag {word} must have 1 to {_LONGEST} bytes of UTF-8")
        for _ in range(3):
            known = self.find(type, name, scope)
            if known is not None:
                return known
            tag = Tag(type=type, name=name, scope=scope, id=self._ids.next())

            def build(transaction: TransactWrite, tag: Tag = tag) -> None:
                transaction.save(
                    self._tags("TAG", tag_key(tag.id), type=type, name=name, scope=scope),
                    condition=self._tags.pk.does_not_exist(),
                )
                transaction.save(
                    self._unique(_unique_key(type, name), scope, tag=tag.id),
                    condition=self._unique.pk.does_not_exist(),
                )

            try:
                self._table.transact(build)
            except TransactWriteError as error:
                if not failed_conditions(error):
                    raise
                continue  # someone else made it meanwhile
            except UnavailableError:
                continue  # perhaps it is there all the same
            self._known[tag.id] = tag
            return tag
        raise UnavailableError("the tag could not be stored; try again")

    def delete(self, id: int) -> None:
        known = next((tag for tag in self.by_ids([id])), None)
        if known is None:
            return

        def build(transaction: TransactWrite) -> None:
            transaction.delete(self._tags("TAG", tag_key(id)))
            transaction.delete(self._unique(_unique_key(known.type, known.name), known.scope))

        self._table.transact(build)
        self._known.pop(id, None)

    def jobs_with(self, id: int) -> Iterable[int]:
        for shard in range(LINK_SHARDS):
            for link in self._links.by_tag.query(link_partition(id, shard)):
                yield int(link.pk.removeprefix("J#"))
