"""The bytes of a checkpoint object: one window of one time step for many hosts, describing itself.

"CCB1", u32 length and u32 CRC-32 of the header; the header (zstd of JSON: names, whose block is where,
each with its CRC-32); per block its columns (zstd) and its samples as `codec` encodes them
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import zstandard

from cc_metric_store import codec
from cc_metric_store.blocks import Block
from cc_metric_store.engine import Engine
from cc_metric_store.series import Host

MAGIC = b"CCB1"
_MOST_HEADER = 256 * 1024 * 1024
_PREFIX = struct.Struct("<4sII")  # magic, length and CRC-32 of the header
COLUMNS: list[tuple[str, str]] = [
    ("name", "<i4"), ("component", "<i4"), ("phase", "<i4"), ("earlier_phase", "<i4"),
    ("since", "<i8"), ("last_slot", "<i8"),
]  # fmt: skip


@dataclass(slots=True)
class StoredBlock:
    """One window of one host as it lies in an object."""

    cluster: str
    host: str
    timestep: int
    slots: int
    window: int
    metrics: list[str]
    components: list[list[str]]
    columns: dict[str, np.ndarray[Any, np.dtype[Any]]]
    data: bytes


class ObjectBuilder:
    """Puts blocks together to one object."""

    def __init__(self) -> None:
        self.size = 0
        self.blocks: list[dict[str, Any]] = []
        self._body: list[bytes] = []
        self._metrics: dict[int, int] = {}
        self._components: dict[int, int] = {}
        self._metric_names: list[str] = []
        self._component_names: list[list[str]] = []

    def add(
        self, engine: Engine, host: Host, block: Block, window: int, columns: dict[str, Any], data: bytes
    ) -> None:
        own = dict(columns)
        own["name"] = self._numbers(
            columns["name"], self._metrics, self._metric_names, engine.names.metrics.__getitem__
        )

        def component(number: int) -> list[str]:
            found = engine.names.components[number]
            return [found.name, found.subname, found.type]

        own["component"] = self._numbers(
            columns["component"], self._components, self._component_names, component
        )
        packed = zstandard.ZstdCompressor(level=1).compress(
            b"".join(np.ascontiguousarray(own[name], dtype).tobytes() for name, dtype in COLUMNS)
        )
        self.blocks.append(
            {
                "cluster": host.cluster, "host": host.name, "timestep": block.timestep, "slots": block.slots,
                "window": window, "rows": len(columns["name"]), "columns": len(packed), "data": len(data),
                "crc": zlib.crc32(data, zlib.crc32(packed)),
            }
        )  # fmt: skip
        self._body += [packed, data]
        self.size += len(packed) + len(data)

    def finish(self) -> bytes:
        header = zstandard.ZstdCompressor(level=3).compress(
            orjson.dumps(
                {
                    "metrics": self._metric_names,
                    "components": self._component_names,
                    "blocks": self.blocks,
                }
            )
        )
        return b"".join([_PREFIX.pack(MAGIC, len(header), zlib.crc32(header)), header, *self._body])

    @staticmethod
    def _numbers(
        values: np.ndarray[Any, Any], known: dict[int, int], names: list[Any], text: Callable[[int], Any]
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        distinct, inverse = np.unique(values, return_inverse=True)
        own = np.empty(len(distinct), np.int32)
        for index, number in enumerate(distinct.tolist()):
            if number not in known:
                known[number] = len(names)
                names.append(text(number))
            own[index] = known[number]
        return own[inverse]


def read_object(content: bytes) -> Iterator[StoredBlock | None]:
    """The blocks of an object; None for one whose checksum is wrong. ValueError, KeyError or struct.error
    where the object cannot be read at all."""
    header, offset = _header(content)
    for block in header["blocks"]:
        packed = content[offset : offset + block["columns"]]
        offset += block["columns"]
        data = content[offset : offset + block["data"]]
        offset += block["data"]
        if zlib.crc32(data, zlib.crc32(packed)) != block["crc"]:
            yield None
            continue
        rows = block["rows"]
        raw = codec.unpack(packed, 32 * rows + 64)
        columns: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
        position = 0
        for name, dtype in COLUMNS:
            columns[name] = np.frombuffer(raw, dtype, rows, position)
            position += columns[name].nbytes
        yield StoredBlock(
            block["cluster"], block["host"], block["timestep"], block["slots"], block["window"],
            header["metrics"], header["components"], columns, data,
        )  # fmt: skip


def window_of(content: bytes) -> tuple[int, int, int]:
    """Time step, window and slots of an object; errors as `read_object`."""
    header, _ = _header(content)
    first = header["blocks"][0]
    return first["timestep"], first["window"], first["slots"]


def _header(content: bytes) -> tuple[Any, int]:
    """The header, and where the blocks begin."""
    magic, length, checksum = _PREFIX.unpack_from(content)
    if magic != MAGIC or _PREFIX.size + length > len(content):
        raise ValueError("not a checkpoint object")
    packed = content[_PREFIX.size : _PREFIX.size + length]
    if zlib.crc32(packed) != checksum:
        # Whose blocks these are would be guesswork
        raise ValueError("the header's checksum is wrong")
    text = codec.unpack(packed, _MOST_HEADER)
    return orjson.loads(text), _PREFIX.size + length
