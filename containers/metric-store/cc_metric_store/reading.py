"""Reading: from a question about a host to series on the wall-clock grid.

Aggregation is an outer join in time: components that are missing in a slot are left out of its sum or mean,
a slot with no component is a gap (NaN). At the live edge, where some components of a node are in and others
still on their way, an incomplete slot waits: it is a gap for up to two steps, so that a sum never dips only
because it is early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cc_metric_store import codec
from cc_metric_store.blocks import Block, Sealed
from cc_metric_store.catalog import MetricDefinition
from cc_metric_store.directory import MetricRows
from cc_metric_store.engine import Engine
from clustercockpit.clusters.model import MetricScope
from clustercockpit.errors import InvalidInputError, TooLargeError
from clustercockpit.metrics.model import Samples, SeriesStatistics

# Where a node's value of a metric is not measured, one level stands for it: coarsest first.
_COARSE_FIRST = [MetricScope.SOCKET, MetricScope.MEMORY_DOMAIN, MetricScope.CORE, MetricScope.HWTHREAD,
                 MetricScope.ACCELERATOR]  # fmt: skip
_LIVE_EDGE_STEPS = 2


@dataclass(slots=True)
class Reading:
    """Samples at `start + i · timestep` (Unix seconds), NaN a gap; from the first to the last slot that holds
    a value. `expected` components were asked for, `present` have samples in the window."""

    start: int
    timestep: int
    values: Samples
    expected: int
    present: int
    phase: int = 0  # offset of the samples from the wall-clock grid, seconds

    @property
    def end(self) -> int:
        return self.start + self.timestep * len(self.values)


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of one host that together make one series."""

    block: Block
    rows: NDArray[np.int64]
    expected: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A window as it was when the read began."""

    window: int
    held: Sealed | NDArray[np.float64] | None
    patch: dict[tuple[int, int], float]


class FrameCache:
    """Frames that the reads of one request unpacked. The shared first frames of windows, which hold a node's
    single values, are kept (within a bound); of the others those of the last block."""

    _MOST = 96 * 1024 * 1024

    def __init__(self) -> None:
        self._shared: dict[tuple[int, int], NDArray[np.float64]] = {}
        self._own: dict[tuple[int, int], NDArray[np.float64]] = {}
        self._block = -1
        self._held = 0

    def frame(
        self, block: Block, window: int, sealed: Sealed, layout: codec.Layout, frame: int
    ) -> NDArray[np.float64]:
        if frame == 0:
            table, key = self._shared, (block.id, window)
        else:
            if block.id != self._block:
                self._own.clear()
                self._block = block.id
            table, key = self._own, (window, frame)
        found = table.get(key)
        if found is None:
            found = codec.decode_frame(sealed.content, frame, len(layout.frames[frame]))
            if frame == 0:
                self._held += found.nbytes
                if self._held > self._MOST:
                    return found
            table[key] = found
        return found


def _plan(layout: codec.Layout, rows: NDArray[np.int64], held: int) -> list[tuple[int, NDArray[np.int64]]]:
    """Which frames of a window hold the rows, and at which places (-1: not there)."""
    known = np.where(rows < held, rows, 0)
    places = np.where(rows < held, layout.place_of[known], -1)
    frames = layout.frame_of[known]
    return [(frame, np.where(frames == frame, places, -1)) for frame in np.unique(frames).tolist()]


def _accumulate_plain(
    matrix: NDArray[np.float64], places: NDArray[np.int64], low: int, high: int, offset: int, sums: Samples,
    counts: NDArray[np.int32], seen: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Add rows `places` (-1: none) of slots [low, high) to sums and counts at `offset`, gaps left out."""
    good = np.flatnonzero(places >= 0)
    values = matrix[places[good], low:high]
    there = ~np.isnan(values)
    sums[offset : offset + high - low] += np.where(there, values, 0.0).sum(axis=0)
    counts[offset : offset + high - low] += there.sum(axis=0).astype(np.int32)
    seen[good] |= there.any(axis=1)


_accumulate: Callable[..., None] = _accumulate_plain


def accelerate(accumulate: Callable[..., None]) -> None:
    """Use the compiled form of `_accumulate_plain` from now on."""
    global _accumulate
    _accumulate = accumulate


