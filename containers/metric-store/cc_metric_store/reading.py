"""Reading: from a question about a host to series on the wall-clock grid.

Aggregation is an outer join in time: components that are missing in a slot are left out of its sum or mean,
a slot with no component is a gap (NaN). At the live edge, where some components of a node are in and others
still on their way, an incomplete slot waits: it is a gap for up to two steps, so that a sum never dips only
because it is early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cc_metric_store import codec
from cc_metric_store.blocks import Block, Sealed
from cc_metric_store.catalog import MetricDefinition
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
        engine = self.engine
        with engine.lock:
            found = engine.host_ids.get((cluster, host))
            name = engine.names.metric_ids.get(definition.name)
            if found is None or name is None:
                return None
            block = self._block(found.blocks, definition.timestep, name)
            if block is None:
                return None
            series = block.series[: block.rows]
            rows = np.flatnonzero(engine.series.name[series] == name)
            ids = engine.series.component[series[rows]]
            if components is None:
                own = rows[ids == 0]
                if len(own):
                    return Selection(block, own, 1)
                return self._finer(block, rows, ids, definition)
            wanted: list[int] = []
            asked = [(c, s) for c in components for s in (subcomponents or ("",))]
            if not subcomponents:
                # A component without a value of its own is the sum of what is below it.
                known = {
                    engine.names.components[i].name for i in ids if not engine.names.components[i].subname
                }
                for component in components:
                    if component not in known:
                        asked += [
                            (component, engine.names.components[i].subname)
                            for i in ids
                            if engine.names.components[i].name == component
                        ]
            for key in asked:
                identifier = engine.names.component_ids.get(key)
                if identifier is not None:
                    wanted.append(identifier)
            chosen = rows[np.isin(ids, np.array(wanted, np.int32))] if wanted else rows[:0]
        if not len(chosen):
            return None
        return Selection(block, chosen, max(len(components) * len(subcomponents or ("",)), len(chosen)))

    def _block(self, blocks: dict[int, int], timestep: int, name: int) -> Block | None:
        """The block of the configured time step, or another that knows the metric (a changed document)."""
        engine = self.engine
        for step in [timestep, *(s for s in blocks if s != timestep)]:
            if step in blocks:
                block = engine.store.blocks[blocks[step]]
                if (engine.series.name[block.series[: block.rows]] == name).any():
                    return block
        return None

    def _finer(
        self, block: Block, rows: NDArray[np.int64], ids: NDArray[np.int32], definition: MetricDefinition
    ) -> Selection | None:
        names = self.engine.names
        types = [names.component_types[i] for i in ids]
        levels = [definition.scope] if definition.scope else []
        for level in [*levels, *_COARSE_FIRST]:
            mask = np.array([t == level.value for t in types], bool)
            if mask.any():
                return Selection(block, rows[mask], int(mask.sum()))
        return Selection(block, rows, len(rows)) if len(rows) else None

    def read(self, selection: Selection, start: int, end: int, aggregation: str) -> Reading | None:
        """One series of the selected rows in [start, end). None: no sample in that time.

        InvalidInputError where several rows have no aggregation, TooLargeError over the limit.
        """
        if len(selection.rows) > 1 and aggregation not in ("sum", "avg"):
            raise InvalidInputError("the metric has no aggregation: ask for its components one by one")
        block, rows = selection.block, selection.rows
        with self.engine.lock:
            phase = int(self.engine.series.phase[block.series[rows[0]]])
        step = block.timestep
        first, stop = -((phase - start) // step), -((phase - end) // step)
        first, stop = self._held(block, first, stop)
        if stop <= first:
            return None
        if (stop - first) * len(rows) > self.max_values:
            raise TooLargeError(
                f"{len(rows)} series of {stop - first} values are over the limit of {self.max_values}: "
                "ask for a shorter time"
            )
        matrix = self.matrix(block, rows, first, stop)
        valid = ~np.isnan(matrix)
        counts = valid.sum(axis=0)
        present = int(valid.any(axis=1).sum())
        if len(rows) == 1:
            values = matrix[0]
        else:
            values = np.where(valid, matrix, 0.0).sum(axis=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                values = np.where(counts > 0, values / counts if aggregation == "avg" else values, np.nan)
            self._wait_for_late(values, counts, first, phase, step)
        filled = np.flatnonzero(~np.isnan(values))
        if not len(filled):
            return None
        low, high = int(filled[0]), int(filled[-1]) + 1
        return Reading(
            (first + low) * step + phase, step, values[low:high], selection.expected, present, phase
        )

    def _held(self, block: Block, first: int, stop: int) -> tuple[int, int]:
        """Cut a range of slots to the windows that exist: a question about a century costs nothing."""
        with self.engine.lock:
            windows = block.windows()
        if not windows:
            return 0, 0
        return max(first, windows[0] * block.slots), min(stop, (windows[-1] + 1) * block.slots)

    def _wait_for_late(
        self, values: Samples, counts: NDArray[np.int64], first: int, phase: int, step: int
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

    def matrix(self, block: Block, rows: NDArray[np.int64], first: int, stop: int) -> NDArray[np.float64]:
        """Samples of rows in slots [first, stop), NaN where there is none."""
        result = np.full((len(rows), stop - first), np.nan)
        slots = block.slots
        for window in range(first // slots, (stop - 1) // slots + 1):
            begin = window * slots
            low, high = max(first, begin), min(stop, begin + slots)
            held, patch = self._window(block, window)
            target = result[:, low - first : high - first]
            if held is not None:
                limit = held.rows if isinstance(held, Sealed) else held.shape[0]
                inside = slice(None) if int(rows.max()) < limit else np.flatnonzero(rows < limit)
                known = rows[inside]
                if isinstance(held, Sealed):
                    layout = self.engine.store.layout(block, held.rows)
                    target[inside] = codec.decode_rows(held.content, layout, known)[
                        :, low - begin : high - begin
                    ]
                else:
                    target[inside] = held[known, low - begin : high - begin]
            for (row, column), value in patch.items():
                if low <= begin + column < high:
                    target[rows == row, begin + column - low] = value
        return result

    def _window(
        self, block: Block, window: int
    ) -> tuple[Sealed | NDArray[np.float64] | None, dict[tuple[int, int], float]]:
        with self.engine.lock:
            patch = block.patches.get(window)
            held = block.open.get(window)
            return (held if held is not None else block.sealed.get(window)), dict(patch) if patch else {}


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
