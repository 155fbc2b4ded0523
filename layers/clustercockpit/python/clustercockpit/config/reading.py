"""Turns a JSON object into a dataclass: every field says how its key is read, and every fault is collected.

A fault is told as `<file>: <section.key>: <what was expected>; <remedy>`, never with the value: documents
hold secrets.
"""

# Every reader is called alike, though only some look at the place.
# ruff: noqa: ARG001

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from clustercockpit.config import values

T = TypeVar("T")


class Wrong(ValueError):  # noqa: N818 — told to people
    """A value cannot be used. The message says what was expected."""


class Section(dict[str, Any]):
    """An object of the document under canonical keys. `spelled`: how each key was written, `file`: where."""

    def __init__(self, entries: dict[str, Any], spelled: dict[str, str], file: str = "") -> None:
        super().__init__(entries)
        self.spelled = spelled
        self.file = file


@dataclasses.dataclass
class At:
    """A place in the document, and the faults found so far in all of it."""

    file: str
    path: str
    faults: list[str]
    warnings: list[str]
    strict: bool = True

    def key(self, name: str) -> At:
        return dataclasses.replace(self, path=f"{self.path}.{name}" if self.path else name)

    def item(self, index: int) -> At:
        return dataclasses.replace(self, path=f"{self.path}[{index}]")

    def fault(self, message: str) -> None:
        self.faults.append(f"{self.file}: {self.path}: {message}")

    def warning(self, message: str) -> None:
        self.warnings.append(f"{self.file}: {self.path}: {message}")


Read = Callable[[Any, At], Any]


def key(read: Read, *, default: Any = dataclasses.MISSING, name: str = "", required: bool = False) -> Any:
    """A dataclass field read from the key of its own name (dashes for underscores), or from `name`."""
    metadata = {"read": read, "name": name, "required": required}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def key_of(field: dataclasses.Field[Any]) -> str:
    return field.metadata.get("name") or field.name.replace("_", "-")


def read_section(kind: type[T], value: Any, at: At) -> T | None:
    """An instance of the dataclass, or None with the faults recorded in `at`. A method `faults(self)` of the
    dataclass may name (key, message) pairs that concern several keys."""
    if not isinstance(value, Section):
        at.fault(f"expected an object, got {named(value)}")
        return None
    found = len(at.faults)
    fields = {key_of(field): field for field in dataclasses.fields(kind) if "read" in field.metadata}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        if value.get(name) is None:
            if field.metadata["required"]:
                at.key(name).fault("is required and missing")
            continue
        place = at.key(value.spelled.get(name, name))
        before = len(at.faults)
        try:
            arguments[field.name] = field.metadata["read"](value[name], place)
        except Wrong as wrong:
            if len(at.faults) == before:
                place.fault(str(wrong))
    for name in value:
        if name not in fields:
            _unknown(value.spelled.get(name, name), [*fields, *value.spelled.values()], at)
    if len(at.faults) > found:
        return None
    section = kind(**arguments)
    for name, message in getattr(section, "faults", list)():
        (at.key(name) if name else at).fault(message)
    return section


def _unknown(name: str, known: Sequence[str], at: At) -> None:
    candidates = [*known, *(entry.replace("-", "_") for entry in known)]
    near = [entry for entry in difflib.get_close_matches(name, candidates, 3, 0.75) if entry != name]
    message = "unknown key" + (
        f"; did you mean {near[0]}?" if near else "; remove it or correct its spelling"
    )
    (at.key(name).fault if at.strict else at.key(name).warning)(message)


def named(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object" if isinstance(value, dict) else "null"


# Readers


def text(value: Any, at: At) -> str:
    if not isinstance(value, str):
        raise Wrong(f"expected a string, got {named(value)}")
    return value


def filled_text(value: Any, at: At) -> str:
    if not text(value, at).strip():
        raise Wrong("must not be empty")
    return str(value)


def secret(value: Any, at: At) -> str:
    """A secret, inline. References to a secret store are told apart from a password that looks odd."""
    if isinstance(value, dict) or (isinstance(value, str) and value.startswith("secret:")):
        raise Wrong(
            "references to a secret store are not read yet; put the value here, or leave it out and use the "
            "role of the function or task"
        )
    return text(value, at)


def boolean(value: Any, at: At) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"expected true or false, got {named(value)}")
    return value


def whole(*, least: int | None = None) -> Read:
    def read(value: Any, at: At) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"expected a whole number, got {named(value)}")
        if least is not None and value < least:
            raise Wrong(f"must be at least {least}")
        return value

    return read


def number(value: Any, at: At) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"expected a number, got {named(value)}")
    return float(value)


def seconds(value: Any, at: At) -> float:
    """A duration, in seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong('expected a duration with a unit in quotes, such as "48h": a bare number has no unit')
    try:
        return values.duration(text(value, at))
    except Wrong:
        raise
    except ValueError as error:
        raise Wrong(str(error)) from None


def age(unit_seconds: int) -> Read:
    """An age in seconds; a bare number is in `unit_seconds`."""

    def read(value: Any, at: At) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Wrong(f"expected a whole number or a text such as 365d, got {named(value)}")
        try:
            return values.age(value, unit_seconds)
        except ValueError as error:
            raise Wrong(str(error)) from None

    return read


def choice(*words: str) -> Read:
    def read(value: Any, at: At) -> str:
        if text(value, at) not in words:
            raise Wrong(f"must be one of {', '.join(words)}")
        return str(value)

    return read


def array(read_item: Read, *, least: int = 0) -> Read:
    def read(value: Any, at: At) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Wrong(f"expected an array, got {named(value)}")
        if len(value) < least:
            raise Wrong(f"needs at least {least} entry")
        items = []
        for i, entry in enumerate(value):
            try:
                items.append(read_item(entry, at.item(i)))
            except Wrong as wrong:
                if str(wrong):
                    at.item(i).fault(str(wrong))
        return tuple(items)

    return read


def section(kind: type[T]) -> Read:
    def read(value: Any, at: At) -> T:
        result = read_section(kind, value, at)
        if result is None:
            raise Wrong("")
        return result

    return read
