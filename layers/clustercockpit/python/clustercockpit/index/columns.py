"""How rows of the index become Parquet: column types, and NDJSON as the way in.

A footprint key comes from outside and never is a column's name: the manifest numbers the keys in the order
they were first seen, and key number n stands in column `fn`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from clustercockpit.index.rows import IndexRow

SCALARS: Final[Mapping[str, str]] = {
    "id": "BIGINT",
    "ver": "BIGINT",
    "start_time": "BIGINT",
    "job_id": "BIGINT",
    "cluster": "VARCHAR",
    "sub_cluster": "VARCHAR",
    "partition": "VARCHAR",
    "user": "VARCHAR",
    "project": "VARCHAR",
    "array_job_id": "BIGINT",
    "state": "VARCHAR",
    "shared": "VARCHAR",
    "monitoring_status": "TINYINT",
    "submit_time": "BIGINT",
    "duration": "BIGINT",
    "walltime": "BIGINT",
    "num_nodes": "INTEGER",
    "num_hwthreads": "INTEGER",
    "num_acc": "INTEGER",
    "smt": "INTEGER",
    "energy": "DOUBLE",
    "job_name": "VARCHAR",
}
LISTS: Final[Mapping[str, str]] = {"hosts": "VARCHAR[]", "tags": "BIGINT[]"}
DELETED: Final = "deleted"


def types(footprints: int) -> dict[str, str]:
    """Column → DuckDB type, for rows with so many footprint keys. Segments lack `deleted`."""
    return {**SCALARS, **LISTS, DELETED: "BOOLEAN", **{f"f{n}": "DOUBLE" for n in range(footprints)}}


MOST_FOOTPRINTS: Final = 1000
"""Columns of footprints; whoever sends ever new names must not widen the index without end."""


class FootprintKeys:
    """The numbering of footprint keys. It only grows."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.numbers: dict[str, int] = {key: number for number, key in enumerate(known)}

    def number(self, key: str) -> int | None:
        """None for a new key when there are `MOST_FOOTPRINTS`: lists cannot ask for it."""
        if key not in self.numbers and len(self.numbers) >= MOST_FOOTPRINTS:
            return None
        return self.numbers.setdefault(key, len(self.numbers))

    def names(self) -> list[str]:
        return list(self.numbers)


def ndjson(rows: Iterable[IndexRow], keys: FootprintKeys) -> Iterator[bytes]:
    """Rows as lines of JSON; keys not met before get their number."""
    for row in rows:
        document: dict[str, Any] = {name: getattr(row, name) for name in SCALARS}
        document["hosts"] = row.hosts
        document["tags"] = row.tags
        document[DELETED] = row.deleted
        for key, value in row.footprint.items():
            number = keys.number(key)
            if number is not None:
                document[f"f{number}"] = value
        yield orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def read_ndjson(path_parameter: str, footprints: int) -> str:
    """A table function reading a file of `ndjson`; the path is a parameter of the statement."""
    columns = ", ".join(f"'{name}': '{type}'" for name, type in types(footprints).items())
    return (
        f"read_json({path_parameter}, format = 'newline_delimited', columns = {{{columns}}}, "
        "maximum_object_size = 67108864)"
    )
