"""Checkpoints: the blocks of a window as a few large objects, and a manifest that says which are valid.

An object holds one window of one time step for many hosts and describes itself: names, rows and phases come
with the samples, so that restore needs nothing else. The manifest is replaced with If-Match only and carries
an owner epoch: of two processes that think they are the store, the second to write wins and the first ends.

    objects    {prefix}/{timestep}-{window start}/{epoch}-{number}-{part}.ccb
    manifest   {prefix}/manifest.json

`docs/metric-store.md` describes the bytes.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from cc_metric_store import codec
from cc_metric_store.blocks import Block, Sealed
from cc_metric_store.checkpoint_objects import COLUMNS, ObjectBuilder, StoredBlock, read_object, window_of
from cc_metric_store.durability import OwnershipLostError
from cc_metric_store.engine import Engine
from cc_metric_store.series import Host
from clustercockpit.errors import ConflictError, NotFoundError, UnavailableError
from clustercockpit.storage.objects import ObjectStore

logger = logging.getLogger(__name__)

FORMAT = 1
PART_BYTES = 32 * 1024 * 1024
_FETCH_ATTEMPTS = 30
_NAME = re.compile(r"/(\d+)-(\d+)-(\d+)\.ccb$")


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One checkpoint object as the manifest lists it. Times in Unix seconds."""

    key: str
    size: int
    sha256: str
    timestep: int
    window: int
    slots: int

    @property
    def end(self) -> int:
        return (self.window + 1) * self.slots * self.timestep

    @property
    def order(self) -> tuple[int, ...]:
        """Epoch, number and part: of two objects of one window the later is right."""
        name = _NAME.search(self.key)
        return tuple(int(number) for number in name.groups()) if name else ()


@dataclass(slots=True)
class Manifest:
    epoch: int = 0
    number: int = 0  # of the checkpoint
    written: float = 0.0
    positions: dict[str, Any] = field(default_factory=dict)  # per source: what is contained up to where
    objects: list[ObjectEntry] = field(default_factory=list)
    owner: str = ""  # tells apart two processes that raised the same epoch

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "format": FORMAT,
                "epoch": self.epoch,
                "owner": self.owner,
                "number": self.number,
                "written": self.written,
                "positions": self.positions,
                "objects": [
                    {
                        "key": o.key, "size": o.size, "sha256": o.sha256, "timestep": o.timestep,
                        "window": o.window, "slots": o.slots,
                    }
                    for o in self.objects
                ],
            },
            option=orjson.OPT_INDENT_2,
        )  # fmt: skip

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """Raises ValueError for anything that is not a manifest of this format."""
        document = orjson.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"checkpoint format {document['format']} is not known")
        return cls(
            document["epoch"],
            document["number"],
            document["written"],
            document["positions"],
            [ObjectEntry(**item) for item in document["objects"]],
            document.get("owner", ""),
        )


@dataclass(slots=True)
class RestoreReport:
    objects: int = 0
    blocks: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)


