"""Sealed blocks as bytes."""

from __future__ import annotations

import struct

import numpy as np
import zstandard
from numpy.typing import NDArray

_HEAD = struct.Struct("<BIII")


def encode(matrix: NDArray[np.float64]) -> bytes:
    rows, slots = matrix.shape
    raw = np.ascontiguousarray(matrix).view(np.uint8).reshape(-1, 8).T.tobytes()
    return _HEAD.pack(0, rows, slots, len(raw)) + zstandard.ZstdCompressor(level=3).compress(raw)


def decode(content: bytes) -> NDArray[np.float64]:
    _, rows, slots, length = _HEAD.unpack_from(content)
    raw = zstandard.ZstdDecompressor().decompress(content[_HEAD.size :], max_output_size=length)
    shuffled = np.frombuffer(raw, np.uint8).reshape(8, -1)
    return np.ascontiguousarray(shuffled.T).view(np.float64).reshape(rows, slots)
