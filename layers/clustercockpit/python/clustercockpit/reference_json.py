"""JSON as the reference reads and writes it.

Reading (`spec/rest-and-nats-api.md` 3.2, `spec/job-archive.md` 8.1): a document is described by a *shape*;
member names match exactly or else ignoring case; `null` leaves a member out, so that its default holds; an
integer member refuses a fraction, an exponent and what does not fit its width; only the first JSON value
of the input counts. Strict reading (requests) refuses unknown members at every level, lenient reading (the
archive) ignores them. What comes back is plain: dicts with the canonical names, only of what was given.

Writing: compact, one trailing newline, `<`, `>`, `&`, U+2028 and U+2029 escaped.
"""

# Every shape is read alike, though only objects tell strict from lenient.
# ruff: noqa: ARG002

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson

from clustercockpit.errors import InvalidInputError


class DecodingError(InvalidInputError):
    """The document cannot be read. The message names the place: `resources[0].hostname: …`."""


class Shape(Protocol):
    """What a value must look like."""

    def read(self, value: object, path: str, strict: bool) -> Any:
        """The checked value; raises DecodingError."""
        ...

    def zero(self) -> Any:
        """What `null` means where a value must stand, as in an array."""
        ...


class _Fraction(float):
    """A number that was written with a fraction or an exponent."""


def _named(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, _Members):
        return "an object"
    return "an array" if isinstance(value, list) else "null"


def _fail(path: str, problem: str) -> DecodingError:
    return DecodingError(f"{path}: {problem}" if path else problem)


def clean_text(text: str) -> str:
    """Lone surrogates, which no UTF-8 can carry, become U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Text:
    """A string."""

    def read(self, value: object, path: str, strict: bool) -> str:
        if not isinstance(value, str):
            raise _fail(path, f"expected a string, got {_named(value)}")
        return clean_text(value)

    def zero(self) -> str:
        return ""


class Integer:
    """A whole number of the given width, two's complement."""

    def __init__(self, bits: int = 64) -> None:
        self.bits = bits
        self._limit = 1 << (bits - 1)

    def read(self, value: object, path: str, strict: bool) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _fail(path, f"expected a whole number, got {_named(value)}")
        if isinstance(value, float):
            raise _fail(path, "expected a whole number without fraction or exponent")
        if not -self._limit <= value < self._limit:
            raise _fail(path, f"the number does not fit into {self.bits} bits")
        return value

    def zero(self) -> int:
        return 0


class Number:
    """A number in double precision."""

    def read(self, value: object, path: str, strict: bool) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _fail(path, f"expected a number, got {_named(value)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            raise _fail(path, "the number is too large")
        return number

    def zero(self) -> float:
        return 0.0


class Boolean:
    def read(self, value: object, path: str, strict: bool) -> bool:
        if not isinstance(value, bool):
            raise _fail(path, f"expected true or false, got {_named(value)}")
        return value

    def zero(self) -> bool:
        return False


class ListOf:
    """An array; `null` in it stands for the zero value of its items."""

    def __init__(self, item: Shape) -> None:
        self.item = item

    def read(self, value: object, path: str, strict: bool) -> list[Any]:
        if not isinstance(value, list):
            raise _fail(path, f"expected an array, got {_named(value)}")
        item = self.item
        return [
            item.zero() if entry is None else item.read(entry, f"{path}[{position}]", strict)
            for position, entry in enumerate(value)
        ]

    def zero(self) -> list[Any]:
        return []


class MapOf:
    """An object with free names; `null` in it stands for the zero value of its values."""

    def __init__(self, item: Shape) -> None:
        self.item = item

    def read(self, value: object, path: str, strict: bool) -> dict[str, Any]:
        if not isinstance(value, _Members):
            raise _fail(path, f"expected an object, got {_named(value)}")
        item = self.item
        return {
            clean_text(name): item.zero() if entry is None else item.read(entry, f"{path}.{name}", strict)
            for name, entry in value
        }

    def zero(self) -> dict[str, Any]:
        return {}


class Record:
    """An object with known members."""

    def __init__(self, members: Mapping[str, Shape]) -> None:
        self.members = dict(members)
        self._folded = {name.lower(): name for name in self.members}

    def read(self, value: object, path: str, strict: bool) -> dict[str, Any]:
        if not isinstance(value, _Members):
            raise _fail(path, f"expected an object, got {_named(value)}")
        found: dict[str, Any] = {}
        for given, entry in value:
            name = given if given in self.members else self._folded.get(given.lower())
            if name is None:
                if strict:
                    raise _fail(path, f"unknown field {clean_text(given)!r}")
                continue
            if entry is None:
                continue
            found[name] = self.members[name].read(entry, f"{path}.{name}" if path else name, strict)
        return found

    def zero(self) -> dict[str, Any]:
        return {}


class Anything:
    """Any JSON value, taken as it is."""

    def read(self, value: object, path: str, strict: bool) -> Any:
        if isinstance(value, _Members):
            return {clean_text(name): self.read(entry, path, strict) for name, entry in value}
        if isinstance(value, list):
            return [self.read(entry, path, strict) for entry in value]
        if isinstance(value, str):
            return clean_text(value)
        return float(value) if isinstance(value, _Fraction) else value

    def zero(self) -> None:
        return None


class _Members(list[tuple[str, Any]]):
    """The members of an object in the order written, doubles kept: the last one counts."""


def _refuse_constant(name: str) -> None:
    raise DecodingError(f"{name} is no JSON number")


_READER: Final = json.JSONDecoder(
    object_pairs_hook=_Members, parse_float=_Fraction, parse_constant=_refuse_constant
)
_WHITE_SPACE: Final = " \t\r\n"


def decode(document: bytes | str, shape: Shape, *, strict: bool = True) -> Any:
    """The first JSON value of `document`, checked against `shape`.

    Raises DecodingError; an empty document says `EOF`. A document that is `null` gives `shape.zero()`.
    """
    text = document.decode("utf-8", "replace") if isinstance(document, bytes) else document
    text = text.lstrip(_WHITE_SPACE)
    if not text:
        raise DecodingError("EOF: the document is empty")
    try:
        value, _ = _READER.raw_decode(text)
    except json.JSONDecodeError as error:
        if not text[error.pos :].strip(_WHITE_SPACE):
            raise DecodingError("unexpected EOF: the JSON text ends too early") from None
        raise DecodingError(f"no valid JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise DecodingError("the JSON is nested too deeply") from None
    except ValueError as error:
        # A number of thousands of digits
        raise DecodingError(f"no valid JSON: {error}") from None
    return shape.zero() if value is None else shape.read(value, "", strict)


_ESCAPES: Final = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def encode(value: object) -> bytes:
    """`value` (dicts, lists, strings, numbers, None) in the reference's form. Member order is the dict's;
    NaN becomes `null`. Use `number` for figures, so that 31.0 is written as 31."""
    text = orjson.dumps(value)
    for raw, escaped in _ESCAPES:
        # These occur inside strings only
        text = text.replace(raw, escaped)
    return text + b"\n"


def number(value: float) -> float | int:
    """A figure as the reference writes it: without fraction where it has none."""
    return int(value) if value.is_integer() and abs(value) < 2**63 else value
