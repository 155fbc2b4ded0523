"""Compiled building blocks for bytes: loads and stores at addresses, keyed hashing, exact decimals.

Importing this module needs Numba and a folder its cache can be written to (`kernels.load` sees to both).

Decimal to binary: W. Clinger (1990) for short mantissas, D. Lemire, "Number Parsing at a Gigabyte per
Second" (2021, after M. Eisel) for the rest; what neither can decide is left to Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_I32, _I64, _I128, _F64 = ir.IntType(32), ir.IntType(64), ir.IntType(128), ir.DoubleType()


@intrinsic  # type: ignore[untyped-decorator]
def load_u64(_context: Any, _address: Any) -> Any:
    """The eight bytes at an address, which need not be aligned."""

    def code(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], _I64.as_pointer()), align=1)

    return types.uint64(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def load_u8(_context: Any, _address: Any) -> Any:
    def code(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        byte = builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))
        return builder.zext(byte, _I64)

    return types.int64(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def store_f64(_context: Any, _address: Any, _value: Any) -> Any:
    def code(context: Any, builder: Any, _s: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], _F64.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), code


@intrinsic  # type: ignore[untyped-decorator]
def store_i32(_context: Any, _address: Any, _value: Any) -> Any:
    def code(context: Any, builder: Any, _s: Any, args: Any) -> Any:
        builder.store(builder.trunc(args[1], _I32), builder.inttoptr(args[0], _I32.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def multiply(_context: Any, _a: Any, _b: Any) -> Any:
    """The 128-bit product as (high, low)."""
    signature = types.UniTuple(types.uint64, 2)(types.uint64, types.uint64)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.mul(builder.zext(args[0], _I128), builder.zext(args[1], _I128))
        low = builder.trunc(product, _I64)
        high = builder.trunc(builder.lshr(product, ir.Constant(_I128, 64)), _I64)
        return context.make_tuple(builder, signature.return_type, (high, low))

    return signature, code


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(_context: Any, _word: Any) -> Any:
    def code(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]
def leading_zeros(_context: Any, _word: Any) -> Any:
    def code(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]
def float_of_bits(_context: Any, _word: Any) -> Any:
    def code(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _F64)

    return types.float64(types.uint64), code


U = np.uint64
_LOW = U(0x0101010101010101)
_HIGH = U(0x8080808080808080)
LINE_FEEDS = U(0x0A0A0A0A0A0A0A0A)
SPACES = U(0x2020202020202020)
COMMAS = U(0x2C2C2C2C2C2C2C2C)
BACKSLASHES = U(0x5C5C5C5C5C5C5C5C)


@njit(inline="always", nogil=True)  # type: ignore[untyped-decorator]
def marks(word: Any, pattern: Any) -> Any:
    """A word whose lowest set bit marks the first byte that equals the pattern's; 0 if none does."""
    difference = word ^ pattern
    return (difference - _LOW) & ~difference & _HIGH


@njit(inline="always", nogil=True)  # type: ignore[untyped-decorator]
def first_bytes(word: Any, count: Any) -> Any:
    """The word's first `count` (0 to 7) bytes, the others zero."""
    return word & ((U(1) << (U(count) << U(3))) - U(1))


@njit(inline="always", nogil=True)  # type: ignore[untyped-decorator]
def mix(state: Any, word: Any, secret: Any) -> Any:
    high, low = multiply(state ^ word, secret)
    return high ^ low


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def hash_text(address: Any, length: Any, first: Any, second: Any, seeds: Any) -> Any:
    """Two 64-bit hashes of the bytes at an address, from two starting states. Eight bytes past the end are
    read (not used)."""
    at, left = address, length
    while left >= 8:
        word = load_u64(at)
        first, second = mix(first, word, seeds[0]), mix(second, word, seeds[1])
        at += 8
        left -= 8
    word = first_bytes(load_u64(at), left)
    first, second = mix(first, word, seeds[0]), mix(second, word, seeds[1])
    return mix(first, U(length), seeds[2]), mix(second, U(length), seeds[3])


