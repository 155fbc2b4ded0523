"""Sealed windows as bytes: decimals become integers, floats become float32, all of it compressed.

What comes back (D4): integers and decimals of up to seven significant digits exactly; any other value at
least as exactly as float32 holds it; a gap (NaN) as a gap. A row whose values are all decimals comes back
exactly however many digits they have. Rows that must be exact keep every bit.

A window is split into frames of rows that belong together (`Layout`), so that reading one metric unpacks one
frame. Per frame, before zstd:

    u8     kind per row: 0 empty, 1 + e integer scaled by 10^e, 32 float32, 33 float64
    u8     0: no gap among the rows that are not empty, 1: a bit per sample follows (1 = there)
    i64    base per integer row; u8 width of their values; u8 1: differences in time, 0: distance from base
    bytes  integers, byte-shuffled (all lowest bytes first)
    u32    base per float32 row; floats as order-preserving integers less their base, byte-shuffled
    u64    likewise for float64 rows
    u32 n, u32 position and f64 value of samples that float32 would not hold as exactly as promised
    8 zero bytes
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

EMPTY, INTEGER, FLOAT32, FLOAT64 = 0, 1, 32, 33
_MOST_DECIMALS = 7
_OWN_FRAME = 8  # rows of one metric that make a frame of their own
_LEVEL = 3
_OWN_BLOCK = 256  # bytes
_MOST_SLOTS = 1_000_000
_HEAD = struct.Struct("<BIIH")  # format, rows, slots, frames
_FORMAT = 1
_POWERS = np.array([10.0**i for i in range(23)])
_FLOAT32_LEAST, _FLOAT32_MOST = 1.1754943508222875e-38, 3.4028234663852886e38
_EXACT = 2.0**53
_PADDING = 8  # bytes behind a frame, so that it can be read word by word
_local = threading.local()
_compiled: Callable[[bytes, int, int], Matrix] | None = None


class DamagedBlockError(ValueError):
    """The bytes are not a block."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which rows lie in which frame: those of a metric with many rows in one of their own, all others
    together in the first. It follows from the rows' metrics in their order, which only ever grows."""

    frames: tuple[NDArray[np.int64], ...]
    frame_of: NDArray[np.int64]  # per row
    place_of: NDArray[np.int64]  # per row: its place in the frame

    @classmethod
    def of(cls, names: NDArray[np.int32]) -> Layout:
        _, first, inverse, counts = np.unique(
            names, return_index=True, return_inverse=True, return_counts=True
        )
        frame_of = np.zeros(len(names), np.int64)
        frames = [np.flatnonzero(counts[inverse] < _OWN_FRAME)]
        for group in np.argsort(first):
            if counts[group] >= _OWN_FRAME:
                rows = np.flatnonzero(inverse == group)
                frame_of[rows] = len(frames)
                frames.append(rows)
        place_of = np.zeros(len(names), np.int64)
        for rows in frames:
            place_of[rows] = np.arange(len(rows))
        return cls(tuple(frames), frame_of, place_of)


def encode(matrix: Matrix, layout: Layout, exact: NDArray[np.bool_] | None = None) -> bytes:
    """Rows and slots as bytes; `exact` marks rows that keep every bit."""
    rows, slots = matrix.shape
    frames = [
        _compress(_frame(matrix[members], None if exact is None else exact[members]))
        for members in layout.frames
    ]
    sizes = struct.pack(f"<{len(frames)}I", *map(len, frames))
    return b"".join([_HEAD.pack(_FORMAT, rows, slots, len(frames)), sizes, *frames])


def decode(content: bytes, layout: Layout) -> Matrix:
    """The whole window. DamagedBlockError if the bytes cannot be one."""
    rows, slots, _ = _header(content)
    if rows != len(layout.frame_of):
        raise DamagedBlockError(f"block has {rows} rows, not {len(layout.frame_of)}")
    matrix: Matrix = np.full((rows, slots), np.nan)
    for frame, members in enumerate(layout.frames):
        if len(members):
            matrix[members] = decode_frame(content, frame, len(members))
    return matrix


def decode_rows(content: bytes, layout: Layout, rows: NDArray[np.int64]) -> Matrix:
    """Some rows of a window, in the order asked for; only the frames they lie in are unpacked."""
    frames = layout.frame_of[rows]
    if len(frames) and (frames == frames[0]).all():
        unpacked = decode_frame(content, int(frames[0]), len(layout.frames[int(frames[0])]))
        places = layout.place_of[rows]
        if len(places) == len(unpacked) and (places == np.arange(len(places))).all():
            return unpacked
        return unpacked[places]
    _, slots, _ = _header(content)
    result: Matrix = np.empty((len(rows), slots))
    for frame in np.unique(frames).tolist():
        mask = frames == frame
        result[mask] = decode_frame(content, frame, len(layout.frames[frame]))[layout.place_of[rows[mask]]]
    return result