class Checkpointer:
    """Writes and restores the checkpoints of one engine; a second `write` waits for the first."""

    def __init__(self, engine: Engine, objects: ObjectStore, prefix: str = "checkpoints/0") -> None:
        self.engine = engine
        self.objects = objects
        self.prefix = prefix
        self.manifest = Manifest()
        self.failures = 0
        self._etag: str | None = None
        # Of the object being restored: its names and components as this engine numbers them
        self._names: tuple[list[str], NDArray[np.int32], NDArray[np.int32]] | None = None
        self._owner = secrets.token_hex(8)
        self._attempt = 0  # number of the last checkpoint tried: keys of a failed one are not used again
        self._garbage: set[str] = set()
        self._writing = threading.Lock()  # the last checkpoint may meet one that is under way

    @property
    def manifest_key(self) -> str:
        return f"{self.prefix}/manifest.json"

    # --- start -----------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Become the owner: read the manifest and raise its epoch. A broken manifest is kept aside.

        Raises OwnershipLostError if another process does the same at this moment.
        """
        try:
            content, self._etag = self.objects.get(self.manifest_key)
        except NotFoundError:
            self.manifest, self._etag = self._from_objects(), None
        else:
            try:
                self.manifest = Manifest.decode(content)
            except (ValueError, KeyError, TypeError) as error:
                logger.error("manifest %s is damaged (%s): made anew", self.manifest_key, error)
                self.objects.put(f"{self.prefix}/damaged-manifest-{self._etag.strip(chr(34))}.json", content)
                self.manifest = self._from_objects()
        self.manifest.epoch += 1
        self.manifest.owner = self._owner
        self._attempt = self.manifest.number
        self._commit(self.manifest)

    def _from_objects(self) -> Manifest:
        """A manifest of whatever objects there are, for want of a better one. The sources' positions are lost
        with it: they are read again as far back as they go, which changes nothing that is contained."""
        made = Manifest()
        for item in self.objects.list(self.prefix + "/"):
            name = _NAME.search(item.key)
            if name is None:
                continue
            try:
                content, _ = self.objects.get(item.key)
                timestep, window, slots = window_of(content)
            except (NotFoundError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
                logger.error("%s cannot be read (%s): left out", item.key, error)
                continue
            digest = hashlib.sha256(content).hexdigest()
            made.objects.append(ObjectEntry(item.key, len(content), digest, timestep, window, slots))
            made.epoch, made.number = max(made.epoch, int(name[1])), max(made.number, int(name[2]))
        if made.objects:
            logger.error("there was no usable manifest: one was made from %d objects", len(made.objects))
        return made

    def restore(
        self,
        workers: int = 8,
        protected: frozenset[tuple[str, str]] = frozenset(),
        *,
        everything: bool = False,
    ) -> RestoreReport:
        """Read all objects that reach into the retention, in parallel, and what older ones hold of protected
        hosts, or `everything` they hold. What is damaged costs only itself."""
        report = RestoreReport()
        oldest = int(self.engine.clock()) - self.engine.limits.retention
        # Newest first: their rows are a superset of those of older windows, so that row numbers agree.
        entries = sorted(
            (e for e in self.manifest.objects if e.end > oldest or protected or everything),
            key=lambda e: (-e.end, e.order),
        )
        with ThreadPoolExecutor(workers, "restore") as pool:
            ahead: deque[Future[tuple[bytes, bool] | str]] = deque()
            waiting = iter(entries)
            for entry in entries:
                # A few objects ahead: reading all of them at once would take twice the memory
                ahead.extend(pool.submit(self._fetch, e) for e in islice(waiting, 2 * workers - len(ahead)))
                found = ahead.popleft().result()
                if isinstance(found, str):
                    report.damaged.append(found)
                    continue
                content, whole = found
                report.objects += 1
                report.bytes += len(content)
                if not whole:
                    report.damaged.append(f"{entry.key}: checksum differs; its good blocks are used")
                try:
                    for stored in read_object(content):
                        if stored is None:
                            report.damaged.append(f"{entry.key}: a block with a wrong checksum is left out")
                        elif everything or entry.end > oldest or (stored.cluster, stored.host) in protected:
                            self._take(stored)
                            report.blocks += 1
                except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
                    report.damaged.append(f"{entry.key}: unreadable ({error})")
        for line in report.damaged:
            logger.error("restore: %s", line)
        return report

    def _fetch(self, entry: ObjectEntry) -> tuple[bytes, bool] | str:
        for attempt in range(_FETCH_ATTEMPTS):
            try:
                content, _ = self.objects.get(entry.key)
                return content, hashlib.sha256(content).hexdigest() == entry.sha256
            except NotFoundError:
                return f"{entry.key}: object is missing"
            except (UnavailableError, OSError) as error:
                # What cannot be reached is not lost: to go on without it would make it so
                if attempt == _FETCH_ATTEMPTS - 1:
                    raise
                logger.warning("restore: %s cannot be read now (%s): trying again", entry.key, error)
                time.sleep(min(0.05 * 2**attempt, 5.0))
        raise AssertionError("unreachable")

    def _take(self, stored: StoredBlock) -> None:
        """Put one stored block in its place in the engine."""
        engine = self.engine
        with engine.lock:
            host = engine.host(stored.cluster, stored.host)
            block = engine.block_of(host, stored.timestep)
            if block.slots != stored.slots:
                self._take_resliced(stored, host)
                return
            series = self._series(stored, host)
            rows = engine.series.row[series]
            count = len(rows)
            # The rows' order is that of the block but where a later object had further rows first
            in_order = np.array_equal(rows, np.arange(count))
            is_open = block.window_end(stored.window) + engine.limits.future > engine.clock()
            if in_order and not is_open:
                block.sealed[stored.window] = Sealed(count, stored.data)
                return
            matrix = np.full((block.rows, block.slots), np.nan)
            matrix[rows] = codec.decode(stored.data, codec.Layout.of(stored.columns["name"]))
            if not (is_open and engine.store.restore_open(block, stored.window, matrix)):
                block.sealed[stored.window] = engine.store.encode_rows(block, matrix, block.rows)

    def _take_resliced(self, stored: StoredBlock, host: Host) -> None:
        """A window of another length (a changed setting): sample by sample into today's windows."""
        engine = self.engine
        series = self._series(stored, host)
        block = engine.block_of(host, stored.timestep)
        matrix = codec.decode(stored.data, codec.Layout.of(stored.columns["name"]))
        for row, column in zip(*np.nonzero(~np.isnan(matrix)), strict=True):
            slot = stored.window * stored.slots + int(column)
            engine.store.write(block, int(engine.series.row[series[row]]), slot, float(matrix[row, column]))

    def _series(self, stored: StoredBlock, host: Host) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The series of the stored rows, made where they are new, with the younger of both phases."""
        engine, columns = self.engine, stored.columns
        if self._names is None or self._names[0] is not stored.metrics:
            names = engine.names
            self._names = (
                stored.metrics,
                np.array([names.metric(name) for name in stored.metrics], np.int32),
                np.array([names.component(*component) for component in stored.components], np.int32),
            )
        metrics, components = self._names[1][columns["name"]], self._names[2][columns["component"]]
        count = len(metrics)
        block = engine.block_of(host, stored.timestep)
        known = engine.store.directory(block)
        if np.array_equal(known.names[:count], metrics) and np.array_equal(
            known.components[:count], components
        ):
            series = block.series[:count].astype(np.int64)
        else:
            pairs = zip(metrics.tolist(), components.tolist(), strict=True)
            series = np.array([engine.add_series(host, m, c, stored.timestep) for m, c in pairs], np.int64)
        newer = columns["last_slot"] > engine.series.last_slot[series]
        if newer.any():
            for column in ("phase", "earlier_phase", "since", "last_slot"):
                getattr(engine.series, column)[series[newer]] = columns[column][newer]
        return series

    # --- running ---------------------------------------------------------------------------------

    def write(self, positions: Callable[[], dict[str, Any]]) -> int:
        """Make everything written so far durable; returns how many objects were written.

        `positions` is called under the engine's lock: what it returns is contained in this checkpoint and
        becomes the sources' starting point. When this raises, nothing has changed and the next call covers
        the same samples. OwnershipLostError if another process took over.
        """
        with self._writing:
            return self._write(positions)

    def _write(self, positions: Callable[[], dict[str, Any]]) -> int:
        engine = self.engine
        with engine.lock:
            contained = positions()
            dirty: dict[tuple[int, int], int] = {}
            for block in engine.store.blocks:
                for window in engine.store.collect_dirty(block):
                    dirty[block.timestep, window] = block.slots
        number = self._attempt = self._attempt + 1
        written: list[ObjectEntry] = []
        try:
            for (timestep, window), slots in sorted(dirty.items()):
                folder = f"{self.prefix}/{timestep}-{window * slots * timestep}"
                for part, content in enumerate(self._objects_of(timestep, window, slots)):
                    key = f"{folder}/{self.manifest.epoch}-{number}-{part}.ccb"
                    self._garbage.add(key)  # unless the manifest comes to name it
                    self.objects.put(key, content)
                    digest = hashlib.sha256(content).hexdigest()
                    written.append(ObjectEntry(key, len(content), digest, timestep, window, slots))
            oldest = int(engine.clock()) - engine.limits.retention
            kept = [
                entry
                for entry in self.manifest.objects
                if (entry.timestep, entry.window) not in dirty and self._still_held(entry, oldest)
            ]
            gone = {entry.key for entry in self.manifest.objects} - {entry.key for entry in kept}
            self._commit(
                Manifest(
                    self.manifest.epoch, number, engine.clock(), contained, kept + written, self._owner
                )
            )  # fmt: skip
        except BaseException:
            self.failures += 1
            with engine.lock:
                for block in engine.store.blocks:
                    block.dirty.update(w for (t, w) in dirty if t == block.timestep)
            raise
        self._garbage |= gone
        self._garbage -= {entry.key for entry in written}
        self._sweep()
        return len(written)

    def _sweep(self) -> None:
        """Delete what no manifest names any more; what cannot be deleted now is left for the next time."""
        for key in sorted(self._garbage):
            try:
                self.objects.delete(key)
            except (UnavailableError, OSError) as error:
                logger.warning("%s cannot be deleted now (%s)", key, error)
                return
            self._garbage.discard(key)

    def find_orphans(self) -> int:
        """Objects of checkpoints that earlier processes did not finish: deleted with the next checkpoint."""
        named = {entry.key for entry in self.manifest.objects}
        found = {
            item.key
            for item in self.objects.list(self.prefix + "/")
            if item.key.endswith(".ccb") and item.key not in named and self._epoch_of(item.key) < self._epoch
        }
        self._garbage |= found
        return len(found)

    @property
    def _epoch(self) -> int:
        return self.manifest.epoch

    @staticmethod
    def _epoch_of(key: str) -> int:
        text = key.rpartition("/")[2].partition("-")[0]
        return int(text) if text.isdigit() else 1 << 62

    def _still_held(self, entry: ObjectEntry, oldest: int) -> bool:
        if entry.end > oldest:
            return True
        return any(
            entry.window in block.sealed or entry.window in block.open
            for block in self.engine.store.blocks
            if block.timestep == entry.timestep
        )

    def _objects_of(self, timestep: int, window: int, slots: int) -> Iterator[bytes]:
        builder = ObjectBuilder()
        for host, block in self.engine.blocks():
            if block.timestep != timestep or block.slots != slots:
                continue
            if self._add(builder, host, block, window) and builder.size >= PART_BYTES:
                yield builder.finish()
                builder = ObjectBuilder()
        if builder.blocks:
            yield builder.finish()

    def _add(self, builder: ObjectBuilder, host: Host, block: Block, window: int) -> bool:
        engine = self.engine
        with engine.lock:
            if window in block.patches:
                engine.store.merge_patches(block, window)
                block.dirty.discard(window)
            held: Sealed | np.ndarray[Any, np.dtype[np.float64]] | None = block.sealed.get(window)
            if window in block.open:
                held = block.open[window][: block.rows].copy()
            if held is None:
                return False
            rows = held.rows if isinstance(held, Sealed) else held.shape[0]
            series = block.series[:rows]
            columns = {name: getattr(engine.series, name)[series] for name, _ in COLUMNS}
        sealed = held if isinstance(held, Sealed) else engine.store.encode_rows(block, held, rows)
        builder.add(engine, host, block, window, columns, sealed.content)
        return True

    def _commit(self, manifest: Manifest) -> None:
        content = manifest.encode()
        for retry in (True, False):
            try:
                self._etag = self.objects.put(
                    self.manifest_key,
                    content,
                    if_match=self._etag,
                    if_absent=self._etag is None,
                    content_type="application/json",
                )
            except ConflictError:
                if not (retry and self._is_ours()):
                    raise OwnershipLostError(
                        f"{self.manifest_key} was replaced by another process: there must be one writer only"
                    ) from None
            else:
                self.manifest = manifest
                return

    def _is_ours(self) -> bool:
        """Whether the manifest that is there is our own, from a put that gave no answer; if so its mark
        counts from now on."""
        try:
            content, etag = self.objects.get(self.manifest_key)
            found = Manifest.decode(content)
        except (NotFoundError, ValueError, KeyError, TypeError):
            return False
        if found.owner != self._owner:
            return False
        self._etag = etag
        return True
