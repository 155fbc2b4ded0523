# ruff: noqa: SIM109 (comparing with tuples is slower in compiled code)
"""The compiled path from bytes to samples in blocks. `line_protocol` and `SeriesTable.place` are its oracle.

A line is placed here if it is of the ordinary kind and everything it names is known. For any other line the
kernel stops at its beginning: Python handles that one (and says what is wrong with it), the tables learn
what it named, and the kernel goes on behind it. So both paths see all lines in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from cc_metric_store.line_protocol import MAX_LINE_BYTES
from cc_metric_store.series import NEVER
from cc_metric_store.text_kernel import (
    BACKSLASHES,
    COMMAS,
    LINE_FEEDS,
    SPACES,
    U,
    decimal,
    find,
    first_bytes,
    hash_text,
    insert,
    load_u8,
    load_u64,
    marks,
    mix,
    store_f64,
    store_i32,
    trailing_zeros,
)

# Why the kernel stopped
DONE, SLOW, GROW, ROWS = 0, 1, 2, 3
# Places in `numbers`: what goes in and what comes out
POSITION, END, NOW, OLDEST, NEWEST, DEFAULT, LINES, ACCEPTED, UNKNOWN, SERIES, SERIES_LIMIT = range(11)
KEYS, KEYS_LIMIT, INDEX, INDEX_LIMIT, ROWS_LIMIT, BLOCK, NUMBERS = range(11, 18)
# Places in `tables`
T_NAMES, T_KEYS, T_CLUSTERS, T_HOSTS, T_COMPONENTS, T_DEFINITIONS, T_BLOCKS, T_INDEX = range(8)


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


_VALUE = _word(b"value=")
_CLUSTER, _HOSTNAME, _HOST, _TYPE = _word(b"cluster"), _word(b"hostname"), _word(b"host"), _word(b"type")
_TYPE_ID, _STYPE, _STYPE_ID, _NODE = _word(b"type-id"), _word(b"stype"), _word(b"stype-id"), _word(b"node")
_EXACT_INTEGER = U(1 << 63)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def hash_pair(a: Any, b: Any, seeds: Any) -> Any:
    """Two hashes of two numbers."""
    first, second = mix(seeds[4], U(a), seeds[0]), mix(seeds[5], U(a), seeds[1])
    return mix(first, U(b), seeds[2]), mix(second, U(b), seeds[3])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def hash_key(base: Any, name_length: Any, key_length: Any, default: Any, seeds: Any) -> Any:
    """Two hashes of the text before the first space, as `ingest` computes them."""
    first, second = hash_text(base, name_length, seeds[4], seeds[5], seeds)
    first, second = mix(first, U(default), seeds[0]), mix(second, U(default), seeds[1])
    return hash_text(base + name_length, key_length - name_length, first, second, seeds)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def hash_component(base: Any, spans: Any, seeds: Any) -> Any:
    """Two hashes of the four texts type, type-id, stype, stype-id (start, length), missing ones empty."""
    first, second = seeds[4], seeds[5]
    for index in range(4):
        first, second = hash_text(base + spans[2 * index], spans[2 * index + 1], first, second, seeds)
    return first, second


@njit(inline="always", nogil=True)  # type: ignore[untyped-decorator]
def _line_end(base: Any, at: Any) -> Any:
    while True:
        found = marks(load_u64(base + at), LINE_FEEDS)
        if found != U(0):
            return at + (trailing_zeros(found) >> 3)
        at += 8


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def first_sight(
    base: Any, at: Any, end: Any, name: Any, numbers: Any, seeds: Any, tables: Any, definition_name: Any,
    definition_step: Any, columns32: Any, blocks64: Any, blocks32: Any, spans: Any,
) -> Any:  # fmt: skip
    """The series (plus 2) that the tags in [at, end) name, made if need be; 1: a metric this cluster does
    not have; 0: Python must look at it; -1: `numbers[BLOCK]` has no room for a further row."""
    spans[:] = 0
    cluster = numbers[DEFAULT]
    host_start, host_length = 0, 0
    while at < end:
        if load_u8(base + at) != 44:
            return 0
        at += 1
        start = at
        while at < end:
            byte = load_u8(base + at)
            if byte < 32 or byte >= 127 or byte == 44:
                return 0
            if byte == 61:
                break
            at += 1
        if at == end or at == start:
            return 0
        length = at - start
        at += 1
        value = at
        while at < end:
            byte = load_u8(base + at)
            if byte < 32 or byte >= 127 or byte == 61:
                return 0
            if byte == 44:
                break
            at += 1
        if at == value:
            return 0
        if length > 8:
            continue
        word = load_u64(base + start)
        if length < 8:
            word = first_bytes(word, length)
        if word == _CLUSTER:
            first, second = hash_text(base + value, at - value, seeds[4], seeds[5], seeds)
            cluster = find(tables[T_CLUSTERS], first, second)
        elif word == _HOSTNAME or word == _HOST:
            host_start, host_length = value, at - value
        elif word == _TYPE:
            spans[0], spans[1] = value, at - value
        elif word == _TYPE_ID:
            spans[2], spans[3] = value, at - value
        elif word == _STYPE:
            spans[4], spans[5] = value, at - value
        elif word == _STYPE_ID:
            spans[6], spans[7] = value, at - value
    if cluster == 0 or host_length == 0:
        return 0
    if spans[1] == 4 and first_bytes(load_u64(base + spans[0]), 4) == _NODE:
        spans[:4] = 0
    first, second = hash_pair(cluster, name, seeds)
    definition = find(tables[T_DEFINITIONS], first, second)
    if definition == 0:
        return 0
    seed_first, seed_second = hash_pair(cluster, 0, seeds)
    first, second = hash_text(base + host_start, host_length, seed_first, seed_second, seeds)
    host = find(tables[T_HOSTS], first, second)
    if host == 0:
        return 0
    if definition == 1:
        return 1
    first, second = hash_component(base, spans, seeds)
    component = find(tables[T_COMPONENTS], first, second)
    if component == 0:
        return 0
    component -= 1
    step = definition_step[definition - 2]
    first, second = hash_pair(host, step, seeds)
    block = find(tables[T_BLOCKS], first, second)
    if block == 0:
        return 0
    block -= 1
    metric = np.int64(definition_name[definition - 2])
    seed_first, seed_second = hash_pair(block, metric, seeds)
    first, second = mix(seed_first, U(component), seeds[0]), mix(seed_second, U(component), seeds[1])
    known = find(tables[T_INDEX], first, second)
    if known != 0:
        return known + 1
    row = np.int64(blocks32[0][block])
    if row >= numbers[ROWS_LIMIT]:
        return 0
    if row >= blocks32[1][block]:
        numbers[BLOCK] = block
        return -1
    series = numbers[SERIES]
    columns32[0][series] = block
    columns32[1][series] = row
    columns32[2][series] = metric
    columns32[3][series] = component
    store_i32(blocks64[2][block] + 4 * row, series)
    blocks32[0][block] = row + 1
    numbers[SERIES] = series + 1
    insert(tables[T_INDEX], first, second, series + 1)
    numbers[INDEX] += 1
    return series + 2


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def ingest(
    base: Any, numbers: Any, seeds: Any, tables: Any, unknown: Any, elsewhere: Any, definition_name: Any,
    definition_step: Any, columns32: Any, columns64: Any, blocks64: Any, blocks32: Any, windows: Any,
    touched: Any, spans: Any,
) -> int:  # fmt: skip
    """Place lines from `numbers[POSITION]` on; returns why it stopped. The text at `base` must end with a
    line feed at `numbers[END]` and be readable eight bytes further."""
    position, end = numbers[POSITION], numbers[END]
    now, oldest, newest = numbers[NOW], numbers[OLDEST], numbers[NEWEST]
    default = numbers[DEFAULT]
    names, keys = tables[T_NAMES], tables[T_KEYS]
    lines, accepted, ignored = 0, 0, 0
    reason = DONE
    while position < end:
        byte = load_u8(base + position)
        if byte == 10:
            position += 1
            lines += 1
            continue
        if byte == 32:
            position += 1
            continue
        if byte == 35:
            position = _line_end(base, position) + 1
            lines += 1
            continue

        # The name: up to the first comma or space
        at = position
        first, second = seeds[4], seeds[5]
        while True:
            word = load_u64(base + at)
            found = (
                marks(word, COMMAS) | marks(word, SPACES) | marks(word, LINE_FEEDS) | marks(word, BACKSLASHES)
            )
            if found != U(0):
                break
            first, second = mix(first, word, seeds[0]), mix(second, word, seeds[1])
            at += 8
        inside = trailing_zeros(found) >> 3
        word = first_bytes(word, inside)
        first, second = mix(first, word, seeds[0]), mix(second, word, seeds[1])
        at += inside
        first, second = mix(first, U(at - position), seeds[2]), mix(second, U(at - position), seeds[3])
        byte = load_u8(base + at)
        if byte == 10 or byte == 92:
            reason = SLOW
            break
        name = find(names, first, second)
        if name == 0:
            reason = SLOW
            break
        if name & 1 == 1:
            stop = _line_end(base, at)
            if stop - position > MAX_LINE_BYTES:
                reason = SLOW
                break
            unknown[(name - 3) >> 1] += 1
            ignored += 1
            lines += 1
            position = stop + 1
            continue
        name = (name - 2) >> 1

        # The key: up to the first space
        key_start = at
        first, second = mix(first, U(default), seeds[0]), mix(second, U(default), seeds[1])
        while True:
            word = load_u64(base + at)
            found = marks(word, SPACES) | marks(word, LINE_FEEDS) | marks(word, BACKSLASHES)
            if found != U(0):
                break
            first, second = mix(first, word, seeds[0]), mix(second, word, seeds[1])
            at += 8
        inside = trailing_zeros(found) >> 3
        word = first_bytes(word, inside)
        first, second = mix(first, word, seeds[0]), mix(second, word, seeds[1])
        at += inside
        key_end = at
        first, second = mix(first, U(at - key_start), seeds[2]), mix(second, U(at - key_start), seeds[3])
        if load_u8(base + at) != 32:
            reason = SLOW
            break
        series = find(keys, first, second)
        if series == 1:
            stop = _line_end(base, at)
            if stop - position > MAX_LINE_BYTES:
                reason = SLOW
                break
            elsewhere[name] += 1
            ignored += 1
            lines += 1
            position = stop + 1
            continue

        # The value
        while load_u8(base + at) == 32:
            at += 1
        if first_bytes(load_u64(base + at), 6) != _VALUE:
            reason = SLOW
            break
        at += 6
        byte = load_u8(base + at)
        negative = byte == 45
        if negative:
            at += 1
            byte = load_u8(base + at)
        mantissa, digits, seen, exponent, plain = U(0), 0, 0, 0, True
        while 48 <= byte <= 57:
            mantissa = mantissa * U(10) + U(byte - 48)
            digits += mantissa != U(0)
            seen += 1
            at += 1
            byte = load_u8(base + at)
        if byte == 46:
            plain = False
            at += 1
            byte = load_u8(base + at)
            while 48 <= byte <= 57:
                mantissa = mantissa * U(10) + U(byte - 48)
                digits += mantissa != U(0)
                seen += 1
                exponent -= 1
                at += 1
                byte = load_u8(base + at)
        if seen == 0 or digits > 18 or seen > 380:
            reason = SLOW
            break
        if byte == 101 or byte == 69:
            plain = False
            at += 1
            byte = load_u8(base + at)
            lower = byte == 45
            if byte == 45 or byte == 43:
                at += 1
                byte = load_u8(base + at)
            power, length = 0, 0
            while 48 <= byte <= 57 and length < 6:
                power = power * 10 + (byte - 48)
                length += 1
                at += 1
                byte = load_u8(base + at)
            if length == 0 or length == 6:
                reason = SLOW
                break
            exponent += -power if lower else power
        if plain and (byte == 105 or byte == 117):
            if negative and byte == 117:
                reason = SLOW
                break
            at += 1
            byte = load_u8(base + at)
            value = np.float64(-np.int64(mantissa) if negative else np.int64(mantissa))
        else:
            good, value = decimal(mantissa, exponent)
            if not good:
                reason = SLOW
                break
            if negative:
                value = -value

        # The time
        time = now
        if byte == 32:
            while byte == 32:
                at += 1
                byte = load_u8(base + at)
            if 48 <= byte <= 57:
                stamp, length = U(0), 0
                while 48 <= byte <= 57 and length < 20:
                    stamp = stamp * U(10) + U(byte - 48)
                    length += 1
                    at += 1
                    byte = load_u8(base + at)
                if length > 19 or stamp >= _EXACT_INTEGER:
                    reason = SLOW
                    break
                time = np.int64(stamp)
                if time >= 100_000_000_000:
                    if time < 100_000_000_000_000:
                        time //= 1_000
                    elif time < 100_000_000_000_000_000:
                        time //= 1_000_000
                    else:
                        time //= 1_000_000_000
                while byte == 32:
                    at += 1
                    byte = load_u8(base + at)
        if byte == 13:
            at += 1
            byte = load_u8(base + at)
        if byte != 10 or time > newest or time < oldest or at - position > MAX_LINE_BYTES:
            reason = SLOW
            break

        # The series
        if series == 0:
            if (
                numbers[KEYS] >= numbers[KEYS_LIMIT]
                or numbers[SERIES] >= numbers[SERIES_LIMIT]
                or numbers[INDEX] >= numbers[INDEX_LIMIT]
            ):
                reason = GROW
                break
            series = first_sight(
                base, key_start, key_end, name, numbers, seeds, tables, definition_name, definition_step,
                columns32, blocks64, blocks32, spans,
            )  # fmt: skip
            if series <= 0:
                reason = SLOW if series == 0 else ROWS
                break
            numbers[KEYS] += insert(keys, first, second, series)
            if series == 1:
                continue  # found under its key now
        series -= 2
        block = np.int64(columns32[0][series])

        # The slot: as SeriesTable.place
        step = blocks64[0][block]
        half = step // 2
        last = columns64[1][series]
        moved = False
        new_phase = 0
        if last == NEVER:
            new_phase = (time + half) % step - half
            phase = new_phase
            slot = (time - phase + half) // step
        else:
            phase = np.int64(columns32[4][series] if time >= columns64[0][series] else columns32[5][series])
            slot = (time - phase + half) // step
            if slot > last:
                deviation = time - slot * step - phase
                if 4 * abs(deviation) > step:
                    moved = True
                    new_phase, new_slot = phase + deviation, slot
                    if slot > last + 1 or new_phase < -step or new_phase >= step:
                        near = (time + half) % step - half
                        near_slot = (time - near + half) // step
                        if near_slot > last or new_phase < -step or new_phase >= step:
                            new_phase, new_slot = near, near_slot
                    slot = new_slot
        slots = blocks64[1][block]
        window = slot // slots
        ring = window & 3
        if windows[0][block, ring] != window:
            reason = SLOW
            break
        if last == NEVER:
            columns32[4][series] = new_phase
            columns32[5][series] = new_phase
        elif moved:
            columns32[5][series] = phase
            columns32[4][series] = new_phase
            columns64[0][series] = time
        if slot > last:
            columns64[1][series] = slot
        row = np.int64(columns32[1][series])
        store_f64(windows[1][block, ring] + 8 * (row * slots + slot - window * slots), value)
        touched[block, ring] = 3
        accepted += 1
        lines += 1
        position = at + 1
    numbers[POSITION] = position
    numbers[LINES] += lines
    numbers[ACCEPTED] += accepted
    numbers[UNKNOWN] += ignored
    return reason
