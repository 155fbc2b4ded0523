"""Events as line protocol: `job,function=start_job event="{…}" 1750000000000000000`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# A name or a tag's part: escaped characters and whatever does not end it.
_WORD: Final = r"(?:\\.|[^\\,= \n])+"
_SERIES: Final = re.compile(
    rf"(?P<measurement>(?:\\.|[^\\, \n])+)(?P<tags>(?:,{_WORD}={_WORD})*) +", re.DOTALL
)
_TAG: Final = re.compile(rf",({_WORD})=({_WORD})", re.DOTALL)
_FIELD: Final = re.compile(
    rf'(?P<key>{_WORD})=(?:"(?P<text>(?:\\.|[^"\\])*)"|(?P<other>[^,\s"]+))', re.DOTALL
)
_TIMESTAMP: Final = re.compile(r" +(-?[0-9]{1,19})[ \t\r]*(?:\n|\Z)")
_BLANK: Final = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPED_NAME: Final = re.compile(r"\\([,= ])")
_ESCAPED_TEXT: Final = re.compile(r"\\([\\\"nrt])")
_CONTROL: Final = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `text` is the string field `event`, None where there is none."""

    measurement: str
    tags: dict[str, str]
    text: str | None


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read, and why."""

    reason: str
    shown: str


def read_events(message: bytes) -> list[Event | BadLine]:
    """The lines of a message in order. A line that cannot be read spoils no other (the reference drops what
    comes after it); reading goes on after the next line break."""
    text = message.decode("utf-8", "replace")
    found: list[Event | BadLine] = []
    position = 0
    while position < len(text):
        blank = _BLANK.match(text, position)
        if blank is not None and blank.end() > position:
            position = blank.end()
            continue
        read = _read_line(text, position)
        if isinstance(read, str):
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            found.append(BadLine(read, text[position : min(end, position + 200)]))
            position = end + 1
        else:
            event, position = read
            found.append(event)
    return found


def _read_line(text: str, position: int) -> tuple[Event, int] | str:
    """The event that starts here and where the next line does, or what is wrong."""
    series = _SERIES.match(text, position)
    if series is None:
        return "no measurement with tags, followed by a space"
    position = series.end()
    event = None
    while True:
        field = _FIELD.match(text, position)
        if field is None:
            return 'no field of the form name=value or name="text"'
        position = field.end()
        if field["text"] is not None and _name(field["key"]) == "event":
            event = _ESCAPED_TEXT.sub(lambda match: _CONTROL.get(match[1], match[1]), field["text"])
        if not text.startswith(",", position):
            break
        position += 1
    timestamp = _TIMESTAMP.match(text, position)
    if timestamp is None:
        return "no timestamp after the fields"
    tags = {_name(match[1]): _name(match[2]) for match in _TAG.finditer(series["tags"])}
    return Event(_name(series["measurement"]), tags, event), timestamp.end()


def _name(text: str) -> str:
    return _ESCAPED_NAME.sub(r"\1", text)
