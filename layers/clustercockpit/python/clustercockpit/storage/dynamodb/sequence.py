"""Numbers that are never used twice."""

from __future__ import annotations

import threading

from pynamodb.attributes import NumberAttribute

from clustercockpit.errors import UnavailableError
from clustercockpit.storage.dynamodb.table import Table, TableItem

_LARGEST = 2**31 - 1  # GraphQL's Int


class _SequenceItem(TableItem):
    last = NumberAttribute()


class Sequence:
    """Hands out numbers from 1 up, taken from the table in blocks. Unique over all processes, ascending
    within one; what is left of a block when a process ends is lost."""

    def __init__(self, table: Table, name: str, block: int) -> None:
        self._table = table
        self._name = name
        self._block = block
        self._lock = threading.Lock()
        self._next, self._end = 1, 0

    def next(self) -> int:
        """The next number. UnavailableError when there are none left."""
        with self._lock:
            if self._next > self._end:
                item = self._table.model(_SequenceItem)("SYS", f"SEQ#{self._name}")
                item.update(actions=[_SequenceItem.last.add(self._block)])
                self._end = int(item.last)
                self._next = self._end - self._block + 1
            number = self._next
            if number > _LARGEST:
                raise UnavailableError(f"no {self._name} ids are left")
            self._next += 1
            return number
