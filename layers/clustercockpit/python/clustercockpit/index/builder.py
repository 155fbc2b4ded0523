"""Builds the job index from the change log, every minute; and from nothing, from the job store.

A run reads the buckets from two before the watermark to the last closed minute, folds them by id, writes one
delta per touched month and then the head, on the condition that nobody else did: of two builders the slower
one finds its objects orphaned and leaves. A delta that has grown is merged into its month's segment the same
way. Objects are named by their content and never change, so a crash anywhere leaves nothing half done.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from clustercockpit import figures
from clustercockpit.errors import ClusterCockpitError, ConflictError
from clustercockpit.index.columns import DELETED, FootprintKeys, ndjson, read_ndjson
from clustercockpit.index.files import FileCache
from clustercockpit.index.manifest import PREFIX, RECENT_MINUTES, IndexFile, Manifest, Month, content_key
from clustercockpit.index.overlay import LOOK_BACK_BUCKETS, last_closed
from clustercockpit.index.ports import ChangeLog, IndexHead, IndexHeads, JobScan
from clustercockpit.index.rows import IndexRow, month_of, newest
from clustercockpit.storage.objects import ObjectStore

if TYPE_CHECKING:
    from clustercockpit.index.engine import Engine
    from clustercockpit.site import Site

log = logging.getLogger(__name__)

BUCKETS_PER_STEP: Final = 60
"""Minutes read before the head is written, when catching up."""
LOG_LIFETIME_MINUTES: Final = 47 * 60
"""Change rows live 48 h; a head older than this cannot be caught up with and is built anew."""
DELTA_ROWS: Final = 2000
DELTA_SHARE: Final = 0.02
"""A delta larger than both, the latter of its segment, is merged."""
NEWEST: Final = "QUALIFY row_number() OVER (PARTITION BY id ORDER BY ver DESC) = 1"
ORPHAN_SECONDS: Final = 6 * 3600.0
"""Objects no version uses are deleted when older: readers of an old version and other builders are done."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a run did. `changes` counts jobs whose newer version was taken up."""

    version: int
    watermark: int
    changes: int = 0
    merged_months: int = 0
    rebuilt: bool = False
    lost: bool = False  # another builder was faster; its work stands


def run(site: Site) -> BuildReport:
    """The worker's entry: bring the index of an installation up to date."""
    return site.index_builder.run()


def run_measured(site: Site, function_name: str) -> BuildReport:
    """As `run`, and tell the alarms how far behind the index is, in seconds."""
    report = run(site)
    if not report.lost:
        age = time.time() - (report.watermark + 1) * 60
        figures.send("IndexWatermarkAge", age, "Seconds", dimensions={"FunctionName": function_name})
    return report