def _header(content: bytes) -> tuple[int, int, int]:
    try:
        form, rows, slots, frames = _HEAD.unpack_from(content)
    except struct.error:
        raise DamagedBlockError("block is too short") from None
    if form != _FORMAT:
        raise DamagedBlockError(f"block format {form} is not known")
    if slots > _MOST_SLOTS:
        raise DamagedBlockError(f"block claims to have {slots} slots")
    return rows, slots, frames


def decode_frame(content: bytes, frame: int, rows: int) -> Matrix:
    """One frame of a window as rows and slots."""
    _, slots, frames = _header(content)
    if frame >= frames:
        raise DamagedBlockError("block has fewer frames than its layout")
    try:
        sizes = struct.unpack_from(f"<{frame + 1}I", content, _HEAD.size)
    except struct.error:
        raise DamagedBlockError("block is too short") from None
    begin = _HEAD.size + 4 * frames + sum(sizes[:-1])
    raw = unpack(memoryview(content)[begin : begin + sizes[-1]], rows * (40 + slots * 25) + 64)
    if _compiled is not None:
        return _compiled(raw, rows, slots)
    return _unframe(raw, rows, slots)


def accelerate(unframe: Any) -> None:
    """Use the compiled form of `_unframe` (`read_kernel.unframe`) from now on."""

    def compiled(raw: bytes, rows: int, slots: int) -> Matrix:
        matrix: Matrix = np.empty((rows, slots))
        address = np.frombuffer(raw, np.uint8).ctypes.data
        if not unframe(address, len(raw) - _PADDING, rows, slots, matrix):
            raise DamagedBlockError("frame is damaged")
        return matrix

    global _compiled
    _compiled = compiled


def unpack(content: bytes | memoryview, most: int) -> bytes:
    """A zstd frame's content, at most `most` bytes. DamagedBlockError for anything else."""
    try:
        # The frame says how long it is, and is believed unless somebody looks
        if zstandard.frame_content_size(content) > most:
            raise DamagedBlockError(f"content is longer than {most} bytes")
        return _decompressor().decompress(content, max_output_size=most)
    except zstandard.ZstdError as error:
        raise DamagedBlockError(str(error)) from None


# --- one frame ------------------------------------------------------------------------------------


def _frame(matrix: Matrix, exact: NDArray[np.bool_] | None) -> list[bytes]:
    there: NDArray[np.bool_] = ~np.isnan(matrix)
    filled: NDArray[np.bool_] = np.any(there, axis=1)
    kinds = np.where(filled, FLOAT32, EMPTY).astype(np.uint8)
    integers = np.zeros_like(matrix, np.int64)
    _find_integers(matrix, there, filled, kinds, integers)
    whole = (kinds >= INTEGER) & (kinds < FLOAT32)
    single = kinds == FLOAT32
    if exact is not None:
        kinds[single & exact] = FLOAT64
    single = kinds == FLOAT32
    promised = np.zeros_like(there)
    if single.any():
        promised[single] = _broken_promises(matrix[single], there[single])
        size = np.abs(matrix[single])
        odd = there[single] & (size != 0) & ((size < _FLOAT32_LEAST) | (size > _FLOAT32_MOST))
        many = promised[single].sum(axis=1) * 8 > there[single].sum(axis=1)
        worse = np.flatnonzero(single)[odd.any(axis=1) | many]
        kinds[worse] = FLOAT64
        promised[worse] = False
        single = kinds == FLOAT32
    gaps = not there[filled].all()
    parts = [kinds.tobytes(), b"\1" if gaps else b"\0"]
    if gaps:
        parts.append(np.packbits(there[filled]).tobytes())
    if whole.any():
        parts += _pack_integers(integers[whole], there[whole])
    if single.any():
        bits = _ordered32(matrix[single], there[single])
        base = bits.min(axis=1)
        parts += [base.tobytes(), *_shuffle(bits - base[:, None])]
    double = kinds == FLOAT64
    if double.any():
        wide = _ordered64(matrix[double], there[double])
        wide_base = wide.min(axis=1)
        parts += [wide_base.tobytes(), *_shuffle(wide - wide_base[:, None])]
    positions = np.flatnonzero(promised)
    parts += [
        struct.pack("<I", len(positions)),
        positions.astype("<u4").tobytes(),
        matrix.ravel()[positions].astype("<f8").tobytes(),
        bytes(_PADDING),
    ]
    return parts


