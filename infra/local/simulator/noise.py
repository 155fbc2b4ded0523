"""Random numbers that depend on what they are for and when, not on when they are drawn.

A value is a hash of (key, index), where the index counts seconds or hardware threads. So the metrics of a
node over two hours are the same numbers whether they are made at once, in windows, or live (to the last
digit or two: NumPy sums in other orders). That is what makes a run repeatable from its seed and its start.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def key(*parts: object) -> int:
    """A 64 bit key of anything that has a stable text."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def generator(*parts: object) -> np.random.Generator:
    """A generator of its own for these parts, for decisions taken in a fixed order."""
    return np.random.Generator(np.random.PCG64(key(*parts)))


def _bits(of: int, index: Ints) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014) at the given counters."""
    z = index.astype(np.uint64) * _STEP + np.uint64(of)
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def uniform(of: int, index: Ints) -> Floats:
    """Even in [0, 1), one per index."""
    return (_bits(of, index) >> np.uint64(11)).astype(np.float64) * (1.0 / (1 << 53))


def normal(of: int, index: Ints) -> Floats:
    """Nearly Gaussian, mean 0, deviation 1, within ±3.5: the sum of four 16 bit parts of one hash."""
    bits = _bits(of, index)
    parts = bits.view(np.uint16).reshape(*bits.shape, 4)
    summed: Floats = parts.sum(axis=-1, dtype=np.float64)
    return (summed / 65536 - 2.0) * 1.7320508


def wander(of: int, times: Ints, period: int) -> Floats:
    """A smooth curve in [-1, 1] that changes over about `period` seconds."""
    knot = times // period
    part = (times % period) / period
    part = part * part * (3 - 2 * part)
    left, right = uniform(of, knot), uniform(of, knot + 1)
    return 2 * (left + (right - left) * part) - 1
