"""The notations of the configuration: durations, ages."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # micro sign
    "μs": 1e-6,  # Greek mu
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    # Ours: the reference stops at hours
    "d": 86_400.0,
    "w": 7 * 86_400.0,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_AGE = re.compile(r"\s*(\d+)\s*(h|d|w|months?|y|years?)\s*")
_AGE_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "month": 30 * 86_400, "y": 365 * 86_400}


def duration(text: str) -> float:
    """Seconds of a duration such as `48h`, `1h30m`, `-1.5s`, `0`; also days and weeks. ValueError."""
    rest = text.strip()
    sign = -1.0 if rest.startswith("-") else 1.0
    rest = rest[1:] if rest[:1] in ("-", "+") else rest
    if rest == "0":
        return 0.0
    total, position = 0.0, 0
    for part in _PART.finditer(rest):
        if part.start() != position:
            break
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not rest or position != len(rest):
        raise ValueError("expected a duration such as 48h, 1h30m or 90s")
    return sign * total


def age(value: int | str, unit_seconds: int) -> int:
    """Seconds of an age: a whole number in the key's own unit, or a text such as `12h`, `365d`, `6 months`.
    ValueError."""
    if isinstance(value, int):
        return value * unit_seconds
    match = _AGE.fullmatch(value)
    if match is None:
        raise ValueError("expected a whole number, or a text such as 12h, 365d, 8w, 6 months or 1y")
    unit = match[2].removesuffix("s") if len(match[2]) > 1 else match[2]
    return int(match[1]) * _AGE_UNITS["y" if unit == "year" else unit]