def _compress(parts: list[bytes]) -> bytes:
    """One zstd frame. Long parts get blocks of their own: the bytes of one significance are alike, and the
    random lowest ones would spoil the statistics of the others."""
    stream = _compressor().compressobj(size=sum(map(len, parts)))
    pieces: list[bytes] = []
    for part in parts:
        pieces.append(stream.compress(part))
        if len(part) >= _OWN_BLOCK:
            pieces.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    pieces.append(stream.flush())
    return b"".join(pieces)


def _find_integers(
    matrix: Matrix,
    there: NDArray[np.bool_],
    filled: NDArray[np.bool_],
    kinds: NDArray[np.uint8],
    integers: NDArray[np.int64],
) -> None:
    """Give every row that is decimal its smallest power of ten, and its values as integers."""
    left = np.flatnonzero(filled)
    # A sample of columns tells most rows of measured floats apart without eight passes over all
    probe = np.unique(np.linspace(0, matrix.shape[1] - 1, 6).astype(np.int64))
    for decimals in range(_MOST_DECIMALS + 1):
        if not len(left):
            return
        power = _POWERS[decimals]
        likely = left[_are_integers(matrix[np.ix_(left, probe)], power).all(axis=1)]
        if len(likely):
            values = matrix[likely]
            good = _are_integers(values, power).all(axis=1)
            chosen = likely[good]
            kinds[chosen] = INTEGER + decimals
            scaled = np.rint(np.where(there[chosen], values[good], 0.0) * power)
            integers[chosen] = scaled.astype(np.int64)
            left = left[~np.isin(left, chosen)]


