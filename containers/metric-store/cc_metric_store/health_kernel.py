"""Compiled counting of fresh and silent series. `health.count_plain` is the plain form."""

from __future__ import annotations

from typing import Any

from numba import njit

from cc_metric_store.series import NEVER
from cc_metric_store.text_kernel import U, load_u64


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def count(
    blocks: Any, places: Any, columns: Any, rows: Any, address: Any, timestep: Any, name: Any, phase: Any,
    last_slot: Any, now: Any, retention: Any, stale_steps: Any, forgotten: Any, fresh: Any, stale: Any,
    silent: Any,
) -> None:  # fmt: skip
    """For each block (`places`: the host's place) and wanted metric (`columns`: its place by name id, -1:
    not asked for) count the series whose last sample is fresh, stale, or long gone."""
    for index in range(blocks.shape[0]):
        block, place = blocks[index], places[index]
        step = timestep[block]
        for row in range(rows[block]):
            series = load_u64(address[block] + 4 * row) & U(0xFFFFFFFF)
            column = columns[name[series]]
            if column < 0:
                continue
            last = last_slot[series]
            if last == NEVER:
                continue
            age = now - (last * step + phase[series] + step // 2)
            if age > retention:
                continue
            if age <= stale_steps * step:
                fresh[place, column] += 1
            elif age > max(forgotten, stale_steps * step):
                silent[place, column] += 1
            else:
                stale[place, column] += 1
