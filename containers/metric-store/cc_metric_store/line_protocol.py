"""The line protocol in plain Python: one line in, an address, a value and a time out.

    measurement { "," tagkey "=" tagvalue } " "+ "value=" number [ " "+ timestamp ]

This is the reference path. It serves while the kernel compiles and it is the oracle the kernel is tested
against; what it refuses, and why, is what a sender is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE_BYTES = 64 * 1024
MAX_NAME_BYTES = 255

# A host or cluster becomes part of addresses that people type and of object names: letters, digits and
# the punctuation host names have. Not ".", not "..", nothing that begins with a dot.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-:]{0,254}\Z")
# Names of components are free (mount points, PCI addresses): printable, bounded.
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_FLOAT = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_INTEGER = re.compile(rb"-?[0-9]+\Z")
_TIMESTAMP = re.compile(rb"-?[0-9]{1,19}\Z")


class LineError(Exception):
    """Why a line cannot be used. `reason` is a short fixed code that counters carry."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
    """Where a series lives. `component` is type and id put together (`hwthread12`), empty for the node;
    `subcomponent` likewise (`nvlink3`), empty where there is none."""

    cluster: str
    host: str
    component: str = ""
    subcomponent: str = ""
    type: str = ""  # the type alone, "" for the node


def measurement(line: bytes) -> bytes:
    """The still escaped name: everything before the first unescaped comma or space."""
    end = len(line)
    for index, byte in enumerate(line):
        if byte in b", " and (index == 0 or line[index - 1] != 0x5C):
            end = index
            break
    return line[:end]


def unescape(text: bytes, what: str) -> str:
    """The text a name stands for. LineError if it holds control characters or is not UTF-8."""
    if _CONTROL.search(text):
        raise LineError("syntax", f"{what} holds a control character")
    if b"\\" in text:
        text = text.replace(b"\\,", b",").replace(b"\\ ", b" ").replace(b"\\=", b"=")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise LineError("syntax", f"{what} is not valid UTF-8") from None


def split_key(line: bytes) -> tuple[bytes, bytes]:
    """The text before the first unescaped space, which names the series, and the rest."""
    position = line.find(b" ")
    while position > 0 and line[position - 1] == 0x5C:
        position = line.find(b" ", position + 1)
    if position < 0:
        return line, b""
    return line[:position], line[position:]


def parse_address(key: bytes, default_cluster: str) -> tuple[str, Address]:
    """Measurement and address of a series key. LineError says what is wrong with it."""
    name, *tags = _split(key, 0x2C)
    cluster, host = default_cluster, ""
    type_, type_id, subtype, subtype_id = "", "", "", ""
    for tag in tags:
        parts = _split(tag, 0x3D)
        if len(parts) != 2:
            raise LineError("syntax", f"tag {_shown(tag)} is not of the form key=value")
        tag_key, value = unescape(parts[0], "a tag key"), unescape(parts[1], "a tag value")
        if not tag_key or not value:
            raise LineError("syntax", f"tag {_shown(tag)} has an empty key or value")
        if tag_key == "cluster":
            cluster = value
        elif tag_key in ("hostname", "host"):
            host = value
        elif tag_key == "type":
            type_ = value
        elif tag_key == "type-id":
            type_id = value
        elif tag_key == "stype":
            subtype = value
        elif tag_key == "stype-id":
            subtype_id = value
    if not cluster:
        raise LineError("no cluster", "no cluster tag, and no default cluster was given")
    if not host:
        raise LineError("no host", "no hostname tag")
    if not _HOST.match(cluster):
        raise LineError("name", f"cluster name {cluster!r:.80} is not acceptable")
    if not _HOST.match(host):
        raise LineError("name", f"host name {host!r:.80} is not acceptable")
    if type_ == "node":
        type_, type_id = "", ""  # a node has no number: `type-id=0` still means the node
    component, subcomponent = type_ + type_id, subtype + subtype_id
    if len(component.encode()) > MAX_NAME_BYTES or len(subcomponent.encode()) > MAX_NAME_BYTES:
        raise LineError("name", f"component name is longer than {MAX_NAME_BYTES} bytes")
    return unescape(name, "the measurement"), Address(cluster, host, component, subcomponent, type_)


def parse_sample(rest: bytes, arrival: int) -> tuple[float, int]:
    """Value and time (Unix seconds) of what follows the series key; `arrival` where no time is given."""
    parts = rest.split(b" ")
    words = [part for part in parts if part]
    if not words:
        raise LineError("no field", "no field: expected value=NUMBER")
    if words[0].count(b'"') == 1:
        raise LineError("value", "value is text: only numbers can be stored")
    if len(words) > 2:
        raise LineError("syntax", "text after the time stamp")
    value: float | None = None
    for field in words[0].split(b","):
        name, sign, number = field.partition(b"=")
        if not sign:
            raise LineError("syntax", f"field {_shown(field)} is not of the form value=NUMBER")
        if name != b"value":
            raise LineError("field", f"field {_shown(name)} is not stored: only `value` is")
        value = parse_number(number)
    if value is None:
        raise LineError("no field", "no field: expected value=NUMBER")
    return value, arrival if len(words) == 1 else parse_timestamp(words[1])


def parse_number(text: bytes) -> float:
    """A float, a signed integer (`12i`) or an unsigned one (`12u`)."""
    if _FLOAT.match(text):
        if len(text) > 400:
            raise LineError("value", "number has more than 400 characters")
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise LineError("value", f"number {_shown(text)} is too large")
        return value
    suffix = text[-1:]
    if suffix in (b"i", b"u") and len(text) < 30 and _INTEGER.match(text[:-1]):
        number = int(text[:-1])
        low, high = (-(2**63), 2**63) if suffix == b"i" else (0, 2**64)
        if not low <= number < high:
            raise LineError("value", f"integer {_shown(text)} does not fit in 64 bits")
        return float(number)
    raise LineError("value", f"value {_shown(text)} is not a number")


def parse_timestamp(text: bytes) -> int:
    """Unix seconds; the unit (s, ms, us, ns) follows from the magnitude, parts of a second are cut off."""
    if not _TIMESTAMP.match(text):
        raise LineError("time", f"time stamp {_shown(text)} is not a whole number of at most 19 digits")
    number = int(text)
    magnitude = abs(number)
    if magnitude < 100_000_000_000:
        return number
    if magnitude < 100_000_000_000_000:
        return number // 1_000
    if magnitude < 100_000_000_000_000_000:
        return number // 1_000_000
    return number // 1_000_000_000


def _split(text: bytes, separator: int) -> list[bytes]:
    """Split at unescaped separators."""
    if b"\\" not in text:
        return text.split(bytes((separator,)))
    parts: list[bytes] = []
    begin = 0
    for index, byte in enumerate(text):
        if byte == separator and not (index and text[index - 1] == 0x5C):
            parts.append(text[begin:index])
            begin = index + 1
    parts.append(text[begin:])
    return parts


def _shown(text: bytes) -> str:
    return repr(text[:60].decode(errors="replace"))