class IndexBuilder:
    def __init__(
        self,
        engine: Engine,
        objects: ObjectStore,
        heads: IndexHeads,
        changes: ChangeLog,
        scan: JobScan,
        folder: Path,
        *,
        shards: int,
        clock: Callable[[], float] = time.time,
        delta_rows: int = DELTA_ROWS,
    ) -> None:
        self._engine = engine
        self._objects = objects
        self._heads = heads
        self._changes = changes
        self._scan = scan
        self._files = FileCache(objects, folder)
        self._shards = shards
        self._clock = clock
        self._delta_rows = delta_rows

    def run(self) -> BuildReport:
        """Take up everything that is closed. Safe to run twice at a time."""
        head = self._heads.read()
        closed = last_closed(self._clock())
        try:
            if head is None or closed - head.watermark > LOG_LIFETIME_MINUTES:
                return self.rebuild()
            changes = merged = 0
            while True:
                head, taken, compacted = self._step(head, closed)
                changes += taken
                merged += compacted
                if head.watermark >= closed:
                    break
        except ConflictError:
            log.info("another index builder was faster")
            return BuildReport(version=-1, watermark=-1, lost=True)
        if merged:
            self._sweep()
        return BuildReport(head.version, head.watermark, changes, merged)

    def rebuild(self) -> BuildReport:
        """Build the index from the job store. Changes made meanwhile come after the watermark."""
        head = self._heads.read()
        watermark = last_closed(self._clock())
        keys = FootprintKeys()
        manifest = Manifest()
        rows = 0
        with tempfile.TemporaryDirectory(dir=self._files.folder) as folder, ExitStack() as stack:
            lines: dict[str, IO[bytes]] = {}
            for row in self._scan.rows():
                month = month_of(row.start_time)
                if month not in lines:
                    lines[month] = stack.enter_context((Path(folder) / month).open("wb"))
                lines[month].writelines(ndjson([row], keys))
                rows += 1
            for month, file in lines.items():
                file.close()
                source = f"SELECT * EXCLUDE ({DELETED}) FROM {read_ndjson('$rows', len(keys.numbers))}"
                # A scan that ran over a split or a retry may tell of a job twice
                source += f" {NEWEST}"
                manifest.months[month] = Month(self._write("segments", source, {"rows": file.name}))
        manifest.footprints = keys.names()
        written = self._publish(head, manifest, watermark)
        self._sweep()
        return BuildReport(written.version, watermark, rows, len(manifest.months), rebuilt=True)

    def _step(self, head: IndexHead, closed: int) -> tuple[IndexHead, int, int]:
        """Move the watermark by up to BUCKETS_PER_STEP minutes."""
        until = min(max(closed, head.watermark), head.watermark + BUCKETS_PER_STEP)
        manifest = self._manifest(head)
        shards = max(head.shards, self._shards)
        rows: dict[int, tuple[IndexRow, int]] = {}
        for minute in range(head.watermark + 1 - LOOK_BACK_BUCKETS, until + 1):
            found = newest(row for shard in range(shards) for row in self._changes.read(minute, shard))
            for id, row in found.items():
                if not manifest.applied(id, row.ver) and (id not in rows or row.ver > rows[id][0].ver):
                    rows[id] = (row, minute)
        if not rows and until == head.watermark and shards == head.shards:
            return head, 0, 0
        merged = self._apply([row for row, _ in rows.values()], manifest) if rows else 0
        manifest.recent.update({id: (row.ver, minute) for id, (row, minute) in rows.items()})
        if rows:
            # Late rows keep the minute they were filed under: forgetting them then is what the bound is for
            manifest.recent = {
                id: (ver, minute)
                for id, (ver, minute) in manifest.recent.items()
                if minute > until - RECENT_MINUTES
            }
        return self._publish(head, manifest, until, unchanged=not rows, shards=shards), len(rows), merged

    def _apply(self, rows: Iterable[IndexRow], manifest: Manifest) -> int:
        """Bring rows into the deltas of their months; returns how many months were merged."""
        by_month: defaultdict[str, list[IndexRow]] = defaultdict(list)
        for row in rows:
            by_month[month_of(row.start_time)].append(row)
        keys = FootprintKeys(manifest.footprints)
        merged = 0
        for name, changed in by_month.items():
            month = manifest.months.setdefault(name, Month())
            with tempfile.NamedTemporaryFile(dir=self._files.folder, suffix=".rows") as file:
                file.writelines(ndjson(changed, keys))
                file.flush()
                source = f"FROM {read_ndjson('$rows', len(keys.numbers))}"
                parameters: dict[str, object] = {"rows": file.name}
                if month.delta is not None:
                    source += " UNION ALL BY NAME FROM read_parquet($delta)"
                    parameters["delta"] = self._files.paths([month.delta.key])[0]
                source = f"SELECT * FROM ({source}) {NEWEST}"
                month.delta = self._write("deltas", source, parameters)
            if month.delta is not None and month.delta.rows > max(
                self._delta_rows, DELTA_SHARE * (month.segment.rows if month.segment else 0)
            ):
                self._merge(month)
                merged += 1
            if not month.files:
                del manifest.months[name]
        manifest.footprints = keys.names()
        return merged

    def _merge(self, month: Month) -> None:
        """Fold a month's delta into its segment. Tombstones go: their versions are remembered in `recent`
        until nobody can read an older row any more."""
        assert month.delta is not None
        parameters: dict[str, object] = {"delta": self._files.paths([month.delta.key])[0]}
        source = f"SELECT * EXCLUDE ({DELETED}) FROM read_parquet($delta) WHERE NOT {DELETED}"
        if month.segment is not None:
            parameters["segment"] = self._files.paths([month.segment.key])[0]
            source += (
                " UNION ALL BY NAME FROM read_parquet($segment)"
                " ANTI JOIN (SELECT id FROM read_parquet($delta)) USING (id)"
            )
        month.segment, month.delta = self._write("segments", source, parameters), None

    def _write(self, kind: str, source: str, parameters: dict[str, object]) -> IndexFile | None:
        """Write the rows of a query as an object sorted by start time; None if there are none."""
        with (
            tempfile.NamedTemporaryFile(dir=self._files.folder, suffix=".parquet") as file,
            self._engine.cursor() as cursor,
        ):
            cursor.execute(f"CREATE TEMP TABLE made AS {source}", parameters)
            measured = cursor.execute(
                "SELECT count(*), min(start_time), max(start_time) FROM made"
            ).fetchone()
            if measured is None or not measured[0]:
                return None
            cursor.execute(
                "COPY (FROM made ORDER BY start_time, id) TO $path "
                "(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 100000)",
                {"path": file.name},
            )
            content = Path(file.name).read_bytes()
        key = content_key(kind, content, ".parquet")
        self._objects.put(key, content, content_type="application/vnd.apache.parquet")
        self._files.keep(key, content)
        return IndexFile(key, *measured)

    def _manifest(self, head: IndexHead) -> Manifest:
        return Manifest.decode(Path(self._files.paths([head.manifest])[0]).read_bytes())

    def _publish(
        self,
        head: IndexHead | None,
        manifest: Manifest,
        watermark: int,
        *,
        unchanged: bool = False,
        shards: int | None = None,
    ) -> IndexHead:
        """Make a version the current one. ConflictError if another was made since `head`."""
        if unchanged and head is not None:
            key = head.manifest
        else:
            content = manifest.encode()
            key = content_key("manifests", content, ".json")
            self._objects.put(key, content, content_type="application/json")
            self._files.keep(key, content)
        made = IndexHead(
            version=head.version + 1 if head else 1,
            watermark=watermark,
            shards=max(shards or self._shards, head.shards if head else 0),
            manifest=key,
        )
        self._heads.replace(made, expected=head.version if head else None)
        return made

    def _sweep(self) -> None:
        """Delete objects that the current version does not consist of and that are old. What cannot be
        deleted now is deleted another time: the index is well without."""
        head = self._heads.read()
        if head is None:
            return
        used = {*self._manifest(head).keys(), head.manifest}
        limit = self._clock() - ORPHAN_SECONDS
        try:
            for stored in list(self._objects.list(PREFIX)):
                if stored.key not in used and stored.modified < limit:
                    self._objects.delete(stored.key)
        except ClusterCockpitError as error:
            log.warning("old objects of the job index cannot be deleted: %s", error)
        self._files.forget(used)
