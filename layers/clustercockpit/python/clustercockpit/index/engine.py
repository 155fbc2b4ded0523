"""The embedded database, set up for a small machine and hostile names.

One in-memory database per process; every piece of work takes a cursor of its own, because connections are
not safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


class Engine:
    """`memory_limit` in DuckDB's notation; beyond it work spills to `scratch`."""

    def __init__(self, scratch: Path, *, memory_limit: str = "1GB", threads: int = 2) -> None:
        import duckdb  # 0.2 s: only what asks questions pays for it

        self._database = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory_limit,
                "threads": threads,
                "temp_directory": str(scratch),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "preserve_insertion_order": False,
            },
        )
        # The files never change under their names
        self._database.execute("SET parquet_metadata_cache = true")

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one piece of work; its temporary tables go with it."""
        cursor = self._database.cursor()
        try:
            yield cursor
        finally:
            cursor.close()
