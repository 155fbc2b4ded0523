"""Compiled reading: frames of sealed windows, sums over components, triangles. `codec`, `reading` and
`resampling` hold the plain form of each, which is the oracle and serves until this is compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from cc_metric_store.text_kernel import U, float_of_bits, load_u8, load_u64

_POWERS = np.array([10.0**i for i in range(23)])
_SIGN32 = U(1 << 31)
_SIGN64 = U(1 << 63)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _byte_planes(base: Any, index: Any, count: Any, width: Any) -> Any:
    """Value `index` of a byte-shuffled array."""
    value = U(0)
    for plane in range(width):
        value |= U(load_u8(base + plane * count + index)) << U(8 * plane)
    return value


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def unframe(base: Any, length: Any, rows: Any, slots: Any, out: Any) -> bool:
    """Fill `out` (rows, slots) from an unpacked frame at an address; False where the frame is damaged.

    The text of the format is at the head of `codec`.
    """
    if rows + 1 > length:
        return False
    filled, whole, single, double = 0, 0, 0, 0
    for row in range(rows):
        kind = load_u8(base + row)
        filled += kind != 0
        whole += 1 <= kind < 9
        single += kind == 32
        double += kind == 33
    if whole + single + double != filled:
        return False
    position = rows + 1
    bits = 0
    if load_u8(base + rows) != 0:
        bits = base + position
        position += (filled * slots + 7) // 8
    whole_base, whole_data, width, differences = 0, 0, 0, 0
    if whole > 0:
        whole_base = base + position
        position += 8 * whole
        if position + 2 > length:
            return False
        width, differences = load_u8(base + position), load_u8(base + position + 1)
        if width != 1 and width != 2 and width != 4 and width != 8:
            return False
        position += 2
        whole_data = base + position
        position += whole * slots * width
    single_base, single_data = base + position, base + position + 4 * single
    position += (4 + 4 * slots) * single
    double_base, double_data = base + position, base + position + 8 * double
    position += (8 + 8 * slots) * double
    if position + 4 > length:
        return False
    exceptions = np.int64(load_u64(base + position) & U(0xFFFFFFFF))
    if position + 4 + 12 * exceptions > length:
        return False

    at_whole, at_single, at_double, at_filled = 0, 0, 0, 0
    singles = np.empty(1, np.float32)
    bits32 = singles.view(np.uint32)
    for row in range(rows):
        kind = load_u8(base + row)
        if kind == 0:
            for slot in range(slots):
                out[row, slot] = math.nan
            continue
        if kind < 9:
            power = _POWERS[kind - 1]
            value = np.int64(load_u64(whole_base + 8 * at_whole))
            lowest = value
            first, count = at_whole * slots, whole * slots
            for slot in range(slots):
                if width == 1:
                    coded = U(load_u8(whole_data + first + slot))
                elif width == 2:
                    coded = U(load_u8(whole_data + first + slot)) | (
                        U(load_u8(whole_data + count + first + slot)) << U(8)
                    )
                else:
                    coded = _byte_planes(whole_data, first + slot, count, width)
                if differences:
                    value += np.int64(coded >> U(1)) ^ -np.int64(coded & U(1))
                else:
                    value = lowest + np.int64(coded)
                out[row, slot] = value / power
            at_whole += 1
        elif kind == 32:
            lowest32 = load_u64(single_base + 4 * at_single) & U(0xFFFFFFFF)
            first, count = at_single * slots, single * slots
            for slot in range(slots):
                place = single_data + first + slot
                ordered = lowest32 + (
                    U(load_u8(place))
                    | (U(load_u8(place + count)) << U(8))
                    | (U(load_u8(place + 2 * count)) << U(16))
                    | (U(load_u8(place + 3 * count)) << U(24))
                )
                ordered &= U(0xFFFFFFFF)
                if ordered & _SIGN32:
                    bits32[0] = np.uint32(ordered ^ _SIGN32)
                else:
                    bits32[0] = np.uint32(~ordered & U(0xFFFFFFFF))
                out[row, slot] = np.float64(singles[0])
            at_single += 1
        else:
            lowest64 = load_u64(double_base + 8 * at_double)
            for slot in range(slots):
                ordered = lowest64 + _byte_planes(double_data, at_double * slots + slot, double * slots, 8)
                ordered = ordered ^ _SIGN64 if ordered & _SIGN64 else ~ordered
                out[row, slot] = float_of_bits(ordered)
            at_double += 1
        if bits != 0:
            for slot in range(slots):
                bit = at_filled * slots + slot
                if (load_u8(bits + (bit >> 3)) >> (7 - (bit & 7))) & 1 == 0:
                    out[row, slot] = math.nan
        at_filled += 1
    position += 4
    for index in range(exceptions):
        place = np.int64(load_u64(base + position + 4 * index) & U(0xFFFFFFFF))
        if place >= rows * slots:
            return False
        out[place // slots, place % slots] = float_of_bits(
            load_u64(base + position + 4 * exceptions + 8 * index)
        )
    return True


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def accumulate(
    matrix: Any, places: Any, low: Any, high: Any, offset: Any, sums: Any, counts: Any, seen: Any
) -> None:
    """Add rows `places` of slots [low, high) to `sums` and `counts` from `offset` on, gaps left out; mark
    in `seen` which rows had samples."""
    for index in range(places.shape[0]):
        place = places[index]
        if place < 0:
            continue
        for slot in range(low, high):
            value = matrix[place, slot]
            if value == value:
                sums[offset + slot - low] += value
                counts[offset + slot - low] += 1
                seen[index] = True


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def triangles(values: Any, count: Any, picked: Any) -> None:
    """As `resampling.lttb_indices`, into `picked`."""
    length = values.shape[0]
    picked[0] = 0
    previous, place = 0, 1
    width = (length - 2) / (count - 2) if count > 2 else 0.0
    low: Any = 1
    middle: Any = np.int64(math.floor(width)) + 1
    for index in range(count - 2):
        high = np.int64(math.floor((index + 2) * width)) + 1
        if high >= length - 1:
            high = length - 2
        center_x, total = (middle + high) / 2, 0.0
        for candidate in range(middle, high + 1):
            total += values[candidate]
        center_y = total / (high + 1 - middle) if high >= middle else math.nan
        best, choice = -1.0, 0
        reference = values[previous]
        missing = False
        for candidate in range(low, middle):
            area = abs(
                (
                    (previous - center_x) * (values[candidate] - reference)
                    - (previous - candidate) * (center_y - reference)
                )
                * 0.5
            )
            if area != area:
                missing = True
                choice = candidate
            elif not missing and area > best:
                best, choice = area, candidate
        previous = choice
        picked[place] = choice
        place += 1
        low, middle = middle, high
    picked[place] = length - 1