def _are_integers(values: Matrix, power: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.rint(values * power)
        good: NDArray[np.bool_] = (scaled / power == values) & (np.abs(scaled) < _EXACT)
    return good | np.isnan(values)


def _broken_promises(values: Matrix, there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Samples that float32 changes although they are integers or decimals of up to seven digits."""
    with np.errstate(all="ignore"):
        changed = there & (values.astype(np.float32).astype(np.float64) != values)
        size = np.abs(values)
        shift = 6 - np.floor(np.log10(size))
        near = np.abs(shift) <= 22
        index = np.where(changed & near, np.abs(shift), 0).astype(np.int64)
        power = _POWERS[index]
        decimal = np.zeros_like(there)
        for correction in (0, 1):  # the logarithm may be off by one at a power of ten
            scaled = np.where(shift >= 0, size * power, size / power)
            rounded = np.rint(scaled)
            back = np.where(shift >= 0, rounded / power, rounded * power)
            decimal |= (back == size) & (rounded < 1e7 + 1)
            if correction == 0:
                shift = shift + 1
                power = _POWERS[np.where(changed & (np.abs(shift) <= 22), np.abs(shift), 0).astype(np.int64)]
        whole = (np.rint(values) == values) & (size < _EXACT)
    broken: NDArray[np.bool_] = changed & (~near | decimal | whole)
    return broken


def _pack_integers(values: NDArray[np.int64], there: NDArray[np.bool_]) -> list[bytes]:
    values = _without_gaps(values, there)
    steps = np.diff(values, axis=1)
    signed = (steps << 1) ^ (steps >> 63)
    lowest = values.min(axis=1)
    offsets = values - lowest[:, None]
    # Slow change is small in differences, noise in the distance from the lowest value
    differences = float(np.log2(signed + 1.0).sum()) < float(np.log2(offsets + 1.0).sum())
    if differences:
        base = values[:, 0]
        coded = np.concatenate([np.zeros((len(values), 1), np.int64), signed], axis=1)
    else:
        base, coded = lowest, offsets
    most = int(coded.max())
    width = 1 if most < 1 << 8 else 2 if most < 1 << 16 else 4 if most < 1 << 32 else 8
    return [
        base.astype("<i8").tobytes(),
        bytes((width, differences)),
        *_shuffle(coded.astype(f"<u{width}")),
    ]


def _without_gaps(values: NDArray[np.int64], there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Gaps filled with the value before them (the first value at the beginning): they cost nothing then."""
    if there.all():
        return values
    columns = np.where(there, np.arange(values.shape[1]), -1)
    before = np.maximum.accumulate(columns, axis=1)
    first = there.argmax(axis=1)
    before = np.where(before < 0, first[:, None], before)
    filled: NDArray[np.int64] = np.take_along_axis(values, before, axis=1)
    return filled


def _ordered32(values: Matrix, there: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """float32 as integers in the same order: near values are near numbers."""
    bits = values.astype("<f4").view("<u4")
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return _fill(ordered.astype("<u4"), there)


def _ordered64(values: Matrix, there: NDArray[np.bool_]) -> NDArray[np.uint64]:
    bits = np.ascontiguousarray(values).view("<u8")
    ordered = np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(1 << 63))
    return _fill(ordered.astype("<u8"), there)


def _fill(values: NDArray[Any], there: NDArray[np.bool_]) -> NDArray[Any]:
    if there.all():
        return values
    return _without_gaps(values.astype(np.uint64).view(np.int64), there).view(np.uint64).astype(values.dtype)


def _shuffle(values: NDArray[np.unsignedinteger]) -> list[bytes]:
    """All lowest bytes, then all second ones, …"""
    packed = np.ascontiguousarray(values)
    planes = packed.view(np.uint8).reshape(-1, packed.itemsize).T
    return [plane.tobytes() for plane in planes]


def _unshuffle(raw: bytes, position: int, count: int, width: int) -> NDArray[np.unsignedinteger]:
    planes = np.frombuffer(raw, np.uint8, count * width, position).reshape(width, count)
    return np.ascontiguousarray(planes.T).view(f"<u{width}").ravel()


def _unframe(raw: bytes, rows: int, slots: int) -> Matrix:
    """The reverse of `_frame`."""
    try:
        kinds = np.frombuffer(raw, np.uint8, rows)
        position = rows
        filled = np.flatnonzero(kinds)
        there: NDArray[np.bool_] | None = None
        gaps = raw[position]
        position += 1
        if gaps:
            size = -(-len(filled) * slots // 8)
            bits = np.unpackbits(np.frombuffer(raw, np.uint8, size, position), count=len(filled) * slots)
            there = bits.reshape(len(filled), slots).astype(bool)
            position += size
        matrix: Matrix = np.full((rows, slots), np.nan)
        whole = np.flatnonzero((kinds >= INTEGER) & (kinds < FLOAT32))
        if len(whole):
            base = np.frombuffer(raw, "<i8", len(whole), position)
            position += 8 * len(whole)
            width, differences = raw[position], raw[position + 1]
            position += 2
            if width not in (1, 2, 4, 8):
                raise DamagedBlockError(f"integers of {width} bytes")
            coded = _unshuffle(raw, position, len(whole) * slots, width).astype(np.int64)
            coded = coded.reshape(len(whole), slots)
            position += len(whole) * slots * width
            if differences:
                coded = np.cumsum((coded >> 1) ^ -(coded & 1), axis=1)
            with np.errstate(over="ignore"):
                matrix[whole] = (coded + base[:, None]) / _POWERS[kinds[whole] - INTEGER][:, None]
        single = np.flatnonzero(kinds == FLOAT32)
        if len(single):
            base32 = np.frombuffer(raw, "<u4", len(single), position)
            position += 4 * len(single)
            count = len(single) * slots
            ordered = _unshuffle(raw, position, count, 4).reshape(len(single), slots) + base32[:, None]
            position += 4 * count
            bits32 = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered).astype("<u4")
            with np.errstate(invalid="ignore"):  # a signalling NaN, which only damage can make
                matrix[single] = bits32.view("<f4")
        double = np.flatnonzero(kinds == FLOAT64)
        if len(double):
            base64 = np.frombuffer(raw, "<u8", len(double), position)
            position += 8 * len(double)
            count = len(double) * slots
            wide = _unshuffle(raw, position, count, 8).reshape(len(double), slots) + base64[:, None]
            position += 8 * count
            bits64 = np.where(wide >> np.uint64(63), wide & np.uint64((1 << 63) - 1), ~wide).astype("<u8")
            matrix[double] = bits64.view("<f8")
        if there is not None:
            matrix[filled] = np.where(there, matrix[filled], np.nan)
        (exceptions,) = struct.unpack_from("<I", raw, position)
        if exceptions:
            position += 4
            places = np.frombuffer(raw, "<u4", exceptions, position)
            matrix.ravel()[places] = np.frombuffer(raw, "<f8", exceptions, position + 4 * exceptions)
    except (ValueError, IndexError, struct.error) as error:
        raise DamagedBlockError(f"frame is damaged: {error}") from None
    return matrix


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
    compressor: zstandard.ZstdCompressor = _local.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