class Reader:
    """Answers from an engine. `max_values` bounds what one request may take."""

    def __init__(self, engine: Engine, max_values: int = 200_000_000) -> None:
        self.engine = engine
        self.max_values = max_values

    def select(
        self,
        cluster: str,
        host: str,
        definition: MetricDefinition,
        components: Sequence[str] | None = None,
        subcomponents: Sequence[str] | None = None,
    ) -> Selection | None:
        """The rows of named components (`hwthread12`), or of the host itself (None). Where the host has no
        value of its own, all components of one level stand for it. None: nothing there."""
        engine, names = self.engine, self.engine.names
        with engine.lock:
            found = engine.host_ids.get((cluster, host))
            name = names.metric_ids.get(definition.name)
            if found is None or name is None:
                return None
            block, metric = self._block(found.blocks, definition.timestep, name)
            if block is None or metric is None:
                return None
            if components is None:
                own = metric.by_component.get(0)
                if own is not None:
                    return Selection(block, np.array([own]), 1)
                return self._finer(block, metric, definition)
            asked = [(c, s) for c in components for s in (subcomponents or ("",))]
            rows = []
            for key in asked:
                row = metric.by_component.get(names.component_ids.get(key, -1))
                if row is not None:
                    rows.append(row)
                elif not subcomponents:
                    # A component without a value of its own is what is below it put together
                    rows += [
                        below
                        for component, below in metric.by_component.items()
                        if names.components[component].name == key[0]
                    ]
        if not rows:
            return None
        return Selection(block, np.array(rows, np.int64), max(len(asked), len(rows)))

    def _block(
        self, blocks: dict[int, int], timestep: int, name: int
    ) -> tuple[Block | None, MetricRows | None]:
        """The block of the configured time step, or another that knows the metric (a changed document)."""
        store = self.engine.store
        for step in [timestep, *(s for s in blocks if s != timestep)]:
            if step in blocks:
                block = store.blocks[blocks[step]]
                metric = store.directory(block).metric(name)
                if metric is not None:
                    return block, metric
        return None, None

    def _finer(self, block: Block, metric: MetricRows, definition: MetricDefinition) -> Selection:
        types = [self.engine.names.component_types[i] for i in metric.components.tolist()]
        levels = [definition.scope] if definition.scope else []
        for level in [*levels, *_COARSE_FIRST]:
            rows = [row for row, kind in zip(metric.rows.tolist(), types, strict=True) if kind == level.value]
            if rows:
                return Selection(block, np.array(rows), len(rows))
        return Selection(block, metric.rows, len(metric.rows))

    def read(
        self, selection: Selection, start: int, end: int, aggregation: str, cache: FrameCache | None = None
    ) -> Reading | None:
        """One series of the selected rows in [start, end). None: no sample in that time. `cache` is shared by
        the reads of one request.

        InvalidInputError where several rows have no aggregation, TooLargeError over the limit.
        """
        if len(selection.rows) > 1 and aggregation not in ("sum", "avg"):
            raise InvalidInputError("the metric has no aggregation: ask for its components one by one")
        block, rows = selection.block, selection.rows
        step = block.timestep
        with self.engine.lock:
            phase = int(self.engine.series.phase[block.series[rows[0]]])
            first, stop = -((phase - start) // step), -((phase - end) // step)
            windows = block.windows()
            if not windows:
                return None
            # A question about a century costs no more than what is there
            first = max(first, windows[0] * block.slots)
            stop = min(stop, (windows[-1] + 1) * block.slots)
            pieces = [
                self._piece(block, window)
                for window in windows
                if first < (window + 1) * block.slots and window * block.slots < stop
            ]
        if stop <= first:
            return None
        if (stop - first) * len(rows) > self.max_values:
            raise TooLargeError(
                f"{len(rows)} series of {stop - first} values are over the limit of {self.max_values}: "
                "ask for a shorter time"
            )
        sums, counts, present = self._added(block, rows, first, stop, pieces, cache or FrameCache())
        filled = np.flatnonzero(counts)
        if not len(filled):
            return None
        if len(rows) > 1 and aggregation == "avg":
            np.divide(sums, counts, out=sums, where=counts > 0)
        sums[counts == 0] = np.nan
        if len(rows) > 1:
            self._wait_for_late(sums, counts, first, phase, step)
            filled = np.flatnonzero(~np.isnan(sums))
            if not len(filled):
                return None
        low, high = int(filled[0]), int(filled[-1]) + 1
        return Reading((first + low) * step + phase, step, sums[low:high], selection.expected, present, phase)

    def _added(
        self, block: Block, rows: NDArray[np.int64], first: int, stop: int, pieces: list[_Piece],
        cache: FrameCache,
    ) -> tuple[Samples, NDArray[np.int32], int]:  # fmt: skip
        """Sum and number of samples per slot over the rows, and how many rows have any."""
        sums = np.zeros(stop - first)
        counts = np.zeros(stop - first, np.int32)
        seen = np.zeros(len(rows), np.bool_)
        slots, most = block.slots, int(rows.max())
        everything = np.arange(len(rows))
        plan: list[tuple[int, NDArray[np.int64]]] = []  # frames and the rows' places in them …
        planned = -1  # … for windows of so many rows
        for piece in pieces:
            begin = piece.window * slots
            low, high = max(first, begin), min(stop, begin + slots)
            cut = (low - begin, high - begin, low - first)
            held = piece.held
            if piece.patch:
                _accumulate(self._patched(block, piece, rows), everything, *cut, sums, counts, seen)
            elif isinstance(held, Sealed):
                layout = self.engine.store.layout(block, held.rows)
                if held.rows != planned:
                    plan, planned = _plan(layout, rows, held.rows), held.rows
                for frame, places in plan:
                    matrix = cache.frame(block, piece.window, held, layout, frame)
                    _accumulate(matrix, places, *cut, sums, counts, seen)
            elif held is not None:
                places = rows if most < held.shape[0] else np.where(rows < held.shape[0], rows, -1)
                _accumulate(held, places, *cut, sums, counts, seen)
        return sums, counts, int(seen.sum())

    def _patched(self, block: Block, piece: _Piece, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rows of a window with the samples that came late."""
        matrix = np.full((len(rows), block.slots), np.nan)
        if piece.held is not None:
            limit = piece.held.rows if isinstance(piece.held, Sealed) else piece.held.shape[0]
            inside = np.flatnonzero(rows < limit)
            if isinstance(piece.held, Sealed):
                layout = self.engine.store.layout(block, limit)
                matrix[inside] = codec.decode_rows(piece.held.content, layout, rows[inside])
            else:
                matrix[inside] = piece.held[rows[inside]]
        for (row, column), value in piece.patch.items():
            matrix[rows == row, column] = value
        return matrix

    def _piece(self, block: Block, window: int) -> _Piece:
        held = block.open.get(window)
        return _Piece(
            window,
            held if held is not None else block.sealed.get(window),
            dict(block.patches[window]) if window in block.patches else {},
        )

    def _wait_for_late(
        self, values: Samples, counts: NDArray[np.int32], first: int, phase: int, step: int
    ) -> None:
        now = self.engine.clock()
        filled = np.flatnonzero(counts)
        stop = int(filled[-1]) + 1 if len(filled) else 0
        for index in range(max(0, stop - _LIVE_EDGE_STEPS - 1), stop):
            time = (first + index) * step + phase
            if now - time <= _LIVE_EDGE_STEPS * step and index >= 1:
                usual = int(counts[max(0, index - 5) : index].max())
                if 0 < counts[index] < usual:
                    values[index] = np.nan


def statistics(values: Samples) -> SeriesStatistics:
    """Mean, least and greatest over the values that are there; NaN where there is none."""
    valid = values[~np.isnan(values)]
    if not len(valid):
        return SeriesStatistics(float("nan"), float("nan"), float("nan"))
    return SeriesStatistics(float(valid.mean()), float(valid.min()), float(valid.max()))


@dataclass(slots=True)
class Buckets:
    """Values merged k at a time on the grid of multiples of k · f counted from the epoch."""

    start: float
    step: float
    mean: Samples
    min: Samples | None = None
    max: Samples | None = None


def buckets(reading: Reading, width: int) -> Buckets:
    """Mean, min and max per bucket of `width` samples. Bucket edges are multiples of width · f on the
    series' own phase, so that the next answer continues the same grid; times are bucket middles."""
    step, phase = reading.timestep, reading.phase
    if width <= 1:
        return Buckets(reading.start, step, reading.values)
    first = (reading.start - phase) // step
    lead = first % width
    count = -(-(lead + len(reading.values)) // width)
    padded = np.full(count * width, np.nan)
    padded[lead : lead + len(reading.values)] = reading.values
    cells = padded.reshape(count, width)
    valid = ~np.isnan(cells)
    counts = valid.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(counts > 0, np.where(valid, cells, 0.0).sum(axis=1) / counts, np.nan)
    low = np.where(valid, cells, np.inf).min(axis=1)
    high = np.where(valid, cells, -np.inf).max(axis=1)
    empty = counts == 0
    low[empty] = high[empty] = np.nan
    start = (first - lead) * step + phase + (width - 1) / 2 * step
    return Buckets(start, width * step, mean, low, high)