@njit(inline="always", nogil=True)  # type: ignore[untyped-decorator]
def find(table: Any, first: Any, second: Any) -> Any:
    """The number stored under two hashes, 0 if there is none. The table is never full."""
    mask = U(table.shape[0] - 1)
    place = first & mask
    while True:
        entry = table[place, 1]
        if entry == U(0):
            return 0
        if table[place, 0] == first and (entry ^ second) >> U(32) == U(0):
            return np.int64(entry & U(0xFFFFFFFF))
        place = (place + U(1)) & mask


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def insert(table: Any, first: Any, second: Any, number: Any) -> Any:
    """Store a number (1 to 2³²-1) under two hashes; True if the entry is new."""
    mask = U(table.shape[0] - 1)
    place = first & mask
    while True:
        entry = table[place, 1]
        if entry == U(0) or (table[place, 0] == first and (entry ^ second) >> U(32) == U(0)):
            table[place, 0] = first
            table[place, 1] = (second & U(0xFFFFFFFF00000000)) | U(number)
            return entry == U(0)
        place = (place + U(1)) & mask


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def rehash(old: Any, new: Any) -> Any:
    mask = U(new.shape[0] - 1)
    for index in range(old.shape[0]):
        if old[index, 1] != U(0):
            place = old[index, 0] & mask
            while new[place, 1] != U(0):
                place = (place + U(1)) & mask
            new[place, 0] = old[index, 0]
            new[place, 1] = old[index, 1]


def _powers() -> np.ndarray[Any, np.dtype[np.uint64]]:
    """128-bit truncated significands of 10^q for q from -348 to 347."""
    table = np.empty((696, 2), np.uint64)
    for index, exponent in enumerate(range(-348, 348)):
        if exponent >= 0:
            power = 10**exponent
            bits = power.bit_length()
            significand = power << (128 - bits) if bits <= 128 else power >> (bits - 128)
        else:
            divisor = 10**-exponent
            shift = divisor.bit_length() + 127
            significand = (1 << shift) // divisor
            if significand.bit_length() > 128:
                significand >>= 1
            significand += 1  # rounded up for negative powers, as the proof wants it
        table[index, 0], table[index, 1] = significand >> 64, significand & 0xFFFFFFFFFFFFFFFF
    return table


_POWERS = _powers()
_EXACT = np.array([10.0**i for i in range(23)])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def decimal(mantissa: Any, exponent: Any) -> Any:
    """(True, mantissa · 10^exponent correctly rounded), or (False, 0) where this cannot be decided here.
    The mantissa must be exact (at most 19 digits)."""
    if mantissa == U(0):
        return True, 0.0
    if mantissa <= U(0x20000000000000) and -22 <= exponent <= 22:
        if exponent < 0:
            return True, np.float64(mantissa) / _EXACT[-exponent]
        return True, np.float64(mantissa) * _EXACT[exponent]
    if exponent < -348 or exponent > 347:
        return False, 0.0
    zeros = leading_zeros(mantissa)
    shifted = mantissa << zeros
    binary = ((217706 * exponent) >> 16) + 64 + 1023 - np.int64(zeros)
    high, low = multiply(shifted, _POWERS[exponent + 348, 0])
    if high & U(0x1FF) == U(0x1FF) and low + shifted < shifted:
        more_high, more_low = multiply(shifted, _POWERS[exponent + 348, 1])
        merged_high, merged_low = high, low + more_high
        if merged_low < low:
            merged_high += U(1)
        if merged_high & U(0x1FF) == U(0x1FF) and merged_low + U(1) == U(0) and more_low + shifted < shifted:
            return False, 0.0
        high, low = merged_high, merged_low
    top = high >> U(63)
    result = high >> (top + U(9))
    binary -= np.int64(U(1) ^ top)
    if low == U(0) and high & U(0x1FF) == U(0) and result & U(3) == U(1):
        return False, 0.0
    result += result & U(1)
    result >>= U(1)
    if result >> U(53) > U(0):
        result >>= U(1)
        binary += 1
    if binary < 1 or binary > 2046:
        return False, 0.0
    return True, float_of_bits((U(binary) << U(52)) | (result & U(0xFFFFFFFFFFFFF)))
