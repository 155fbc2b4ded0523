from __future__ import annotations

import pytest
from pynamodb.attributes import NumberAttribute
from pynamodb.exceptions import TransactWriteError
from pynamodb.transactions import TransactWrite

from clustercockpit.storage.dynamodb.table import Table, TableItem, failed_conditions


class _Thing(TableItem):
    size = NumberAttribute(default=0)


def test_items_of_a_bound_class_come_back(dynamodb_table: Table) -> None:
    thing = dynamodb_table.model(_Thing)
    thing("A", "1", size=7, g1p="R#c", g1s=-5).save()
    assert thing.get("A", "1", consistent_read=True).size == 7
    assert [found.size for found in thing.lifecycle.query("R#c")] == [7]


def test_binding_twice_gives_the_same_class(dynamodb_table: Table) -> None:
    assert dynamodb_table.model(_Thing) is dynamodb_table.model(_Thing)


def test_a_failed_condition_is_told_apart(dynamodb_table: Table) -> None:
    thing = dynamodb_table.model(_Thing)

    def build(transaction: TransactWrite) -> None:
        transaction.save(thing("A", "1", size=1), condition=thing.pk.does_not_exist())

    dynamodb_table.transact(build)
    with pytest.raises(TransactWriteError) as caught:
        dynamodb_table.transact(build)
    assert failed_conditions(caught.value)
