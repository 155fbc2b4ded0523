"""What the index consists of: one immutable document per version, pointed to by the head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from clustercockpit.errors import ConfigurationError

PREFIX: Final = "index/"
RECENT_MINUTES: Final = 6
"""For how long before the watermark applied versions are remembered: longer than the builder and the readers
look back, by more than clocks may differ."""


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A Parquet object. `low` and `high` bound the start times in it."""

    key: str
    rows: int
    low: int
    high: int


@dataclass(slots=True)
class Month:
    """The jobs that started in a month: a segment, and a delta of newer rows and tombstones, each id at most
    once. Where a job is in both the delta holds the truth."""

    segment: IndexFile | None = None
    delta: IndexFile | None = None

    @property
    def files(self) -> list[IndexFile]:
        return [file for file in (self.segment, self.delta) if file is not None]


@dataclass(slots=True)
class Manifest:
    """`recent` holds, per id, the version last applied and its minute, for a few minutes: late change rows
    and rows read twice must not bring an older version, or a deleted job, back."""

    months: dict[str, Month] = field(default_factory=dict)
    footprints: list[str] = field(default_factory=list)
    recent: dict[int, tuple[int, int]] = field(default_factory=dict)  # id → (ver, minute)

    def outdated(self, id: int, ver: int) -> bool:
        """Whether a newer version of the job has been applied already."""
        known = self.recent.get(id)
        return known is not None and ver < known[0]

    def applied(self, id: int, ver: int) -> bool:
        """Whether this version of the job, or a newer one, has been applied already."""
        known = self.recent.get(id)
        return known is not None and ver <= known[0]

    def keys(self) -> set[str]:
        """Keys of all objects this version consists of."""
        return {file.key for month in self.months.values() for file in month.files}

    def encode(self) -> bytes:
        def file(it: IndexFile | None) -> list[Any] | None:
            return None if it is None else [it.key, it.rows, it.low, it.high]

        return orjson.dumps(
            {
                "format": 1,
                "months": {
                    name: {"segment": file(month.segment), "delta": file(month.delta)}
                    for name, month in sorted(self.months.items())
                },
                "footprints": self.footprints,
                "recent": [[id, ver, minute] for id, (ver, minute) in self.recent.items()],
            }
        )

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """Raises ConfigurationError for a document that is not a manifest of a format known here."""

        def file(it: list[Any] | None) -> IndexFile | None:
            return None if it is None else IndexFile(*it)

        try:
            document = orjson.loads(content)
            if document["format"] != 1:
                raise ConfigurationError(
                    "the job index was written by a newer version; upgrade, or delete the index head"
                )
            return cls(
                months={
                    name: Month(file(month["segment"]), file(month["delta"]))
                    for name, month in document["months"].items()
                },
                footprints=document["footprints"],
                recent={id: (ver, minute) for id, ver, minute in document["recent"]},
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError("the manifest of the job index is damaged; rebuild the index") from error


def content_key(kind: str, content: bytes, suffix: str) -> str:
    """The key of an immutable object: what it is, and a hash of its content."""
    return f"{PREFIX}{kind}/{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
