"""Blocks: the samples of one host at one time step, window by window.

A window of a block is one array of rows and slots. Near the present it is *open* (float64, written by
scatter), behind that *sealed* (encoded by `codec`). A sample that comes late into a sealed window is kept
as a patch beside it until the window is encoded again.

Times: slot k of the grid covers the step around `k · timestep`; window w holds the slots
from `w · slots` up to, not including, `(w + 1) · slots`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cc_metric_store import codec
from cc_metric_store.directory import Directory
from cc_metric_store.series import NEVER, SeriesTable

Matrix = NDArray[np.float64]

RING = 4  # windows of a block that can be open at a time
_ROW_QUANTUM = 16
_MOST_EXPECTED = 4096
_LAYOUTS = 4096


@dataclass(slots=True)
class Sealed:
    """A window at rest: `rows` rows encoded, the patches that came later in `Block.patches`."""

    rows: int
    content: bytes


@dataclass(slots=True)
class Block:
    """All windows of one host at one time step."""

    id: int
    host: int
    timestep: int
    slots: int  # per window
    table: BlockTable = field(repr=False)
    capacity: int = 0
    series: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # row → series id
    open: dict[int, Matrix] = field(default_factory=dict)
    sealed: dict[int, Sealed] = field(default_factory=dict)
    patches: dict[int, dict[tuple[int, int], float]] = field(default_factory=dict)
    layouts: dict[int, codec.Layout] = field(default_factory=dict, repr=False)  # by number of rows
    directory: Directory | None = field(default=None, repr=False)
    dirty: set[int] = field(default_factory=set)  # windows changed since they were last in a checkpoint

    @property
    def rows(self) -> int:
        """Series of the block; the kernel counts them up too."""
        return int(self.table.rows[self.id])

    def windows(self) -> list[int]:
        return sorted({*self.open, *self.sealed, *self.patches})

    def window_end(self, window: int) -> int:
        """Unix seconds at which the window ends (exclusive, up to one step of phase)."""
        return (window + 1) * self.slots * self.timestep

    @property
    def nbytes(self) -> int:
        """Bytes of sample data held, with the overhead of the Python objects around it."""
        held = sum(matrix.nbytes + 160 for matrix in self.open.values())
        held += sum(len(sealed.content) + 180 for sealed in self.sealed.values())
        held += sum(220 * len(patch) for patch in self.patches.values())
        return held + self.series.nbytes + 600


class BlockTable:
    """Columns per block for the kernel: where the open windows lie in memory."""

    def __init__(self, capacity: int = 256) -> None:
        self.count = 0
        self.timestep: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.slots: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.rows: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.capacity: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.series_address: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.open_window: NDArray[np.int64] = np.full((capacity, RING), NEVER, np.int64)
        self.open_address: NDArray[np.int64] = np.zeros((capacity, RING), np.int64)
        # 3: written since the last checkpoint and since the last look of the sealer, which clear 1 and 2
        self.touched: NDArray[np.uint8] = np.zeros((capacity, RING), np.uint8)

    def add(self, timestep: int, slots: int) -> int:
        block = self.count
        if block == self.timestep.shape[0]:
            for column in (
                "timestep", "slots", "rows", "capacity", "series_address", "open_window", "open_address",
                "touched",
            ):  # fmt: skip
                old = getattr(self, column)
                fill = NEVER if column == "open_window" else 0
                new = np.full((old.shape[0] * 2, *old.shape[1:]), fill, old.dtype)
                new[:block] = old[:block]
                setattr(self, column, new)
        self.timestep[block], self.slots[block] = timestep, slots
        self.count += 1
        return block

    @property
    def nbytes(self) -> int:
        return int(
            self.timestep.nbytes * 3
            + self.rows.nbytes * 2
            + self.open_window.nbytes * 2
            + self.touched.nbytes
        )


DIRTY, WARM = 1, 2


class BlockStore:
    """The blocks and their columns, kept in step. Not locked: the engine's lock guards all changes."""

    def __init__(self, window_seconds: int, series: SeriesTable) -> None:
        self.window_seconds = window_seconds
        self.series = series
        self.exact_metrics: frozenset[int] = frozenset()  # names whose values keep every bit
        self._layouts: dict[bytes, codec.Layout] = {}
        self._directories: dict[bytes, Directory] = {}
        self.table = BlockTable()
        self.blocks: list[Block] = []
        self._usual_rows: dict[int, int] = {}

    def add(self, host: int, timestep: int) -> Block:
        slots = max(1, self.window_seconds // timestep)
        if self.blocks and self.blocks[-1].timestep == timestep:
            self._usual_rows[timestep] = min(self.blocks[-1].rows, _MOST_EXPECTED)
        block = Block(self.table.add(timestep, slots), host, timestep, slots, self.table)
        self.blocks.append(block)
        # A host most likely has as many series as the one before it
        self._resize(block, self._usual_rows.get(timestep, 0))
        return block

    def add_row(self, block: Block, series: int) -> int:
        if block.rows == block.capacity:
            self.grow(block)
        row = block.rows
        block.series[row] = series
        self.table.rows[block.id] = row + 1
        return row

    def grow(self, block: Block) -> None:
        """More rows: by half, while a host introduces itself; later windows have the rows there are."""
        self._resize(block, max(block.capacity * 3 // 2, self._usual_rows.get(block.timestep, 0)))

    def _resize(self, block: Block, rows: int) -> None:
        capacity = (rows // _ROW_QUANTUM + 1) * _ROW_QUANTUM
        series = np.zeros(capacity, np.int32)
        series[: block.rows] = block.series[: block.rows]
        block.series, block.capacity = series, capacity
        self.table.capacity[block.id] = capacity
        self.table.series_address[block.id] = series.ctypes.data
        for window, matrix in list(block.open.items()):
            if matrix.shape[0] >= capacity:
                continue
            larger = np.full((capacity, block.slots), np.nan)
            larger[: matrix.shape[0]] = matrix
            self._set_open(block, window, larger)

    def open_window(self, block: Block, window: int) -> Matrix | None:
        """The open array of a window, opened where that is possible; None: it is sealed, or a newer window
        has its place, and the sample must go to the patches."""
        found = block.open.get(window)
        if found is not None:
            return found
        if window in block.sealed or window in block.patches:
            return None
        occupant = int(self.table.open_window[block.id, window % RING])
        if occupant > window:
            return None
        if occupant != NEVER:
            self.seal(block, occupant)
        self._trim(block)
        matrix = np.full((block.capacity, block.slots), np.nan)
        self._set_open(block, window, matrix)
        return matrix

    def _trim(self, block: Block) -> None:
        """Give back room for rows that did not come."""
        capacity = (block.rows // _ROW_QUANTUM + 1) * _ROW_QUANTUM
        if block.windows() and capacity < block.capacity:
            block.series, block.capacity = block.series[:capacity].copy(), capacity
            self.table.capacity[block.id] = capacity
            self.table.series_address[block.id] = block.series.ctypes.data

    def write(self, block: Block, row: int, slot: int, value: float) -> bool:
        """Put one sample in its place; True if it had to go to the patches."""
        window, column = divmod(slot, block.slots)
        matrix = self.open_window(block, window)
        if matrix is None:
            block.patches.setdefault(window, {})[row, column] = value
            block.dirty.add(window)
            return True
        matrix[row, column] = value
        self.table.touched[block.id, window % RING] = DIRTY | WARM
        return False

    def seal(self, block: Block, window: int) -> None:
        """Encode an open window and give its array back."""
        self.put_sealed(block, window, self.encode(block, block.open[window]), block.open[window])

    def encode(self, block: Block, matrix: Matrix) -> Sealed:
        rows = block.rows
        return self.encode_rows(block, matrix, rows)

    def encode_rows(self, block: Block, matrix: Matrix, rows: int) -> Sealed:
        """The first `rows` rows of a window, encoded."""
        exact = None
        if self.exact_metrics:
            exact = np.isin(self.series.name[block.series[:rows]], list(self.exact_metrics))
        return Sealed(rows, codec.encode(matrix[:rows], self.layout(block, rows), exact))

    def layout(self, block: Block, rows: int) -> codec.Layout:
        """How the first `rows` rows of the block are put into frames; hosts of one kind share it."""
        layout = block.layouts.get(rows)
        if layout is None:
            names = self.series.name[block.series[:rows]]
            key = names.tobytes()
            layout = self._layouts.get(key)
            if layout is None:
                if len(self._layouts) >= _LAYOUTS:
                    self._layouts.clear()
                layout = self._layouts[key] = codec.Layout.of(names)
            block.layouts[rows] = layout
        return layout

    def directory(self, block: Block) -> Directory:
        """Which rows belong to which metric; hosts that introduced themselves alike share it."""
        rows = block.rows
        if block.directory is not None and len(block.directory.names) == rows:
            return block.directory
        series = block.series[:rows]
        names, components = self.series.name[series], self.series.component[series]
        key = names.tobytes() + components.tobytes()
        found = self._directories.get(key)
        if found is None:
            if len(self._directories) >= _LAYOUTS:
                self._directories.clear()
            found = self._directories[key] = Directory(names, components)
        block.directory = found
        return found

    def window(self, block: Block, window: int) -> Matrix:
        """All rows of a window with what came late: a copy."""
        matrix: Matrix = np.full((block.rows, block.slots), np.nan)
        opened, sealed = block.open.get(window), block.sealed.get(window)
        if opened is not None:
            matrix[:] = opened[: block.rows]
        elif sealed is not None:
            matrix[: sealed.rows] = self.decode(block, sealed)
        for (row, column), value in block.patches.get(window, {}).items():
            matrix[row, column] = value
        return matrix

    def decode(self, block: Block, sealed: Sealed) -> Matrix:
        """All rows of a sealed window."""
        return codec.decode(sealed.content, self.layout(block, sealed.rows))

    def put_sealed(self, block: Block, window: int, sealed: Sealed, of: Matrix) -> bool:
        """Replace the open array `of` by its encoding; False if the window changed its array meanwhile."""
        if block.open.get(window) is not of:
            return False
        place = window % RING
        if self.table.touched[block.id, place] & DIRTY:
            block.dirty.add(window)
        self._close(block, window)
        block.sealed[window] = sealed
        return True

    def merge_patches(self, block: Block, window: int) -> None:
        """Encode a sealed window again with the samples that came late."""
        patch = block.patches.pop(window, None)
        if not patch:
            return
        rows = block.rows
        matrix = np.full((rows, block.slots), np.nan)
        sealed = block.sealed.get(window)
        if sealed is not None:
            matrix[: sealed.rows] = self.decode(block, sealed)
        for (row, column), value in patch.items():
            matrix[row, column] = value
        block.sealed[window] = self.encode_rows(block, matrix, rows)
        block.dirty.add(window)

    def restore_open(self, block: Block, window: int, matrix: Matrix) -> bool:
        """Take over a decoded window as an open one; False if another has its place (a clock that was
        set back makes more windows reach into the future than can be open)."""
        if int(self.table.open_window[block.id, window % RING]) not in (NEVER, window):
            return False
        place = np.full((max(block.capacity, matrix.shape[0]), block.slots), np.nan)
        place[: matrix.shape[0]] = matrix
        self._set_open(block, window, place)
        self.table.touched[block.id, window % RING] = 0
        return True

    def free(self, block: Block, before: int) -> int:
        """Drop whole windows that end at or before the time; returns how many."""
        gone = [window for window in block.windows() if block.window_end(window) <= before]
        for window in gone:
            if window in block.open:
                self._close(block, window)
            block.sealed.pop(window, None)
            block.patches.pop(window, None)
            block.dirty.discard(window)
        return len(gone)

    def clear_rows(self, block: Block, window: int, rows: list[int]) -> bool:
        """Empty rows of a window, wherever their values are; False if they held none."""
        found = False
        patch = block.patches.get(window, {})
        for place in [place for place in patch if place[0] in rows]:
            del patch[place]
            found = True
        opened, sealed = block.open.get(window), block.sealed.get(window)
        if opened is not None and not np.isnan(opened[rows]).all():
            opened[rows] = np.nan
            self.table.touched[block.id, window % RING] = DIRTY | WARM
            return True
        if sealed is not None:
            matrix = np.array(self.decode(block, sealed))
            there = [row for row in rows if row < sealed.rows]
            if not np.isnan(matrix[there]).all():
                matrix[there] = np.nan
                block.sealed[window] = self.encode_rows(block, matrix, sealed.rows)
                found = True
        if found:
            block.dirty.add(window)
        return found

    def collect_dirty(self, block: Block) -> list[int]:
        """Windows changed since the last call, which are clean afterwards."""
        for window in block.open:
            place = window % RING
            if self.table.touched[block.id, place] & DIRTY:
                self.table.touched[block.id, place] &= ~np.uint8(DIRTY)
                block.dirty.add(window)
        dirty = sorted(block.dirty)
        block.dirty.clear()
        return dirty

    def _set_open(self, block: Block, window: int, matrix: Matrix) -> None:
        place = window % RING
        block.open[window] = matrix
        self.table.open_window[block.id, place] = window
        self.table.open_address[block.id, place] = matrix.ctypes.data

    def _close(self, block: Block, window: int) -> None:
        place = window % RING
        del block.open[window]
        self.table.open_window[block.id, place] = NEVER
        self.table.open_address[block.id, place] = 0
        self.table.touched[block.id, place] = 0
